"""Batches of rows whose inputs are more than one text of tokens.

Entry: `choose_collator`, of inputs alone; `ChoiceCollator` and `WindowCollator` of whole rows.
"""

from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase, default_data_collator

from layer_distillation.records.token_counts import count_inputs
from layer_distillation.tasks.kinds.collating import ItemCollator

NOT_PADDED = ("labels", "offsets", "null", "row")  # of windows: two numbers, and what is for reading answers alone


def choose_collator(rows: Dataset, tokenizer: PreTrainedTokenizerBase) -> DataCollatorWithPadding:
    """For the tokenizer's columns of such rows."""
    return DataCollatorWithPadding(tokenizer) if count_inputs(rows) is None else ChoiceCollator(tokenizer)


class ChoiceCollator(DataCollatorWithPadding):
    """Rows of several inputs each, the same number: the tokenizer's columns come as (rows, inputs, tokens), padded to
    the longest input of all, what else there is as stock's collator has it."""

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Tensor]:
        names = [name for name in self.tokenizer.model_input_names if name in features[0]]
        flat = [
            dict(zip(names, values, strict=True))
            for row in features
            for values in zip(*(row[name] for name in names), strict=True)
        ]
        padded = super().__call__(flat)
        shape = len(features), len(flat) // len(features), -1
        others = [{name: value for name, value in row.items() if name not in names} for row in features]
        inputs = {name: padded[name].reshape(shape) for name in names}
        return inputs | (default_data_collator(others) if others[0] else {})


class WindowCollator(ItemCollator):
    """Windows, whose labels are positions. Where padding comes first all are as long as the tokenizer's last call cut
    them: a position means one thing in all batches then."""

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Tensor]:
        truncation = self.tokenizer.backend_tokenizer.truncation
        if self.tokenizer.padding_side == "left" and truncation is not None:
            self.padding, self.max_length = "max_length", truncation["max_length"]
        labels = [row["labels"] for row in features if "labels" in row]
        rows = [{name: value for name, value in row.items() if name not in NOT_PADDED} for row in features]
        batch = super().__call__(rows)
        if labels:
            batch["labels"] = torch.tensor(labels)
            if self.tokenizer.padding_side == "left":
                shift = batch["input_ids"].shape[1] - torch.tensor([[len(row["input_ids"])] for row in features])
                batch["labels"] = torch.where(batch["labels"] >= 0, batch["labels"] + shift, batch["labels"])
        return batch
