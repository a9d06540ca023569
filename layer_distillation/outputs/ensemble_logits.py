"""The logits of several teachers as one teacher's. Those of a single one, (batch, classes), stay as they are."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedConfig


def mix_logits(teacher_logits: Tensor, temperature: float = 1.0, is_binary: bool = False) -> Tensor:
    """T * log(mean over teachers of softmax(logits / T)): whose softmax at T is the mean of the teachers' softmaxes;
    of outputs that are each decided by themselves (`is_binary`) the same of their sigmoids.

    The arithmetic mean of the members' distributions as soft target: Hinton et al. 2015 (arXiv:1503.02531, section 1),
    of softened outputs You et al. 2017 (Learning from Multiple Teacher Networks, doi 10.1145/3097983.3098135). One
    output (regression) has no distribution: its mean.

    Args:
        teacher_logits: (items, teachers, classes), or (items, classes) of one teacher.

    Returns:
        (items, classes)
    """
    if teacher_logits.dim() == 2 or teacher_logits.size(-1) == 1:
        return average_logits(teacher_logits)
    if is_binary:
        given, not_given = (
            F.logsigmoid(sign * teacher_logits.float() / temperature).logsumexp(dim=1) for sign in (1, -1)
        )
        return temperature * (given - not_given)
    log_probabilities = F.log_softmax(teacher_logits.float() / temperature, dim=-1)
    return temperature * (log_probabilities.logsumexp(dim=1) - math.log(teacher_logits.size(1)))


def mix_any_logits(teacher_logits: Tensor, is_binary: bool = False) -> Tensor:
    """`mix_logits` at T = 1 of logits of any shape, the teachers second: (batch, teachers, ..., classes)."""
    logits = teacher_logits.movedim(1, -2)
    mixed = mix_logits(logits.flatten(end_dim=-3), is_binary=is_binary)
    return mixed.view(*logits.shape[:-2], logits.shape[-1])


def average_logits(teacher_logits: Tensor) -> Tensor:
    """(batch, teachers, classes) -> their mean, (batch, classes)."""
    return teacher_logits if teacher_logits.dim() == 2 else teacher_logits.float().mean(dim=1)


def check_same_labels(first: PreTrainedConfig, further: Sequence[PreTrainedConfig]) -> None:
    """Raises ValueError where the logits of several teachers cannot be averaged."""
    for config in further:
        if config.num_labels != first.num_labels:
            raise ValueError(
                f"num_labels is {config.num_labels} in a further teacher and {first.num_labels} in the first: give all "
                "of them the task's labels"
            )
