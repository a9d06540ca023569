"""What a model's folder has to be before it is used: loadable without running anything of it, whole, and finite.

Entry: `explain_errors` around what loads configs and tokenizers, `one_line_errors` around what loads weights, then
`check_tensors` and `check_vocabulary`.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from layer_distillation.tasks.kinds.entry import TaskKind, UnfitTextError
from student_init import find_layer_stack

REASON_CHARACTERS = 160
MAX_SHOWN = 3


def get_auto_class(kind: TaskKind) -> type:
    """What loads a model with the kind's head."""
    if kind.find_loader is not None:
        return kind.find_loader()
    return getattr(transformers, kind.auto_class)


@contextmanager
def explain_errors(location: str, problem: str, remedy: str) -> Iterator[None]:
    """Whatever a stranger's file makes the libraries raise becomes a ValueError of one line.

    Exception, because they share no base: a config alone can raise TypeError, AttributeError, RecursionError,
    ZeroDivisionError, AssertionError, and tokenizers raises Exception itself. Full memory is no fault of the file.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, UnfitTextError):
        raise
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise ValueError(
                f"{location!r} needs code of its own, which is not run: read that code, and if you trust it give "
                "--trust_remote_code true; else give another model"
            ) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{problem} ({reason[:REASON_CHARACTERS]}): {remedy}") from error


@contextmanager
def one_line_errors(location: str) -> Iterator[None]:
    """Whatever is wrong with a folder's weights becomes a ValueError of one line."""
    remedy = "save the model again, as safetensors (a pickle such as pytorch_model.bin is never loaded)"
    with explain_errors(location, f"the weights of {location!r} cannot be loaded", remedy):
        yield


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Errors only from transformers, whose report of a missing head is what is decided on here."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)


def check_tensors(model: PreTrainedModel, loading: dict[str, Collection], location: str) -> None:
    """ValueError unless the encoder is there whole, without layers beyond the config's, and every number is finite.

    A head may be missing, and so may a pooler, which stands inside of some encoders: both are trained for a task.

    Args:
        loading: what `from_pretrained(output_loading_info=True, ignore_mismatched_sizes=True)` says it met.
    """
    for name, stored, expected in sorted(loading["mismatched_keys"]):
        raise ValueError(
            f"the weights of {location!r} have {name} as {list(stored)}, and its config asks for {list(expected)}: "
            "correct its config.json, or save the model again"
        )
    prefix, stack_name = f"{model.base_model_prefix}.", find_layer_stack(model)[0]
    missing = sorted(name for name in loading["missing_keys"] if name.startswith(prefix) and "pooler" not in name)
    if missing:
        raise ValueError(
            f"the weights of {location!r} lack {show_names(missing)}: save the whole model again, or correct its config"
        )
    # Saved without its head, an encoder's tensors have no prefix.
    stack = f"{stack_name.removeprefix(prefix)}."
    extra = sorted(name for name in loading["unexpected_keys"] if name.removeprefix(prefix).startswith(stack))
    if extra:
        raise ValueError(
            f"the weights of {location!r} hold {show_names(extra)}, which its config has no place for: correct "
            "num_hidden_layers in its config.json"
        )
    broken = [name for name, tensor in model.named_parameters() if not torch.isfinite(tensor).all()]
    if broken:
        raise ValueError(
            f"the weights of {location!r} hold {show_names(broken)} with numbers that are not finite: give a model "
            "whose training did not diverge"
        )


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, location: str) -> None:
    """ValueError where a token's number has no embedding; numbers may have gaps, so their count says too little."""
    num_tokens, num_embeddings = max(tokenizer.get_vocab().values()) + 1, model.get_input_embeddings().num_embeddings
    if num_tokens > num_embeddings:
        raise ValueError(
            f"the tokenizer of {location!r} numbers {num_tokens} tokens and the model embeds only {num_embeddings}: "
            "save the tokenizer that the model was trained with"
        )


def show_names(names: list[str]) -> str:
    listed = ", ".join(names[:MAX_SHOWN])
    return listed if len(names) <= MAX_SHOWN else f"{listed} and {len(names) - MAX_SHOWN} more"
