"""What the sweep benchmark does outside its timing: the teacher is prepared before, the students are scored after.

python -m benchmarks.untimed FOLDER prepare STRATEGY ...
python -m benchmarks.untimed FOLDER score RUN ...
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.peers import EVALUATION_ROWS, make_loader, measure_accuracy, read_rows
from benchmarks.sweep_settings import Places, SweepSettings, make_project_flags, read_settings
from layer_distillation.losses.functions import IGNORED_LABEL
from layer_distillation.runs.arguments import parse_command_line
from layer_distillation.runs.facts import describe_hardware, list_versions
from layer_distillation.runs.preparation import load_tokenized_task, make_scorer, plan_layers
from layer_distillation.tasks.loading import TaskData, fingerprint_task
from layer_distillation.teachers.loading import load_teacher_config, load_tokenizer, prepare_teacher


def main(argv: Sequence[str] | None = None) -> int:
    """Does what the second word says; returns the exit status, 2 where the user can mend it."""
    folder, action, *names = sys.argv[1:] if argv is None else argv
    places = Places(Path(folder))
    try:
        ACTIONS[action](read_settings(places), places, names)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def prepare(settings: SweepSettings, places: Places, strategies: Sequence[str]) -> None:
    """Checks what a user can get wrong, and leaves the teacher fine-tuned, its labels in the task's order.

    Raises:
        ValueError: a strategy, the data or the teacher cannot be meant so.
    """
    folders = ["--cache_dir", str(places.folder / "teacher_cache"), "--output_dir", str(places.folder / "unused")]
    for strategy in strategies:
        arguments = parse_command_line([*make_project_flags(settings, settings.teacher, strategy, seed=0), *folders])
        config = load_teacher_config(settings.teacher, arguments.teacher)
        plan_layers(arguments, config)
    tokenizer = load_tokenizer(settings.teacher, arguments.teacher)
    arguments.data.test_file = settings.test_file
    data = load_tokenized_task(arguments, tokenizer, config)
    if data.is_regression:
        raise ValueError(f"the labels of {settings.train_file} are numbers: this benchmark compares accuracies")
    if max(choose_scored_rows(data)["labels"]) == IGNORED_LABEL:
        raise ValueError("no row to be scored at the end has a label: give another --test_file, or none")
    teacher = prepare_teacher(
        *(arguments.teacher, arguments.training, settings.teacher, tokenizer, data, fingerprint_task(data)),
        make_scorer(data),
    )
    teacher.model.save_pretrained(places.teacher)
    tokenizer.save_pretrained(places.teacher)
    facts = {
        "hardware": describe_hardware(arguments.training.device),
        "versions": list_versions(),
        "rows": {split: len(rows) for split, rows in data.list_splits()},
        "strategies": list(strategies),
    }
    places.prepared.write_text(json.dumps(facts), encoding="utf-8")


def score_students(settings: SweepSettings, places: Places, names: Sequence[str]) -> None:
    """Accuracy and layers of the students and of the teacher, in float32, on the test rows or, without, validation;
    those that were scored before are not again."""
    tokenizer = AutoTokenizer.from_pretrained(places.teacher)
    data = read_rows(settings, tokenizer, with_test=True)
    batches = make_loader(choose_scored_rows(data), tokenizer, EVALUATION_ROWS)
    scores = json.loads(places.scores.read_text(encoding="utf-8")) if places.scores.exists() else {}
    for name in sorted({"teacher", *names} - scores.keys()):
        folder = places.teacher if name == "teacher" else places.students / name
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        layers = None if name == "teacher" else model.config.distillation["student_layers"]
        scores[name] = {"accuracy": measure_accuracy(model.float().to(device), batches), "layers": layers}
    places.scores.write_text(json.dumps(scores), encoding="utf-8")


def choose_scored_rows(data: TaskData) -> Dataset:
    return data.first_validation if data.test is None else data.test


ACTIONS: dict[str, Callable[[SweepSettings, Places, Sequence[str]], None]] = {
    "prepare": prepare,
    "score": score_students,
}

if __name__ == "__main__":
    sys.exit(main())
