"""Dropout from 16 bits per element: its distribution, its gradient, and a model that is plain again afterwards."""

import pytest
import torch
from scipy.stats import binomtest, chisquare
from torch import nn
from transformers import TrainerCallback

from layer_distillation.step.fast_dropout import FastDropout, draw_dropout_fast, draw_noise
from tiny_training import make_trainer


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_elements_are_dropped_with_the_probability_and_the_mean_is_kept(p):
    torch.manual_seed(0)
    output = FastDropout(p)(torch.ones(1000, 500))
    num_dropped = int((output == 0).sum())
    assert binomtest(num_dropped, output.numel(), p).pvalue > 1e-3
    kept = output[output != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=2e-4, atol=0)


def test_the_elements_of_one_draw_are_independent():
    """Four neighbours share a 64-bit integer: each of their 16 patterns is as frequent as independence says."""
    torch.manual_seed(0)
    patterns = (FastDropout(0.5)(torch.ones(200_000, 4)) != 0).long() @ torch.tensor([1, 2, 4, 8])
    assert chisquare(torch.bincount(patterns, minlength=16).numpy()).pvalue > 1e-3


def test_half_of_16_bits_by_hand():
    """Of 65536 values p = 0.5 drops the lower half: a kept element counts twice, another not at all."""
    torch.manual_seed(0)
    noise = draw_noise(torch.empty(3, 5), 2**15)
    torch.manual_seed(0)
    values = torch.empty(4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:15].view(3, 5)
    assert torch.equal(noise, 2.0 * (values >= 0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_passes_where_the_element_does(dtype):
    states = torch.randn(7, 11, dtype=dtype, requires_grad=True)
    output = FastDropout(0.3)(states)
    output.sum().backward()
    assert output.dtype == states.grad.dtype == dtype
    torch.testing.assert_close(output, states * states.grad)
    assert 0 < (states.grad == 0).sum() < states.numel()


def test_the_seed_decides():
    dropout, states = FastDropout(0.5), torch.randn(9, 9)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(dropout(states))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_what_is_not_for_it_is_left_to_torch():
    states = torch.randn(9, 9)
    assert torch.equal(FastDropout(0.5).eval()(states), states)
    assert torch.equal(FastDropout(0.0)(states), states)
    assert torch.equal(FastDropout(1.0)(states), torch.zeros(9, 9))
    assert FastDropout(0.5, inplace=True)(states) is states


def test_a_model_has_its_own_dropouts_afterwards_even_after_an_error():
    class OwnDropout(nn.Dropout):
        pass

    model = nn.Sequential(nn.Dropout(0.1), OwnDropout(0.1), nn.Linear(2, 2))

    def fail() -> None:
        with draw_dropout_fast(model):
            assert [type(module) for module in model] == [FastDropout, OwnDropout, nn.Linear]
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [type(module) for module in model] == [nn.Dropout, OwnDropout, nn.Linear]


def test_training_drops_fast_and_leaves_a_plain_student(tmp_path):
    class Look(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            seen.append({type(module) for module in model.modules() if isinstance(module, nn.Dropout)})

    seen: list[set[type]] = []
    trainer = make_trainer(tmp_path)
    trainer.add_callback(Look())
    trainer.train()
    assert seen
    assert all(types == {FastDropout} for types in seen)
    assert not any(isinstance(module, FastDropout) for module in trainer.model.modules())
