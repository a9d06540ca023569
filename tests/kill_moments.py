"""What the kill study starts, when it kills it, and what has to be the same afterwards."""

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layer_distillation.records.checkpoints import find_checkpoint
from layer_distillation.records.run_record import FINISHED, read_run_record
from tiny_project import make_project

ROOT = Path(__file__).resolve().parent.parent
RUN, LOOP = str(ROOT / "run_distillation.py"), str(ROOT / "run_all_strategies.sh")
# The stage of a moment, `kind name`: the first pattern that is found in it. What fits none is no moment of the study.
STAGES = {
    "corpus": r"generate_corpus",
    "built-in encoder": r"cache/encoders/.*(\.json|safetensors|rename)|^rename cache/encoders",
    "teacher: a step": r"training_step cache/teachers",
    "teacher: evaluation": r"evaluate cache/teachers",
    "teacher: checkpoint save": r"^write cache/teachers/.*checkpoint-",
    "teacher: checkpoint removal": r"^(remove|rmdir) cache/teachers",
    "teacher: kept": r"^(write|rename|mkdir) cache/teachers/\w+(\.exported|$)",
    "store": r"write_part|^(write|rename|remove) cache/teacher_outputs/(?!.*lock)",
    "untrained score": r"predict .* 0$",
    "first step": r"training_step .* 0$",
    "a later step": r"training_step",
    "evaluation": r"^call (evaluate|predict)",
    "checkpoint save": r"^write .*checkpoint-",
    "checkpoint removal": r"^(remove|rmdir) .*checkpoint-",
    "predictions": r"predictions\.npz",
    "record": r"run_record\.json",
    "comparison": r"analyse_unit|(write|rename) runs/comparison/(?!\.lock)",
    "export": r"^write .*(config|tokenizer|README|model)\b",
}
CLOCK = "any second"
UNCOMPARED = (".lock", ".log", ".md", ".csv")  # their contents hold times; what the tables hold is in comparison.json
TIMED = re.compile("second|runtime|memory|time|speed|utime")


@dataclass(frozen=True)
class Moment:
    """Where a start is killed: before a change or call, or after some seconds where `event` is empty."""

    stage: str
    event: str
    tears: bool = False
    seconds: float = 0.0


@dataclass
class Job:
    """A command, its environment, and what it did when it was left alone."""

    name: str
    root: Path
    command: list[str]
    environment: dict[str, str]
    events: list[str]
    contents: dict[str, Any]
    seconds: float


# ---- jobs and moments ------------------------------------------------------------------------------------------------


def make_run(root: Path, python: Path) -> list[str]:
    """A run on its own files whose teacher, an encoder without a head, is fine-tuned first."""
    options = ["--teacher_num_train_epochs=2", "--teacher_train_batch_size=8"]
    return [str(python), RUN, *make_project(root, has_head=False), *options]


def make_built_in_run(root: Path, python: Path) -> list[str]:
    root.mkdir()
    options = {"output_dir": root / "run", "cache_dir": root / "cache", "max_train_samples": 64}
    options |= {"max_eval_samples": 32, "teacher_num_train_epochs": 1, "num_train_epochs": 1}
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [str(python), RUN, *flags, "--use_cpu", "--disable_tqdm=true"]


def make_loop(root: Path, python: Path) -> list[str]:
    flags = [flag for flag in make_project(root, has_head=False) if not flag.startswith("--output_dir")]
    plan = ["--strategies", "top odd", "--seeds", "1", "--output_root", str(root / "runs")]
    return [LOOP, *plan, *flags, "--teacher_num_train_epochs=1"]


def make_loop_of_two(root: Path, python: Path) -> list[str]:
    """Its runs at work at the same time, with one teacher and its stores between them."""
    return [*make_loop(root, python), "--jobs", "2"]


JOBS = {"run": make_run, "built-in": make_built_in_run, "loop": make_loop, "two at once": make_loop_of_two}


def find_stage(event: str) -> str | None:
    return next((stage for stage, pattern in STAGES.items() if re.search(pattern, event)), None)


def draw_moments(job: Job, draw: random.Random, count: int, drawn: Counter) -> list[Moment]:
    """In the order of the job, from as many stages as there are, those first that were drawn from least."""
    stages: dict[str, list[str]] = {}
    for event in dict.fromkeys(job.events):
        stage = find_stage(event)
        if stage is not None:
            stages.setdefault(stage, []).append(event)
    names = sorted(stages, key=lambda stage: (drawn[stage], draw.random()))[:count]
    drawn.update(names)
    events = [(draw.choice(stages[stage]), stage) for stage in names]
    events.sort(key=lambda chosen: job.events.index(chosen[0]))
    return [Moment(stage, event, tears=event.startswith(("write ", "rename "))) for event, stage in events]


# ---- what is there -------------------------------------------------------------------------------------------------


def list_kept(root: Path) -> dict[str, int]:
    """Folder that trains or is filled -> the first step that is not kept yet; 10**9 where it is finished."""
    kept = {}
    for folder in root.glob("cache/*/*"):
        if folder.is_dir() and folder.suffix == "":
            kept[f"{folder.relative_to(root)}.unfinished"] = 10**9
    for folder in [*root.glob("cache/teachers/*.unfinished"), root / "run", *root.glob("runs/*-seed*")]:
        if (folder / "run_record.json").exists() and read_run_record(folder).status == FINISHED:
            kept[str(folder.relative_to(root))] = 10**9
        elif checkpoint := find_checkpoint(folder):
            kept.setdefault(str(folder.relative_to(root)), int(checkpoint.rsplit("-", 1)[1]))
    return kept


def find_repeats(kept: dict[str, int], events: Sequence[str]) -> list[str]:
    """Steps, and passes of the teacher, whose result was kept before this start."""
    steps = [re.fullmatch(r"call (?:training_step|write_part) (\S+) ?(\d*)", event) for event in events]
    return [step.group() for step in steps if step and int(step.group(2) or 0) < kept.get(step.group(1), 0)]


def read_contents(root: Path) -> dict[str, Any]:
    """Path -> what has to be the same after any number of kills: bytes, or JSON without times."""
    contents: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root)) + "/" * path.is_dir()
        if path.suffix == ".json":
            contents[name] = drop_times(json.loads(path.read_text(encoding="utf-8")))
        else:
            contents[name] = None if path.is_dir() or path.name.endswith(UNCOMPARED) else path.read_bytes()
    return contents


def drop_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: drop_times(entry) for name, entry in value.items() if not TIMED.search(name)}
    return [drop_times(entry) for entry in value] if isinstance(value, list) else value


def list_differences(whole: dict[str, Any], broken: dict[str, Any]) -> list[str]:
    lost = [f"{name} is missing" for name in whole.keys() - broken.keys()]
    stray = [f"{name} is left behind" for name in broken.keys() - whole.keys()]
    other = [f"{name} differs" for name in whole.keys() & broken.keys() if whole[name] != broken[name]]
    return sorted([*lost, *stray, *other])
