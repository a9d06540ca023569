"""Windows cover every context, say where an answer may stand, and point to the right tokens, whatever the tokenizer."""

import random

import numpy as np
import pytest
from datasets import Dataset
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from layer_distillation.tasks.kinds.answer_windows import Windows, make_windows
from layer_distillation.tasks.kinds.question_answering import QUESTION_ANSWERING
from layer_distillation.tasks.kinds.questions import Answer, Question
from layer_distillation.tasks.kinds.squad_scores import split_words
from layer_distillation.tasks.tokenizing import check_reached
from made_tokenizers import KINDS, WORDS, wrap

NO_ANSWER_KNOWN = (-100, -100)


def make_tokenizer(kind: str = "WordLevel", **changes) -> PreTrainedTokenizerFast:
    tokenizer = wrap(KINDS[kind]())
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return tokenizer


def make_question(num_words: int, first: int, last: int, seed: int = 0) -> Question:
    """A context of words, whose words `first` to `last` are the answer."""
    words = random.Random(seed).choices(WORDS, k=num_words)
    start = len(" ".join([*words[:first], ""]))
    return Question("the cat sat", " ".join(words), (Answer(" ".join(words[first : last + 1]), start),))


def read_label(windows: Windows, window: int, question: Question) -> str:
    first, last = windows.labels[window]
    return question.context[windows.offsets[window][first, 0] : windows.offsets[window][last, 1]].strip()


