"""A published table comes out of the packed runs byte for byte, by the command that is documented."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def check(name: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["benchmarks/remake_tables.sh", "--check", name]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_table_of_packed_runs_is_the_published_one():
    done = check("searched_sick")
    assert (done.returncode, done.stdout) == (0, "studies/tables/searched_sick.md\n"), done.stdout + done.stderr


def test_a_table_that_is_not_there_is_named():
    done = check("searched_sock")
    assert done.returncode == 2
    assert done.stderr.startswith("remake_tables.sh: error: no table searched_sock, there are: results ")
