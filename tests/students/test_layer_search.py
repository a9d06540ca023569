"""A choice of layers is made once, kept, shown and recorded; mistakes are told before any data are read."""

import json
import logging
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification

import preview_strategies
from calibration_tools import make_batches, make_idle
from conftest import make_bert
from layer_distillation.records.run_record import read_run_record
from layer_distillation.runs.arguments import parse_command_line
from layer_distillation.runs.facts import describe_student
from layer_distillation.runs.preparation import PreparedRun, open_record, prepare_run
from layer_distillation.students import layer_scores
from layer_distillation.students.layer_search import (
    SEARCHED_STRATEGIES,
    Calibration,
    LayerChoice,
    ScoredLayers,
    find_or_search,
    format_choice,
    make_spec,
)
from layer_distillation.sweep.check import check_run
from layer_distillation.tasks.kinds.entry import CLASSES
from run_distillation import main
from test_processes import TWO_PROCESSES, launch
from test_run_distillation import replace_flag
from tiny_project import NOUNS, make_project

SPEC = make_spec("beam", 2, "a teacher", "some rows", is_regression=False, beam_width=4)
CHOICE = LayerChoice([1, 3], "a measure", [ScoredLayers([0, 1, 3], 0.5), ScoredLayers([1, 3], 1.25)])


