"""Artifacts come whole or not at all, whatever was there before and wherever the process died."""

import pytest

from layer_distillation.export.placing import WORKSHOP, measure_bytes, open_workshop, put_in_place


def make_folder(path, text: str):
    path.mkdir(parents=True)
    (path / "model.xml").write_text(text)
    (path / f"{text}.bin").write_text(text)
    return path


def test_a_folder_that_exists_is_replaced_whole(tmp_path):
    target = make_folder(tmp_path / "openvino", "old")
    put_in_place(make_folder(tmp_path / "made", "new"), target)
    assert sorted(path.name for path in target.iterdir()) == ["model.xml", "new.bin"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["openvino"]


def test_a_file_that_exists_is_replaced_and_a_missing_folder_made(tmp_path):
    for text in ("old", "new"):
        (tmp_path / "made").write_text(text)
        put_in_place(tmp_path / "made", tmp_path / "onnx" / "model.onnx")
    assert (tmp_path / "onnx" / "model.onnx").read_text() == "new"


def test_what_was_replaced_comes_back_where_a_kill_came_before_the_new_one(tmp_path):
    make_folder(tmp_path / ".replaced-openvino", "old")
    with open_workshop(tmp_path):
        assert (tmp_path / "openvino" / "old.bin").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["openvino"]


def test_what_was_replaced_goes_where_a_kill_came_after_the_new_one(tmp_path):
    make_folder(tmp_path / ".replaced-openvino", "old")
    make_folder(tmp_path / "openvino", "new")
    with open_workshop(tmp_path):
        assert (tmp_path / "openvino" / "new.bin").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["openvino"]


def test_the_workshop_is_empty_at_the_start_and_gone_at_the_end_of_whatever_happens(tmp_path):
    make_folder(tmp_path / WORKSHOP / "left", "by a kill")

    def fail() -> None:
        with open_workshop(tmp_path) as workshop:
            assert list(workshop.iterdir()) == []
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_bytes_are_of_all_files(tmp_path):
    make_folder(tmp_path / "a" / "b", "123")
    assert measure_bytes(tmp_path / "a") == 6 == 2 * measure_bytes(tmp_path / "a" / "b" / "model.xml")
