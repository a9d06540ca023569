"""The whole run on a tiny project: what it leaves, resumes, repeats and refuses."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback

import run_distillation
from conftest import make_bert, pad_rows
from layer_distillation.records.run_record import read_run_record
from run_distillation import main
from tiny_project import COLOURS, make_project, write_csv, write_teacher


@pytest.fixture
def flags(tmp_path) -> list[str]:
    return make_project(tmp_path)


def replace_flag(flags: list[str], **values: object) -> list[str]:
    """The same flags with some replaced, added, or (None) left out."""
    kept = [flag for flag in flags if flag.removeprefix("--").split("=")[0] not in values]
    return kept + [f"--{name}={value}" for name, value in values.items() if value is not None]


def test_a_run_leaves_a_student_that_loads_anywhere_with_card_record_and_predictions(tmp_path, flags, capsys):
    assert main([*flags, "--layer_strategy", "odd"]) == 0
    folder = tmp_path / "run"
    student = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert student.config.num_hidden_layers == 2
    assert student.config.distillation["student_layers"] == [1, 3]
    assert student.config.id2label == dict(enumerate(sorted(COLOURS)))
    record = read_run_record(folder)
    assert record.status == "finished"
    assert record.student["layers"] == [1, 3]
    assert record.student["layer_matching"] == [1, 3]
    assert [entry["epoch"] for entry in record.history] == [1.0, 2.0]
    assert {"train_ce_loss", "train_kl_loss", "eval_loss", "eval_accuracy", "eval_agreement"} <= record.history[
        0
    ].keys()
    predictions = np.load(folder / "predictions.npz")
    texts = [line.split(",")[0] for line in (tmp_path / "test.csv").read_text().splitlines()[1:]]
    with torch.no_grad():
        logits = student.eval()(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    np.testing.assert_allclose(predictions["test.student_logits"], logits.numpy(), rtol=1e-4, atol=1e-5)
    assert not list(folder.glob("checkpoint-*"))
    assert "2 layers, cut from the 4 layers" in (folder / "README.md").read_text()
    printed = capsys.readouterr().out
    assert "agrees with the teacher" in printed
    assert f"from_pretrained('{folder}')" in printed


def test_the_best_student_is_kept_and_not_the_last(tmp_path, flags):
    """A learning rate that grows until it ruins the student: the lowest eval_loss comes before the end."""
    options = ["--num_train_epochs=5", "--learning_rate=1", "--lr_scheduler_type=constant_with_warmup"]
    assert main([*flags, *options, "--warmup_steps=15", "--bf16=false"]) == 0
    record = read_run_record(tmp_path / "run")
    losses = [entry["eval_loss"] for entry in record.history]
    assert record.best_epoch == 1 + losses.index(min(losses))
    assert record.metrics["validation"]["loss"] == pytest.approx(min(losses), rel=1e-5)
    assert min(losses) < losses[-1]


@pytest.mark.slow
def test_the_same_command_twice_gives_the_same_numbers_and_another_seed_others(tmp_path, flags):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert main(replace_flag(flags, output_dir=tmp_path / name, seed=seed)) == 0
    first, second, other = (read_run_record(tmp_path / name) for name in "abc")
    assert first.metrics == second.metrics
    assert first.metrics != other.metrics


class StopAtStep(TrainerCallback):
    """Ends the process as a kill would: by an exception in the middle of training."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step >= self.step:
            raise KeyboardInterrupt


