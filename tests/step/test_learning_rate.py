"""The learning rate that is taken where none is named: the rule, and the trainer that goes by it."""

import logging
from functools import partial

import pytest

from layer_distillation.losses.arguments import DistillationTrainingArguments
from layer_distillation.losses.flags import INTERMEDIATE_TERMS
from layer_distillation.step.learning_rate import LARGEST, choose_learning_rate
from layer_distillation.step.trimmed_embedding import overrides_parameter_hooks
from tiny_training import make_trainer


@pytest.mark.parametrize(("imitates_layers", "rate", "times"), [(True, 2e-4, 16), (False, 0.96e-4, 4)])
def test_more_steps_halve_the_rate_and_twice_the_width_halves_it(imitates_layers, rate, times):
    """With layers 16 times as many steps, without 4 times."""
    num_steps = 256
    choose = partial(choose_learning_rate, imitates_layers=imitates_layers)
    assert choose(num_steps, 384) == pytest.approx(rate, rel=0.03)
    assert choose(num_steps * times, 384) == pytest.approx(choose(num_steps, 384) / 2)
    assert choose(num_steps, 768) == pytest.approx(choose(num_steps, 384) / 2)


def test_the_rate_has_a_ceiling():
    assert choose_learning_rate(1, 16, imitates_layers=True) == LARGEST


def find_peak(trainer) -> float:
    return max(group["initial_lr"] for group in trainer.optimizer.param_groups)


def train_without_rate(tmp_path, **options):
    trainer = make_trainer(tmp_path, learning_rate=None, **options)
    trainer.train()
    return trainer


def test_a_training_takes_the_rate_of_its_own_steps_and_leaves_the_arguments(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("layer_distillation.step.learning_rate.LARGEST", 1.0)
    caplog.set_level(logging.INFO)
    trainer = train_without_rate(tmp_path, max_steps=4, trim_embedding=False)
    width = trainer.model.config.hidden_size
    assert find_peak(trainer) == trainer.learning_rate == choose_learning_rate(4, width, imitates_layers=True)
    assert trainer.args.learning_rate is None
    assert f"by 4 steps and {width} dimensions (--learning_rate names another)" in caplog.text
    trainer.args.max_steps, trainer.optimizer, trainer.lr_scheduler = 9, None, None
    trainer.train()
    assert find_peak(trainer) == choose_learning_rate(9, width, imitates_layers=True)


def test_without_terms_on_layers_the_rate_is_lower(tmp_path, monkeypatch):
    monkeypatch.setattr("layer_distillation.step.learning_rate.LARGEST", 1.0)
    off = dict.fromkeys([f"{name}_weight" for name in INTERMEDIATE_TERMS], 0.0)
    trainer = train_without_rate(tmp_path, max_steps=90, **off)
    rates = [choose_learning_rate(90, trainer.model.config.hidden_size, imitates) for imitates in (False, True)]
    assert trainer.learning_rate == rates[0] < rates[1]


def test_a_rate_that_is_named_is_taken(tmp_path):
    trainer = make_trainer(tmp_path, learning_rate=0.25, max_steps=2, trim_embedding=False)
    trainer.train()
    assert find_peak(trainer) == trainer.learning_rate == 0.25


def test_no_rate_is_guessed_before_the_steps_are_known(tmp_path):
    trainer = make_trainer(tmp_path, learning_rate=None)
    with pytest.raises(ValueError, match="name one before train"):
        trainer.create_optimizer()
    width = trainer.model.config.hidden_size
    trainer.create_optimizer_and_scheduler(25)
    assert find_peak(trainer) == choose_learning_rate(25, width, imitates_layers=True)


def test_the_rate_of_the_rule_leaves_the_embedding_trimmed(tmp_path):
    assert not overrides_parameter_hooks(make_trainer(tmp_path, learning_rate=None))


def test_the_default_is_the_rule(tmp_path):
    assert DistillationTrainingArguments(str(tmp_path), use_cpu=True).learning_rate is None
