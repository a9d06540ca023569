"""A sentence encoder whose vectors are as wide as its teacher's, whatever its hidden states are.

A dense layer brings the one to the other: it is a part of the student, trained and shipped with it. It starts as the
least-squares fit of the teacher's vectors on some rows.

Entry: `fit_vectors`; before it, of an existing student, `read_as_teacher`. `keep_steps` drops what else there is.
"""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from layer_distillation.architectures.traits import count_positions
from layer_distillation.embedding.modules import DENSE, NORMALIZE, count_outputs, get_modules, set_modules
from layer_distillation.embedding.pooled_model import DENSE_NAME, list_dense
from layer_distillation.outputs.compared import run_model
from student_init import initialise_student

logger = logging.getLogger(__name__)

RIDGE = 0.1  # as in `losses/projections.py`, of the mean square of a dimension
NORMALIZE_STEP = {"name": NORMALIZE}


def read_as_teacher(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    """In place: what an existing student's folder is to say of how texts are read, with whose prompts and length it
    learns; and how a plain encoder pools, of which nothing else says it."""
    own, wanted = get_modules(student.config), get_modules(teacher.config)
    limits = [limit for limit in (wanted.max_length, count_positions(student.config)) if limit is not None]
    changed = replace(
        wanted,
        pooling=wanted.pooling if own.is_assumed else own.pooling,
        steps=own.steps,
        max_length=None if wanted.max_length is None else min(limits),
        is_assumed=own.is_assumed,
        has_pooler=own.has_pooler,
    )
    set_modules(student.config, changed)


def keep_steps(model: PreTrainedModel, steps: Sequence[dict[str, Any]]) -> PreTrainedModel:
    """The same encoder with other steps behind its pooling; of dense ones the first stay as they are."""
    config = copy.deepcopy(model.config)
    set_modules(config, replace(get_modules(config), steps=tuple(steps)))
    changed = initialise_student(model, config, seed=0)
    tensors = model.state_dict()
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(f"{DENSE_NAME}.")}
    changed.load_state_dict(own, strict=False)
    for old, new in zip(list_dense(model), list_dense(changed), strict=False):
        new.load_state_dict(old.state_dict())
    for name, tensor in model.named_buffers():
        changed.get_buffer(name).data = tensor.data.clone()
    return changed.eval()


@torch.no_grad()
def fit_vectors(
    student: PreTrainedModel, teacher: PreTrainedModel, batches: Sequence[Mapping[str, Tensor]]
) -> PreTrainedModel:
    """The student itself where its vectors are as wide as the teacher's, else with a dense layer to that width, and
    normalised where the teacher normalises.

    Args:
        batches: padded model inputs, on the teacher's device or the CPU.
    """
    width, wanted = count_outputs(student.config), count_outputs(teacher.config)
    normalizes = get_modules(teacher.config).normalizes
    if width == wanted and get_modules(student.config).normalizes == normalizes:
        return student
    kept = [step for step in get_modules(student.config).steps if step["name"] == DENSE]
    plain = keep_steps(student, kept)
    last = [NORMALIZE_STEP] if normalizes else []
    if width == wanted:
        return keep_steps(plain, [*kept, *last])
    vectors, targets = (collect_vectors(model, batches) for model in (plain, teacher))
    weight, bias = fit_line(vectors, targets)
    dense = {"name": DENSE, "in_features": width, "out_features": wanted, "bias": True, "activation": "Identity"}
    wide = keep_steps(plain, [*kept, dense, *last])
    layer = list_dense(wide)[-1].linear
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
    logger.info("the student's vectors of %d dimensions get a dense layer to the teacher's %d", width, wanted)
    return wide


def collect_vectors(model: PreTrainedModel, batches: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """(rows, width), float64, on the CPU."""
    model.eval()
    device = model.device
    vectors = [run_model(model, {n: t.to(device) for n, t in batch.items()}).logits for batch in batches]
    return torch.cat(vectors).double().cpu()


def fit_line(vectors: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, in) and (rows, out) -> weight (out, in) and bias (out,), of the smallest squared error with a ridge."""
    means = vectors.mean(dim=0), targets.mean(dim=0)
    centred, wanted = vectors - means[0], targets - means[1]
    gram = centred.T @ centred
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weight = torch.linalg.solve(gram + ridge, centred.T @ wanted).T
    return weight, means[1] - weight @ means[0]
