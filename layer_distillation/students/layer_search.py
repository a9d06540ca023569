"""Layer strategies that look at the teacher at work: which of its layers matter on some training rows.

Entry: `make_spec` and `find_or_search`. The rows are drawn by `--sample_seed`, and no other seed takes part: every
seed of a sweep starts from the same layers, so that its seeds differ in training alone. What was chosen is kept under
`<cache_dir>/layer_choices`, and read back by every later run of the same teacher, rows and settings.
"""

import hashlib
import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate import PartialState
from torch import Tensor
from transformers import PreTrainedModel

from layer_distillation.records.locks import acquire_with_notice, make_lock
from layer_distillation.records.process_locks import agree_on_failure
from layer_distillation.students.layer_scores import Batch, SubsetScorer, measure_influence, measure_similarity
from layer_distillation.students.subset_search import beam_search, cover_layers
from layer_distillation.tasks.kinds.entry import ONE_NUMBER
from student_init import get_num_layers

logger = logging.getLogger(__name__)

CHOICE_VERSION = 1  # of the measures and of the file: another one reads no choice of this one
MARKED_VERSION = 2  # of kinds whose items are no rows: before, all their real tokens were compared
INFLUENCE = "block influence, 1 - cosine of the layer's input and output"
COVER = "linear CKA with the kept layer that is most alike"
DIVERGENCE = "KL(teacher || untrained student) in nats"
SQUARED_ERROR = "squared difference of the teacher's and the untrained student's output"


@dataclass(frozen=True)
class SearchSpec:
    """All that a choice depends on; `beam_width` is None where it is not asked."""

    strategy: str
    student_num_layers: int
    teacher_fingerprint: str
    rows_fingerprint: str
    is_regression: bool
    beam_width: int | None
    version: int = CHOICE_VERSION

    @property
    def name(self) -> str:
        """A hash of everything above."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class ScoredLayers:
    """One layer, or the several of a student, and what was found of it."""

    layers: list[int]
    score: float


@dataclass(frozen=True)
class LayerChoice:
    """The layers of a student, and what they were chosen by; `measure` says what the scores are."""

    layers: list[int]
    measure: str
    scores: list[ScoredLayers]


@dataclass(frozen=True)
class Calibration:
    """The teacher, and the rows that it is looked at by: padded model inputs, on its device."""

    teacher: PreTrainedModel
    batches: list[Batch]
    outputs: str  # what the teacher's are, of `tasks/kinds/entry.py`
    disable_tqdm: bool
    marks: list[Tensor] = field(default_factory=list)  # where the items are, as `SubsetScorer` has them


# ---- the strategies ----------------------------------------------------------------------------------------------


def choose_by_influence(calibration: Calibration, count: int) -> LayerChoice:
    """The layers that turn their input most."""
    influence = measure_influence(calibration.teacher, calibration.batches, calibration.disable_tqdm)
    ranked = sorted(range(len(influence)), key=lambda layer: (-influence[layer], layer))
    return LayerChoice(sorted(ranked[:count]), INFLUENCE, score_each_layer(influence))


def choose_by_similarity(calibration: Calibration, count: int) -> LayerChoice:
    """The layers among which every teacher layer finds its like: `cover_layers`."""
    similarity = measure_similarity(calibration.teacher, calibration.batches, calibration.disable_tqdm)
    layers = list(cover_layers(similarity, count))
    return LayerChoice(layers, COVER, score_each_layer(similarity[:, layers].max(dim=1).values.tolist()))


def choose_by_removal(calibration: Calibration, count: int, beam_width: int) -> LayerChoice:
    """What is left when layers are taken out one by one, those first that the teacher's outputs miss least.

    Raises:
        ValueError: this teacher cannot be cut to any of the subsets that were found.
    """
    scorer = SubsetScorer(
        calibration.teacher, calibration.batches, calibration.outputs, calibration.disable_tqdm, calibration.marks
    )
    steps = beam_search(get_num_layers(calibration.teacher.config), count, beam_width, scorer.score_subsets)
    layers, score = steps[-1]
    if math.isinf(score):
        raise ValueError(f"the teacher cannot be cut to {count} layers by removal: {scorer.refusal}")
    scores = [ScoredLayers(list(subset), value) for subset, value in steps if math.isfinite(value)]
    return LayerChoice(list(layers), SQUARED_ERROR if calibration.outputs in ONE_NUMBER else DIVERGENCE, scores)


def score_each_layer(values: list[float]) -> list[ScoredLayers]:
    return [ScoredLayers([layer], value) for layer, value in enumerate(values)]


# name -> what k layers to start from, given the teacher on the calibration rows, k, and --beam_width
SEARCHED_STRATEGIES: dict[str, Callable[[Calibration, int, int], LayerChoice]] = {
    "influence": lambda calibration, k, width: choose_by_influence(calibration, k),
    "cka": lambda calibration, k, width: choose_by_similarity(calibration, k),
    "greedy": lambda calibration, k, width: choose_by_removal(calibration, k, beam_width=1),
    "beam": lambda calibration, k, width: choose_by_removal(calibration, k, width),
}


# ---- made once, kept, shown --------------------------------------------------------------------------------------


def make_spec(
    strategy: str,
    student_num_layers: int,
    teacher_fingerprint: str,
    rows_fingerprint: str,
    is_regression: bool,
    beam_width: int,
    has_marks: bool = False,
) -> SearchSpec:
    """The spec of a choice, without making it; `beam_width` counts for the strategy beam alone."""
    width = beam_width if strategy == "beam" else None
    version = MARKED_VERSION if has_marks else CHOICE_VERSION
    return SearchSpec(
        strategy, student_num_layers, teacher_fingerprint, rows_fingerprint, is_regression, width, version
    )


def find_or_search(root: Path, spec: SearchSpec, calibrate: Callable[[], Calibration]) -> LayerChoice:
    """The choice kept under `root`; where there is none, the main process makes it while the others wait.

    Args:
        calibrate: gives the teacher and the rows; called only where the choice has to be made.

    Raises:
        ValueError: the teacher's outputs are not finite, or it cannot be cut so.
        OSError: the choice cannot be written.
    """
    path = root / f"{spec.name}.json"
    with agree_on_failure():
        if PartialState().is_main_process:
            search_once(path, spec, calibrate)
    return read_choice(path, spec)


def search_once(path: Path, spec: SearchSpec, calibrate: Callable[[], Calibration]) -> None:
    """Leaves the choice in `path`, unless it is there; other runs wait for the lock meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = make_lock(path.with_suffix(".lock"))
    acquire_with_notice(lock)
    try:
        if is_readable(path, spec):
            logger.info("found the layers that %s chose before in %s", spec.strategy, path)
            return
        logger.info("%s looks for %d of the teacher's layers", spec.strategy, spec.student_num_layers)
        choose = SEARCHED_STRATEGIES[spec.strategy]
        write_choice(path, spec, choose(calibrate(), spec.student_num_layers, spec.beam_width or 1))
    finally:
        lock.release()


