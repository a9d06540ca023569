"""What compares texts' vectors beyond one by one: the structure of a batch, and parts of a vector.

As in `losses/functions.py`: tensors in, one scalar out, in float32 whatever the precision of the models.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from layer_distillation.losses.flags import LossFlags, parse_sizes
from layer_distillation.losses.head_states import relational_distance_loss
from layer_distillation.tasks.kinds.entry import VECTOR


def similarity_divergence_loss(student_vectors: Tensor, teacher_vectors: Tensor, temperature: float) -> Tensor:
    """KL(softmax(cosines of the teacher's rows / T) || the student's), each row's with all others of the batch, in
    nats; mean over rows. Without the factor T^2: T is far below 1 here, as cosines are small numbers.

    SEED (Fang et al. 2021, arXiv:2101.04731, equation 6, there with the rows of a queue) without its own row. It knows
    the rows of this batch alone: parts of a batch do not add up to the whole.

    Args:
        student_vectors, teacher_vectors: (batch, width); widths may differ. A single row has no others: 0.
    """
    if len(student_vectors) < 2:
        return student_vectors.float().sum() * 0.0
    student, teacher = (
        F.log_softmax(compare_rows(vectors) / temperature, dim=-1) for vectors in (student_vectors, teacher_vectors)
    )
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def similarity_error_loss(student_vectors: Tensor, teacher_vectors: Tensor, temperature: float) -> Tensor:
    """Squared difference of the cosines of every two rows, mean over pairs (Tung and Mori 2019, arXiv:1907.09682,
    equation 4, there with rows of products scaled to length 1)."""
    if len(student_vectors) < 2:
        return student_vectors.float().sum() * 0.0
    return F.mse_loss(compare_rows(student_vectors), compare_rows(teacher_vectors))


def compare_rows(vectors: Tensor) -> Tensor:
    """(batch, width) -> (batch, batch - 1): the cosine of every row with each other one."""
    with torch.autocast(vectors.device.type, enabled=False):
        units = F.normalize(vectors.float(), dim=-1)
        cosines = units @ units.T
    is_other = ~torch.eye(len(cosines), dtype=torch.bool, device=cosines.device)
    return cosines[is_other].view(len(cosines), -1)


SIMILARITY_LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "kl": similarity_divergence_loss,
    "mse": similarity_error_loss,
    "distance": lambda student, teacher, temperature: relational_distance_loss(student, teacher),
}


def average_parts(
    measure: Callable[[Tensor, Tensor], Tensor],
    student_vectors: Tensor,
    teacher_vectors: Tensor,
    sizes: Sequence[int],
    is_teacher_whole: bool = False,
) -> Tensor:
    """The mean of a loss over the whole vectors and the first dimensions of both, scaled to length 1 before.

    Matryoshka representations (Kusupati et al. 2022, arXiv:2205.13147, equation 1, all weights 1).

    Args:
        sizes: how many dimensions a part has.
        is_teacher_whole: what is compared does not depend on the width: parts learn from the teacher's whole vectors.
    """
    losses = [measure(student_vectors, teacher_vectors)]
    student, teacher = (F.normalize(vectors.float(), dim=-1) for vectors in (student_vectors, teacher_vectors))
    for size in sizes:
        losses.append(measure(student[:, :size], teacher if is_teacher_whole else teacher[:, :size]))
    return torch.stack(losses).mean()


def check_vector_terms(args: LossFlags, outputs: str, width: int | None = None) -> None:
    """Raises ValueError where what is of vectors alone is asked of other outputs, or of more dimensions than
    `width`, where that is known."""
    if outputs != VECTOR:
        for flag, is_on in {
            "similarity_weight": args.get_largest_weights()["similarity"] > 0,
            "matryoshka_dims": args.matryoshka_dims is not None,
        }.items():
            if is_on:
                raise ValueError(f"--{flag} {vars(args)[flag]} compares vectors: it goes with --task_type embedding")
    if width is not None and max(parse_sizes(args.matryoshka_dims), default=0) >= width:
        raise ValueError(
            f"--matryoshka_dims {args.matryoshka_dims}: the vectors have {width} dimensions; give fewer each"
        )
