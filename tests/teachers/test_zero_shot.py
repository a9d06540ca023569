"""A model of natural language inference answers as transformers' zero-shot pipeline does, whichever output entails."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.special import softmax
from transformers import AutoTokenizer, pipeline

from layer_distillation.tasks.data import TaskData
from layer_distillation.teachers.answers import Answers, AnswerSupply
from layer_distillation.teachers.arguments import TeacherArguments
from layer_distillation.teachers.zero_shot import find_entailment, load_reader
from tiny_project import COLOURS, write_teacher

MNLI = ["contradiction", "neutral", "entailment"]
SENTENCES = ["the red ball is a cup", "a blue house", "the green car is not red and the door is a tree"]
TEMPLATE = "the ball is {}"


def make_task(texts: list[str], **columns: list[str]) -> TaskData:
    rows = Dataset.from_dict(
        {"text": texts, **columns, "labels": [-100] * len(texts), "example_index": range(len(texts))}
    )
    names = ("text", *columns)
    return TaskData("t", rows, {"validation": rows}, None, names, COLOURS, ("agreement",), None, None)


def load(folder, labels=MNLI, texts=None, template=TEMPLATE, max_length=32, arguments=None):
    write_teacher(folder, labels)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    arguments = arguments or TeacherArguments(str(folder))
    return load_reader(str(folder), arguments, tokenizer, texts or make_task(SENTENCES), COLOURS, template, max_length)


@pytest.mark.parametrize("labels", [MNLI, ["ENTAILMENT", "NEUTRAL", "CONTRADICTION"], ["not it", "entails"]])
def test_the_logits_are_those_of_the_pipeline(tmp_path, labels):
    reader = load(tmp_path / "nli", labels)
    arguments = TeacherArguments(str(tmp_path / "nli"), cache_dir=str(tmp_path / "cache"))
    answers = Answers("zero-shot", "all of it", None, "encoder", reader=reader)
    student = write_teacher(tmp_path / "student", COLOURS)
    tokenizer = AutoTokenizer.from_pretrained(student)
    data = make_task(SENTENCES).map_splits(lambda rows: rows.add_column("input_ids", tokenizer(SENTENCES)["input_ids"]))
    config = type(reader.model.config)(num_labels=3, hidden_size=16)
    supply = AnswerSupply(answers, config, arguments, torch.device("cpu"))
    logits = supply.get_evaluation_logits(data)["validation"]
    assert logits.shape == (3, 3)
    classify = pipeline("zero-shot-classification", model=str(tmp_path / "nli"), device="cpu")
    for row, found in enumerate(classify(SENTENCES, candidate_labels=COLOURS, hypothesis_template=TEMPLATE)):
        expected = [dict(zip(found["labels"], found["scores"], strict=True))[name] for name in COLOURS]
        np.testing.assert_allclose(softmax(logits[row]), expected, rtol=1e-5)
    answers.reader.model = None  # all of it is in the stores
    again = AnswerSupply(answers, config, arguments, torch.device("cpu")).choose_training_source(data.train)
    np.testing.assert_array_equal(again.logits, logits)


@pytest.mark.parametrize("labels", [["LABEL_0", "LABEL_1"], ["entailment", "entailed by"]])
def test_a_model_without_one_label_of_entailment_is_refused(tmp_path, labels):
    with pytest.raises(ValueError, match=r"one of whose labels is called entailment, and .*: give another"):
        load(tmp_path / "nli", labels)


def test_the_first_convention_and_the_last_are_told_by_name(tmp_path):
    found = [load(tmp_path / str(number), labels).model for number, labels in enumerate([MNLI, MNLI[::-1]])]
    assert [find_entailment(model.config, "x") for model in found] == [2, 0]


def test_long_texts_are_cut_and_sentences_never(tmp_path):
    reader = load(tmp_path / "nli", texts=make_task(["red " * 50]), max_length=8)
    lengths = {len(ids) for ids in reader.rows["train"]["input_ids"]}
    sentence = len(AutoTokenizer.from_pretrained(tmp_path / "nli")("the ball is red")["input_ids"])
    assert lengths == {8 + sentence}
    assert all(ids[-2] in range(5, 8) for ids in reader.rows["train"]["input_ids"])  # the colour, before [SEP]


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (
            {"texts": make_task(SENTENCES, other=SENTENCES)},
            "one text, and a row has text, other: name one by",
        ),
        ({"template": "red " * 70 + "{}"}, "has 7[0-9] tokens, and the teacher takes 64: write a shorter one"),
    ],
)
def test_what_it_cannot_read_is_refused(tmp_path, options, remedy):
    with pytest.raises(ValueError, match=remedy):
        load(tmp_path / "nli", **options)


def test_an_encoder_without_a_head_is_refused(tmp_path):
    folder = write_teacher(tmp_path / "nli", MNLI, has_head=False)
    config_file = folder / "config.json"
    config_file.write_text(config_file.read_text().replace("LABEL_1", "entailment"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with pytest.raises(ValueError, match=r"head of .*nli is not trained: give a model of natural language inference"):
        load_reader(str(folder), TeacherArguments(str(folder)), tokenizer, make_task(SENTENCES), COLOURS, TEMPLATE, 16)
