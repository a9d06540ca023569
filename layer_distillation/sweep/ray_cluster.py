"""Runs as tasks of a Ray cluster, whose nodes all see the sweep's folder. Ray is an extra: `[ray]`.

Entry: `connect`, then `execute_on_ray`.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from layer_distillation.records.run_record import FINISHED
from layer_distillation.sweep import remote_run
from layer_distillation.sweep.executors import Listener, Outcome, RunAtWork, note_failure
from layer_distillation.sweep.places import GIGABYTE, find_memory_bytes
from layer_distillation.sweep.plan import ClusterSettings, PlannedRun
from layer_distillation.sweep.processes import ProcessGroups
from layer_distillation.sweep.remote_run import NOT_STARTED

AUTO = "auto"
ADDRESS_VARIABLE = "RAY_ADDRESS"
CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")  # as `ray start` leaves it
ANSWER_SECONDS, HEALTH_SECONDS = 5.0, 30.0  # the second: a Python that imports Ray, and asks
LOOK_SECONDS, CANCEL_SECONDS = 0.5, 60.0
MAX_RETRIES = 3  # of a task whose worker or node has died


# ---- the cluster ---------------------------------------------------------------------------------------------------


def connect(address: str) -> None:
    """Raises ValueError where no cluster answers within seconds: Ray 2.60 alone tries for ten minutes and more."""
    found = find_address(address)
    check_answer(found)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    os.environ.pop(ADDRESS_VARIABLE, None)  # Ray would take it in place of what it is given
    try:
        ray.init(address=found, log_to_driver=False, logging_level="error")
    except (RayError, ConnectionError, RuntimeError) as error:
        raise ValueError(f"no Ray cluster answers at {found}: {' '.join(str(error).split())[:200]}") from error
    for number, handler in handlers.items():
        signal.signal(number, handler)  # Ray's would leave what is at work


def find_address(address: str) -> str:
    """host:port; `auto` is RAY_ADDRESS, or the cluster that was started on this machine last."""
    given = address if address != AUTO else os.environ.get(ADDRESS_VARIABLE, "")
    if not given and CURRENT_CLUSTER.exists():
        given = CURRENT_CLUSTER.read_text(encoding="ascii").strip()
    if not given:
        raise ValueError(
            "no Ray cluster is running here: start one (ray start --head), or name one by --ray_address HOST:PORT"
        )
    return given


def check_answer(address: str) -> None:
    """Raises ValueError."""
    if not re.fullmatch(r"[^/:]+:[0-9]+", address):
        raise ValueError(f"--ray_address {address}: give host and port of its head, such as 10.0.0.1:6379, or {AUTO}")
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
        check = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
        subprocess.run(check, check=True, capture_output=True, timeout=HEALTH_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "what listens there is none"
        raise ValueError(
            f"no Ray cluster answers at {address} ({reason}): start one (ray start --head), or name another by "
            "--ray_address"
        ) from error


def check_fits(needs: Mapping[str, float]) -> None:
    """Raises ValueError where no node has what a run needs: Ray would wait for one for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0) >= amount for name, amount in needs.items()) for node in nodes):
        wanted = f"{needs['CPU']} CPU, {needs['GPU']} GPU, {needs['memory'] / GIGABYTE:.1f} GB of memory"
        raise ValueError(
            f"no node of the Ray cluster ({len(nodes)} alive) has what a run needs ({wanted}): take fewer by "
            "--cpus_per_run and --cards_per_run, or add a node that has it"
        )


# ---- the runs ------------------------------------------------------------------------------------------------------


@dataclass
class Task:
    """A run that was handed to Ray; `at_work` once a node has it."""

    run: PlannedRun
    start: float
    at_work: RunAtWork | None = None


