"""What a training tells people: one bar with the loss on a terminal, and one line per evaluation, there and in a file.

    tell_story(trainer, "training the student", "accuracy")

In place of the Trainer's own callbacks, which print dictionaries. The lines go through `logging`, the bar to stderr.
"""

import logging
import sys
import time
from typing import Any, Protocol

from tqdm.auto import tqdm
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK

from layer_distillation.records.run_record import summarize_history

logger = logging.getLogger(__name__)

BAR_SECONDS = 0.5  # between two looks at the loss: a look makes a GPU wait
DISTANCES = {"eval_kl_to_teacher": "KL to the teacher", "eval_mse_to_teacher": "squared error to the teacher"}
CLOSENESS = {
    "eval_agreement": "agreement",
    "eval_pearson_to_teacher": "Pearson to teacher",
    "eval_cosine_to_teacher": "cosine to teacher",
    "eval_spearman_to_teacher": "Spearman to teacher",
}
BEST = "  best so far"


class ToldTrainer(Protocol):
    """What `TrainingStory` needs of a trainer."""

    def get_step_loss(self) -> float: ...

    def is_first_stage(self) -> bool: ...

    def add_callback(self, callback: TrainerCallback) -> None: ...

    def remove_callback(self, callback: type[TrainerCallback]) -> None: ...


def tell_story(trainer: ToldTrainer, title: str, metric_name: str) -> None:
    """From now on the trainer's progress is told by lines and one bar; `metric_name` is the task's first."""
    silence(trainer)
    trainer.add_callback(TrainingStory(trainer, title, metric_name))


def silence(trainer: ToldTrainer) -> None:
    """No dictionaries and no bars of the Trainer's own."""
    for callback in (PrinterCallback, ProgressCallback, DEFAULT_PROGRESS_CALLBACK):
        trainer.remove_callback(callback)


class TrainingStory(TrainerCallback):
    """Says on the main process how a training comes along."""

    def __init__(self, trainer: ToldTrainer, title: str, metric_name: str) -> None:
        self.trainer, self.title, self.metric_name = trainer, title, metric_name
        self.bar: tqdm | None = None
        self.columns: list[tuple[str, str]] = []
        self.line_start = self.look = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        self.columns, self.line_start = [], time.perf_counter()
        if not state.is_world_process_zero:
            return
        begun = f", on from step {state.global_step:,}" if state.global_step else ""
        logger.info("%s: %g epochs, %s steps%s", self.title, state.num_train_epochs, f"{state.max_steps:,}", begun)
        is_shown = sys.stderr.isatty() and not args.disable_tqdm
        self.bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc=self.title, unit="step", leave=False,
            dynamic_ncols=True, disable=not is_shown,
        )  # fmt: skip

    def on_step_end(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        if self.bar is None or self.bar.disable:
            return
        if (now := time.perf_counter()) - self.look > BAR_SECONDS:
            self.look = now
            self.bar.set_postfix_str(f"loss {self.trainer.get_step_loss():.4g}", refresh=False)
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: TrainingArguments, state: TrainerState, *_: Any, **kwargs: Any) -> None:
        if args.eval_strategy == "no" and "loss" in kwargs["logs"] and state.is_world_process_zero:
            self._tell({"epoch": state.epoch, "train_loss": kwargs["logs"]["loss"]}, is_best=False)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        if state.is_world_process_zero and self.bar is not None:
            entry = summarize_history(state.log_history)[-1]
            self._tell(entry, is_best=not self.trainer.is_first_stage() and is_better(entry, args, state))

    def on_train_end(self, *_: Any, **__: Any) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _tell(self, entry: dict[str, float], is_best: bool) -> None:
        """One line, under a header where it is the first."""
        now = time.perf_counter()
        entry, self.line_start = entry | {"seconds": now - self.line_start}, now
        if not self.columns:
            names = {"epoch": "epoch", "train_loss": "training loss", "eval_loss": "validation loss"}
            if "eval_loss" not in entry:  # no row has a gold label
                names |= DISTANCES
            names |= {f"eval_{self.metric_name}": self.metric_name} | CLOSENESS | {"seconds": "seconds"}
            self.columns = [(name, title) for name, title in names.items() if name in entry]
            logger.info("%s", "  ".join(title for _, title in self.columns))
        cells = [format_cell(name, entry.get(name)).rjust(len(title)) for name, title in self.columns]
        logger.info("%s%s", "  ".join(cells), BEST if is_best else "")


def format_cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return {"epoch": f"{value:.4g}", "seconds": f"{value:.1f}"}.get(name, f"{value:.4f}")


def is_better(entry: dict[str, float], args: TrainingArguments, state: TrainerState) -> bool:
    """Whether no evaluation before was as good, by what chooses the best student."""
    if args.metric_for_best_model is None:
        return False
    value = entry.get(f"eval_{args.metric_for_best_model.removeprefix('eval_')}")
    if value is None or state.best_metric is None:
        return value is not None
    return value > state.best_metric if args.greater_is_better else value < state.best_metric
