"""Pairs made anew of the training rows' texts: which, how many, in what order, and where there are none."""

import logging

import pytest
from datasets import Dataset

from layer_distillation.records.run_record import read_run_record
from layer_distillation.sweep.plan import TEACHER_OFF
from layer_distillation.tasks import transfer_set
from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.loading import TaskData, load_task
from layer_distillation.tasks.recombination import recombine_pairs
from layer_distillation.tasks.transfer_set import add_transfer_set
from run_distillation import main
from test_run_distillation import refuse, replace_flag
from tiny_project import make_project, write_csv

FIRST = ["a red cup stands", "the dog runs", "seven doors"]
SECOND = ["the red cup stands", "a dog is running", "seven doors are open"]


def test_each_first_text_comes_with_the_nearest_second_one_that_is_not_its_own():
    """By hand: of `a red cup stands` the nearest is its own; of the others `seven red cups` shares the most."""
    second = ["the red cup stands", "a dog is running", "seven red cups"]
    pairs = recombine_pairs(FIRST, second, count=3, seed=0)
    assert pairs[0] == ("a red cup stands", "seven red cups")
    assert {own for own, _ in pairs} == set(FIRST)
    assert not set(pairs) & set(zip(FIRST, second, strict=True))


def test_no_pair_is_given_twice_there_already_or_of_a_text_with_itself():
    first = ["one cup", "one cup", "two cups", "a door"]
    second = ["two cups", "a door", "one cup", "one cup"]
    pairs = recombine_pairs(first, second, count=100, seed=0)
    assert len(pairs) == len(set(pairs))
    assert not set(pairs) & set(zip(first, second, strict=True))
    assert all(left != right for left, right in pairs)
    assert set(pairs) == {("two cups", "a door"), ("a door", "two cups")}


def test_nearer_ones_come_first_and_the_last_round_is_drawn_by_the_seed():
    first = [f"the cup number {n}" for n in range(30)]
    second = [f"a cup of number {n}" for n in range(30)]
    whole = recombine_pairs(first, second, count=60, seed=1)
    one, two = (recombine_pairs(first, second, count=45, seed=seed) for seed in (1, 2))
    assert len(whole) == 60
    assert one[:30] == two[:30] == whole[:30]
    assert one[30:] != two[30:]
    assert set(one) < set(whole)
    assert recombine_pairs(first, second, count=45, seed=1) == one
    assert set(recombine_pairs(first, second, count=60, seed=1, left_out=whole[:20])).isdisjoint(whole[:20])


@pytest.mark.parametrize("texts", [["一只红色的杯子", "那只狗在跑", "七扇门"], ["a", "b", "c"], ["?", "!", "..."]])
def test_texts_of_any_script_are_paired(texts):
    assert len(recombine_pairs(texts, texts[::-1], count=2, seed=0)) == 2


def test_a_text_with_many_partners_and_one_with_few_still_make_as_many_pairs_as_are_asked_for():
    """Its own are the nearest ones of the first text, and the second text has to make up for what that one lacks."""
    first, second = ["q"] * 30 + ["p"], [f"q {number}" for number in range(30)] + ["q 1"]
    assert len(recombine_pairs(first, second, count=10, seed=0)) == 10
    pairs = recombine_pairs(first, second, count=1000, seed=0)
    assert set(pairs) == {("p", f"q {number}") for number in range(30) if number != 1}
    near = [f"near the red door {number}" for number in range(20)]
    pairs = recombine_pairs(["near the red door"] * 20 + ["a dog"], [*near, "a blue cup"], count=2, seed=0)
    assert {own for own, _ in pairs} == {"near the red door", "a dog"}


@pytest.mark.parametrize("rows", [([""], ["a"]), (["a"], [" "]), (["a"], ["b"]), (["a"] * 9, ["b"] * 9), ([""], [""])])
def test_empty_and_identical_texts_make_no_pair(rows):
    assert recombine_pairs(*rows, count=5, seed=0) == []


