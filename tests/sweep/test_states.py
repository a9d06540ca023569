"""What is finished, asked of a child process, and what a finished run scored."""

import sys
from pathlib import Path

import pytest

from layer_distillation.sweep.plan import Needs, plan_runs
from layer_distillation.sweep.processes import ProcessGroups
from layer_distillation.sweep.programs import make_environment
from layer_distillation.sweep.states import add_states, summarize_run
from sweep_tools import LAUNCH, RECORD, SCORED, make_settings, write_finished_run

# Stands for the check: says `finished` where a run's flags have a seed of 1, and where it would look for modules.
CHECK = f"""#!{sys.executable} -SE
import json, os, sys
print(os.environ["PYTHONPATH"], sys.argv[1:], file=sys.stderr)
for line in sys.stdin:
    flags = json.loads(line)
    state = "finished" if flags[flags.index("--seed") + 1] == "1" else "open"
    print(json.dumps({{"state": state, "needs": {{"memory_bytes": 7}}}}))
sys.exit(int(os.environ["STATUS"]))
"""


@pytest.fixture
def groups(tmp_path, monkeypatch) -> ProcessGroups:
    python = tmp_path / "python"
    python.write_text(CHECK)
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("STATUS", "0")
    return ProcessGroups(make_environment())


def test_a_child_that_finds_the_same_modules_is_told_the_flags_of_every_run(groups, capfd):
    runs = plan_runs(make_settings(seeds=["1", "2"], flags=["--note", "two\nlines \udcff"]), LAUNCH)
    runs = add_states(runs, groups)
    assert [run.state for run in runs] == ["finished", "finished", "open", "open"]
    assert runs[0].needs == Needs(memory_bytes=7)
    assert runs[0].describe()["needs"] == {"memory_bytes": 7, "cards": 0}
    said = capfd.readouterr().err
    assert str(Path(__file__).resolve().parents[2]) in said
    assert f"['-P', '-m', 'layer_distillation.sweep.check', {sys.argv[0]!r}]" in said


def test_what_the_check_refuses_ends_the_sweep_with_its_status(groups):
    groups.environment["STATUS"] = "2"
    with pytest.raises(SystemExit) as stopped:
        add_states(plan_runs(make_settings(), LAUNCH), groups)
    assert stopped.value.code == 2


def test_a_finished_run_is_summarized_in_a_few_words(tmp_path):
    write_finished_run(tmp_path / "run")
    assert summarize_run(tmp_path / "run") == SCORED


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", "", "cannot be read"),
        ("run_record.json", str(RECORD).replace("'", '"').replace("finished", "running"), "is not finished"),
        ("run_record.json", None, "holds no run_record.json"),
    ],
)
def test_a_run_that_is_not_whole_has_no_summary(tmp_path, name, content, message):
    write_finished_run(tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    if content is not None:
        (tmp_path / "run" / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        summarize_run(tmp_path / "run")
