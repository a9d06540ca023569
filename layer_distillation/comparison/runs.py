"""Reads the runs that are to be compared: `run_record.json` and `predictions.npz` of each folder, never its name.

The folder may be one inside an archive. Entry: `read_runs`, of what `comparison/finding.py` finds.
"""

import io
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from layer_distillation.comparison.archives import PREDICTIONS_NAME
from layer_distillation.comparison.entries import TEACHER_TERMS, check_entries
from layer_distillation.comparison.finding import RunFolder, get_place
from layer_distillation.comparison.metrics import limit_resamples, score_all_rows
from layer_distillation.records.run_record import (
    FINISHED,
    RECORD_NAME,
    RunRecord,
    find_loss_name,
    parse_run_record,
    read_run_record,
)
from layer_distillation.records.student_names import name_loss, name_settings, name_variant
from layer_distillation.records.tuning import list_tuned
from layer_distillation.tasks.arguments import DEFAULT_THRESHOLD
from layer_distillation.tasks.evaluation_sets import RETRIEVAL, list_metric_names
from layer_distillation.tasks.kinds.entry import CLOSENESS_METRICS, LABELS, ONE_NUMBER, VECTOR, TaskKind, Truth
from layer_distillation.tasks.kinds.ranking_scores import average_queries
from layer_distillation.tasks.kinds.table import get_record_kind
from layer_distillation.tasks.weighted_scores import Scorer

UNLABELLED_ARGUMENTS = ("unlabeled_file", "max_unlabeled_samples", "recombined_pairs")
# Without a teacher there is nothing that these could change.
TEACHER_ARGUMENTS = frozenset(
    [*TEACHER_TERMS, "temperature", "hidden_loss", "attention_loss", "layer_matching", "relation_layer"]
    + ["relation_heads", "pkd_last_layer", "schedules", "intermediate_epochs", "second_stage", *UNLABELLED_ARGUMENTS]
    + ["similarity_loss", "matryoshka_dims"]
)
VARIED_LOSS = "loss"  # among what is varied: all arguments of the loss together, named by its terms
LOSS_ARGUMENTS = frozenset(["ce_weight", "class_weights", *TEACHER_ARGUMENTS]) - set(UNLABELLED_ARGUMENTS)
ROW_SHARES = ("accuracy", "agreement")  # whose rows are right or wrong
CONTROL_STRATEGIES = ("random", "scratch")
# What numpy raises for predictions that are cut short, changed, no archive of arrays (TypeError) or absurdly large.
DAMAGES = (ValueError, OSError, EOFError, KeyError, TypeError, MemoryError, zipfile.BadZipFile, zlib.error)
SAME_SCORE = 1e-3  # the record's metric and that of the predictions may differ by rounding


class LeftOut(NamedTuple):
    """A run that is in no comparison."""

    folder: str
    reason: str


