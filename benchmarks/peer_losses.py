"""The losses of the ways of training that the sweep benchmark sets beside this project."""

import torch.nn.functional as F
from torch import Tensor

from layer_distillation.losses.functions import IGNORED_LABEL

RECIPE_TEMPERATURE = 2.0
RECIPE_TEACHER_SHARE = 0.5


def take_labelled(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of tags, (batch, tokens, tags), those of the labelled pieces, (pieces, tags); of one label to a row all."""
    if student_logits.dim() == 2:
        return student_logits, teacher_logits, labels
    is_labelled = labels != IGNORED_LABEL
    return student_logits[is_labelled], teacher_logits[is_labelled], labels[is_labelled]


def compute_recipe_loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """0.5 cross-entropy + 0.5 T^2 KL(teacher || student), T = 2, means over rows; logits (batch, classes)."""
    divergence = F.kl_div(
        F.log_softmax(student_logits / RECIPE_TEMPERATURE, dim=-1),
        F.softmax(teacher_logits / RECIPE_TEMPERATURE, dim=-1),
        reduction="batchmean",
    )
    cross_entropy = F.cross_entropy(student_logits, labels)
    distillation = RECIPE_TEMPERATURE**2 * divergence
    return (1 - RECIPE_TEACHER_SHARE) * cross_entropy + RECIPE_TEACHER_SHARE * distillation


def compute_tutorial_loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """(cross-entropy + KL(teacher || student) + 1 - cosine of the logits) / 3, means over rows; (batch, classes)."""
    divergence = F.kl_div(
        F.log_softmax(student_logits, dim=-1), F.softmax(teacher_logits, dim=-1), reduction="batchmean"
    )
    distance = 1 - F.cosine_similarity(student_logits, teacher_logits, dim=-1).mean()
    return (F.cross_entropy(student_logits, labels) + divergence + distance) / 3
