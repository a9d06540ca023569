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
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers import DataCollatorForTokenClassification as TagCollator

from benchmarks.peers import EVALUATION_ROWS, make_loader, measure_accuracy, read_rows
from benchmarks.sweep_settings import METRICS, TAGS, Places, SweepSettings, make_project_flags, read_settings
from layer_distillation.losses.functions import IGNORED_LABEL
from layer_distillation.runs.arguments import parse_command_line
from layer_distillation.runs.facts import describe_hardware, list_versions
from layer_distillation.runs.preparation import load_tokenized_task, make_scorer, plan_layers
from layer_distillation.tasks.loading import TaskData, fingerprint_task
from layer_distillation.tasks.model_checks import get_auto_class
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
    if data.kind.name != settings.task_type:
        raise ValueError(
            f"{settings.train_file} is for {data.kind.name}: this benchmark has --task_type {' and '.join(METRICS)}"
        )
    if data.is_regression:
        raise ValueError(f"the labels of {settings.train_file} are numbers: this benchmark compares accuracies")
    if not data.has_labels(choose_scored_rows(data)):
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
    """Accuracy (of tags entity F1) and layers of the students and of the teacher, in float32, on the test rows or,
    without, validation; those that were scored before are not again."""
    tokenizer = AutoTokenizer.from_pretrained(places.teacher)
    data = read_rows(settings, tokenizer, with_test=True)
    rows, metric = choose_scored_rows(data), METRICS[settings.task_type]
    scores = json.loads(places.scores.read_text(encoding="utf-8")) if places.scores.exists() else {}
    for name in sorted({"teacher", *names} - scores.keys()):
        folder = places.teacher if name == "teacher" else places.students / name
        model = get_auto_class(data.kind).from_pretrained(folder)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        layers = None if name == "teacher" else model.config.distillation["student_layers"]
        scores[name] = {metric: measure(model.float().to(device), data, rows, tokenizer), "layers": layers}
    places.scores.write_text(json.dumps(scores), encoding="utf-8")


def measure(model: PreTrainedModel, data: TaskData, rows: Dataset, tokenizer: PreTrainedTokenizerBase) -> float:
    if data.kind.name == TAGS:
        return measure_entity_f1(model, data, rows, tokenizer)
    return measure_accuracy(model, make_loader(rows, tokenizer, EVALUATION_ROWS))


@torch.no_grad()
def measure_entity_f1(
    model: PreTrainedModel, data: TaskData, rows: Dataset, tokenizer: PreTrainedTokenizerBase
) -> float:
    """Of the labelled words of all rows at once; leaves the model in eval mode."""
    model.eval()
    inputs = rows.select_columns([*(set(tokenizer.model_input_names) & {*rows.column_names}), "labels"])
    logits, labels = [], []
    for batch in DataLoader(inputs, EVALUATION_ROWS, collate_fn=TagCollator(tokenizer)):
        is_labelled = batch["labels"] != IGNORED_LABEL
        own = {name: tensor.to(model.device) for name, tensor in batch.items() if name != "labels"}
        answered = model(**own).logits.cpu()
        for row in range(len(is_labelled)):
            logits.append(answered[row, is_labelled[row]])
            labels.append(batch["labels"][row, is_labelled[row]])
    padded = (pad_sequence(parts, batch_first=True, padding_value=IGNORED_LABEL).numpy() for parts in (logits, labels))
    return data.score(*padded)[METRICS[TAGS]]


def choose_scored_rows(data: TaskData) -> Dataset:
    return data.first_validation if data.test is None else data.test


ACTIONS: dict[str, Callable[[SweepSettings, Places, Sequence[str]], None]] = {
    "prepare": prepare,
    "score": score_students,
}

if __name__ == "__main__":
    sys.exit(main())