@dataclass(frozen=True, eq=False)
class Run:
    """One finished run. `arrays` as in predictions.npz: `<split>.student_logits`, `.teacher_logits`, `.labels`, each of
    the split's items; of a kind whose rows have several `.row_items` too, how many each row has.

    `varied` are the arguments that make arms of their own, beside the start.
    """

    folder: str
    record: RunRecord
    arrays: dict[str, np.ndarray]
    varied: tuple[str, ...] = ()

    @property
    def has_teacher_terms(self) -> bool:
        arguments = self.record.arguments
        return any(arguments[name] > 0 or name in arguments["schedules"] for name in TEACHER_TERMS)

    @property
    def start_name(self) -> str:
        """The strategy, and what else its students are: narrower, or of another checkpoint than the teacher; and what
        is varied that would differ without a teacher too."""
        varied = [name for name in self.varied if name not in {VARIED_LOSS, "ce_weight", *TEACHER_ARGUMENTS}]
        return self.record.strategy + self.variant + name_settings(self.record.arguments, varied)

    @property
    def variant(self) -> str:
        return name_variant(self.record.arguments, self.record.student.get("width_init"))

    @property
    def arm_name(self) -> str:
        if not self.has_teacher_terms:
            return self.start_name + ", without teacher"
        varied = [name for name in self.varied if name in {"ce_weight", *TEACHER_ARGUMENTS}]
        loss = name_loss(self.record.arguments) if VARIED_LOSS in self.varied else ""
        return self.start_name + loss + name_settings(self.record.arguments, varied)

    @property
    def varied_arguments(self) -> dict[str, object]:
        """The values of all that makes arms beside the start, as far as they change this run."""
        names = set(self.varied) - {VARIED_LOSS} | (LOSS_ARGUMENTS if VARIED_LOSS in self.varied else frozenset())
        names -= frozenset() if self.has_teacher_terms else {"ce_weight", *TEACHER_ARGUMENTS}
        return {name: self.record.arguments.get(name) for name in sorted(names)}

    @property
    def tuned(self) -> tuple[str, ...]:
        """Flags that its arm has its own value of; not those whose values make arms."""
        dropped = {*self.varied_arguments, *(() if self.has_teacher_terms else ("ce_weight", *TEACHER_ARGUMENTS))}
        return tuple(name for name in list_tuned(self.record) if name not in dropped)

    @property
    def is_control(self) -> bool:
        return self.record.strategy in CONTROL_STRATEGIES or not self.has_teacher_terms

    @property
    def layers(self) -> list[int | None]:
        return self.record.student["layers"]

    @property
    def unlabelled_fingerprint(self) -> str | None:
        """Of its transfer set; None without one, as in all records from before there were any."""
        return self.record.task.get("unlabelled_fingerprint")

    @property
    def kind(self) -> TaskKind:
        return get_record_kind(self.record.task)

    @property
    def outputs(self) -> str:
        """What a model's outputs are: one of `tasks/kinds/entry.py`."""
        return self.kind.get_outputs(self.record.task["label_names"])

    @property
    def is_scored_by_teacher(self) -> bool:
        """No row that chose the epoch had a gold label; no record from before has such an entry."""
        return self.selecting_split in self.record.task.get("without_gold", ())

    @property
    def selecting_split(self) -> str:
        """The validation split whose loss chose the epoch."""
        return next(split for split in self.record.task["rows"] if split not in ("train", "test"))

    def is_retrieval(self, split: str) -> bool:
        """Whether it is a retrieval set, of which predictions.npz has the scores of every query."""
        return split in self.record.task.get(RETRIEVAL, {})

    def has_teacher_for_gold(self, split: str) -> bool:
        """Whether the teacher's answers stand for the gold labels that no row of the split has."""
        has_none = self.is_scored_by_teacher and split in self.record.task.get("without_gold", ())
        return has_none and f"{split}.teacher_logits" in self.arrays

    @cached_property
    def labelled_rows(self) -> dict[str, np.ndarray]:
        """Per split that has any: where a label is, as a mask over the items, which mostly are the rows. Where nothing
        has a gold label, the teacher's answers are the labels of all of them."""
        masks = {}
        for name, labels in self.arrays.items():
            split, part = name.rsplit(".", 1)
            if part == "labels":
                flat = labels.reshape(len(labels), -1)
                has_nan = self.outputs in (*ONE_NUMBER, LABELS, VECTOR)
                masks[split] = (~np.isnan(flat) if has_nan else flat >= 0).all(axis=1)
                if self.has_teacher_for_gold(split):
                    masks[split] = np.ones(len(flat), dtype=bool)
        for split, sizes in self.record.task.get(RETRIEVAL, {}).items():
            if f"{split}.student_scores" in self.arrays:
                masks[split] = np.ones(sizes["queries"], dtype=bool)
        return {split: mask for split, mask in masks.items() if mask.any()}

    def get_truth(self, split: str) -> Truth:
        """The labelled items; of rows with several those rows that have any."""
        if self.is_retrieval(split):
            return Truth(np.ones(self.record.task[RETRIEVAL][split]["queries"]), self.record.task["label_names"])
        mask, labels = self.labelled_rows[split], self.arrays[f"{split}.labels"]
        if self.has_teacher_for_gold(split):
            logits = self.arrays[f"{split}.teacher_logits"]
            labels = logits if self.outputs in (*ONE_NUMBER, VECTOR) else choose_answers(logits, self.outputs)
        labels = labels.reshape(len(mask)) if self.outputs in (*ONE_NUMBER, VECTOR) else labels
        row_items = self.arrays.get(f"{split}.row_items")
        if row_items is not None:
            rows = np.repeat(np.arange(len(row_items)), row_items)
            counts = np.bincount(rows[mask], minlength=len(row_items))
            row_items = counts[counts > 0]
        threshold = self.record.task.get("decision_threshold", DEFAULT_THRESHOLD)
        if self.has_teacher_for_gold(split):  # as agreement is measured while training
            threshold = DEFAULT_THRESHOLD
        units = self.arrays.get(f"{split}.units")
        units = None if units is None else units[mask]
        return Truth(labels[mask], self.record.task["label_names"], row_items, threshold, units)

    def count_row_items(self, split: str, num_rows: int) -> np.ndarray:
        """(rows,), how many items each of the data's rows has in predictions.npz."""
        if self.kind.unit_column is not None and f"{split}.units" in self.arrays:
            return np.unique(self.arrays[f"{split}.units"], return_counts=True)[1]
        return self.arrays.get(f"{split}.row_items", np.ones(num_rows, np.int64))

    def name_units(self, split: str) -> str:
        """What is resampled of the split, in the plural: rows, sentences, articles."""
        if split in self.record.task.get(RETRIEVAL, {}):
            return "queries"
        named = self.arrays.get(f"{split}.unit")
        return self.kind.unit if named is None else str(named)

    def get_kept(self, split: str, model: str) -> np.ndarray | None:
        """What predictions.npz has of a model: the logits of items, or the scores of rows that are several inputs."""
        has_scores = self.kind.answer_rows is not None or self.is_retrieval(split)
        return self.arrays.get(f"{split}.{model}_{'scores' if has_scores else 'logits'}")

    def get_answers(self, metric_name: str, split: str, model: str = "student") -> np.ndarray:
        """What the metric looks at, of every labelled item."""
        kept = self.get_kept(split, model)[self.labelled_rows[split]]
        if self.is_retrieval(split):
            return kept[:, self.list_metrics(split).index(metric_name)]
        return self.kind.read_answers(kept, metric_name, self.get_truth(split))

    def make_scorer(self, metric_name: str, answers: np.ndarray, split: str) -> Scorer:
        """The metric as a function of the rows' weights; answers: (runs, items, ...), each as `get_answers` gives."""
        if self.is_retrieval(split):
            return average_queries(answers)
        return self.kind.list_scorers(self.record.task["label_names"])[metric_name](answers, self.get_truth(split))

    def list_constants(self, metric_name: str, answers: np.ndarray, split: str) -> Mapping[str | None, np.ndarray]:
        """Answers that read no row."""
        if self.is_retrieval(split):
            return {None: np.zeros_like(answers)}
        return self.kind.list_constants(metric_name, answers, self.get_truth(split))

    def limit_resamples(self, wanted: int, metric_name: str, split: str, num_runs: int) -> int:
        truth = self.get_truth(split)
        products = 1 if self.is_retrieval(split) else self.kind.count_products(metric_name, truth)
        return limit_resamples(wanted, products, truth.num_rows, num_runs)

    def mark_right(self, metric_name: str, answers: np.ndarray, split: str) -> np.ndarray | None:
        """(runs, rows), or None where the metric is no share of the rows."""
        return self.kind.mark_right(answers, self.get_truth(split)) if metric_name in ROW_SHARES else None

    def score(self, metric_name: str, split: str, model: str = "student") -> float:
        answers = self.get_answers(metric_name, split, model)
        scorer = self.make_scorer(metric_name, answers[None], split)
        return float(score_all_rows(scorer, self.get_truth(split).num_rows)[0])

    def name_headline(self, split: str) -> str:
        """The main metric of the split, as the record has it."""
        return self.list_metrics(split)[0]

    def list_metrics(self, split: str | None = None) -> list[str]:
        """The task's own, the main one first, then what else its labels allow; of a retrieval set its own, and of a
        split without gold labels closeness to the teacher."""
        if split is not None and self.is_retrieval(split):
            return list(list_metric_names(self.record.task, split))
        if split is not None and self.has_teacher_for_gold(split):
            return [CLOSENESS_METRICS[self.outputs]]
        own, beside = self.record.task["metric_names"], self.kind.list_shown_beside(self.record.task["label_names"])
        if set(own) <= set(CLOSENESS_METRICS.values()):  # nothing has a gold label
            return list(own)
        return list(dict.fromkeys([*own, *beside]))


