"""The blocks of a comparison's report: tables and lines, the same for the terminal and for comparison.md.

Entry: `list_blocks`; `comparison/files.py` writes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from layer_distillation.comparison.numbers import format_interval, format_number, format_share, name_one
from layer_distillation.comparison.pairs import Pair
from layer_distillation.comparison.race_report import list_race, name_verdict
from layer_distillation.comparison.results import ArmResult, UnitResult, list_untrained_names
from layer_distillation.comparison.runs import LeftOut
from layer_distillation.comparison.statistics import TaskRanks
from layer_distillation.comparison.tasks import (
    TeacherPair,
    gather_kept_shares,
    gather_teacher_pairs,
    gather_uncounted_shares,
    list_not_counted,
)
from layer_distillation.comparison.tuning import table_tuning, title_tuning
from layer_distillation.comparison.verdict import (
    describe_random_draws,
    describe_ranks,
    describe_scope,
    describe_tasks,
    explain_no_ranks,
    format_p_value,
    write_verdict,
)
from layer_distillation.layers.strategies import show_strategy


@dataclass
class Block:
    """A headline, then a table (the first row is its header) or lines."""

    title: str
    table: list[list[str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def list_blocks(results: Sequence[UnitResult], ranks: TaskRanks | None, left_out: Sequence[LeftOut]) -> list[Block]:
    """The whole report, in order; `left_out` are runs that belong to no unit."""
    blocks = [block for result in results for block in list_unit_blocks(result)]
    if ranks is not None:
        blocks += list_task_blocks(results, ranks)
    elif len({result.unit.task_name for result in results}) > 1:
        blocks.append(Block("Verdict over tasks", lines=explain_no_ranks(results)))
    if shares := gather_kept_shares(results):
        table = table_shares(shares, gather_uncounted_shares(results))
        blocks.append(Block("How much of the teacher's metric is kept (chance not subtracted)", table))
    if teacher_pairs := gather_teacher_pairs(results):
        blocks.append(Block("Is the teacher worth it? With its terms minus without", table_teacher(teacher_pairs)))
    if left_out:
        blocks.append(Block("Left out of everything", lines=[f"{left.folder}: {left.reason}" for left in left_out]))
    return [*blocks, explain_method(results)]


def list_unit_blocks(result: UnitResult) -> list[Block]:
    """The report of one task and number of student layers."""
    chosen_on = f"{result.num_rows} {result.split} {result.units}"
    if result.split == result.selecting_split:
        chosen_on += ", which also chose the epoch that was kept"
    blocks = [
        Block(f"{result.unit.name}: verdict of the race", lines=list_race(result)),
        Block(f"{result.unit.name}: the kept students, means over seeds", table_students(result)),
        Block(f"Over seeds ({chosen_on})", table_seeds(result)),
        Block(
            f"Difference from the best, {show_strategy(result.best.name)} (best minus the other)",
            table_pairs(result.comparisons),
        ),
        Block("Random and fresh layers: best minus control", table_pairs(result.control_comparisons)),
        Block("With the teacher's terms minus without", table_pairs(result.teacher_comparisons, names="first")),
        Block(name_verdict(result), lines=write_verdict(result)),
        Block("Against random layers", lines=describe_random_draws(result)),
        Block("Do loss and metric agree?", lines=describe_ranks(result)),
        Block(f"Before any training ({result.selecting_split} rows), and after", table_untrained(result)),
        Block(
            f"Does that predict the final {result.split} {result.metric_name}? (Spearman's correlation)",
            table_before_training(result),
        ),
        Block("Left out", lines=[f"{left.folder}: {left.reason}" for left in result.unit.left_out]),
        Block(title_tuning(result.unit.arms), table_tuning(result.unit.arms)),
        Block("Remarks", lines=[*result.unit.remarks, *remark_on_teacher(result)]),
    ]
    return [block for block in blocks if len(block.table) > 1 or block.lines]


def table_students(result: UnitResult) -> list[list[str]]:
    """The published table's columns, the teacher on top; epochs are all that were kept.

    The choice by the loss may keep an epoch of a low metric: the last one stands beside it.
    """
    split = result.selecting_split
    titles = [f"Validation {name}" for name in (result.name_loss(split), result.metric_beside)]
    header = ["Student layer", "Training loss", *titles, "Epoch", "At the end", "Layers"]
    teacher = result.unit.runs[0].record.teacher
    scores = [format_number(found.get(split)) for found in (result.teacher_loss, result.teacher_metric)]
    layers = f"all {teacher['layers']}" if teacher["layers"] else "-"
    rows = [[name_teacher(result), "-", *scores, "-", "-", layers]]
    for arm in result.arms:
        losses = [format_number(arm.average(name)) for name in ("training_loss", "validation_loss")]
        kept, last = (format_number(arm.average(name)) for name in ("validation_metric", "last_metric"))
        rows.append([show_strategy(arm.name), *losses, kept, name_epochs(arm), last, name_layers(arm)])
    return [header, *rows]


def name_teacher(result: UnitResult) -> str:
    return "Teacher" + ("" if result.counts_over_tasks else f", not beyond {result.teacher_lead.rival}")


def remark_on_teacher(result: UnitResult) -> list[str]:
    return [f"in no mean over tasks: {reason}" for _, reason in list_not_counted([result])]


def name_epochs(arm: ArmResult) -> str:
    epochs = [run.run.record.best_epoch for run in arm.runs if run.run.record.best_epoch is not None]
    return " ".join(f"{epoch:g}" for epoch in sorted(set(epochs))) or "-"


def name_layers(arm: ArmResult) -> str:
    layers = arm.runs[0].run.layers
    if arm.arm.strategy == "random" and len(arm.runs) > 1:
        return "drawn by seed"
    return "fresh" if set(layers) == {None} else " ".join("-" if layer is None else str(layer) for layer in layers)


def table_seeds(result: UnitResult) -> list[list[str]]:
    """Of the split of the statistics, and the loss that chose the epoch where that is of another one."""
    splits = {"validation_loss": result.selecting_split, "loss": result.split}
    if result.split == result.selecting_split:
        del splits["validation_loss"]
    titles = [f"{split} {result.name_loss(split)}" for split in splits.values()] + [
        f"{result.split} {result.metric_name}"
    ]
    teacher = [format_number(result.teacher_loss.get(split)) for split in splits.values()]
    teacher.append(format_number(result.teacher_metric.get(result.split)))
    rows = []
    for arm in result.arms:
        fields = [format_spread(arm, name) for name in (*splits, "metric")]
        interval = format_interval(arm.estimate.low, arm.estimate.high)
        name = show_strategy(arm.name)
        rows.append([name, str(len(arm.runs)), *fields, interval, format_share(result.get_kept_share(arm))])
    header = ["", "n", *titles, "95 % interval", "of the teacher's"]
    return [header, [name_teacher(result), "-", *teacher, "-", "-"], *rows]


def format_spread(arm: ArmResult, name: str) -> str:
    """Mean and, where there are several seeds, standard deviation."""
    value, spread = format_number(arm.average(name)), arm.spread(name)
    if value == "-":  # a retrieval set has no loss
        return value
    return f"{value} ± " + ("-" if spread is None else f"{spread:.4f}")


def table_pairs(pairs: Sequence[Pair], names: Literal["first", "second"] = "second") -> list[list[str]]:
    """A row per pair, called by the arm that tells it from the others."""
    header = ["", "difference", "95 % interval", "p (Holm)", "seeds", "McNemar (one seed, uncorrected)"]
    rows = []
    for pair in pairs:
        if pair.estimate is None:
            rows.append([show_strategy(getattr(pair, names)), "-", "-", "-", "none shared", "-"])
            continue
        interval = format_interval(pair.estimate.low, pair.estimate.high)
        p_value = format_p_value(pair.adjusted_p_value)
        rows.append(
            [
                show_strategy(getattr(pair, names)),
                format_number(pair.estimate.value),
                interval,
                p_value,
                str(len(pair.seeds)),
                format_mcnemar(pair),
            ]
        )
    return [header, *rows]


def format_mcnemar(pair: Pair) -> str:
    """Rows only the first has right, rows only the second has right, p."""
    if pair.mcnemar is None:
        return "-"
    test = pair.mcnemar
    return f"{test.only_first}:{test.only_second}, p {format_p_value(test.p_value)} (seed {test.seed})"


def table_untrained(result: UnitResult) -> list[list[str]]:
    """What each start scores untouched, a control; without the teacher's terms it is the same start again."""
    arms = [arm for arm in result.arms if arm in result.strategies or arm.arm.runs[0].has_teacher_terms]
    names = list_untrained_names(result.metric_name)
    averages = {name: [average_untrained(arm, name) for arm in arms] for name in names}
    columns = {name: values for name, values in averages.items() if set(values) != {None}}
    if not columns:
        return []
    rows = [
        [show_strategy(arm.name), *map(format_number, values), format_number(arm.average("metric"))]
        for arm, *values in zip(arms, *columns.values(), strict=True)
    ]
    return [["", *(f"untrained {name}" for name in columns), f"trained {result.metric_name} ({result.split})"], *rows]


