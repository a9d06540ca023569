"""Long runs take no more memory, files or disk at their end than near their beginning."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).with_name("long_run_tools.py")
MEGABYTE = 1e6


def run_long(*arguments: object) -> tuple[dict, int]:
    """What `long_run_tools.py` measured, and the bytes that it wrote to stdout and stderr."""
    result = subprocess.run(
        [sys.executable, str(TOOLS), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["status"] == 0
    print(json.dumps(found | {"printed_bytes": len(result.stdout) + len(result.stderr)}))
    return found, len(result.stdout) + len(result.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("teacher_outputs", ["stored", "live"])
def test_memory_and_files_are_flat_over_2000_steps_and_little_is_written(tmp_path, teacher_outputs):
    found, printed = run_long(tmp_path, "steps", teacher_outputs)
    early, *_, late = found["measured"]
    assert len(found["measured"]) == 4
    assert late["rss_bytes"] - early["rss_bytes"] < 10 * MEGABYTE
    assert late["open_files"] == early["open_files"]
    assert printed < 30_000
    assert found["record_bytes"] < 30_000


@pytest.mark.slow
def test_memory_and_files_are_flat_over_20_runs_in_one_process(tmp_path):
    found, printed = run_long(tmp_path, "runs")
    early, late = found["measured"][9], found["measured"][-1]  # after every strategy once, and twice
    assert late["rss_bytes"] - early["rss_bytes"] < 20 * MEGABYTE
    assert late["open_files"] <= early["open_files"]
    assert printed < 20 * 15_000
