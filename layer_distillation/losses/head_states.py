"""The states that the heads read, and the losses that compare them: PKD's directions and RKD's distances.

As in `losses/functions.py`: tensors in, one scalar out, in float32 whatever the precision of the models.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from layer_distillation.losses.functions import Count, average_rows


def get_first_state(states: Tensor, attention_mask: Tensor) -> Tensor:
    """(batch, tokens, hidden) -> (batch, hidden) of each row's first real token."""
    token = attention_mask.long().argmax(dim=1)
    return states[torch.arange(len(token), device=token.device), token].float()


def get_last_state(states: Tensor, attention_mask: Tensor) -> Tensor:
    """(batch, tokens, hidden) -> (batch, hidden) of each row's last real token."""
    token = attention_mask.size(1) - 1 - attention_mask.long().flip(1).argmax(dim=1)
    return states[torch.arange(len(token), device=token.device), token].float()


def get_mean_state(states: Tensor, attention_mask: Tensor) -> Tensor:
    """(batch, tokens, hidden) -> (batch, hidden), the mean over each row's real tokens."""
    is_real = attention_mask.bool()
    return states.float().masked_fill(~is_real[..., None], 0.0).sum(dim=1) / is_real.sum(dim=1, keepdim=True).clamp(
        min=1
    )


def get_item_states(states: Tensor, item_mask: Tensor) -> Tensor:
    """(batch, tokens, hidden) -> (items, hidden): a head that reads every item's own."""
    return states[item_mask.bool()].float()


STATE_PLACES = {"first": get_first_state, "last": get_last_state, "mean": get_mean_state, "items": get_item_states}


def read_head_states(
    student_hidden_states: Sequence[Tensor],
    teacher_hidden_states: Sequence[Tensor],
    attention_mask: Tensor,
    places: tuple[str, str],
) -> list[tuple[Tensor, Tensor]]:
    """Of every pair of (batch, tokens, hidden) the states that the two heads read, (batch, hidden) each."""
    read_student, read_teacher = (STATE_PLACES[place] for place in places)
    pairs = zip(student_hidden_states, teacher_hidden_states, strict=True)
    return [
        (read_student(student, attention_mask), read_teacher(teacher, attention_mask)) for student, teacher in pairs
    ]


def patient_loss(
    student_hidden_states: Sequence[Tensor],
    teacher_hidden_states: Sequence[Tensor],
    attention_mask: Tensor,
    num_items: Count = None,
    places: tuple[str, str] = ("first", "first"),
) -> Tensor:
    """|| student / |student| - teacher / |teacher| ||^2 of the states that the heads read, mean over items and pairs.

    Patient knowledge distillation (Sun et al. 2019, arXiv:1908.09355, equation 7, there a sum): of every matched layer
    only the direction of one state, that of [CLS] in the paper. It is 2 - 2 cosine.

    Args:
        student_hidden_states, teacher_hidden_states: one (batch, tokens, hidden) per pair.
        attention_mask: (batch, tokens), 1 for a real token; padding may be on either side.
        num_items: rows, or items, of the whole batch, where this is a part of it.
        places: which state of a row the student's and the teacher's head read: a key of `STATE_PLACES`.
    """
    losses = []
    for pair in read_head_states(student_hidden_states, teacher_hidden_states, attention_mask, places):
        directions = [F.normalize(states, dim=-1) for states in pair]
        losses.append(average_rows((directions[0] - directions[1]).square().sum(dim=-1), num_items))
    return torch.stack(losses).mean()


def relational_loss(
    student_hidden_states: Sequence[Tensor],
    teacher_hidden_states: Sequence[Tensor],
    attention_mask: Tensor,
    places: tuple[str, str] = ("first", "first"),
) -> Tensor:
    """`relational_distance_loss` of the states that the heads read, mean over layer pairs (the paper: of one layer).

    Args:
        student_hidden_states, teacher_hidden_states: one (batch, tokens, hidden) per pair; widths may differ.
        attention_mask: (batch, tokens), 1 for a real token; padding may be on either side.
        places: which state of a row the student's and the teacher's head read: a key of `STATE_PLACES`.
    """
    pairs = read_head_states(student_hidden_states, teacher_hidden_states, attention_mask, places)
    return torch.stack([relational_distance_loss(*pair) for pair in pairs]).mean()


def relational_distance_loss(student_vectors: Tensor, teacher_vectors: Tensor) -> Tensor:
    """Huber(|s_i - s_j| / mu_s - |t_i - t_j| / mu_t), mean over pairs of rows; mu is the mean distance of all pairs.

    Distance-wise relational distillation (Park et al. 2019, arXiv:1904.05068, section 3.2.1, there a sum over pairs),
    with the Huber threshold 1: d^2 / 2 where |d| <= 1, else |d| - 1/2. It knows the pairs within this batch alone:
    parts of a batch do not add up to the whole.

    Args:
        student_vectors: (batch, width). teacher_vectors: (batch, any width). A single row has no pairs: 0.
    """
    if len(student_vectors) < 2:
        return student_vectors.float().sum() * 0.0
    student, teacher = (scale_distances(vectors) for vectors in (student_vectors, teacher_vectors))
    return F.smooth_l1_loss(student, teacher)


def scale_distances(vectors: Tensor) -> Tensor:
    """Euclidean distances of all pairs over their mean: (batch, width) -> (pairs,)."""
    distances = torch.pdist(vectors.float())
    return distances / distances.mean().clamp(min=torch.finfo(torch.float32).tiny)  # all alike: 0, not nan
