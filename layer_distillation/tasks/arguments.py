"""Which data: the TASKS table and the command line's data arguments, checked before anything is read or downloaded.

Without torch, and without `datasets`.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from layer_distillation.records.suggestions import suggest_name
from layer_distillation.tasks.answer_flags import AnswerFlags
from layer_distillation.tasks.evaluation_sets import parse_evaluation_files
from layer_distillation.tasks.file_checks import check_data_file

BUILT_IN_TASK = "natural_logic"
BUILT_IN_MAX_LENGTH = 32  # positions of its teacher; no sentence pair is longer
# as `kinds.table.TASK_KINDS` has them
TASK_TYPES = (
    *("embedding", "question-answering", "multiple-choice", "token-classification", "reranking", "multi-label"),
    "text-classification",
)
ANSWER_FLAGS = (
    *("doc_stride", "version_2_with_negative", "null_score_diff_threshold", "n_best_size", "max_answer_length"),
)
LABEL_KINDS = ("classes", "numbers")
METRIC_NAMES = (  # as the entries of `kinds.table.TASK_KINDS` have them
    *("accuracy", "precision", "micro_precision", "macro_precision", "weighted_precision"),
    *("recall", "micro_recall", "macro_recall", "weighted_recall", "f1", "micro_f1", "macro_f1", "weighted_f1"),
    *("exact_match", "matthews_correlation", "roc_auc", "average_precision", "pearson", "spearmanr"),
    *("entity_f1", "entity_precision", "entity_recall"),
    *("strict_entity_f1", "strict_entity_precision", "strict_entity_recall"),
    "ndcg_at_10",
)
DEFAULT_MAX_LENGTH = 128
DEFAULT_THRESHOLD = 0.5
MIN_MAX_LENGTH = 8
MAX_NAME_CHARACTERS = 60  # of up to 4 bytes each: the name of a folder has at most 255


@dataclass(frozen=True)
class TaskSpec:
    """A task by name. The first validation split selects the best epoch, the first metric is the headline."""

    name: str
    dataset: str | None
    config: str | None
    text_columns: tuple[str, ...]
    metrics: tuple[str, ...]
    validation_splits: tuple[str, ...] = ("validation",)
    test_split: str = "test"
    is_regression: bool = False
    max_length: int = DEFAULT_MAX_LENGTH


def specify_glue(name: str, text_columns: tuple[str, ...], metrics: tuple[str, ...], **others) -> TaskSpec:
    return TaskSpec(name, "nyu-mll/glue", name, text_columns, metrics, **others)


PAIR = ("sentence1", "sentence2")
TASKS: dict[str, TaskSpec] = {
    BUILT_IN_TASK: TaskSpec(
        BUILT_IN_TASK,
        dataset=None,
        config=None,
        text_columns=("premise", "hypothesis"),
        metrics=("accuracy", "macro_f1"),
        max_length=BUILT_IN_MAX_LENGTH,
    ),
    "cola": specify_glue("cola", ("sentence",), ("matthews_correlation", "accuracy")),
    "sst2": specify_glue("sst2", ("sentence",), ("accuracy",)),
    "mrpc": specify_glue("mrpc", PAIR, ("accuracy", "f1")),
    "qqp": specify_glue("qqp", ("question1", "question2"), ("accuracy", "f1")),
    "stsb": specify_glue("stsb", PAIR, ("pearson", "spearmanr"), is_regression=True),
    "mnli": specify_glue(
        "mnli",
        ("premise", "hypothesis"),
        ("accuracy",),
        validation_splits=("validation_matched", "validation_mismatched"),
        test_split="test_matched",
    ),
    "qnli": specify_glue("qnli", ("question", "sentence"), ("accuracy",)),
    "rte": specify_glue("rte", PAIR, ("accuracy",)),
    "wnli": specify_glue("wnli", PAIR, ("accuracy",)),
}


class DefaultLength(int):
    """A number of tokens that nobody asked for: it is lowered where a model takes fewer."""


@dataclass
class DataArguments(AnswerFlags):
    """One source: --task_name, --dataset_name or --train_file with --validation_file; with none, the built-in task."""

    task_name: str | None = field(
        default=None, metadata={"help": f"A task by name; with no data named, {BUILT_IN_TASK}.", "choices": list(TASKS)}
    )
    dataset_name: str | None = field(default=None, metadata={"help": "A data set of the Hub, or a folder with one."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Its configuration, where it has several."})
    validation_split: str | None = field(
        default=None,
        metadata={
            "help": "The Hub split that chooses the best epoch (default: validation; mnli: validation_matched, "
            "while the published table has validation_mismatched). Other validation splits are evaluated too."
        },
    )
    train_file: str | None = field(
        default=None,
        metadata={
            "help": "Your rows: UTF-8 CSV, TSV, JSON, JSON lines or Parquet with named columns, CoNLL, or plain text "
            "(.txt, .txt.gz) with one on a line."
        },
    )
    validation_file: str | None = field(default=None, metadata={"help": "Like --train_file; chooses the best epoch."})
    test_file: str | None = field(default=None, metadata={"help": "Like --train_file; never chooses anything."})
    evaluation_files: str | None = field(
        default=None,
        metadata={
            "help": "What a sentence encoder is scored on too, as NAME=PATH,NAME=PATH: files of pairs with a score, "
            "folders of BEIR's corpus.jsonl, queries.jsonl and qrels.tsv; they choose nothing (embedding)."
        },
    )
    unlabeled_file: str | None = field(
        default=None,
        metadata={
            "help": "Text without labels, in a file like --train_file, for the student to train on too: it counts in "
            "every term but cross-entropy. Labels in it are ignored."
        },
    )
    text_columns: str | None = field(
        default=None, metadata={"help": "One text column, or two as a,b (default: found by name, or the only one)."}
    )
    label_column: str | None = field(
        default=None,
        metadata={
            "help": "The label column (default: label or labels); none: the training rows have no gold label, and the "
            "student learns from the teacher alone."
        },
    )
    label_columns: str | None = field(
        default=None,
        metadata={"help": "Of several labels to a row: a column for each, a,b,c, with 1 where a row has it, else 0."},
    )
    prompt_name: str | None = field(
        default=None,
        metadata={
            "help": "Which of the teacher's prompts stands before every text (default: its default_prompt_name; "
            "embedding)."
        },
    )
    label_kind: str | None = field(
        default=None,
        metadata={
            "help": "Whether labels are classes or numbers to regress on (default: numbers where one has a fraction).",
            "choices": list(LABEL_KINDS),
        },
    )
    task_type: str | None = field(
        default=None,
        metadata={
            "help": "What a row's labels are (default: told by the data, and said): token-classification, a tag per "
            "word; multi-label, any number of names; question-answering, an answer in a text; multiple-choice, which "
            "choice is right; reranking, how relevant a text is to a query; text-classification, one class or number; "
            "embedding, nothing: a text has the teacher's vector.",
            "choices": list(TASK_TYPES),
        },
    )
    decision_threshold: float | None = field(
        default=None,
        metadata={"help": f"The probability from which a label is given (default: {DEFAULT_THRESHOLD}; multi-label)."},
    )
    doc_stride: int | None = field(
        default=None,
        metadata={"help": "Tokens that two windows over a long context share (default: 128; question answering)."},
    )
    version_2_with_negative: bool | None = field(
        default=None,
        metadata={
            "help": "Some questions have no answer in their context, as in SQuAD v2 (default: where SQuAD's own JSON "
            "says so; question answering)."
        },
    )
    null_score_diff_threshold: float | None = field(
        default=None,
        metadata={
            "help": "No answer is given where its score is by more than this above the best answer's (default: 0; "
            "question answering with --version_2_with_negative)."
        },
    )
    n_best_size: int | None = field(
        default=None,
        metadata={"help": "Starts and ends of a window that are combined (default: 20; question answering)."},
    )
    max_answer_length: int | None = field(
        default=None, metadata={"help": "Tokens of an answer at most (default: 30; question answering)."}
    )
    metrics: str | None = field(
        default=None,
        metadata={
            "help": f"What else scores the rows, as a,b: some of {', '.join(METRIC_NAMES)}. Of own data the first one "
            "is the headline, before accuracy,macro_f1 (of numbers pearson,spearmanr); a named task has its own first."
        },
    )
    max_length: int | None = field(
        default=None,
        metadata={
            "help": f"Tokens per example, longer ones are cut (default: {DEFAULT_MAX_LENGTH}; {BUILT_IN_TASK}: "
            f"{BUILT_IN_MAX_LENGTH}; question answering: 384; embedding, reranking: 256; or what tokenizer and model "
            "take, where that is less)."
        },
    )
    max_train_samples: int | None = field(
        default=None, metadata={"help": "Draw this many training rows, at random (default: all)."}
    )
    max_eval_samples: int | None = field(
        default=None, metadata={"help": "Draw this many rows of each validation set and of test (default: all)."}
    )
    max_unlabeled_samples: int | None = field(
        default=None, metadata={"help": "Draw this many rows of --unlabeled_file (default: all)."}
    )
    recombined_pairs: int | None = field(
        default=None,
        metadata={
            "help": "So many pairs of near texts of the training rows, put together anew, join them without labels: "
            "the teacher answers (tasks with two texts to a row; two to four times as many as there are rows)."
        },
    )
    sample_seed: int = field(default=42, metadata={"help": "Seed of every draw: shuffle(seed).select(range(n))."})

    def __post_init__(self) -> None:
        if self.unlabeled_file == "":  # takes back the one that a recipe or an earlier flag names
            self.unlabeled_file = self.max_unlabeled_samples = None
        if self.recombined_pairs == 0:  # likewise
            self.recombined_pairs = None
        self.check_source()
        self.check_answers()
        self.check_dependent_arguments()
        self.check_values()
        if self.task_name is None and self.dataset_name is None and self.train_file is None:
            self.task_name = BUILT_IN_TASK
        if self.max_length is None:
            self.max_length = DefaultLength(TASKS[self.task_name].max_length if self.task_name else DEFAULT_MAX_LENGTH)

    def check_source(self) -> None:
        if self.task_name is not None and self.task_name not in TASKS:
            raise ValueError(
                f"Unknown --task_name {self.task_name!r}: choose from {', '.join(TASKS)}, or use --dataset_name or "
                f"--train_file.{suggest_name(self.task_name, TASKS)}"
            )
        sources = {name: vars(self)[name] for name in ("task_name", "dataset_name", "train_file")}
        given = [f"--{name} {value}" for name, value in sources.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"Got {' and '.join(given)}: name the data by one of them alone.")
        needs_both = self.task_type != "embedding"  # of which some training texts are set apart
        if (self.train_file is None) != (self.validation_file is None) and (needs_both or self.train_file is None):
            raise ValueError(
                f"Got --train_file {self.train_file} and --validation_file {self.validation_file}: give both."
            )
        files = {name: vars(self)[name] for name in ("train_file", "validation_file", "test_file", "unlabeled_file")}
        for name, path in files.items():
            if path is not None:
                check_data_file(f"--{name}", path)

    def check_dependent_arguments(self) -> None:
        has_own_columns = self.dataset_name is not None or self.train_file is not None
        is_from_hub = self.dataset_name is not None or self.task_name not in (None, BUILT_IN_TASK)
        requirements = {
            "test_file": (self.train_file is not None, "--train_file"),
            "max_unlabeled_samples": (self.unlabeled_file is not None, "--unlabeled_file"),
            "dataset_config_name": (self.dataset_name is not None, "--dataset_name"),
            "validation_split": (is_from_hub, "--dataset_name or a --task_name of the Hub"),
            "text_columns": (has_own_columns, "--dataset_name or --train_file"),
            "label_column": (has_own_columns, "--dataset_name or --train_file"),
            "label_kind": (has_own_columns, "--dataset_name or --train_file"),
            "label_columns": (has_own_columns, "--dataset_name or --train_file"),
            "task_type": (has_own_columns, "--dataset_name or --train_file"),
            "evaluation_files": (self.task_type == "embedding", "--task_type embedding"),
            "soft_label_columns": (has_own_columns, "--dataset_name or --train_file"),
            "zero_shot_labels": (has_own_columns, "--dataset_name or --train_file"),
        }
        for name, (is_met, needed) in requirements.items():
            if vars(self)[name] is not None and not is_met:
                raise ValueError(f"--{name} {vars(self)[name]} goes with {needed}: add that or drop --{name}.")
        if self.label_kind is not None and self.label_kind not in LABEL_KINDS:
            raise ValueError(f"Unknown --label_kind {self.label_kind!r}: choose from {', '.join(LABEL_KINDS)}.")
        self.check_kind()
        parse_evaluation_files(self.evaluation_files)
        if self.validation_split in ("train", ""):
            raise ValueError(f"--validation_split {self.validation_split!r}: choose by rows not trained on.")

    def check_kind(self) -> None:
        """Flags that are of one kind of task alone."""
        if self.task_type is not None and self.task_type not in TASK_TYPES:
            hint = suggest_name(self.task_type, TASK_TYPES)
            raise ValueError(f"Unknown --task_type {self.task_type!r}: choose from {', '.join(TASK_TYPES)}.{hint}")
        if self.label_columns is not None and self.label_column is not None:
            raise ValueError(
                f"Got --label_column {self.label_column} and --label_columns {self.label_columns}: give one of both."
            )
        owners = {"label_columns": "multi-label", "label_kind": "text-classification", "prompt_name": "embedding"}
        for name, kind in owners.items():
            if vars(self)[name] is not None and self.task_type not in (None, kind):
                raise ValueError(f"--{name} {vars(self)[name]} goes with --task_type {kind}: drop one of both.")

    def check_values(self) -> None:
        if self.decision_threshold is not None and not 0 < self.decision_threshold < 1:
            raise ValueError(f"--decision_threshold {self.decision_threshold:g}: give a probability between 0 and 1.")
        unknown = [name for name in (self.metrics or "accuracy").split(",") if name not in METRIC_NAMES]
        if unknown:
            hint = suggest_name(unknown[0], METRIC_NAMES)
            raise ValueError(f"Unknown --metrics {unknown[0]!r}: choose from {', '.join(METRIC_NAMES)}.{hint}")
        if self.max_length is not None and self.max_length < MIN_MAX_LENGTH:
            raise ValueError(f"--max_length {self.max_length} is too short: give at least {MIN_MAX_LENGTH} tokens.")
        if self.doc_stride is not None and self.doc_stride < 0:
            raise ValueError(f"--doc_stride {self.doc_stride}: give how many tokens two windows share, 0 or more.")
        for name in ("n_best_size", "max_answer_length"):
            if vars(self)[name] is not None and vars(self)[name] < 1:
                raise ValueError(f"--{name} {vars(self)[name]} leaves no answer: give at least 1.")
        if self.recombined_pairs is not None and self.recombined_pairs < 0:
            raise ValueError(f"--recombined_pairs {self.recombined_pairs}: give a number of pairs, or 0 for none.")
        for name in ("max_train_samples", "max_eval_samples", "max_unlabeled_samples"):
            value = vars(self)[name]
            if value is not None and value < 1:
                raise ValueError(f"--{name} {value} leaves nothing: give at least 1, or leave it out to use all rows.")


def name_task(arguments: DataArguments) -> str:
    """Fit for a folder: the task, the data set and its configuration, or the training file (train.*: its folder)."""
    if arguments.task_name is not None:
        return arguments.task_name
    if arguments.dataset_name is not None:
        parts = [Path(arguments.dataset_name).name, arguments.dataset_config_name]
        return clean_name("-".join(part for part in parts if part))
    file = Path(arguments.train_file).resolve()
    return clean_name(file.parent.name if file.stem.lower() == "train" else file.stem)


def clean_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)[:MAX_NAME_CHARACTERS].strip("-.") or "task"
