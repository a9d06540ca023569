"""The scale benchmark: what it makes of its rounds, what it sees of a process, and a tiny run of it."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.bench_scale import main, print_table, read_memory, run_watched, take_best


def test_of_several_rounds_the_least_seconds_and_the_most_memory_count():
    rounds = [
        {"rows": 10, "own_bytes": 5, "mapped_bytes": 2, "data": 1.0, "teacher_outputs": 4.0, "distillation": 2.0},
        {"rows": 10, "own_bytes": 3, "mapped_bytes": 6, "data": 2.0, "teacher_outputs": 3.0, "distillation": 9.0},
    ]
    assert take_best(rounds) == {
        **{"rows": 10, "own_bytes": 5, "mapped_bytes": 6},
        **{"data": 1.0, "teacher_outputs": 3.0, "distillation": 2.0},
    }


def test_the_cost_of_a_row_is_the_slope_beyond_the_smallest_size(capsys):
    sizes = [
        {"rows": 1000, "own_bytes": 5e6, "mapped_bytes": 0, "data": 1.0, "teacher_outputs": 1.0, "distillation": 5.0},
        {"rows": 3000, "own_bytes": 7e6, "mapped_bytes": 2e6, "data": 2, "teacher_outputs": 4.0, "distillation": 6.0},
    ]
    print_table(sizes)
    assert capsys.readouterr().out.splitlines()[-1] == "| 3,000 | 0.500 | 1.500 | 0.500 | 2.500 | 7 | 2 |"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from Linux's /proc")
def test_own_memory_is_told_from_mapped_files():
    own = read_memory(os.getpid())["own_bytes"]
    block = bytearray(os.urandom(2**20)) * 64
    assert read_memory(os.getpid())["own_bytes"] - own == pytest.approx(len(block), rel=0.1)


def test_a_failed_command_is_an_error():
    with pytest.raises(subprocess.CalledProcessError):
        run_watched([sys.executable, "-c", "raise SystemExit(3)"])


@pytest.mark.slow
def test_every_size_is_run_and_the_last_line_is_json(capsys):
    main(["--base_rows", "40", "--factors", "1", "2"])
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [result["rows"] for result in results] == [40, 80]
    assert all(result["own_bytes"] > 2**27 for result in results)