def execute_on_ray(
    runs: Sequence[PlannedRun], groups: ProcessGroups, listener: Listener, cluster: ClusterSettings
) -> Iterator[Outcome]:
    """A task per run, at most `cluster.jobs` at a time. A run whose node dies goes on from its checkpoint on another.

    Raises:
        ValueError: no node has what a run needs.
    """
    waiting = []
    for run in runs:
        if run.state == FINISHED:
            listener.begin(run)
            yield Outcome(run, 0, None)
        else:
            waiting.append(run)
    if not waiting:
        return
    needs = {"CPU": cluster.cpus, "GPU": cluster.cards, "memory": find_memory_bytes(runs)[0]}
    check_fits(needs)
    crew = Crew(needs, groups.environment)
    try:
        while waiting or crew.tasks:
            while waiting and len(crew.tasks) < (cluster.jobs or len(runs)):
                crew.submit(waiting.pop(0))
            done, _ = ray.wait([*crew.tasks], timeout=LOOK_SECONDS)
            crew.look(listener)
            yield from (crew.end(reference) for reference in done)
    finally:
        crew.cancel()


class Crew:
    """The tasks at work, and a board on this node on which they note where they are."""

    def __init__(self, needs: Mapping[str, float], environment: Mapping[str, str]) -> None:
        ray.cloudpickle.register_pickle_by_value(remote_run)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.board = ray.remote(num_cpus=0, scheduling_strategy=here)(Board).remote()
        self.task = ray.remote(
            num_cpus=needs["CPU"], num_gpus=needs["GPU"], memory=needs["memory"], max_retries=MAX_RETRIES
        )(make_task())
        ours = {name: value for name, value in environment.items() if not name.startswith(("RAY_", "CUDA_"))}
        self.variables = ours | {"OMP_NUM_THREADS": str(max(1, int(needs["CPU"]))), "PET_STANDALONE": "1"}
        self.tasks: dict[ray.ObjectRef, Task] = {}

    def submit(self, run: PlannedRun) -> None:
        given = (str(run.folder), run.command, str(run.log), os.getcwd(), self.variables)
        self.tasks[self.task.remote(self.board, *given)] = Task(run, time.monotonic())

    def look(self, listener: Listener) -> None:
        """Tells what has begun, and what goes on elsewhere."""
        notes = ray.get(self.board.read.remote())
        for task in self.tasks.values():
            where = notes.get(str(task.run.folder))
            if where is not None and (task.at_work is None or task.at_work.where != where):
                start = task.at_work.start if task.at_work else time.monotonic()
                task.at_work = RunAtWork(task.run, where, start)
                listener.begin(task.run, where)
        listener.watch([task.at_work for task in self.tasks.values() if task.at_work])

    def end(self, reference: "ray.ObjectRef") -> Outcome:
        task = self.tasks.pop(reference)
        at_work = task.at_work or RunAtWork(task.run, "", task.start)
        try:
            return at_work.end(ray.get(reference))
        except (RayError, OSError) as error:  # its workers died too often; its log cannot be written
            note_failure(task.run, f"Ray gave the run up: {' '.join(str(error).split())[:300]}")
            return at_work.end(NOT_STARTED)

    def cancel(self) -> None:
        """Ends what is at work, and waits for it, as far as its nodes still answer."""
        for reference in self.tasks:
            ray.cancel(reference)
        if self.tasks:
            ray.wait([*self.tasks], num_returns=len(self.tasks), timeout=CANCEL_SECONDS)
        self.tasks.clear()


class Board:
    """Run's folder -> the node that has it now."""

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}

    def note(self, run: str, where: str) -> None:
        self.notes[run] = where

    def read(self) -> dict[str, str]:
        return self.notes


def make_task():
    """Made inside of a function, so that it travels whole: the nodes need not have this package."""

    def run_task(board, name: str, command: list[str], log: str, folder: str, variables: dict[str, str]) -> int:
        context = ray.get_runtime_context()
        cards = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        where = f"node {context.get_node_id()[:8]} of {socket.gethostname()}" + (f", card {cards}" if cards else "")
        ray.get(board.note.remote(name, where))
        return remote_run.run_command(command, log, folder, variables)

    return run_task
