"""A unit's numbers in sentences, one line each.

Entry: `write_verdict`, `describe_ranks`, `describe_random_draws`, `describe_tasks`, `describe_scope`.
"""

import math
from collections.abc import Sequence
from itertools import product

from layer_distillation.comparison.pairs import Pair
from layer_distillation.comparison.results import ArmResult, UnitResult
from layer_distillation.comparison.statistics import (
    LEVEL,
    MOST_NEEDED,
    TaskRanks,
    find_needed_rows,
    find_needed_seeds,
    has_power,
)
from layer_distillation.comparison.tasks import group_by_task, list_not_counted
from layer_distillation.comparison.tuning import describe_tuning
from layer_distillation.layers.strategies import show_strategy
from layer_distillation.records.answers import describe_answers, describe_gold

PRACTICALLY_INFINITE = 10**12
ENOUGH_DRAWS_FOR_PERCENT = 20
MORE_SEEDS = (5, 10, 20, 50, 100)


def write_verdict(result: UnitResult) -> list[str]:
    """The best arm, which are worse and by how much, which cannot be told apart from it, and the controls."""
    lines = name_best(result)
    lines += [judge(pair, "is worse than", "cannot be told apart from") for pair in result.comparisons]
    lines += [
        judge(pair, "(control) is worse than", "(control) cannot be told apart from")
        for pair in result.control_comparisons
    ]
    for pair in result.teacher_comparisons:
        lines += [judge_teacher_terms(pair), *compare_last_epochs(pair, result)]
    lines += describe_tuning(result.unit.arms)
    lines += describe_teacher(result)
    if min(len(arm.runs) for arm in result.arms) == 1:
        lines.append("Where an arm has one seed, how much another seed changes is unknown, and no interval holds it.")
    return lines


def describe_teacher(result: UnitResult) -> list[str]:
    """What the teacher was, where it is no model that was trained on the task, and where gold labels were missing."""
    record = result.unit.runs[0].record
    lines = [f"The teacher: {describe_answers(record.teacher)}."] if record.teacher.get("kind") else []
    return lines + ([f"{describe_gold(record)}."] if record.task.get("without_gold") else [])


def name_best(result: UnitResult) -> list[str]:
    """The arm on top, called the best only where all other strategies are shown to be worse."""
    best, what = result.best, f"{result.split} {result.metric_name}"
    score = f"{show_strategy(best.name)}, {what} {best.estimate.value:.4f} ({count(len(best.runs), 'seed')})"
    rivals = [show_strategy(pair.second) for pair in result.comparisons if not is_shown_worse(pair)]
    note = ["All arms are controls: they are held against each other."] if best.arm.is_control else []
    if len(result.strategies) == 1:
        return [f"The only strategy: {score}."]
    if rivals:
        return [*note, f"Highest: {score}; not shown to be better than {', '.join(rivals)}."]
    return [*note, f"Best: {score}."]


def is_shown_worse(pair: Pair) -> bool:
    """Whether the second arm is."""
    return pair.estimate is not None and pair.adjusted_p_value < LEVEL and pair.estimate.value > 0


def judge(pair: Pair, worse: str, open_question: str) -> str:
    """One comparison with the best arm."""
    if pair.estimate is None:
        return f"{show_strategy(pair.second)} shares no seed with {show_strategy(pair.first)}: not compared."
    first, second = name_compared(pair.first, pair), name_compared(pair.second, pair)
    if is_shown_worse(pair):
        return f"{second} {worse} {first} by {format_estimate(pair)}."
    if pair.adjusted_p_value < LEVEL:
        return f"{second} is better than {first} by {format_estimate(pair, sign=-1)}."
    return f"{second} {open_question} {first} on these data: difference {format_estimate(pair)}; {describe_need(pair)}."


def name_compared(arm_name: str, pair: Pair) -> str:
    """One seed compares two students, and says nothing yet of the strategies that they stand for."""
    name = show_strategy(arm_name)
    return name if len(pair.seeds) > 1 else f"{name} with seed {pair.seeds[0]}"


def judge_teacher_terms(pair: Pair) -> str:
    """A strategy with the teacher's terms against the same without."""
    if pair.estimate is None:
        return f"{show_strategy(pair.second)} shares no seed with {show_strategy(pair.first)}: not compared."
    first = name_compared(pair.first, pair)
    if pair.adjusted_p_value >= LEVEL:
        return (
            f"The teacher's terms make no difference for {first} that these data show: "
            f"{format_estimate(pair)}; {describe_need(pair)}."
        )
    verb, sign = ("help", 1) if pair.estimate.value > 0 else ("harm", -1)
    return f"The teacher's terms {verb} {first} by {format_estimate(pair, sign)}."