def test_an_empty_text_is_near_nothing():
    pairs = recombine_pairs(["a cup", "", " "], ["", "a door", "a tree"], count=50, seed=0)
    assert set(pairs) == {("a cup", "a door"), ("a cup", "a tree")}


def test_far_too_many_pairs_are_refused_before_they_are_made():
    first, second = ([f"{name} {number}" for number in range(300)] for name in ("cup", "door"))
    with pytest.raises(ValueError, match="--recombined_pairs would make 89,700 pairs of 300 rows: give at most 30,000"):
        recombine_pairs(first, second, count=10**12, seed=0)


# ---- a task's rows -----------------------------------------------------------------------------------------------


def write_pairs(path, labels=("yes", "no", "yes")) -> str:
    Dataset.from_dict({"first": FIRST, "second": SECOND, "label": list(labels)}).to_csv(path, index=False)
    return str(path)


def load(tmp_path, **arguments: object) -> TaskData:
    path = write_pairs(tmp_path / "train.csv", arguments.pop("labels", ("yes", "no", "yes")))
    given = DataArguments(train_file=path, validation_file=path, text_columns="first,second", **arguments)
    return add_transfer_set(load_task(given), given)


def test_the_pairs_come_after_all_other_rows_without_labels(tmp_path, caplog):
    extra = write_pairs(tmp_path / "extra.csv")
    with caplog.at_level(logging.INFO):
        data = load(tmp_path, recombined_pairs=4, unlabeled_file=extra)
    assert data.unlabelled["example_index"][:] == [3, 4, 5, 6, 7, 8, 9]
    assert data.unlabelled["labels"][:] == [-100] * 7
    made = list(zip(data.unlabelled["first"][3:], data.unlabelled["second"][3:], strict=True))
    assert made == recombine_pairs(FIRST, SECOND, 4, 42)
    assert len(data.train) == 3
    assert "4 pairs of the training rows' own texts join them, without labels" in caplog.text


def test_no_row_of_another_split_is_made(tmp_path):
    made = load(tmp_path, recombined_pairs=4).unlabelled
    test = tmp_path / "test.csv"
    Dataset.from_dict({"first": made["first"][:1], "second": made["second"][:1], "label": ["no"]}).to_csv(test)
    others = load(tmp_path, recombined_pairs=4, test_file=str(test)).unlabelled
    assert (made["first"][0], made["second"][0]) not in set(zip(others["first"][:], others["second"][:], strict=True))


def test_no_row_of_another_split_is_made_turned_round(tmp_path):
    made = load(tmp_path, recombined_pairs=4).unlabelled
    test = tmp_path / "test.csv"
    Dataset.from_dict({"first": made["second"][:1], "second": made["first"][:1], "label": ["no"]}).to_csv(test)
    others = load(tmp_path, recombined_pairs=4, test_file=str(test)).unlabelled
    assert (made["first"][0], made["second"][0]) not in set(zip(others["first"][:], others["second"][:], strict=True))


