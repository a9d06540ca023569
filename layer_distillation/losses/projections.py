"""Trained projections from the student's width to the teacher's, for the terms that compare states of both.

TinyBERT, equations 8 and 9 (Jiao et al. 2020, arXiv:1909.10351): linear, without bias, one for the embedding's output
and one for each matched layer (there one for all layers), which hidden and pkd terms share. rkd compares distances,
which a projection could stretch, and takes the states as they are. They are a part of the student for as long as it
trains: one optimizer and one gradient norm for both, gradients averaged over processes, weights in every checkpoint.
The student that comes out has none of them. Entry: `Projections`, then `attach_projections`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from layer_distillation.outputs.compared import make_mask, run_model

MODULE_NAME = "width_projections"
RIDGE = 0.1  # what dropout of 0.1 adds to a fit; without it a direction that hardly occurs gets a huge weight


class Projections(nn.Module):
    """One matrix per compared student layer.

    Args:
        layers: numbers of the student's layers, -1 for the embedding's output.
        start: layer -> (student's width, teacher's width), as `fit_projections` makes it. Without it each starts as a
            random isometry, drawn from `seed`: lengths and angles of the states are kept.
    """

    def __init__(
        self,
        layers: Sequence[int],
        student_width: int,
        teacher_width: int,
        seed: int,
        start: Mapping[int, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.layers = tuple(layers)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.matrices = nn.ModuleList(nn.Linear(student_width, teacher_width, bias=False) for _ in layers)
            for matrix in self.matrices:
                nn.init.orthogonal_(matrix.weight)
        for layer, matrix in zip(self.layers, self.matrices, strict=True):
            if start is not None:
                matrix.weight.data = start[layer].T.to(matrix.weight.dtype).contiguous()

    def project(self, hidden_states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The embedding's output and all layers', those with a matrix in the teacher's width, in float32."""
        states = list(hidden_states)
        with torch.autocast(states[0].device.type, enabled=False):  # losses are compared in float32
            for layer, matrix in zip(self.layers, self.matrices, strict=True):
                states[layer + 1] = matrix(states[layer + 1].float())
        return tuple(states)


@contextmanager
def attach_projections(
    model: PreTrainedModel, projections: Projections | None, optimizer: torch.optim.Optimizer | None
) -> Iterator[None]:
    """Makes them a part of `model` meanwhile: in training its hidden states are followed by as many projected ones.

    None: nothing changes.

    Raises:
        ValueError: an optimizer is there already, which was made without them and would not train them.
    """
    if projections is None:
        yield
        return
    check_no_optimizer(optimizer)
    model.add_module(MODULE_NAME, projections.to(model.device))
    hook = model.register_forward_hook(project_outputs)
    try:
        yield
    finally:
        hook.remove()
        delattr(model, MODULE_NAME)


def check_no_optimizer(optimizer: torch.optim.Optimizer | None) -> None:
    """Raises ValueError where there is one already."""
    if optimizer is not None:
        raise ValueError(
            "got an optimizer, and the student is of another width than its teacher: projections are trained beside "
            "it, which that optimizer lacks; leave the optimizer to the trainer"
        )


def project_outputs(model: nn.Module, _: tuple, outputs: ModelOutput) -> ModelOutput | None:
    """Inside the model's call and not behind it, so that DistributedDataParallel sees these weights at work. One tuple
    holds both kinds of states, as it builds the outputs anew and knows none but the model's own fields."""
    if not model.training:
        return None
    projections = model.get_submodule(MODULE_NAME)
    if outputs.hidden_states is not None:
        outputs.hidden_states = (*outputs.hidden_states, *projections.project(outputs.hidden_states))
    # It also waits for their gradients where, in this stage, no term compares hidden states.
    name = "start_logits" if "start_logits" in outputs else "logits"
    outputs[name] = outputs[name] + 0.0 * sum(matrix.weight.sum() for matrix in projections.matrices)
    return outputs


@torch.no_grad()
def fit_projections(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    batches: Sequence[Mapping[str, Tensor]],
    layer_pairs: Mapping[int, int],
) -> dict[int, Tensor]:
    """Where the projections start: student layer -> the matrix (student's width, teacher's) with the smallest squared
    error of student states times matrix against the states of the paired teacher layer, over all real tokens.

    A ridge of 0.1 times the sum of squares of each dimension is added, which is what dropout would do to the fit
    (Wager et al. 2013, arXiv:1307.1493): training sees the states through dropout and in bfloat16. In float64, on CPU.
    """
    sums: dict[int, tuple[Tensor, Tensor]] = {}
    for batch in batches:
        is_real = make_mask(batch).bool()
        pairs = zip(
            run_model(student.eval(), batch, tuple(layer_pairs)).hidden_states,
            run_model(teacher.eval(), batch, tuple(layer_pairs.values())).hidden_states,
            strict=True,
        )
        for layer, states in zip(layer_pairs, pairs, strict=True):
            own, imitated = (state[is_real].double().cpu() for state in states)
            gram, cross = sums.get(layer, (0.0, 0.0))
            sums[layer] = (gram + own.T @ own, cross + own.T @ imitated)
    return {
        layer: torch.linalg.pinv(gram + RIDGE * gram.diagonal().diag(), hermitian=True) @ cross
        for layer, (gram, cross) in sums.items()
    }


def make_projections(
    pairs: Mapping[int, int],
    student: PreTrainedConfig,
    teacher: PreTrainedConfig,
    seed: int,
    start: Mapping[int, Tensor] | None = None,
) -> Projections | None:
    """For the student layers of `pairs` (`loss_terms.list_projected_pairs`); None where there are none."""
    if not pairs:
        return None
    return Projections(tuple(pairs), student.hidden_size, teacher.hidden_size, seed, start)


def count_projections(projections: Projections | None) -> int:
    """Parameters that are trained and not shipped."""
    return 0 if projections is None else sum(parameter.numel() for parameter in projections.parameters())