def compare_last_epochs(pair: Pair, result: UnitResult) -> list[str]:
    """A warning where the choice of the epoch by its loss decides who is ahead."""
    first, second = (next(arm for arm in result.arms if arm.name == name) for name in (pair.first, pair.second))
    kept, last = (first.average(name) - second.average(name) for name in ("validation_metric", "last_metric"))
    if not kept * last < 0:  # nan where the records do not say
        return []
    metrics = {arm.name: arm.average("last_metric") for arm in (first, second)}
    ahead, behind = sorted(metrics, key=metrics.__getitem__, reverse=True)
    return [
        f"But after the last epoch {show_strategy(ahead)} is ahead of {show_strategy(behind)}: "
        f"{result.selecting_split} {result.metric_beside} "
        f"{metrics[ahead]:.4f} and {metrics[behind]:.4f}. So the choice of the epoch decides."
    ]


def format_estimate(pair: Pair, sign: int = 1) -> str:
    """`0.0123 [0.0021, 0.0225], corrected p 0.0312 (3 seeds)`: the interval is not corrected, and may leave out 0."""
    low, high = sorted((sign * pair.estimate.low, sign * pair.estimate.high))
    return (
        f"{sign * pair.estimate.value:.4f} [{low:.4f}, {high:.4f}], corrected p "
        f"{format_p_value(pair.adjusted_p_value)} ({count(len(pair.seeds), 'seed')})"
    )


def format_p_value(p_value: float) -> str:
    return "<0.0001" if p_value < 0.0001 else f"{p_value:.4f}"


def describe_need(pair: Pair) -> str:
    """How many units or seeds would show a difference of this size, and where more of one alone would never do."""
    difference, components, num_seeds = pair.estimate.value, pair.estimate.components, len(pair.seeds)
    if difference == 0:
        return "there is none to see"
    needed_rows = find_needed_rows(difference, components, num_seeds, pair.level)
    rows = f"{describe_number(needed_rows)} {pair.units}"
    if num_seeds == 1:
        return f"{rows} would be needed to see one of this size between these two students"
    needed_seeds = find_needed_seeds(difference, components, pair.level)
    seeds = describe_number(needed_seeds)
    # Beyond the number that is looked at, the question is whether any number would do.
    rows_suffice = needed_rows or has_power(difference, components, num_seeds, PRACTICALLY_INFINITE, pair.level)
    seeds_suffice = needed_seeds or has_power(
        difference, components, PRACTICALLY_INFINITE, components.num_rows, pair.level
    )
    if rows_suffice and seeds_suffice:
        return f"{rows} or {seeds} seeds would be needed to see one of this size"
    if rows_suffice:
        return f"{rows} would be needed to see one of this size, more seeds alone would not help"
    if seeds_suffice:
        return f"{seeds} seeds would be needed to see one of this size, more {pair.units} alone would not help"
    return describe_need_of_both(pair)


def describe_need_of_both(pair: Pair) -> str:
    """The fewest of some numbers of seeds with which some number of rows would do."""
    for num_seeds in MORE_SEEDS:
        rows = find_needed_rows(pair.estimate.value, pair.estimate.components, num_seeds, pair.level)
        if rows is not None:
            return (
                f"{describe_number(rows)} {pair.units} with {num_seeds} seeds would be needed to see one of this size"
            )
    return f"to see one of this size takes more {pair.units} and more seeds than anyone has"


def describe_number(number: int | None) -> str:
    """To two digits, because it follows from variances that are estimates themselves."""
    if number is None:
        return f"more than {MOST_NEEDED:,}"
    step = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return f"about {math.ceil(number / step) * step:,}"


def describe_ranks(result: UnitResult) -> list[str]:
    """Whether validation loss and validation metric put the strategies in one order; empty for two that they do."""
    by_loss = sorted(result.strategies, key=lambda arm: arm.average("validation_loss"))
    by_metric = sorted(result.strategies, key=lambda arm: -arm.average("validation_metric"))
    known = "" if result.rank_correlation is None else f" (Spearman {result.rank_correlation:.2f})"
    loss = result.name_loss(result.selecting_split)
    both = f"{result.selecting_split} {loss} and {result.metric_beside} rank the strategies"
    if agree(by_loss, by_metric):
        return [f"{both} alike{known}."] if known else []
    return [
        f"{both} differently{known}: "
        f"by {loss} {name_in_order(by_loss)}; by {result.metric_beside} {name_in_order(by_metric)}."
    ]


def agree(by_loss: list[ArmResult], by_metric: list[ArmResult]) -> bool:
    """Ties of the metric go either way."""
    metrics = [arm.average("validation_metric") for arm in by_loss]
    return by_loss == by_metric or metrics == sorted(metrics, reverse=True)


def name_in_order(arms: list[ArmResult]) -> str:
    return " > ".join(show_strategy(arm.name) for arm in arms)


