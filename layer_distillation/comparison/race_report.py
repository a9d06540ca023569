"""A race in sentences, and as data for JSON.

Entry: `list_race`, `describe_look`, `summarize_look`.
"""

from typing import Any

from layer_distillation.comparison.race import AHEAD, BEHIND, OPEN, UNDECIDED, Judgement, Look, Racer
from layer_distillation.comparison.race_runs import RaceResult
from layer_distillation.comparison.results import UnitResult
from layer_distillation.comparison.statistics import LEVEL
from layer_distillation.comparison.verdict import count, format_p_value
from layer_distillation.layers.strategies import show_strategy


def list_race(result: UnitResult) -> list[str]:
    """Empty where the seeds were given by no race."""
    what = f"{result.split} {result.metric_name}"
    return describe_race(result.race, what, result.units) if result.race else []


def name_verdict(result: UnitResult) -> str:
    """Of the verdict that takes the seeds as given."""
    return "As if no race had chosen the seeds (its looks are not corrected for)" if result.race else "Verdict"


def describe_race(race: RaceResult, what: str, units: str) -> list[str]:
    """The verdict, who leads first; `what` is the split and the metric, `units` what is resampled."""
    left_out = [f"{show_strategy(name)} is not in the race: {reason}." for name, reason in race.left_out.items()]
    if not race.looks:
        return ["There was no race: it takes two arms with all runs that they were to have.", *left_out]
    last, racers = race.last, {racer.name: racer for racer in race.racers}
    undecided = [
        show_strategy(name)
        for name, judgement in last.judgements.items()
        if not racers[name].is_control and judgement.state != BEHIND
    ]
    seeds = count(last.num_seeds[last.leader], "seed")
    score = f"{show_strategy(last.leader)}, {what} {last.leader_score:.4f} ({seeds})"
    best = "Best of those in the race" if race.left_out else "Best"
    first = f"Leads: {score}; not shown to be better than {', '.join(undecided)}." if undecided else f"{best}: {score}."
    judged = [describe_judgement(name, found, racers[name], units) for name, found in last.judgements.items()]
    return [
        first,
        *judged,
        *left_out,
        f"{race.num_runs} of at most {race.most_runs} runs, {count(last.number, 'look')}. The error of {LEVEL} holds "
        "over all looks and pairs, an interval over all looks of its pair. Of what was dropped no more is known than "
        "was seen then.",
    ]


def describe_judgement(name: str, judgement: Judgement, racer: Racer, units: str) -> str:
    shown = show_strategy(name) + (" (control)" if racer.is_control else "")
    if judgement.difference is None:
        return f"{shown} is undecided: it shares no seed with {show_strategy(judgement.rival)}."
    seen = describe_difference(judgement, units)
    if judgement.state == BEHIND:
        return f"{shown} was dropped at look {judgement.look}: {seen}."
    if judgement.state == AHEAD:
        return f"{shown} was decided at look {judgement.look}: {seen}."
    return f"{shown} is undecided: {seen}; {explain_stop(judgement, racer)}."


def explain_stop(judgement: Judgement, racer: Racer) -> str:
    if judgement.state == OPEN:
        return "no further seed, as its start does not lead"
    if judgement.difference.num_seeds == len(racer.seeds):
        return "all seeds are used"
    return "the seeds that are left would hardly decide it"


def describe_difference(judgement: Judgement, units: str) -> str:
    """`behind even by 0.1333 [0.1147, 0.1520], corrected p <0.0001 (1 seed)`"""
    difference, sign = judgement.difference, -1 if judgement.difference.value < 0 else 1
    low, high = sorted(sign * end for end in difference.get_interval(judgement.level))
    side = "behind" if sign > 0 else "ahead of"
    rows_alone = f", {units} alone" if difference.is_of_rows_alone else ""
    return (
        f"{side} {show_strategy(judgement.rival)} by {abs(difference.value):.4f} [{low:.4f}, {high:.4f}], corrected p "
        f"{format_p_value(judgement.p_value)} ({count(difference.num_seeds, 'seed')}{rows_alone})"
    )


def summarize_look(look: Look) -> str:
    """For a line between the runs."""
    decided = {BEHIND: "dropped", AHEAD: "decided", UNDECIDED: "not to be decided", OPEN: "open"}
    groups: dict[str, list[str]] = {}
    for name, judgement in look.judgements.items():
        groups.setdefault(decided[judgement.state], []).append(name)
    parts = [f"{what}: {' '.join(names)}" for what, names in sorted(groups.items())]
    following = f"next: {' '.join(look.wanted)}" if look.wanted else "over"
    return "; ".join([f"look {look.number}: {look.leader} leads", *parts, following])


def describe_look(look: Look) -> dict[str, Any]:
    """For JSON."""
    return {
        "look": look.number,
        "leader": look.leader,
        "seeds": look.num_seeds,
        "arms": {name: list_judgement(judgement) for name, judgement in look.judgements.items()},
        "wanted": look.wanted,
    }


def list_judgement(judgement: Judgement) -> dict[str, Any]:
    """`difference`: the rival minus the arm; the interval holds over all looks."""
    difference = judgement.difference
    low, high = (None, None) if difference is None else difference.get_interval(judgement.level)
    return {
        "state": judgement.state,
        "rival": judgement.rival,
        "difference": difference and difference.value,
        "low": low,
        "high": high,
        "p_value": judgement.p_value,
        "seeds": difference.num_seeds if difference else 0,
        "look": judgement.look,
    }
