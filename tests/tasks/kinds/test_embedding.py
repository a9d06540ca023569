"""Texts and pairs of a sentence encoder's task: read, set apart, cut into inputs, scored."""

import csv
import gzip
import logging
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from transformers import AutoTokenizer

from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.kinds.embedding import EMBEDDING
from layer_distillation.tasks.kinds.entry import Truth
from layer_distillation.tasks.kinds.sentence_pairs import compare_vectors, keep_similarities
from layer_distillation.tasks.loading import load_task
from layer_distillation.tasks.tokenizing import tokenize_task
from layer_distillation.tasks.weighted_scores import score_spearman
from sentence_folders import make_texts
from tiny_project import write_tokenizer


def write_rows(path: Path, header: list[str], rows: list[list]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def load(folder: Path, train: str = "a red ball\nthe car\n\nblue\nthe door\n", **flags: object) -> TaskData:
    path = folder / "texts.txt"
    path.write_text(train, encoding="utf-8")
    return load_task(DataArguments(task_type="embedding", **{"train_file": str(path)} | flags))


def test_a_text_file_is_a_text_on_a_line(tmp_path):
    data = load(tmp_path)
    assert (data.kind.name, data.label_names, data.outputs) == ("embedding", [], "vector")
    held_out = data.first_validation["text"][:]
    assert sorted([*data.train["text"], *held_out]) == ["a red ball", "blue", "the car", "the door"]
    assert len(held_out) == 1
    assert data.is_scored_by_teacher
    assert data.metric_names == ("cosine_to_teacher",)


def test_a_packed_text_file_is_read_too(tmp_path):
    path = tmp_path / "texts.txt.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("one\u2028text\r\ntwo\n")
    data = load_task(DataArguments(task_type="embedding", train_file=str(path), validation_file=str(path)))
    assert data.train["text"][:] == ["one\u2028text", "two"]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"texts.txt.gz cannot be read"):
        load_task(DataArguments(task_type="embedding", train_file=str(path)))


def test_no_text_that_is_set_apart_stays_among_the_training_texts(tmp_path):
    texts = make_texts(60) * 2
    data = load(tmp_path, "\n".join(texts))
    held_out, trained = set(data.first_validation["text"]), set(data.train["text"])
    assert held_out
    assert not held_out & trained
    assert held_out | trained == set(texts)
    again, other = (load(tmp_path, "\n".join(texts), sample_seed=seed).first_validation["text"] for seed in (42, 7))
    assert set(again) == held_out
    assert set(other) != held_out


def test_every_column_of_text_gives_texts(tmp_path, caplog):
    rows = [["a car", "a cup", "1"], ["", "a ball", "2"], ["blue", "red", "0"]]
    path = write_rows(tmp_path / "pairs.csv", ["sentence1", "sentence2", "label"], rows)
    with caplog.at_level(logging.INFO):
        data = load(tmp_path, train_file=path, validation_file=path, label_column="none")
        assert data.train["text"][:] == ["a car", "a cup", "a ball", "blue", "red"]
        assert "1 of 6 texts are empty" in caplog.text
        load(tmp_path, train_file=write_rows(tmp_path / "whole.csv", ["text", "score"], [["a car", "1"], ["b", "2"]]))
    assert "the column 'score' is not read" in caplog.text


STS = [["a car", "a red car", "4.5"], ["the door", "a ball", "0"], ["blue", "red", "2"]]


def test_a_score_beside_two_texts_is_gold(tmp_path):
    test = write_rows(tmp_path / "sts.csv", ["sentence1", "sentence2", "score"], STS)
    data = load(tmp_path, test_file=test)
    assert data.test["labels"][:] == [4.5, 0.0, 2.0]
    assert data.metric_names == ("spearmanr", "pearson")
    assert data.is_scored_by_teacher  # the epoch is chosen on texts
    chosen = load(tmp_path, validation_file=test)
    assert not chosen.is_scored_by_teacher
    write_tokenizer(tmp_path / "tokenizer")
    tokenized = tokenize_task(data, AutoTokenizer.from_pretrained(tmp_path / "tokenizer"), 16)
    assert tokenized.test["labels"][:] == [4.5, 4.5, 0.0, 0.0, 2.0, 2.0]
    assert [len(ids) for ids in tokenized.test["input_ids"]] == [4, 5, 4, 4, 3, 3]
    assert tokenized.test["example_index"][:] == list(range(6))
    assert [tokenized.count_rows(name, rows) for name, rows in tokenized.list_splits()] == [3, 1, 3]


def test_a_set_keeps_its_scores_where_the_validation_files_are_not_wanted(tmp_path):
    path = write_rows(tmp_path / "sts.csv", ["sentence1", "sentence2", "score"], [["a", "b", 1], ["c", "d", 2]])
    data = load(tmp_path, validation_file=path, evaluation_files=f"sts={path}", label_column="none")
    assert data.is_scored_by_teacher
    assert data.validation["sts"]["labels"][:] == [1, 2]


