"""Distillation losses: pure functions, tensors in, one scalar out.

Every function averages over items (labelled rows, rows, or real tokens). `num_items` replaces the local count by the
count over the whole accumulated, multi-process batch; the sum of the parts is then exactly the loss of the whole.
All arithmetic is in float32, whatever the precision of the models.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED_LABEL = -100
SMALLEST_NORM = 1e-8  # of a vector in a cosine, as in torch: one of zeros has the cosine 0
Count = Tensor | int | float | None


def average_items(per_item_loss: Tensor, is_counted: Tensor, num_items: Count) -> Tensor:
    """Sum of the counted entries of `per_item_loss` over `num_items` (default: how many are counted, at least 1)."""
    total = per_item_loss.masked_fill(~is_counted, 0.0).sum()
    divisor = is_counted.sum().clamp(min=1) if num_items is None else num_items
    return total / divisor


def cross_entropy_loss(
    student_logits: Tensor, labels: Tensor, num_items: Count = None, class_weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy in nats, mean over labelled rows; weighted by class: sum(w[y] CE) / sum(w[y]), as in torch.

    Args:
        student_logits: (batch, classes).
        labels: (batch,) class indices; -100 marks a row without a label, which does not count.
        num_items: labelled rows of the whole batch, where this is a part of it; with weights the sum of theirs.
        class_weights: (classes,).
    """
    per_row = F.cross_entropy(
        student_logits.float(), labels, class_weights, ignore_index=IGNORED_LABEL, reduction="none"
    )
    if class_weights is not None and num_items is None:
        num_items = class_weights[labels[labels != IGNORED_LABEL]].sum() if (labels != IGNORED_LABEL).any() else 1
    return average_items(per_row, labels != IGNORED_LABEL, num_items)


def binary_cross_entropy_loss(student_logits: Tensor, labels: Tensor, num_items: Count = None) -> Tensor:
    """Binary cross-entropy in nats, mean over the labels of a row and over labelled rows, as in torch.

    Args:
        student_logits: (batch, labels).
        labels: (batch, labels) of 0 and 1; nan marks a row without labels, which does not count.
        num_items: labelled rows of the whole batch, where this is a part of it.
    """
    is_counted = ~labels.isnan().any(dim=-1)
    targets = labels.float().nan_to_num()
    per_label = F.binary_cross_entropy_with_logits(student_logits.float(), targets, reduction="none")
    return average_items(per_label.mean(dim=-1), is_counted, num_items)


def binary_kl_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0, num_items: Count = None
) -> Tensor:
    """T^2 * KL between the two distributions [p, 1 - p] of every label, p = sigmoid(logit / T), in nats; mean over the
    labels of a row and over rows.

    Multi-label logit distillation (Yang et al. 2023, Multi-Label Knowledge Distillation, arXiv:2308.06453, section 3,
    there at T = 1, and both it and the cross-entropy a sum over labels: here both are the mean, as torch has the
    latter, which leaves their proportion what it is there). The factor T^2 as for classes.

    Args:
        student_logits, teacher_logits: (batch, labels).
    """
    divergences = []
    for side in (1.0, -1.0):
        student_log, teacher_log = (
            F.logsigmoid(side * logits.float() / temperature) for logits in (student_logits, teacher_logits)
        )
        divergences.append(F.kl_div(student_log, teacher_log, reduction="none", log_target=True))
    return temperature**2 * average_rows(sum(divergences).mean(dim=-1), num_items)


def squared_error_loss(student_scores: Tensor, targets: Tensor, num_items: Count = None) -> Tensor:
    """Squared error of a regression head, mean over rows whose target is known.

    Args:
        student_scores: (batch, 1) or (batch,).
        targets: (batch, 1) or (batch,) floats; nan marks a row without a target. Both are flattened first: (batch,)
            against (batch, 1) would broadcast to batch x batch.
    """
    scores, values = student_scores.float().flatten(), targets.float().flatten()
    is_counted = ~values.isnan()
    return average_items((scores - values.nan_to_num()) ** 2, is_counted, num_items)


def squared_distance_loss(student_vectors: Tensor, teacher_vectors: Tensor, num_items: Count = None) -> Tensor:
    """|student - teacher|^2, a sum over the width, mean over rows: of vectors of length 1 it is 2 - 2 cosine.

    The mean over the width (as sentence-transformers' MSELoss has it) is this over their number.

    Args:
        student_vectors, teacher_vectors: (batch, width).
    """
    squares = (student_vectors.float() - teacher_vectors.float()).square().sum(dim=-1)
    return average_rows(squares, num_items)


