"""The transfer set: text without labels that joins the student's training rows, of a file (`--unlabeled_file`) and of
the training rows themselves (`--recombined_pairs`).

Its rows count in every term of the loss but cross-entropy (of a regression, the squared error on labels). Whatever else
looks at training rows sees the labelled ones alone: the teacher's fine-tuning, the task's fingerprint, strategies and
widths that are chosen by data. So all these are the same with a transfer set and without.

Entry: `add_transfer_set`; `check_transfer_set` of `transfer_checks.py` comes before anything is loaded.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

from datasets import Dataset, concatenate_datasets

from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.columns import check_column
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.files import read_data_file
from layer_distillation.tasks.recombination import recombine_pairs
from layer_distillation.tasks.row_sampling import draw_rows, draw_split, warn_of_overlap
from layer_distillation.tasks.soft_labels import check_width, take_soft_labels
from layer_distillation.tasks.tokenizing import UNLABELLED_ROWS
from layer_distillation.tasks.transfer_checks import check_pairs

logger = logging.getLogger(__name__)

MOST_PAIRED_ROWS = 20_000  # half a minute; of twice as many it would take four times as long


def add_transfer_set(data: TaskData, arguments: DataArguments) -> TaskData:
    """The task with the unlabelled rows beside its own, or as it is where none are asked for.

    Raises:
        ValueError: the file cannot be read, or lacks a text; the task has no pairs to recombine.
    """
    if arguments.unlabeled_file is not None:
        data = add_file(data, arguments)
    if arguments.recombined_pairs is not None:
        data = add_recombined_pairs(data, arguments.recombined_pairs, arguments.sample_seed)
    return data


def add_recombined_pairs(data: TaskData, count: int, seed: int) -> TaskData:
    """Raises ValueError where rows have no two texts that may be paired anew, or far too many pairs are asked for."""
    check_pairs(count, data.kind.name, data.text_columns)
    drawn = sorted(draw_rows(len(data.train), MOST_PAIRED_ROWS, seed))
    first, second = read_texts(data.train.select(drawn), data.text_columns)
    pairs = recombine_pairs(first, second, count, seed, left_out=list_left_out(data))
    if not pairs:
        raise ValueError(f"--recombined_pairs {count}: the training rows' texts make no other pair, leave it out")
    columns = dict(zip(data.text_columns, map(list, zip(*pairs, strict=True)), strict=True))
    columns["labels"] = data.kind.make_unlabelled(columns, data.label_names)
    rows = draw_split("recombined pairs", columns, data.features, None, seed, first_index=len(data.student_train))
    fewer = f", which are all that there are and fewer than the {count:,} asked for" if len(rows) < count else ""
    whose = f"{len(drawn):,} of the training rows" if len(drawn) < len(data.train) else "the training rows"
    logger.info("%d pairs of %s' own texts join them, without labels%s", len(rows), whose, fewer)
    return replace(data, unlabelled=rows if data.unlabelled is None else concatenate_datasets([data.unlabelled, rows]))


def list_left_out(data: TaskData) -> list[tuple[str, str]]:
    """The rows that are evaluated, which often are made of the training rows' texts too (one in nine of SICK's test
    rows would be trained on, and one in ten turned round), and those of the file; either way round."""
    rows = [*dict(data.list_splits()).values(), *([] if data.unlabelled is None else [data.unlabelled])]
    pairs = [pair for split in rows for pair in zip(*read_texts(split, data.text_columns), strict=True)]
    return [*pairs, *((second, first) for first, second in pairs)]


def read_texts(rows: Dataset, columns: Sequence[str]) -> list[list[str]]:
    return [rows[column][:] for column in columns]


def add_file(data: TaskData, arguments: DataArguments) -> TaskData:
    """Raises ValueError where the file cannot be read or lacks a text."""
    taken, soft = take_soft_labels({"unlabelled": read_data_file(arguments.unlabeled_file)}, arguments)
    split = taken["unlabelled"]
    check_width(data.soft_labels, soft, split.origin)
    if data.kind.arrange_unlabelled is not None:
        split = data.kind.arrange_unlabelled(split, arguments)
    for column in data.text_columns:
        check_column(split, column, "--unlabeled_file")
    columns = data.kind.read_texts(split, data.text_columns)
    columns["labels"] = data.kind.make_unlabelled(columns, data.label_names)
    limit, seed = arguments.max_unlabeled_samples, arguments.sample_seed
    unlabelled = draw_split(split.origin, columns, data.features, limit, seed, first_index=len(data.train))
    ignored = [name for name in split.columns if name not in data.text_columns]
    logger.info(
        "%s: %d rows join the %d training rows, without labels%s",
        *(split.origin, len(unlabelled), len(data.train)),
        f" (ignored: {', '.join(ignored)})" if ignored else "",
    )
    warn_of_overlap(UNLABELLED_ROWS, unlabelled, dict(data.list_splits()), data.text_columns)
    drawn = soft.draw({"unlabelled": limit}, seed)
    soft_labels = replace(data.soft_labels, logits=data.soft_labels.logits | drawn.logits)
    return replace(data, unlabelled=unlabelled, soft_labels=soft_labels)