def describe_random_draws(result: UnitResult) -> list[str]:
    """Where each strategy stands among the students that start from random layers."""
    lines = []
    for suffix, random in result.random_draws.items():
        draws, strategies = random.list_values("metric"), [arm for arm in result.strategies if arm.arm.suffix == suffix]
        drawn = f"{count(len(draws), 'random draw')}{suffix}"
        lines.append(f"{drawn}: {result.metric_name} {min(draws):.4f} to {max(draws):.4f}.")
        for arm in strategies:
            beaten = sum(draw < arm.estimate.value for draw in draws)
            share = f" ({100 * beaten / len(draws):.0f} %)" if len(draws) >= ENOUGH_DRAWS_FOR_PERCENT else ""
            lines.append(f"{show_strategy(arm.name)}: better than {beaten} of {drawn}{share}.")
        lines += [
            f"The draw with seed {draw.run.record.seed} has the layers of {show_strategy(arm.name)}."
            for draw, arm in product(random.runs, strategies)
            if draw.run.layers == arm.runs[0].run.layers
        ]
    return lines


def describe_scope(results: Sequence[UnitResult], ranks: TaskRanks) -> list[str]:
    """What the ranks over tasks average, and what they leave out."""
    lines = [f"Not counted: {name}: {reason}." for name, reason in list_not_counted(results)]
    for task in group_by_task([result for result in results if result.counts_over_tasks]):
        layers = " and ".join(str(unit.unit.num_layers) for unit in task.units)
        if len(task.units) > 1:
            lines.append(f"{task.name} counts once, by its mean over students of {layers} layers.")
        lines += [
            f"Not ranked: {unit.unit.name}, which is not to be averaged with {task.units[0].unit.name} ({difference})."
            for unit, difference in task.left_out
        ]
    names = {arm.name for result in results if result.counts_over_tasks for arm in result.strategies}
    if missing := sorted(names - ranks.mean_ranks.keys()):
        lines.append(f"Not ranked, because not every task has it: {', '.join(map(show_strategy, missing))}.")
    return lines


def explain_no_ranks(results: Sequence[UnitResult]) -> list[str]:
    """Why several tasks have no mean ranks."""
    not_counted = [f"Not counted: {name}: {reason}." for name, reason in list_not_counted(results)]
    if len({result.unit.task_name for result in results if result.counts_over_tasks}) < 2:
        return ["None: fewer than two tasks count.", *not_counted]
    return ["None: the tasks have fewer than two strategies in common.", *not_counted]


def describe_tasks(ranks: TaskRanks) -> list[str]:
    """Friedman, Nemenyi and the pairs, or plainly why not."""
    lines = []
    if ranks.friedman_p_value is None:
        lines.append(f"Friedman's test needs 3 strategies; there are {len(ranks.mean_ranks)}, or they tie everywhere.")
    else:
        lines.append(
            f"Friedman's test over {ranks.num_tasks} tasks: p {format_p_value(ranks.friedman_p_value)}. Mean ranks "
            f"that differ by less than {ranks.critical_difference:.2f} (Nemenyi) cannot be told apart."
        )
        lines += describe_rank_differences(ranks)
    if ranks.pairwise_p_values:
        lines += [
            f"{show_strategy(first)} against {show_strategy(second)}: Wilcoxon p {format_p_value(p_value)} (Holm)."
            for (first, second), p_value in ranks.pairwise_p_values.items()
        ]
    else:
        lines.append(
            f"No pair of strategies is tested by Wilcoxon: with {count(ranks.num_tasks, 'task')} that all agree, "
            f"the smallest possible corrected p is {ranks.smallest_pairwise_p_value:.3f}; at least "
            f"{count_needed_tasks(len(ranks.mean_ranks))} tasks could reach {LEVEL:.2f}."
        )
    return lines


def describe_rank_differences(ranks: TaskRanks) -> list[str]:
    """Who ranks better than whom by Nemenyi's test, which asks for Friedman's to be significant first."""
    if ranks.friedman_p_value >= LEVEL:
        return ["So no strategy is shown to rank better than another."]
    ordered = sorted(ranks.mean_ranks, key=ranks.mean_ranks.__getitem__)
    worse = {
        first: [
            other for other in ordered if ranks.mean_ranks[other] - ranks.mean_ranks[first] >= ranks.critical_difference
        ]
        for first in ordered
    }
    told_apart = [
        f"{show_strategy(first)} ranks better than {' and '.join(map(show_strategy, others))}."
        for first, others in worse.items()
        if others
    ]
    return told_apart or ["So no pair of strategies is told apart."]


def count_needed_tasks(num_arms: int) -> int:
    """The least N with m 2^(1 - N) < 0.05 for m pairs."""
    return math.floor(1 + math.log2(num_arms * (num_arms - 1) / 2 / LEVEL)) + 1


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
