"""A preview says what a run's record says of the untrained student, trains nothing and begins no run."""

import csv
import json
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import run_distillation
from layer_distillation.records.run_record import read_run_record
from layer_distillation.students.representation_similarity import linear_cka
from preview_strategies import main
from soft_projects import write_other_reader
from student_init import build_student
from test_kinds_without_gold import strip_files
from test_run_distillation import replace_flag
from tiny_kinds import make_kind_project
from tiny_project import make_project, write_csv


@pytest.fixture
def flags(tmp_path) -> list[str]:
    return make_project(tmp_path)


def read_preview(folder: Path) -> dict:
    preview = json.loads((folder / "preview.json").read_text())
    return preview | {"strategies": {entry["strategy"]: entry for entry in preview["strategies"]}}


def test_scores_are_those_of_the_untrained_student_in_a_runs_record(tmp_path, flags):
    previews = replace_flag(flags, output_dir=tmp_path / "preview")
    assert main([*previews, "--strategies", "bottom,scratch", "--seed=5"]) == 0
    strategies = read_preview(tmp_path / "preview")["strategies"]
    assert strategies.keys() == {"bottom", "scratch"}
    assert run_distillation.main([*flags, "--layer_strategy=scratch", "--seed=5", "--num_train_epochs=1"]) == 0
    record = read_run_record(tmp_path / "run")
    assert strategies["scratch"]["scores"] == record.student["untrained"]
    assert strategies["scratch"]["layers"] == record.student["layers"]
    assert read_preview(tmp_path / "preview")["teacher_scores"] == record.teacher["metrics"]["validation"]


def test_cka_is_that_of_the_hidden_states_over_real_tokens_and_over_row_means(tmp_path, flags):
    """By hand, one row at a time, so that there is no padding; rows of 5 and of 9 words."""
    with (tmp_path / "validation.csv").open("a") as file:
        file.write("the red ball is not a house and the cup,red\na blue,blue\n")
    assert main([*replace_flag(flags, output_dir=tmp_path / "preview"), "--strategies=odd"]) == 0
    found = read_preview(tmp_path / "preview")["strategies"]["odd"]
    teacher = AutoModelForSequenceClassification.from_pretrained(tmp_path / "teacher")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "teacher")
    student = build_student(teacher, [1, 3])
    texts = [line.split(",")[0] for line in (tmp_path / "validation.csv").read_text().splitlines()[1:]]
    states = {student: [], teacher: []}
    with torch.no_grad():
        for model, rows in states.items():
            for text in texts:
                outputs = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
                rows.append(torch.stack(outputs.hidden_states)[1:, 0])  # (layers, tokens, hidden)
    tokens = {model: torch.cat(rows, dim=1) for model, rows in states.items()}
    means = {model: torch.stack([row.double().mean(dim=1) for row in rows], dim=1) for model, rows in states.items()}
    for kind, features in (("cka_tokens", tokens), ("cka_rows", means)):
        for student_layer in range(2):
            for teacher_layer in range(4):
                expected = linear_cka(features[student][student_layer], features[teacher][teacher_layer])
                assert found[kind][student_layer][teacher_layer] == pytest.approx(expected, rel=1e-4)


def test_a_student_is_the_teacher_as_far_as_it_keeps_its_first_layers(tmp_path, flags):
    assert main([*replace_flag(flags, output_dir=tmp_path / "preview"), "--strategies=first,scratch"]) == 0
    strategies = read_preview(tmp_path / "preview")["strategies"]
    for kind in ("cka_tokens", "cka_rows"):
        assert strategies["top"][kind][0][0] == pytest.approx(1.0, abs=1e-6)
        assert strategies["top"][kind][1][1] == pytest.approx(1.0, abs=1e-6)
        assert strategies["top"][kind][1][3] < 0.999
        assert strategies["scratch"][kind][0][0] < 0.999


def test_the_table_has_every_fixed_strategy_nearest_to_the_teacher_first(tmp_path, flags, capsys):
    assert main([*replace_flag(flags, output_dir=tmp_path / "preview"), "--preview_rows=5"]) == 0
    with (tmp_path / "preview" / "preview.csv").open() as file:
        rows = list(csv.DictReader(file))
    distances = [float(row["kl_to_teacher"]) for row in rows]
    assert distances == sorted(distances)
    assert {row["strategy"] for row in rows} == {"top", "bottom", "odd", "even", "spread", "ends"}
    printed = capsys.readouterr().out
    table = re.findall(r"^(top|bottom|odd|even|spread|ends|teacher) ", printed, re.MULTILINE)
    assert table == [row["strategy"] for row in rows] + ["teacher"]
    assert "linear CKA of the last student layer and the last teacher layer on 5 rows" in printed
    assert "rows of validation, nearest to the teacher first\n" in printed
    with (tmp_path / "preview" / "preview_cka.csv").open() as file:
        pairs = list(csv.DictReader(file))
    assert len(pairs) == 6 * 2 * 4
    assert {row["starts_from"] for row in pairs if row["strategy"] == "odd"} == {"1", "3"}


def test_nothing_but_the_preview_is_left(tmp_path, flags, monkeypatch):
    """Without --output_dir it goes beside the runs, whose own folders are not made."""
    monkeypatch.chdir(tmp_path)
    assert main([*replace_flag(flags, output_dir=None), "--strategies=top", "--test_file", "test.csv"]) == 0
    task = Path("runs") / tmp_path.name
    assert [path.name for path in task.iterdir()] == ["preview"]
    names = {path.name for path in (task / "preview").iterdir()}
    assert names == {"preview.json", "preview.csv", "preview_cka.csv"}


