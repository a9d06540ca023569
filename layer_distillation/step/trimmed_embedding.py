"""A token embedding that trains only the rows that the training data use: the same result, a fraction of the cost.

A batch touches a few hundred of tens of thousands of rows, yet the stock step zeroes, clips and updates a gradient of
the whole table. A row that no training token uses has a zero gradient always, and an optimizer that treats every weight
by itself (AdamW, SGD) leaves it as it is, but for weight decay, which here does not reach it. Entry: `trim_embedding`.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor, nn
from transformers import DataCollatorWithPadding, PreTrainedModel, Trainer

from layer_distillation.records.token_counts import find_used_tokens

logger = logging.getLogger(__name__)

ELEMENTWISE_OPTIMIZERS = frozenset({"adamw_torch", "adamw_torch_fused", "sgd"})  # others may couple rows, by norms say
# A subclass that makes its own may look for the whole table by name.
PARAMETER_HOOKS = (
    "create_optimizer",
    "create_optimizer_and_scheduler",
    "get_optimizer_cls_and_kwargs",
    "get_decay_parameter_names",
    "_clip_grad_norm",
    "_get_grad_norm",
    "training_step",
)
LARGEST_USED_SHARE = 0.5  # above it the smaller table saves too little to be worth the indirection


class TrimmedEmbedding(nn.Embedding):
    """An embedding whose parameter is `used_rows`; the whole table, `weight`, is frozen.

    A state dict of it is the plain embedding's: `weight` with the trained rows in it, nothing else.

    Args:
        embedding: the plain one. Its table is shared, not copied, and holds the trained rows after each evaluation.
        token_ids: every id that training will meet.
    """

    def __init__(self, embedding: nn.Embedding, token_ids: Tensor) -> None:
        table = embedding.weight.detach()
        super().__init__(*table.shape, padding_idx=embedding.padding_idx, _weight=table, _freeze=True)
        self.used_rows = nn.Parameter(table[token_ids].clone())
        index = torch.full((len(table),), -1, device=table.device)
        index[token_ids] = torch.arange(len(token_ids), device=table.device)
        self.register_buffer("token_ids", token_ids.to(table.device), persistent=False)
        self.register_buffer("row_index", index, persistent=False)
        self.used_padding_idx = None if self.padding_idx is None else int(index[self.padding_idx])
        self.register_state_dict_post_hook(drop_used_rows)
        self.register_load_state_dict_pre_hook(add_used_rows)

    def forward(self, input: Tensor) -> Tensor:
        """(batch, tokens) -> (batch, tokens, width). In training an id that was not announced is an IndexError."""
        if self.training:
            return F.embedding(self.row_index[input], self.used_rows, padding_idx=self.used_padding_idx)
        return F.embedding(input, self.update_table())

    @torch.no_grad()
    def update_table(self) -> Tensor:
        """The whole table (vocabulary, width), with the trained rows written into it."""
        self.weight[self.token_ids] = self.used_rows
        return self.weight


def drop_used_rows(module: TrimmedEmbedding, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    module.update_table()
    del state[f"{prefix}used_rows"]


def add_used_rows(module: TrimmedEmbedding, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    if f"{prefix}weight" in state:
        table = state[f"{prefix}weight"]
        state[f"{prefix}used_rows"] = table[module.token_ids.to(table.device)]


def trim_embedding(trainer: Trainer) -> AbstractContextManager[bool]:
    """What `train_used_rows` does with a trainer's model and rows; nothing where it could change the result, or where
    `trim_embedding` of its arguments forbids it."""
    args, collate = trainer.args, trainer.data_collator
    is_plain = trainer.optimizer is None and trainer.optimizer_cls_and_kwargs is None
    is_plain = is_plain and args.optim in ELEMENTWISE_OPTIMIZERS and not overrides_parameter_hooks(trainer)
    is_plain = is_plain and args.neftune_noise_alpha is None  # its noise hangs on the embedding already
    is_plain = is_plain and not trainer.is_deepspeed_enabled and not trainer.is_fsdp_enabled
    if not (args.trim_embedding and is_plain and knows_all_tokens(trainer.train_dataset, collate)):
        return nullcontext(False)
    used = find_used_tokens(trainer.train_dataset) | set(collate.tokenizer.all_special_ids)
    return train_used_rows(trainer.model, used)


def overrides_parameter_hooks(trainer: Trainer) -> bool:
    """Whether a user's subclass, or the trainer itself, has a hook of its own that may name parameters."""
    others = [kind for kind in type(trainer).__mro__ if not issubclass(Trainer, kind) and not is_ours(kind)]
    own = set(vars(trainer)).union(*map(vars, others))
    return not own.isdisjoint(PARAMETER_HOOKS)


def is_ours(kind: type) -> bool:
    """Classes of this package take the used rows for the embedding that they are."""
    return kind.__module__.split(".")[0] == __name__.split(".")[0]


@contextmanager
def train_used_rows(model: PreTrainedModel, token_ids: Iterable[int]) -> Iterator[bool]:
    """Trims the model's token embedding for the time of its training; the model has its plain embedding afterwards.

    Yields whether it did: not where training uses most of the table, or the embedding is not a plain, trained one.

    Args:
        token_ids: every id that training will meet, in any order; the padding id is added.
    """
    plain = model.get_input_embeddings()
    padding = [] if plain.padding_idx is None else [plain.padding_idx]
    used = torch.tensor(sorted({*token_ids, *padding}))
    if not can_be_trimmed(plain) or len(used) > LARGEST_USED_SHARE * plain.num_embeddings:
        yield False
        return
    names = [name for name, module in model.named_modules(remove_duplicate=False) if module is plain]
    logger.info("training %d of %d token embeddings: those of the training rows", len(used), plain.num_embeddings)
    trimmed = TrimmedEmbedding(plain, used)
    for name in names:
        model.set_submodule(name, trimmed)
    try:
        yield True
    finally:
        plain.weight.data = trimmed.update_table().data
        for name in names:
            model.set_submodule(name, plain)


def knows_all_tokens(rows: Any, collate: Any) -> bool:
    """Whether the rows say which ids a batch may hold; another collator may write some that no row holds."""
    is_readable = isinstance(rows, Dataset) and "input_ids" in rows.column_names
    return is_readable and isinstance(collate, DataCollatorWithPadding)


def can_be_trimmed(embedding: nn.Module) -> bool:
    """A subclass may scale or share its rows; max_norm and the sparse modes write to the table by themselves."""
    is_plain = type(embedding) is nn.Embedding and embedding.weight.requires_grad
    return is_plain and embedding.max_norm is None and not embedding.scale_grad_by_freq and not embedding.sparse
