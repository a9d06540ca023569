"""From a PyTorch model to one float32 ONNX file, by torch's own exporter, checked at other lengths than the traced.

Entry: `convert`, `check_answers`.
"""

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from layer_distillation.export.clients import Answer, Batch
from layer_distillation.tasks.kinds.table import find_model_kind

OPSETS = range(18, 24)
# From 23 on attention is one operator, which newer readers alone know; all 8-bit kernels read 20.
DEFAULT_OPSET = 20
TRACED_ROWS, TRACED_CHOICES, TRACED_TOKENS = 2, 3, 11  # of 1 the exporter would take for granted that it is always 1
OTHER_CHOICES = 4
OTHER_SHAPES = ((1, 5), (3, 16), (5, 7))
TOLERANCE = 1e-3  # of logits whose size is about 1
REASON_CHARACTERS = 200


def check_opset(opset: int) -> None:
    """Raises ValueError where the exporter writes no such opset, or nothing here was tried with it."""
    if opset not in OPSETS:
        raise ValueError(f"--opset is {opset}: give {OPSETS[0]} to {OPSETS[-1]} (default {DEFAULT_OPSET})")


def convert(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path, opset: int) -> None:
    """Writes the file; batch, length and the number of choices are free in it.

    Raises:
        ValueError: the exporter cannot write this architecture.
    """
    kind = find_model_kind(model)
    inputs = make_batch(model, tokenizer, TRACED_ROWS, TRACED_TOKENS, padding=3, choices=TRACED_CHOICES)
    names = ["batch", "choices", "tokens"] if kind.has_choices else ["batch", "tokens"]
    free = {place: torch.export.Dim(name) for place, name in enumerate(names)}
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    try:
        with quiet_exporter(), without_cache(model):
            torch.onnx.export(
                model.eval(),
                kwargs=tensors,
                f=path,
                dynamo=True,
                dynamic_shapes=dict.fromkeys(tensors, free),
                input_names=list(tensors),
                output_names=list(kind.output_names),
                opset_version=opset,
                external_data=False,  # torch 2.13 writes a second file beside even a small model
                verbose=False,
            )
        strip_metadata(path)
        check_free(path)
    except OSError:
        raise
    except Exception as error:  # the exporter's stages share no base
        reason = " ".join(str(error.__cause__ or error).split())[:REASON_CHARACTERS]
        raise ValueError(
            f"{model.config.model_type} cannot be written as ONNX by torch {torch.__version__} ({reason}): deploy its "
            "PyTorch folder, or distil a teacher of another architecture"
        ) from error


def strip_metadata(path: Path) -> None:
    """Drops what torch notes at every node: it names this machine's folders, and is 0.7 MB of a small model."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]
    onnx.save(model, path)


def check_free(path: Path) -> None:
    """Raises ValueError where the exporter took a size of what it traced for the only one there is, as it does of
    `len` of a tensor."""
    import onnx

    for entry in onnx.load(path).graph.input:
        sizes = [size.dim_value for size in entry.type.tensor_type.shape.dim]
        if any(sizes):
            raise ValueError(f"{entry.name} is fixed to the traced sizes {sizes}, 0 for a free one")


def list_inputs(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What the tokenizer gives and the model takes, as the Trainer hands it over."""
    taken = inspect.signature(model.forward).parameters
    return [name for name in tokenizer.model_input_names if name in taken]


def make_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: int,
    tokens: int,
    padding: int = 0,
    choices: int = TRACED_CHOICES,
) -> Batch:
    """Drawn tokens, those of the last input that are padding at its end, as the tokenizer pads.

    Args:
        choices: inputs of a row, where the model's kind has several.
    """
    has_choices = find_model_kind(model).has_choices
    generator, num_rows = np.random.default_rng(0), rows
    rows *= choices if has_choices else 1
    ids = generator.integers(0, model.get_input_embeddings().num_embeddings, (rows, tokens))
    ids[ids == tokenizer.pad_token_id] = tokenizer.all_special_ids[-1]
    mask = np.ones((rows, tokens), np.int64)
    if padding:
        ids[-1, -padding:], mask[-1, -padding:] = tokenizer.pad_token_id, 0
    arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros((rows, tokens), np.int64)}
    shape = (num_rows, choices, tokens) if has_choices else (rows, tokens)
    return {name: arrays[name].reshape(shape) for name in list_inputs(model, tokenizer)}


def check_answers(
    answer: Answer, expected: Answer, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, form: str
) -> None:
    """Raises ValueError unless both answer alike, at other shapes than the traced, with and without padding."""
    for (rows, tokens), padding in [(shape, padding) for shape in OTHER_SHAPES for padding in (0, 4)]:
        if rows == 1 and padding:
            continue
        batch = make_batch(model, tokenizer, rows, tokens, padding, OTHER_CHOICES)
        got, wanted = (hide_padding(ask(batch), batch, model) for ask in (answer, expected))
        worst = float(np.abs(got - wanted).max()) if got.shape == wanted.shape else np.inf
        if not worst <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
            raise ValueError(
                f"{form} of this {model.config.model_type} answers otherwise than PyTorch ({worst:.2g} off for {rows} "
                f"rows of {tokens} tokens, {padding} of them padding): another --opset may help; nothing was written"
            )


def hide_padding(logits: np.ndarray, batch: Batch, model: PreTrainedModel) -> np.ndarray:
    """Of logits per token what stands at padding means nothing."""
    if not find_model_kind(model).is_per_token or logits.shape[:2] != batch["attention_mask"].shape:
        return logits
    return np.where(batch["attention_mask"][..., None] == 1, logits, 0.0)


@contextlib.contextmanager
def without_cache(model: PreTrainedModel) -> Iterator[None]:
    """A decoder returns its cache beside the logits, which the exporter has no type for and no classifier needs."""
    before = model.config.to_dict().get("use_cache")
    if before is not None:
        model.config.use_cache = False
    try:
        yield
    finally:
        if before is not None:
            model.config.use_cache = before


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Without torch's notes on packages that no text model needs, and its deprecations of itself."""
    logger, before = logging.getLogger("torch.onnx"), logging.getLogger("torch.onnx").level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
