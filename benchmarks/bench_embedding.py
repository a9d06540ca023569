"""Seconds and quality of a sentence encoder cut to some layers: this project beside sentence-transformers' own recipe.

    python -m benchmarks.bench_embedding --teacher FOLDER --train_file texts.parquet --sentences 20000 \\
        --sts_file stsb/test.csv --retrieval_folder xquad_retrieval --student_layers 0,3,5 --seeds 42 43

From the repository's root. Both ways get the same texts, layers, epochs and rows per step, each in a process of its own
with everything counted: start-up, the teacher's vectors, training, saving. They take turns within a seed. The peer is
sentence-transformers' example of layer reduction: the teacher's vectors first, `MSELoss`, one epoch, 64 rows, 1e-4, a
tenth of warm-up; without its evaluations, which would only cost it seconds, and in float32 (its example asks for fp16,
which is of GPUs), or in bfloat16 (`sentence_transformers_bf16`). This project keeps its own defaults. What it is good
for is found outside of the timing, for both by sentence-transformers from the folder that was left: Spearman's
correlation on scored pairs, nDCG@10 and recall@10 on a retrieval set. The last line of the output is one JSON object.

This process imports neither torch nor the project: on Linux a child's peak memory begins at that of its parent.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench_sweep import ChildError, locate, read_json, read_last_line, run_child, show
from benchmarks.sweep_settings import ROOT

OURS, PEER, PEER_BF16 = "ours", "sentence_transformers", "sentence_transformers_bf16"
WAYS = (OURS, PEER, PEER_BF16)
DEFAULT_WAYS = (OURS, PEER)
SENTENCES, SETTINGS, SCORES = "sentences.txt", "settings.json", "scores.json"
TABLE_COLUMNS = ("seconds", "spearmanr", "ndcg_at_10", "recall_at_10")


@dataclass(frozen=True)
class EmbeddingSettings:
    """What both ways are given."""

    teacher: str
    train_file: str
    sts_file: str
    retrieval_folder: str | None
    student_layers: str
    sentences: int
    epochs: float
    batch_size: int
    evaluation_length: int


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = parse_arguments(argv)
    settings = EmbeddingSettings(**{name: vars(arguments)[name] for name in EmbeddingSettings.__dataclass_fields__})
    runs = [(way, seed) for seed in arguments.seeds for way in dict.fromkeys(arguments.ways)]
    try:
        if arguments.output_dir is None:
            with tempfile.TemporaryDirectory(prefix="bench_embedding-") as folder:
                report = run_benchmark(settings, runs, Path(folder), arguments.threads)
        else:
            report = run_benchmark(settings, runs, Path(arguments.output_dir).resolve(), arguments.threads)
    except (ValueError, ChildError) as error:
        print(f"bench_embedding.py: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    print(format_report(report))
    print(json.dumps(report))
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ends the process with status 2 where it is wrong."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--teacher", required=True, type=locate, help="A folder of sentence-transformers, or a plain encoder.")
    add("--train_file", required=True, type=locate, help="Texts, in a column text or one on a line.")
    add("--sts_file", required=True, type=locate, help="Two texts and a score.")
    add("--retrieval_folder", type=locate, help="BEIR's three files (default: none).")
    add("--student_layers", required=True, help="The teacher's layers that the student keeps, as 0,3,5.")
    add("--sentences", type=int, default=20_000, help="Draw this many texts.")
    add("--epochs", type=float, default=1.0)
    add("--batch_size", type=int, default=64, help="Training rows per step.")
    add("--evaluation_length", type=int, default=256, help="Tokens of a text that is scored.")
    add("--seeds", type=int, nargs="+", default=[42])
    add("--ways", nargs="+", default=list(DEFAULT_WAYS), choices=WAYS)
    add("--output_dir", help="Kept (default: a temporary folder, removed).")
    add("--threads", type=int, default=os.cpu_count(), help="OMP_NUM_THREADS of every way (default: all cores).")
    return parser.parse_args(argv)


# ---- the processes -----------------------------------------------------------------------------------------------


def run_benchmark(
    settings: EmbeddingSettings, runs: Sequence[tuple[str, int]], folder: Path, threads: int
) -> dict[str, Any]:
    """Draws the texts, trains by every way, scores, and returns the report.

    Raises:
        ValueError: the data cannot be meant so, or the folder holds something.
        ChildError: a way failed.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: give another --output_dir, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS).write_text(json.dumps(asdict(settings)), encoding="utf-8")
    run_helper(["prepare"], folder, threads)
    measured = []
    for number, (way, seed) in enumerate(runs, start=1):
        show(f"{number} of {len(runs)}: {way}, seed {seed}")
        measured.append(measure_run(way, seed, settings, folder, threads))
    run_helper(["score", *(run["name"] for run in measured)], folder, threads)
    return make_report(settings, measured, read_json(folder / SCORES))


