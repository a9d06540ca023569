"""Scheduled values by hand, every way of writing one that cannot be meant, and what they do inside the trainer."""

import inspect

import pytest
import torch
from transformers import EarlyStoppingCallback, EvalPrediction

from conftest import make_rows
from layer_distillation.losses.schedules import Schedule, count_first_stage_steps, evaluate_schedule, parse_schedules
from test_distill_trainer import assert_same_weights, compute_batch_loss, train_weights
from tiny_training import MORE_TERMS, OFF, make_trainer

NAMES = ("temperature", "kl_weight")
TWO_STAGES = {"num_train_epochs": 2, "intermediate_epochs": 1.0, "logging_strategy": "steps", "logging_steps": 1}


def test_schedules_are_read_by_name():
    assert parse_schedules(" temperature=linear:1, kl_weight=cosine:0.5", NAMES) == {
        "temperature": Schedule("linear", 1.0),
        "kl_weight": Schedule("cosine", 0.5),
    }
    assert parse_schedules("", NAMES) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("width=linear:1", "names 'width': name each of temperature, kl_weight at most once"),
        ("kl_weight=linear:1,kl_weight=linear:2", "names 'kl_weight': name each of"),
        ("kl_weight=square:1", "write kl_weight=SHAPE:END, SHAPE one of linear, cosine"),
        ("kl_weight", "write kl_weight=SHAPE:END"),
        ("kl_weight=linear:", "its end has to be a number, at least 0"),
        ("kl_weight=linear:-1", "its end has to be a number, at least 0"),
        ("kl_weight=linear:nan", "its end has to be a number, at least 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_schedules(text, NAMES)


@pytest.mark.parametrize(
    ("shape", "values"), [("linear", [4.0, 3.25, 2.5, 1.0]), ("cosine", [4.0, 4 - 3 * 0.1464466, 2.5, 1.0])]
)
def test_values_lead_from_the_start_to_the_end(shape, values):
    schedules = {"temperature": Schedule(shape, 1.0)}
    found = [evaluate_schedule(schedules, "temperature", 4.0, progress) for progress in (0, 0.25, 0.5, 1)]
    assert found == pytest.approx(values)
    assert evaluate_schedule(schedules, "kl_weight", 0.5, 0.7) == 0.5


def test_the_first_stage_ends_with_its_epoch():
    assert count_first_stage_steps(1, 3, max_steps=3 * 141) == 141
    assert count_first_stage_steps(0, 3, max_steps=423) == 0
    assert count_first_stage_steps(0.5, 2.0, max_steps=14) == 4  # of 7 steps 3.5, to the even number
    # Neither stage is rounded away: an untrained head, or a first stage that was asked for and never came.
    assert count_first_stage_steps(2.5, 3, max_steps=2) == 1
    assert count_first_stage_steps(0.1, 3, max_steps=10) == 1
    assert count_first_stage_steps(1, 2, max_steps=1) == 0


# ---- inside the trainer -------------------------------------------------------------------------------------------


def test_scheduled_values_follow_the_step_and_are_logged(tmp_path):
    """Three steps: the weights of steps 1 to 3 are those at 0, 1/3 and 2/3; the log names the value reached."""
    options = OFF | {"ce_weight": 1.0, "schedules": "ce_weight=linear:4,temperature=linear:5,kl_weight=linear:3"}
    options |= {"temperature": 2.0}
    trainer = make_trainer(tmp_path, **options, logging_strategy="steps", logging_steps=1)
    trainer.train()
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(steps) == 3
    for index, entry in enumerate(steps):
        kl = index * entry["kl_loss"] if index else 0.0  # a term with weight 0 is not computed
        assert ("kl_loss" in entry) == (index > 0)
        assert entry["loss"] == pytest.approx((1 + index) * entry["ce_loss"] + kl, rel=1e-4)
        assert entry["temperature"] == pytest.approx(2 + index + 1)
        assert entry["kl_weight"] == pytest.approx(index + 1)


def test_a_log_in_which_no_term_counted_still_names_what_changes(tmp_path):
    options = OFF | {"schedules": "kl_weight=linear:3", "logging_strategy": "steps", "logging_steps": 1}
    trainer = make_trainer(tmp_path, **options)
    trainer.train()
    first, second = [entry for entry in trainer.state.log_history if "loss" in entry][:2]
    assert (first["loss"], first["kl_weight"]) == (0, pytest.approx(1))
    assert "kl_loss" not in first
    assert second["kl_loss"] > 0


def test_the_temperature_of_a_schedule_is_that_of_the_kl_term(tmp_path):
    trainer = make_trainer(tmp_path, **(OFF | {"kl_weight": 1.0}), schedules="temperature=linear:6", temperature=2.0)
    other = make_trainer(tmp_path, **(OFF | {"kl_weight": 1.0}), temperature=4.0)
    trainer.state.global_step, trainer.state.max_steps = 5, 10
    rows = make_rows(6)
    assert compute_batch_loss(trainer, rows).item() == pytest.approx(compute_batch_loss(other, rows).item(), rel=1e-6)


def test_a_term_s_mean_is_over_the_steps_in_which_it_counted(tmp_path):
    """Three steps an epoch, one log of all six: each stage's terms against those of a log of every step."""
    options = MORE_TERMS | TWO_STAGES | {"eval_strategy": "no"}
    each, whole = (make_trainer(tmp_path, **(options | {"logging_steps": steps})) for steps in (1, 6))
    each.train()
    whole.train()
    steps, (mean, *_) = each.state.log_history[:6], whole.state.log_history
    for name, entries in (("hidden_loss", steps[:3]), ("kl_loss", steps[3:])):
        assert mean[name] == pytest.approx(sum(entry[name] for entry in entries) / 3, rel=1e-5)


def test_a_stage_computes_only_what_counts_in_it(tmp_path):
    trainer = make_trainer(tmp_path, **MORE_TERMS, **TWO_STAGES)
    trainer.state.max_steps = 6
    asked, run = [], trainer.model.forward

    def watch_forward(*inputs, **options):
        asked.append((options["output_hidden_states"], options["output_attentions"]))
        return run(*inputs, **options)

    watch_forward.__signature__ = inspect.signature(run)
    trainer.model.forward = watch_forward
    teacher = trainer.teacher_outputs.teacher
    run_teacher = teacher.forward

    def watch_teacher(*inputs, **options):
        asked.append((options["output_hidden_states"], options["output_attentions"]))
        return run_teacher(*inputs, **options)

    watch_teacher.__signature__ = inspect.signature(run_teacher)
    teacher.forward = watch_teacher
    for step in (0, 3):
        trainer.state.global_step = step
        compute_batch_loss(trainer, make_rows(4))
    assert asked == [(True, True)] * 2 + [(False, False)] * 2


@pytest.mark.parametrize("second_stage", ["prediction", "all"])
def test_the_first_stage_counts_intermediate_terms_only_and_the_second_as_asked(tmp_path, second_stage):
    trainer = make_trainer(tmp_path, **MORE_TERMS, **TWO_STAGES, second_stage=second_stage)
    heads = [trainer.model.classifier.weight.clone()]

    def keep_head(prediction: EvalPrediction) -> dict[str, float]:
        heads.append(trainer.model.classifier.weight.clone())
        return {}

    trainer.compute_metrics = keep_head
    trainer.train()
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["stage"] for entry in steps] == [1, 1, 1, 2, 2, 2]
    intermediate, prediction = ("hidden", "attention", "pkd", "embedding", "relation"), ("ce", "kl", "logit_cosine")
    for entry in steps:
        counting = intermediate if entry["stage"] == 1 else prediction
        counting = (*intermediate, *prediction) if entry["stage"] == 2 and second_stage == "all" else counting
        assert {name for name in entry if name.endswith("_loss")} == {f"{name}_loss" for name in counting}
        assert entry["loss"] == pytest.approx(sum(entry[f"{name}_loss"] for name in counting), rel=1e-4)
    assert torch.equal(heads[1], heads[0])
    assert not torch.equal(heads[2], heads[0])