EARLY_STOPPING = {"learning_rate": 0.3, "warmup_steps": 0, "num_train_epochs": 8, "early_stopping_patience": 2}


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({}, 3),  # at the end of an epoch of 3 steps
        ({"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2}, 5),  # within one
        (EARLY_STOPPING, 6),
    ],
)
@pytest.mark.slow
def test_an_interrupted_run_started_again_ends_with_the_same_numbers(tmp_path, flags, monkeypatch, options, step):
    names = ("whole", "broken")
    whole, broken = (
        replace_flag(flags, **({"num_train_epochs": 3} | options | {"output_dir": tmp_path / name})) for name in names
    )
    assert main(whole) == 0
    make_trainer = run_distillation.make_trainer

    def make_breaking_trainer(*arguments):
        trainer = make_trainer(*arguments)
        trainer.add_callback(StopAtStep(step))
        return trainer

    monkeypatch.setattr(run_distillation, "make_trainer", make_breaking_trainer)
    with pytest.raises(KeyboardInterrupt):
        main(broken)
    assert read_run_record(tmp_path / "broken").status == "running"
    monkeypatch.setattr(run_distillation, "make_trainer", make_trainer)
    assert main(broken) == 0
    assert read_run_record(tmp_path / "broken").metrics == read_run_record(tmp_path / "whole").metrics
    assert read_run_record(tmp_path / "broken").student == read_run_record(tmp_path / "whole").student
    histories = [
        [(entry["epoch"], entry["eval_loss"]) for entry in read_run_record(tmp_path / name).history]
        for name in ("whole", "broken")
    ]
    assert histories[0] == histories[1]


@pytest.mark.slow
def test_a_checkpoint_named_by_the_flag_is_gone_on_from(tmp_path, flags):
    """After two of three epochs' checkpoints, the first is named: epochs 2 and 3 are trained again, to the same end."""
    folder = tmp_path / "run"
    options = ["--num_train_epochs=3", "--keep_checkpoints", "--save_total_limit=5"]
    assert main([*flags, *options]) == 0
    finished = read_run_record(folder)
    (folder / "run_record.json").write_text(
        json.dumps(json.loads((folder / "run_record.json").read_text()) | {"status": "running"})
    )
    assert main([*flags, *options, f"--resume_from_checkpoint={folder / 'checkpoint-3'}"]) == 0
    again = read_run_record(folder)
    assert again.metrics == finished.metrics
    assert [entry["eval_loss"] for entry in again.history] == [entry["eval_loss"] for entry in finished.history]


OTHER_TEACHER = {
    "teacher": ([], ["--layer_strategy=top"], "another teacher .fingerprint was"),
    "start": (["--student_source_model={other}"], [], "another student .source was"),
}


@pytest.mark.parametrize("case", OTHER_TEACHER)
@pytest.mark.slow
def test_a_run_that_was_begun_with_another_teacher_or_start_is_not_gone_on_with(case, tmp_path, flags, capsys):
    """The same command, but what lies in a named folder is another model by now."""
    named, more, message = OTHER_TEACHER[case]
    changed = tmp_path / ("teacher" if case == "teacher" else "other")
    if case == "start":
        write_teacher(changed)
    own = [*flags, *(flag.format(other=changed) for flag in named), *more, "--keep_checkpoints"]
    assert main(own) == 0
    record = tmp_path / "run" / "run_record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "running"}))
    before = record.read_bytes()
    path = changed / "model.safetensors"
    weights = load_file(path)
    save_file({name: tensor * 1.01 for name, tensor in weights.items()}, path, {"format": "pt"})
    line = refuse(capsys, own)
    assert re.search(message, line), line
    assert {k: v for k, v in json.loads(record.read_bytes()).items() if k != "seconds"} == {
        k: v for k, v in json.loads(before).items() if k != "seconds"
    }
    save_file(weights, path, {"format": "pt"})
    assert main(own) == 0


def test_an_unfinished_record_says_what_was_begun(tmp_path, flags, monkeypatch):
    monkeypatch.setattr("run_distillation.make_trainer", lambda *_: sys.exit(3))
    with pytest.raises(SystemExit):
        main(flags)
    record = read_run_record(tmp_path / "run")
    assert record.status == "running"
    assert record.teacher["fingerprint"]
    assert record.student == {"layers": [0, 2], "layer_matching": [1, 3], "source": None}


def test_a_checkpoint_that_a_kill_left_incomplete_is_passed_over(tmp_path, flags):
    record = tmp_path / "run"
    assert main([*flags, "--keep_checkpoints"]) == 0
    finished = read_run_record(record).metrics
    shutil.rmtree(record / "checkpoint-6", ignore_errors=True)
    (record / "checkpoint-9").mkdir()
    shutil.copy(tmp_path / "teacher" / "config.json", record / "checkpoint-9")
    content = json.loads((record / "run_record.json").read_text()) | {"status": "running"}
    (record / "run_record.json").write_text(json.dumps(content))
    assert main([*flags, "--keep_checkpoints"]) == 0
    assert read_run_record(record).metrics == finished


