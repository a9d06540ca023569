"""The scores are those that the stock attention softmaxes, and switching them on changes no output."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from layer_distillation.outputs.attention_targets import (
    ATTENTION_TARGETS,
    PROBABILITIES,
    SCORES,
    get_attention_target,
    switch_on_attentions,
)

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
OTHER_SIZES = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "llama": SIZES | {"num_key_value_heads": 1, "head_dim": 8},
    "qwen3": SIZES | {"num_key_value_heads": 1, "head_dim": 8},
    "eurobert": SIZES | {"num_key_value_heads": 1, "head_dim": 8},
}
TOKENS = {"vocab_size": 50, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1}


@pytest.mark.parametrize("model_type", sorted(ATTENTION_TARGETS))
def test_scores_softmax_to_the_stock_probabilities_and_change_no_logit(model_type):
    torch.manual_seed(0)
    sizes = OTHER_SIZES.get(model_type, SIZES)
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(model_type, **sizes, **TOKENS)).eval()
    inputs = {"input_ids": torch.randint(3, 50, (2, 7)), "attention_mask": torch.tensor([[1] * 7, [1] * 5 + [0] * 2])}
    model.set_attn_implementation("eager")
    with torch.no_grad():
        stock = model(**inputs, output_attentions=True)
        target = switch_on_attentions(model)
        ours = model(**inputs, output_attentions=True)
    assert torch.equal(ours.logits, stock.logits)
    assert len(ours.attentions) == 2
    for scores, probabilities in zip(ours.attentions, stock.attentions, strict=True):
        if target == PROBABILITIES:
            assert torch.equal(scores, probabilities)
            continue
        is_hidden = probabilities == 0
        recomputed = scores.masked_fill(is_hidden, float("-inf")).softmax(dim=-1).nan_to_num()
        is_real_query = inputs["attention_mask"].bool()[:, None, :, None]
        torch.testing.assert_close(recomputed * is_real_query, probabilities * is_real_query)


def test_bert_gives_scores_and_deberta_probabilities():
    assert get_attention_target("bert") == SCORES
    assert get_attention_target("deberta-v2") == PROBABILITIES


def test_an_architecture_without_comparable_matrices_is_refused_by_name():
    with pytest.raises(ValueError, match="longformer gives none that can be compared: set --attention_weight 0"):
        get_attention_target("longformer")
