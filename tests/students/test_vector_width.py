"""A dense layer of the student brings its vectors to the teacher's width."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from layer_distillation.embedding.encoding import encode_texts
from layer_distillation.embedding.modules import SentenceModules, count_outputs, get_modules
from layer_distillation.students.vector_width import fit_line, fit_vectors, keep_steps
from sentence_folders import TEXTS, make_pooled
from tiny_project import write_tokenizer

NORMALIZE = {"name": "normalize"}
DENSE = {"name": "dense", "in_features": 16, "out_features": 6, "bias": True, "activation": "Tanh"}


@pytest.fixture
def tokenizer(tmp_path):
    write_tokenizer(tmp_path)
    return AutoTokenizer.from_pretrained(tmp_path)


def test_a_line_is_fitted_up_to_the_ridge():
    torch.manual_seed(0)
    vectors, weight, bias = torch.randn(500, 4).double(), torch.randn(3, 4).double(), torch.randn(3).double()
    found = fit_line(vectors, vectors @ weight.T + bias)
    torch.testing.assert_close(found[0], weight / 1.1, rtol=0.01, atol=0.02)  # a tenth of a variance of 1 is added
    torch.testing.assert_close(found[1], bias, rtol=0.01, atol=0.02)


def test_a_student_of_the_teachers_width_stays_as_it_is():
    teacher, student = make_pooled(seed=1), make_pooled(seed=2, num_layers=2)
    assert fit_vectors(student, teacher, []) is student


def test_other_widths_get_a_dense_layer_that_starts_near_the_teacher(tokenizer):
    teacher = make_pooled(modules=SentenceModules(("mean",), (DENSE, NORMALIZE)), seed=1)
    student = make_pooled(modules=SentenceModules(("mean",), (NORMALIZE,)), seed=1)
    batches = [dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))]
    batches = [{name: tensor for name, tensor in batch.items() if name != "token_type_ids"} for batch in batches]
    fitted = fit_vectors(student, teacher, batches)
    assert count_outputs(fitted.config) == 6
    assert [step["name"] for step in get_modules(fitted.config).steps] == ["dense", "normalize"]
    ours, theirs = (encode_texts(model, tokenizer, TEXTS) for model in (fitted, teacher))
    assert (ours * theirs).sum(axis=1).mean() > 0.9
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, rtol=1e-5)
    for name, tensor in student.state_dict().items():
        assert torch.equal(fitted.state_dict()[name], tensor)


def test_dense_layers_are_dropped_or_kept_with_their_weights(tokenizer):
    teacher = make_pooled(modules=SentenceModules(("mean",), (DENSE, NORMALIZE)), seed=1)
    without = keep_steps(teacher, [])
    assert count_outputs(without.config) == 16
    kept = keep_steps(teacher, [DENSE])
    ours, theirs = (encode_texts(model, tokenizer, TEXTS) for model in (kept, teacher))
    np.testing.assert_allclose(ours / np.linalg.norm(ours, axis=1, keepdims=True), theirs, rtol=1e-5, atol=1e-6)
