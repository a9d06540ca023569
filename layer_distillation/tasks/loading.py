"""The tasks a student can be distilled on: named ones, data sets of the Hub and the user's own files.

`load_task` brings each to one form: text columns under their own names, `labels` as the kind of the task has them (of
one label to a row int64 class index, -100 where there is none; float32 and nan in a regression) and `example_index`
(int64, the row's number within its split once sampled; unlabelled rows are counted on from the training rows).
Reading files is in `files`, telling columns and labels in `kinds/`, scoring in `metrics`.

Entry: `load_task`, `fingerprint_task`; between them `tokenizing.py`.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset, DatasetDict, Features, Value, load_dataset
from huggingface_hub import snapshot_download

from layer_distillation.records.suggestions import suggest_name
from layer_distillation.tasks import natural_logic
from layer_distillation.tasks.arguments import (
    ANSWER_FLAGS,
    BUILT_IN_TASK,
    DEFAULT_THRESHOLD,
    TASKS,
    DataArguments,
    name_task,
)
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.evaluation_sets import list_files, list_folders, parse_evaluation_files
from layer_distillation.tasks.files import RawSplit, first_line, read_data_file, read_dataset
from layer_distillation.tasks.kinds.entry import CLOSENESS_METRICS, LABELS, VECTOR, ReadTask, TaskKind
from layer_distillation.tasks.kinds.table import choose_kind
from layer_distillation.tasks.retrieval import RetrievalSet, read_retrieval
from layer_distillation.tasks.row_sampling import draw_split, warn_of_overlap
from layer_distillation.tasks.soft_labels import name_classes, take_soft_labels

logger = logging.getLogger(__name__)

TEST_AS_VALIDATION = "test_as_validation"
FINGERPRINT_BATCH_ROWS = 1000


def load_task(arguments: DataArguments, teacher_labels: Sequence[str] = ()) -> TaskData:
    """Read, check and sample the task; ValueError, one line, for whatever is wrong with the data.

    Args:
        teacher_labels: the names of the teacher's classes (a regression's one), which rows without any label need.
    """
    splits, soft_labels = take_soft_labels(read_splits(arguments), arguments)
    kind, spec = choose_kind(splits, arguments), TASKS.get(arguments.task_name or "")
    splits = splits if kind.arrange is None else kind.arrange(splits, arguments)
    names = name_classes(soft_labels) if soft_labels.columns else arguments.zero_shot_names or teacher_labels
    read = read_task(splits, arguments, kind, names)
    check_threshold(arguments, kind, read.label_names)
    check_answer_flags(arguments, kind)
    sampled = {name: sample_split(name, split.origin, read, kind, arguments) for name, split in splits.items()}
    warn_of_overlap("train", sampled["train"], sampled, read.text_columns)
    limits = {name: arguments.max_train_samples if name == "train" else arguments.max_eval_samples for name in splits}
    metric_names = choose_metrics(arguments.metrics, kind, read.label_names, spec.metrics if spec else ())
    if all(kind.is_missing(label) for columns in read.columns.values() for label in columns["labels"]):
        metric_names = (choose_closeness(arguments.metrics, kind.get_outputs(read.label_names)),)
    logger.info(
        "task %s: %s rows; text: %s; labels: %s",
        *(name_task(arguments), ", ".join(f"{len(split):,} {name}" for name, split in sampled.items())),
        *(", ".join(read.text_columns), describe_labels(read.label_names)),
    )
    return TaskData(
        name=name_task(arguments),
        train=sampled.pop("train"),
        test=sampled.pop("test", None),
        validation=sampled,
        text_columns=read.text_columns,
        label_names=read.label_names,
        metric_names=metric_names,
        dataset_name=spec.dataset if spec else arguments.dataset_name,
        dataset_config_name=spec.config if spec else arguments.dataset_config_name,
        kind=kind,
        features=read.features,
        decision_threshold=arguments.decision_threshold or DEFAULT_THRESHOLD,
        soft_labels=soft_labels.draw(limits, arguments.sample_seed),
        options=read.options,
        retrieval=read_retrieval_sets(arguments),
    )


def read_retrieval_sets(arguments: DataArguments) -> dict[str, RetrievalSet]:
    folders = list_folders(parse_evaluation_files(arguments.evaluation_files))
    return {name: read_retrieval(folder) for name, folder in folders.items()}


def describe_labels(label_names: list[str] | None) -> str:
    return "numbers" if label_names is None else ", ".join(label_names) or "none"


def read_task(
    splits: dict[str, RawSplit], arguments: DataArguments, kind: TaskKind, teacher_labels: Sequence[str]
) -> ReadTask:
    """The rows as their kind reads them.

    Raises:
        ValueError: soft labels or named classes of a kind that has no use for them.
    """
    if arguments.has_own_answers and not kind.takes_own_answers:
        flag = "--soft_label_columns" if arguments.soft_label_columns is not None else "--zero_shot_labels"
        raise ValueError(f"{flag} gives one label to a row, and this is a task of {kind.name}: leave it out.")
    return kind.read(splits, arguments, teacher_labels)


def check_threshold(arguments: DataArguments, kind: TaskKind, label_names: list[str] | None) -> None:
    if arguments.decision_threshold is not None and kind.get_outputs(label_names) != LABELS:
        raise ValueError(
            f"--decision_threshold {arguments.decision_threshold:g} on a task of {kind.name}, where the largest output "
            "decides: leave it out."
        )


def choose_closeness(requested: str | None, outputs: str) -> str:
    """What scores rows of which none has a gold label. ValueError where the user asks for what needs one."""
    if requested:
        raise ValueError(f"--metrics {requested} scores gold labels, and no row has one: leave it out.")
    return CLOSENESS_METRICS[outputs]


def check_answer_flags(arguments: DataArguments, kind: TaskKind) -> None:
    for name in ANSWER_FLAGS:
        if vars(arguments)[name] is not None and kind.answer_rows is None:
            raise ValueError(
                f"--{name} {vars(arguments)[name]} on a task of {kind.name}: it goes with --task_type "
                "question-answering, leave it out."
            )


def choose_metrics(
    requested: str | None, kind: TaskKind, label_names: list[str] | None, task_metrics: tuple[str, ...]
) -> tuple[str, ...]:
    """A named task's own metrics, then those of `--metrics`, then the default ones, each once: the first is the
    headline. ValueError for one that cannot score such labels."""
    asked = tuple(requested.split(",")) if requested else ()
    for name in asked:
        kind.check_metric(name, label_names)
    return tuple(dict.fromkeys((*task_metrics, *asked, *(task_metrics or kind.list_default_metrics(label_names)))))


def read_splits(arguments: DataArguments) -> dict[str, RawSplit]:
    """By name: "train", the validation sets, the selecting one first, and, where there is one, "test"."""
    if arguments.task_name == BUILT_IN_TASK:
        return read_built_in_corpus()
    if arguments.train_file is None:
        return read_hub_splits(arguments)
    files = {"train": arguments.train_file, "validation": arguments.validation_file, "test": arguments.test_file}
    sets = list_files(parse_evaluation_files(arguments.evaluation_files))
    return {name: read_data_file(path) for name, path in (files | sets).items() if path is not None}


def read_built_in_corpus() -> dict[str, RawSplit]:
    splits = {}
    for name, rows in natural_logic.generate_corpus().items():
        columns = {column: [row[column] for row in rows] for column in rows[0]}
        splits[name] = RawSplit(f"{BUILT_IN_TASK}, {name}", columns, {"label": list(natural_logic.LABEL_NAMES)})
    return splits


def read_hub_splits(arguments: DataArguments) -> dict[str, RawSplit]:
    spec = TASKS.get(arguments.task_name or "")
    name = spec.dataset if spec else arguments.dataset_name
    found = download_dataset(name, spec.config if spec else arguments.dataset_config_name)
    validation_names = spec.validation_splits if spec else [split for split in found if split.startswith("validation")]
    if arguments.validation_split is not None:
        others = [split for split in validation_names if split != arguments.validation_split]
        validation_names = [arguments.validation_split, *others]
    missing = [split for split in ("train", *validation_names) if split not in found]
    if missing or not validation_names:
        hint = suggest_name(missing[0], found) if missing else ""
        raise ValueError(
            f"{name} has the splits {list(found)}, needed are {['train', *(validation_names or ['validation'])]}: name "
            f"one that may choose the best epoch with --validation_split.{hint}"
        )
    splits = {split: read_dataset(found[split], f"{name}, {split}") for split in ("train", *validation_names)}
    if "test" in splits:  # Chosen by the user; its scores must not pass for those of an untouched test split.
        splits = {"train": splits.pop("train"), TEST_AS_VALIDATION: splits.pop("test"), **splits}
    test_name = spec.test_split if spec else "test"
    if test_name in found and test_name not in validation_names:
        splits["test"] = read_dataset(found[test_name], f"{name}, {test_name}")
    return splits


def download_dataset(name: str, config: str | None) -> DatasetDict:
    try:
        found = load_dataset(name, config)
        return found if (text := list_text_features(found)) is None else read_cells_as_text(name, config, text)
    except Exception as error:  # Its errors share no base: OSError, ValueError, RuntimeError, httpx's, its own.
        raise ValueError(
            f"The data set {name!r}, configuration {config!r}, did not load ({first_line(error)}): check both names "
            "and the network (with HF_HUB_OFFLINE=1 it must be cached), or give --train_file and --validation_file."
        ) from error


def read_cells_as_text(name: str, config: str | None, text: Features) -> DatasetDict:
    """The data set once more, from the files that loading it left in the Hub's cache: with `features`, `load_dataset`
    keeps what it reads under a name that it does not find again offline."""
    folder = name if Path(name).is_dir() else snapshot_download(name, repo_type="dataset", local_files_only=True)
    return load_dataset(folder, config, features=text)


def list_text_features(found: DatasetDict) -> Features | None:
    """All numbers as text, where the data set is of CSV files, of which `datasets` reads "01" as the number 1; None
    where there is nothing of the kind."""
    first = next(iter(found.values()))
    text = {name: Value("string") if isinstance(kind, Value) else kind for name, kind in first.features.items()}
    return Features(text) if first.info.builder_name == "csv" and text != dict(first.features) else None


def sample_split(name: str, origin: str, read: ReadTask, kind: TaskKind, arguments: DataArguments) -> Dataset:
    limit = arguments.max_train_samples if name == "train" else arguments.max_eval_samples
    sampled = draw_split(origin, read.columns[name], read.features, limit, arguments.sample_seed)
    is_unlabelled = [kind.is_missing(label) for label in sampled["labels"]]
    if any(is_unlabelled) and kind.get_outputs(read.label_names) != VECTOR:
        logger.info("%s: %d of %d rows have no label", origin, sum(is_unlabelled), len(sampled))
    if name == "train" and all(is_unlabelled) and not all(map(kind.is_missing, read.columns[name]["labels"])):
        raise ValueError(f"{origin}: none of {len(sampled)} sampled rows has a label: raise --max_train_samples.")
    return sampled


def fingerprint_task(tokenized: TaskData) -> str:
    """sha256 of label names, token ids and labels, train and validation: unlike `datasets`' own, equal everywhere."""
    digest = hashlib.sha256(json.dumps(tokenized.label_names).encode())
    for name, split in {"train": tokenized.train, **tokenized.validation}.items():
        digest.update(json.dumps([name, len(split)]).encode())
        for batch in split.select_columns(["input_ids", "labels"]).iter(FINGERPRINT_BATCH_ROWS):
            digest.update(json.dumps([batch["input_ids"], batch["labels"]]).encode())
    return digest.hexdigest()


def fingerprint_tokens(rows: Dataset) -> str:
    """sha256 of token ids, of rows that nothing learns from."""
    digest = hashlib.sha256()
    for batch in rows.select_columns(["input_ids"]).iter(FINGERPRINT_BATCH_ROWS):
        digest.update(json.dumps(batch["input_ids"]).encode())
    return digest.hexdigest()
