"""Scores an artifact as the run scored its student: the same rows, metrics, losses and intervals.

Entry: `predict_splits`, `complete_splits`, `score_artifact`, `measure_change`.
"""

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from datasets import Dataset
from torch import Tensor

from layer_distillation.cards.scores import RESAMPLES, estimate_interval
from layer_distillation.comparison.metrics import resample_scores, score_all_rows
from layer_distillation.comparison.runs import Run, check_predictions, read_predictions
from layer_distillation.comparison.statistics import CONFIDENCE
from layer_distillation.embedding.encoding import ask_all, limit_length
from layer_distillation.embedding.modules import get_modules
from layer_distillation.export.clients import Answer, Batch
from layer_distillation.export.conversion import list_inputs
from layer_distillation.export.subjects import Subject
from layer_distillation.records.export_record import TEACHER, Artifact
from layer_distillation.records.run_record import RunRecord
from layer_distillation.records.token_counts import measure_lengths
from layer_distillation.tasks import retrieval
from layer_distillation.tasks.arguments import DEFAULT_THRESHOLD
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.evaluation_sets import list_metric_names
from layer_distillation.tasks.kinds.entry import ONE_NUMBER, VECTOR, TaskKind
from layer_distillation.tasks.kinds.sentence_pairs import compute_cosines
from layer_distillation.tasks.metrics import compute_task_loss, compute_teacher_agreement
from layer_distillation.tasks.retrieval import MAX_LENGTH, choose_prompt

SCORED_ROWS = 32  # per batch
MODELS = ("student", "teacher")
AGREEMENTS = ("agreement", "pearson_to_teacher")  # of classes, of numbers
AGREEMENT_WORDS = {VECTOR: "mean cosine with", **dict.fromkeys(ONE_NUMBER, "correlation with")}

# split -> (rows, classes), of tags (items, tags), of answer spans (tokens of all windows one after another, 2), of
# sentence encoders (texts, width); of a retrieval set (queries, metrics)
Logits = dict[str, np.ndarray]
Plain = Mapping[str, Logits]  # what student and teacher answer in PyTorch, which vectors are compared with


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
    return split, run.name_headline(split)


def name_agreement(run: Run) -> str:
    """What `agree` measures, before the name of a model."""
    return AGREEMENT_WORDS.get(run.outputs, "same answer as")


# ---- answers -----------------------------------------------------------------------------------------------------


def predict_splits(answer: Answer, subject: Subject, by_length: bool = False, batch_rows: int = SCORED_ROWS) -> Logits:
    """The logits of every row that is not for training, in the order of the rows."""
    return {
        split: keep_items(predict(answer, rows, subject, by_length, batch_rows), rows, subject.kind)
        for split, rows in list_scored(subject)
    }


def keep_items(logits: np.ndarray, rows: Dataset, kind: TaskKind) -> np.ndarray:
    """Of logits per token those of the items, where these are tokens."""
    if kind.item_column is None or kind.answer_rows is not None:
        return logits
    return logits[np.concatenate(rows[kind.item_column][:]) == 1]


def complete_splits(answer: Answer, subject: Subject, known: Logits) -> Logits:
    """Likewise of a trimmed student: what the whole one answers to rows that are the same tokens, by `check_split`
    with the same answer, and its own answers to the others."""
    found = {}
    for split, rows in list_scored(subject):
        found[split] = known[split].copy()
        if indices := subject.uncovered[split]:
            found[split][indices] = predict(answer, rows.select(indices), subject, by_length=True)
    return found


def score_sets(answer: Answer, subject: Subject) -> Logits:
    """Of every query of the retrieval sets its metrics, by the vectors of queries and documents."""
    if not subject.data.retrieval:
        return {}
    names, prompts = list_inputs(subject.model, subject.tokenizer), get_modules(subject.model.config).prompts
    tokenizer = copy.deepcopy(subject.tokenizer)
    limit = limit_length(subject.model.config, tokenizer, MAX_LENGTH)

    def ask(batch: Mapping[str, Tensor]) -> np.ndarray:
        return answer({name: batch[name].numpy() for name in names})

    def encode(texts: Sequence[str], roles: Sequence[str]) -> np.ndarray:
        prompted = [choose_prompt(prompts, roles) + text for text in texts]
        return ask_all(ask, tokenizer, prompted, limit, SCORED_ROWS, os.cpu_count())

    return retrieval.score_sets(subject.data.retrieval, encode)


