"""Attention with fast dropout: the stock function's values and gradients, how much falls out, and what it leaves."""

import pytest
import torch
from scipy.stats import binomtest
from torch import nn
from transformers import TrainerCallback
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from layer_distillation.step import fast_attention
from layer_distillation.step.fast_attention import attend, attend_fast
from tiny_training import make_trainer

MODULE = nn.Module()
MODULE.is_causal = False
MASK = (torch.arange(6) < torch.tensor([[6], [4]]))[:, None, None, :].expand(2, 1, 6, 6)


def draw_states(dtype: torch.dtype = torch.float32, heads: int = 3) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, count, 6, 8, dtype=dtype).requires_grad_() for count in (3, heads, heads)]


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole rows", "padding"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("scaling", [None, 0.7])
def test_where_nothing_falls_out_it_is_the_stock_function(monkeypatch, mask, dtype, tolerance, scaling):
    monkeypatch.setattr(fast_attention, "draw_kept", lambda like, _: torch.ones_like(like, dtype=torch.bool))
    states, exact = draw_states(dtype), [tensor.detach().float().requires_grad_() for tensor in draw_states(dtype)]
    output, probabilities = attend(MODULE, *states, mask, dropout=0.25, scaling=scaling)
    expected, _ = sdpa_attention_forward(MODULE, *exact, mask, scaling=scaling)
    assert (probabilities, output.dtype, output.shape) == (None, dtype, (2, 6, 3, 8))
    torch.testing.assert_close(output.float(), expected / 0.75, atol=tolerance, rtol=tolerance)
    (output.float() * 0.75).square().sum().backward()
    expected.square().sum().backward()
    for own, other in zip(states, exact, strict=True):
        torch.testing.assert_close(own.grad.float(), other.grad, atol=3 * tolerance, rtol=3 * tolerance)


def test_pairs_of_tokens_fall_out_with_the_probability_and_the_mean_is_kept():
    """Values that are the unit vectors show the probabilities themselves; equal scores make each a sixth."""
    query = key = torch.zeros(500, 3, 6, 6)
    value = torch.eye(6).expand(500, 3, 6, 6)
    torch.manual_seed(0)
    output, _ = attend(MODULE, query, key, value, None, dropout=0.1)
    is_out = output == 0
    assert binomtest(int(is_out.sum()), is_out.numel(), 0.1).pvalue > 1e-3
    kept = output[~is_out]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / 6 / 0.9), rtol=1e-4, atol=0)


def test_a_row_of_nothing_but_padding_is_no_nan():
    output, _ = attend(MODULE, *draw_states(), torch.zeros_like(MASK), dropout=0.1)
    assert output.isfinite().all()


@pytest.mark.parametrize(
    ("heads", "mask", "options"),
    [
        (3, MASK, {"dropout": 0.0}),
        (3, None, {"dropout": 0.1, "is_causal": True}),
        (3, torch.zeros(2, 1, 6, 6), {"dropout": 0.1}),
        (1, MASK, {"dropout": 0.1}),
        (3, MASK, {"dropout": 0.1, "position_bias": torch.randn(1, 3, 6, 6)}),
    ],
    ids=["no dropout", "causal", "a mask of numbers", "shared heads", "position bias"],
)
def test_what_is_not_for_it_is_the_stock_function_s(heads, mask, options):
    module = nn.Module()
    module.is_causal, module.num_key_value_groups = False, 3 // heads
    outputs = []
    for function in (attend, sdpa_attention_forward):
        states = draw_states(heads=heads)
        outputs.append(function(module, *states, mask, **options)[0])
    assert torch.equal(*outputs)


def test_models_attend_as_before_afterwards_even_after_an_error():
    def fail() -> None:
        with attend_fast():
            assert ALL_ATTENTION_FUNCTIONS["sdpa"] is attend
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is sdpa_attention_forward


def test_one_inside_another_and_a_function_of_someone_else_s_stay_out(monkeypatch):
    with attend_fast():
        with attend_fast():
            pass
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is attend
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "sdpa", own := lambda *_: None)
    with attend_fast():
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is own
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is own


@pytest.mark.parametrize("options", [{}, {"relation_weight": 1.0, "relation_heads": 4}])
def test_training_attends_fast(tmp_path, monkeypatch, options):
    class Look(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            seen.append(len(drawn))

    drawn, seen = [], []
    draw = fast_attention.draw_kept
    monkeypatch.setattr(fast_attention, "draw_kept", lambda *inputs: drawn.append(1) or draw(*inputs))
    trainer = make_trainer(tmp_path, attention_weight=0.0, **options)
    for module in trainer.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.1
    trainer.add_callback(Look())
    trainer.train()
    assert seen == [2, 4, 6]  # once per layer and step
