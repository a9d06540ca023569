"""A task's texts as tokens: cut to a length that tokenizer and model allow.

Entry: `check_max_length`, `tokenize_task`.
"""

from dataclasses import replace

from datasets import Dataset
from transformers import BatchEncoding, PreTrainedConfig, PreTrainedTokenizerBase

from layer_distillation.records.token_counts import measure_lengths
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.model_checks import explain_errors

UNLABELLED_ROWS = "the unlabelled rows"
# Their position numbers begin at pad_token_id + 1: of 514 positions, 512 are there for tokens.
POSITION_OFFSET_MODEL_TYPES = frozenset(
    ("roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "mpnet", "longformer", "xmod")
    + ("data2vec-text", "ibert", "luke", "lilt")
)


def tokenize_task(data: TaskData, tokenizer: PreTrainedTokenizerBase, max_length: int) -> TaskData:
    """The task with the tokenizer's columns in place of the texts: truncated to `max_length` tokens, not padded.

    Raises:
        ValueError: the tokenizer fails, or makes no token at all of a row.
    """

    def tokenize_rows(rows: dict[str, list]) -> BatchEncoding:
        return tokenizer(*(rows[column] for column in data.text_columns), truncation=True, max_length=max_length)

    remedy = "save the tokenizer that the teacher was trained with"
    splits = dict(data.list_splits()) | ({} if data.unlabelled is None else {UNLABELLED_ROWS: data.unlabelled})
    with explain_errors(tokenizer.name_or_path, "the tokenizer fails on the texts", remedy):
        tokenized = {
            name: split.map(
                tokenize_rows, batched=True, remove_columns=list(data.text_columns), desc=f"Tokenizing {name}"
            )
            for name, split in splits.items()
        }
    for name, split in tokenized.items():
        check_token_counts(name, split)
    train, test, unlabelled = (tokenized.pop(name, None) for name in ("train", "test", UNLABELLED_ROWS))
    return replace(data, train=train, test=test, unlabelled=unlabelled, validation=tokenized)


def check_token_counts(name: str, tokenized: Dataset) -> None:
    """An empty text is a row of [CLS] and [SEP], unless the tokenizer adds nothing, as GPT-2's: no model reads that."""
    lengths = measure_lengths(tokenized)
    if 0 in lengths:
        raise ValueError(
            f"{name}: {lengths.count(0)} of {len(lengths)} rows, the first is row {lengths.index(0) + 1}, give no "
            "token: this tokenizer adds none to an empty text; drop these rows, or write something there."
        )


def check_max_length(max_length: int, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
    """ValueError where the tokenizer or the model's positions end before `max_length` tokens."""
    # Names differ (GPT-2: n_positions) and a model without position limit has none.
    key = config.attribute_map.get("max_position_embeddings", "max_position_embeddings")
    limits = {"tokenizer": tokenizer.model_max_length, "model": config.to_dict().get(key)}
    if limits["model"] is not None and config.model_type in POSITION_OFFSET_MODEL_TYPES:
        limits["model"] -= config.pad_token_id + 1
    for name, limit in limits.items():
        if limit is not None and max_length > limit:
            raise ValueError(f"--max_length {max_length} is more than the {limit} tokens of the {name}: lower it.")