def list_scored(subject: Subject) -> list[tuple[str, Dataset]]:
    return [(split, rows) for split, rows in subject.data.list_splits() if split != "train"]


def predict(
    answer: Answer, rows: Dataset, subject: Subject, by_length: bool = False, batch_rows: int = SCORED_ROWS
) -> np.ndarray:
    """(rows, classes); of a kind with logits per token (tokens, outputs), those of all rows one after another. Batches
    side by side, each on one thread: threads that share a batch wait for each other.

    Args:
        by_length: rows of a length share a batch, which saves padding; not where an answer depends on its neighbours.
    """
    order = np.argsort(measure_lengths(rows), kind="stable") if by_length else np.arange(len(rows))
    chosen = rows.select(order) if by_length else rows
    batches = list(iterate_batches(chosen, subject, batch_rows))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = list(pool.map(answer, batches))
    places = np.argsort(order)
    if not subject.kind.is_per_token:
        return np.concatenate(answers)[places]
    pieces = [
        row[mask == 1]
        for batch, logits in zip(batches, answers, strict=True)
        for row, mask in zip(logits, batch["attention_mask"], strict=True)
    ]
    return np.concatenate([pieces[place] for place in places])


def iterate_batches(rows: Dataset, subject: Subject, batch_rows: int) -> Iterator[Batch]:
    """Batches padded to their own longest row, as the tokenizer pads; of choices (batch, choices, tokens)."""
    names = list_inputs(subject.model, subject.tokenizer)
    for batch in rows.select_columns(names).iter(batch_rows):
        num_rows = len(batch[names[0]])
        if subject.kind.has_choices:
            batch = {name: [ids for choices in values for ids in choices] for name, values in batch.items()}
        padded = subject.tokenizer.pad(batch, return_tensors="np")
        arrays = {name: np.asarray(padded[name], np.int64) for name in names}
        if subject.kind.has_choices:
            arrays = {name: array.reshape(num_rows, -1, array.shape[1]) for name, array in arrays.items()}
        yield arrays


# ---- scores ------------------------------------------------------------------------------------------------------


def score_artifact(
    artifact: Artifact, logits: Logits, run: Run, data: TaskData | None = None, plain: Plain | None = None
) -> None:
    """Writes metrics, intervals and agreement into the artifact.

    Args:
        data: the tokenized rows, which answers of kinds with several inputs to a row are read from.
    """
    shown = place_logits(run, logits, data, plain)
    for split, found in logits.items():
        agreement = {model: agree(shown, run, split, model, found, plain) for model in MODELS}
        artifact.agreement[split] = {model: value for model, value in agreement.items() if value is not None}
        if split not in run.labelled_rows or not has_scores(shown, split, plain):
            continue
        artifact.metrics[split] = score_split(shown, found, split, data)
        names = [name for name in artifact.metrics[split] if name != "loss"]
        artifact.intervals[split] = {name: estimate_interval(shown, split, name, "student") for name in names}


def has_scores(run: Run, split: str, plain: Plain | None) -> bool:
    """Vectors without a gold score are scored by the teacher's alone."""
    return run.kind.keep_answers is None or not run.has_teacher_for_gold(split) or TEACHER in (plain or {})


def score_split(shown: Run, logits: np.ndarray, split: str, data: TaskData | None) -> dict[str, float]:
    """The loss, and the run's metrics by its own scorer; of rows without gold labels what there is in their place, and
    of vectors and retrieval sets, which have no loss, the metrics alone."""
    if shown.has_teacher_for_gold(split):
        name = shown.name_headline(split)
        return {name: shown.score(name, split)}
    names = list_metric_names(shown.record.task, split)
    if shown.kind.keep_answers is not None:
        return {name: shown.score(name, split) for name in names}
    kept = shown.get_kept(split, "student")[shown.labelled_rows[split]]
    scores = shown.kind.score(kept, shown.get_truth(split), names)
    loss = compute_loss(shown, logits, split, data)
    return {"loss": loss} | {name: scores[name] for name in names}


