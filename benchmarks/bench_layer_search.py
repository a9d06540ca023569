"""How far the searched layers are from the best of all subsets, and what each search costs.

    python -m benchmarks.bench_layer_search --train_file train.csv --validation_file validation.csv \\
        --teacher_model_name_or_path FOLDER --student_num_layers 3

From the repository's root, with the flags of `run_distillation.py`; for a teacher of few layers, since every subset of
--student_num_layers layers is tried: KL(teacher || untrained student) on the calibration rows. A fixed strategy has a
rank among the subsets too. The last line of the output is one JSON object.
"""

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from layer_distillation.runs.arguments import parse_command_line
from layer_distillation.runs.console import set_up_logging
from layer_distillation.runs.preparation import load_tokenized_task, make_scorer
from layer_distillation.students.layer_plan import count_student_layers
from layer_distillation.students.layer_scores import SubsetScorer
from layer_distillation.students.layer_search import SEARCHED_STRATEGIES, Calibration
from layer_distillation.students.layer_similarity import iterate_batches, sample_rows
from layer_distillation.tasks.loading import fingerprint_task
from layer_distillation.teachers.loading import load_teacher_config, load_tokenizer, locate_teacher, prepare_teacher
from student_init import choose_student_layers, get_num_layers

FIXED_STRATEGIES = ("top", "bottom", "odd", "even", "spread", "ends")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    arguments = parse_command_line(sys.argv[1:] if argv is None else argv)
    set_up_logging(arguments.training)
    location = locate_teacher(arguments.teacher)
    config, tokenizer = load_teacher_config(location, arguments.teacher), load_tokenizer(location, arguments.teacher)
    data = load_tokenized_task(arguments, tokenizer, config)
    teacher = prepare_teacher(
        *(arguments.teacher, arguments.training, location, tokenizer, data, fingerprint_task(data)), make_scorer(data)
    )
    rows = sample_rows(data.train, arguments.student.calibration_rows, arguments.data.sample_seed)
    batches = list(iterate_batches(rows, tokenizer, arguments.training.device))
    calibration = Calibration(teacher.model.to(arguments.training.device), batches, data.outputs, True)
    report = compare_searches(calibration, count_student_layers(arguments, config), arguments.student.beam_width)
    print_table(report)
    print(json.dumps(report | {"task": data.name, "calibration_rows": len(rows)}))


def compare_searches(calibration: Calibration, count: int, beam_width: int) -> dict[str, Any]:
    """Layers, KL, rank among all subsets and processor seconds of every strategy, and the best subset there is."""
    num_layers = get_num_layers(calibration.teacher.config)
    fixed = choose_fixed_layers(num_layers, count)
    start = time.process_time()
    scorer = SubsetScorer(calibration.teacher, calibration.batches, calibration.outputs, True)
    subsets = list(itertools.combinations(range(num_layers), count))
    scores = dict(zip(subsets, scorer.score_subsets(subsets), strict=True))
    best = min(scores, key=scores.__getitem__)
    found = {"exhaustive": (best, time.process_time() - start)}
    for name, choose in SEARCHED_STRATEGIES.items():
        start = time.process_time()
        found[name] = tuple(choose(calibration, count, beam_width).layers), time.process_time() - start
    found |= {name: (layers, 0.0) for name, layers in fixed.items()}
    strategies = {
        name: {
            "layers": list(layers),
            "score": scores[layers],
            "rank": 1 + sum(score < scores[layers] for score in scores.values()),
            "seconds": seconds,
        }
        for name, (layers, seconds) in found.items()
    }
    return {"subsets": len(subsets), "beam_width": beam_width, "strategies": strategies}


def choose_fixed_layers(num_layers: int, count: int) -> dict[str, tuple[int, ...]]:
    """By name, for the strategies that have so many layers."""
    chosen = {}
    for name in FIXED_STRATEGIES:
        with contextlib.suppress(ValueError):  # `odd` has no more than half of them
            chosen[name] = tuple(choose_student_layers(name, num_layers, count))
    return chosen


def print_table(report: dict[str, Any]) -> None:
    print(f"| | layers | KL to the teacher, nats | rank of {report['subsets']} | processor seconds |")
    print("|---|---|---|---|---|")
    for name, row in report["strategies"].items():
        seconds = f"{row['seconds']:.1f}" if row["seconds"] else "-"
        print(f"| {name} | {' '.join(map(str, row['layers']))} | {row['score']:.4f} | {row['rank']} | {seconds} |")


if __name__ == "__main__":
    main()
