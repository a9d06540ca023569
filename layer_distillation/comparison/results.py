"""What the runs of one unit say: means, differences from the best arm, controls, ranks. Numbers only, no text.

Entry: `analyse_unit`.
"""

import math
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from layer_distillation.comparison.arms import Arm
from layer_distillation.comparison.grouping import Unit, hold_same_predictions
from layer_distillation.comparison.pairs import Pair, PairedScores
from layer_distillation.comparison.race_runs import RacePlan, RaceResult, race_arms
from layer_distillation.comparison.runs import Run
from layer_distillation.comparison.statistics import Estimate, correlate_ranks
from layer_distillation.comparison.teacher_lead import TeacherLead, measure_lead
from layer_distillation.layers.strategies import show_strategy
from layer_distillation.records.run_record import find_loss_name
from layer_distillation.tasks.kinds.entry import ONE_NUMBER, VECTOR


@dataclass
class RunResult:
    """One run. Losses in nats (regression: squared label units); nan where the record has none."""

    run: Run
    training_loss: float
    validation_loss: float
    validation_metric: float
    last_metric: float  # on the validation rows after the last epoch, kept or not
    loss: float
    metric: float

    def get_untrained(self, name: str) -> float | None:
        """A score of the student before any training, on the validation rows; None where the record has no number."""
        value = self.run.record.student.get("untrained", {}).get(name)
        return None if value is None or math.isnan(value) else value


@dataclass
class ArmResult:
    """One arm; `estimate` is the mean of its metric over seeds."""

    arm: Arm
    runs: list[RunResult]
    estimate: Estimate

    @property
    def name(self) -> str:
        return self.arm.name

    def average(self, field: str) -> float:
        return float(np.mean(self.list_values(field)))

    def spread(self, field: str) -> float | None:
        """Standard deviation over seeds, with n - 1; None for one run."""
        return float(np.std(self.list_values(field), ddof=1)) if len(self.runs) > 1 else None

    def list_values(self, field: str) -> list[float]:
        return [vars(run)[field] for run in self.runs]


@dataclass
class UnitResult:
    """All numbers of a unit's report. `before_training`: (value, over what, Spearman or None, n)."""

    unit: Unit
    split: str
    selecting_split: str
    metric_name: str
    num_rows: int  # of `units`
    num_resamples: int
    teacher_loss: dict[str, float]
    teacher_metric: dict[str, float]
    teacher_lead: TeacherLead | None  # None where the teacher's outputs are not kept
    strategies: list[ArmResult]
    controls: list[ArmResult]
    comparisons: list[Pair]
    control_comparisons: list[Pair]
    teacher_comparisons: list[Pair]
    rank_correlation: float | None
    before_training: list[tuple[str, str, float | None, int]]
    race: RaceResult | None = None  # where the seeds were given by one
    units: str = "rows"  # what is resampled

    @property
    def arms(self) -> list[ArmResult]:
        return self.strategies + self.controls

    @property
    def counts_over_tasks(self) -> bool:
        """Not where its teacher is not shown to have learned the task: what is kept of such a one says nothing."""
        return self.teacher_lead is None or self.teacher_lead.is_shown

    def name_loss(self, split: str) -> str:
        """What the losses of the split are: without a gold label distances to the teacher."""
        run = self.unit.runs[0]
        if run.outputs == VECTOR:
            return "squared distance to the teacher"
        if not run.has_teacher_for_gold(split):
            return "loss"
        return "squared error to the teacher" if run.outputs in ONE_NUMBER else "KL to the teacher"

    @property
    def metric_beside(self) -> str:
        """What `validation_metric` and `last_metric` are."""
        return name_beside(self.unit.runs[0], self.metric_name)

    @property
    def best(self) -> ArmResult:
        return self.strategies[0]

    def get_kept_share(self, arm: ArmResult) -> float | None:
        """The arm's mean metric over the teacher's, chance not subtracted; None where the teacher has none above 0."""
        teacher = self.teacher_metric.get(self.split)
        return arm.estimate.value / teacher if teacher is not None and teacher > 0 else None

    @property
    def random_draws(self) -> dict[str, ArmResult]:
        """What else their arm varies, as a part of its name -> the draws."""
        arms = [arm for arm in self.controls if arm.arm.strategy == "random" and arm.arm.runs[0].has_teacher_terms]
        return {arm.arm.suffix: arm for arm in arms}


