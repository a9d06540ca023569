"""Tensors outside of the stack that belong to its layers, and a BigBird whose attention changed under way."""

import copy
import logging

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification, BigBirdConfig, EsmConfig

from conftest import make_bert
from layer_distillation.architectures import traits
from layer_distillation.architectures.plain_logits import compute_plain_logits
from student_init import build_student, check_skeleton

SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
IDS = torch.arange(4, 28).reshape(2, 12)
BATCH = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}


def make_esm():
    torch.manual_seed(0)
    config = EsmConfig(**SIZES, max_position_embeddings=64, pad_token_id=1, mask_token_id=3)
    return AutoModelForSequenceClassification.from_config(config).eval()


@pytest.mark.parametrize("layers", [[3, 1], [3, 1, 1, 0], [2, None]])
def test_the_contact_head_keeps_what_belongs_to_the_kept_layers(layers):
    teacher = make_esm()
    heads = teacher.esm.contact_head.regression.weight.detach().clone()
    student = build_student(teacher, layers)
    found = student.esm.contact_head.regression.weight
    assert found.shape == (1, 2 * len(layers))
    for place, layer in enumerate(layers):
        if layer is not None:
            assert torch.equal(found[:, 2 * place : 2 * place + 2], heads[:, 2 * layer : 2 * layer + 2])
    assert torch.equal(teacher.esm.contact_head.regression.weight, heads)


class CountsLayers(BertForSequenceClassification):
    """What nobody here knows: a head whose width goes by the number of layers."""

    def __init__(self, config):
        super().__init__(config)
        self.mixer = nn.Linear(config.num_hidden_layers * 3, 1)
        self.post_init()


def test_another_tensor_that_goes_by_the_number_of_layers_is_refused():
    teacher = CountsLayers(make_bert(4).config)
    with pytest.raises(ValueError, match=r"mixer.weight is \(1, 12\) in the teacher and \(1, 6\) in a student of 2"):
        build_student(teacher, [0, 1])
    with torch.device("meta"), pytest.raises(ValueError, match=r"mixer\.weight"):
        check_skeleton(CountsLayers(teacher.config), [0, 1])


def test_a_big_bird_is_cut_before_and_after_its_attention_changed(caplog):
    torch.manual_seed(0)
    teacher = AutoModelForSequenceClassification.from_config(BigBirdConfig(**SIZES, max_position_embeddings=64)).eval()
    early = build_student(teacher, [3, 1])
    changed = copy.deepcopy(teacher)
    compute_plain_logits(changed, BATCH)
    assert changed.bert.attention_type == "original_full"
    late = build_student(changed, [3, 1])
    assert torch.equal(compute_plain_logits(late, BATCH), compute_plain_logits(early, BATCH))
    assert torch.equal(
        compute_plain_logits(build_student(changed, [0, 1, 2, 3]), BATCH), compute_plain_logits(changed, BATCH)
    )
    traits.warn_about.cache_clear()
    with caplog.at_level(logging.WARNING):
        traits.warn_about("big_bird")
        traits.warn_about("big_bird")
    assert [record.name for record in caplog.records].count(traits.__name__) == 1
    assert "computes full attention" in caplog.text
