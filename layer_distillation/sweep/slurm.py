"""Runs as a job array of SLURM, written and followed by submitit. An extra: `[slurm]`.

Entry: `check_scheduler`, then `execute_on_slurm`.
"""

import math
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import submitit

from layer_distillation.records.run_record import FINISHED
from layer_distillation.sweep.executors import Listener, Outcome, RunAtWork, note_failure
from layer_distillation.sweep.places import find_memory_bytes
from layer_distillation.sweep.plan import ClusterSettings, PlannedRun
from layer_distillation.sweep.processes import ProcessGroups
from layer_distillation.sweep.remote_run import NOT_STARTED, run_command

SCHEDULER = "slurm"  # of submitit; its `local` has processes of this machine in place of jobs
LOOK_SECONDS = 1.0
QUEUE_SECONDS = 15.0  # between two questions to SLURM's controller, which all of its users share
GONE_SECONDS = 90.0  # after a job has left the queue; a result on a network file system may be seen a minute late
DEFAULT_MINUTES = 24 * 60
CALCULATED = ("time", "array_parallelism", "signal_delay_s")  # what submitit calculates with; the rest is sbatch's


def check_scheduler() -> None:
    """Raises ValueError where no SLURM is here."""
    for command in ("sbatch", "squeue") if SCHEDULER == "slurm" else ():
        if shutil.which(command) is None:
            raise ValueError(f"there is no {command}: --executor slurm is for a machine that hands jobs to SLURM")


class RunJob:
    """What a job does; handed out again when it is preempted or out of time, as a run goes on from its checkpoint."""

    def __call__(self, command: Sequence[str], log: str, folder: str, variables: Mapping[str, str]) -> int:
        return run_command(command, log, folder, leave_out_job(os.environ) | variables)

    def checkpoint(self, *given: Any) -> submitit.helpers.DelayedSubmission:
        return submitit.helpers.DelayedSubmission(self, *given)


def execute_on_slurm(
    runs: Sequence[PlannedRun], groups: ProcessGroups, listener: Listener, cluster: ClusterSettings
) -> Iterator[Outcome]:
    """One array of all open runs, at most `cluster.jobs` of them at a time.

    Raises:
        ValueError: SLURM refuses the jobs.
    """
    opened = []
    for run in runs:
        if run.state == FINISHED:
            listener.begin(run)
            yield Outcome(run, 0, None)
        else:
            opened.append(run)
    if not opened:
        return
    jobs = submit(opened, groups.environment, cluster, find_memory_bytes(runs)[0])
    queue, at_work = Queue(), dict[str, RunAtWork]()
    try:
        while jobs:
            queue.look()
            for run, job in list(jobs):
                has_ended = queue.has_ended(job)
                if job.job_id not in at_work and (has_ended or queue.find_state(job) == "RUNNING"):
                    at_work[job.job_id] = RunAtWork(run, f"job {job.job_id}", time.monotonic())
                    listener.begin(run, f"job {job.job_id}")
                if has_ended:
                    jobs.remove((run, job))
                    yield at_work.pop(job.job_id).end(find_status(run, job))
            listener.watch([*at_work.values()])
            time.sleep(LOOK_SECONDS if jobs else 0)
    finally:
        for _, job in jobs:
            job.cancel()


class Queue:
    """What `squeue` says of the user's jobs. submitit 1.5 asks `sacct`, which answers only where SLURM keeps accounts:
    elsewhere a job that was killed, by its node or for its memory, is waited for without end."""

    def __init__(self) -> None:
        self.states: dict[str, str] | None = None  # None: squeue does not say
        self.last_seen: dict[str, float] = {}
        self.last_look = -math.inf

    def look(self) -> None:
        if SCHEDULER != "slurm" or time.monotonic() - self.last_look < QUEUE_SECONDS:
            return
        self.last_look = time.monotonic()
        command = ["squeue", "--me", "--array", "--noheader", "--format=%i %T"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        self.states = None
        if answer.returncode == 0:
            self.states = dict(line.split(maxsplit=1) for line in answer.stdout.splitlines())
            self.last_seen |= dict.fromkeys(self.states, time.monotonic())

    def find_state(self, job: submitit.Job) -> str:
        return job.state if self.states is None else self.states.get(job.job_id, "")

    def has_ended(self, job: submitit.Job) -> bool:
        """It has left a result, or left the queue and, for so long, no result."""
        if self.states is None or has_result(job):
            return job.done()
        if job.job_id in self.states:
            return False
        return time.monotonic() - self.last_seen.setdefault(job.job_id, time.monotonic()) > GONE_SECONDS


def has_result(job: submitit.Job) -> bool:
    return job.paths.result_pickle.exists()


def submit(
    runs: Sequence[PlannedRun], environment: Mapping[str, str], cluster: ClusterSettings, memory_bytes: int
) -> list[tuple[PlannedRun, submitit.Job]]:
    """Raises ValueError."""
    executor = submitit.AutoExecutor(folder=runs[0].log.parent / "slurm", cluster=SCHEDULER)
    # SLURM hands the environment on; submitit writes what it is given to the disk, where no token should lie.
    ours = {name: value for name, value in leave_out_job(environment).items() if os.environ.get(name) != value}
    variables = ours | {"OMP_NUM_THREADS": str(cluster.cpus), "PET_STANDALONE": "1"}
    try:
        executor.update_parameters(
            name="distil",
            cpus_per_task=cluster.cpus,
            gpus_per_node=cluster.cards,
            mem_gb=max(1, round(memory_bytes / 1e9 + 0.5)),
            timeout_min=DEFAULT_MINUTES,
            slurm_array_parallelism=cluster.jobs or len(runs),
        )
        own = {f"slurm_{name}": value for name, value in cluster.slurm.items() if name in CALCULATED}
        others = {name: value for name, value in cluster.slurm.items() if name not in CALCULATED}
        executor.update_parameters(**own, slurm_additional_parameters=others)
        given = [(run.command, str(run.log), os.getcwd(), variables) for run in runs]
        jobs = executor.map_array(RunJob(), *map(list, zip(*given, strict=True)))
    except (NameError, submitit.core.utils.FailedJobError) as error:
        raise ValueError(f"SLURM takes no such jobs: {' '.join(str(error).split())[:300]}") from error
    return list(zip(runs, jobs, strict=True))


def leave_out_job(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what says which job a process belongs to, from which launchers and libraries draw conclusions."""
    return {name: value for name, value in environment.items() if not name.startswith(("SLURM_", "SUBMITIT_", "CUDA_"))}


def find_status(run: PlannedRun, job: submitit.Job) -> int:
    """Of a job that has ended; why SLURM ended it goes to the run's log."""
    if not has_result(job):
        reason = "its node or its memory may have ended it"
        note_failure(run, f"job {job.job_id} ({job.state}) left the queue without a result: {reason}")
        return NOT_STARTED
    try:
        return job.result()
    except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError) as error:
        note_failure(run, f"job {job.job_id} ended as {job.state}: {str(error).strip().splitlines()[-1][:300]}")
        return NOT_STARTED