def analyse_unit(
    unit: Unit, split: str, metric_name: str | None, num_resamples: int, race: RacePlan | None = None
) -> UnitResult:
    """Raises ValueError for fewer than two arms, an unknown metric or a split without labels."""
    if len(unit.arms) < 2:
        raise ValueError(
            f"{unit.name}: the only arm is {show_strategy(unit.arms[0].name)}: give runs of at least two strategies"
        )
    first_run = unit.runs[0]
    split, metric_name = choose_split(first_run, split), metric_name
    metric_name = choose_metric(first_run, metric_name, split)
    scores = PairedScores(unit, split, metric_name, num_resamples)
    arms = [analyse_arm(arm, scores, split, metric_name) for arm in unit.arms]
    # Where there are controls alone, one of them has to be what the others are held against.
    candidates = [arm for arm in arms if not arm.arm.is_control] or arms
    strategies = sorted(candidates, key=lambda arm: (-arm.estimate.value, arm.name))
    controls = sorted((arm for arm in arms if arm not in candidates), key=lambda arm: arm.name)
    return UnitResult(
        unit=unit,
        split=split,
        selecting_split=first_run.selecting_split,
        metric_name=metric_name,
        num_rows=scores.num_rows,
        units=scores.units,
        num_resamples=scores.num_resamples,
        teacher_loss=list_teacher_losses(first_run),
        teacher_metric=score_teacher(first_run, metric_name),
        teacher_lead=measure_lead(first_run, split, metric_name),
        strategies=strategies,
        controls=controls,
        comparisons=compare_with_best(scores, strategies),
        control_comparisons=compare_controls(scores, strategies, controls),
        teacher_comparisons=compare_teacher_terms(scores, arms),
        rank_correlation=correlate_ranks(
            [-arm.average("validation_loss") for arm in strategies],
            [arm.average("validation_metric") for arm in strategies],
        ),
        before_training=correlate_before_training(strategies, controls, metric_name),
        race=race and race_arms(unit.arms, race, split, metric_name, num_resamples),
    )


def choose_split(run: Run, wanted: str) -> str:
    """`test` where it is labelled, else the validation split that also chose the epochs."""
    if wanted == "auto":
        return "test" if "test" in run.labelled_rows else run.selecting_split
    split = run.selecting_split if wanted == "validation" else wanted
    if split not in run.labelled_rows:
        raise ValueError(
            f"--split {wanted}: no labelled {split} rows in {run.folder}: take --split validation (it has "
            f"{', '.join(run.labelled_rows)})"
        )
    return split


def choose_metric(run: Run, wanted: str | None, split: str | None = None) -> str:
    valid = run.list_metrics(split)
    if wanted is not None and wanted not in valid:
        is_other = split is not None and valid != run.list_metrics()
        what = split if is_other else f"the task {run.record.task['name']}"
        raise ValueError(f"--metric is {wanted!r}: {what} has {', '.join(valid)}")
    return wanted or valid[0]


def analyse_arm(arm: Arm, scores: PairedScores, split: str, metric_name: str) -> ArmResult:
    results = [
        RunResult(
            run=run,
            training_loss=get_training_loss(run),
            validation_loss=get_loss(run, run.selecting_split),
            validation_metric=run.score(name_beside(run, metric_name), run.selecting_split),
            last_metric=get_last_metric(run, metric_name),
            loss=get_loss(run, split),
            metric=float(scores.scores[position]),
        )
        for run, position in zip(arm.runs, scores.find(arm.runs), strict=True)
    ]
    return ArmResult(arm, results, scores.estimate(arm))


def name_beside(run: Run, metric_name: str) -> str:
    """The metric on the rows that chose the epoch: the same one, or where these have none such their own."""
    beside = run.selecting_split
    return metric_name if metric_name in run.list_metrics(beside) else run.name_headline(beside)


def get_loss(run: Run, split: str) -> float:
    """The task's loss or, of rows without a gold label, the distance to the teacher; a retrieval set has none."""
    if run.is_retrieval(split):
        return math.nan
    scores = run.record.metrics[split]
    return scores[find_loss_name(scores)]