def test_of_many_rows_some_are_drawn_and_paired_anew(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(transfer_set, "MOST_PAIRED_ROWS", 2)
    with caplog.at_level(logging.INFO):
        data = load(tmp_path, recombined_pairs=2)
    assert set(data.unlabelled["first"][:]) < set(FIRST)
    assert "2 pairs of 2 of the training rows' own texts join them, without labels" in caplog.text


def test_of_a_regression_too_and_of_the_drawn_rows_alone(tmp_path):
    data = load(tmp_path, labels=(0.5, 1.5, 2.0), recombined_pairs=1, max_train_samples=2)
    assert set(data.unlabelled["first"][:]) <= set(data.train["first"][:])
    assert data.unlabelled["labels"][0] != data.unlabelled["labels"][0]  # nan


def test_rows_that_are_evaluated_and_those_of_the_file_are_not_made_again(tmp_path):
    train, extra = (write_pairs(tmp_path / f"{name}.csv") for name in ("train", "extra"))
    rows = {"validation": (FIRST[0], SECOND[1]), "test": (FIRST[0], SECOND[2])}
    files = {f"{name}_file": str(tmp_path / f"{name}.csv") for name in rows}
    for name, (left, right) in rows.items():
        Dataset.from_dict({"first": [left], "second": [right], "label": ["no"]}).to_csv(
            files[f"{name}_file"], index=False
        )
    Dataset.from_dict({"first": FIRST[1:2], "second": SECOND[:1]}).to_csv(extra, index=False)
    given = DataArguments(
        train_file=train, **files, unlabeled_file=extra, recombined_pairs=100, text_columns="first,second"
    )
    data = add_transfer_set(load_task(given), given)
    made = list(zip(data.unlabelled["first"][1:], data.unlabelled["second"][1:], strict=True))
    assert set(made) == {(FIRST[1], SECOND[2]), (FIRST[2], SECOND[0]), (FIRST[2], SECOND[1])}


def test_fewer_than_asked_for_is_said(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        data = load(tmp_path, recombined_pairs=5000)
    assert len(data.unlabelled) == 6
    assert "6 pairs of the training rows' own texts join them" in caplog.text
    assert "all that there are and fewer than the 5,000 asked for" in caplog.text


def test_none_takes_back_what_a_recipe_says():
    assert DataArguments(recombined_pairs=0) == DataArguments()
    assert TEACHER_OFF[TEACHER_OFF.index("--recombined_pairs") + 1] == "0"


def test_one_text_makes_no_pair(tmp_path):
    path = str(write_csv(tmp_path / "train.csv", 12, 0))
    arguments = DataArguments(train_file=path, validation_file=path, recombined_pairs=5)
    with pytest.raises(ValueError, match=r"--recombined_pairs 5 .* this is text-classification of text: leave it out"):
        add_transfer_set(load_task(arguments), arguments)
    with pytest.raises(ValueError, match="--recombined_pairs -1: give a number of pairs"):
        DataArguments(recombined_pairs=-1)


def test_a_loss_of_labels_alone_refuses_them_before_anything_is_loaded(tmp_path, capsys):
    flags = [*make_project(tmp_path), "--recombined_pairs=5", *("--kl_weight=0", "--ce_weight=1")]
    line = refuse(capsys, [*flags, "--hidden_weight=0", "--pkd_weight=0"])
    assert "drop --recombined_pairs" in line


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--task_name=sst2"], "text-classification of sentence: leave it out, or give 0"),
        (["--text_columns=text"], "text-classification of text: leave it out"),
        (["--task_type=token-classification"], "this is token-classification: leave it out"),
        (["--task_type=question-answering", "--text_columns=question,context"], "question-answering of question and"),
    ],
)
def test_flags_that_say_that_rows_are_no_pairs_are_refused_before_anything_is_loaded(
    tmp_path, capsys, monkeypatch, flags, message
):
    monkeypatch.setattr(
        "layer_distillation.runs.answering.load_teacher_config", lambda *_: pytest.fail("something was loaded")
    )
    given = [*make_project(tmp_path), "--recombined_pairs=5", *flags]
    files = ("train_file", "validation_file", "test_file") if "--task_name=sst2" in flags else ()
    assert message in refuse(capsys, replace_flag(given, **dict.fromkeys(files)))


@pytest.mark.slow
def test_a_run_trains_on_them_and_its_record_and_card_say_so(tmp_path):
    flags = make_project(tmp_path)
    for name, rows in (("train", 24), ("validation", 12), ("test", 9)):
        both = Dataset.from_csv(str(tmp_path / f"{name}.csv"))
        both.add_column("other", [f"{text} too" for text in both["text"]]).to_csv(tmp_path / f"{name}.csv", index=False)
        assert len(both) == rows
    assert main([*flags, "--text_columns=text,other", "--recombined_pairs=30"]) == 0
    record = read_run_record(tmp_path / "run")
    assert record.task["unlabelled_rows"] == 30
    assert record.arguments["recombined_pairs"] == 30
    assert (
        "on 30 rows without labels that are its own texts paired anew" in (tmp_path / "run" / "README.md").read_text()
    )