def test_no_epoch_of_the_first_stage_is_the_best_one_or_counts_for_early_stopping(tmp_path):
    """By a metric that only rises and should be low: the best of all epochs is the first, of the second stage the
    third; with a patience of 1 the fourth is the last."""
    trainer = make_trainer(
        tmp_path,
        **(TWO_STAGES | {"num_train_epochs": 6, "intermediate_epochs": 2.0}),
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="steps_done",
        greater_is_better=False,
    )
    trainer.compute_metrics = lambda prediction: {"steps_done": float(trainer.state.global_step)}
    trainer.add_callback(EarlyStoppingCallback(1))
    trainer.train()
    assert (trainer.state.best_global_step, trainer.state.best_metric) == (9, 9.0)
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-9")
    assert trainer.state.global_step == 12


def test_a_resumed_run_goes_through_the_same_weights_and_stages(tmp_path):
    options = MORE_TERMS | TWO_STAGES | {"schedules": "kl_weight=cosine:0,embedding_weight=linear:3"}
    options |= {"save_strategy": "steps", "save_steps": 2, "save_total_limit": None}
    whole = make_trainer(tmp_path / "whole", **options)
    whole.train()
    resumed = make_trainer(tmp_path / "resumed", **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert_same_weights(whole.model.state_dict(), resumed.model.state_dict())


@pytest.mark.slow
def test_accumulation_equals_one_batch_with_schedules_and_stages(tmp_path):
    options = MORE_TERMS | TWO_STAGES | {"schedules": "temperature=linear:4,embedding_weight=cosine:0"}
    whole = train_weights(tmp_path, per_device_train_batch_size=8, **options)
    split = train_weights(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, **options)
    assert_same_weights(whole, split)
