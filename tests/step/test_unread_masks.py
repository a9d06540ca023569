"""Masks that are made unread: what attention computes with them is the same, and nothing is read."""

import pytest
import torch
from transformers import BertForSequenceClassification, GPT2Config, GPT2ForSequenceClassification
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask

from benchmarks.host_waits import count_waits
from conftest import VOCABULARY_SIZE, make_bert
from layer_distillation.step.unread_masks import UNREAD, make_masks_unread

CPU, GPU = torch.device("cpu"), torch.device("cuda")
IDS = torch.arange(1, 13).reshape(2, 6)
PADDED = (torch.arange(6) < torch.tensor([[6], [4]])).long()


def make_decoder() -> GPT2ForSequenceClassification:
    torch.manual_seed(0)
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16, "vocab_size": VOCABULARY_SIZE}
    return GPT2ForSequenceClassification(GPT2Config(**sizes, initializer_range=0.2, pad_token_id=0)).eval()


def make_eager() -> BertForSequenceClassification:
    return make_bert(attn_implementation="eager")


@pytest.mark.parametrize("make", [make_bert, make_eager, make_decoder])
@pytest.mark.parametrize("mask", [torch.ones_like(IDS), PADDED, None], ids=["whole rows", "padding", "no mask"])
@torch.no_grad()
def test_a_models_answers_are_the_same_and_it_reads_nothing(make, mask):
    model = make()
    stock = model(input_ids=IDS, attention_mask=mask).logits
    with make_masks_unread(GPU), count_waits(CPU) as waits:
        own = model(input_ids=IDS, attention_mask=mask).logits
    torch.testing.assert_close(own, stock, rtol=1e-5, atol=1e-6)
    assert [place for place in waits if "masking_utils" in place] == []


@torch.no_grad()
def test_stock_reads_a_mask():
    """So that the test above can fail; where it no longer does, this module has no use."""
    with count_waits(CPU) as waits:
        make_bert()(input_ids=IDS, attention_mask=torch.ones_like(IDS))
    assert [place for place in waits if "masking_utils" in place] != []


def test_a_processor_and_a_users_own_function_are_left_alone(monkeypatch):
    with make_masks_unread(CPU):
        assert ALL_MASK_ATTENTION_FUNCTIONS["sdpa"] is sdpa_mask
    with make_masks_unread(GPU):
        assert ALL_MASK_ATTENTION_FUNCTIONS["sdpa"] is UNREAD[sdpa_mask]
    assert ALL_MASK_ATTENTION_FUNCTIONS["sdpa"] is sdpa_mask

    def build_own(*args, **kwargs):
        return sdpa_mask(*args, **kwargs)

    monkeypatch.setitem(ALL_MASK_ATTENTION_FUNCTIONS, "sdpa", build_own)
    with make_masks_unread(GPU):
        assert ALL_MASK_ATTENTION_FUNCTIONS["sdpa"] is build_own
