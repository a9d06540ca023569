"""What some rows say of a teacher's layers, and of the students that keep some of them.

Entry: `measure_influence`, `measure_similarity`, `SubsetScorer`. The teacher is in eval mode, without gradients, and
padding counts nowhere. Batches are padded model inputs, as `layer_similarity.iterate_batches` makes them.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations_with_replacement

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from layer_distillation.architectures.modernbert import fold_attention_norm
from layer_distillation.losses.layer_matching import FINAL_NORM_MODEL_TYPES
from layer_distillation.losses.output_losses import OUTPUT_LOSSES
from layer_distillation.outputs.compared import make_mask, run_model
from layer_distillation.students.representation_similarity import CentredProducts
from layer_distillation.students.subset_search import Subset
from layer_distillation.tasks.kinds.table import find_model_kind
from student_init import build_student, find_layer_stack, get_num_layers

Batch = dict[str, Tensor]


@torch.no_grad()
def measure_influence(teacher: PreTrainedModel, batches: Sequence[Batch], disable_tqdm: bool = True) -> list[float]:
    """Block influence of every layer: 1 - mean over real tokens of cosine(what enters the layer, what leaves it).

    Men et al. 2024 (ShortGPT, arXiv:2403.03853), equation 1. It is 0 for a layer that changes no direction.
    """
    cosines, num_tokens = torch.zeros(get_num_layers(teacher.config), dtype=torch.float64), 0
    for batch in tqdm(batches, desc="block influence", disable=disable_tqdm, leave=False):
        states = collect_states(teacher, batch).double()
        cosines += F.cosine_similarity(states[:-1], states[1:], dim=-1).sum(dim=-1).cpu()
        num_tokens += states.shape[1]
    return check_finite((1 - cosines / num_tokens).tolist())


@torch.no_grad()
def measure_similarity(teacher: PreTrainedModel, batches: Sequence[Batch], disable_tqdm: bool = True) -> Tensor:
    """Linear CKA, over all real tokens, of every layer's output with every other's: (layers, layers), float64.

    However many rows there are, it holds layers * (layers + 1) / 2 matrices of width * width in float64: of a 12-layer
    BERT 370 MB, of one of 24 layers and width 1024 2.5 GB.

    Raises:
        ValueError: a layer's output is the same for every token.
    """
    num_layers = get_num_layers(teacher.config)
    products = {pair: CentredProducts() for pair in combinations_with_replacement(range(num_layers), 2)}
    for batch in tqdm(batches, desc="CKA of the layers", disable=disable_tqdm, leave=False):
        outputs = collect_states(teacher, batch)[1:]
        for (first, second), product in products.items():  # one pair at a time: all at once would be gigabytes
            product.add(outputs[first], outputs[second])
    spreads = [products[layer, layer].measure_spread().item() for layer in range(num_layers)]
    similarity = torch.eye(num_layers, dtype=torch.float64)
    for (first, second), product in products.items():
        if first != second:
            value = product.products.square().sum().item() / (spreads[first] * spreads[second])
            similarity[first, second] = similarity[second, first] = value
    check_finite(similarity.flatten().tolist())
    return similarity


class SubsetScorer:
    """How far students of some of the teacher's layers are, before any training, from the teacher on some rows.

    The mean over items (rows, tagged pieces, starts and ends over their allowed positions) of KL(teacher || student) in
    nats; of the squared difference of the outputs for a regression.
    Every subset is scored once: its student is built as a run would build it, so that it holds for every architecture.
    A subset that no student can have is infinitely far; `refusal` keeps the reason.
    """

    def __init__(
        self,
        teacher: PreTrainedModel,
        batches: Sequence[Batch],
        outputs: str,
        disable_tqdm: bool = True,
        marks: Sequence[Tensor] = (),
    ) -> None:
        """
        Args:
            marks: of every batch, (rows, tokens) of bool, where the items are; of kinds whose items are the rows none.
        """
        self.teacher = teacher.eval()
        self.batches, self.marks = batches, marks
        self.kind = find_model_kind(teacher)
        self.measure_loss = OUTPUT_LOSSES[outputs].divergence
        self.disable_tqdm = disable_tqdm
        self.scores: dict[Subset, float] = {}
        self.refusal: ValueError | None = None
        self._teacher_logits = self._compute_logits(self.teacher)

    def score_subsets(self, subsets: Sequence[Subset]) -> list[float]:
        """The score of each, in their order.

        Raises:
            ValueError: an output is not a finite number.
        """
        new = [subset for subset in dict.fromkeys(subsets) if subset not in self.scores]
        description = f"students of {len(new[0])} layers" if new else None
        for subset in tqdm(new, desc=description, disable=self.disable_tqdm or not new, leave=False):
            self.scores[subset] = self._score(subset)
        return [self.scores[subset] for subset in subsets]

    def _score(self, subset: Subset) -> float:
        try:
            # All its tensors are copied, so that drawing them first would only cost.
            with hush_fold_warnings(), no_init_weights():
                student = build_student(self.teacher, subset)
        except ValueError as refusal:
            self.refusal = refusal
            return math.inf
        num_rows = sum(len(logits) for logits in self._teacher_logits)
        losses = [
            self.measure_loss(student_logits, teacher_logits, 1.0, num_rows).item()
            for student_logits, teacher_logits in zip(self._compute_logits(student), self._teacher_logits, strict=True)
        ]
        return check_finite([math.fsum(losses)])[0]

    @torch.no_grad()
    def _compute_logits(self, model: PreTrainedModel) -> list[Tensor]:
        """(items, outputs) of every batch."""
        logits = [run_model(model, batch).logits for batch in self.batches]
        if not self.marks:
            return logits
        return [self.kind.take_items(own, marks) for own, marks in zip(logits, self.marks, strict=True)]


def collect_states(teacher: PreTrainedModel, batch: Batch) -> Tensor:
    """What enters the first layer, then what leaves each: (layers + 1, real tokens, hidden), before any final norm."""
    num_layers = get_num_layers(teacher.config)
    with record_output(find_layer_stack(teacher)[1][-1]) as last_outputs:
        # -1: the embedding's output, which the first layer reads
        states = list(run_model(teacher.eval(), batch, hidden_layers=range(-1, num_layers)).hidden_states)
    if teacher.config.model_type in FINAL_NORM_MODEL_TYPES:
        states[-1] = last_outputs[-1]
    is_real = make_mask(batch).bool()
    return torch.stack([state[is_real] for state in states])


@contextmanager
def record_output(module: nn.Module) -> Iterator[list[Tensor]]:
    """What the module returned in each call, of a tuple the first entry."""
    outputs: list[Tensor] = []
    hook = module.register_forward_hook(
        lambda _, __, output: outputs.append(output[0] if isinstance(output, tuple) else output)
    )
    try:
        yield outputs
    finally:
        hook.remove()


@contextmanager
def hush_fold_warnings() -> Iterator[None]:
    """Without ModernBERT's warning for each of the candidates; the student of the run still gives its own."""
    logger = logging.getLogger(fold_attention_norm.__module__)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def check_finite(values: list[float]) -> list[float]:
    """The same values; raises ValueError if one is no finite number."""
    if not all(map(math.isfinite, values)):
        raise ValueError(
            "the teacher's outputs on the calibration rows are not all finite numbers: check its weights, or take a "
            "strategy that needs no data, such as spread"
        )
    return values
