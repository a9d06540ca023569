"""A reranker as ONNX and in 8 bits: scored by the order of each query's candidates."""

import pytest

import run_distillation
from export_tools import export
from layer_distillation.records.export_record import read_export_record
from layer_distillation.records.run_record import read_run_record
from test_reranking import make_project


@pytest.mark.slow
@pytest.mark.usefixtures("packages")
def test_a_reranker_is_exported_and_scored_beside_its_teacher(tmp_path):
    assert run_distillation.main([*make_project(tmp_path), f"--output_dir={tmp_path / 'run'}"]) == 0
    assert export(tmp_path, "--formats=onnx,onnx-int8", "--trim_vocabulary") == 0
    record, run = read_export_record(tmp_path / "run"), read_run_record(tmp_path / "run")
    assert record.headline == {"split": "test", "metric": "ndcg_at_10"}
    assert "| correlation with the student |" in (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    for model in ("student", "trimmed student"):
        plain = record.find(model, "onnx")
        wanted = {name: run.metrics["test"][name] for name in ("loss", "ndcg_at_10")}
        assert plain.metrics["test"] == pytest.approx(wanted, rel=1e-3)
        assert plain.agreement["test"]["student"] == pytest.approx(1, abs=1e-6)  # Pearson's correlation
    teacher = record.find("teacher", "onnx").metrics["test"]["ndcg_at_10"]
    assert teacher == pytest.approx(run.teacher["metrics"]["test"]["ndcg_at_10"], abs=1e-4)
