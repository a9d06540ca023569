"""Arms of a comparison, what they start from, and what is to be remarked on several of them side by side."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from layer_distillation.comparison.runs import LOSS_ARGUMENTS, Run
from layer_distillation.comparison.tuning import Tuning
from layer_distillation.layers.strategies import show_strategy


@dataclass
class Arm:
    """Runs that differ in their seed alone (draws of `random`: in their layers too), in the order of the seeds."""

    name: str
    runs: list[Run]
    tuning: Tuning | None = None

    @property
    def strategy(self) -> str:
        return self.runs[0].record.strategy

    @property
    def suffix(self) -> str:
        """Of its name, what is no strategy: width, checkpoint, what is varied."""
        return self.name.removeprefix(self.strategy)

    @property
    def is_control(self) -> bool:
        return self.runs[0].is_control

    @property
    def seeds(self) -> list[int]:
        return [run.record.seed for run in self.runs]


def describe_start(run: Run) -> dict[str, Any]:
    """What runs of one arm start from: the layers, and the checkpoint where it is not the teacher."""
    source = run.record.student.get("source")  # no record from before has one
    return {"layers": name_layers(run), "source fingerprint": source and source["fingerprint"]}


def name_layers(run: Run) -> str:
    """Draws of `random` are one arm whatever was drawn."""
    if run.record.strategy == "random":
        return "drawn"
    return " ".join("-" if layer is None else str(layer) for layer in run.layers)


# ---- remarks -------------------------------------------------------------------------------------------------------


def list_equal_starts(arms: Sequence[Arm]) -> list[str]:
    """Strategies that, of this many layers, choose the same: they are one start under several names."""
    starts: dict[tuple, list[Arm]] = {}
    for arm in arms:
        if not arm.is_control:
            key = (arm.suffix, *describe_start(arm.runs[0]).values())
            starts.setdefault(key, []).append(arm)
    return [
        f"the same start: {' and '.join(show_strategy(arm.name) for arm in found)} "
        f"(layers {name_layers(found[0].runs[0])})"
        for found in starts.values()
        if len(found) > 1
    ]


def list_missing_seeds(arms: Sequence[Arm]) -> list[str]:
    """Seeds that some strategy has and an arm lacks: its comparisons rest on fewer runs. Draws of `random` are free."""
    wanted = sorted({seed for arm in arms if arm.strategy != "random" for seed in arm.seeds})
    remarks = []
    for arm in arms:
        missing = [str(seed) for seed in wanted if seed not in arm.seeds]
        if missing and arm.strategy != "random":
            remarks.append(f"missing: {show_strategy(arm.name)} has no run with seed {', '.join(missing)}")
    return remarks


def list_mixed_losses(arms: Sequence[Arm]) -> list[str]:
    """The training loss is a sum of weighted terms, which only arms with the same ones can be ranked by."""
    sums = {arm.name: list_summed(arm.runs[0]) for arm in arms}
    common = Counter(sums.values()).most_common(1)[0][0]
    others = [name for name, summed in sums.items() if summed != common]
    if not others:
        return []
    shown = " and ".join(map(show_strategy, others))
    return [f"training loss: what it sums in {shown} is not what it sums in the other arms"]


def list_summed(run: Run) -> tuple[object, ...]:
    """All that decides what a training loss sums, and over which rows."""
    if not run.has_teacher_terms:
        return ("ce",)
    return (run.unlabelled_fingerprint, *(run.record.arguments.get(name) for name in sorted(LOSS_ARGUMENTS)))


def list_mixed_machines(runs: Sequence[Run]) -> list[str]:
    """Versions and hardware that are not the same in all runs."""
    parts = {"versions": [run.record.versions for run in runs], "hardware": [run.record.hardware for run in runs]}
    remarks = []
    for part, found in parts.items():
        for name in sorted({name for entry in found for name in entry}):
            values = sorted({str(entry.get(name)) for entry in found})
            if len(values) > 1:
                remarks.append(f"mixed {part}: {name} is {' and '.join(values)}")
    return remarks