def test_a_run_begun_on_other_rows_is_not_gone_on_with(tmp_path, flags, capsys):
    assert main(flags) == 0
    record = tmp_path / "run" / "run_record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "running"}))
    write_csv(tmp_path / "train.csv", 24, seed=77)
    with pytest.raises(SystemExit):
        main(flags)
    assert "was begun on other rows" in capsys.readouterr().err


def test_a_finished_run_is_not_trained_again(tmp_path, flags, monkeypatch, capsys):
    assert main(flags) == 0
    monkeypatch.setattr(run_distillation, "prepare_run", lambda *_: pytest.fail("prepared again"))
    assert main(flags) == 0
    assert "agrees with the teacher" in capsys.readouterr().out


def test_a_finished_run_whose_student_was_cut_short_on_disk_is_trained_again(tmp_path, flags):
    assert main(flags) == 0
    weights, whole = tmp_path / "run" / "model.safetensors", read_run_record(tmp_path / "run")
    content = weights.read_bytes()
    weights.write_bytes(content[:-100])
    assert main(flags) == 0
    assert weights.read_bytes() == content
    assert read_run_record(tmp_path / "run").metrics == whole.metrics


@pytest.mark.slow
def test_an_untrained_teacher_is_fine_tuned_once_and_found_again(tmp_path, caplog):
    flags = make_project(tmp_path, has_head=False)
    with caplog.at_level("INFO"):
        assert main([*flags, "--teacher_num_train_epochs=2", "--teacher_learning_rate=1e-3"]) == 0
        assert "it is fine-tuned once" in caplog.text
        caplog.clear()
        again = replace_flag(flags, output_dir=tmp_path / "again", seed=7, layer_strategy="bottom")
        assert main([*again, "--teacher_num_train_epochs=2", "--teacher_learning_rate=1e-3"]) == 0
        assert "found the fine-tuned teacher" in caplog.text
    first, second = read_run_record(tmp_path / "run"), read_run_record(tmp_path / "again")
    assert first.teacher["fingerprint"] == second.teacher["fingerprint"]
    assert first.teacher["metrics"] == second.teacher["metrics"]
    assert len(list((tmp_path / "cache" / "teachers").iterdir())) == 2  # the teacher and its lock


def test_early_stopping_ends_before_the_last_epoch(tmp_path, flags):
    options = ["--num_train_epochs=8", "--learning_rate=0.3", "--warmup_steps=0", "--early_stopping_patience=1"]
    assert main([*flags, *options]) == 0
    assert len(read_run_record(tmp_path / "run").history) < 8


def test_unlabelled_training_rows_take_part(tmp_path, flags):
    with (tmp_path / "train.csv").open("a") as file:
        file.write("the ball is a cup,\nthe door is not a tree,\n")
    assert main(flags) == 0
    assert read_run_record(tmp_path / "run").task["rows"]["train"] == 26


def test_attention_and_hidden_terms_run_from_the_command_line(tmp_path, flags):
    assert main([*flags, "--hidden_weight=1", "--attention_weight=1", "--hidden_loss=cosine"]) == 0
    entry = read_run_record(tmp_path / "run").history[0]
    assert entry["train_hidden_loss"] > 0
    assert entry["train_attention_loss"] > 0


def test_labels_in_another_order_are_matched_by_name(tmp_path, flags):
    """The same teacher with its outputs renamed cyclically: after matching, its logits follow the task's order."""
    assert main(flags) == 0
    straight = np.load(tmp_path / "run" / "predictions.npz")["validation.teacher_logits"]
    task_order = sorted(COLOURS)  # blue green red; the teacher has red green blue
    teacher = AutoModelForSequenceClassification.from_pretrained(tmp_path / "teacher")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "teacher")
    texts = [line.split(",")[0] for line in (tmp_path / "validation.csv").read_text().splitlines()[1:]]
    with torch.no_grad():
        logits = teacher(**tokenizer(texts, padding=True, return_tensors="pt")).logits.numpy()
    columns = [teacher.config.label2id[name] for name in task_order]
    np.testing.assert_allclose(straight, logits[:, columns], rtol=1e-4, atol=1e-5)


