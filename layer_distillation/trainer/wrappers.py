"""What a model is wrapped in for the time of one training, and how it comes out of it: as a reload would give it."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import DynamoBackend
from transformers import PreTrainedModel, Trainer

from layer_distillation.losses.projections import Projections, attach_projections
from layer_distillation.step.fast_attention import attend_fast
from layer_distillation.step.fast_dropout import draw_dropout_fast
from layer_distillation.step.trimmed_embedding import trim_embedding
from layer_distillation.step.unread_masks import make_masks_unread

logger = logging.getLogger(__name__)

PRECISION_NAMES = {"no": "fp32", "bf16": "bf16 (--bf16 false: fp32)"}


class WrappedTrainer(Protocol):
    """What this needs of a trainer."""

    model: PreTrainedModel
    accelerator: Accelerator
    optimizer: torch.optim.Optimizer | None
    lr_scheduler: torch.optim.lr_scheduler.LRScheduler | None
    projections: Projections | None


def wrap_for_training(trainer: WrappedTrainer, stack: ExitStack) -> None:
    """Where that changes nothing but its cost, only the embeddings of used tokens are trained, dropout draws fewer
    random numbers, attention with it computes in the student's precision, and no mask is read back from a GPU. All of
    it ends with `stack`."""
    mixed_precision = trainer.accelerator.mixed_precision
    logger.info("computing in %s", PRECISION_NAMES.get(mixed_precision, mixed_precision))
    stack.enter_context(leave_plain_model(trainer))
    is_trimmed = stack.enter_context(trim_embedding(trainer))
    stack.enter_context(attach_projections(trainer.model, trainer.projections, trainer.optimizer))
    if is_trimmed or trainer.projections is not None:
        stack.callback(drop_optimizer, trainer)
    if trainer.accelerator.state.dynamo_plugin.backend == DynamoBackend.NO:  # a compiled model draws in its own way
        stack.enter_context(draw_dropout_fast(trainer.model))
        stack.enter_context(attend_fast())
        stack.enter_context(make_masks_unread(trainer.accelerator.device))


def drop_optimizer(trainer: WrappedTrainer) -> None:
    """It holds parameters that are no part of the model any more."""
    trainer.optimizer = trainer.lr_scheduler = None


@contextmanager
def leave_plain_model(trainer: Trainer) -> Iterator[None]:
    """Afterwards the model computes in the precision of its weights, as whoever loads it: accelerate 1.15 leaves its
    autocast on it. A second training wraps the plain model anew."""
    model = trainer.model
    try:
        yield
    finally:
        is_whole = not (trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled)
        if is_whole and trainer.model is model:
            unwrap_autocast(model)
            trainer.model_wrapped = model


def unwrap_autocast(model: PreTrainedModel) -> None:
    """Takes accelerate's autocast off a model. By hand: `Accelerator.unwrap_model(keep_fp32_wrapper=False)` of 1.15
    takes the class's own decorators off its forward pass too, and `return_dict` fails then."""
    original = vars(model).pop("_original_forward", None)
    if original is None:
        return
    del model.forward
    if original.__func__ is not type(model).forward:  # it was another before
        model.forward = original


def count_multiplied(model: PreTrainedModel) -> int:
    """Parameters of a plain model that the stock count of floating-point operations multiplies with."""
    return model.num_parameters(exclude_embeddings=True)
