"""A machine in equal parts: threads, cards, and memory that lasts."""

import json

import pytest

from layer_distillation.sweep import places
from layer_distillation.sweep.places import WHOLE_MACHINE, divide_machine, measure_free_bytes
from layer_distillation.sweep.plan import Needs, PlannedRun
from sweep_tools import RECORD, write_finished_run


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """8 processors, 10 GB free, no limit of a container."""
    facts = tmp_path / "meminfo"
    facts.write_text("MemTotal:  20000000 kB\nMemAvailable:  9765625 kB\nHugePages_Total:       0\n")
    monkeypatch.setattr(places, "MEMORY_FACTS", facts)
    monkeypatch.setattr(places, "CONTROL_GROUP", tmp_path / "cgroup")
    monkeypatch.setattr(places.os, "sched_getaffinity", lambda _: set(range(8)))
    return tmp_path


def make_runs(state: str = "open", folder=None, **needs: int) -> list[PlannedRun]:
    needs = Needs(**{"memory_bytes": 10**9} | needs)
    return [PlannedRun("top", "top", "1", folder, None, flags=[], command=[], state=state, needs=needs)]


def divide(jobs: int, environment: dict[str, str] | None = None, **needs: int) -> list[str]:
    return [place.describe() for place in divide_machine(jobs, make_runs(**needs), environment or {})]


def test_threads_are_divided_and_nobody_is_left_without_one():
    assert divide(2) == ["4 threads"] * 2
    assert divide(3) == ["2 threads"] * 3
    assert divide(9) == ["1 thread"] * 9
    assert divide(2, {"OMP_NUM_THREADS": "6"}) == ["3 threads"] * 2
    assert divide(2, {"OMP_NUM_THREADS": "1"}) == ["1 thread"] * 2


def test_cards_are_divided_equally_or_shared():
    assert divide(2, num_cards=4, card_bytes=10**11) == ["card 0,1, 4 threads", "card 2,3, 4 threads"]
    assert divide(2, num_cards=3, card_bytes=10**11) == ["card 0, 4 threads", "card 1, 4 threads"]
    shared = divide(4, {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, num_cards=2, card_bytes=10**11)
    assert shared == [f"card GPU-{name}, 2 threads" for name in "abab"]


def test_what_a_run_is_told_of_its_place():
    (_, place) = divide_machine(2, make_runs(num_cards=2, card_bytes=10**11), {})
    assert place.variables == {"OMP_NUM_THREADS": "4", "PET_STANDALONE": "1", "CUDA_VISIBLE_DEVICES": "1"}


def test_one_alone_has_the_machine_as_it_finds_it_however_little_that_is():
    assert divide_machine(1, make_runs(memory_bytes=10**15), {}) == [WHOLE_MACHINE]
    assert (WHOLE_MACHINE.describe(), WHOLE_MACHINE.variables) == ("", {})


def test_more_than_the_memory_allows_are_refused_with_the_reason_and_what_fits():
    assert len(divide(10)) == 10
    with pytest.raises(
        ValueError,
        match=r"--jobs 11 takes about 11.0 GB, 11 x 1.0 GB \(estimated from the teacher's weights\), and free here are "
        r"10.0 GB: take --jobs 10 or fewer",
    ):
        divide(11)
    with pytest.raises(ValueError, match=r"take --jobs 1$"):
        divide(2, memory_bytes=6 * 10**9)


def test_cards_that_are_shared_have_to_hold_all_that_share_them():
    assert len(divide(4, num_cards=2, card_bytes=2 * 10**9)) == 4
    with pytest.raises(ValueError, match=r"3 x 1.0 GB .* a card has 2.0 GB: take --jobs 4 or fewer"):
        divide(5, num_cards=2, card_bytes=2 * 10**9)


def test_what_a_finished_run_of_the_plan_took_is_better_known_than_any_estimate(tmp_path):
    write_finished_run(tmp_path / "done")
    record = json.dumps(RECORD | {"peak_memory_bytes": 4 * 10**9})
    (tmp_path / "done" / "run_record.json").write_text(record)
    runs = make_runs() + make_runs(state="finished", folder=tmp_path / "done")
    assert len(divide_machine(2, runs, {})) == 2
    with pytest.raises(ValueError, match=r"12.0 GB, 3 x 4.0 GB \(the most that a finished run of this plan took\)"):
        divide_machine(3, runs, {})


def test_a_containers_limit_counts(machine):
    assert measure_free_bytes() == 10**10
    group = machine / "cgroup"
    group.mkdir()
    (group / "memory.max").write_text("max\n")
    assert measure_free_bytes() == 10**10
    (group / "memory.max").write_text("5000000000\n")
    (group / "memory.current").write_text("3000000000\n")
    (group / "memory.stat").write_text("anon 1\ninactive_file 1000000000\n")
    assert measure_free_bytes() == 3 * 10**9
