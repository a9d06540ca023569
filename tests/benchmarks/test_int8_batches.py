"""What 8 bits cost by the rows that are asked at once: of a tiny student's own file, and the refusals."""

import shutil

import pytest

from benchmarks.int8_batches import main
from export_tools import MISSING, export, finish_run
from layer_distillation.export.scoring import predict_splits
from layer_distillation.records.export_record import STUDENT, read_export_record


def test_a_run_that_is_not_exported_is_one_line(tmp_path, capsys):
    folder = finish_run(tmp_path)
    assert main([str(folder)]) == 2
    assert "model_quantized.onnx does not exist: export the run first" in capsys.readouterr().err.splitlines()[-1]
    assert main([str(tmp_path / "nothing")]) == 2


@pytest.mark.slow
def test_batches_of_32_are_scored_as_the_export_scored_them(tmp_path, capsys, monkeypatch):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=MISSING)
    folder, sizes = finish_run(tmp_path), []
    assert export(tmp_path, "--formats=onnx-int8", "--no_controls", "--timing_seconds=0.01") == 0

    def remember(answer, subject, batch_rows):
        def count(batch):
            sizes.append(len(batch["input_ids"]))
            return answer(batch)

        return predict_splits(count, subject, batch_rows=batch_rows)

    monkeypatch.setattr("benchmarks.int8_batches.predict_splits", remember)
    capsys.readouterr()
    assert main([str(folder), "--rows", "32", "1"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    record = read_export_record(folder)
    value = record.find(STUDENT, "onnx-int8").metrics["test"][record.headline["metric"]]
    assert [row[1] for row in rows] == ["32", "1"]
    assert rows[0][3] == f"{value:.4f}"
    assert sizes.count(1) == 12 + 9
    shutil.rmtree(folder)
