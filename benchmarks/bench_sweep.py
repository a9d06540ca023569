"""Seconds, memory and accuracy of a sweep over layer strategies: this project beside what else one would write.

    python -m benchmarks.bench_sweep --teacher FOLDER --train_file train.csv --validation_file validation.csv \\
        --test_file test.csv --seeds 42 43

    python -m benchmarks.bench_sweep --task_type token-classification --teacher FINE_TUNED_TAGGER \\
        --train_file train.jsonl --validation_file validation.jsonl --test_file test.jsonl --epochs 5

From the repository's root. A sweep trains one student per strategy, each in a process of its own, with everything
counted: start-up, tokenization, the teacher's pass, its store, an evaluation per epoch, saving. The ways take turns
within a strategy, so that a machine that slows down slows all of them. This project's store lies in a folder new per
command and way, and so do the expert's logits: the first sweep pays for them, a second seed finds them. Not counted:
making the teacher, and the final scores, which one function computes for all. Each way keeps its own defaults in what
the flags do not name: this project and the expert take bfloat16 where the processor has it (--fp32 forbids it), this
project warms up, the others do neither. Memory is the peak resident set; that of a GPU is not in it. With --output_dir,
the same command goes on where it was interrupted. The last line of the output is one JSON object.

This process imports neither torch nor the project: on Linux a child's peak memory begins at that of its parent.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from benchmarks.sweep_report import Run, format_report, summarize_sweeps
from benchmarks.sweep_settings import (
    METRICS,
    PRECISION_NOTE,
    PROJECT_FLAGS,
    ROOT,
    TAGS,
    WAYS,
    WAYS_OF_TAGS,
    Key,
    Places,
    SweepSettings,
    make_command,
    name_run,
)

STRATEGIES = ("top", "bottom", "odd", "even")
BYTES_PER_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


class ChildError(Exception):
    """A child process failed; the message ends with its last line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = parse_arguments(argv)
    given = {field.name: vars(arguments)[field.name] for field in fields(SweepSettings) if field.name in arguments}
    settings = SweepSettings(**given)
    try:
        grid = list_runs(choose_ways(arguments), arguments.strategies, arguments.seeds)
        if arguments.output_dir is None:
            with tempfile.TemporaryDirectory(prefix="bench_sweep-") as folder:
                report = run_benchmark(settings, grid, Places(Path(folder)))
        else:
            report = run_benchmark(settings, grid, Places(Path(arguments.output_dir).resolve()))
    except (ValueError, ChildError) as error:
        print(f"bench_sweep.py: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    print(format_report(report))
    print(json.dumps(report))
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ends the process with status 2 where it is wrong."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--teacher", required=True, type=locate, help="A fine-tuned model; an untrained encoder is fine-tuned first.")
    add("--train_file", required=True, type=locate)
    add("--validation_file", required=True, type=locate, help="Evaluated after every epoch.")
    add("--test_file", type=locate, help="Scored at the end (default: the validation file).")
    add("--max_train_samples", type=int, help="Draw this many training rows (default: all).")
    add("--max_length", type=int, default=SweepSettings.max_length, help="Tokens per example.")
    add("--epochs", type=int, default=SweepSettings.epochs)
    add("--student_num_layers", type=int, help="Default: half of the teacher's.")
    add("--batch_size", type=int, default=SweepSettings.batch_size, help="Training rows per step.")
    add("--learning_rate", type=float, default=SweepSettings.learning_rate)
    add("--seeds", type=int, nargs="+", default=[42], help="One sweep each, one after the other.")
    add("--ways", nargs="+", choices=WAYS, help="Default: all; of tags those that train any head.")
    add("--task_type", default=SweepSettings.task_type, choices=METRICS, help="Of tags entity F1 is the score.")
    add("--strategies", nargs="+", default=list(STRATEGIES), help="Names of this project's layer strategies.")
    add("--output_dir", help="Kept, and gone on with (default: a temporary folder, removed).")
    add("--threads", type=int, default=os.cpu_count(), help="OMP_NUM_THREADS of every way (default: all cores).")
    add(
        "--fp32",
        action="store_true",
        help="Hold this project and the expert to float32 where they would take bfloat16.",
    )
    return parser.parse_args(argv)


def choose_ways(arguments: argparse.Namespace) -> list[str]:
    """Raises ValueError for a way that trains no tagger."""
    possible = WAYS_OF_TAGS if arguments.task_type == TAGS else WAYS
    if impossible := [way for way in arguments.ways or () if way not in possible]:
        raise ValueError(f"--ways {impossible[0]} trains no {arguments.task_type}: give some of {', '.join(possible)}")
    return arguments.ways or list(possible)