# ---- what is refused: one line, exit status 2, before any training -------------------------------------------------


def break_teacher(folder: Path) -> None:
    shutil.rmtree(folder / "teacher")
    (folder / "teacher").mkdir()


def write_text(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


REFUSALS = {
    "unknown strategy": ({"layer_strategy": "od"}, None, "did you mean odd"),
    "no layers": ({"student_num_layers": 0}, None, "a student has at least 1 layer"),
    "more layers than the teacher": ({"student_num_layers": 5}, None, "5.*4"),
    "more odd layers than there are": ({"layer_strategy": "odd", "student_num_layers": 3}, None, "at most 2"),
    "layer out of range": ({"student_layers": "0,9"}, None, "9.*0 to 3"),
    "layers no integers": ({"student_layers": "0,x"}, None, "x"),
    "strategy and list": ({"layer_strategy": "odd", "student_layers": "0,1"}, None, "leave one out"),
    "matching of another length": ({"layer_matching": "1"}, None, "one teacher layer per student layer"),
    "matching unknown": ({"layer_matching": "blocks"}, None, "blocks"),
    "file missing": ({"train_file": "nowhere.csv"}, None, "nowhere.csv is not a file"),
    "file empty": ({}, lambda folder: write_text(folder, "train.csv", ""), "is empty"),
    "file without the column": ({"text_columns": "sentence"}, None, "sentence.*text"),
    "one class only": (
        {},
        lambda folder: write_text(folder, "train.csv", "text,label\nthe ball,red\na ball,red\n"),
        "single label .red.",
    ),
    "labels that train lacks": (
        {},
        lambda folder: write_text(folder, "validation.csv", "text,label\nthe ball,red\na ball,purple\n"),
        "purple",
    ),
    "label type changes": (
        {},
        lambda folder: write_text(folder, "validation.csv", "text,label\nthe ball,1.5\na ball,2.5\n"),
        "label",
    ),
    "max_length beyond the model": ({"max_length": 65}, None, "65.*64"),
    "teacher that is no model": ({}, break_teacher, "no model could be loaded"),
    "teacher labels unlike the task's": (
        {},
        lambda folder: write_teacher(folder / "teacher", labels=["cat", "dog", "cow"]),
        r"\['cat', 'dog', 'cow'\].*\['blue', 'green', 'red'\]",
    ),
    "untrained teacher, training never": (
        {"teacher_training": "never"},
        lambda folder: (shutil.rmtree(folder / "teacher"), write_teacher(folder / "teacher", has_head=False)),
        "newly initialised.*--teacher_training auto",
    ),
    "temperature": ({"temperature": 0}, None, "temperature is 0.0"),
    "all weights zero": (
        {"ce_weight": 0, "kl_weight": 0, "hidden_weight": 0, "pkd_weight": 0},
        None,
        "all weights are 0",
    ),
    "negative weight": ({"kl_weight": -0.5}, None, "kl_weight is -0.5"),
    "metric unknown": ({"metric_for_best_model": "bleu"}, None, "bleu.*loss, accuracy"),
    "teacher metric unknown": (
        {"teacher_metric_for_best_model": "bleu"},
        None,
        "--teacher_metric_for_best_model is .bleu.*loss, accuracy",
    ),
    "push without a token": ({"push_to_hub": "true"}, None, "hf auth login"),
    "no teacher": ({"teacher_model_name_or_path": None}, None, "--teacher_model_name_or_path"),
    "report to nothing known": ({"report_to": "foo"}, None, "foo"),
    "report to what is not installed": (
        {"report_to": "comet_ml"},
        None,
        "--report_to comet_ml cannot be used .*install",
    ),
    "label smoothing": ({"label_smoothing_factor": 0.1}, None, "raise --kl_weight or --temperature"),
    "dropped rows": ({"dataloader_drop_last": "true"}, None, "leave evaluated rows out"),
    "half precision student": ({"bf16_full_eval": "true"}, None, "--bf16"),
    "stock length groups": ({"train_sampling_strategy": "group_by_length"}, None, "--length_pool_batches"),
    "patience without evaluation": (
        {"early_stopping_patience": 1, "eval_strategy": "no", "load_best_model_at_end": "false"},
        None,
        "set --eval_strategy",
    ),
    "checkpoint of another run": ({"resume_from_checkpoint": "tests"}, None, "is no checkpoint of"),
    "teacher without weights": (
        {},
        lambda folder: (folder / "teacher" / "model.safetensors").unlink(),
        "the weights of .* cannot be loaded",
    ),
    "unknown flag": ({"layer_stratgy": "odd"}, None, "did you mean --layer_strategy"),
    "abbreviated flag": ({"layer_strat": "odd"}, None, "unknown argument --layer_strat"),
    "not a number": ({"num_train_epochs": "three"}, None, "three"),
}


def refuse(capsys: pytest.CaptureFixture, flags: list[str]) -> str:
    """The one line of a run that is refused."""
    with pytest.raises(SystemExit) as stopped:
        main(flags)
    assert stopped.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("run_distillation.py: error: ")
    return line


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_input_ends_in_one_line_and_status_2_before_any_training(case, tmp_path, flags, capsys, monkeypatch):
    values, prepare, message = REFUSALS[case]
    monkeypatch.setattr("layer_distillation.cards.push_target.get_token", lambda: None)
    monkeypatch.setattr(run_distillation, "distil", lambda *_: pytest.fail("training began"))
    if prepare is not None:
        prepare(tmp_path)
    line = refuse(capsys, replace_flag(flags, **values))
    assert re.search(message, line), line


def test_an_output_folder_with_another_run_is_refused(tmp_path, flags, capsys):
    assert main(flags) == 0
    with pytest.raises(SystemExit):
        main([*flags, "--temperature=3"])
    assert "holds another run (temperature: 1.0 -> 3.0)" in capsys.readouterr().err


def test_an_output_folder_with_foreign_files_is_refused(tmp_path, flags, capsys):
    (tmp_path / "run").mkdir()
    write_csv(tmp_path / "run" / "thesis.csv")
    with pytest.raises(SystemExit):
        main(flags)
    assert "holds files but no run_record.json" in capsys.readouterr().err
    assert (tmp_path / "run" / "thesis.csv").exists()


def test_the_attention_term_is_refused_where_an_architecture_gives_no_matrices(tmp_path, flags, capsys):
    config = json.loads((tmp_path / "teacher" / "config.json").read_text()) | {"model_type": "convbert"}
    (tmp_path / "teacher" / "config.json").write_text(json.dumps(config))
    with pytest.raises(SystemExit):
        main([*flags, "--attention_weight=1"])
    assert "convbert gives none that can be compared" in capsys.readouterr().err


def test_a_student_equal_to_its_teacher_agrees_with_it_before_training(tmp_path, flags):
    """Keep-all through the command line: with a learning rate of 0 the student stays the teacher."""
    assert main([*flags, "--layer_strategy=top", "--student_num_layers=4", "--learning_rate=0"]) == 0
    metrics = read_run_record(tmp_path / "run").metrics["validation"]
    assert metrics["agreement"] == 1.0
    assert metrics["kl_to_teacher"] == pytest.approx(0.0, abs=1e-9)
    teacher = read_run_record(tmp_path / "run").teacher["metrics"]["validation"]
    assert metrics["loss"] == pytest.approx(teacher["loss"], rel=1e-6)


def test_tiny_models_pad_as_the_collator_does():
    """The tests' own padding must be the real thing: attention masks hide it from the logits."""
    model = make_bert(2)
    rows = [{"input_ids": [2, 5, 6, 3], "attention_mask": [1, 1, 1, 1], "labels": 0}]
    with torch.no_grad():
        short, long = (
            model(**{k: v for k, v in pad_rows(rows, length).items() if k != "labels"}).logits for length in (4, 9)
        )
    torch.testing.assert_close(short, long)