def choose_answers(logits: np.ndarray, outputs: str) -> np.ndarray:
    """(items,) classes; (items, labels) of which are given, those of half a chance and more."""
    return logits >= 0 if outputs == LABELS else logits.argmax(axis=-1)


def read_runs(folders: Sequence[RunFolder], varied: Sequence[str] = ()) -> tuple[list[Run], list[LeftOut]]:
    """The finished, whole runs, and the others with the reason.

    Args:
        varied: names of arguments whose values make arms, as seeds do not.
    """
    runs, left_out = [], []
    for folder in folders:
        try:
            runs.append(replace(read_run(folder), varied=tuple(varied)))
        except ValueError as error:
            left_out.append(LeftOut(str(get_place(folder)), str(error)))
        except OSError as error:
            left_out.append(LeftOut(str(get_place(folder)), f"unreadable ({error.strerror}): allow reading it"))
    return runs, left_out


def read_run(folder: RunFolder) -> Run:
    """Raises ValueError with the reason why the folder holds nothing to compare."""
    record = read_record(folder)
    if record.status != FINISHED:
        raise ValueError(f"unfinished (status {record.status}): start its command again")
    check_entries(record)
    run = Run(str(get_place(folder)), record, read_predictions(folder))
    unknown = set(record.task["metric_names"]) - run.kind.list_scorers(record.task["label_names"]).keys()
    if unknown or not record.task["metric_names"]:
        raise ValueError(f"its metrics {record.task['metric_names']} are not those of this version: run it again")
    check_predictions(run)
    return run


