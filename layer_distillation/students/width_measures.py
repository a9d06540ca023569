"""What some rows say of a model's dimensions, heads and units, for a student that keeps only some of them.

Entry: `measure_importance` and `measure_components`. The model is in eval mode, its parameters get no gradients, and
padding counts nowhere. Batches are padded model inputs, as `layer_similarity.iterate_batches` makes them.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PreTrainedConfig, PreTrainedModel

from layer_distillation.outputs.compared import make_mask, run_model
from layer_distillation.students.layer_scores import Batch, check_finite, collect_states, record_output
from layer_distillation.students.width import HiddenBasis, Importance, get_head_size
from layer_distillation.students.width_names import get_width_names
from student_init import find_layer_stack

# ---- what the answers depend on ----------------------------------------------------------------------------------


def measure_importance(model: PreTrainedModel, batches: Sequence[Batch], disable_tqdm: bool = True) -> Importance:
    """How much the model's answers depend on each hidden dimension, head, feed-forward unit and unit of its head.

    The mean over rows of | sum over tokens of a * dL/da |, a being what leaves the unit: to first order how much L
    changes when the unit is taken away (Michel et al. 2019, arXiv:1905.10650, equation 2, for heads; Hou et al. 2020,
    DynaBERT, arXiv:2004.04037, for heads and units). Of a head the sum is over its dimensions too. Hidden dimensions
    count where they leave a layer, summed over layers. L is the log-probability of the model's own answer, of a
    regression its output, so that no labels are needed.

    Raises:
        ValueError: the model's outputs are not finite.
    """
    totals: list[Tensor] = []
    for batch in tqdm(batches, desc="importance of heads and units", disable=disable_tqdm, leave=False):
        changes = measure_changes(model.eval(), batch)
        totals = [total + change for total, change in zip(totals, changes, strict=True)] if totals else changes
    hidden, heads, units, pooled = totals
    check_finite([total.sum().item() for total in totals])
    return Importance(hidden, heads, units, pooled)


def measure_changes(model: PreTrainedModel, batch: Batch) -> list[Tensor]:
    """The sums over a batch's rows: (hidden,), (layers, heads), (layers, units), (hidden,), float64."""
    names, (_, stack) = get_width_names(model.config), find_layer_stack(model)
    with ExitStack() as hooks:
        hidden = [hooks.enter_context(record_output(layer)) for layer in stack]
        heads = [hooks.enter_context(record_input(layer.get_submodule(names.attention_output))) for layer in stack]
        units = [hooks.enter_context(record_input(layer.get_submodule(names.units_output))) for layer in stack]
        pooled = [hooks.enter_context(record_input(model.get_submodule(names.pooled[1])))] if names.pooled else []
        hooks.enter_context(torch.enable_grad())
        hooks.enter_context(watch_embedding(model))
        logits = run_model(model, batch).logits
        answers = logits if logits.size(-1) == 1 else logits.log_softmax(dim=-1).max(dim=-1).values
    tensors = [tensor for outputs in [*hidden, *heads, *units, *pooled] for tensor in outputs]
    gradients = torch.autograd.grad(answers.sum(), tensors)
    changes = [sum_tokens((tensor * gradient).detach()) for tensor, gradient in zip(tensors, gradients, strict=True)]
    count = len(stack)
    by_head = [change.unflatten(-1, (-1, get_head_size(model.config))).sum(-1) for change in changes[count : 2 * count]]
    by_dimension = [sum_rows(changes[:count]).sum(dim=0), sum_rows(by_head), sum_rows(changes[2 * count : 3 * count])]
    return [*by_dimension, sum_rows(changes[3 * count :])[0] if pooled else by_dimension[0]]


def sum_tokens(values: Tensor) -> Tensor:
    """(rows, tokens, width) or (rows, width) -> (rows, width). What is not read has no gradient: padding adds 0."""
    return values.double().cpu().flatten(1, -2).sum(dim=1) if values.dim() == 3 else values.double().cpu()


def sum_rows(changes: Sequence[Tensor]) -> Tensor:
    """(rows, width) each -> the absolute values summed over rows: (how many, width)."""
    return torch.stack([change.abs().sum(dim=0) for change in changes])


@contextmanager
def record_input(module: nn.Module) -> Iterator[list[Tensor]]:
    """What the module was given in each call."""
    inputs: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    try:
        yield inputs
    finally:
        hook.remove()


@contextmanager
def watch_embedding(model: PreTrainedModel) -> Iterator[None]:
    """Lets gradients flow through all layers of a model whose parameters may be frozen."""
    hook = model.get_input_embeddings().register_forward_hook(lambda _, __, output: output.requires_grad_())
    try:
        yield
    finally:
        hook.remove()


# ---- directions of the hidden states -----------------------------------------------------------------------------


