"""What to deploy for a task: teacher and students in PyTorch, ONNX and 8 bits, whole and trimmed, in one table.

    python -m benchmarks.deployment runs/deployment --data DATA --teacher ENCODER --tasks sick mrpc sst2 --layers 3 4
    python -m benchmarks.deployment runs/deployment --data DATA --tasks sick --tables_only

DATA has a folder of train.csv, validation.csv and test.csv for each task; the teacher of a task that has one is that of
recipes/teacher_TASK.yaml. Every student is a run of
run_distillation.py and then of export_student.py; both are left out where their result lies there, so the same command
goes on after an interruption. The teacher is fine-tuned, exported and scored once. Per task there are deployment.md and
deployment.png in FOLDER/TASK.

Exports are timed by turns within themselves, at different times of the machine; so every student's milliseconds are
given as if its own teacher in PyTorch had taken as long as the first student's.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from layer_distillation.comparison.plots import save_figure
from layer_distillation.export.figure import build_frontier
from layer_distillation.export.formats import PYTORCH
from layer_distillation.export.verdict import COSTS, find_frontier, get_quality, write_verdict
from layer_distillation.records.export_record import TEACHER, Artifact, ExportRecord, read_export_record
from layer_distillation.records.markdown_text import format_table

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "recipes"
FORMATS = "onnx,onnx-int8"
COLUMNS = ["", "{split} {metric} [95 %]", "MB", "ms, batch of 1", "ms, batch of 32", "on a frontier"]
# A strategy for each depth: the best of the four published ones on these tasks, and what spreads 4 of 6 layers.
STRATEGIES = {3: "even", 4: "spread"}
STUDENT_FLAGS = {"num_train_epochs": "3", "metric_for_best_model": "accuracy"}
TASK_FLAGS = {"mrpc": {"metrics": "accuracy,f1"}, "sick": {"num_train_epochs": "6"}}


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    for task in arguments.tasks:
        folder = arguments.folder / task
        if not arguments.tables_only:
            for layers in arguments.layers:
                for command in list_commands(task, layers, arguments):
                    print(shlex.join(command), flush=True)
                    subprocess.run(command, cwd=ROOT, check=True)
        write_table(folder, task)
        print((folder / "deployment.md").read_text(), flush=True)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--teacher", type=Path, help="An encoder, or a fine-tuned teacher.")
    parser.add_argument("--tasks", nargs="+", default=["sick", "mrpc", "sst2"])
    parser.add_argument("--layers", type=int, nargs="+", default=[3, 4])
    parser.add_argument("--cache_dir", default="~/.cache/layer_distillation")
    parser.add_argument("--timing_seconds", default="5")
    parser.add_argument("--flags", default="", help="Further flags of run_distillation.py, one string.")
    parser.add_argument("--tables_only", action="store_true", help="Of what lies in FOLDER; nothing is run.")
    arguments = parser.parse_args(argv)
    arguments.folder = arguments.folder.resolve()
    if not arguments.tables_only and None in (arguments.data, arguments.teacher):
        parser.error("give --data and --teacher, or --tables_only")
    return arguments


# ---- what is run -------------------------------------------------------------------------------------------------


def list_commands(task: str, layers: int, arguments: argparse.Namespace) -> Iterator[list[str]]:
    """The run of a student, which says by itself whether it is done; its export, unless it lies there."""
    strategy = STRATEGIES.get(layers, "spread")
    run = arguments.folder / task / f"{strategy}-{layers}"
    files = {f"{split}_file": arguments.data / task / f"{split}.csv" for split in ("train", "validation", "test")}
    flags = {
        "teacher_model_name_or_path": arguments.teacher,
        "layer_strategy": strategy,
        "student_num_layers": layers,
        "output_dir": run,
        "cache_dir": arguments.cache_dir,
        "disable_tqdm": "true",
    }
    flags = files | flags | STUDENT_FLAGS | TASK_FLAGS.get(task, {})
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    recipe = [str(path) for path in [RECIPES / f"teacher_{task}.yaml"] if path.exists()]
    yield [sys.executable, "run_distillation.py", *recipe, *words, *shlex.split(arguments.flags)]
    if not is_exported(run):
        options = ["--formats", FORMATS, "--trim_vocabulary", "--timing_seconds", arguments.timing_seconds]
        options += ["--cache_dir", arguments.cache_dir]
        yield [sys.executable, "export_student.py", str(run), *options]


def is_exported(run: Path) -> bool:
    """Whether the student that lies there was exported with its teacher: the record is one of its weights, or none."""
    record = read_export_record(run) if (run / "config.json").exists() else None
    return record is not None and record.find(TEACHER, FORMATS.split(",")[-1]) is not None


# ---- what it gives -----------------------------------------------------------------------------------------------


def write_table(folder: Path, task: str) -> None:
    """Raises ValueError where nothing was exported."""
    exports = {
        run.name: record
        for run in sorted(folder.iterdir())
        if run.is_dir() and is_exported(run)
        if (record := read_export_record(run)) is not None
    }
    if not exports:
        raise ValueError(f"{folder} holds no exported student: run this without --tables_only")
    merged = merge_exports(exports)
    (folder / "deployment.md").write_text(describe(merged, task), encoding="utf-8")
    save_figure(build_frontier(merged.artifacts, merged), folder / "deployment.png")


def merge_exports(exports: dict[str, ExportRecord]) -> ExportRecord:
    """All artifacts in one record: the teacher once, students by their runs' names, times as the first's teacher."""
    first = next(iter(exports.values()))
    measure = first.find(TEACHER, PYTORCH)
    merged = [made for made in first.artifacts if made.model == TEACHER]
    for name, export in exports.items():
        own = export.find(TEACHER, PYTORCH)
        merged += [scale(made, own, measure, name) for made in export.artifacts if made.model != TEACHER]
    return replace(first, artifacts=merged, verdict=[])


def scale(made: Artifact, own: Artifact, measure: Artifact, run: str) -> Artifact:
    """The artifact with the run in its name, and with the milliseconds that `measure`'s machine would have shown."""
    milliseconds = {
        threads: {
            rows: value * measure.milliseconds[threads][rows] / own.milliseconds[threads][rows]
            for rows, value in by_rows.items()
        }
        for threads, by_rows in made.milliseconds.items()
    }
    return replace(made, model=f"{made.model} {run}", milliseconds=milliseconds)


def describe(record: ExportRecord, task: str) -> str:
    split, metric = record.headline["split"], record.headline["metric"]
    quality = [find_frontier(record.artifacts, lambda made: get_quality(made, record), cost) for cost in COSTS.values()]
    rows = []
    for made in record.artifacts:
        low, high = made.intervals.get(split, {}).get(metric) or (float("nan"), float("nan"))
        frontiers = [name for name, frontier in zip(COSTS, quality, strict=True) if made in frontier]
        single, many, megabytes = (cost(made) for cost in COSTS.values())
        rows.append(
            [
                made.name,
                f"{get_quality(made, record):.4f} [{low:.4f}, {high:.4f}]",
                f"{megabytes:.1f}",
                f"{single:.2f}",
                f"{many:.1f}",
                ", ".join(frontiers) or "-",
            ]
        )
    header = [title.format(split=split, metric=metric) for title in COLUMNS]
    verdict = [f"- {line}" for line in write_verdict(record)]
    return "\n".join([f"# {task}", "", format_table(header, rows), "", *verdict, ""])


if __name__ == "__main__":
    main()
