"""The sweep's own flags are read, all others go to its runs in their order."""

from pathlib import Path

import pytest

from layer_distillation.sweep import arguments
from layer_distillation.sweep.arguments import parse_command_line
from layer_distillation.sweep.plan import ClusterSettings

SLURM_WORDS = ["--slurm", "partition=gpu", "--slurm=comment=a=b", "--slurm=time=90", "--slurm=nodelist=007"]
SLURM_OPTIONS = {"partition": "gpu", "comment": "a=b", "time": 90, "nodelist": "007"}


def test_own_flags_may_stand_among_those_of_the_runs():
    words = [
        "my recipe.yaml",
        "--strategies",
        "top\todd",
        "--note",
        "",
        "--seeds=1 2",
        "-x",
        "a  b",
        "--scratch",
        "--",
        "--random",
    ]
    settings, is_plan = parse_command_line(words)
    assert settings.strategies == ["top", "odd"]
    assert settings.seeds == ["1", "2"]
    assert settings.scratch
    assert (settings.random, settings.without_teacher, is_plan) == (0, False, False)
    assert settings.output_root == Path("runs")
    assert settings.flags == ["my recipe.yaml", "--note", "", "-x", "a  b", "--random"]


def test_behind_the_separator_nothing_is_the_sweeps_own():
    flags = ["--strategies", "top", "--", "-h"]
    settings, _ = parse_command_line(["--", *flags])
    assert settings.flags == flags
    assert settings.strategies == ["top", "bottom", "odd", "even"]


@pytest.mark.parametrize("flag", ["--strategie=top", "--plans", "--help_all"])
def test_no_flag_is_abbreviated_or_guessed(flag):
    settings, is_plan = parse_command_line([flag])
    assert settings.flags == [flag]
    assert not is_plan


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "1 x"], '--seeds is "1 x": give whole numbers, such as "42 43"'),
        (["--seeds", "٣"], "give whole numbers"),
        (["--seeds"], "--seeds needs a value: see --help"),
        (["--executor", "dask"], '--executor is "dask": give one of here, ray, slurm'),
        (["--ray_address", "a:1"], "--ray_address is for --executor ray: add that, or leave it out"),
        (["--cpus_per_run", "2"], "--cpus_per_run is for --executor ray or slurm"),
        (["--executor", "ray", "--cpus_per_run", "0"], '--cpus_per_run is "0"'),
        (["--executor", "ray", "--slurm", "partition=gpu"], "--slurm is for --executor slurm"),
        (["--executor", "slurm", "--slurm", "gpu"], '--slurm is "gpu": give a name and a value'),
        (["--executor", "slurm", "--slurm", "time=1-00:00"], "--slurm time is 1-00:00: give minutes"),
        (["--", "--hub-token=hf_x"], "--hub_token would show in the list of processes"),
        (["--", "--seed", "3"], "--seed differs between the runs"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse_command_line(words)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("run_all_strategies.sh: error: ")
    assert message in line


def test_what_runs_get_on_a_cluster_and_how_many_at_once():
    settings, _ = parse_command_line(["--executor", "slurm", *SLURM_WORDS])
    assert settings.cluster == ClusterSettings("slurm", 0, 2, 0, "auto", SLURM_OPTIONS)
    settings, _ = parse_command_line(
        ["--executor", "ray", "--jobs", "3", "--cpus_per_run", "4", "--cards_per_run", "1"]
    )
    assert settings.cluster == ClusterSettings("ray", 3, 4, 1, "auto", {})
    assert parse_command_line(["--jobs", "3"])[0].cluster is None


def test_the_console_command_says_its_own_name(monkeypatch, capsys):
    monkeypatch.setattr(arguments.sys, "argv", ["/somewhere/bin/distil-sweep"])
    with pytest.raises(SystemExit):
        parse_command_line(["--random", "some"])
    assert capsys.readouterr().err.startswith("distil-sweep: error: --random")
    with pytest.raises(SystemExit):
        parse_command_line(["--help"])
    assert capsys.readouterr().out.startswith("usage: distil-sweep [options] [--] [recipe] [flags of distil]")


def test_help_shows_the_defaults(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse_command_line(["--scratch", "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for default in ("(default: top bottom odd even)", "(default: 42 43 44)", "(default: runs)"):
        assert default in shown
