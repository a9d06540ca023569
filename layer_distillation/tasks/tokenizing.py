"""A task's texts as tokens: cut to a length that tokenizer and model allow, and what was lost on the way.

Entry: `fit_max_length`, `tokenize_task`, `fit_inputs`.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from datasets import Dataset
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from layer_distillation.architectures.traits import count_positions
from layer_distillation.records.token_counts import iterate_ids, list_inputs, measure_lengths
from layer_distillation.tasks.arguments import MIN_MAX_LENGTH, DataArguments, DefaultLength
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.kinds.entry import LOST_WORDS, TaskKind, UnfitTextError
from layer_distillation.tasks.model_checks import explain_errors

logger = logging.getLogger(__name__)

UNLABELLED_ROWS = "the unlabelled rows"
TOLERATED_SHARE = 0.05  # of rows or tokens that are cut, or unknown: more is a warning
WHOLE_LENGTH, UNKNOWN = "whole_length", "unknown_tokens"  # columns while it is counted
TOKEN_TYPES = "token_type_ids"


# ---- the rows ----------------------------------------------------------------------------------------------------


def tokenize_task(data: TaskData, tokenizer: PreTrainedTokenizerBase, max_length: int) -> TaskData:
    """The task with the tokenizer's columns in place of the texts: truncated to `max_length` tokens, not padded; with
    what was cut and what is unknown in `text_facts`.

    Raises:
        ValueError: the tokenizer fails, or makes no token at all of a row.
    """

    makes_windows = data.kind.answer_rows is not None

    def tokenize_rows(rows: dict[str, list]) -> dict[str, list]:
        encoding = data.kind.tokenize(rows, data, tokenizer, max_length)
        ids = encoding["input_ids"]
        encoding[WHOLE_LENGTH] = (  # windows cut nothing
            measure_whole(rows, data, tokenizer, ids, max_length) if not makes_windows else [len(own) for own in ids]
        )
        encoding[UNKNOWN] = count_unknown(tokenizer, ids)
        return encoding

    remedy = "save the tokenizer that the teacher was trained with"
    splits = dict(data.list_splits()) | ({} if data.unlabelled is None else {UNLABELLED_ROWS: data.unlabelled})
    if data.kind.spread_rows is not None:
        data = replace(data, raw=splits)
        splits = number_rows({name: spread_split(data, name, split) for name, split in splits.items()})
    with explain_errors(tokenizer.name_or_path, "the tokenizer fails on the texts", remedy):
        tokenized = {
            name: split.map(
                tokenize_rows,
                batched=True,
                remove_columns=split.column_names if makes_windows else list(data.text_columns),
                desc=f"Tokenizing {name}",
            )
            for name, split in splits.items()
        }
        # The last call's truncation is saved with a tokenizer: that of the texts, not that of the counting.
        data.kind.tokenize(splits["train"][:1], data, tokenizer, max_length)
    if makes_windows:
        tokenized = number_rows(tokenized)
        data = replace(data, raw=splits)
        for name, windows in tokenized.items():
            check_reached(name, splits[name], windows, data.kind)
    for name, split in tokenized.items():
        check_token_counts(name, split)
    num_special = tokenizer.num_special_tokens_to_add(pair=len(data.text_columns) == 2)
    facts = {name: describe_texts(split, num_special) for name, split in tokenized.items()}
    report_texts(facts, max_length)
    counted = {WHOLE_LENGTH, UNKNOWN, LOST_WORDS}
    tokenized = {
        name: split.remove_columns([column for column in split.column_names if column in counted])
        for name, split in tokenized.items()
    }
    train, test, unlabelled = (tokenized.pop(name, None) for name in ("train", "test", UNLABELLED_ROWS))
    changes = {"train": train, "test": test, "unlabelled": unlabelled, "validation": tokenized}
    return replace(data, **changes, text_facts=facts, max_length=max_length, pads_left=tokenizer.padding_side == "left")


def fit_tokenizer(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, kind: TaskKind) -> None:
    """As the kind's texts need it, for a model of that config."""
    if kind.fit_tokenizer is not None:
        kind.fit_tokenizer(tokenizer, kind.head_suffix in (config.architectures or [""])[0])


def spread_split(data: TaskData, name: str, split: Dataset) -> Dataset:
    """Several rows in place of each, as the kind has them."""
    columns = data.text_columns
    return split.map(
        lambda rows: data.kind.spread_rows(rows, columns),
        batched=True,
        remove_columns=split.column_names,
        features=data.kind.describe_spread(columns),
        desc=f"Pairing {name}",
    )