def test_what_is_cut_is_said(tmp_path):
    write_tokenizer(tmp_path / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    texts = " ".join(["ball"] * 20) + "\ncar\n"
    data = tokenize_task(load(tmp_path, texts, validation_file=write_held_out(tmp_path)), tokenizer, 10)
    facts = data.text_facts["train"]
    assert (facts["rows"], facts["cut_rows"]) == (2, 1)
    assert facts["cut_token_share"] == pytest.approx(1 - 13 / 25)
    assert tokenizer.backend_tokenizer.truncation["max_length"] == 10


def write_held_out(folder: Path) -> str:
    path = folder / "held_out.txt"
    path.write_text("a cup\n", encoding="utf-8")
    return str(path)


def test_a_prompt_stands_before_every_text(tmp_path):
    write_tokenizer(tmp_path / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    data = load(tmp_path)
    data.options["prompt"] = "the red "
    ids = tokenize_task(data, tokenizer, 16).train["input_ids"][0]
    assert tokenizer.decode(ids).startswith("[CLS] the red ")


WRONG = {
    "data row 1 has the score 'high' in 'score': a number": [["x", "y", "high"], ["z", "y", "1"]],
    "data row 1 has no text in 'sentence2'": [["x", "", "1"], ["z", "y", "2"]],
    "has the score 1 in every row": [["x", "y", "1"], ["z", "y", "1"]],
}


@pytest.mark.parametrize("message", WRONG)
def test_pairs_that_cannot_be_scored_are_refused_by_row(tmp_path, message):
    path = write_rows(tmp_path / "sts.csv", ["sentence1", "sentence2", "score"], WRONG[message])
    with pytest.raises(ValueError, match=message):
        load(tmp_path, test_file=path)


def test_other_wrong_rows_are_refused(tmp_path):
    single = write_rows(tmp_path / "single.csv", ["text", "score"], [["a", "1"], ["b", "2"]])
    with pytest.raises(ValueError, match=r"beside 1 columns of text .text., and a score is of two"):
        load(tmp_path, test_file=single)
    with pytest.raises(ValueError, match="1 different texts: give two at least"):
        load(tmp_path, "a car\na car\n")
    with pytest.raises(ValueError, match="has no rows"):
        load(tmp_path, "\n\n \n")
    with pytest.raises(ValueError, match=r"--unlabeled_file .* put the texts into --train_file"):
        load(tmp_path, unlabeled_file=write_held_out(tmp_path))
    with pytest.raises(ValueError, match="--metrics f1 cannot score similarities"):
        load(tmp_path, metrics="f1", test_file=write_rows(tmp_path / "s.csv", ["sentence1", "sentence2", "score"], STS))


def test_scores_are_those_of_the_cosines_of_pairs():
    generator = np.random.default_rng(0)
    vectors, gold = generator.normal(size=(14, 5)), generator.normal(size=7)
    first, second = vectors[0::2], vectors[1::2]
    cosines = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    scores = EMBEDDING.score(vectors, Truth(np.repeat(gold, 2), []), ("spearmanr", "pearson"))
    assert scores["spearmanr"] == pytest.approx(spearmanr(cosines, gold).statistic)
    assert scores["pearson"] == pytest.approx(np.corrcoef(cosines, gold)[0, 1])


def test_closeness_to_the_teacher_by_hand():
    student, teacher = np.array([[1.0, 0], [0, 2], [1, 1]]), np.array([[2.0, 0], [0, 1], [1, 0]])
    found = compare_vectors(student, teacher, np.full(3, math.nan))
    assert found["cosine_to_teacher"] == pytest.approx((1 + 1 + math.sqrt(0.5)) / 3)
    assert found["mse_to_teacher"] == pytest.approx((1 + 1 + 1) / 3)
    ours, theirs = [0, math.sqrt(0.5), math.sqrt(0.5)], [0, 1, 0]
    assert found["spearman_to_teacher"] == pytest.approx(spearmanr(ours, theirs).statistic)
    assert compare_vectors(teacher, teacher, None)["spearman_to_teacher"] == pytest.approx(1)


def test_what_is_kept_of_a_split_is_small_and_is_what_was_scored():
    generator = np.random.default_rng(1)
    student, teacher, gold = generator.normal(size=(8, 5)), generator.normal(size=(8, 5)), generator.normal(size=4)
    kept = keep_similarities(student, teacher, np.repeat(gold, 2))
    assert {name: array.shape for name, array in kept.items()} == {
        "student_logits": (4, 1), "teacher_logits": (4, 1), "labels": (4,)
    }  # fmt: skip
    truth = Truth(kept["labels"], [])
    answers = EMBEDDING.read_answers(kept["student_logits"], "spearmanr", truth)
    scorer = EMBEDDING.list_scorers([])["spearmanr"](answers[None], truth)
    expected = EMBEDDING.score(student, Truth(np.repeat(gold, 2), []), ("spearmanr",))["spearmanr"]
    assert scorer(np.ones((1, 4)))[0, 0] == pytest.approx(expected)
    assert scorer(np.array([[2.0, 1, 1, 0]]))[0, 0] == pytest.approx(
        score_spearman(answers[None, [0, 0, 1, 2]], gold[[0, 0, 1, 2]])(np.ones((1, 4)))[0, 0]
    )
    texts = keep_similarities(student, teacher, np.full(8, math.nan))
    assert texts["labels"].shape == (8,)
    mean = compare_vectors(student, teacher, None)["cosine_to_teacher"]
    truth = Truth(texts["teacher_logits"][:, 0], [])
    answers = EMBEDDING.read_answers(texts["student_logits"], "cosine_to_teacher", truth)
    scorer = EMBEDDING.list_scorers([])["cosine_to_teacher"](answers[None], truth)
    assert scorer(np.ones((1, 8)))[0, 0] == pytest.approx(mean)