def average_untrained(arm: ArmResult, name: str) -> float | None:
    """The mean over the runs whose record has it; seeds change it only where they change the start."""
    values = [value for run in arm.runs if (value := run.get_untrained(name)) is not None]
    return sum(values) / len(values) if values else None


def table_before_training(result: UnitResult) -> list[list[str]]:
    """A loss or a distance predicts the metric if it is low where the metric ends up high: its sign says so."""
    rows = [
        [
            f"untrained {name}",
            what,
            "-" if correlation is None else f"{correlation:.2f}",
            "1" if name == result.metric_name else "-1",
            str(number),
        ]
        for name, what, correlation, number in result.before_training
    ]
    return [["", "over", "Spearman", "perfect", "n"], *rows]


def list_task_blocks(results: Sequence[UnitResult], ranks: TaskRanks) -> list[Block]:
    ordered = sorted(ranks.mean_ranks.items(), key=lambda item: item[1])
    table = [["", "mean rank"], *([show_strategy(name), f"{rank:.2f}"] for name, rank in ordered)]
    return [
        Block(f"Over {ranks.num_tasks} tasks: mean ranks (1 is best)", table),
        Block("Verdict over tasks", lines=[*describe_tasks(ranks), *describe_scope(results, ranks)]),
    ]


def table_shares(
    shares: Mapping[str, Mapping[str, float]], uncounted: Mapping[str, Mapping[str, float]]
) -> list[list[str]]:
    """Tasks that are in no mean stand behind it."""
    tasks = list(next(iter(shares.values())))
    others = list(dict.fromkeys(task for by_task in uncounted.values() for task in by_task))
    rows = [
        [
            show_strategy(name),
            *(format_share(by_task[task]) for task in tasks),
            format_share(sum(by_task.values()) / len(tasks)),
            *(format_share(uncounted.get(name, {}).get(task)) for task in others),
        ]
        for name, by_task in shares.items()
    ]
    return [["", *tasks, "mean", *(f"{task} (not in the mean)" for task in others)], *rows]


