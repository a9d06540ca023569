"""Texts and pairs of texts for sentence encoders: which rows are what, and how similar two vectors are.

Entry: `arrange_texts`; `compare_vectors` and `keep_similarities` of the vectors of a split.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.columns import check_column, check_texts, find_text_columns, parse_number, shorten
from layer_distillation.tasks.evaluation_sets import parse_evaluation_files
from layer_distillation.tasks.gold_labels import NO_COLUMN

if TYPE_CHECKING:
    from layer_distillation.tasks.files import RawSplit

logger = logging.getLogger(__name__)

TEXT, PAIR = "text", "text_pair"
SCORE_COLUMNS = ("score", "label", "labels")
HELD_OUT_SHARE, MOST_HELD_OUT = 0.05, 2000
MOST_COMPARED = 512  # texts of which all pairs are ranked: 130,816
SMALLEST_NORM = 1e-12


# ---- rows --------------------------------------------------------------------------------------------------------


def arrange_texts(splits: Mapping[str, "RawSplit"], arguments: DataArguments) -> dict[str, "RawSplit"]:
    """Every split with the columns text, text_pair and labels: of training a row for every text, of evaluation with a
    score a row for every pair. Without a validation file some training texts are set apart.

    Raises:
        ValueError: there is nothing to train on, or a score is no number.
    """
    if arguments.unlabeled_file is not None:
        raise ValueError(
            f"--unlabeled_file {arguments.unlabeled_file}: every training text of an embedding task is without labels; "
            "put the texts into --train_file"
        )
    sets = parse_evaluation_files(arguments.evaluation_files)
    arranged = {"train": list_texts(splits["train"], arguments, is_training=True)}
    for name, split in splits.items():
        if name != "train":
            score = find_score_column(split, arguments, is_set=name in sets)
            if score is None and name in sets:
                raise ValueError(
                    f"--evaluation_files {name}: {split.origin} has the columns {list(split.columns)} and no score: "
                    f"give two texts and a column {' or '.join(SCORE_COLUMNS)}, or name it by --label_column"
                )
            arranged[name] = list_texts(split, arguments) if score is None else list_pairs(split, arguments, score)
    if set(arranged) <= {"train", "test", *sets}:
        train, held_out = hold_out(arranged["train"], arguments)
        arranged = {"train": train, "validation": held_out} | {
            name: split for name, split in arranged.items() if name != "train"
        }
    return arranged


def find_score_column(split: "RawSplit", arguments: DataArguments, is_set: bool = False) -> str | None:
    """None where there is none, or the user wants the texts alone, which does not go for sets that are to be scored."""
    if arguments.label_column == NO_COLUMN and not is_set:
        return None
    if arguments.label_column not in (None, NO_COLUMN):
        return check_column(split, arguments.label_column, "--label_column")
    return next((name for name in SCORE_COLUMNS if name in split.columns), None)


def find_columns(
    split: "RawSplit", arguments: DataArguments, other: str | None, is_training: bool = False
) -> tuple[str, ...]:
    """The columns of text: any number that are asked for, else those that their names tell. A file to evaluate on may
    have other columns than the training's."""
    asked = [name.strip() for name in (arguments.text_columns or "").split(",") if name.strip()]
    if not asked or not (is_training or any(name in split.columns for name in asked)):
        return find_text_columns(split, other, None)
    return tuple(check_column(split, name, "--text_columns") for name in asked)


def list_texts(split: "RawSplit", arguments: DataArguments, is_training: bool = False) -> "RawSplit":
    """All texts of all columns, one after the other; empty ones are dropped, and counted."""
    score = find_score_column(split, arguments) if is_training and arguments.label_column is None else None
    columns = find_columns(split, arguments, score, is_training)
    check_texts(split, columns)
    texts = [text for row in zip(*(split.columns[name] for name in columns), strict=True) for text in row]
    kept = [text for text in texts if text.strip()]
    if len(kept) < len(texts):
        logger.warning("%s: %d of %d texts are empty, and left out", split.origin, len(texts) - len(kept), len(texts))
    if not kept:
        raise ValueError(f"{split.origin} has no text in {', '.join(columns)}: all of it is empty.")
    if score is not None:
        logger.info("%s: the column %r is not read, as training learns from texts alone", split.origin, score)
    return make_split(split, kept)


def make_split(split: "RawSplit", texts: Sequence[str]) -> "RawSplit":
    none = [None] * len(texts)
    return replace(split, columns={TEXT: list(texts), PAIR: none, "labels": read_labels({TEXT: texts})})


def read_labels(columns: Mapping[str, Sequence]) -> list[float]:
    """Of texts: none."""
    return [math.nan] * len(next(iter(columns.values())))


