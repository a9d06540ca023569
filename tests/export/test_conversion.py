"""ONNX files that answer as PyTorch does, whatever the batch, the length and the padding."""

import numpy as np
import pytest

from conftest import make_bert
from layer_distillation.export.clients import ask_pytorch, open_onnx
from layer_distillation.export.conversion import check_answers, check_opset, convert, make_batch
from test_student_init import ARCHITECTURES, make_teacher


def test_the_file_answers_as_the_model_at_other_shapes_with_and_without_padding(exported):
    model, tokenizer, path = exported
    answer, expected = open_onnx(path, 1), ask_pytorch(model, 1)
    check_answers(answer, expected, model, tokenizer, "onnx")
    for shape in ((1, 1), (1, 64), (7, 33)):
        batch = make_batch(model, tokenizer, *shape)
        np.testing.assert_allclose(answer(batch), expected(batch), atol=1e-5)


def test_the_file_names_no_folder_of_this_machine(exported):
    _, _, path = exported
    assert b"site-packages" not in path.read_bytes()
    assert [file.name for file in path.parent.glob("*.onnx*")] == ["model.onnx"]


def test_padding_changes_no_answer(exported):
    model, tokenizer, path = exported
    answer = open_onnx(path, 1)
    padded = make_batch(model, tokenizer, 1, 12, padding=5)
    short = {name: array[:, :7] for name, array in padded.items()}
    np.testing.assert_allclose(answer(padded), answer(short), atol=1e-5)


def test_a_file_of_another_model_is_refused(exported):
    _, tokenizer, path = exported
    other = make_bert(num_layers=2, vocab_size=500, seed=5)
    with pytest.raises(ValueError, match=r"answers otherwise than PyTorch .* nothing was written"):
        check_answers(open_onnx(path, 1), ask_pytorch(other, 1), other, tokenizer, "onnx")


def test_an_opset_that_nobody_tried_is_refused():
    with pytest.raises(ValueError, match=r"--opset is 7: give 18 to 23 \(default 20\)"):
        check_opset(7)


# torch 2.13 cannot write longformer and xlnet; qwen3 with a sliding window is written and answers otherwise.
WRITTEN = sorted(ARCHITECTURES.keys() - {"longformer", "xlnet", "qwen3"})


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITTEN)
def test_other_architectures_are_written_and_answer_alike(name, exported, tmp_path):
    _, tokenizer, _ = exported
    model = make_teacher(name)
    convert(model, tokenizer, tmp_path / "model.onnx", 20)
    check_answers(open_onnx(tmp_path / "model.onnx", 1), ask_pytorch(model, 1), model, tokenizer, "onnx")
    assert "use_cache" not in model.config.to_dict() or model.config.use_cache == make_teacher(name).config.use_cache


@pytest.mark.slow
@pytest.mark.parametrize("name", ["longformer", "xlnet"])
def test_an_architecture_that_cannot_be_written_is_named(name, exported, tmp_path):
    _, tokenizer, _ = exported
    with pytest.raises(ValueError, match=rf"{name} cannot be written as ONNX by torch .*: deploy its PyTorch folder"):
        convert(make_teacher(name), tokenizer, tmp_path / "model.onnx", 20)