def test_a_choice_is_kept_and_read_back_without_teacher_or_rows(tmp_path):
    calibration = Calibration(make_bert(4, seed=1), make_batches(), outputs=CLASSES, disable_tqdm=True)
    choice = find_or_search(tmp_path / "choices", SPEC, lambda: calibration)
    assert find_or_search(tmp_path / "choices", SPEC, lambda: pytest.fail("made again")) == choice
    assert [path.name for path in (tmp_path / "choices").glob("*.json")] == [f"{SPEC.name}.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"spec": {}}', '{"spec": {"strategy": "beam"}, "choice": {}}'])
def test_a_damaged_choice_is_made_anew(tmp_path, content, caplog):
    (tmp_path / f"{SPEC.name}.json").write_text(content)
    calibration = Calibration(make_bert(4, seed=1), make_batches(1), outputs=CLASSES, disable_tqdm=True)
    with caplog.at_level(logging.WARNING):
        choice = find_or_search(tmp_path, SPEC, lambda: calibration)
    assert "chosen anew" in caplog.text
    assert json.loads((tmp_path / f"{SPEC.name}.json").read_text())["choice"]["layers"] == choice.layers


def test_a_choice_that_fails_leaves_nothing_behind(tmp_path):
    def fail() -> Calibration:
        raise ValueError("no rows")

    with pytest.raises(ValueError, match="no rows"):
        find_or_search(tmp_path, SPEC, fail)
    assert not list(tmp_path.glob("*.json"))


def test_whatever_a_choice_depends_on_gives_it_another_name():
    values = {"teacher_fingerprint": "t", "rows_fingerprint": "r", "is_regression": False, "beam_width": 4}
    specs = [make_spec(strategy, count, **values) for strategy in SEARCHED_STRATEGIES for count in (2, 3)]
    specs += [make_spec("beam", 2, **values | {name: "another"}) for name in values]
    assert len({spec.name for spec in specs}) == len(specs)
    assert make_spec("greedy", 2, **values) == make_spec("greedy", 2, **values | {"beam_width": 9})


def test_scores_are_shown_with_what_was_kept():
    assert format_choice("beam", CHOICE).splitlines() == [
        "beam chose teacher layers 1 3 by a measure:",
        "layers 0 1 3: 0.5",
        "layers 1 3: 1.25   (kept)",
    ]
    influence = LayerChoice([1], "influence", [ScoredLayers([0], 0.25), ScoredLayers([1], 1e-7)])
    assert format_choice("influence", influence).splitlines()[1:] == ["layer 0: 0.25", "layer 1: 1e-07   (kept)"]


# ---- the whole run -----------------------------------------------------------------------------------------------


@pytest.fixture
def flags(tmp_path) -> list[str]:
    """A teacher whose layer 2 does nothing."""
    flags = make_project(tmp_path)
    teacher = AutoModelForSequenceClassification.from_pretrained(tmp_path / "teacher")
    make_idle(teacher, 2).save_pretrained(tmp_path / "teacher")
    return [*flags, "--student_num_layers=3", "--num_train_epochs=1"]


def prepare(flags: list[str]) -> PreparedRun:
    """A run up to where its training would begin."""
    arguments = parse_command_line(flags)
    return prepare_run(arguments, open_record(Path(arguments.training.output_dir), arguments))


@pytest.mark.parametrize("strategy", ["influence", "beam"])
@pytest.mark.slow
def test_a_run_prints_and_records_the_scores_and_another_seed_reads_them(
    tmp_path, flags, strategy, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    assert main([*flags, f"--layer_strategy={strategy}"]) == 0
    record = read_run_record(tmp_path / "run")
    assert record.student["layers"] == [0, 1, 3]
    scores = record.student["layer_scores"]["scores"]
    assert scores[-1]["layers"] == ([3] if strategy == "influence" else [0, 1, 3])
    for scored in scores:
        assert f" {' '.join(map(str, scored['layers']))}: {scored['score']:.4g}" in caplog.text
    assert "student layer 2 <- teacher layer 3" in caplog.text
    assert record.seconds["layer_search"] > 0
    kept = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").config.distillation
    assert (kept["student_layers"], kept["layer_scores"]) == ([0, 1, 3], record.student["layer_scores"])

    monkeypatch.setattr(layer_scores, "run_model", lambda *_, **__: pytest.fail("the teacher ran again"))
    again = replace_flag(flags, output_dir=tmp_path / "again", seed=7)
    assert main([*again, f"--layer_strategy={strategy}"]) == 0
    assert read_run_record(tmp_path / "again").student["layer_scores"] == record.student["layer_scores"]


def test_a_fixed_strategy_has_no_scores(tmp_path, flags):
    run = prepare([*flags, "--layer_strategy=top"])
    assert describe_student(run.student, run.layers, [])["layer_scores"] is None
    assert not (tmp_path / "cache" / "layer_choices").exists()


def test_calibration_rows_are_drawn_from_the_training_rows_by_the_sample_seed_alone(tmp_path, flags):
    few = [*flags, "--layer_strategy=influence", "--calibration_rows=5", "--max_train_samples=20"]
    for name, options in {"a": [], "b": ["--seed=3"], "c": ["--sample_seed=7"]}.items():
        prepare([*replace_flag(few, output_dir=tmp_path / name), *options])
    choices = [json.loads(path.read_text()) for path in (tmp_path / "cache" / "layer_choices").glob("*.json")]
    assert len({choice["spec"]["rows_fingerprint"] for choice in choices}) == len(choices) == 2


def test_a_regression_is_searched_too(tmp_path, flags):
    for split in ("train", "validation", "test"):
        rows = "".join(f"the {NOUNS[i % 6]} is not a {NOUNS[i % 5]},{i / 10}\n" for i in range(12))
        (tmp_path / f"{split}.csv").write_text("text,label\n" + rows)
    make_bert(4, num_labels=1, seed=1, problem_type="regression").save_pretrained(tmp_path / "teacher")
    run = prepare([*flags, "--layer_strategy=greedy", "--label_kind=numbers"])
    assert "squared difference" in run.student.config.distillation["layer_scores"]["measure"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layer_strategy=beam", "--student_num_layers=9"], "student_num_layers is 9, need 1 to 4"),
        (["--layer_strategy=influence", "--student_num_layers=0"], "a student has at least 1 layer"),
        (["--layer_strategy=cka", "--calibration_rows=1"], "--calibration_rows is 1: give at least 2"),
        (["--layer_strategy=beam", "--beam_width=0"], "--beam_width is 0: give at least 1"),
        (["--layer_strategy=greedi"], "did you mean greedy"),
        (["--layer_strategy=cka", "--student_layers=0,1"], "leave one out"),
    ],
)
def test_mistakes_are_one_line_and_status_2_before_any_data_are_read(tmp_path, flags, options, message, capsys):
    (tmp_path / "train.csv").write_text("nothing that could be read\n")
    with pytest.raises(SystemExit) as exit_status:
        main([*flags, *options])
    assert exit_status.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error


def test_a_preview_shows_what_a_run_would_choose(tmp_path, flags):
    folder = tmp_path / "preview"
    previews = replace_flag(flags, output_dir=folder)
    assert preview_strategies.main([*previews, "--strategies=cka,beam,top", "--beam_width=2"]) == 0
    layers = {
        entry["strategy"]: entry["layers"] for entry in json.loads((folder / "preview.json").read_text())["strategies"]
    }
    assert layers["beam"] == [0, 1, 3]
    assert len(layers["cka"]) == 3
    assert prepare([*flags, "--layer_strategy=cka"]).layers == layers["cka"]


def test_a_sweep_may_name_these_strategies(flags):
    states = [check_run([*flags, "--layer_strategy", name])["state"] for name in SEARCHED_STRATEGIES]
    assert states == ["open"] * len(SEARCHED_STRATEGIES)


@pytest.mark.slow
def test_two_processes_start_from_the_layers_of_one(tmp_path, flags):
    result = launch(TWO_PROCESSES, [*flags, "--layer_strategy=beam"])
    assert result.returncode == 0, result.stderr[-3000:]
    assert read_run_record(tmp_path / "run").student["layers"] == [0, 1, 3]
