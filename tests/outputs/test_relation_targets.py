"""The recorded queries, keys and values are those of the projections, and recording changes no output."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig

from conftest import make_bert, make_rows, pad_rows
from layer_distillation.outputs.compared import run_model
from layer_distillation.outputs.relation_targets import (
    RELATION_MODEL_TYPES,
    check_relation_heads,
    get_relation_width,
    resolve_relation_layer,
    switch_on_relations,
)
from tests.outputs.test_attention_targets import OTHER_SIZES, SIZES, TOKENS


@pytest.mark.parametrize("model_type", RELATION_MODEL_TYPES)
@pytest.mark.parametrize("with_scores", [False, True])
def test_recording_changes_no_logit(model_type, with_scores):
    torch.manual_seed(0)
    sizes = OTHER_SIZES.get(model_type, SIZES)
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(model_type, **sizes, **TOKENS)).eval()
    inputs = {"input_ids": torch.randint(3, 50, (2, 7)), "attention_mask": torch.tensor([[1] * 7, [1] * 5 + [0] * 2])}
    model.set_attn_implementation("eager" if with_scores else "sdpa")
    with torch.no_grad():
        stock = model(**inputs).logits
        switch_on_relations(model, with_scores)
        ours = run_model(model, inputs, attention_layers=(0, 1) if with_scores else (), relation_layers=(1,))
    assert torch.equal(ours.logits, stock)
    assert ours.relations[0].shape == (2, 3, 7, get_relation_width(model.config))
    assert len(ours.attentions) == (2 if with_scores else 0)


def test_the_states_are_those_of_the_layer_s_projections():
    model, recorded = make_bert(4), []
    attention = model.bert.encoder.layer[2].attention.self
    for projection in (attention.query, attention.key, attention.value):
        projection.register_forward_hook(lambda module, inputs, output: recorded.append(output))
    switch_on_relations(model, with_scores=False)
    batch = pad_rows(make_rows(3))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    relations = run_model(model, inputs, relation_layers=(2,)).relations
    assert len(relations) == 1
    assert torch.equal(relations[0], torch.stack(recorded, dim=1))
    assert relations[0].requires_grad


def test_an_architecture_that_does_not_show_them_is_refused_by_name():
    with pytest.raises(ValueError, match="longformer does not show them: set --relation_weight 0, or use one of bert"):
        get_relation_width(AutoConfig.for_model("longformer"))


def test_relation_heads_have_to_divide_both_widths():
    check_relation_heads(12, [384, 768])
    with pytest.raises(ValueError, match=r"is 12 and has to divide the width 16 and 24: take one of 1, 2, 4, 8$"):
        check_relation_heads(12, [16, 24])
    with pytest.raises(ValueError, match="is 0 and has to divide the width 16: take one of 1, 2, 4, 8, 16"):
        check_relation_heads(0, [16, 16])


def test_the_relation_layer_is_the_teacher_s_last_unless_named():
    assert resolve_relation_layer(None, 12) == 11
    assert resolve_relation_layer(3, 12) == 3
    with pytest.raises(ValueError, match="--relation_layer is 12: the teacher has the layers 0 to 11"):
        resolve_relation_layer(12, 12)


def test_the_width_is_that_of_all_heads():
    assert get_relation_width(BertConfig(hidden_size=24, num_attention_heads=3)) == 24
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "head_dim": 12}
    assert get_relation_width(AutoConfig.for_model("qwen3", **sizes)) == 24
