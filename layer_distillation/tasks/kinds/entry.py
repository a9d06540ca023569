"""What an entry of `TASK_KINDS` gives: docs/ARCHITECTURE.md says how a kind is added.

An **item** is what the task's loss counts one of: a row, a labelled piece of a text. A row has one or several. Whatever
shape a model's logits have, those of items are (items, outputs).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from layer_distillation.tasks.weighted_scores import Scorer

if TYPE_CHECKING:
    from datasets import Features
    from transformers import DataCollatorWithPadding, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from layer_distillation.records.run_record import RunRecord
    from layer_distillation.tasks.arguments import DataArguments
    from layer_distillation.tasks.data import TaskData
    from layer_distillation.tasks.files import RawSplit

# What the outputs of an item are: one distribution over them all, a probability each, a number, or a vector whose
# direction is what counts. Their losses are in `losses/output_losses.py`, their exact scores in `tasks/metrics.py`.
CLASSES, LABELS, NUMBER, VECTOR = "classes", "labels", "number", "vector"
RELEVANCE = "relevance"  # a number that the task takes for the logit of a probability, and a teacher as it is
ONE_NUMBER = (NUMBER, RELEVANCE)
# By outputs what tells how near a student is to its teacher; of rows without a gold label the first chooses the epoch.
CLOSENESS = {
    **dict.fromkeys((CLASSES, LABELS), ("kl_to_teacher", "agreement")),
    **dict.fromkeys(ONE_NUMBER, ("mse_to_teacher", "pearson_to_teacher")),
    VECTOR: ("cosine_to_teacher", "spearman_to_teacher", "mse_to_teacher"),
}
# And what scores such rows.
CLOSENESS_METRICS = {
    **dict.fromkeys((CLASSES, LABELS), "agreement"),
    **dict.fromkeys(ONE_NUMBER, "pearson_to_teacher"),
    VECTOR: "cosine_to_teacher",
}
ITEM_MARKS = "item_marks"  # of predictions.npz: which tokens of all rows are items, where these are words
LOST_WORDS = "lost_words"  # a column while texts are tokenized: words of a row that have no piece of it left

LabelNames = Sequence[str] | None  # None: the task's answers are numbers


@dataclass(frozen=True)
class ReadTask:
    """A task's splits as a kind reads them: by split the columns, `labels` among them, each with a value for every row.

    `features` are the columns' types: "string", "int64", "float32", or in a list, ["string"].
    """

    text_columns: tuple[str, ...]
    label_names: list[str] | None
    columns: dict[str, dict[str, list]]
    features: dict[str, str | list[str]]
    options: dict[str, Any] = field(default_factory=dict)  # what else of the arguments the kind goes by


@dataclass(frozen=True)
class RowAnswers:
    """What a kind makes of a split's logits whose rows are several inputs.

    scores: (rows, ...), which its metrics are means of; answers: (rows,) of text; labels: (rows,), -100 where nobody
    says what is right; units: (rows,), which rows a comparison resamples together; unit: what these are, in the plural.
    """

    scores: np.ndarray
    answers: np.ndarray
    labels: np.ndarray
    units: np.ndarray
    unit: str


class UnfitTextError(ValueError):
    """A kind's own word on texts that its tokens cannot be made of."""


@dataclass(frozen=True)
class Truth:
    """The labelled items of one split, and the rows that they belong to.

    labels: (items,) class indices or numbers, or (items, outputs) of 0 and 1. row_items: (rows,), how many of these
    items each row has; None where every row is one item. threshold: the probability from which a label is given.
    """

    labels: np.ndarray
    label_names: LabelNames
    row_items: np.ndarray | None = None
    threshold: float = 0.5
    units: np.ndarray | None = None  # (items,), numbers of what is resampled in the rows' place

    @property
    def num_rows(self) -> int:
        """Of what is resampled."""
        if self.units is not None:
            return self.place_units()[1]
        return len(self.labels if self.row_items is None else self.row_items)

    def place_units(self) -> tuple[np.ndarray, int]:
        """Of every item the place of its unit among those that have any, and how many these are."""
        present, places = np.unique(self.units, return_inverse=True)
        return places, len(present)

    @property
    def num_outputs(self) -> int:
        return 1 if self.label_names is None else len(self.label_names)


def take_rows(values: Any, is_item: Any) -> Any:
    """Of a kind whose items are its rows: all of them."""
    return values


def count_marked(is_item: Any) -> Any:
    """Of a kind whose items are tokens."""
    return is_item.sum()


