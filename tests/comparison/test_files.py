"""Files are whole or not there; whatever a user named something opens no cell, tag, link or line."""

import csv
import json

import pytest

from layer_distillation.comparison.files import format_markdown, format_text, write_reports
from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.grouping import group_runs
from layer_distillation.comparison.report import Block, list_blocks
from layer_distillation.comparison.results import analyse_unit
from layer_distillation.comparison.runs import LeftOut, read_runs
from simulated_runs import write_run

NASTY = "a|b\n## c <script>x</script> [d](http://e) `f` *g* _h_ \x1b[31m & \\"


@pytest.fixture
def results(tmp_path):
    for strategy, accuracy in {"top": 0.85, "bottom": 0.5, "scratch": 0.4}.items():
        student = {"untrained": {"loss": 1.25}} if strategy == "top" else {}
        write_run(tmp_path / "runs" / strategy, strategy, 1, accuracy, student=student)
    return [analyse_unit(unit, "auto", None, 200) for unit in group_runs(read_runs(find_run_folders([tmp_path]))[0])]


def write(folder, results):
    left_out = [LeftOut("torn", "damaged")]
    write_reports(folder, list_blocks(results, None, left_out), results, None, left_out)


def test_names_cannot_break_a_markdown_table():
    table = format_markdown([Block("t", [["x", "y"], [NASTY, "1"]])]).splitlines()[4:]
    assert table[0] == "| x | y |"
    assert table[1] == "|---|---|"
    assert len(table) == 3
    name = "a\\|b \\#\\# c &lt;script&gt;x&lt;/script&gt; [d\\](http://e) \\`f\\` \\*g\\* \\_h\\_ ?[31m &amp; \\\\"
    assert table[2] == f"| {name} | 1 |"


def test_headlines_and_lines_are_escaped_too():
    text = format_markdown([Block("a|<b>", lines=["c\nd <e>"])])
    assert "## a\\|&lt;b&gt;\n" in text
    assert "- c d &lt;e&gt;\n" in text


def test_text_is_aligned_in_a_hundred_columns_without_control_characters():
    block = Block("Title", [["", "n"], ["top", "1"], ["bottom \x1b[2J", "12"]], ["long " * 60])
    lines = format_text([block]).splitlines()
    assert lines[2:5] == ["              n", "top           1", "bottom ?[2J  12"]
    assert max(map(len, lines)) <= 100
    assert lines[6].startswith("  long")


def test_the_csv_has_one_row_per_arm(results, tmp_path):
    write(tmp_path / "out", results)
    with (tmp_path / "out" / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["is_control"]) for row in rows] == [
        ("top", "False"),
        ("bottom", "False"),
        ("scratch", "True"),
    ]
    assert float(rows[0]["metric"]) == results[0].best.average("metric")
    assert rows[0]["difference_to_best"] == rows[0]["metric_standard_deviation"] == ""
    assert float(rows[1]["p_holm"]) == results[0].comparisons[0].adjusted_p_value
    assert float(rows[2]["difference_to_best"]) == results[0].control_comparisons[0].estimate.value


def test_the_other_csv_has_one_row_per_run(results, tmp_path):
    write(tmp_path / "out", results)
    with (tmp_path / "out" / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["seed"], row["layers"]) for row in rows] == [
        ("top", "1", "0 1"),
        ("bottom", "1", "2 3"),
        ("scratch", "1", "- -"),
    ]
    assert rows[0]["folder"] == str(tmp_path / "runs" / "top")
    assert [row["untrained_loss"] for row in rows] == ["1.25", "", ""]


def test_the_json_holds_all_and_no_nan(results, tmp_path):
    write(tmp_path / "out", results)
    text = (tmp_path / "out" / "comparison.json").read_text()
    [unit] = json.loads(text, parse_constant=pytest.fail)["units"]
    assert json.loads(text)["left_out"] == [{"folder": "torn", "reason": "damaged"}]
    assert (unit["name"], unit["split"], unit["best"], unit["rows"]) == ("sick, 2 layers", "test", "top", 120)
    assert unit["validation_metric_name"] == results[0].metric_beside
    [pair] = unit["comparisons"]
    assert pair["estimate"]["value"] == results[0].comparisons[0].estimate.value
    assert pair["estimate"]["components"]["seed"] is None  # one seed: unknown
    assert pair["mcnemar"]["seed"] == 1
    assert unit["verdict"][0].startswith("Best: top")


def test_a_file_is_replaced_in_one_step(results, tmp_path, monkeypatch):
    out = tmp_path / "out"
    write(out, results)
    assert sorted(path.name for path in out.iterdir()) == [
        "comparison.csv",
        "comparison.json",
        "comparison.md",
        "runs.csv",
    ]
    before = (out / "comparison.md").read_bytes()

    def fail(self, target):
        raise OSError("the disk is full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="full"):
        write(out, [])
    assert (out / "comparison.md").read_bytes() == before