def write_choice(path: Path, spec: SearchSpec, choice: LayerChoice) -> None:
    """Writes beside `path` and renames: the file is whole or not there."""
    unfinished = path.with_suffix(".unfinished")  # under the lock: what a kill left is written over
    unfinished.write_text(json.dumps({"spec": asdict(spec), "choice": asdict(choice)}, indent=1), encoding="utf-8")
    unfinished.replace(path)


def read_choice(path: Path, spec: SearchSpec) -> LayerChoice:
    """The kept choice.

    Raises:
        OSError: there is none.
        ValueError: it is damaged, or of another spec.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["spec"] != asdict(spec):
            raise ValueError("it is of other settings")
        choice = kept["choice"]
        return LayerChoice(choice["layers"], choice["measure"], [ScoredLayers(**entry) for entry in choice["scores"]])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no layers chosen before ({error}): remove it") from error


def is_readable(path: Path, spec: SearchSpec) -> bool:
    """Whether the choice is kept there; says so where what is there is damaged."""
    try:
        read_choice(path, spec)
    except FileNotFoundError:
        return False
    except ValueError as error:
        logger.warning("%s; the layers are chosen anew", error)
        return False
    return True


def format_choice(strategy: str, choice: LayerChoice) -> str:
    """The layers, and every score that they were chosen by, one per line."""
    lines = [f"{strategy} chose teacher layers {join_numbers(choice.layers)} by {choice.measure}:"]
    for scored in choice.scores:
        label = "layer" if len(scored.layers) == 1 else "layers"
        mark = "   (kept)" if set(scored.layers) <= set(choice.layers) else ""
        lines.append(f"{label} {join_numbers(scored.layers)}: {scored.score:.4g}{mark}")
    return "\n".join(lines)


def describe_scores(choice: LayerChoice) -> dict[str, Any]:
    """What a record keeps beside the layers: `measure`, and `scores`, a list of `layers` and `score`."""
    return {"measure": choice.measure, "scores": [asdict(scored) for scored in choice.scores]}


def join_numbers(layers: list[int]) -> str:
    return " ".join(map(str, layers))