def list_pairs(split: "RawSplit", arguments: DataArguments, score: str) -> "RawSplit":
    columns = find_columns(split, arguments, score)
    if len(columns) != 2:
        raise ValueError(
            f"{split.origin} has the score {score!r} beside {len(columns)} columns of text ({', '.join(columns)}), and "
            "a score is of two: name them by --text_columns a,b, or give --label_column none to take texts alone"
        )
    check_texts(split, columns)
    for name in columns:
        empty = [row for row, text in enumerate(split.columns[name], start=1) if not text.strip()]
        if empty:
            raise ValueError(f"{split.origin}, data row {empty[0]} has no text in {name!r}: fill or drop it.")
    scores = [parse_number(value) for value in split.columns[score]]
    if None in scores:
        row = scores.index(None)
        raise ValueError(
            f"{split.origin}, data row {row + 1} has the score {shorten(split.columns[score][row])} in {score!r}: a "
            "number is needed; give --label_column none to take the texts alone"
        )
    if len(set(scores)) == 1:
        raise ValueError(f"{split.origin} has the score {scores[0]:g} in every row: nothing could be ranked by it.")
    first, second = (split.columns[name] for name in columns)
    return replace(split, columns={TEXT: first, PAIR: second, "labels": [float(value) for value in scores]})


def hold_out(train: "RawSplit", arguments: DataArguments) -> tuple["RawSplit", "RawSplit"]:
    """The training texts without some of them, none of which stays among them, and these."""
    texts = train.columns[TEXT]
    distinct = list(dict.fromkeys(texts))
    count = min(max(int(HELD_OUT_SHARE * len(distinct)), 1), MOST_HELD_OUT)
    if len(distinct) < 2:
        raise ValueError(f"{train.origin} has {len(distinct)} different texts: give two at least.")
    places = np.random.default_rng(arguments.sample_seed).choice(len(distinct), size=count, replace=False)
    chosen = {distinct[place] for place in places}
    logger.info("%s: %d texts are set apart, by which the best epoch is chosen", train.origin, count)
    held_out = make_split(train, [text for text in distinct if text in chosen])
    rest = make_split(train, [text for text in texts if text not in chosen])
    return rest, replace(held_out, origin=f"{train.origin}, set apart")


# ---- vectors -----------------------------------------------------------------------------------------------------


def compute_cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(rows, width) twice -> (rows,), in float64."""
    first, second = normalize(first), normalize(second)
    return np.einsum("rw,rw->r", first, second)


def normalize(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), SMALLEST_NORM)


def is_pair(labels: np.ndarray | None) -> bool:
    """Whether the texts of a split are those of scored pairs, two by two."""
    return labels is not None and not np.isnan(labels).any()


def score_pairs(similarities: np.ndarray, gold: np.ndarray, metric_names: Sequence[str]) -> dict[str, float]:
    from layer_distillation.tasks.metrics import compute_task_metrics  # seconds that a comparison does without

    return compute_task_metrics(similarities, gold, tuple(metric_names))


def compare_vectors(student: np.ndarray, teacher: np.ndarray, labels: np.ndarray | None) -> dict[str, float]:
    """Over all texts the mean cosine of the two vectors of each, and their mean squared distance; Spearman's
    correlation of the similarities that the two find, of scored pairs or, of texts, of all pairs of the first 512."""
    differences = np.asarray(student, np.float64) - teacher
    both = (rank_similarities(vectors, labels) for vectors in (student, teacher))
    return {
        "cosine_to_teacher": float(compute_cosines(student, teacher).mean()),
        "spearman_to_teacher": score_pairs(*both, ("spearmanr",))["spearmanr"] if len(student) > 2 else 0.0,
        "mse_to_teacher": float(np.square(differences).sum(axis=-1).mean()),
    }


def rank_similarities(vectors: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """(pairs,)"""
    if is_pair(labels):
        return compute_cosines(vectors[0::2], vectors[1::2])
    units = normalize(vectors[:MOST_COMPARED])
    return (units @ units.T)[np.triu_indices(len(units), k=1)]


def keep_similarities(
    student: np.ndarray, teacher: np.ndarray | None, labels: np.ndarray | None
) -> dict[str, np.ndarray]:
    """What predictions.npz holds of a split: of scored pairs the cosines that student and teacher find, with the gold
    scores; of texts the cosine of the two vectors, which of the teacher's own is 1."""
    if is_pair(labels):
        kept = {"student_logits": student, "teacher_logits": teacher}
        cosines = {n: compute_cosines(v[0::2], v[1::2])[:, None] for n, v in kept.items() if v is not None}
        return cosines | {"labels": labels[0::2]}
    return {
        "student_logits": compute_cosines(student, teacher)[:, None],
        "teacher_logits": np.ones((len(student), 1)),
        "labels": np.full(len(student), np.nan, np.float32),
    }