def check_reached(name: str, rows: Dataset, windows: Dataset, kind: TaskKind) -> None:
    """Says of how many labelled rows no window holds the label: none of them has a part in the task's loss.

    Raises:
        ValueError: it is so of all of them.
    """
    labelled = {
        row for row, label in zip(rows["example_index"], rows["labels"], strict=True) if not kind.is_missing(label)
    }
    reached = {row for row, label in zip(windows["row"], windows["labels"], strict=True) if not kind.is_missing(label)}
    if labelled and not reached:
        raise UnfitTextError(
            f"{name}: no answer of {len(labelled)} rows lies whole in a window: raise --max_length (or --doc_stride)"
        )
    if lost := len(labelled - reached):
        logger.log(
            logging.WARNING if lost > TOLERATED_SHARE * len(labelled) else logging.INFO,
            "%s: of %d of %d rows no window holds the answer whole, and they count in no cross-entropy; a larger "
            "--max_length or --doc_stride would hold more",
            *(name, lost, len(labelled)),
        )


def number_rows(tokenized: dict[str, Dataset]) -> dict[str, Dataset]:
    """`example_index` counts inputs, as a store does: those of unlabelled rows on from the training rows'."""
    first = {UNLABELLED_ROWS: len(tokenized["train"])}
    return {
        name: split.add_column("example_index", [first.get(name, 0) + index for index in range(len(split))])
        for name, split in tokenized.items()
    }


def check_token_counts(name: str, tokenized: Dataset) -> None:
    """An empty text is a row of [CLS] and [SEP], unless the tokenizer adds nothing, as GPT-2's: no model reads that."""
    lengths = measure_lengths(tokenized)
    if 0 in lengths:
        raise ValueError(
            f"{name}: {lengths.count(0)} of {len(lengths)} rows, the first is row {lengths.index(0) + 1}, give no "
            "token: this tokenizer adds none to an empty text; drop these rows, or write something there."
        )


def measure_whole(
    rows: dict[str, list],
    data: TaskData,
    tokenizer: PreTrainedTokenizerBase,
    cut_ids: list[list[int]],
    max_length: int,
) -> list[int]:
    """Tokens that each row would have uncut; only rows of the full length are tokenized a second time."""
    lengths = [sum(map(len, list_inputs(ids))) for ids in cut_ids]
    full = [row for row, ids in enumerate(cut_ids) if max(map(len, list_inputs(ids))) >= max_length]
    if full:
        taken = {name: [values[row] for row in full] for name, values in rows.items()}
        whole = data.kind.tokenize(taken, data, tokenizer, None)
        for row, ids in zip(full, whole["input_ids"], strict=True):
            lengths[row] = sum(map(len, list_inputs(ids)))
    return lengths


def count_unknown(tokenizer: PreTrainedTokenizerBase, rows: list[list[int]]) -> list[int]:
    """Of each row the tokens that stand for what the tokenizer does not know; none where it has no such token."""
    unknown = tokenizer.unk_token_id
    others = {tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.sep_token_id}

    def count(ids: list) -> int:
        return sum(own.count(unknown) for own in list_inputs(ids))

    return [0] * len(rows) if unknown is None or unknown in others else [count(ids) for ids in rows]


def describe_texts(split: Dataset, num_special: int) -> dict[str, Any]:
    """What the record says of a split's texts: counts of rows, and shares of tokens."""
    lengths, whole, unknown = measure_lengths(split), split[WHOLE_LENGTH][:], split[UNKNOWN][:]
    num_special *= len(list_inputs(split[0]["input_ids"]))
    text_tokens = [max(length - num_special, 0) for length in lengths]
    return {
        "rows": len(lengths),
        "cut_rows": sum(one < other for one, other in zip(lengths, whole, strict=True)),
        "cut_token_share": 1 - sum(lengths) / sum(whole),
        "unknown_token_share": sum(unknown) / max(sum(text_tokens), 1),
        "mostly_unknown_rows": sum(2 * count > length for count, length in zip(unknown, text_tokens, strict=True)),
    } | ({LOST_WORDS: sum(split[LOST_WORDS])} if LOST_WORDS in split.column_names else {})