@dataclass(frozen=True)
class TaskKind:
    """One kind of task. A function that takes arrays takes numpy's; `take_items` and `take_labels` tensors too."""

    name: str  # as --task_type and a record have it
    auto_class: str  # of transformers: loads teacher and student
    head_suffix: str  # of the classes that it loads
    pipeline_tag: str
    unit: str  # what the comparison resamples, in the plural, as far as it is one thing for all data

    # ---- data ----
    recognise: Callable[["RawSplit", "DataArguments"], str | None]  # why training rows are of this kind, or None
    # Also with what the teacher calls its classes, for rows without any label; ValueError for what is wrong with them.
    read: Callable[[Mapping[str, "RawSplit"], "DataArguments", Sequence[str]], ReadTask]
    read_texts: Callable[["RawSplit", tuple[str, ...]], dict[str, list]]  # ValueError for what is no text
    # Of some rows what replaces their texts; the length None cuts nothing.
    tokenize: Callable[[dict[str, list], "TaskData", "PreTrainedTokenizerBase", int | None], dict[str, list]]
    make_collator: Callable[["PreTrainedTokenizerBase"], "DataCollatorWithPadding"]
    is_missing: Callable[[Any], bool]  # whether a row's `labels` are none
    make_unlabelled: Callable[[Mapping[str, list], LabelNames], list]  # `labels` of rows without any, from their texts
    find_present: Callable[[Sequence[Any]], set[int]]  # classes that `labels` of some rows have
    move_label: Callable[[Any, Mapping[int, int], int], Any]  # `labels` of a row, new places, number of classes

    # ---- outputs ----
    get_outputs: Callable[[LabelNames], str]  # CLASSES, LABELS, NUMBER, RELEVANCE or VECTOR
    get_problem_type: Callable[[LabelNames], str | None]  # of a config

    # ---- scores ----
    list_default_metrics: Callable[[LabelNames], tuple[str, ...]]  # the first is the headline
    check_metric: Callable[[str, LabelNames], None]  # ValueError where it cannot score such labels
    score: Callable[[np.ndarray, Truth, Sequence[str]], dict[str, float]]  # logits of items; names of metrics
    read_answers: Callable[[np.ndarray, str, Truth], np.ndarray]  # logits of items -> what the metric looks at
    # By name what makes a scorer of answers, (runs, items, ...).
    list_scorers: Callable[[LabelNames], Mapping[str, Callable[[np.ndarray, Truth], Scorer]]]
    list_shown_beside: Callable[[LabelNames], tuple[str, ...]]  # metrics that a comparison has, whatever was asked for
    list_constants: Callable[[str, np.ndarray, Truth], Mapping[str | None, np.ndarray]]  # answers that read no row
    # Whether two models' logits give the same answer, and which answers to accuracy are right, row by row; None where
    # that is a share of something else, for which rows give no interval.
    compare_answers: Callable[[np.ndarray, np.ndarray, float], np.ndarray | None]
    mark_right: Callable[[np.ndarray, Truth], np.ndarray | None]
    count_products: Callable[[str, Truth], float]  # what scoring one row costs, in multiplications

    # ---- words ----
    describe_answer: Callable[[str], str]  # of the labels, listed as a card shows them
    write_call: Callable[["RunRecord", str, str], str]  # lines that ask a model: the record, its place, the options

    # ---- items ----
    take_items: Callable[[Any, Any], Any] = take_rows  # a model's logits, where the items are -> (items, outputs)
    take_labels: Callable[[Any, Any], Any] = take_rows
    # Of rows that are not tokenized yet, by row what each item is whichever tokenizer cuts it, such as a word's number.
    # None where other tokens have other items.
    number_items: Callable[[dict[str, list], "TaskData", "PreTrainedTokenizerBase", int], list[list[int]]] | None = None
    count_items: Callable[[Any], Any] = count_marked  # from where they are
    item_column: str | None = None  # says where the items are, (tokens,) of 0 and 1; None: a row is an item
    takes_own_answers: bool = False  # of soft labels or of named classes, one to a row
    has_fixed_outputs: bool = False  # a trained head's outputs mean what the kind says, whatever its config calls them
    has_label_lists: bool = False  # `labels` of a row are a list
    default_max_length: int | None = None  # in the place of that of `tasks/arguments.py`
    # Of a kind whose rows are made several before they are tokenized: rows and their text columns -> those rows, and
    # the types of these.
    spread_rows: Callable[[dict[str, list], tuple[str, ...]], dict[str, list]] | None = None
    describe_spread: Callable[[tuple[str, ...]], "Features"] | None = None
    unit_column: str | None = None  # of tokenized rows: which of them a comparison resamples together
    # Of a kind whose rows are several inputs, windows over a long text: the data, a split, its logits without padding.
    answer_rows: Callable[["TaskData", str, Sequence[np.ndarray]], RowAnswers] | None = None
    number_in_words: str = "a number"  # what a card says that it answers, where labels have no names
    library_name: str = "transformers"  # of a card: what loads the student
    card_tags: tuple[str, ...] = ()
    is_cross_encoder: bool = False  # of sentence-transformers, whose section its config has
    is_per_token: bool = False  # logits are (batch, tokens, outputs), not (batch, outputs)
    has_choices: bool = False  # inputs are (batch, choices, tokens): a row is one for each of its choices
    output_names: tuple[str, ...] = ("logits",)  # of the model's own outputs what its logits are made of
    # The splits as `read` wants them, where that is not as files have them: some rows set apart, say.
    arrange: Callable[[Mapping[str, "RawSplit"], "DataArguments"], dict[str, "RawSplit"]] | None = None

    # Unlabelled rows with the columns of the training rows, where files have these in another form.
    arrange_unlabelled: Callable[["RawSplit", "DataArguments"], "RawSplit"] | None = None

    # ---- models of its own ----
    find_loader: Callable[[], type] | None = None  # in the place of the Auto class, with its methods
    save: Callable[["PreTrainedModel", Path], None] | None = None  # a student into its folder
    # What the teacher's folder says of how texts are read, into tokenizer and options; ValueError for what is wrong.
    read_teacher: Callable[..., dict[str, Any]] | None = None
    # Changes the tokenizer in place as the kind's texts need it; whether the model's head is trained.
    fit_tokenizer: Callable[["PreTrainedTokenizerBase", bool], None] | None = None
    place_head: Callable[["PreTrainedConfig"], str] | None = None  # a key of `losses/head_states.py: STATE_PLACES`
    default_settings: Mapping[str, float] = field(default_factory=dict)  # flags of the loss that nobody gave

    # ---- answers of its own ----
    # Closeness of two models' items, with the labels; and of a split what is kept of its items, by name.
    compare_models: Callable[[np.ndarray, np.ndarray, np.ndarray | None], dict[str, float]] | None = None
    keep_answers: Callable[[np.ndarray, np.ndarray | None, np.ndarray | None], dict[str, np.ndarray]] | None = None
    write_loading: Callable[[str], str] | None = None  # the lines that load a student from a folder