def choose_width_init(config: PreTrainedConfig, student_hidden_size: int) -> str:
    """What a narrower student of such a model keeps unless told: of fewer dimensions the principal components, which
    gave the better student on three tasks of three, where its norms can be fitted to them."""
    has_components = student_hidden_size < config.hidden_size and can_fit_norms(config)
    return "principal_components" if has_components else "importance"


def can_fit_norms(config: PreTrainedConfig) -> bool:
    """Whether a model's norms, with a gain and a bias, can be fitted to other directions."""
    return not get_width_names(config).has_own_head_size


def check_components(config: PreTrainedConfig) -> None:
    """Raises ValueError where a model's norms cannot be fitted to other directions."""
    if not can_fit_norms(config):
        raise ValueError(
            f"--student_width_init principal_components needs norms with a gain and a bias, and those of "
            f"{config.model_type} have no bias: take importance or truncation"
        )


@torch.no_grad()
def measure_components(
    model: PreTrainedModel, batches: Sequence[Batch], student_hidden_size: int, disable_tqdm: bool = True
) -> HiddenBasis:
    """The directions in which the hidden states are largest, and the norms that go with them.

    With P the first k - 1 eigenvectors of sum x x^T over the states x of all layers, the embedding's too, and all real
    tokens, the student's states are U^T x, U = P Q^T; Q (k, k - 1) has orthonormal columns that are orthogonal to
    (1, ..., 1). What reads a state has W U in place of W, what writes one U^T W (as SliceGPT, Ashkboos et al. 2024,
    arXiv:2401.15024, which has norms without a mean). Q is there for the norms: they take the mean over dimensions out,
    and in these coordinates it is 0. What is only approximate: a gain per dimension does not commute with a rotation,
    and what lies outside U is lost to a norm's deviation. Each norm's gain and bias are the least-squares fit, over the
    same tokens, of what it is to give: U^T norm(x) from the normalised U^T x.

    Raises:
        ValueError: the model's outputs are not finite.
    """
    model = model.eval()
    moment = torch.zeros((), dtype=torch.float64)
    for batch in tqdm(batches, desc="principal components", disable=disable_tqdm, leave=False):
        states = collect_states(model, batch).double().flatten(0, 1).cpu()
        moment = moment + states.T @ states
    check_finite([moment.sum().item()])
    vectors = torch.linalg.eigh(moment).eigenvectors.flip(-1)  # the largest first
    directions = vectors[:, : student_hidden_size - 1] @ make_mean_free_basis(student_hidden_size).T
    return HiddenBasis(directions, fit_norms(model, batches, directions))


def make_mean_free_basis(size: int) -> Tensor:
    """(size, size - 1) with orthonormal columns whose entries sum to 0 (Helmert's contrasts)."""
    columns = torch.ones(size, size, dtype=torch.float64).triu(1)[:, 1:]
    counts = torch.arange(1, size, dtype=torch.float64)
    columns[torch.arange(1, size), torch.arange(size - 1)] = -counts
    return columns / (counts * (counts + 1)).sqrt()


@dataclass
class NormFit:
    """Sums for a regression per dimension, over the tokens seen so far: of x, y, x * x, x * y, and their number."""

    sums: Tensor | None = None
    count: int = 0

    def add(self, x: Tensor, y: Tensor) -> None:
        """Takes two of (tokens, width) in."""
        sums = torch.stack([x.sum(0), y.sum(0), (x * x).sum(0), (x * y).sum(0)])
        self.sums = sums if self.sums is None else self.sums + sums
        self.count += len(x)

    def solve(self) -> tuple[Tensor, Tensor]:
        """Gain and bias, (width,) each, with the smallest squared error of y - gain * x - bias."""
        mean_x, mean_y, mean_xx, mean_xy = self.sums / self.count
        gain = (mean_xy - mean_x * mean_y) / (mean_xx - mean_x**2).clamp(min=torch.finfo(torch.float64).tiny)
        return gain, mean_y - gain * mean_x


@torch.no_grad()
def fit_norms(model: PreTrainedModel, batches: Sequence[Batch], directions: Tensor) -> dict[str, Tensor]:
    """By name the parameters of every norm of hidden states, for states along `directions` (hidden, fewer)."""
    norms = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm) and module.normalized_shape == (len(directions),)
    }
    fits = {name: NormFit() for name in norms}
    for batch in batches:
        is_real = make_mask(batch).bool().cpu()
        with ExitStack() as hooks:
            inputs = {name: hooks.enter_context(record_input(norm)) for name, norm in norms.items()}
            outputs = {name: hooks.enter_context(record_output(norm)) for name, norm in norms.items()}
            run_model(model, batch)
        for name, fit in fits.items():
            given, wanted = (state[name][0].double().cpu()[is_real] @ directions for state in (inputs, outputs))
            fit.add(F.layer_norm(given, given.shape[-1:], eps=norms[name].eps), wanted)
    solved = {name: fit.solve() for name, fit in fits.items()}
    gains = {f"{name}.weight": gain for name, (gain, _) in solved.items()}
    return gains | {f"{name}.bias": bias for name, (_, bias) in solved.items()}
