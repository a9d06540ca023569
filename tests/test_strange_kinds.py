"""Strangers' rows of every kind: read, or refused in one line before any training, through the whole command."""

import functools
import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from layer_distillation.tasks.loading import load_task
from layer_distillation.tasks.tokenizing import tokenize_task
from strange_inputs import Accepted, StrangeInput, check_outcome, make_flags, try_input

TAGS = {"tokens": ["the", "red", "ball"], "tags": ["O", "B-c", "B-n"]}
MORE_TAGS = {"tokens": ["a", "car"], "tags": ["O", "B-n"]}
LABELS = {"text": "the red ball", "labels": ["c", "n"]}
MORE_LABELS = {"text": "a car", "labels": ["n"]}
CONTEXT = "the ball is red and the car is blue"
QUESTION = {"question": "the ball", "context": CONTEXT, "answers": {"text": ["red"], "answer_start": [12]}}
CHOICE = {"question": "the ball", "choices": ["a red", "a blue"], "label": 0}


def write_rows(folder: Path, rows: list[dict] | str, file_name: str = "rows.jsonl", **flags: object) -> list[str]:
    path = folder / file_name
    path.write_text(rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows))
    return make_flags(folder, train_file=path, validation_file=path, **flags)


def refuse(name: str, remedy: str, rows: list[dict] | str, **options: object) -> StrangeInput:
    return StrangeInput(name, functools.partial(write_rows, rows=rows, **options), remedy)


def accept(name: str, check: object, rows: list[dict] | str, **options: object) -> StrangeInput:
    return StrangeInput(name, functools.partial(write_rows, rows=rows, **options), check=check)


def check_kind(kind: str, accepted: Accepted) -> str:
    assert accepted.run.data.kind.name == kind
    return kind


def check_lost_words(accepted: Accepted) -> str:
    """A row of 30 words and 16 tokens: 14 words are left, which are all that the metric knows."""
    data, flags = load_task(accepted.arguments.data), accepted.arguments
    tokenizer = AutoTokenizer.from_pretrained(flags.teacher.teacher_model_name_or_path)
    tokenized = tokenize_task(data, tokenizer, 16)
    assert sum(tokenized.train["item_mask"][0]) == 14
    assert len([label for label in tokenized.train["labels"][0] if label >= 0]) == 14
    facts = tokenized.text_facts["validation"]
    assert facts["lost_words"] == 16
    return "16 words fell off, which the metric does not know"


def check_null(accepted: Accepted) -> str:
    assert accepted.run.data.options["allows_null"]
    assert accepted.run.data.raw["train"]["labels"][:] == [[12, 15], []]
    return "version 2, one question without an answer"


def change(row: dict, **values: object) -> list[dict]:
    return [row, row | values]


def make_answers(text: str, start: object) -> dict:
    return {"text": [text], "answer_start": [start]}


SQUAD = {"data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": [{"question": "the ball", "id": "1"}]}]}]}
TOKENS = {"task_type": "token-classification"}
MULTI = {"task_type": "multi-label"}
ANSWERS = {"task_type": "question-answering", "doc_stride": 2}
CHOICES = {"task_type": "multiple-choice"}
FEW_ROOM = {"max_length": 16, "doc_stride": 14}
COLUMNS = {"label_columns": "c,n"}
TRAINED = {"allow_untrained_teacher": None}  # what nobody has trained is fine-tuned
NOTHING_TO_TRAIN_BY = "newly initialised, and no training row has a gold label to train it by"
MARKS = "text,c,n\nthe red ball,1,0\na car,0,1\n"

