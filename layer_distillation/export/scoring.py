"""Scores an artifact as the run scored its student: the same rows, metrics, losses and intervals.

Entry: `predict_splits`, `complete_splits`, `score_artifact`, `measure_change`.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from datasets import Dataset

from layer_distillation.cards.scores import RESAMPLES, estimate_interval
from layer_distillation.comparison.metrics import resample_scores, score_all_rows
from layer_distillation.comparison.runs import Run, check_predictions, read_predictions
from layer_distillation.comparison.statistics import CONFIDENCE
from layer_distillation.export.clients import Answer, Batch
from layer_distillation.export.conversion import list_inputs
from layer_distillation.export.subjects import Subject
from layer_distillation.records.export_record import Artifact
from layer_distillation.records.run_record import RunRecord
from layer_distillation.records.token_counts import measure_lengths
from layer_distillation.tasks.metrics import compute_task_loss, compute_task_metrics, compute_teacher_agreement

SCORED_ROWS = 32  # per batch
MODELS = ("student", "teacher")
AGREEMENTS = ("agreement", "pearson_to_teacher")  # of classes, of a regression

Logits = dict[str, np.ndarray]  # split -> (rows, classes)


def read_run(folder: Path, record: RunRecord) -> Run:
    """The finished run with its predictions: what the artifacts are compared with.

    Raises:
        ValueError: they are missing, or not those of the record.
    """
    run = Run(str(folder), record, read_predictions(folder))
    check_predictions(run)
    return run


def find_headline(run: Run) -> tuple[str, str]:
    """The split and the metric that artifacts are judged by: test where it is labelled."""
    split = "test" if "test" in run.labelled_rows else run.selecting_split
    return split, run.record.task["metric_names"][0]


# ---- answers -----------------------------------------------------------------------------------------------------


def predict_splits(answer: Answer, subject: Subject, by_length: bool = False, batch_rows: int = SCORED_ROWS) -> Logits:
    """The logits of every row that is not for training, in the order of the rows."""
    return {split: predict(answer, rows, subject, by_length, batch_rows) for split, rows in list_scored(subject)}


def complete_splits(answer: Answer, subject: Subject, known: Logits) -> Logits:
    """Likewise of a trimmed student: what the whole one answers to rows that are the same tokens, by `check_split`
    with the same answer, and its own answers to the others."""
    found = {}
    for split, rows in list_scored(subject):
        found[split] = known[split].copy()
        if indices := subject.uncovered[split]:
            found[split][indices] = predict(answer, rows.select(indices), subject, by_length=True)
    return found


def list_scored(subject: Subject) -> list[tuple[str, Dataset]]:
    return [(split, rows) for split, rows in subject.data.list_splits() if split != "train"]


def predict(
    answer: Answer, rows: Dataset, subject: Subject, by_length: bool = False, batch_rows: int = SCORED_ROWS
) -> np.ndarray:
    """(rows, classes). Batches side by side, each on one thread: threads that share a batch wait for each other.

    Args:
        by_length: rows of a length share a batch, which saves padding; not where an answer depends on its neighbours.
    """
    order = np.argsort(measure_lengths(rows), kind="stable") if by_length else np.arange(len(rows))
    chosen = rows.select(order) if by_length else rows
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = np.concatenate(list(pool.map(answer, iterate_batches(chosen, subject, batch_rows))))
    logits = np.empty_like(answers)
    logits[order] = answers
    return logits


def iterate_batches(rows: Dataset, subject: Subject, batch_rows: int) -> Iterator[Batch]:
    """Batches padded to their own longest row, as the tokenizer pads."""
    names = list_inputs(subject.model, subject.tokenizer)
    for batch in rows.select_columns(names).iter(batch_rows):
        padded = subject.tokenizer.pad(batch, return_tensors="np")
        yield {name: np.asarray(padded[name], np.int64) for name in names}


# ---- scores ------------------------------------------------------------------------------------------------------


def score_artifact(artifact: Artifact, logits: Logits, run: Run) -> None:
    """Writes metrics, intervals and agreement into the artifact."""
    shown = place_logits(run, logits)
    names = run.record.task["metric_names"]
    for split, answers in logits.items():
        agreement = {model: agree(answers, run.arrays.get(f"{split}.{model}_logits")) for model in MODELS}
        artifact.agreement[split] = {model: value for model, value in agreement.items() if value is not None}
        if split not in run.labelled_rows:
            continue
        labels = run.arrays[f"{split}.labels"]
        artifact.metrics[split] = {"loss": compute_task_loss(answers, labels)}
        artifact.metrics[split] |= compute_task_metrics(answers, labels, tuple(names))
        artifact.intervals[split] = {name: estimate_interval(shown, split, name, "student") for name in names}


def place_logits(run: Run, logits: Logits) -> Run:
    """The run, as if its student had answered so."""
    arrays = {f"{split}.student_logits": answers for split, answers in logits.items()}
    return replace(run, arrays=run.arrays | arrays)


def agree(logits: np.ndarray, others: np.ndarray | None) -> float | None:
    if others is None:
        return None
    found = compute_teacher_agreement(logits, others)
    return next(found[name] for name in AGREEMENTS if name in found)


def measure_change(logits: Logits, run: Run) -> dict[str, float]:
    """The headline of some logits less that of the run's student, with a 95 % interval of the same resampled rows."""
    split, name = find_headline(run)
    answers = np.stack([place_logits(run, logits).get_answers(name, split), run.get_answers(name, split)])
    scorer, num_rows = run.make_scorer(name, answers, split), run.get_truth(split).num_rows
    drawn = resample_scores(scorer, num_rows, run.limit_resamples(RESAMPLES, name, split, 2))
    values = score_all_rows(scorer, num_rows)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(drawn[:, 0] - drawn[:, 1], [tail, 100 - tail])
    return {"difference": float(values[0] - values[1]), "low": float(low), "high": float(high)}
