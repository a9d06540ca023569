"""The record is written whole, read back, and tells one run from another."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from layer_distillation.records.export_record import fingerprint_weights
from layer_distillation.records.run_record import (
    EARLIER_BEHAVIOUR,
    RECORD_NAME,
    RunRecord,
    find_best_epoch,
    find_damage,
    list_weight_files,
    read_run_record,
    summarize_history,
)
from layer_distillation.runs.arguments import parse_command_line


def make_record(**arguments: object) -> RunRecord:
    return RunRecord("run_distillation.py", {"seed": 1} | arguments, {}, {}, seed=1, strategy="odd")


def test_a_record_is_read_back_as_it_was_written(tmp_path):
    record = make_record(temperature=2.0, **EARLIER_BEHAVIOUR)
    record.metrics = {"validation": {"loss": 0.25}}
    record.write(tmp_path)
    assert read_run_record(tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == [RECORD_NAME]


def test_arguments_that_change_the_student_make_another_run():
    record = make_record(temperature=2.0, output_dir="a", disable_tqdm=True)
    assert record.list_differences({"seed": 1, "temperature": 2.0, "output_dir": "b"}) == []
    assert record.list_differences({"seed": 2, "temperature": 2.0}) == ["seed: 1 -> 2"]
    assert record.list_differences({"seed": 1}) == ["temperature: 2.0 -> None"]


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"command": "x", "novelty": 1})])
def test_a_damaged_or_foreign_record_is_refused(tmp_path, content):
    (tmp_path / RECORD_NAME).write_text(content)
    with pytest.raises(ValueError, match="is not a run record of this version"):
        read_run_record(tmp_path)


def test_a_folder_without_a_record_is_no_run(tmp_path):
    with pytest.raises(ValueError, match=r"holds no run_record\.json"):
        read_run_record(tmp_path)


def test_history_averages_the_training_entries_of_an_epoch_by_their_steps():
    log = [
        {"step": 10, "epoch": 0.5, "loss": 1.0, "ce_loss": 3.0},
        {"step": 15, "epoch": 0.75, "loss": 4.0, "ce_loss": 6.0, "kl_loss": 0.5},
        {"step": 20, "epoch": 1.0, "eval_loss": 0.5, "eval_accuracy": 0.9},
        {"step": 30, "epoch": 1.5, "loss": 2.0, "ce_loss": 2.0},
        {"step": 40, "epoch": 2.0, "eval_loss": 0.4},
        {"step": 40, "epoch": 2.0, "train_loss": 9.0},
    ]
    history = summarize_history(log)
    assert history[0] == {
        "epoch": 1.0,
        "step": 20,
        "train_loss": 2.0,
        "train_ce_loss": 4.0,
        "train_kl_loss": 0.5,
        "eval_loss": 0.5,
        "eval_accuracy": 0.9,
    }
    assert history[1]["train_loss"] == 2.0
    assert find_best_epoch(history, 40) == 2.0


def write_student(folder: Path, shards: tuple[str, ...] = ("model.safetensors",)) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "bert", "architectures": ["BertForSequenceClassification"]}')
    (folder / "tokenizer_config.json").write_text("{}")
    for name in shards:
        save_file({f"weight of {name}": np.ones((4, 4), np.float32)}, folder / name)
    if len(shards) > 1:
        index = {"weight_map": {f"weight of {name}": name for name in shards}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))


SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.mark.parametrize("shards", [("model.safetensors",), SHARDS])
def test_a_student_whose_weights_are_cut_short_or_gone_is_damaged(tmp_path, shards):
    write_student(tmp_path, shards)
    assert find_damage(tmp_path) is None
    last = tmp_path / shards[-1]
    content = last.read_bytes()
    last.write_bytes(content[:-1])
    assert "cannot be read" in find_damage(tmp_path)
    last.write_bytes(content)
    assert find_damage(tmp_path) is None
    last.unlink()
    assert "cannot be read" in find_damage(tmp_path)


def test_the_dense_layers_of_a_sentence_encoder_are_weights_of_it(tmp_path):
    """Whose loss is damage, whose change makes exports those of another student, and whose bytes count."""
    write_student(tmp_path)
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense")]
    entries = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for kind, path in modules]
    (tmp_path / "modules.json").write_text(json.dumps(entries))
    dense = tmp_path / "2_Dense" / "model.safetensors"
    assert list_weight_files(tmp_path) == [tmp_path / "model.safetensors", dense]
    assert "cannot be read" in find_damage(tmp_path)
    dense.parent.mkdir()
    found = []
    for value in (1, 2):
        save_file({"linear.weight": np.full((4, 4), value, np.float32)}, dense)
        assert find_damage(tmp_path) is None
        found.append(fingerprint_weights(tmp_path))
    assert found[0] != found[1]


@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_a_student_without_a_readable_config_is_damaged(tmp_path, content):
    write_student(tmp_path)
    (tmp_path / "config.json").write_text(content)
    assert "cannot be read" in find_damage(tmp_path)


def test_a_student_without_its_tokenizer_is_damaged(tmp_path):
    write_student(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    assert "cannot be read" in find_damage(tmp_path)


def test_reading_records_needs_no_torch():
    code = "import sys; from layer_distillation.records import run_record; sys.exit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_a_record_from_before_a_flag_says_what_was_done_then(tmp_path):
    make_record(temperature=2.0).write(tmp_path)
    assert read_run_record(tmp_path).list_differences({"seed": 1, "temperature": 2.0} | EARLIER_BEHAVIOUR) == []


def test_earlier_behaviour_is_todays_default_where_that_did_not_change():
    parsed = parse_command_line([]).to_dict()
    changed = {"pkd_weight": 0.0}
    assert {name: parsed[name] for name in EARLIER_BEHAVIOUR} | changed == EARLIER_BEHAVIOUR
