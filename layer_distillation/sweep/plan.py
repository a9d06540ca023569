"""The plan of a sweep: which runs, in which order, with which flags, into which folders. Reads and starts nothing.

Entry: `plan_runs`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OPEN = "open"  # `finished`, as in a run's record, is the state of one with nothing left to do
WAITING = "waiting"  # for trials, without which its flags are not known
WITHOUT_TEACHER = "-without-teacher"
TRIALS = "tuning"  # the folder of the runs that values are chosen by
# The loss on the labels alone, whatever recipe and flags say before.
TEACHER_OFF = (
    *("--pkd_weight", "0", "--embedding_weight", "0", "--relation_weight", "0", "--rkd_weight", "0"),
    *("--margin_weight", "0", "--similarity_weight", "0"),
    *("--intermediate_epochs", "0", "--schedules", "", "--unlabeled_file", "", "--recombined_pairs", "0"),
    *("--kl_weight", "0", "--hidden_weight", "0", "--attention_weight", "0", "--logit_cosine_weight", "0"),
    *("--ce_weight", "1"),
)


@dataclass(frozen=True)
class ClusterSettings:
    """What each run is given on a cluster, and how many may be at work at once there (0: as many as it takes)."""

    engine: str
    jobs: int
    cpus: int
    cards: int
    ray_address: str
    slurm: Mapping[str, str | int]


@dataclass(frozen=True)
class SweepSettings:
    """What is swept, as the command's flags say it; `flags` go to every run. Seeds stay text: they name folders."""

    strategies: Sequence[str]
    seeds: Sequence[str]
    random: int
    scratch: bool
    without_teacher: bool
    output_root: Path
    flags: Sequence[str]
    tune: Mapping[str, Sequence[str]] = field(default_factory=dict)
    race: bool = False  # then `seeds` are all that an arm may get
    jobs: int = 1  # at once on this machine
    cluster: ClusterSettings | None = None


@dataclass(frozen=True)
class Needs:
    """What a run takes, as far as that is known before it starts."""

    memory_bytes: int  # of the machine or, where there are cards, of its card
    num_cards: int = 0  # that are here for it
    card_bytes: int = 0  # that one of them has


@dataclass(frozen=True)
class Tuning:
    """What an arm is tuned over, with which seed, and the values of one of its runs."""

    grid: Mapping[str, Sequence[str]]
    seed: str
    values: dict[str, str]
    is_trial: bool

    def count_trials(self) -> int:
        """Of an arm: its budget."""
        return math.prod(map(len, self.grid.values()))


@dataclass(frozen=True)
class PlannedRun:
    """One run: the flags of run_distillation.py, the whole command, and where its student and its log go."""

    arm: str
    strategy: str
    seed: str
    folder: Path
    log: Path
    flags: list[str]
    command: list[str]
    state: str = OPEN
    tuning: Tuning | None = None
    needs: Needs | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def is_trial(self) -> bool:
        return self.tuning is not None and self.tuning.is_trial

    def describe(self) -> dict[str, Any]:
        """For JSON: what an executor elsewhere has to know. Of a waiting run only what is known."""
        known = {"command": self.command, "folder": str(self.folder), "log": str(self.log)}
        if self.state == WAITING:
            known = dict.fromkeys(known)
        described = known | {"state": self.state, "arm": self.arm, "strategy": self.strategy, "seed": int(self.seed)}
        if self.needs is not None:
            described["needs"] = {"memory_bytes": self.needs.memory_bytes, "cards": self.needs.num_cards}
        return described if self.tuning is None else described | {"tuning": self.describe_tuning()}

    def describe_tuning(self) -> dict[str, Any]:
        return {
            "grid": self.tuning.grid,
            "trials": self.tuning.count_trials(),
            "seed": int(self.tuning.seed),
            "is_trial": self.tuning.is_trial,
            "values": None if self.state == WAITING else self.tuning.values,
        }


def plan_runs(settings: SweepSettings, launch: Sequence[str]) -> list[PlannedRun]:
    """Seed by seed every strategy and its control, then the random draws; what is named twice is planned once.

    Args:
        launch: what starts a run: the launcher's words and the path of run_distillation.py.
    """
    return [plan_run(settings, launch, *arm) for arm in dict.fromkeys(list_arms(settings))]


def list_arms(settings: SweepSettings) -> list[tuple[str, str, str]]:
    """Strategy, seed, and what makes it a control, or nothing."""
    strategies = [*settings.strategies, *["scratch"] * settings.scratch]
    controls = ["", *[WITHOUT_TEACHER] * settings.without_teacher]
    arms = [(strategy, seed, control) for seed in settings.seeds for strategy in strategies for control in controls]
    first_seed = int(settings.seeds[0])
    counted = [str(first_seed + draw) for draw in range(settings.random)]
    draws = settings.seeds[: settings.random] if settings.race else counted  # a race compares them by seed
    return arms + [("random", seed, "") for seed in draws]


def count_draws(settings: SweepSettings) -> int:
    """The seeds of random layers, which may be among the strategies too."""
    return len({seed for strategy, seed, _ in list_arms(settings) if strategy == "random"})


def plan_run(
    settings: SweepSettings,
    launch: Sequence[str],
    strategy: str,
    seed: str,
    control: str,
    point: str = "",
    tuning: Tuning | None = None,
) -> PlannedRun:
    """One run; `point` is what tells it from others of its arm and seed, or from those that are not tuned."""
    name = f"{strategy}{control}{point}-seed{seed}"
    root = settings.output_root / TRIALS if tuning is not None and tuning.is_trial else settings.output_root
    folder, log = root / name, settings.output_root / "logs" / f"{name}.log"
    flags = [*settings.flags, *list_tuned_flags(tuning)]
    flags += ["--layer_strategy", strategy, "--seed", seed, "--output_dir", str(folder)]
    flags += TEACHER_OFF if control else ()
    command = [*launch, *flags]
    return PlannedRun(f"{strategy}{control}", strategy, seed, folder, log, flags, command, tuning=tuning)


def list_tuned_flags(tuning: Tuning | None) -> list[str]:
    """Its values, and for the record which flags were tuned."""
    if tuning is None or not tuning.values:
        return []
    return [*(f"--{name}={value}" for name, value in tuning.values.items()), f"--tuned_flags={','.join(tuning.values)}"]