def read_record(folder: RunFolder) -> RunRecord:
    if isinstance(folder, Path):
        return read_run_record(folder)
    if folder.problem:
        raise ValueError(folder.problem)
    return parse_run_record(folder.files[RECORD_NAME], folder.folder / RECORD_NAME)


def read_predictions(folder: RunFolder) -> dict[str, np.ndarray]:
    """Raises ValueError where the file is missing or damaged."""
    try:
        with open_predictions(folder) as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError as error:
        raise ValueError(f"{PREDICTIONS_NAME} is missing: run it again") from error
    except DAMAGES as error:
        raise ValueError(f"{PREDICTIONS_NAME} is damaged ({type(error).__name__}): run it again") from error


def open_predictions(folder: RunFolder) -> BinaryIO:
    if isinstance(folder, Path):
        return (folder / PREDICTIONS_NAME).open("rb")
    if PREDICTIONS_NAME not in folder.files:
        raise FileNotFoundError(folder.folder / PREDICTIONS_NAME)
    return io.BytesIO(folder.files[PREDICTIONS_NAME])


def check_predictions(run: Run) -> None:
    """Raises ValueError where the predictions are not those of the record."""
    for split, num_rows in run.record.task["rows"].items():
        if split == "train":
            continue
        logits, labels = run.get_kept(split, "student"), run.arrays.get(f"{split}.labels")
        row_items = run.count_row_items(split, num_rows)
        num_items = int(row_items.sum())
        if (
            logits is None
            or len(row_items) != num_rows
            or len(logits) != num_items
            or (labels is not None and len(labels) != num_items)
        ):
            raise ValueError(
                f"{PREDICTIONS_NAME} does not hold the {num_rows} {split} rows of the record: run it again"
            )
        if not np.isfinite(logits).all():
            raise ValueError(f"{PREDICTIONS_NAME} holds nan or infinity in {split}: the run diverged")
    for split, sizes in run.record.task.get(RETRIEVAL, {}).items():
        kept = run.get_kept(split, "student")
        if kept is None or kept.shape != (sizes["queries"], len(run.list_metrics(split))):
            raise ValueError(f"{PREDICTIONS_NAME} does not hold the queries of {split}: run it again")
    for split in run.labelled_rows:
        name, recorded = run.name_headline(split), run.record.metrics.get(split, {})
        loss = name if run.is_retrieval(split) else find_loss_name(recorded)
        if not {loss, name} <= recorded.keys():
            raise ValueError(f"its record lacks the {split} loss or {name}: run it again with this version")
        if not all(isinstance(recorded[score], int | float) for score in (loss, name)):
            raise ValueError(f"its record has something else than a number as the {split} loss or {name}: run it again")
        if not math.isfinite(recorded[loss]):
            raise ValueError(f"its {split} loss is {recorded[loss]}: the run diverged")
        if abs(run.score(name, split) - recorded[name]) > SAME_SCORE:
            raise ValueError(f"{PREDICTIONS_NAME} gives another {split} {name} than the record: run it again")
    if run.selecting_split not in run.labelled_rows:
        raise ValueError(f"no row of {run.selecting_split} is labelled: nothing there chose the epoch")