KIND_INPUTS = [
    # ---- tags ----
    accept("Tags by name", functools.partial(check_kind, "token-classification"), [TAGS, MORE_TAGS]),
    accept(
        "A row of 30 words for 16 tokens",
        check_lost_words,
        [TAGS | {"tokens": ["ball"] * 30, "tags": ["B-n", "O", "B-c"] * 10}, MORE_TAGS],
        max_length=16,
    ),
    refuse("Fewer tags than words", "has 3 words and 2 tags in 'tags'", change(TAGS, tags=["O", "O"])),
    refuse("More tags than words", "has 3 words and 4 tags in 'tags'", change(TAGS, tags=["O"] * 4)),
    refuse("A tag that is null", "give a list with a tag", change(TAGS, tags=["O", None, "O"])),
    refuse("A tag that is empty", "give a list with a tag", change(TAGS, tags=["O", "", "O"])),
    refuse("Tags that are a text", "give a list with a tag", change(TAGS, tags="O O O")),
    refuse("Words that are a text", "a list of words is needed", change(TAGS, tokens="the red ball"), **TOKENS),
    refuse("A word that is a number", "a list of words is needed", change(TAGS, tokens=["the", 1, "ball"]), **TOKENS),
    refuse("One tag for everything", "1 tags in 'tags'", [TAGS | {"tags": ["O"] * 3}]),
    refuse("No row with tags", NOTHING_TO_TRAIN_BY, [TAGS | {"tags": None}], **TOKENS | TRAINED),
    refuse("No column of tags", NOTHING_TO_TRAIN_BY, [{"tokens": ["a"]}], **TOKENS | TRAINED),
    refuse("Tags by another name", "none of the columns ner_tags", [{"tokens": ["a"], "entities": ["O"]}], **TOKENS),
    refuse("No column of words", "has none of the columns tokens", [{"tags": ["O"]}], **TOKENS),
    refuse("A tag file with three columns", "has 3 columns", "a\tx\tO\nb\tx\tB-c\n", file_name="rows.conll"),
    refuse("A tag file whose lines differ", r"line 2 has", "a O\nb\n", file_name="rows.conll"),
    refuse(
        "Entity F1 of parts of speech",
        "entity_f1 cannot score",
        [TAGS | {"tags": ["D", "A", "N"]}],
        metrics="entity_f1",
    ),
    refuse(
        "A list of tags in a CSV that is no JSON",
        "a list of words is needed|give a list with a tag",
        'tokens,tags\n"[""a""]","[O"\n',
        file_name="rows.csv",
        **TOKENS,
    ),
    # ---- several labels ----
    accept("Labels as lists", functools.partial(check_kind, "multi-label"), [LABELS, MORE_LABELS]),
    accept(
        "A row without any label",
        functools.partial(check_kind, "multi-label"),
        [LABELS, MORE_LABELS, LABELS | {"labels": []}],
    ),
    refuse(
        "A JSON cell that does not parse", "are no JSON", 'text,labels\na,"[""c"""\n', file_name="rows.csv", **MULTI
    ),
    refuse(
        "A label that is a number with a point", "a list of names or of whole", change(LABELS, labels=[0.5]), **MULTI
    ),
    refuse("A label without a name", "a label without a name", change(LABELS, labels=["c", " "])),
    refuse("One label only", "give rows of two at least", [LABELS | {"labels": ["c"]}], **MULTI),
    refuse("No labelled row", NOTHING_TO_TRAIN_BY, [LABELS | {"labels": None}], **MULTI | TRAINED),
    refuse(
        "A label column with 2 in it",
        "has .?2.? in the label column 'n'",
        MARKS + "x,0,2\n",
        file_name="rows.csv",
        **COLUMNS,
    ),
    refuse(
        "A label column with a name in it",
        "in the label column 'c'",
        MARKS + "x,yes,0\n",
        file_name="rows.csv",
        **COLUMNS,
    ),
    refuse("A label column with a gap", "in the label column 'n'", MARKS + "x,1,\n", file_name="rows.csv", **COLUMNS),
    refuse("A label column that is not there", "no column 'm'", MARKS, file_name="rows.csv", label_columns="c,m"),
    refuse("A single label column", "name two columns at least", MARKS, file_name="rows.csv", label_columns="c"),
    refuse("A threshold of 1", "decision_threshold", [LABELS, MORE_LABELS], decision_threshold=1),
    # ---- questions ----
    accept("SQuAD's flat form", functools.partial(check_kind, "question-answering"), [QUESTION], doc_stride=2),
    accept(
        "A question without an answer, said so",
        check_null,
        change(QUESTION, answers={"text": [], "answer_start": []}),
        version_2_with_negative=True,
        doc_stride=2,
    ),
    refuse(
        "An answer that is not at its offset",
        "is not at character 4",
        change(QUESTION, answers=make_answers("red", 4)),
        **ANSWERS,
    ),
    refuse(
        "An answer that is nowhere", "and nowhere else", change(QUESTION, answers=make_answers("green", 12)), **ANSWERS
    ),
    refuse(
        "An answer before the context",
        "is not at character -1",
        change(QUESTION, answers=make_answers("red", -1)),
        **ANSWERS,
    ),
    refuse(
        "A start that is a text",
        "give a text and a whole number",
        change(QUESTION, answers=make_answers("red", "12")),
        **ANSWERS,
    ),
    refuse("An empty answer", "an answer is empty", change(QUESTION, answers=make_answers("", 0)), **ANSWERS),
    refuse(
        "Empty answers in v1.1",
        "the question has no answer",
        change(QUESTION, answers={"text": [], "answer_start": []}),
        **ANSWERS,
    ),
    refuse(
        "More texts than starts",
        "as many starts as texts",
        change(QUESTION, answers={"text": ["red"], "answer_start": []}),
        **ANSWERS,
    ),
    refuse("Answers that are a text", "are no JSON", change(QUESTION, answers="red"), **ANSWERS),
    refuse("A context that is null", "has no text in 'context'", change(QUESTION, context=None), **ANSWERS),
    refuse("No column of answers", "has no answers", [{"question": "a", "context": "b"}], **ANSWERS),
    refuse("No answer anywhere", "has no answers", [QUESTION | {"answers": None}], **ANSWERS),
    refuse("SQuAD's JSON without answers", "has no answers", json.dumps(SQUAD), file_name="rows.json", **ANSWERS),
    refuse("Contexts shorter than the stride", "leaves .* for its context", [QUESTION], **ANSWERS | FEW_ROOM),
    refuse("A stride below 0", "doc_stride", [QUESTION], doc_stride=-1),
    refuse(
        "A threshold of no answer in v1.1",
        "goes with questions that have no",
        [QUESTION],
        null_score_diff_threshold=0.5,
        doc_stride=2,
    ),
    # ---- choices ----
    accept("Choices as lists", functools.partial(check_kind, "multiple-choice"), [CHOICE]),
    refuse("A single choice", "give a list of at least 2", change(CHOICE, choices=["a red"]), **CHOICES),
    refuse("Three choices after two", "give every row as many", change(CHOICE, choices=["a", "b", "c"])),
    refuse("A label beyond the choices", "there are 2 choices", change(CHOICE, label=2)),
    refuse("A label that is a word", "there are 2 choices", change(CHOICE, label="red")),
    refuse("No labelled choice", NOTHING_TO_TRAIN_BY, [CHOICE | {"label": None}], **CHOICES | TRAINED),
    refuse("A choice that is a number", "give a list of at least 2", change(CHOICE, choices=["a", 1])),
    # ---- flags of another kind ----
    refuse("A kind that does not exist", "task_type", [TAGS], task_type="token-clasification"),
    refuse("A stride for tags", "doc_stride", [TAGS, MORE_TAGS], doc_stride=2),
    refuse("Label columns for tags", "label_columns", [TAGS, MORE_TAGS], label_columns="c,n", **TOKENS),
    refuse(
        "Accuracy of answers", "--metrics accuracy cannot score answers", [QUESTION], metrics="accuracy", doc_stride=2
    ),
]


@pytest.mark.parametrize("case", KIND_INPUTS, ids=lambda case: case.name)
def test_strange_rows_of_every_kind_are_read_or_refused_in_one_line(case, tmp_path):
    check_outcome(case, try_input(case.write(tmp_path)))


def test_there_are_forty_refusals_at_least():
    assert sum(case.remedy is not None for case in KIND_INPUTS) >= 40
