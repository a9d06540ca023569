"""Extractive question answering: where in a context the answer to a question starts and ends, by SQuAD's rules.

A row is a question, its inputs are windows over the context (`answer_windows.py`), the items of a window are start and
end: distributions over the positions that are allowed. Answers and scores are of questions: the best of all windows
(`answer_decoding.py`, `squad_scores.py`).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from layer_distillation.tasks.kinds.answer_decoding import Decoding, Window, decode_answers
from layer_distillation.tasks.kinds.entry import CLASSES, LabelNames, RowAnswers, TaskKind, Truth
from layer_distillation.tasks.kinds.question_rows import (
    TITLE,
    is_missing,
    make_unlabelled,
    read,
    read_marks,
    read_texts,
    recognise,
)
from layer_distillation.tasks.kinds.questions import Answer, Question, flatten_squad
from layer_distillation.tasks.kinds.squad_scores import AnswerScores, score_answer
from layer_distillation.tasks.labels import IGNORED_LABEL
from layer_distillation.tasks.weighted_scores import Scorer

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

    from layer_distillation.records.run_record import RunRecord
    from layer_distillation.tasks.data import TaskData

METRICS = ("f1", "exact_match")
COLUMN_OF = {"exact_match": 0, "f1": 1}  # of `AnswerScores`
DEFAULT_MAX_LENGTH = 384  # of transformers' run_qa
FEWEST_ARTICLES = 20  # a bootstrap of fewer units makes intervals that are too narrow
LOWEST = -1e30  # at positions that are not allowed: no probability, also at a temperature below 1
ITEM_MASK = "item_mask"


# ---- tokens ------------------------------------------------------------------------------------------------------


def tokenize(
    rows: dict[str, list], data: "TaskData", tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> dict[str, list]:
    """Windows in place of rows; `row` says of which `example_index` each is."""
    from layer_distillation.tasks.kinds.answer_windows import (
        make_windows,  # transformers, which a comparison does without
    )

    texts = zip(*(rows[name] for name in data.text_columns), rows["labels"], strict=True)
    questions = [Question(question, context, read_marks(marks, context)) for question, context, marks in texts]
    options = data.options
    windows = make_windows(questions, tokenizer, max_length, options["doc_stride"], options["allows_null"])
    return windows.columns | {
        "labels": [list(label) for label in windows.labels],
        ITEM_MASK: [mask.astype(np.int64).tolist() for mask in windows.allowed],
        "offsets": [offsets.ravel().tolist() for offsets in windows.offsets],
        "null": windows.nulls,
        "row": [rows["example_index"][owner] for owner in windows.questions],
    }


def make_collator(tokenizer: "PreTrainedTokenizerBase") -> "DataCollatorWithPadding":
    from layer_distillation.tasks.collators import WindowCollator  # seconds that a comparison does without

    return WindowCollator(tokenizer)


# ---- items -------------------------------------------------------------------------------------------------------


def take_items(logits: Any, is_item: Any) -> Any:
    """(windows, tokens, 2) -> (2 * windows, tokens): starts and ends of a window, one after the other."""
    is_allowed = is_item[..., None] * 1.0  # of numpy and torch alike
    masked = logits * is_allowed + (1 - is_allowed) * LOWEST
    return masked.swapaxes(1, 2).reshape(-1, logits.shape[1])


def take_labels(labels: Any, is_item: Any) -> Any:
    return labels.reshape(-1)


def count_items(is_item: Any) -> Any:
    return is_item.sum() * 0 + 2 * len(is_item)


# ---- answers and scores ------------------------------------------------------------------------------------------


def answer_rows(data: "TaskData", split: str, logits: Sequence[np.ndarray]) -> RowAnswers:
    """Answers and scores of every question of a split.

    Args:
        logits: (tokens, 2) of every window, without padding.
    """
    windows, raw = dict(data.list_splits())[split], data.raw[split]
    contexts = raw[data.text_columns[1]][:]
    answers = decode_answers(contexts, list_windows(windows), logits, make_decoding(data.options))
    golds = [read_marks(marks, context) for marks, context in zip(raw["labels"][:], contexts, strict=True)]
    units, unit = number_units(raw[TITLE][:], contexts)
    score = partial(score_golds, allows_null=data.options["allows_null"])
    return RowAnswers(
        scores=np.array([score(*row) for row in zip(answers, golds, strict=True)], np.float32).reshape(-1, 2),
        answers=np.array(answers, dtype=str),
        labels=np.array([IGNORED_LABEL if gold is None else 1 for gold in golds]),
        units=units,
        unit=unit,
    )


def list_windows(rows: "Dataset") -> list[Window]:
    columns = zip(*(rows[name][:] for name in ("row", ITEM_MASK, "offsets", "null")), strict=True)
    return [
        Window(row, np.asarray(mask, bool), np.asarray(offsets).reshape(-1, 2), null)
        for row, mask, offsets, null in columns
    ]


def make_decoding(options: Mapping[str, Any]) -> Decoding:
    return Decoding(**{name: value for name, value in options.items() if name != "doc_stride"})


def score_golds(answer: str, golds: Sequence[Answer] | None, allows_null: bool) -> AnswerScores:
    return AnswerScores(0, 0) if golds is None else score_answer(answer, [gold.text for gold in golds], allows_null)


def number_units(titles: Sequence[str | None], contexts: Sequence[str]) -> tuple[np.ndarray, str]:
    """Of every question the number, and the name, of what it stands and falls with in a comparison: its article, where
    there are enough of them; else its context."""
    has_articles = None not in titles and len(set(titles)) >= FEWEST_ARTICLES
    numbers = np.unique(np.asarray(titles if has_articles else contexts, dtype=str), return_inverse=True)[1]
    return numbers, "articles" if has_articles else "contexts"


def check_metric(name: str, label_names: LabelNames) -> None:
    if name not in METRICS:
        raise ValueError(f"--metrics {name} cannot score answers: they have {' and '.join(METRICS)}; leave it out.")


def score(scores: np.ndarray, truth: Truth, metric_names: Sequence[str]) -> dict[str, float]:
    """scores: (questions, 2) of `AnswerScores`."""
    return {name: float(np.mean(scores[:, COLUMN_OF[name]], dtype=np.float64)) for name in metric_names}


def read_answers(scores: np.ndarray, metric_name: str, truth: Truth) -> np.ndarray:
    return scores[:, COLUMN_OF[metric_name]]


def average_answers(answers: np.ndarray, truth: Truth) -> Scorer:
    """The mean over questions, by the weights of their units; answers: (runs, questions)."""
    places, units = truth.place_units()
    sums = np.stack([np.bincount(places, own, units) for own in answers], axis=1).astype(np.float32)
    counts = np.bincount(places, minlength=units).astype(np.float32)
    return lambda weights: (weights @ sums) / (weights @ counts)[:, None]


def list_scorers(label_names: LabelNames) -> dict[str, Callable[[np.ndarray, Truth], Scorer]]:
    return dict.fromkeys(METRICS, average_answers)


# ---- words -------------------------------------------------------------------------------------------------------


def write_call(record: "RunRecord", location: str, options: str) -> str:
    return (
        "import torch\n"
        "from transformers import AutoModelForQuestionAnswering, AutoTokenizer\n"
        f"folder = {json.dumps(location, ensure_ascii=False)}\n"
        "model = AutoModelForQuestionAnswering.from_pretrained(folder)\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        f'inputs = tokenizer("the question", "the context", return_tensors="pt", {options})\n'
        "with torch.no_grad():\n"
        "    outputs = model(**inputs)\n"
        "start, end = outputs.start_logits.argmax(), outputs.end_logits.argmax()\n"
        'print(tokenizer.decode(inputs["input_ids"][0, start : end + 1]))'
        "\n# scored here is the best pair of start and end within the context, over windows where it is longer"
    )


QUESTION_ANSWERING = TaskKind(
    name="question-answering",
    auto_class="AutoModelForQuestionAnswering",
    head_suffix="ForQuestionAnswering",
    pipeline_tag="question-answering",
    unit="contexts or articles",
    recognise=recognise,
    read=read,
    read_texts=read_texts,
    tokenize=tokenize,
    make_collator=make_collator,
    is_missing=is_missing,
    make_unlabelled=make_unlabelled,
    find_present=lambda labels: {0, 1},
    move_label=lambda marks, places, num_classes: marks,
    get_outputs=lambda label_names: CLASSES,
    get_problem_type=lambda label_names: None,
    list_default_metrics=lambda label_names: METRICS,
    check_metric=check_metric,
    score=score,
    read_answers=read_answers,
    list_scorers=list_scorers,
    list_shown_beside=lambda label_names: METRICS,
    list_constants=lambda metric_name, answers, truth: {"nothing": np.zeros_like(answers)},
    compare_answers=lambda student, teacher, threshold: None,
    mark_right=lambda answers, truth: None,
    count_products=lambda metric_name, truth: 1,
    describe_answer=lambda labels: "the part of a context that answers a question",
    write_call=write_call,
    take_items=take_items,
    take_labels=take_labels,
    count_items=count_items,
    item_column=ITEM_MASK,
    has_fixed_outputs=True,
    has_label_lists=True,
    is_per_token=True,
    output_names=("start_logits", "end_logits"),
    answer_rows=answer_rows,
    default_max_length=DEFAULT_MAX_LENGTH,
    arrange_unlabelled=lambda split, arguments: flatten_squad(split),
)