def compute_loss(run: Run, logits: np.ndarray, split: str, data: TaskData | None) -> float:
    if run.kind.answer_rows is None:
        return compute_task_loss(logits, run.arrays[f"{split}.labels"], run.outputs)
    windows = dict(data.list_splits())[split]
    padded, is_item = pad_windows(logits, windows), pad_marks(windows, run.kind.item_column)
    return compute_task_loss(
        run.kind.take_items(padded, is_item), run.kind.take_labels(np.asarray(windows["labels"][:]), is_item)
    )


def pad_windows(logits: np.ndarray, windows: Dataset) -> np.ndarray:
    """(windows, tokens, 2) of what lies one after another, padded at the end."""
    lengths = np.asarray(measure_lengths(windows))
    padded = np.zeros((len(lengths), lengths.max(), logits.shape[1]), logits.dtype)
    padded[np.arange(lengths.max()) < lengths[:, None]] = logits
    return padded


def pad_marks(windows: Dataset, column: str) -> np.ndarray:
    marks = np.concatenate(windows[column][:]).astype(bool)
    return pad_windows(marks[:, None], windows)[..., 0]


def place_logits(run: Run, logits: Logits, data: TaskData | None = None, plain: Plain | None = None) -> Run:
    """The run, as if its student had answered so."""
    arrays = {}
    for split, found in logits.items():
        if run.is_retrieval(split):
            arrays[f"{split}.student_scores"] = found
        elif run.kind.keep_answers is not None:
            teacher, gold = (plain or {}).get(TEACHER, {}).get(split), read_gold(data, split)
            if teacher is not None or not np.isnan(gold).any():
                arrays[f"{split}.student_logits"] = run.kind.keep_answers(found, teacher, gold)["student_logits"]
        elif run.kind.answer_rows is None:
            arrays[f"{split}.student_logits"] = found
        else:
            padded = pad_windows(found, dict(data.list_splits())[split])
            rows = data.answer_rows(split, padded, is_padded_left=False)
            arrays |= {f"{split}.student_scores": rows.scores, f"{split}.student_answers": rows.answers}
    return replace(run, arrays=run.arrays | arrays)


def read_gold(data: TaskData, split: str) -> np.ndarray:
    """(texts,), nan where there is none."""
    return np.asarray(dict(data.list_splits())[split]["labels"][:], np.float64)


def agree(shown: Run, run: Run, split: str, model: str, logits: np.ndarray, plain: Plain | None = None) -> float | None:
    """With what the run wrote down of a model: the share of items that get the same answer, of a regression Pearson's
    correlation, of answer spans the share of the same texts, of vectors the mean cosine with the model's in PyTorch;
    None where there is nothing to compare with, as of retrieval sets."""
    if run.is_retrieval(split):
        return None
    if run.kind.compare_models is not None:
        others = (plain or {}).get(model, {}).get(split)
        return None if others is None else float(compute_cosines(logits, others).mean())
    part = "logits" if run.kind.answer_rows is None else "answers"
    own, others = shown.arrays[f"{split}.student_{part}"], run.arrays.get(f"{split}.{model}_{part}")
    if others is None:
        return None
    if run.kind.answer_rows is not None:
        return float(np.mean(own == others))
    threshold = run.record.task.get("decision_threshold", DEFAULT_THRESHOLD)
    found = compute_teacher_agreement(own, others, outputs=run.outputs, threshold=threshold)
    return next(found[name] for name in AGREEMENTS if name in found)


def measure_change(
    logits: Logits, run: Run, data: TaskData | None = None, plain: Plain | None = None
) -> dict[str, float]:
    """The headline of some logits less that of the run's student, with a 95 % interval of the same resampled rows."""
    split, name = find_headline(run)
    shown = place_logits(run, logits, data, plain)
    answers = np.stack([shown.get_answers(name, split), run.get_answers(name, split)])
    scorer, num_rows = run.make_scorer(name, answers, split), run.get_truth(split).num_rows
    drawn = resample_scores(scorer, num_rows, run.limit_resamples(RESAMPLES, name, split, 2))
    values = score_all_rows(scorer, num_rows)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(drawn[:, 0] - drawn[:, 1], [tail, 100 - tail])
    return {"difference": float(values[0] - values[1]), "low": float(low), "high": float(high)}