@pytest.mark.parametrize("padding_side", ["right", "left"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_label_is_the_answer_and_every_token_of_a_context_is_in_a_window(kind, padding_side):
    tokenizer = make_tokenizer(kind, padding_side=padding_side)
    draw = random.Random(1)
    questions = [make_question(60, first := draw.randrange(57), first + draw.randrange(3), seed) for seed in range(20)]
    windows = make_windows(questions, tokenizer, max_length=48, doc_stride=20)
    assert len(windows.questions) > 30
    reached = set()
    for window, owner in enumerate(windows.questions):
        ids, null = windows.columns["input_ids"][window], windows.nulls[window]
        assert len(windows.allowed[window]) == len(ids) <= 48
        if windows.labels[window] != (null, null):
            assert split_words(read_label(windows, window, questions[owner])) == split_words(
                questions[owner].answers[0].text
            )
            reached.add(owner)
    assert reached == set(range(20))
    for owner, question in enumerate(questions):
        mine = [window for window, other in enumerate(windows.questions) if other == owner]
        seen = np.zeros(len(question.context), bool)
        for window in mine:
            positions = windows.allowed[window].copy()
            positions[windows.nulls[window]] = False
            for start, end in windows.offsets[window][positions]:
                seen[start:end] = True
        assert all(seen[index] for index, letter in enumerate(question.context) if letter != " ")


def test_positions_that_are_allowed_by_hand():
    tokenizer = make_tokenizer()  # [CLS] the cat sat [SEP] context [SEP]
    windows = make_windows([make_question(4, 1, 2)], tokenizer, 32, 4)
    assert windows.columns.keys() == {"input_ids", "attention_mask"}
    assert [list(map(int, allowed)) for allowed in windows.allowed] == [[0, 0, 0, 0, 0, 1, 1, 1, 1, 0]]
    assert windows.labels == [(6, 7)]
    [allowed] = make_windows([make_question(4, 1, 2)], tokenizer, 32, 4, allows_null=True).allowed
    assert allowed.astype(int).tolist() == [1, 0, 0, 0, 0, 1, 1, 1, 1, 0]


def test_token_types_come_where_the_tokenizer_gives_them():
    tokenizer = make_tokenizer(model_input_names=["input_ids", "token_type_ids", "attention_mask"])
    windows = make_windows([make_question(2, 0, 0)], tokenizer, 32, 4)
    assert windows.columns["token_type_ids"] == [[0, 0, 0, 0, 0, 1, 1, 1]]


def test_a_context_in_several_windows_may_point_to_null_in_v1_too():
    windows = make_windows([make_question(8, 0, 0)], make_tokenizer(), max_length=11, doc_stride=2)
    assert windows.labels == [(5, 5), (0, 0)]  # 5 words in a window, the second begins 2 words before its end
    assert [bool(allowed[0]) for allowed in windows.allowed] == [True, True]
    assert windows.questions == [0, 0]


def test_an_answer_on_a_border_counts_in_the_window_that_holds_all_of_it():
    windows = make_windows([make_question(8, 4, 5)], make_tokenizer(), max_length=11, doc_stride=2)
    assert windows.labels == [(0, 0), (6, 7)]


@pytest.mark.parametrize(("context", "answer"), [("cat sat ", "sat "), (" sat cat", " sat")])
def test_blanks_around_an_answer_at_the_end_of_its_context_are_no_part_of_it(context, answer):
    question = Question("the cat", context, (Answer(answer, context.index(answer)),))
    windows = make_windows([question], make_tokenizer(), 32, 4)
    assert read_label(windows, 0, question) == "sat"


def test_an_answer_that_no_window_holds_is_no_label_at_all():
    windows = make_windows([make_question(12, 1, 10)], make_tokenizer(), max_length=11, doc_stride=2)
    assert set(windows.labels) == {NO_ANSWER_KNOWN}


def test_rows_whose_answer_no_window_holds_are_counted_and_said(caplog):
    """A question without an answer (v2), and one that nobody answered, miss nothing."""
    rows = Dataset.from_dict({"example_index": [0, 1, 2, 3], "labels": [[0, 3], [4, 9], [], [-100]]})
    labels = [[2, 3], [0, 0], [-100, -100], [0, 0], [-100, -100]]
    windows = Dataset.from_dict({"row": [0, 0, 1, 2, 3], "labels": labels})
    check_reached("train", rows, windows, QUESTION_ANSWERING)
    assert "train: of 1 of 3 rows no window holds the answer whole" in caplog.text
    caplog.clear()
    check_reached("train", rows.select([0, 2, 3]), windows, QUESTION_ANSWERING)
    assert not caplog.text


def test_of_several_answers_the_first_that_the_window_holds_counts():
    one = make_question(8, 7, 7)
    both = Question(one.question, one.context, (one.answers[0], make_question(8, 0, 0).answers[0]))
    assert make_windows([both], make_tokenizer(), max_length=11, doc_stride=2).labels == [(5, 5), (9, 9)]


def test_a_question_without_an_answer_points_to_null_and_one_of_which_nobody_knows_to_nothing():
    question = make_question(4, 0, 0)
    for answers, label in (((), (0, 0)), (None, NO_ANSWER_KNOWN)):
        [found] = make_windows(
            [Question(question.question, question.context, answers)], make_tokenizer(), 32, 4, allows_null=True
        ).labels
        assert found == label


def test_a_tokenizer_without_cls_or_with_cls_last():
    tokenizer = make_tokenizer(padding_side="left")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [SEP] [CLS]",
        pair="$A [SEP] $B [SEP] [CLS]",
        special_tokens=[(name, tokenizer.convert_tokens_to_ids(name)) for name in ("[CLS]", "[SEP]")],
    )
    windows = make_windows([make_question(4, 1, 2)], tokenizer, 32, 4, allows_null=True)
    assert (windows.nulls, windows.labels) == ([9], [(1, 2)])
    assert windows.allowed[0].astype(int).tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0, 1]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B")
    windows = make_windows([make_question(4, 1, 2)], tokenizer, 32, 4, allows_null=True)
    assert (windows.nulls, windows.labels) == ([0], [(4, 5)])  # the question first: null is no answer
    assert windows.allowed[0].astype(int).tolist() == [1, 0, 0, 1, 1, 1, 1]


def test_a_context_shorter_than_the_stride_is_one_window_and_an_empty_one_has_no_position():
    windows = make_windows([make_question(2, 0, 0), Question("the cat", "", ())], make_tokenizer(), 32, 20, True)
    assert windows.questions == [0, 1]
    assert windows.allowed[1].astype(int).tolist() == [1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("max_length", "doc_stride", "message"),
    [
        (11, 5, "'the cat sat' has 3 tokens and leaves 5 of --max_length 11 .* share 5 .--doc_stride.: raise"),
        (8, 4, "leaves 2 of"),
        (5, 0, "leaves 0 of"),
    ],
)
def test_a_question_that_leaves_no_room_is_one_line(max_length, doc_stride, message):
    with pytest.raises(ValueError, match=message):
        make_windows([make_question(30, 0, 0)], make_tokenizer(), max_length, doc_stride)