def get_training_loss(run: Run) -> float:
    """The weighted sum of all terms in the epoch whose student was kept."""
    entries = [entry for entry in run.record.history if entry["epoch"] == run.record.best_epoch]
    return entries[0].get("train_loss", float("nan")) if entries else float("nan")


def get_last_metric(run: Run, metric_name: str) -> float:
    name = f"eval_{name_beside(run, metric_name)}"
    return run.record.history[-1].get(name, math.nan) if run.record.history else math.nan


def list_teacher_losses(run: Run) -> dict[str, float]:
    return {split: scores["loss"] for split, scores in run.record.teacher["metrics"].items() if "loss" in scores}


def score_teacher(run: Run, metric_name: str) -> dict[str, float]:
    known = [
        split
        for split in run.labelled_rows
        if run.get_kept(split, "teacher") is not None
        and not run.has_teacher_for_gold(split)
        and metric_name in run.list_metrics(split)
    ]
    return {split: run.score(metric_name, split, "teacher") for split in known}


def compare_with_best(scores: PairedScores, strategies: list[ArmResult]) -> list[Pair]:
    """The best was picked by looking at all of them, so all pairs are in Holm's correction, not only those with it.

    Of six equal strategies the best was otherwise called better than another in 7 to 11 % of simulated cases.
    """
    pairs = list(combinations([arm.arm for arm in strategies], 2))
    return scores.compare_all(pairs)[: len(strategies) - 1]


def compare_controls(scores: PairedScores, strategies: list[ArmResult], controls: list[ArmResult]) -> list[Pair]:
    """Random and fresh layers against the best strategy; corrected over all strategies for the same reason.

    Starts without the teacher's terms are held against the same starts with them: `compare_teacher_terms`.
    """
    null_arms = [arm.arm for arm in controls if arm.arm.runs[0].has_teacher_terms]
    family = list(product([arm.arm for arm in strategies], null_arms))
    return [pair for pair in scores.compare_all(family) if pair.first == strategies[0].name]


def compare_teacher_terms(scores: PairedScores, arms: list[ArmResult]) -> list[Pair]:
    """Each arm with a teacher against the same start without."""
    without = {arm.arm.runs[0].start_name: arm.arm for arm in arms if not arm.arm.runs[0].has_teacher_terms}
    with_teacher = [arm.arm for arm in arms if arm.arm.runs[0].has_teacher_terms]
    pairs = [(arm, without[arm.runs[0].start_name]) for arm in with_teacher if arm.runs[0].start_name in without]
    return scores.compare_all(pairs)


def correlate_before_training(
    strategies: list[ArmResult], controls: list[ArmResult], metric_name: str
) -> list[tuple[str, str, float | None, int]]:
    """Spearman between what the student scored before any training and its final metric, both means over seeds.

    Over the strategies, and over all starts: the controls' too, every random draw by itself. Never over runs: seeds of
    one start share its untrained scores, and would count one observation several times.
    """
    starts = group_starts(strategies + [arm for arm in controls if arm.arm.runs[0].has_teacher_terms])
    groups = {"strategies": group_starts(strategies)}
    if len(starts) > len(groups["strategies"]):
        groups["all starts"] = starts
    rows = []
    for name in list_untrained_names(metric_name):
        for what, members in groups.items():
            known = [[run for run in runs if run.get_untrained(name) is not None] for runs in members]
            means = [np.mean([(run.get_untrained(name), run.metric) for run in runs], axis=0) for runs in known if runs]
            if means:
                rows.append((name, what, correlate_ranks(*zip(*means, strict=True)), len(means)))
    return rows


def list_untrained_names(metric_name: str) -> tuple[str, ...]:
    """The scores of an untrained student that are shown; of the last two a task has one."""
    return "loss", metric_name, "kl_to_teacher", "mse_to_teacher"


def group_starts(arms: list[ArmResult]) -> list[list[RunResult]]:
    """The runs that begin with the same layers, width and weights, whatever their strategies are called."""
    starts: dict[tuple[object, ...], list[RunResult]] = {}
    for run in (run for arm in arms for run in arm.runs):
        source = run.run.record.student.get("source")
        key = (*run.run.layers, run.run.variant, source and source["fingerprint"])
        found = starts.setdefault(key, [])
        if not any(hold_same_predictions(run.run, other.run) for other in found):  # a draw may be a strategy's layers
            found.append(run)
    return list(starts.values())
