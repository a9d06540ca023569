"""The margin term: by how much the best candidate of a query is ahead of each other one, of student and teacher.

Rows of a query follow each other, the best first, as many for every query; a batch holds whole queries, so that micro-
batches and processes add up to the mean over all margins.

Entry: `margin_loss`; `count_group_rows` of rows, `check_margins` of a training.
"""

from collections.abc import Mapping
from itertools import groupby

from datasets import Dataset
from torch import Tensor

from layer_distillation.losses.functions import Count
from layer_distillation.tasks.kinds.entry import TaskKind
from layer_distillation.tasks.kinds.reranking import QUERY_INDEX, RERANKING


def margin_loss(student_scores: Tensor, teacher_scores: Tensor, group_rows: int, num_rows: Count = None) -> Tensor:
    """Squared error of (best - other), mean over all others of all queries.

    MarginMSE (Hofstaetter et al. 2020, arXiv:2010.02666, equation 7; there with one other to a query).

    Args:
        student_scores, teacher_scores: (rows, 1) or (rows,); every `group_rows` of them are one query's.
        num_rows: rows of the whole batch, where this is a part of it.
    """
    student, teacher = (scores.float().reshape(-1, group_rows) for scores in (student_scores, teacher_scores))
    differences = student - teacher
    total = (differences[:, :1] - differences[:, 1:]).square().sum()
    num_rows = student.numel() if num_rows is None else num_rows
    return total / (num_rows * ((group_rows - 1) / group_rows))


def count_group_rows(rows: Dataset) -> int:
    """Candidates of each query.

    Raises:
        ValueError: there are none, or they are not as many for every query.
    """
    if not isinstance(rows, Dataset) or QUERY_INDEX not in rows.column_names:
        raise ValueError(
            f"margin_weight above 0 compares candidates of a query: give training rows with a column {QUERY_INDEX!r}, "
            "which is the same for all candidates of one (the best of them first), or set it to 0"
        )
    queries = [(query, len(list(members))) for query, members in groupby(rows[QUERY_INDEX][:])]
    if len({query for query, _ in queries}) < len(queries):
        raise ValueError(f"margin_weight above 0: sort the training rows by {QUERY_INDEX!r}, or set it to 0")
    sizes = sorted({size for _, size in queries})
    if sizes[0] < 2 or len(sizes) > 1:
        number, size = next((place, size) for place, (_, size) in enumerate(queries) if size in (sizes[0], 1))
        raise ValueError(
            f"margin_weight above 0 needs as many candidates for every query, two at least: query {number + 1} has "
            f"{size}, others up to {sizes[-1]}; give each as many, or set it to 0 (kl_weight compares single logits)"
        )
    return sizes[0]


def check_margins(kind: TaskKind, weights: Mapping[str, float]) -> None:
    """Raises ValueError where the term is on and the task ranks nothing."""
    if weights.get("margin", 0) > 0 and kind is not RERANKING:
        raise ValueError(
            f"--margin_weight {weights['margin']:g} compares the candidates of a query, and this is a task of "
            f"{kind.name}: leave it out, or give --task_type {RERANKING.name}"
        )


def check_group_batches(group_rows: int, batch_rows: int) -> None:
    """Raises ValueError where a batch would cut a query in two."""
    if batch_rows % group_rows:
        raise ValueError(
            f"--margin_weight: every query has {group_rows} candidates, and --per_device_train_batch_size "
            f"{batch_rows} would cut one in two: take a multiple of {group_rows}, such as "
            f"{max(batch_rows // group_rows, 1) * group_rows}"
        )
