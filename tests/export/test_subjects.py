"""A run, rows or a teacher that an export cannot have again: one line, and nothing is changed."""

from transformers import AutoTokenizer

from export_tools import export, refuse
from layer_distillation.export.subjects import load_texts, tokenize_texts
from layer_distillation.records.export_record import read_export_record
from layer_distillation.records.run_record import RUNNING, read_run_record
from layer_distillation.records.token_counts import measure_lengths


def test_a_run_that_is_not_finished_is_refused(project, capsys):
    record = read_run_record(project / "run")
    record.status = RUNNING
    record.write(project / "run")
    assert "run is not finished: run its command again" in refuse(project, capsys, "--formats=pytorch")


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    assert "holds no run_record.json: it is not the folder" in refuse(tmp_path, capsys, "--formats=pytorch")


def test_a_format_that_does_not_exist_is_refused_with_the_nearest(project, capsys):
    assert refuse(project, capsys, "--formats=pytorh").startswith("--formats has 'pytorh' (did you mean pytorch?)")


def test_rows_that_are_gone_are_one_line_and_an_export_without_scores_needs_none(project, capsys):
    record = read_run_record(project / "run")
    record.arguments["train_file"] = str(project / "gone.csv")
    record.write(project / "run")
    message = refuse(project, capsys, "--formats=pytorch")
    assert message.startswith("the rows of this run cannot be had again (")
    assert message.endswith("or --no_scores exports without scores")
    assert export(project, "--formats=pytorch", "--no_scores") == 0
    assert [made.metrics for made in read_export_record(project / "run").artifacts] == [{}]


def test_other_rows_than_the_runs_are_refused(project, finished, capsys):
    record = read_run_record(project / "run")
    record.arguments["train_file"] = str(finished.parent / "validation.csv")
    record.write(project / "run")
    assert "are others than it was trained and scored on" in refuse(project, capsys, "--formats=pytorch")


def test_rows_are_cut_where_the_run_cut_them_whatever_length_was_asked_for(project):
    """A length that nobody asked for is the kind's, or what the teacher takes."""
    record = read_run_record(project / "run")
    record.task["max_length"] = 4
    rows = tokenize_texts(load_texts(record), AutoTokenizer.from_pretrained(project / "run"), record)
    assert max(measure_lengths(rows.train)) == 4


def test_a_fine_tuned_teacher_that_is_gone_is_one_line_and_it_is_not_trained_again(project, capsys):
    message = refuse(project, capsys, "--formats=pytorch", f"--cache_dir={project / 'other'}")
    assert f"the fine-tuned teacher of this run is not in {project}/other/teachers/" in message
    assert message.endswith("or --no_controls exports without the teacher beside the student")
    assert export(project, "--formats=pytorch", f"--cache_dir={project / 'other'}", "--no_controls") == 0
