"""hyperparameter_search with a teacher and with a store: each trial is the training that its arguments describe."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from transformers import EvalPrediction
from transformers.hyperparameter_search import ALL_HYPERPARAMETER_SEARCH_BACKENDS, HyperParamSearchBackendBase
from transformers.trainer_utils import BestRun, HPSearchBackend

from conftest import make_bert, make_rows, pad_rows
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.losses.terms import WantedLayers
from test_distill_trainer import assert_same_weights
from tests.losses.test_terms import fill
from tiny_training import OFF

TRIALS = [
    {"kl_weight": 0.5, "temperature": 1.0, "learning_rate": 1e-3},
    {"kl_weight": 2.0, "temperature": 4.0, "learning_rate": 1e-2},
    {"kl_weight": 0.0, "temperature": 1.0, "learning_rate": 1e-2},
]


class GivenTrials(HyperParamSearchBackendBase):
    """Runs the trials above in the place of a library that draws them."""

    name = "wandb"
    kept: list[tuple[dict, float]] = []  # noqa: RUF012 - of one test, which empties it

    @staticmethod
    def is_available() -> bool:
        return True

    def run(self, trainer: DistillationTrainer, n_trials: int, direction: str) -> BestRun:
        for trial in TRIALS[:n_trials]:
            trainer.objective = None
            trainer.train(trial=dict(trial))
            self.kept.append((trainer.model.state_dict(), trainer.compute_objective(trainer.evaluate())))
            trainer.model_wrapped = trainer.model = None  # as the optuna backend leaves it
        best = min(range(n_trials), key=lambda number: self.kept[number][1])
        return BestRun(str(best), self.kept[best][1], TRIALS[best])


@pytest.fixture
def kept(monkeypatch) -> list[tuple[dict, float]]:
    monkeypatch.setitem(ALL_HYPERPARAMETER_SEARCH_BACKENDS, HPSearchBackend.WANDB, GivenTrials)
    monkeypatch.setattr("transformers.integrations.integration_utils.is_wandb_available", lambda: True)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=SimpleNamespace(id="trial", name="trial")))
    GivenTrials.kept.clear()
    return GivenTrials.kept


def make_student(trial: dict | None = None):
    return make_bert(2, seed=2)


def make_trainer(folder: Path, source: str, **options) -> DistillationTrainer:
    terms = {"hidden": 1.0}
    teacher = make_bert(4, seed=1)
    if source == "stored":
        teacher = fill(folder / "store", WantedLayers(hidden_layers=(1, 3)), terms)
    settings = {"use_cpu": True, "bf16": False, "disable_tqdm": True, "num_train_epochs": 1, "eval_strategy": "no"}
    settings |= {"save_strategy": "no", "load_best_model_at_end": False, "hidden_weight": 1.0}
    names = DistillationTrainingArguments.__dataclass_fields__
    fields = {name: options.pop(name) for name in list(options) if name in names}
    return DistillationTrainer(
        args=DistillationTrainingArguments(str(folder), **OFF | {"ce_weight": 1.0} | settings | fields),
        teacher=teacher,
        data_collator=pad_rows,
        train_dataset=Dataset.from_list(make_rows(22)),
        eval_dataset=Dataset.from_list(make_rows(21, seed=9)),
        **options,
    )


@pytest.mark.parametrize("source", ["live", "stored"])
@pytest.mark.slow
def test_each_trial_is_the_training_of_its_arguments(tmp_path, kept, source):
    searching = make_trainer(tmp_path, source, model_init=make_student)
    best = searching.hyperparameter_search(lambda trial: trial, n_trials=len(TRIALS), backend="wandb")
    for trial, (weights, objective) in zip(TRIALS, kept, strict=True):
        torch.manual_seed(0)
        single = make_trainer(tmp_path, source, model_init=make_student, **trial)
        single.train()
        assert_same_weights(single.model.state_dict(), weights)
        assert objective == pytest.approx(single.evaluate()["eval_loss"])
    assert best.objective == min(objective for _, objective in kept)


def test_the_objective_is_the_user_s_metrics_without_the_closeness_to_the_teacher(tmp_path, kept):
    def count(prediction: EvalPrediction) -> dict[str, float]:
        return {"rows": float(len(prediction.label_ids))}

    make_trainer(tmp_path, "live", model_init=make_student, compute_metrics=count).hyperparameter_search(
        lambda trial: trial, n_trials=1, backend="wandb"
    )
    assert kept[0][1] == 21.0  # stock's: the sum of all metrics
