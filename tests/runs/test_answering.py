"""A run whose teacher is soft labels, or whose rows have no gold label: what it starts from, learns, keeps and says."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from transformers import AutoModel

import run_distillation
from compare_strategies import main as compare
from layer_distillation.records.run_record import read_run_record
from layer_distillation.runs.arguments import parse_command_line
from layer_distillation.runs.preparation import PreparedRun, open_record, prepare_run
from layer_distillation.runs.teacher_ensemble import gather_outputs, make_supply
from run_distillation import main
from soft_projects import make_soft_project, write_soft_csv
from test_run_distillation import refuse, replace_flag
from tiny_project import COLOURS, make_project, write_teacher

NO_GOLD = {"has_gold": False}


def prepare(flags: list[str]) -> tuple[PreparedRun, object, object]:
    arguments = parse_command_line(flags)
    record = open_record(Path(arguments.training.output_dir), arguments)
    return prepare_run(arguments, record), arguments, record


def check_refusal(capsys: pytest.CaptureFixture, flags: list[str], remedy: str) -> None:
    assert re.search(remedy, refuse(capsys, flags))


# ---- soft labels -------------------------------------------------------------------------------------------------


def test_soft_labels_are_the_teacher_and_the_layers_come_from_the_other_model(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        run, arguments, record = prepare(make_soft_project(tmp_path))
    source = AutoModel.from_pretrained(tmp_path / "encoder")
    query = run.student.bert.encoder.layer[1].attention.self.query.weight
    torch.testing.assert_close(query, source.encoder.layer[2].attention.self.query.weight)
    assert run.data.label_names == sorted(COLOURS)
    assert run.teacher.name == "soft labels of the training file"
    assert record.arguments["hidden_weight"] == record.arguments["pkd_weight"] == 0
    assert record.asked == {"hidden_weight": 10.0, "pkd_weight": 10.0}
    assert record.list_differences(parse_command_line(make_soft_project(tmp_path)).to_dict()) == []
    [line] = [line for line in caplog.messages if line.startswith("off: ")]
    assert line == "off: --hidden_weight, --pkd_weight (the teacher is soft labels, no model with layers)"
    store = make_supply(run.teacher, arguments).choose_training_source(run.data.student_train)
    said = softmax(store.get_logits(range(24)).numpy(), axis=1)
    np.testing.assert_allclose(said[np.arange(24), run.data.train["labels"]], 0.9, rtol=1e-5)
    store.check_rows(run.data.student_train)


def test_the_store_of_soft_labels_is_found_again_and_other_soft_labels_have_another(tmp_path):
    folders = []
    for order in ((0, 1, 2), (0, 1, 2), (0, 2, 1)):
        flags = make_soft_project(tmp_path, train={"order": order, "has_gold": False}, validation=NO_GOLD)
        run, arguments, _ = prepare(flags)
        folders.append(make_supply(run.teacher, arguments).choose_training_source(run.data.student_train).folder)
    assert folders[0] == folders[1] != folders[2]


def test_evaluation_rows_without_soft_labels_are_scored_by_their_gold_alone(tmp_path):
    run, arguments, record = prepare(make_soft_project(tmp_path, validation={"columns": []}))
    record.task["fingerprint"] = "rows"
    outputs = gather_outputs(run.teacher, run.data, ([], []), arguments, record, lambda _: {})
    assert outputs.logits == [{}]
    assert outputs.descriptions[0]["metrics"] == {}


def test_columns_whose_names_are_exchanged_are_refused_by_the_gold_labels(tmp_path):
    flags = make_soft_project(tmp_path, train={"order": (1, 2, 0)}, validation={"columns": []})
    with pytest.raises(ValueError, match="name the columns by their classes: p_blue is red, p_green is blue"):
        prepare(flags)


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"student_source_model": None}, "has no layers that a student could start from: give --student_source_model"),
        ({"teacher_model_name_or_path": "x"}, "one teacher answers, leave one of them out"),
        ({"hidden_weight": 1}, "--hidden_weight 1: the teacher is soft labels, no model with layers; leave it"),
        ({"attention_weight": 1}, "--attention_weight 1: the teacher is soft labels"),
        ({"relation_weight": 1}, "--relation_weight 1: the teacher is soft labels"),
        ({"schedules": "pkd_weight=linear:0"}, "--pkd_weight 10: the teacher is soft labels"),
        ({"logit_cosine_weight": 1}, "--logit_cosine_weight 1: .*soft_label_kind logits"),
        ({"intermediate_epochs": 1}, "--intermediate_epochs 1: the teacher is soft labels"),
        ({"teacher_outputs": "live"}, "--teacher_outputs live does not go with --soft_label_columns"),
        ({"teacher_seeds": "1,2"}, "--teacher_seeds 1,2 does not go with"),
        ({"teacher_bf16": True}, "--teacher_bf16 True does not go with"),
        ({"additional_teachers": "x"}, "--additional_teachers x does not go with"),
        ({"soft_label_columns": "p_red,p_green,p_bleu"}, "no column 'p_bleu'"),
        ({"layer_strategy": "greedy"}, "--layer_strategy greedy .*influence or cka"),
    ],
)
def test_what_only_a_trained_model_has_is_refused_before_any_training(tmp_path, capsys, changes, remedy):
    check_refusal(capsys, replace_flag(make_soft_project(tmp_path), **changes), remedy)


def test_logits_in_the_file_have_a_direction_for_the_cosine(tmp_path):
    flags = replace_flag(make_soft_project(tmp_path), soft_label_kind="logits", logit_cosine_weight=1)
    run, _, record = prepare(flags)
    assert record.arguments["logit_cosine_weight"] == 1
    assert run.data.soft_labels.logits["train"].max() == np.float32(0.9)


# ---- no gold label -----------------------------------------------------------------------------------------------


def test_without_gold_labels_the_teacher_is_learned_alone_and_chooses_the_epoch(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        run, _, record = prepare(make_soft_project(tmp_path, NO_GOLD, NO_GOLD))
    assert run.data.label_names == COLOURS
    assert record.arguments["ce_weight"] == 0
    assert record.arguments["metric_for_best_model"] == "kl_to_teacher"
    assert record.asked["ce_weight"] == 0.5
    assert record.task["without_gold"] == ["train", "validation"]
    assert "off: --ce_weight (no training row has a gold label)" in caplog.messages


def write_bare_files(folder: Path, **validation: object) -> list[str]:
    flags = make_project(folder)
    train = write_soft_csv(folder / "bare.csv", 24, has_gold=False, columns=[])
    other = write_soft_csv(folder / "other.csv", 12, **{"has_gold": False, "columns": []} | validation)
    return replace_flag(flags, train_file=train, validation_file=other, test_file=None)


def test_a_model_teaches_a_file_of_texts_alone_and_labels_of_validation_are_used(tmp_path):
    run, _, record = prepare(write_bare_files(tmp_path, has_gold=True))
    assert run.data.label_names == sorted(COLOURS)
    assert record.task["without_gold"] == ["train"]
    assert record.arguments["ce_weight"] == 0
    assert record.arguments["metric_for_best_model"] == "loss"


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"ce_weight": 1}, "--ce_weight 1: no training row has a gold label; leave it out, or set it to 0"),
        ({"kl_weight": 0, "hidden_weight": 0, "pkd_weight": 0}, "all terms of the teacher are off: set --kl_weight"),
        ({"class_weights": "balanced"}, "--class_weights balanced: no training row has a gold label"),
        ({"metric_for_best_model": "accuracy"}, "take kl_to_teacher or agreement"),
        ({"metrics": "macro_f1"}, "--metrics macro_f1 scores gold labels"),
    ],
)
def test_what_needs_gold_labels_is_refused_where_there_are_none(tmp_path, capsys, changes, remedy):
    check_refusal(capsys, replace_flag(write_bare_files(tmp_path), **changes), remedy)


def test_an_untrained_teacher_cannot_learn_from_rows_without_gold_labels(tmp_path, capsys):
    flags = write_bare_files(tmp_path)
    write_teacher(tmp_path / "teacher", has_head=False)
    check_refusal(capsys, flags, "newly initialised, and no training row has a gold label to train it by")


def test_validation_rows_that_nothing_scores_are_refused(tmp_path, capsys):
    flags = make_soft_project(tmp_path, NO_GOLD, {"has_gold": False, "columns": []})
    check_refusal(
        capsys, flags, "no row of validation has a gold label, nor the soft labels p_red.*which epoch is the best"
    )


# ---- whole runs --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_on_soft_labels_alone_says_so_in_report_record_card_and_comparison(tmp_path, capsys):
    flags = [*make_soft_project(tmp_path, NO_GOLD, NO_GOLD), "--bf16=false"]
    for strategy in ("odd", "even"):
        assert main(replace_flag(flags, layer_strategy=strategy, output_dir=tmp_path / "runs" / strategy)) == 0
    printed = capsys.readouterr().out
    assert "the teacher: soft labels of the training file (p_red, p_green, p_blue); no teacher model was" in printed
    assert "No gold label was seen" in printed
    record = read_run_record(tmp_path / "runs" / "odd")
    assert set(record.metrics["validation"]) == {"kl_to_teacher", "agreement"}
    best = min(record.history, key=lambda entry: entry["eval_kl_to_teacher"])
    assert record.best_epoch == best["epoch"]
    assert record.metrics["validation"]["kl_to_teacher"] == pytest.approx(best["eval_kl_to_teacher"], rel=1e-4)
    assert not any("ce_loss" in name for entry in record.history for name in entry)
    card = (tmp_path / "runs" / "odd" / "README.md").read_text()
    assert "cut from `encoder`" in card
    assert "No gold label was seen" in card
    assert "| validation agreement" not in card
    assert compare([str(tmp_path / "runs"), "--output_dir", str(tmp_path / "comparison")]) == 0
    [unit] = json.loads((tmp_path / "comparison" / "comparison.json").read_text())["units"]
    assert unit["metric_name"] == "agreement"
    assert any(line.startswith("No gold label was seen") for line in unit["verdict"])
    assert any(line.startswith("The teacher: soft labels of the training file") for line in unit["verdict"])
    assert "Validation KL to the teacher" in (tmp_path / "comparison" / "comparison.md").read_text()


@pytest.mark.slow
def test_the_same_command_again_finds_the_finished_run_though_arguments_were_settled(tmp_path, monkeypatch):
    flags = [*make_soft_project(tmp_path, NO_GOLD, NO_GOLD), "--bf16=false"]
    assert main(flags) == 0
    monkeypatch.setattr(run_distillation, "prepare_run", lambda *_: pytest.fail("prepared again"))
    assert main(flags) == 0


@pytest.mark.slow
def test_two_seeds_with_new_heads_are_one_arm(tmp_path):
    flags = [*make_soft_project(tmp_path), "--bf16=false"]
    for seed in (1, 2):
        for strategy in ("odd", "even"):
            folder = tmp_path / "runs" / f"{strategy}{seed}"
            assert main(replace_flag(flags, seed=seed, layer_strategy=strategy, output_dir=folder)) == 0
    assert compare([str(tmp_path / "runs"), "--output_dir", str(tmp_path / "comparison"), "--no_pictures"]) == 0
    [unit] = json.loads((tmp_path / "comparison" / "comparison.json").read_text())["units"]
    assert [arm["seeds"] for arm in unit["arms"]] == ["1 2", "1 2"]
