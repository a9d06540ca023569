"""The logits of several teachers as one teacher's. Those of a single one, (batch, classes), stay as they are."""

import math

import torch.nn.functional as F
from torch import Tensor


def mix_logits(teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """T * log(mean over teachers of softmax(logits / T)): whose softmax at T is the mean of the teachers' softmaxes.

    The arithmetic mean of the members' distributions as soft target: Hinton et al. 2015 (arXiv:1503.02531, section 1),
    of softened outputs You et al. 2017 (Learning from Multiple Teacher Networks, doi 10.1145/3097983.3098135). One
    output (regression) has no distribution: its mean.

    Args:
        teacher_logits: (batch, teachers, classes), or (batch, classes) of one teacher.

    Returns:
        (batch, classes)
    """
    if teacher_logits.dim() == 2 or teacher_logits.size(-1) == 1:
        return average_logits(teacher_logits)
    log_probabilities = F.log_softmax(teacher_logits.float() / temperature, dim=-1)
    return temperature * (log_probabilities.logsumexp(dim=1) - math.log(teacher_logits.size(1)))


def average_logits(teacher_logits: Tensor) -> Tensor:
    """(batch, teachers, classes) -> their mean, (batch, classes)."""
    return teacher_logits if teacher_logits.dim() == 2 else teacher_logits.float().mean(dim=1)