def report_texts(facts: dict[str, dict[str, Any]], max_length: int) -> None:
    """A line for every split of which something is cut or unknown: a warning above the tolerated share."""
    for name, split in facts.items():
        if split["cut_rows"]:
            shares = split["cut_rows"] / split["rows"], split["cut_token_share"]
            logger.log(
                logging.WARNING if max(shares) > TOLERATED_SHARE else logging.INFO,
                "%s: %d of %d rows are longer than %d tokens and cut (--max_length), which loses %.1f %% of all tokens",
                *(name, split["cut_rows"], split["rows"], max_length, 100 * split["cut_token_share"]),
            )
        if split.get(LOST_WORDS):
            logger.info(
                "%s: words without a piece, as their rows are cut or the tokenizer drops them: %d; they get no tag, "
                "and no metric counts them",
                *(name, split[LOST_WORDS]),
            )
        if split["unknown_token_share"] > 0:
            shares = split["mostly_unknown_rows"] / split["rows"], split["unknown_token_share"]
            logger.log(
                logging.WARNING if max(shares) > TOLERATED_SHARE else logging.INFO,
                "%s: %.1f %% of the tokens are unknown to the tokenizer, in %d of %d rows more than half",
                *(name, 100 * split["unknown_token_share"], split["mostly_unknown_rows"], split["rows"]),
            )


# ---- what tokenizer and models allow -----------------------------------------------------------------------------


def fit_max_length(arguments: DataArguments, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
    """Lowers a length that is the default to what tokenizer and model take, and says so; ValueError for the user's."""
    limits = {name: limit for name, limit in list_limits(tokenizer, config).items() if limit < arguments.max_length}
    if not isinstance(arguments.max_length, DefaultLength) or not limits:
        check_max_length(arguments.max_length, tokenizer, config)
        return
    name = min(limits, key=limits.__getitem__)
    if limits[name] < MIN_MAX_LENGTH:
        raise ValueError(f"the {name} takes {limits[name]} tokens, and texts need {MIN_MAX_LENGTH}: give another one")
    logger.info("--max_length is %d, all that the %s takes", limits[name], name)
    arguments.max_length = DefaultLength(limits[name])


def check_max_length(max_length: int, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
    """ValueError where the tokenizer or the model's positions end before `max_length` tokens."""
    for name, limit in list_limits(tokenizer, config).items():
        if max_length > limit:
            raise ValueError(f"--max_length {max_length} is more than the {limit} tokens of the {name}: lower it.")


def list_limits(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> dict[str, int]:
    """The most tokens that the tokenizer allows, and that the model has positions for where it says."""
    positions = count_positions(config)
    return {"tokenizer": tokenizer.model_max_length} | ({} if positions is None else {"model": positions})


def fit_inputs(data: TaskData, tokenizer: PreTrainedTokenizerBase, configs: Sequence[PreTrainedConfig]) -> TaskData:
    """The task without token types that the models have no embeddings for; the tokenizer gives none any more either.

    Raises:
        ValueError: an id of the rows is beyond a model's table of embeddings.
    """
    for config in configs:
        check_ids(data, "input_ids", config, "vocab_size")
        if find_largest_id(data, TOKEN_TYPES) > 0 and config.to_dict().get("type_vocab_size") == 1:
            logger.info(
                "the tokenizer tells two texts apart by %s, which %s has not: left out", TOKEN_TYPES, config.model_type
            )
            tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != TOKEN_TYPES]
            data = data.map_splits(lambda rows: rows.remove_columns(TOKEN_TYPES))
        check_ids(data, TOKEN_TYPES, config, "type_vocab_size")
    return data


def check_ids(data: TaskData, column: str, config: PreTrainedConfig, size_name: str) -> None:
    """A size of 0 or none: the model has no such table."""
    size = config.to_dict().get(size_name)
    if size and (largest := find_largest_id(data, column)) >= size:
        raise ValueError(
            f"the tokenizer gives {column} up to {largest}, and {size_name} of the {config.model_type} model is "
            f"{size}: save the tokenizer that the model was trained with"
        )


def find_largest_id(data: TaskData, column: str) -> int:
    """Over all rows; -1 where there is no such column."""
    splits = [rows for _, rows in data.list_splits()] + ([] if data.unlabelled is None else [data.unlabelled])
    return max(
        (max(ids, default=-1) for rows in splits if column in rows.column_names for ids in iterate_ids(rows, column)),
        default=-1,
    )
