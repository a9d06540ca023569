"""A teacher's exported forms: found again by all that they depend on, whole or not at all."""

import numpy as np
import pytest

from layer_distillation.export.formats import FORMATS
from layer_distillation.export.teacher_cache import LOGITS_NAME, TeacherCache
from teacher_stores import main

LOGITS = {"validation": np.arange(6, dtype=np.float32).reshape(3, 2)}
IDENTITY = {"teacher_fingerprint": "0123", "num_rows": 3, "opset": 20, "versions": {"torch": "2"}}


@pytest.fixture(autouse=True)
def no_packages(monkeypatch):
    """Their versions are read, and they may be absent."""
    monkeypatch.setattr("layer_distillation.export.teacher_cache.version", lambda _: "1")


@pytest.fixture
def cache(tmp_path) -> TeacherCache:
    return TeacherCache(tmp_path / "teacher_exports", IDENTITY)


def keep_file(cache: TeacherCache, tmp_path, form: str = "onnx") -> None:
    (tmp_path / "made.onnx").write_bytes(b"the teacher")
    cache.keep(form, tmp_path / "made.onnx", LOGITS)


def test_what_was_kept_is_found_with_its_answers(cache, tmp_path):
    assert cache.fetch("onnx", tmp_path / "again.onnx") == {}
    keep_file(cache, tmp_path)
    found = cache.fetch("onnx", tmp_path / "again.onnx")
    assert found.keys() == LOGITS.keys()
    np.testing.assert_array_equal(found["validation"], LOGITS["validation"])
    assert (tmp_path / "again.onnx").read_bytes() == b"the teacher"


def test_a_form_may_be_a_folder_and_pytorch_is_answers_alone(cache, tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "openvino_model.xml").write_text("<a/>")
    cache.keep("openvino", tmp_path / "made", LOGITS)
    assert cache.fetch("openvino", tmp_path / "again")
    assert (tmp_path / "again" / "openvino_model.xml").read_text() == "<a/>"
    cache.keep("pytorch", tmp_path / "gone", LOGITS)
    assert cache.fetch("pytorch", tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("other", [{"opset": 21}, {"teacher_fingerprint": "4567"}, {"versions": {"torch": "3"}}])
def test_another_teacher_opset_or_version_is_another_entry(other, cache, tmp_path):
    keep_file(cache, tmp_path)
    assert TeacherCache(cache.root, IDENTITY | other).fetch("onnx", tmp_path / "again.onnx") == {}
    assert cache.fetch("onnx-int8", tmp_path / "again.onnx") == {}
    assert not (tmp_path / "again.onnx").exists()


def test_what_a_kill_left_is_not_found_and_is_replaced(cache, tmp_path):
    unfinished = cache.find("onnx").with_suffix(".unfinished")
    unfinished.mkdir(parents=True)
    (unfinished / LOGITS_NAME).write_bytes(b"half")
    assert cache.fetch("onnx", tmp_path / "again.onnx") == {}
    keep_file(cache, tmp_path)
    assert cache.fetch("onnx", tmp_path / "again.onnx")
    assert not unfinished.exists()


def test_a_cache_that_cannot_be_written_costs_a_line_alone(tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    keep_file(TeacherCache(tmp_path / "file" / "teacher_exports", IDENTITY), tmp_path)
    assert "the teacher's onnx is not kept for other students (Not a directory)" in caplog.text


def test_they_are_listed_and_pruned_with_the_stores(cache, tmp_path, capsys):
    for form in ("onnx", "onnx-int8"):
        keep_file(cache, tmp_path, form)
    assert main(["list", "--cache_dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split("  ")[-1] for line in lines[:2]} == {
        f"3 rows, as {form}, teacher 0123" for form in FORMATS if form in ("onnx", "onnx-int8")
    }
    assert lines[2].startswith("2 stores, 0.000 GB")
    assert main(["prune", "--cache_dir", str(tmp_path), "--max_gb", "0"]) == 0
    assert cache.fetch("onnx", tmp_path / "again.onnx") == {}
