"""Students of every head that an architecture has: exact cuts, and the plain Auto class loads what was saved."""

import copy

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForNextSentencePrediction,
    AutoModelForQuestionAnswering,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from student_init import build_student, find_layer_stack
from test_student_init import ARCHITECTURES, MIXED_TYPES, make_teacher

KEPT = [0, 2]
HEADS = {
    "tags": AutoModelForTokenClassification,
    "spans": AutoModelForQuestionAnswering,
    "masked": AutoModelForMaskedLM,
    "next sentence": AutoModelForNextSentencePrediction,
    "none": AutoModel,
}


# Longformer's span head wants three separators in a row; the helper's ModernBERT is one with a head.
LEFT_OUT = {("spans", "longformer"), ("none", "modernbert")}
QUICK = {("tags", "bert"), ("tags", "deberta-v2"), ("tags", "modernbert"), ("spans", "bert"), ("masked", "roberta")}
QUICK |= {("next sentence", "bert"), ("none", "distilbert")}


def list_heads() -> list:
    """Every architecture that has the head: what transformers has no class for is not asked."""
    configs = {name: type(AutoConfig.for_model(ARCHITECTURES[name][0])) for name in ARCHITECTURES}
    found = [(head, name) for head in HEADS for name in ARCHITECTURES if configs[name] in HEADS[head]._model_mapping]
    return [
        pytest.param(*pair, marks=[] if pair in QUICK else pytest.mark.slow) for pair in found if pair not in LEFT_OUT
    ]


@torch.no_grad()
def compute_first(model: PreTrainedModel) -> torch.Tensor:
    """The head's own answer to a batch without padding, the first tensor of it."""
    input_ids = torch.randint(4, 40, (3, 12), generator=torch.Generator().manual_seed(1))
    return model.eval()(input_ids=input_ids).to_tuple()[0]


@torch.no_grad()
def run_kept(teacher: PreTrainedModel, name: str) -> torch.Tensor:
    """The teacher's own stack without the other layers, without any of student_init's cutting."""
    reference = copy.deepcopy(teacher)
    reference.config.use_cache = False  # the cache files keys by the layer's old place
    stack_name, stack = find_layer_stack(reference)
    parent_name, _, list_name = stack_name.rpartition(".")
    parent = reference.get_submodule(parent_name)
    parent.add_module(list_name, nn.ModuleList(stack[layer] for layer in KEPT))
    if name == "qwen3":
        reference.config.layer_types = [MIXED_TYPES[layer] for layer in KEPT]
    reference.config.num_hidden_layers = len(KEPT)
    return compute_first(reference)


@pytest.mark.parametrize(("head", "name"), list_heads())
def test_a_student_of_any_head_is_an_exact_cut_that_its_auto_class_loads(tmp_path, head, name):
    teacher = make_teacher(name, HEADS[head], num_labels=2)
    whole = build_student(teacher, list(range(teacher.config.num_hidden_layers)))
    assert type(whole) is type(teacher)
    assert torch.equal(compute_first(whole), compute_first(teacher))
    student = build_student(teacher, KEPT)
    answer = compute_first(student)
    torch.testing.assert_close(answer, run_kept(teacher, name), rtol=1e-4, atol=1e-5)
    student.save_pretrained(tmp_path)
    assert torch.equal(compute_first(HEADS[head].from_pretrained(tmp_path)), answer)