def table_teacher(pairs: Sequence[TeacherPair]) -> list[list[str]]:
    """By task; beside the kept students the metric after the last epoch, which a choice by the loss may miss."""
    header = ["", "start", "teacher", "with", "without", "difference", "95 % interval", "p (Holm, all rows)"]
    rows = []
    for result, pair, adjusted in pairs:
        arms = {arm.name: arm for arm in result.arms}
        own = [arms[pair.first], arms[pair.second]]
        teacher = format_number(result.teacher_metric.get(result.split))
        interval = format_interval(pair.estimate.low, pair.estimate.high)
        means = [format_spread(arm, "metric") for arm in own]
        numbers = [*means, format_number(pair.estimate.value), interval, format_p_value(adjusted)]
        last = [format_number(arm.average("last_metric")) for arm in own]
        mark = "" if result.counts_over_tasks else f" (teacher not beyond {result.teacher_lead.rival})"
        task = f"{result.unit.name}: {result.split} {result.metric_name}{mark}"
        rows.append([task, show_strategy(pair.first), teacher, *numbers, *last])
    return [[*header, "validation, last epoch, with", "without"], *rows]


def explain_method(results: Sequence[UnitResult]) -> Block:
    resamples = " and ".join(sorted({f"{result.num_resamples:,}" for result in results}))
    names = sorted({result.units for result in results})
    units, unit = " or ".join(names), " or ".join(map(name_one, names))
    return Block(
        "How it was computed",
        lines=[
            f"Epoch: the one kept, by default that of the lowest validation loss{name_choice(results)}; at the end: "
            "after the last one.",
            f"Arms are runs that differ in their seed alone; every difference is paired by seed and by {unit}.",
            f"{units.capitalize()} are resampled {resamples} times, the same {units} for all runs; that gives the "
            f"variance over {units}.",
            "The variance over seeds is measured on the runs and added; intervals and p-values are Student's t with "
            f"Satterthwaite's degrees of freedom, intervals without correction. With one seed only {units} count.",
            "Holm's correction counts all pairs of strategies, because the best one was picked by looking at them.",
            f"A teacher is beyond a constant answer, such as the majority class, where the 95 % interval over {units} "
            "of the difference is above 0. Tasks whose teacher is not are in no mean over tasks.",
            f"Needed {units} and seeds: 80 % power at the corrected level. McNemar's test compares two single "
            "students.",
        ],
    )


def name_choice(results: Sequence[UnitResult]) -> str:
    """What else chose the epoch, where that was no loss."""
    runs = [run for result in results for run in result.unit.runs]
    names = {(run.record.arguments.get("metric_for_best_model") or "loss").removeprefix("eval_") for run in runs}
    others = " or ".join(sorted(names - {"loss"}))
    return f" (of these runs that of the best {others})" if others else ""
