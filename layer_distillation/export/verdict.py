"""The gate, the frontier, and in words whether the student is worth its training: pure functions of the artifacts.

Entry: `judge`, `find_frontier`, `write_verdict`.
"""

from collections.abc import Callable, Sequence

from layer_distillation.records.export_record import TEACHER, Artifact, ExportRecord

THREADS = "1"  # what the verdict goes by: most of a server's processes have one
Cost = Callable[[Artifact], float]
COSTS: dict[str, Cost] = {
    "ms, batch of 1": lambda made: made.milliseconds[THREADS]["1"],
    "ms, batch of 32": lambda made: made.milliseconds[THREADS]["32"],
    "MB": lambda made: made.bytes / 1e6,
}


def judge(artifact: Artifact, record: ExportRecord) -> None:
    """Writes a warning into an artifact that loses more than the gate allows; the teacher's are no artifacts of ours.

    The lower end of the interval decides nothing: on a few rows it would refuse all. It is told in the warning.
    """
    change = artifact.change
    if change is None or artifact.model == TEACHER or change["difference"] >= -record.max_metric_loss:
        return
    headline = f"{record.headline['split']} {record.headline['metric']}"
    artifact.warning = (
        f"loses {-change['difference']:.4f} [{-change['high']:.4f}, {-change['low']:.4f}] of {headline} against the "
        f"student in PyTorch, more than {record.max_metric_loss:g}"
    )


def get_quality(artifact: Artifact, record: ExportRecord) -> float:
    return artifact.metrics[record.headline["split"]][record.headline["metric"]]


def find_frontier(artifacts: Sequence[Artifact], quality: Callable[[Artifact], float], cost: Cost) -> list[Artifact]:
    """Those that no other beats in quality at no higher cost, or in cost at no lower quality; the cheapest first."""
    ordered = sorted(artifacts, key=lambda made: (cost(made), -quality(made)))
    frontier: list[Artifact] = []
    for made in ordered:
        if not frontier or quality(made) > quality(frontier[-1]):
            frontier.append(made)
    return frontier


def dominates(first: Artifact, second: Artifact, record: ExportRecord) -> bool:
    """At least as good in quality and in every cost, better in one."""
    sides = [[-get_quality(made, record), *(cost(made) for cost in COSTS.values())] for made in (first, second)]
    pairs = list(zip(*sides, strict=True))
    return all(left <= right for left, right in pairs) and any(left < right for left, right in pairs)


def write_verdict(record: ExportRecord) -> list[str]:
    """First whether the student is worth its distillation, then what the teacher makes pointless.

    Empty where the teacher was not measured, or nothing was scored.
    """
    measured = [made for made in record.artifacts if made.metrics and made.milliseconds]
    teachers = [made for made in measured if made.model == TEACHER]
    students = [made for made in measured if made.model != TEACHER]
    if not teachers or not students:
        return []
    beaten = {made.name: find_better(made, teachers, record) for made in students}
    free = [made for made in students if beaten[made.name] is None]
    lines = [describe_gain(min(free, key=get_speed), teachers, record)] if free else [ALL_DOMINATED]
    dominated = [made for made in students if made not in free]
    return lines + [
        f"dominated: {made.name} by {beaten[made.name].name}, {compare(beaten[made.name], made, record)}"
        for made in dominated
    ]


ALL_DOMINATED = (
    "the student is dominated: the teacher in some form is as good, as fast and as small without distillation"
)


def get_speed(artifact: Artifact) -> float:
    return COSTS["ms, batch of 32"](artifact)


def find_better(student: Artifact, teachers: Sequence[Artifact], record: ExportRecord) -> Artifact | None:
    """The fastest form of the teacher that dominates one of the student."""
    return min((made for made in teachers if dominates(made, student, record)), key=get_speed, default=None)


def describe_gain(student: Artifact, teachers: Sequence[Artifact], record: ExportRecord) -> str:
    """The fastest form that is not dominated against the teacher's fastest."""
    rival = min(teachers, key=get_speed)
    return f"the student is on the frontier: {student.name} against {rival.name}, {compare(student, rival, record)}"


def compare(first: Artifact, second: Artifact, record: ExportRecord) -> str:
    """What the first has of quality, speed and size beside the second."""
    difference = get_quality(first, record) - get_quality(second, record)
    single, many, size = (cost(second) / cost(first) for cost in COSTS.values())
    quality = f"{abs(difference):.4f} {'more' if difference >= 0 else 'less'} {record.headline['metric']}"
    speed = f"{single:.2f} times as fast in batches of 1 and {many:.2f} times in batches of 32"
    return f"{quality}, {speed}, {1 / size:.2f} of its size"