@pytest.mark.slow
def test_an_untrained_teacher_is_fine_tuned_once_for_preview_and_run(tmp_path, caplog):
    flags = [*make_project(tmp_path, has_head=False), "--teacher_num_train_epochs=1"]
    with caplog.at_level("INFO"):
        assert main([*replace_flag(flags, output_dir=tmp_path / "preview"), "--strategies=top"]) == 0
        assert "it is fine-tuned once" in caplog.text
        caplog.clear()
        assert run_distillation.main(flags) == 0
        assert "found the fine-tuned teacher" in caplog.text


@pytest.mark.slow
def test_a_regression_is_sorted_by_its_squared_error(tmp_path):
    flags = make_project(tmp_path, has_head=False)
    for name, rows in (("train", 24), ("validation", 12)):
        path = write_csv(tmp_path / f"{name}.csv", rows)
        text = path.read_text()
        for value, colour in enumerate(("red", "green", "blue")):
            text = text.replace(f",{colour}", f",{value}.5")
        path.write_text(text)
    options = ["--strategies=top,bottom", "--teacher_num_train_epochs=1"]
    assert main([*replace_flag(flags, output_dir=tmp_path / "preview", test_file=None), *options]) == 0
    with (tmp_path / "preview" / "preview.csv").open() as file:
        errors = [float(row["mse_to_teacher"]) for row in csv.DictReader(file)]
    assert errors == sorted(errors)


def test_a_fixed_strategy_that_is_not_possible_is_left_out_unless_it_was_asked_for(tmp_path, flags, caplog, capsys):
    flags = [*replace_flag(flags, output_dir=tmp_path / "preview"), "--student_num_layers=3"]
    assert main(flags) == 0
    assert read_preview(tmp_path / "preview")["strategies"].keys() == {"top", "bottom", "spread", "ends"}
    assert "odd is left out" in caplog.text
    with pytest.raises(SystemExit) as stopped:
        main([*flags, "--strategies=top,odd"])
    assert stopped.value.code == 2
    assert "at most 2 layers" in capsys.readouterr().err


def test_listed_layers_are_one_more_strategy(tmp_path, flags):
    options = ["--student_layers=3,0", "--strategies=top"]
    assert main([*replace_flag(flags, output_dir=tmp_path / "preview"), *options]) == 0
    strategies = read_preview(tmp_path / "preview")["strategies"]
    assert strategies.keys() == {"layers-3-0", "top"}
    assert strategies["layers-3-0"]["layers"] == [3, 0]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--strategies=top,od", "did you mean odd"),
        ("--strategies=", "choose from"),
        ("--preview_rows=1", "at least 2"),
        ("--preview_rows=many", "many"),
        ("--strategy=top", "unknown argument --strategy"),
        ("--student_num_layers=9", "9"),
        ("--train_file=nowhere.csv", "nowhere.csv is not a file"),
    ],
)
def test_bad_flags_end_in_one_line_and_status_2(option, message, flags, capsys, monkeypatch):
    monkeypatch.setattr("layer_distillation.runs.preview.prepare_teacher", lambda *_: pytest.fail("went on"))
    with pytest.raises(SystemExit) as stopped:
        main([*flags, option])
    assert stopped.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert ": error: " in line
    assert re.search(message, line), line


@pytest.mark.parametrize("kind", ["token-classification", "question-answering"])
def test_a_preview_of_a_kind_with_logits_per_token(tmp_path, kind, capsys):
    """Rows of several lengths, one of them several windows; all layers kept are the teacher."""
    flags = [*make_kind_project(tmp_path, kind), "--student_num_layers=4", "--strategies", "top"]
    assert main(replace_flag(flags, output_dir=tmp_path / "preview", max_length=16)) == 0
    preview = read_preview(tmp_path / "preview")
    scores = preview["strategies"]["top"]["scores"]
    assert scores["kl_to_teacher"] == pytest.approx(0, abs=1e-6)
    name = preview["metric_name"] if "metric_name" in preview else preview["metric"]
    assert scores[name] == pytest.approx(preview["teacher_scores"][name])
    assert ", 12 rows of validation, nearest" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["text-classification", "regression", "token-classification", "multi-label"])
@pytest.mark.parametrize("splits", [("train",), ("train", "validation")])
def test_a_preview_of_rows_without_gold_labels(tmp_path, kind, splits):
    task_type = "text-classification" if kind == "regression" else kind
    flags = make_kind_project(tmp_path, kind, task_type=task_type)
    strip_files(tmp_path, kind, splits)
    assert main([*replace_flag(flags, output_dir=tmp_path / "preview"), "--strategies=odd"]) == 0
    found = read_preview(tmp_path / "preview")
    assert ("loss" in found["teacher_scores"]) == (splits == ("train",))
    assert {"kl_to_teacher", "mse_to_teacher"} & found["strategies"]["odd"]["scores"].keys()


def test_a_source_with_another_tokenizer_is_refused_by_name(tmp_path, flags, capsys):
    source = write_other_reader(tmp_path / "other", has_head=False)
    with pytest.raises(SystemExit):
        main([*flags, f"--student_source_model={source}"])
    assert "other has another tokenizer than the teacher: leave it out" in capsys.readouterr().err
