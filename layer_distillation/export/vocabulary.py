"""A student with a smaller vocabulary: fewer rows of embeddings, the same answer to every text that these cover.

Entry: `trim_student`, `trim_model`. Kept are the tokens of the training rows, of the unlabelled ones, of a sentence
encoder's prompts and of named files, special tokens, and every single character or byte, so that any text still is
tokens.
"""

import copy
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from layer_distillation.embedding.modules import get_modules
from layer_distillation.export.clients import ask_pytorch
from layer_distillation.export.scoring import predict
from layer_distillation.export.subjects import Subject, save_model, tokenize_texts
from layer_distillation.export.tokenizer_files import rebuild_tokenizer, refuse
from layer_distillation.records.export_record import TRIMMED
from layer_distillation.records.run_record import RunRecord
from layer_distillation.records.token_counts import find_used_tokens, iterate_token_ids
from layer_distillation.tasks.data import TaskData

logger = logging.getLogger(__name__)

COMPARED_ROWS = 32
LINES_AT_ONCE = 1000


def trim_student(
    student: Subject, texts: TaskData, files: Sequence[Path], record: RunRecord, workshop: Path
) -> tuple[Subject, dict[str, Any]]:
    """The smaller student, saved in the workshop with its tokenizer, and what the record tells of it.

    Raises:
        ValueError: its tokenizer or model cannot be trimmed, or a file holds no text.
    """
    used = find_used_tokens(student.data.student_train) | find_file_tokens(files, student.tokenizer)
    used |= find_prompt_tokens(student)
    folder = workshop / "trimmed"
    old_ids = rebuild_tokenizer(student.tokenizer, used, folder)
    model = trim_model(student.model, old_ids)
    save_model(model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    data = tokenize_texts(texts, tokenizer, record)
    trimmed = Subject(TRIMMED, model, tokenizer, folder, data, old_ids)
    vocabulary = {
        "tokens": len(old_ids),
        "tokens_before": student.model.get_input_embeddings().num_embeddings,
        "uncovered": {split: check_split(split, rows, student, trimmed) for split, rows in student.data.list_splits()},
    }
    logger.info("trimmed the vocabulary: %d of %d tokens", vocabulary["tokens"], vocabulary["tokens_before"])
    return trimmed, vocabulary


def find_file_tokens(files: Sequence[Path], tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Every token of some files of text, each line by itself, however long."""
    used: set[int] = set()
    for path in files:
        for lines in iterate_lines(path):
            used.update(token for ids in tokenizer(lines, verbose=False)["input_ids"] for token in ids)
    return used


def find_prompt_tokens(student: Subject) -> set[int]:
    """Of all prompts of a sentence encoder: the training texts have one of them at most."""
    modules = get_modules(student.model.config)
    prompts = [] if modules is None else modules.prompts.values()
    return {token for prompt in prompts for token in student.tokenizer(prompt)["input_ids"]}


def iterate_lines(path: Path) -> Iterator[list[str]]:
    """Raises ValueError where the file is no UTF-8."""
    try:
        with path.open(encoding="utf-8") as file:
            while lines := [line.rstrip("\n") for _, line in zip(range(LINES_AT_ONCE), file, strict=False)]:
                yield lines
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error.reason}): save it as UTF-8") from error


# ---- the model ---------------------------------------------------------------------------------------------------


def trim_model(model: PreTrainedModel, old_ids: Sequence[int]) -> PreTrainedModel:
    """A model whose token i is what `old_ids[i]` was; a head over the vocabulary, tied or not, follows."""
    config = trim_config(model.config, old_ids)
    by_token = find_token_tensors(model)
    index = torch.tensor(old_ids)
    state = {
        name: tensor[index] if tensor.data_ptr() in by_token else tensor for name, tensor in model.state_dict().items()
    }
    smaller = type(model)(config).to(model.dtype)
    smaller.load_state_dict(state)
    return smaller.eval()


def find_token_tensors(model: PreTrainedModel) -> set[int]:
    """Where the tensors lie that have a row per token: the embedding's, and those of a head over the vocabulary."""
    embedding = model.get_input_embeddings().weight
    tensors: list[Tensor] = [embedding]
    if model.get_output_embeddings() is not None:
        encoder = {tensor.data_ptr() for tensor in model.base_model.parameters()}
        head = [tensor for tensor in model.parameters() if tensor.data_ptr() not in encoder]
        tensors += [tensor for tensor in head if len(tensor) == len(embedding)]
    return {tensor.data_ptr() for tensor in tensors}


def trim_config(config: PreTrainedConfig, old_ids: Sequence[int]) -> PreTrainedConfig:
    """With the smaller size, and the new numbers of special tokens; one that is not kept has none."""
    new_of_old = {old: new for new, old in enumerate(old_ids)}
    smaller = copy.deepcopy(config)
    smaller.vocab_size = len(old_ids)
    for name, value in config.to_dict().items():
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(smaller, name, new_of_old.get(value))
    return smaller


def trim_graph(source: Path, target: Path, whole: PreTrainedModel, smaller: PreTrainedModel) -> bool:
    """The smaller model's ONNX file from that of the whole one, which is the same but for its table of tokens; the
    exporter takes seconds. False where it may differ in more: the number of a special token can stand in the graph."""
    import onnx
    from onnx import numpy_helper

    numbers = [
        {name: value for name, value in model.config.to_dict().items() if name.endswith("_token_id")}
        for model in (whole, smaller)
    ]
    embedding = whole.get_input_embeddings().weight
    [name] = [name for name, tensor in whole.named_parameters() if tensor is embedding]
    graph = onnx.load(source)
    tables = [table for table in graph.graph.initializer if table.name == name and [*table.dims] == [*embedding.shape]]
    if numbers[0] != numbers[1] or len(tables) != 1:
        return False
    values = smaller.get_input_embeddings().weight.detach().numpy()
    tables[0].CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(graph, target)
    return True


# ---- what it covers ----------------------------------------------------------------------------------------------


def check_split(split: str, rows: Dataset, before: Subject, after: Subject) -> dict[str, float]:
    """Shares of rows that have a token which is gone, and of tokens that are gone; notes the rows in `after`.

    Raises:
        ValueError: a row without one is other tokens now, or another answer.
    """
    new_of_old = {old: new for new, old in enumerate(after.old_ids)}
    rows_after = dict(after.data.list_splits())[split]
    covered, uncovered, gone, total = [], [], 0, 0
    for index, (ids, ids_after) in enumerate(zip(iterate_token_ids(rows), iterate_token_ids(rows_after), strict=True)):
        missing = sum(token not in new_of_old for token in ids)
        gone, total = gone + missing, total + len(ids)
        (uncovered if missing else covered).append(index)
        if not missing and [new_of_old[token] for token in ids] != ids_after:
            raise refuse(before.tokenizer, f"row {index + 1} of {split} would be split otherwise")
    check_answers(rows, rows_after, covered[:COMPARED_ROWS], before, after)
    after.uncovered[split] = uncovered
    return {"rows": len(uncovered) / len(rows), "tokens": gone / total}


def check_answers(rows: Dataset, rows_after: Dataset, indices: Iterable[int], before: Subject, after: Subject) -> None:
    """Raises ValueError unless both models answer the covered rows alike."""
    indices = list(indices)
    if not indices:
        return
    sides = ((before, rows), (after, rows_after))
    wanted, got = (predict(ask_pytorch(side.model, 1), split.select(indices), side) for side, split in sides)
    if not np.allclose(wanted, got, rtol=0, atol=1e-5 * max(1.0, float(np.abs(wanted).max()))):
        raise ValueError(
            f"{before.model.config.model_type} with a smaller vocabulary answers otherwise: leave --trim_vocabulary out"
        )
