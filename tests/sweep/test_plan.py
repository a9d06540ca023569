"""The plan is pure: settings in, runs in their order out."""

from layer_distillation.sweep.plan import count_draws, plan_runs
from sweep_tools import LAUNCH, make_settings


def list_names(**values: object) -> list[str]:
    return [run.name for run in plan_runs(make_settings(**values), LAUNCH)]


def test_seed_by_seed_every_start_beside_its_control_then_the_random_draws():
    names = list_names(strategies=["top"], seeds=["5", "9"], random=2, scratch=True, without_teacher=True)
    for seed in (5, 9):
        starts = ["top", "top-without-teacher", "scratch", "scratch-without-teacher"]
        assert names[:4] == [f"{start}-seed{seed}" for start in starts]
        names = names[4:]
    assert names == ["random-seed5", "random-seed6"]


def test_what_is_named_twice_is_planned_once():
    assert list_names(strategies=["top", "top", "random"], seeds=["1", "1"], random=2) == [
        "top-seed1",
        "random-seed1",
        "random-seed2",
    ]


def test_draws_are_counted_that_are_named_as_a_strategy():
    assert count_draws(make_settings(strategies=["top", "random"], seeds=["1", "2"], race=True)) == 2
    assert count_draws(make_settings(strategies=["top"], seeds=["1", "2"], random=1, race=True)) == 1
    assert count_draws(make_settings()) == 0


def test_a_seed_names_its_folder_as_it_was_written():
    assert list_names(strategies=["top"], seeds=["007"], random=1) == ["top-seed007", "random-seed7"]


def test_a_run_is_described_by_what_an_executor_elsewhere_needs():
    (run,) = plan_runs(make_settings(strategies=["top"], flags=["x.yaml"], without_teacher=True), LAUNCH)[1:]
    described = run.describe()
    command = described.pop("command")
    own = ["--layer_strategy", "top", "--seed", "42", "--output_dir", "runs/top-without-teacher-seed42"]
    assert command[:10] == [*LAUNCH, "x.yaml", *own]
    assert command[-2:] == ["--ce_weight", "1"]
    assert command[3:] == run.flags
    assert described == {
        "folder": "runs/top-without-teacher-seed42",
        "log": "runs/logs/top-without-teacher-seed42.log",
        "state": "open",
        "arm": "top-without-teacher",
        "strategy": "top",
        "seed": 42,
    }
