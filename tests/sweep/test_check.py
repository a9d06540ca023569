"""What is finished, what is open, and what is refused, of several runs at once."""

import io
import json
import shutil
import sys

import pytest

import run_distillation
from layer_distillation.sweep.check import check_run, main
from layer_distillation.sweep.needs import PROCESS_BYTES
from test_run_distillation import replace_flag
from tiny_project import make_project


@pytest.fixture
def flags(tmp_path) -> list[str]:
    return [*make_project(tmp_path), "--num_train_epochs=1"]


@pytest.fixture
def check(monkeypatch):
    """The command, given the flags of some runs."""

    def check_runs(*runs: list[str]) -> int:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{json.dumps(run)}\n" for run in runs)))
        return main()

    return check_runs


def test_finished_half_done_and_new_runs_are_told_apart(tmp_path, flags, check, capsys):
    names = ("done", "broken", "cut", "new")
    runs = {name: replace_flag(flags, output_dir=tmp_path / name) for name in names}
    assert run_distillation.main(runs["done"]) == 0
    for name in ("broken", "cut"):
        shutil.copytree(tmp_path / "done", tmp_path / name)
    record = tmp_path / "broken" / "run_record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "running"}))
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    capsys.readouterr()
    assert check(*runs.values()) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [run["state"] for run in told] == ["finished", "open", "open", "open"]
    assert [run["needs"]["memory_bytes"] > PROCESS_BYTES for run in told] == [True] * 4
    pushed = [*runs["done"], "--push_to_hub", "true", "--hub_token", "hf_x"]
    assert not (tmp_path / "new").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("layer_distillation.runs.flag_checks.check_push", lambda *_: None)
        assert check_run(pushed)["state"] == "open"  # its student may still have to be pushed


def test_a_run_of_a_recipe_that_has_changed_is_open_and_its_own_command_refuses_it(tmp_path, flags, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("temperature: 2.0\n")
    assert run_distillation.main([str(recipe), *flags]) == 0
    assert check_run([str(recipe), *flags])["state"] == "finished"
    recipe.write_text("temperature: 3.0\n")
    assert check_run([str(recipe), *flags])["state"] == "open"
    with pytest.raises(SystemExit) as stopped:
        run_distillation.main([str(recipe), *flags])
    assert stopped.value.code == 2
    assert "holds another run (temperature: 2.0 -> 3.0)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperatur": 3}, "did you mean --temperature"),
        ({"layer_strategy": "od"}, "did you mean odd"),
        ({"train_file": "nowhere.csv"}, "nowhere.csv is not a file"),
        ({"teacher_model_name_or_path": None}, "no teacher is named"),
    ],
)
def test_a_mistake_in_any_run_is_one_line_and_status_2(flags, check, values, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        check(flags, replace_flag(flags, **values))
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err.splitlines()[-1]
    assert printed.out == ""


def test_a_tuned_value_that_leaves_no_term_of_the_teacher_is_refused(flags, check, capsys):
    """The comparison would hold it for the control of its start, and refuse both."""
    off, tuned = [f"--{name}_weight=0" for name in ("pkd", "hidden", "attention", "kl")], "--tuned_flags=kl_weight"
    assert check([*flags, *off, "--kl_weight=0.5", tuned], [*flags, *off], [*flags, "--kl_weight=0", tuned]) == 0
    with pytest.raises(SystemExit) as stopped:
        check([*flags, *off, tuned])
    assert stopped.value.code == 2
    assert "with kl_weight=0.0 no term of the teacher is left" in capsys.readouterr().err
