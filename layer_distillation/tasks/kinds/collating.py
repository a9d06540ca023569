"""Batches of rows with a value per token beside the tokenizer's own."""

from typing import Any

import torch
from torch import Tensor
from transformers import DataCollatorWithPadding

PADDING = {"labels": -100, "item_mask": 0, "teacher_logits": 0.0}


class ItemCollator(DataCollatorWithPadding):
    """Pads labels, items and stored logits of tokens as the tokenizer pads these, on its side."""

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Tensor]:
        named = [name for name in PADDING if name in features[0]]
        others = [{name: value for name, value in row.items() if name not in named} for row in features]
        batch = super().__call__(others)
        length = batch["input_ids"].shape[1]
        for name in named:
            batch[name] = self.pad_values([torch.as_tensor(row[name]) for row in features], length, PADDING[name])
        return batch

    def pad_values(self, rows: list[Tensor], length: int, padding: float) -> Tensor:
        """(rows, length, ...); each row is (its tokens, ...)."""
        shape = next((row.shape[1:] for row in rows if len(row)), rows[0].shape[1:])
        padded = rows[0].new_full((len(rows), length, *shape), padding)
        for target, row in zip(padded, rows, strict=True):
            place = slice(length - len(row), None) if self.tokenizer.padding_side == "left" else slice(len(row))
            target[place] = row.to(padded.dtype)
        return padded
