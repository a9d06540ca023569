"""Which teacher layers a student's layers resemble: linear CKA of their hidden states on some rows."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from layer_distillation.outputs.compared import make_mask, run_model
from layer_distillation.records.token_counts import measure_lengths
from layer_distillation.students.representation_similarity import LayerSimilarity
from layer_distillation.tasks.collators import choose_collator
from layer_distillation.teachers.store_filling import plan_batches
from student_init import get_num_layers

INPUT_COLUMNS = ("input_ids", "token_type_ids", "attention_mask")

Matrix = list[list[float]]


def sample_rows(rows: Dataset, count: int, seed: int) -> Dataset:
    """`count` of the rows, drawn by the seed; all of them where there are no more."""
    return rows.select(random.Random(seed).sample(range(len(rows)), min(count, len(rows))))


@dataclass(frozen=True)
class TeacherBatch:
    """A batch's inputs and the outputs of all teacher layers: (layers, rows, tokens, hidden)."""

    inputs: dict[str, Tensor]
    states: Tensor


@torch.no_grad()
def run_teacher(
    teacher: PreTrainedModel,
    rows: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    disable_tqdm: bool = True,
) -> list[TeacherBatch]:
    """The teacher's states of some rows, computed once for all students.

    They are all held in memory: 4 bytes * layers * tokens * hidden, so for 500 rows of 30 tokens 140 MB of a 6-layer
    MiniLM and 550 MB of a 12-layer BERT.
    """
    teacher = teacher.to(device).eval()
    batches = tqdm(
        list(iterate_batches(rows, tokenizer, device)), "teacher's states", disable=disable_tqdm, leave=False
    )
    return [TeacherBatch(inputs, stack_states(teacher, inputs)) for inputs in batches]


@torch.no_grad()
def compare_with_teacher(
    student: PreTrainedModel, batches: Sequence[TeacherBatch], disable_tqdm: bool = True
) -> tuple[Matrix, Matrix]:
    """Linear CKA of each student layer (first index) with each teacher layer (second), in two ways.

    First over all real tokens, then over one vector per row, the mean of its real tokens. The mean, since every
    architecture has one: a decoder's first token has seen nothing of the text, and some encoders have no [CLS].
    """
    by_token, by_row = LayerSimilarity(), LayerSimilarity()
    for batch in tqdm(batches, "CKA with the teacher", disable=disable_tqdm, leave=False):
        is_real = make_mask(batch.inputs).bool()
        states = stack_states(student.eval(), batch.inputs)
        by_token.add(states[:, is_real], batch.states[:, is_real])
        by_row.add(average_tokens(states, is_real), average_tokens(batch.states, is_real))
    return by_token.compute().tolist(), by_row.compute().tolist()


def iterate_batches(
    rows: Dataset, tokenizer: PreTrainedTokenizerBase, device: torch.device
) -> Iterator[dict[str, Tensor]]:
    """The model's inputs, padded, in batches of rows of similar length."""
    collate = choose_collator(rows, tokenizer)
    rows = rows.select_columns([name for name in INPUT_COLUMNS if name in rows.column_names])
    for batch_rows in plan_batches(measure_lengths(rows), device):
        yield {name: tensor.to(device) for name, tensor in collate(rows.select(batch_rows).to_list()).items()}


def iterate_marks(
    rows: Dataset, column: str, tokenizer: PreTrainedTokenizerBase, device: torch.device
) -> Iterator[Tensor]:
    """A column of marks per token, (rows, tokens) of bool, of the batches of `iterate_batches`."""
    for batch_rows in plan_batches(measure_lengths(rows), device):
        marks = [torch.tensor(own, dtype=torch.bool) for own in rows.select(batch_rows)[column]]
        yield pad_sequence(marks, batch_first=True, padding_side=tokenizer.padding_side).to(device)


def stack_states(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
    """The outputs of all layers: (layers, rows, tokens, hidden)."""
    return torch.stack(run_model(model, inputs, hidden_layers=range(get_num_layers(model.config))).hidden_states)


def average_tokens(states: Tensor, is_real: Tensor) -> Tensor:
    """(layers, rows, tokens, hidden) and (rows, tokens) -> the mean over real tokens: (layers, rows, hidden)."""
    weights = is_real.double() / is_real.sum(dim=1, keepdim=True)
    return torch.einsum("lrth,rt->lrh", states.double(), weights)
