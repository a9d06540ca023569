"""The plan of a sweep: which runs, in which order, with which flags, into which folders. Reads and starts nothing.

Entry: `plan_runs`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OPEN = "open"  # the other state is `finished`, as in a run's record
WITHOUT_TEACHER = "-without-teacher"
# The loss on the labels alone, whatever recipe and flags say before.
TEACHER_OFF = (
    *("--pkd_weight", "0", "--embedding_weight", "0", "--relation_weight", "0", "--rkd_weight", "0"),
    *("--intermediate_epochs", "0", "--schedules", "", "--unlabeled_file", ""),
    *("--kl_weight", "0", "--hidden_weight", "0", "--attention_weight", "0", "--logit_cosine_weight", "0"),
    *("--ce_weight", "1"),
)


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

    @property
    def name(self) -> str:
        return self.folder.name

    def describe(self) -> dict[str, Any]:
        """For JSON: what an executor elsewhere has to know."""
        places = {"folder": str(self.folder), "log": str(self.log)}
        return {"command": self.command, **places, "state": self.state} | {
            "arm": self.arm,
            "strategy": self.strategy,
            "seed": int(self.seed),
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
    return arms + [("random", str(first_seed + draw), "") for draw in range(settings.random)]


def plan_run(settings: SweepSettings, launch: Sequence[str], strategy: str, seed: str, control: str) -> PlannedRun:
    name = f"{strategy}{control}-seed{seed}"
    folder, log = settings.output_root / name, settings.output_root / "logs" / f"{name}.log"
    flags = [*settings.flags, "--layer_strategy", strategy, "--seed", seed, "--output_dir", str(folder)]
    flags += TEACHER_OFF if control else ()
    return PlannedRun(f"{strategy}{control}", strategy, seed, folder, log, flags, command=[*launch, *flags])