def locate(name: str) -> str:
    """The absolute path of what exists here; anything else, such as a name on the Hub, as it is."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def list_runs(ways: Sequence[str], strategies: Sequence[str], seeds: Sequence[int]) -> list[Key]:
    """(way, strategy, seed) in the order of the runs: all ways of a strategy, all strategies of a seed; no repeats."""
    return list(dict.fromkeys((way, strategy, seed) for seed in seeds for strategy in strategies for way in ways))


# ---- the processes -----------------------------------------------------------------------------------------------


def run_benchmark(settings: SweepSettings, grid: Sequence[Key], places: Places) -> dict[str, Any]:
    """Runs what is not done yet of the grid, scores the students, and returns the report.

    Raises:
        ValueError: the settings cannot be meant so, or the folder holds a benchmark with others.
        ChildError: a way failed.
    """
    open_folder(settings, places)
    strategies = dict.fromkeys(strategy for _, strategy, _ in grid)
    if strategies.keys() - read_json(places.prepared).get("strategies", []):
        show("preparing the teacher")
        run_helper(["prepare", *strategies], settings, places)
    done = read_runs(places)
    for number, key in enumerate(grid, start=1):
        if key not in done:
            show(f"{number} of {len(grid)}: {name_run(key)}")
            done[key] = measure_run(key, settings, places, done)
    names = [name_run(key) for key in grid]
    if set(names) - read_json(places.scores).keys():
        show("scoring the students")
        run_helper(["score", *names], settings, places)
    return make_report(settings, [done[key] for key in grid], places)


def open_folder(settings: SweepSettings, places: Places) -> None:
    """Writes the settings down; raises ValueError where the folder holds a benchmark with others that got going."""
    held, now = read_json(places.settings), asdict(settings)
    differing = [f"{name} {held.get(name)}, now {now[name]}" for name in now if held.get(name) != now[name]]
    if places.prepared.exists() and differing:
        raise ValueError(
            f"{places.folder} holds a benchmark with other settings ({'; '.join(differing)}): give another "
            "--output_dir, or remove it"
        )
    places.folder.mkdir(parents=True, exist_ok=True)
    places.settings.write_text(json.dumps(now), encoding="utf-8")


def run_helper(words: list[str], settings: SweepSettings, places: Places) -> None:
    """A child outside the timing; its user errors are ours."""
    log = places.get_log(words[0])
    command = [sys.executable, "-m", "benchmarks.untimed", str(places.folder), *words]
    status, _, _ = run_child(command, log, settings.threads)
    if status == 2:
        raise ValueError(read_last_line(log))
    if status != 0:
        raise ChildError(f"{words[0]} ended with status {status}: {read_last_line(log)}")


def measure_run(key: Key, settings: SweepSettings, places: Places, done: dict[Key, Run]) -> Run:
    """Trains one student in a process of its own, and keeps what it took as one more line of `runs.jsonl`."""
    way, strategy, seed = key
    student, cache, log = places.get_student(key), places.get_cache(way), places.get_log(name_run(key))
    shutil.rmtree(student, ignore_errors=True)  # half a run of an interrupted benchmark would be gone on with
    if all(other_way != way for other_way, _, _ in done):
        shutil.rmtree(cache, ignore_errors=True)  # and the store that it left would not be paid for
    load_before = os.getloadavg()[0]
    status, seconds, peak_memory_bytes = run_child(make_command(key, settings, places), log, settings.threads)
    if status != 0:
        raise ChildError(f"{name_run(key)} ended with status {status}: {read_last_line(log)}")
    run = {
        "way": way,
        "strategy": strategy,
        "seed": seed,
        "position": len(done) + 1,
        "seconds": seconds,
        "peak_memory_bytes": peak_memory_bytes,
        "stored_bytes": count_bytes(cache),
        "precision": read_precision(way, student),
        "load_before": load_before,
    }
    with places.runs.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps(run))  # in front: a line that a kill cut short then spoils no other
    for checkpoint in student.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    return run


def run_child(command: list[str], log: Path, threads: int) -> tuple[int, float, int]:
    """Runs a child to its end, its output in `log`: exit status, wall seconds, peak resident bytes."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    with log.open("wb") as output:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT, env=environment)
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            child.wait()
            raise
        seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)  # Popen cannot know that it was waited for
    return child.returncode, seconds, usage.ru_maxrss * BYTES_PER_MAXRSS_UNIT


def read_last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")


def read_runs(places: Places) -> dict[Key, Run]:
    """The finished runs; a last line cut short by a kill is none."""
    done = {}
    for line in places.runs.read_text(encoding="utf-8").splitlines() if places.runs.exists() else ():
        try:
            run = json.loads(line)
        except json.JSONDecodeError:
            continue
        done[run["way"], run["strategy"], run["seed"]] = run
    return done


def read_precision(way: str, student: Path) -> str:
    """What a run trained in: of this project by its own record, of the expert's by its note; others take float32."""
    if way in PROJECT_FLAGS:
        arguments = json.loads((student / "run_record.json").read_text(encoding="utf-8"))["arguments"]
        return next((name for name in ("bf16", "fp16") if arguments[name]), "fp32")
    return read_json(student / PRECISION_NOTE).get("precision", "fp32")


def read_json(path: Path) -> dict[str, Any]:
    """The file's object, empty where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def count_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def show(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def make_report(settings: SweepSettings, runs: list[Run], places: Places) -> dict[str, Any]:
    """All that was measured; folders of this machine are cut down to their last two names."""
    scores, metric = read_json(places.scores), METRICS[settings.task_type]
    scored = [run | scores[name_run((run["way"], run["strategy"], run["seed"]))] for run in runs]
    shown = {
        name: "/".join(Path(value).parts[-2:]) if isinstance(value, str) else value
        for name, value in asdict(settings).items()
    }
    return {
        "benchmark": "sweep",
        "settings": shown,
        **read_json(places.prepared),
        "scored_on": "validation" if settings.test_file is None else "test",
        f"teacher_{metric}": scores["teacher"][metric],
        "summary": list(summarize_sweeps(scored, metric)),
        "runs": scored,
    }


if __name__ == "__main__":
    sys.exit(main())
