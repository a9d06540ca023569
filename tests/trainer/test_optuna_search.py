"""Optuna searches settings and the student's layers together, from one store, and prunes by the validation loss."""

from pathlib import Path

import pytest
from transformers import PreTrainedModel
from transformers.trainer_utils import BestRun

from conftest import make_bert
from student_init import build_student
from tests.trainer.test_search import make_trainer

optuna = pytest.importorskip("optuna", reason="optuna is not installed")
LAYERS = {"top": [0, 1], "bottom": [2, 3], "odd": [1, 3], "even": [0, 2]}


def suggest(trial: "optuna.Trial") -> dict[str, float]:
    """Fields of the arguments; the strategy is none, so that `model_init` suggests it."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "temperature": trial.suggest_float("temperature", 1.0, 4.0),
        "kl_weight": trial.suggest_float("kl_weight", 0.0, 2.0),
    }


class Search:
    """A search with a teacher, or its store, that notes what every trial began with."""

    def __init__(self, folder: Path, source: str) -> None:
        self.teacher, self.started = make_bert(4, seed=1), []
        options = {"eval_strategy": "epoch", "num_train_epochs": 3, "model_init": self.make_student}
        self.trainer = make_trainer(folder, source, **options)

    def make_student(self, trial: "optuna.Trial | None" = None) -> PreTrainedModel:
        strategy = "even" if trial is None else trial.suggest_categorical("strategy", list(LAYERS))
        student = build_student(self.teacher, LAYERS[strategy], strategy)
        self.started.append((strategy, student.config.distillation["student_layers"]))
        return student

    def run(self, n_trials: int, pruner: "optuna.pruners.BasePruner", study_name: str, storage: str) -> BestRun:
        return self.trainer.hyperparameter_search(
            suggest,
            compute_objective=lambda metrics: metrics["eval_loss"],
            n_trials=n_trials,
            backend="optuna",
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=pruner,
            study_name=study_name,
            storage=storage,
        )


@pytest.mark.slow
@pytest.mark.parametrize("source", ["live", "stored"])
def test_settings_and_layers_are_searched_together(tmp_path, source):
    search, storage = Search(tmp_path, source), f"sqlite:///{tmp_path / 'search.db'}"
    best = search.run(5, optuna.pruners.NopPruner(), "colours", storage)
    trials = optuna.load_study(study_name="colours", storage=storage).trials
    assert best.objective == min(trial.value for trial in trials)
    assert best.hyperparameters.keys() == {"strategy", "learning_rate", "temperature", "kl_weight"}
    strategies = [trial.params["strategy"] for trial in trials]
    assert len(set(strategies)) > 1
    assert search.started[1:] == [(name, LAYERS[name]) for name in strategies]
    assert len({trial.value for trial in trials}) == len(trials)


@pytest.mark.slow
def test_a_trial_is_pruned_by_its_validation_loss_and_the_next_one_is_whole(tmp_path):
    search, storage = Search(tmp_path, "stored"), f"sqlite:///{tmp_path / 'search.db'}"
    pruner = optuna.pruners.ThresholdPruner(upper=0.0, n_warmup_steps=2)  # every loss is above: at the second epoch
    # What optuna 5 says of a study without a best trial.
    with pytest.raises(ValueError, match="Record does not exist"):
        search.run(2, pruner, "colours", storage)
    trials = optuna.load_study(study_name="colours", storage=storage).trials
    assert [trial.state.name for trial in trials] == ["PRUNED", "PRUNED"]
    again = search.run(1, optuna.pruners.NopPruner(), "again", storage)
    assert again.objective > 0
