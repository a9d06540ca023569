"""A line per run, and what failed, why and where at the end."""

from pathlib import Path

import pytest

from layer_distillation.sweep.executors import Outcome
from layer_distillation.sweep.plan import PlannedRun, plan_runs
from layer_distillation.sweep.report import SweepReport, find_reason
from sweep_tools import LAUNCH, SCORED, make_settings, write_finished_run


@pytest.fixture
def runs(tmp_path) -> list[PlannedRun]:
    (tmp_path / "logs").mkdir()
    return plan_runs(make_settings(output_root=tmp_path), LAUNCH)


def tell(outcomes: list[Outcome]) -> SweepReport:
    report = SweepReport(len(outcomes))
    report.number([outcome.run for outcome in outcomes])
    for outcome in outcomes:
        report.begin(outcome.run)
        report.end(outcome)
    return report


def test_each_run_is_a_line(runs, capsys):
    for run in runs:
        write_finished_run(run.folder)
    report = tell([Outcome(runs[0], 0, 34.9), Outcome(runs[1], 0, None)])
    assert capsys.readouterr().out.splitlines() == [
        f"[1/2] top-seed42: 34 s, {SCORED}",
        f"[2/2] odd-seed42: finished before, {SCORED}",
    ]
    assert report.finished == runs
    assert report.tell_failures() == 0


def test_a_launcher_that_says_0_without_a_finished_run_has_failed_and_the_log_says_why(runs, capsys):
    report = tell([Outcome(runs[0], 0, 1.0)])
    assert capsys.readouterr().out == "[1/1] top-seed42: 1 s, failed with exit status 0\n"
    assert report.finished == []
    log = runs[0].log
    assert log.read_text() == (
        f"run_all_strategies.sh: {runs[0].folder} holds no run_record.json: it is not the folder of a run\n"
    )
    assert report.tell_failures() == 1
    assert capsys.readouterr().err == (
        f"\nfailed, the same command tries again:\n  top-seed42: exit status 0, log {log}\n"
    )


def test_a_failure_is_told_with_the_last_error_of_its_log(runs, capsys):
    write_finished_run(runs[0].folder)
    runs[0].log.write_text("x.py: error: of a start before\n" + "line\n" * 38 + "x.py: error: the loss is nan\nafter\n")
    report = tell([Outcome(runs[0], 7, 3.0)])
    assert capsys.readouterr().out.endswith(" 3 s, failed with exit status 7 x.py: error: the loss is nan\n")
    assert report.failures == [f"top-seed42: exit status 7, log {runs[0].log}: x.py: error: the loss is nan"]


def test_of_several_at_once_each_has_a_line_at_its_beginning_and_one_at_its_end(runs, capsys):
    for run in runs:
        write_finished_run(run.folder)
    report = SweepReport(3)
    report.number(runs)
    report.begin(runs[0], "1 thread")
    report.begin(runs[1], "card 1, 1 thread")
    report.end(Outcome(runs[1], 0, 5.0))
    report.end(Outcome(runs[0], 0, 34.9))
    assert capsys.readouterr().out.splitlines() == [
        "[1/3] top-seed42: begins, 1 thread",
        "[2/3] odd-seed42: begins, card 1, 1 thread",
        f"[2/3] odd-seed42: 5 s, {SCORED}",
        f"[1/3] top-seed42: 34 s, {SCORED}",
    ]
    report.begin(runs[1], "node b")
    report.begin(runs[1], "node c")
    moved = ["[2/3] odd-seed42: goes on, node b", "[2/3] odd-seed42: goes on, node c"]
    assert capsys.readouterr().out.splitlines() == moved
    assert report.finished == runs  # in the order of the plan, which the comparison is given


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"x.py: error: old\n" + b"line\n" * 40, ""),
        (b" 1 %\r 2 %\rx.py: error: no space\r 3 %\n", "x.py: error: no space"),
        (b"x.py: error: \xff\x1b[31m\n", "x.py: error: \\xff?[31m"),
        (b"", ""),
    ],
)
def test_the_reason_is_a_short_line_that_steers_no_terminal(tmp_path, content, reason):
    (tmp_path / "log").write_bytes(content)
    assert find_reason(tmp_path / "log") == reason


def test_without_a_log_there_is_no_reason(tmp_path: Path):
    assert find_reason(tmp_path / "log") == ""