def kl_divergence_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0, num_items: Count = None
) -> Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)) in nats, summed over classes, mean over rows.

    The factor T^2 keeps the size of the gradient when T changes (Hinton et al. 2015, arXiv:1503.02531, section 2.1).

    Args:
        student_logits, teacher_logits: (batch, classes).
    """
    student_log_probabilities = F.log_softmax(student_logits.float() / temperature, dim=-1)
    teacher_log_probabilities = F.log_softmax(teacher_logits.float() / temperature, dim=-1)
    per_class = F.kl_div(student_log_probabilities, teacher_log_probabilities, reduction="none", log_target=True)
    return temperature**2 * average_rows(per_class.sum(dim=-1), num_items)


def logit_cosine_loss(student_logits: Tensor, teacher_logits: Tensor, num_items: Count = None) -> Tensor:
    """1 - z_s . z_t / (|z_s| |z_t|) of the two logit vectors, mean over rows.

    DistilBERT's cosine term (Sanh et al. 2019, arXiv:1910.01108, section 2, where it has no equation and is of hidden
    states), applied to logits.

    Args:
        student_logits, teacher_logits: (batch, classes).
    """
    cosine = F.cosine_similarity(student_logits.float(), teacher_logits.float(), dim=-1)
    return average_rows(1.0 - cosine, num_items)


def average_rows(per_row_loss: Tensor, num_items: Count) -> Tensor:
    """Mean over all rows of (batch,); 0 where a batch has none, as one of rows without words."""
    return per_row_loss.sum() / torch.as_tensor(per_row_loss.numel() if num_items is None else num_items).clamp(min=1)


def hidden_mse(student_hidden: Tensor, teacher_hidden: Tensor) -> Tensor:
    """Mean squared difference over the width: (batch, tokens, hidden) twice -> (batch, tokens)."""
    return (student_hidden.float() - teacher_hidden.float()).square().mean(dim=-1)


def hidden_cosine(student_hidden: Tensor, teacher_hidden: Tensor) -> Tensor:
    """1 - cosine of the two vectors of a token: (batch, tokens, hidden) twice -> (batch, tokens).

    As `F.cosine_similarity`, whose way over divided vectors takes twice as long on a processor, forward and backward.
    """
    student, teacher = student_hidden.float(), teacher_hidden.float()
    with torch.autocast(student.device.type, enabled=False):  # it would multiply in lower precision
        squares = [torch.linalg.vecdot(states, states).clamp(min=SMALLEST_NORM**2) for states in (student, teacher)]
        return 1.0 - torch.linalg.vecdot(student, teacher) * (squares[0] * squares[1]).rsqrt()


HIDDEN_LOSSES = {"mse": hidden_mse, "cosine": hidden_cosine}


def hidden_state_loss(
    student_hidden_states: Sequence[Tensor],
    teacher_hidden_states: Sequence[Tensor],
    attention_mask: Tensor,
    kind: str = "mse",
    num_items: Count = None,
) -> Tensor:
    """Distance of matched hidden states, mean over real tokens and over layer pairs.

    `mse`: |h_s - h_t|^2 / width, TinyBERT equation 8 without projection (Jiao et al. 2020, arXiv:1909.10351).
    `cosine`: 1 - h_s . h_t / (|h_s| |h_t|), DistilBERT's alignment (Sanh et al. 2019, arXiv:1910.01108, section 2,
    where it has no equation).

    Args:
        student_hidden_states, teacher_hidden_states: one (batch, tokens, hidden) per pair.
        attention_mask: (batch, tokens), 1 for a real token. Padding never counts.
        num_items: real tokens of the whole batch, where this is a part of it.
    """
    measure = HIDDEN_LOSSES[kind]
    is_real = attention_mask.bool()
    pairs = zip(student_hidden_states, teacher_hidden_states, strict=True)
    losses = [average_items(measure(student, teacher), is_real, num_items) for student, teacher in pairs]
    return torch.stack(losses).mean()


def embedding_loss(
    student_embedding: Tensor, teacher_embedding: Tensor, attention_mask: Tensor, num_items: Count = None
) -> Tensor:
    """|e_s - e_t|^2 / width of what the embeddings give the first layer, mean over real tokens.

    TinyBERT equation 9 without projection (Jiao et al. 2020, arXiv:1909.10351).

    Args:
        student_embedding, teacher_embedding: (batch, tokens, hidden).
        attention_mask: (batch, tokens), 1 for a real token.
        num_items: real tokens of the whole batch, where this is a part of it.
    """
    return hidden_state_loss([student_embedding], [teacher_embedding], attention_mask, "mse", num_items)


def attention_mse(student: Tensor, teacher: Tensor, is_real: Tensor) -> Tensor:
    """Mean squared difference over heads and real keys: (batch, heads, tokens, tokens) twice -> (batch, tokens)."""
    squared = (student.float() - teacher.float()).square().mean(dim=1)
    real_keys = is_real.sum(dim=-1).clamp(min=1)
    return squared.masked_fill(~is_real[:, None, :], 0.0).sum(dim=-1) / real_keys[:, None]


def attention_kl(student: Tensor, teacher: Tensor, is_real: Tensor) -> Tensor:
    """KL(softmax(teacher) || softmax(student)) in nats over the real keys, mean over heads.

    Args:
        student, teacher: (batch, heads, tokens, tokens), scores before the softmax.
        is_real: (batch, tokens) of bool.

    Returns:
        (batch, tokens), one value per query.
    """
    is_key = is_real[:, None, None, :]
    lowest = torch.finfo(torch.float32).min  # not -inf: a row of nothing but padding must not become nan
    student_log, teacher_log = (
        F.log_softmax(scores.float().masked_fill(~is_key, lowest), dim=-1) for scores in (student, teacher)
    )
    per_key = F.kl_div(student_log, teacher_log, reduction="none", log_target=True)
    return per_key.masked_fill(~is_key, 0.0).sum(dim=-1).mean(dim=1)


ATTENTION_LOSSES = {"mse": attention_mse, "kl": attention_kl}


def attention_loss(
    student_attentions: Sequence[Tensor],
    teacher_attentions: Sequence[Tensor],
    attention_mask: Tensor,
    num_items: Count = None,
    kind: str = "mse",
) -> Tensor:
    """Distance of matched attention matrices per query, mean over heads, real query tokens and layer pairs.

    `mse`: mean over real keys of (a_s - a_t)^2 (TinyBERT equation 7, Jiao et al. 2020, arXiv:1909.10351).
    `kl`: sum over real keys of p_t log(p_t / p_s), p = softmax(a) (MiniLM's attention transfer L_AT, there of the last
    layer alone: Wang et al. 2020, arXiv:2002.10957, section 3.1).

    Args:
        student_attentions, teacher_attentions: one (batch, heads, tokens, tokens) per pair, the same number of heads.
            Scores before the softmax or, for `mse` alone, probabilities: `outputs/attention_targets.py` says which an
            architecture gives.
        attention_mask: (batch, tokens), 1 for a real token. Padding counts neither as query nor as key.
        num_items: real tokens of the whole batch, where this is a part of it.
    """
    is_real, measure = attention_mask.bool(), ATTENTION_LOSSES[kind]
    pairs = zip(student_attentions, teacher_attentions, strict=True)
    losses = [average_items(measure(student, teacher, is_real), is_real, num_items) for student, teacher in pairs]
    return torch.stack(losses).mean()


def relation_loss(
    student_states: Tensor, teacher_states: Tensor, attention_mask: Tensor, num_heads: int, num_items: Count = None
) -> Tensor:
    """KL(softmax(A A^T / sqrt(d)) of the teacher || the student's) over real keys, A the queries, the keys, the values.

    MiniLM v2 (Wang et al. 2021, arXiv:2012.15828, section 3.1): the states of all heads together are cut into
    `num_heads` relation heads of width d, so that numbers of attention heads and widths may differ. Mean over the three
    kinds of relations (there a weighted sum), relation heads and real query tokens.

    Args:
        student_states, teacher_states: (batch, 3, tokens, width); `num_heads` divides both widths.
        attention_mask: (batch, tokens), 1 for a real token. Padding counts neither as query nor as key.
        num_items: real tokens of the whole batch, where this is a part of it.
    """
    is_real = attention_mask.bool()
    student, teacher = (relate_states(states, num_heads) for states in (student_states, teacher_states))
    return average_items(attention_kl(student, teacher, is_real), is_real, num_items)


def relate_states(states: Tensor, num_heads: int) -> Tensor:
    """Scaled dot products: (batch, 3, tokens, width) -> (batch, 3 * relation heads, tokens, tokens)."""
    heads = states.float().unflatten(-1, (num_heads, -1)).transpose(2, 3)
    with torch.autocast(states.device.type, enabled=False):  # it would multiply in bfloat16
        return (heads @ heads.transpose(-1, -2) / math.sqrt(heads.size(-1))).flatten(1, 2)