def run_helper(words: list[str], folder: Path, threads: int) -> None:
    """A child outside the timing; its user errors are ours."""
    log = folder / "logs" / f"{words[0]}.log"
    status, _, _ = run_child([sys.executable, "-m", "benchmarks.embedding_peer", str(folder), *words], log, threads)
    if status == 2:
        raise ValueError(read_last_line(log))
    if status != 0:
        raise ChildError(f"{words[0]} ended with status {status}: {read_last_line(log)}")


def measure_run(way: str, seed: int, settings: EmbeddingSettings, folder: Path, threads: int) -> dict[str, Any]:
    name = f"{way}-seed{seed}"
    student, log, cache = folder / "students" / name, folder / "logs" / f"{name}.log", folder / "cache" / name
    load_before = os.getloadavg()[0]
    status, seconds, peak = run_child(make_command(way, seed, settings, folder, student, cache), log, threads)
    if status != 0:
        raise ChildError(f"{name} ended with status {status}: {read_last_line(log)}")
    for checkpoint in student.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    measured = {"seconds": seconds, "peak_memory_bytes": peak, "load_before": load_before}
    return {"name": name, "way": way, "seed": seed} | measured


def make_command(
    way: str, seed: int, settings: EmbeddingSettings, folder: Path, student: Path, cache: Path
) -> list[str]:
    """The teacher's vectors are found anew by every run of this project too: `cache` is its own."""
    if way != OURS:
        return [sys.executable, "-m", "benchmarks.embedding_peer", str(folder), "train", way, str(seed)]
    flags = {
        "task_type": "embedding",
        "teacher_model_name_or_path": settings.teacher,
        "train_file": folder / SENTENCES,
        "student_layers": settings.student_layers,
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": settings.batch_size,
        "seed": seed,
        "output_dir": student,
        "cache_dir": cache,
        "disable_tqdm": "true",
    }
    script = str(ROOT / "run_distillation.py")
    return [sys.executable, script, *(f"--{name}={value}" for name, value in flags.items())]


# ---- the report --------------------------------------------------------------------------------------------------


def make_report(settings: EmbeddingSettings, runs: list[dict[str, Any]], scores: dict[str, Any]) -> dict[str, Any]:
    """All that was measured; folders of this machine are cut down to their last two names."""
    shown = {
        name: "/".join(Path(value).parts[-2:]) if isinstance(value, str) else value
        for name, value in asdict(settings).items()
    }
    scored = [run | scores["runs"][run["name"]] for run in runs]
    summary = [summarize_way(way, scored) for way in dict.fromkeys(run["way"] for run in runs)]
    return {
        "benchmark": "embedding",
        "settings": shown,
        **{name: scores[name] for name in ("hardware", "versions", "teacher", "untrained", "differences")},
        "summary": summary,
        "runs": scored,
    }


def summarize_way(way: str, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, and the seconds over the peer's."""
    own = [run for run in runs if run["way"] == way]
    means = {name: sum(run[name] for run in own) / len(own) for name in TABLE_COLUMNS if name in own[0]}
    peer = [run["seconds"] for run in runs if run["way"] == PEER]
    ratio = means["seconds"] / (sum(peer) / len(peer)) if peer else None
    return {"way": way, "seeds": [run["seed"] for run in own], **means, "seconds_to_peer": ratio}


def format_report(report: dict[str, Any]) -> str:
    """A table of the ways, teacher and untrained cut above them, and what of ours is ahead."""
    columns = [name for name in TABLE_COLUMNS if name == "seconds" or name in report["teacher"]]
    models = [{"way": name, **report[name]} for name in ("teacher", "untrained")]
    lines = ["  ".join([f"{'':28}", *(f"{name:>12}" for name in columns)])]
    for row in [*models, *report["summary"]]:
        cells = [f"{row[name]:12.1f}" if name == "seconds" else f"{row[name]:12.4f}" for name in columns if name in row]
        lines.append("  ".join([f"{row['way']:28}", *([" " * 12] if "seconds" not in row else []), *cells]))
    for entry in report["differences"]:
        lines.append(
            f"{entry['metric']}, seed {entry['seed']}: {OURS} - {entry['peer']} {entry['difference']:+.4f} "
            f"[{entry['low']:+.4f}, {entry['high']:+.4f}]"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
