"""A teacher that reads the rows otherwise than the student: with a tokenizer of its own, or beside named classes."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from layer_distillation.records.run_record import read_run_record
from layer_distillation.runs.arguments import parse_command_line
from layer_distillation.runs.preparation import open_record, prepare_run
from layer_distillation.runs.teacher_ensemble import make_supply
from layer_distillation.teachers import store_filling
from run_distillation import main
from soft_projects import make_soft_project, write_other_reader, write_soft_csv
from test_run_distillation import refuse, replace_flag
from tiny_project import COLOURS, write_teacher

MNLI = ["contradiction", "neutral", "entailment"]


def make_flags(folder: Path, teacher: Path, **changes: object) -> list[str]:
    flags = make_soft_project(folder, {"columns": []}, {"columns": []})
    return replace_flag(flags, **{"soft_label_columns": None, "teacher_model_name_or_path": teacher} | changes)


def prepare(flags: list[str]):
    arguments = parse_command_line(flags)
    record = open_record(Path(arguments.training.output_dir), arguments)
    return prepare_run(arguments, record), arguments, record


def read_texts(path: Path) -> list[str]:
    return [line.split(",")[0] for line in path.read_text().splitlines()[1:]]


# ---- a tokenizer of its own --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_decoder", [False, True])
def test_each_model_reads_the_same_rows_by_its_own_tokens(tmp_path, is_decoder, caplog):
    teacher = write_other_reader(tmp_path / "teacher", is_decoder)
    with caplog.at_level(logging.INFO):
        run, arguments, record = prepare(make_flags(tmp_path, teacher))
    model = AutoModelForSequenceClassification.from_pretrained(teacher)
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    texts = read_texts(tmp_path / "train.csv")
    with torch.no_grad():
        expected = [model.eval()(**tokenizer(text, return_tensors="pt")).logits[0].numpy() for text in texts]
    store = make_supply(run.teacher, arguments).choose_training_source(run.data.student_train)
    np.testing.assert_allclose(store.get_logits(range(24)).numpy(), expected, rtol=1e-4, atol=1e-5)
    own = AutoTokenizer.from_pretrained(tmp_path / "encoder")
    assert run.data.train["input_ids"][:] == own(texts)["input_ids"]
    assert run.student.config.hidden_size == 16
    assert record.arguments["hidden_weight"] == record.arguments["pkd_weight"] == 0
    assert "off: --hidden_weight, --pkd_weight (teacher and student" in caplog.text.replace("the teacher", "teacher")


def test_what_the_teacher_answered_is_shared_by_students_of_other_tokenizers(tmp_path, monkeypatch):
    """The teacher runs once: what it answered to its own tokens is in a store that knows nothing of the student."""
    flags = make_flags(tmp_path, write_other_reader(tmp_path / "teacher"))
    run, arguments, _ = prepare(flags)
    first = make_supply(run.teacher, arguments).choose_training_source(run.data.student_train)
    monkeypatch.setattr(store_filling, "write_part", lambda *_: pytest.fail("the teacher ran again"))
    words = (tmp_path / "encoder" / "tokenizer.json").read_text()
    swapped = words.replace('"red"', '"tmp"').replace('"green"', '"red"').replace('"tmp"', '"green"')
    (tmp_path / "encoder" / "tokenizer.json").write_text(swapped)
    run, arguments, _ = prepare(replace_flag(flags, output_dir=tmp_path / "other"))
    second = make_supply(run.teacher, arguments).choose_training_source(run.data.student_train)
    assert first.folder != second.folder
    np.testing.assert_array_equal(first.logits, second.logits)


def test_a_text_that_only_the_teacher_tells_from_another_is_asked_again(tmp_path):
    """Both words are unknown to the student, whose tokens stay as they are."""
    flags = make_flags(tmp_path, write_other_reader(tmp_path / "teacher"))
    words = (tmp_path / "encoder" / "tokenizer.json").read_text()
    (tmp_path / "encoder" / "tokenizer.json").write_text(
        words.replace('"tree"', '"tree_"').replace('"ball"', '"ball_"')
    )
    stores = []
    for name in ("tree", "ball"):
        rows = (tmp_path / "train.csv").read_text().splitlines()
        rows[1] = f"the red {name},red"
        (tmp_path / "train.csv").write_text("\n".join(rows) + "\n")
        run, arguments, _ = prepare(replace_flag(flags, output_dir=tmp_path / name))
        stores.append(make_supply(run.teacher, arguments).choose_training_source(run.data.student_train))
    assert stores[0].spec.rows_fingerprint == stores[1].spec.rows_fingerprint
    assert not np.array_equal(stores[0].logits[0], stores[1].logits[0])


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"hidden_weight": 1}, "--hidden_weight 1: teacher and student cut a text into other tokens"),
        ({"relation_weight": 1}, "--relation_weight 1: teacher and student cut"),
        ({"teacher_outputs": "live"}, "--teacher_outputs live does not go with --student_source_model"),
        ({"additional_teachers": "x"}, "--additional_teachers x does not go with --student_source_model"),
        ({"teacher_bf16": True}, "--teacher_bf16 True does not go with --student_source_model"),
    ],
)
def test_terms_that_need_shared_tokens_are_refused_by_name(tmp_path, capsys, changes, remedy):
    flags = make_flags(tmp_path, write_other_reader(tmp_path / "teacher"), **changes)
    assert remedy in refuse(capsys, flags)


# ---- named classes -----------------------------------------------------------------------------------------------


def make_zero_shot(folder: Path, **changes: object) -> list[str]:
    teacher = write_teacher(folder / "nli", MNLI, num_layers=6)
    settings = {"zero_shot_labels": ",".join(COLOURS), "hypothesis_template": "the ball is {}"}
    flags = make_flags(folder, teacher, **settings | changes)
    for split, rows in (("train", 24), ("validation", 12)):
        write_soft_csv(folder / f"{split}.csv", rows, has_gold=False, columns=[])
    return flags


def test_the_students_labels_are_the_names_and_its_layers_the_teachers_or_anothers(tmp_path):
    run, _, record = prepare(make_zero_shot(tmp_path))
    assert run.student.config.id2label == dict(enumerate(COLOURS))
    assert run.student.config.num_hidden_layers == 2  # half of the other model's four
    assert record.arguments["metric_for_best_model"] == "kl_to_teacher"
    run, _, _ = prepare(make_zero_shot(tmp_path, student_source_model=None, output_dir=tmp_path / "own"))
    nli = AutoModelForSequenceClassification.from_pretrained(tmp_path / "nli")
    assert run.student.config.num_hidden_layers == 3
    assert run.student.config.id2label == dict(enumerate(COLOURS))
    query = run.student.bert.encoder.layer[1].attention.self.query.weight
    torch.testing.assert_close(query, nli.bert.encoder.layer[2].attention.self.query.weight)


def test_gold_labels_have_to_be_the_names(tmp_path, capsys):
    flags = make_zero_shot(tmp_path, zero_shot_labels="red,green,purple")
    write_soft_csv(tmp_path / "validation.csv", 12, columns=[])
    assert "are not the task's ['blue', 'green', 'red']" in refuse(capsys, flags)


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"zero_shot_labels": "red"}, "give two different names at least"),
        ({"zero_shot_labels": "red,Red"}, "give two different names at least"),
        ({"hypothesis_template": "a colour"}, "write {} once"),
        ({"zero_shot_labels": None}, "--hypothesis_template 'the ball is {}' goes with --zero_shot_labels"),
        ({"teacher_model_name_or_path": None}, "no teacher is named"),
        ({"pkd_weight": 1}, "--pkd_weight 1: the teacher reads a text once for every class"),
        ({"teacher_outputs": "live"}, "--teacher_outputs live does not go with --zero_shot_labels"),
    ],
)
def test_what_cannot_be_meant_is_one_line(tmp_path, capsys, changes, remedy):
    assert remedy in refuse(capsys, make_zero_shot(tmp_path, **changes))


def test_a_model_without_entailment_is_refused_before_the_data_are_read(tmp_path, capsys):
    flags = make_zero_shot(tmp_path)
    write_teacher(tmp_path / "nli", ["LABEL_0", "LABEL_1", "LABEL_2"])
    (tmp_path / "train.csv").write_text("text\n")
    assert "one of whose labels is called entailment" in refuse(capsys, flags)


# ---- whole runs --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_whole_runs_say_what_the_teacher_was(tmp_path, capsys, monkeypatch):
    assert main([*make_zero_shot(tmp_path / "a"), "--bf16=false"]) == 0
    card = (tmp_path / "a" / "run" / "README.md").read_text()
    assert "zero-shot by entailment ('the ball is {}' of red, green, blue)" in card
    assert "3 such passes for a text" in card
    record = read_run_record(tmp_path / "a" / "run")
    assert (record.teacher["kind"], record.teacher["layers"]) == ("zero-shot", 6)
    monkeypatch.setattr(store_filling, "write_part", lambda *_: pytest.fail("the teacher ran again"))
    assert main([*make_zero_shot(tmp_path / "a", output_dir=tmp_path / "a" / "again"), "--bf16=false"]) == 0
    monkeypatch.undo()
    teacher = write_other_reader(tmp_path / "b" / "teacher", is_decoder=True, has_head=False)
    assert main([*make_flags(tmp_path / "b", teacher, teacher_num_train_epochs=1), "--bf16=false"]) == 0
    assert "by a tokenizer of its own: its logits alone were imitated" in capsys.readouterr().out
