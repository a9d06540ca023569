"""What cannot be cut is refused by its config, for a reason that is true of this very config."""

import pytest
import torch
from transformers import AlbertConfig, AutoConfig, AutoModelForSequenceClassification

from layer_distillation.architectures.plain_logits import compute_plain_logits
from student_init import build_student, get_num_layers

BATCH = {"input_ids": torch.arange(4, 20).reshape(2, 8), "attention_mask": torch.ones(2, 8, dtype=torch.long)}


def make_albert_config(**options: int) -> AlbertConfig:
    sizes = {"vocab_size": 40, "hidden_size": 16, "embedding_size": 8, "num_attention_heads": 2}
    return AlbertConfig(**sizes, intermediate_size=24, num_hidden_layers=4, initializer_range=0.3, **options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "all its layers share one set of weights"),
        ({"num_hidden_groups": 2}, r"its 4 layers share 2 sets of weights \(num_hidden_groups\)"),
        ({"num_hidden_groups": 4, "inner_group_num": 2}, "each of its 4 layers is a group of 2"),
    ],
)
def test_an_albert_is_refused_for_what_its_groups_are(options, reason):
    with pytest.raises(ValueError, match=reason):
        get_num_layers(make_albert_config(**options))


def test_an_albert_whose_layers_share_nothing_is_cut():
    torch.manual_seed(0)
    teacher = AutoModelForSequenceClassification.from_config(make_albert_config(num_hidden_groups=4)).eval()
    whole = build_student(teacher, [0, 1, 2, 3])
    assert torch.equal(compute_plain_logits(whole, BATCH), compute_plain_logits(teacher, BATCH))
    student = build_student(teacher, [3, 1])
    assert (student.config.num_hidden_layers, student.config.num_hidden_groups) == (2, 2)
    groups = teacher.albert.encoder.albert_layer_groups
    teacher.albert.encoder.albert_layer_groups = torch.nn.ModuleList([groups[3], groups[1]])
    teacher.config.num_hidden_layers = teacher.config.num_hidden_groups = 2
    assert torch.equal(compute_plain_logits(student, BATCH), compute_plain_logits(teacher, BATCH))


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("canine", "hidden states of two lengths"),
        ("fnet", "takes no attention mask"),
        ("mra", "a kernel for GPUs, without which transformers computes none"),
        ("t5", "an encoder and a decoder"),
        ("gemma3", "a model for text and pictures"),
        ("esmc", "scales what a layer adds by the number of layers"),
        ("zamba2", "share one block of weights"),
    ],
)
def test_the_reason_is_named(model_type, reason):
    with pytest.raises(ValueError, match=rf"cannot cut a student from model type '{model_type}': .*{reason}.*; choose"):
        get_num_layers(AutoConfig.for_model(model_type))
