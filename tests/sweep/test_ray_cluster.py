"""A sweep on a Ray cluster: of two nodes on this machine, one of which dies while a run is at work on it."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="Ray is an extra: pip install -r requirements-ray.txt")

from ray.cluster_utils import Cluster  # noqa: E402 - where Ray is

from kill_moments import LOOP, list_differences, read_contents  # noqa: E402
from layer_distillation.records.checkpoints import find_checkpoint  # noqa: E402
from layer_distillation.sweep import ray_cluster  # noqa: E402
from tiny_project import make_project  # noqa: E402

ONE_EACH = ["--cpus_per_run", "1"]


def make_command(root: Path, *options: str) -> list[str]:
    flags = [flag for flag in make_project(root) if not flag.startswith("--output_dir")]
    plan = ["--strategies", "top odd", "--seeds", "1", "--output_root", str(root / "runs"), *options]
    return [LOOP, *plan, *flags, "--num_train_epochs=30", "--save_total_limit=1"]


def start(command: list[str], output: Path, **variables: str) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"VIRTUAL_ENV": sys.prefix, "LAUNCH": "python", "OMP_NUM_THREADS": "1"} | variables
    with output.open("w") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)


@pytest.fixture
def cluster(monkeypatch) -> Iterator[Cluster]:
    """A head that takes no runs; a busy machine takes longer to start one than Ray waits for."""
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "300")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def wait_for(condition, process: subprocess.Popen, output: Path, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < end, output.read_text()
        time.sleep(0.1)


@pytest.mark.slow
def test_a_run_whose_node_dies_goes_on_from_its_checkpoint_on_the_other_and_the_records_are_the_loops(
    cluster, tmp_path
):
    root, output = tmp_path / "root", tmp_path / "output"
    done = start(make_command(root), output)
    assert done.wait(timeout=500) == 0, output.read_text()
    serial = read_contents(root)
    subprocess.run(["rm", "-r", str(root)], check=True)

    nodes = {node.node_id[:8]: node for node in [cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)]}
    process = start(make_command(root, "--executor", "ray", "--ray_address", cluster.address, *ONE_EACH), output)
    wait_for(lambda: output.read_text().count("begins, node ") == 2, process, output)
    [where] = re.findall(r"odd-seed1: begins, node (\w+)", output.read_text())
    wait_for(lambda: find_checkpoint(root / "runs" / "odd-seed1"), process, output)
    first_steps = int(find_checkpoint(root / "runs" / "odd-seed1").rsplit("-", 1)[1])
    cluster.remove_node(nodes[where], allow_graceful=False)
    assert process.wait(timeout=500) == 0, output.read_text()

    told = output.read_text()
    assert re.search(rf"odd-seed1: goes on, node (?!{where})\w+", told), told
    log = (root / "runs" / "logs" / "odd-seed1.log").read_text()
    (resumed,) = map(int, re.findall(r"on from step (\d+)", log))
    assert resumed >= first_steps
    assert list_differences(serial, read_contents(root)) == []


@pytest.mark.slow
def test_a_signal_ends_what_is_at_work_on_the_cluster_and_the_same_command_goes_on_here(cluster, tmp_path):
    cluster.add_node(num_cpus=2)
    root, output = tmp_path / "root", tmp_path / "output"
    options = ["--executor", "ray", "--ray_address", cluster.address, *ONE_EACH]
    process = start(make_command(root, *options), output)
    wait_for(lambda: find_checkpoint(root / "runs" / "odd-seed1"), process, output)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 143, output.read_text()
    log = (root / "runs" / "logs" / "odd-seed1.log").read_text()
    assert re.search(r"stopped by SIGTERM; .*checkpoint-\d+ is kept", log), log
    assert not [line for line in list_commands() if f"--output_dir {root}" in line]
    process = start(make_command_again(root), output)
    assert process.wait(timeout=500) == 0, output.read_text()


def make_command_again(root: Path) -> list[str]:
    """Without making the project anew."""
    kept = root.rename(root.with_suffix(".kept"))
    command = make_command(root)
    subprocess.run(["rm", "-r", str(root)], check=True)
    kept.rename(root)
    return command


def list_commands() -> list[str]:
    return [
        path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.exists()
    ]


@pytest.mark.slow
def test_more_than_any_node_has_is_refused_in_one_line(cluster, tmp_path):
    cluster.add_node(num_cpus=2)
    output = tmp_path / "output"
    command = make_command(tmp_path / "root", "--executor", "ray", "--ray_address", cluster.address)
    process = start([*command, "--cpus_per_run", "3"], output)
    assert process.wait(timeout=120) == 2
    (line,) = output.read_text().splitlines()
    assert "no node of the Ray cluster (2 alive) has what a run needs (3 CPU, 0 GPU, " in line


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1"),
        ("somewhere", "--ray_address somewhere: give host and port"),
        ("auto", "no Ray cluster is running here: start one"),
    ],
)
def test_an_address_that_does_not_answer_is_one_error_within_seconds(tmp_path, monkeypatch, address, message):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_cluster, "CURRENT_CLUSTER", tmp_path / "none")
    begun = time.monotonic()
    with pytest.raises(ValueError, match=message):
        ray_cluster.connect(address)
    assert time.monotonic() - begun < 6


@pytest.mark.slow
def test_something_else_that_listens_there_is_no_cluster(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listener.accept, daemon=True).start()
        begun = time.monotonic()
        with pytest.raises(ValueError, match="no Ray cluster answers at"):
            ray_cluster.connect(f"127.0.0.1:{listener.getsockname()[1]}")
        assert time.monotonic() - begun < 60
