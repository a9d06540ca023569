"""The tasks a student can be distilled on: named ones, data sets of the Hub and the user's own files.

`load_task` brings each to one form: text columns under their own names, `labels` (int64 class index, -100 where there
is none; float32 and nan in a regression) and `example_index` (int64, the row's number within its split once sampled;
unlabelled rows are counted on from the training rows).
Reading files is in `files`, telling texts in `columns` and kinds of labels in `labels`, scoring in `metrics`.

Entry: `load_task`, `fingerprint_task`; between them `tokenizing.py`.
"""

import hashlib
import json
import logging
from pathlib import Path

from datasets import Dataset, DatasetDict, Features, Value, load_dataset
from huggingface_hub import snapshot_download

from layer_distillation.tasks import natural_logic
from layer_distillation.tasks.arguments import BUILT_IN_TASK, TASKS, DataArguments, name_task
from layer_distillation.tasks.columns import (
    check_texts,
    count_empty_texts,
    find_label_column,
    find_text_columns,
    suggest_name,
)
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.files import RawSplit, first_line, read_data_file, read_dataset
from layer_distillation.tasks.labels import IGNORED_LABEL, encode_labels
from layer_distillation.tasks.metrics import BINARY_METRICS
from layer_distillation.tasks.row_sampling import draw_split, warn_of_overlap

logger = logging.getLogger(__name__)

CLASSIFICATION_METRICS = ("accuracy", "macro_f1")
REGRESSION_METRICS = ("pearson", "spearmanr")
RESERVED_COLUMNS = ("labels", "example_index")
TEST_AS_VALIDATION = "test_as_validation"
FINGERPRINT_BATCH_ROWS = 1000


def load_task(arguments: DataArguments) -> TaskData:
    """Read, check and sample the task; ValueError, one line, for whatever is wrong with the data."""
    splits = read_splits(arguments)
    spec = TASKS.get(arguments.task_name or "")
    label_column = "label" if spec else find_label_column(splits["train"], arguments.label_column)
    requested_texts = ",".join(spec.text_columns) if spec else arguments.text_columns
    text_columns = find_text_columns(splits["train"], label_column, requested_texts)
    check_text_columns(splits, text_columns)
    label_kind = "numbers" if spec and spec.is_regression else arguments.label_kind
    label_names, labels = encode_labels(splits, label_column, label_kind)
    sampled = {name: sample_split(name, split, text_columns, labels[name], arguments) for name, split in splits.items()}
    warn_of_overlap("train", sampled["train"], sampled, text_columns)
    metric_names = choose_metrics(arguments.metrics, label_names, spec.metrics if spec else ())
    logger.info(
        "task %s: %s rows; text: %s; labels: %s",
        *(name_task(arguments), ", ".join(f"{len(split):,} {name}" for name, split in sampled.items())),
        *(", ".join(text_columns), "numbers" if label_names is None else ", ".join(label_names)),
    )
    return TaskData(
        name=name_task(arguments),
        train=sampled.pop("train"),
        test=sampled.pop("test", None),
        validation=sampled,
        text_columns=text_columns,
        label_names=label_names,
        metric_names=metric_names,
        dataset_name=spec.dataset if spec else arguments.dataset_name,
        dataset_config_name=spec.config if spec else arguments.dataset_config_name,
    )


def choose_metrics(
    requested: str | None, label_names: list[str] | None, task_metrics: tuple[str, ...]
) -> tuple[str, ...]:
    """A named task's own metrics, then those of `--metrics`, then the default ones, each once: the first is the
    headline. ValueError for one that cannot score such labels."""
    is_regression = label_names is None
    asked = tuple(requested.split(",")) if requested else ()
    for name in asked:
        if (name in REGRESSION_METRICS) != is_regression:
            raise ValueError(
                f"--metrics {name} cannot score {'numbers' if is_regression else 'classes'}: leave it out."
            )
        if name in BINARY_METRICS and len(label_names) != 2:
            raise ValueError(f"--metrics {name} is of two classes, the labels are {label_names}: take macro_{name}.")
    defaults = task_metrics or (REGRESSION_METRICS if is_regression else CLASSIFICATION_METRICS)
    return tuple(dict.fromkeys((*task_metrics, *asked, *defaults)))


def read_splits(arguments: DataArguments) -> dict[str, RawSplit]:
    """By name: "train", the validation sets, the selecting one first, and, where there is one, "test"."""
    if arguments.task_name == BUILT_IN_TASK:
        return read_built_in_corpus()
    if arguments.train_file is None:
        return read_hub_splits(arguments)
    files = {"train": arguments.train_file, "validation": arguments.validation_file, "test": arguments.test_file}
    return {name: read_data_file(path) for name, path in files.items() if path is not None}


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


def check_text_columns(splits: dict[str, RawSplit], text_columns: tuple[str, ...]) -> None:
    if set(text_columns) & set(RESERVED_COLUMNS):
        raise ValueError(f"Text columns {text_columns}: {RESERVED_COLUMNS} are names of ours, rename the column.")
    for split in splits.values():
        check_texts(split, text_columns)
        if empty_texts := count_empty_texts(split, text_columns):
            logger.warning("%s: %d texts are empty", split.origin, empty_texts)


def sample_split(
    name: str, split: RawSplit, text_columns: tuple[str, ...], labels: list[int] | list[float], arguments: DataArguments
) -> Dataset:
    limit = arguments.max_train_samples if name == "train" else arguments.max_eval_samples
    sampled = draw_split(split, text_columns, labels, limit, arguments.sample_seed)
    is_unlabelled = [label == IGNORED_LABEL or label != label for label in sampled["labels"]]
    if any(is_unlabelled):
        logger.info("%s: %d of %d rows have no label", split.origin, sum(is_unlabelled), len(sampled))
    if name == "train" and all(is_unlabelled):
        raise ValueError(f"{split.origin}: none of {len(sampled)} sampled rows has a label: raise --max_train_samples.")
    return sampled


def fingerprint_task(tokenized: TaskData) -> str:
    """sha256 of label names, token ids and labels, train and validation: unlike `datasets`' own, equal everywhere."""
    digest = hashlib.sha256(json.dumps(tokenized.label_names).encode())
    for name, split in {"train": tokenized.train, **tokenized.validation}.items():
        digest.update(json.dumps([name, len(split)]).encode())
        for batch in split.select_columns(["input_ids", "labels"]).iter(FINGERPRINT_BATCH_ROWS):
            digest.update(json.dumps([batch["input_ids"], batch["labels"]]).encode())
    return digest.hexdigest()
