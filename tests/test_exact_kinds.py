"""The exact means of every kind: accumulated steps, padding, stored outputs, a resumed training, two processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

import run_distillation
import tiny_kinds
from layer_distillation.outputs.store import make_spec
from layer_distillation.records.run_record import read_run_record
from layer_distillation.tasks.kinds.entry import VECTOR
from layer_distillation.tasks.kinds.table import TASK_KINDS
from layer_distillation.teachers.store_filling import open_or_fill
from test_distill_trainer import assert_same_weights
from tiny_kinds import TINY_KINDS, make_data, make_kind_project, make_trainer, write_data

KINDS = list(TINY_KINDS)


def test_every_kind_but_rerankers_is_among_them():
    """A reranker's rows are queries with candidates: its exactness is held beside its trainer."""
    assert {*KINDS} == {*TASK_KINDS, "regression"} - {"reranking"}


def train_weights(trainer) -> dict[str, torch.Tensor]:
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.train()
    after = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    assert any(not torch.equal(after[name], before[name]) for name in after)
    return after


@pytest.mark.parametrize("kind", KINDS)
def test_accumulation_equals_one_batch_also_for_the_ragged_last_step(tmp_path, kind):
    """11 rows and more windows: steps of 8, once whole and once in micro-batches of 2; some rows have no label."""
    data, tokenizer = make_data(tmp_path, kind)
    whole = train_weights(make_trainer(tmp_path, data, tokenizer))
    options = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    assert_same_weights(whole, train_weights(make_trainer(tmp_path, data, tokenizer, **options)))


@pytest.mark.parametrize("kind", KINDS)
def test_more_padding_changes_no_loss(tmp_path, kind):
    data, tokenizer = make_data(tmp_path, kind)
    trainer = make_trainer(tmp_path, data, tokenizer, attention_weight=1.0)
    rows = [data.train[index] for index in range(5)]
    losses = []
    for multiple in (None, 32):
        trainer.data_collator.pad_to_multiple_of = multiple
        losses.append(trainer.compute_loss(trainer.model, trainer.data_collator(rows)).item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_stored_outputs_teach_as_the_live_teacher_does(tmp_path, kind):
    data, tokenizer = make_data(tmp_path, kind)
    live = make_trainer(tmp_path, data, tokenizer, attention_weight=1.0)
    weights, layers = train_weights(live), tuple(live.layer_matching)
    spec = make_spec(live.teacher.config, "t", data.train, layers, layers, is_per_token=data.kind.is_per_token)
    collate = data.kind.make_collator(tokenizer)
    store = open_or_fill(tmp_path / "stores", spec, live.teacher, data.train, collate, torch.device("cpu"))
    trainer = make_trainer(tmp_path, data, tokenizer, teacher=store, attention_weight=1.0)
    trainer.data_collator.pad_to_multiple_of = 8  # more than the rows need
    stored = train_weights(trainer)
    for name, tensor in weights.items():
        torch.testing.assert_close(stored[name], tensor, rtol=1e-2, atol=2e-4, msg=name)  # states in half precision


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_scores_rows_whatever_the_batches(tmp_path, kind):
    data, tokenizer = make_data(tmp_path, kind)
    found = [make_trainer(tmp_path, data, tokenizer, per_device_eval_batch_size=size).evaluate() for size in (1, 3)]
    names = [name for name in found[0] if not name.endswith(("runtime", "per_second", "preparation_time"))]
    assert {*([] if data.outputs == VECTOR else ["eval_loss"]), *(f"eval_{name}" for name in data.metric_names)} <= {
        *names
    }
    assert [found[1][name] for name in names] == pytest.approx([found[0][name] for name in names], rel=1e-5)


class StopAtStep(TrainerCallback):
    def on_step_begin(self, args: object, state: object, control: object, **kwargs: object) -> None:
        if state.global_step == 9:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_training_ends_bit_for_bit_as_one_that_was_not_interrupted(tmp_path, kind):
    """With dropout, Adam and a falling rate; stopped within the third epoch or later, and begun again from a checkpoint
    within an epoch."""
    data, tokenizer = make_data(tmp_path, kind)
    options = {"dropout": 0.1, "optim": "adamw_torch", "learning_rate": 1e-2, "lr_scheduler_type": "linear"}
    options |= {"num_train_epochs": 4, "per_device_train_batch_size": 3, "eval_strategy": "epoch"}
    options |= {"save_strategy": "steps", "save_steps": 3, "save_total_limit": None}
    whole = make_trainer(tmp_path / "whole", data, tokenizer, **options)
    whole.train()
    broken = make_trainer(tmp_path / "broken", data, tokenizer, **options)
    broken.add_callback(StopAtStep())
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = make_trainer(tmp_path / "broken", data, tokenizer, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "broken" / "run" / "checkpoint-6"))
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name
    name = "eval_mse_to_teacher" if data.outputs == VECTOR else "eval_loss"
    scores = [trainer.state.log_history[-2][name] for trainer in (whole, resumed)]
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_two_processes_equal_one_in_gradients_and_scores(tmp_path):
    """Of 11 rows in global batches of 8 the last round has 3, which accelerate fills up with duplicates."""
    for kind in KINDS:
        write_data(tmp_path / "two" / kind, kind)
        write_data(tmp_path / "one" / kind, kind)
    options = {"attention_weight": 1.0, "per_device_eval_batch_size": 2}
    runs = {kind: options | {"per_device_train_batch_size": 4} for kind in KINDS}
    run_two_processes(tmp_path / "two", runs)
    for kind in KINDS:
        tiny_kinds.train_and_save(tmp_path / "one" / kind, kind, **options)
        one, two = (tmp_path / name / kind for name in ("one", "two"))
        assert_same_weights(torch.load(one / "weights.pt"), torch.load(two / "weights.pt"))
        logs = [json.loads((folder / "log.json").read_text()) for folder in (one, two)]
        for own, other in zip(*logs, strict=True):
            scores = {name: value for name, value in own.items() if is_score(name)}
            assert {name: other[name] for name in scores} == pytest.approx(scores, rel=1e-4, abs=1e-6), kind


def is_score(name: str) -> bool:
    return name.endswith("loss") or (name.startswith("eval_") and not name.endswith(("runtime", "second", "time")))


def run_two_processes(folder: Path, runs: dict[str, dict]) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, *launch, tiny_kinds.__file__, str(folder), json.dumps(runs)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.slow
def test_questions_without_an_answer_go_through_the_whole_command(tmp_path):
    """SQuAD v2's rules: an answer that is empty is right where there is none."""
    flags = make_kind_project(tmp_path, "question-answering", version_2_with_negative=True)
    for name in ("train", "validation", "test"):
        path = tmp_path / f"{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows[::2]:
            row["answers"] = {"text": [], "answer_start": []}
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run_distillation.main([*flags, "--null_score_diff_threshold=-1000"]) == 0
    record = read_run_record(tmp_path / "run")
    with np.load(tmp_path / "run" / "predictions.npz") as arrays:
        assert {*arrays["test.student_answers"]} == {""}  # the threshold makes every answer none
    assert record.metrics["test"]["exact_match"] == pytest.approx(5 / 9)
    assert record.metrics["test"]["f1"] == pytest.approx(5 / 9)
