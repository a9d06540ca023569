"""What TensorBoard and trackio are told of a run beside the trainer's own logs: its name, its group, its layers, and
the scores of the student that was kept.

Entry: `name_run`, `begin_tracking`, `end_tracking`.
"""

from collections.abc import Mapping
from pathlib import Path

from transformers import Trainer, TrainerCallback
from transformers.integrations import TensorBoardCallback
from transformers.integrations.integration_utils import TrackioCallback

from layer_distillation.losses.arguments import DistillationTrainingArguments
from layer_distillation.runs.arguments import RunArguments
from layer_distillation.tasks.arguments import clean_name, name_task

TRACKERS = (TensorBoardCallback, TrackioCallback)
TENSORBOARD_FOLDER = "tensorboard"  # beside the runs of a sweep
DEFAULT_PROJECT = DistillationTrainingArguments.__dataclass_fields__["project"].default


def name_run(arguments: RunArguments) -> dict[str, str]:
    """`run_name` and `project`, where they are not given: `<task>/<arm>-seed<n>`, and the folder above the run's.

    A sweep's folder is named by arm, seed and what else tells its runs apart; any other folder says nothing of it.
    """
    training = arguments.training
    folder = Path(training.output_dir).resolve()
    name = f"{arguments.student.run_name}-seed{training.seed}"
    if folder.name.endswith(f"-seed{training.seed}"):
        name = folder.name
    project = training.project if training.project != DEFAULT_PROJECT else clean_name(folder.parent.name)
    return {"run_name": training.run_name or f"{name_task(arguments.data)}/{name}", "project": project}


def list_trackers(trainer: Trainer) -> list[TrainerCallback]:
    return [callback for callback in trainer.callback_handler.callbacks if isinstance(callback, TRACKERS)]


def begin_tracking(trainer: Trainer) -> None:
    """TensorBoard names a run by its folder below the one that it is shown: `tensorboard/<task>/<arm>-seed<n>`."""
    for tracker in list_trackers(trainer):
        if isinstance(tracker, TensorBoardCallback) and tracker.logging_dir is None:
            folder = Path(trainer.args.output_dir).resolve().parent
            tracker.logging_dir = str(folder / TENSORBOARD_FOLDER / trainer.args.run_name)


def end_tracking(trainer: Trainer, metrics: Mapping[str, Mapping[str, float]], layer_map: str) -> None:
    """After the student that was kept is scored: the trackers have closed, and go on with the same run.

    Args:
        metrics: split -> name -> score; `test/accuracy`, `eval/validation_accuracy` and so on, as trackers group them.
    """
    scores = {
        f"test_{name}" if split == "test" else f"eval_{split}_{name}": float(score)
        for split, found in metrics.items()
        for name, score in found.items()
    }
    for tracker in list_trackers(trainer):
        given = (trainer.args, trainer.state, trainer.control)
        tracker.on_log(*given, model=trainer.model, logs={**scores, "layer_map": layer_map})
        tracker.on_train_end(*given, model=trainer.model)
