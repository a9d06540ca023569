"""A plan as a job array, by submitit's executor that has processes of this machine in place of jobs."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

submitit = pytest.importorskip("submitit", reason="submitit is an extra: pip install -r requirements-slurm.txt")

from layer_distillation.sweep import slurm  # noqa: E402 - where submitit is
from layer_distillation.sweep.executors import RunAtWork  # noqa: E402
from layer_distillation.sweep.plan import ClusterSettings, Needs, PlannedRun  # noqa: E402
from layer_distillation.sweep.processes import ProcessGroups  # noqa: E402
from layer_distillation.sweep.remote_run import NOT_STARTED  # noqa: E402
from sweep_tools import has_ended  # noqa: E402

SETTINGS = ClusterSettings("slurm", jobs=2, cpus=3, cards=0, ray_address="", slurm={})


class Listener:
    def __init__(self) -> None:
        self.begun: dict[str, str] = {}

    def begin(self, run: PlannedRun, where: str = "") -> None:
        self.begun[run.name] = where

    def watch(self, at_work: Sequence[RunAtWork]) -> None:
        pass


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(slurm, "SCHEDULER", "local")
    monkeypatch.setattr(slurm, "LOOK_SECONDS", 0.1)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    (tmp_path / "logs").mkdir()
    return tmp_path


def make_run(place: Path, name: str, *command: str, state: str = "open") -> PlannedRun:
    log = place / "logs" / f"{name}.log"
    return PlannedRun(
        name, name, "1", place / name, log, flags=[], command=list(command), state=state, needs=Needs(10**9)
    )


def test_each_open_run_is_a_job_with_its_log_and_its_status(place):
    runs = [
        make_run(place, "good", "sh", "-c", "echo trained with $OMP_NUM_THREADS"),
        make_run(place, "bad", "sh", "-c", "exit 3"),
        make_run(place, "gone", "no-such-launcher"),
    ]
    listener = Listener()
    outcomes = {o.run.name: o for o in slurm.execute_on_slurm(runs, ProcessGroups(os.environ), listener, SETTINGS)}
    assert {name: outcome.status for name, outcome in outcomes.items()} == {"good": 0, "bad": 3, "gone": NOT_STARTED}
    assert all(where.startswith("job ") for where in listener.begun.values())
    assert runs[0].log.read_text() == "trained with 3\n"
    assert "no-such-launcher" in runs[2].log.read_text()


def test_what_is_finished_makes_no_job(place):
    done = make_run(place, "done", "false", state="finished")
    (outcome,) = slurm.execute_on_slurm([done], ProcessGroups(os.environ), Listener(), SETTINGS)
    assert (outcome.status, outcome.seconds) == (0, None)
    assert not (place / "logs" / "slurm").exists()


def test_jobs_are_cancelled_where_the_sweep_is_ended(place):
    runs = [make_run(place, "long", "sh", "-c", f"echo $$ > '{place}/pid'; exec sleep 60")]
    begun = Listener()
    outcomes = slurm.execute_on_slurm(runs, ProcessGroups(os.environ), begun, SETTINGS)

    def stop(at_work: Sequence[RunAtWork]) -> None:
        if (place / "pid").exists() and (place / "pid").read_text():
            raise KeyboardInterrupt

    begun.watch = stop
    with pytest.raises(KeyboardInterrupt):
        list(outcomes)
    assert has_ended(int((place / "pid").read_text()))


def test_without_sbatch_it_is_one_error(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="there is no sbatch: --executor slurm is for a machine that hands jobs to"):
        slurm.check_scheduler()


def test_options_go_to_sbatch_by_its_names(place, monkeypatch):
    """By an sbatch that takes every script; what submitit wrote for it is looked at."""
    make_cluster(place, monkeypatch)
    settings = replace(SETTINGS, slurm={"partition": "long", "time": "90"})
    runs = [make_run(place, name, "true") for name in ("a", "b", "c")]
    jobs = slurm.submit(runs, dict(os.environ), settings, 2_300_000_000)
    assert [(run.name, job.job_id) for run, job in jobs] == [("a", "7_0"), ("b", "7_1"), ("c", "7_2")]
    lines = [line for path in (place / "logs" / "slurm").glob("*.sh") for line in path.read_text().splitlines()]
    options = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    assert {"partition=long", "time=90", "array=0-2%2", "cpus-per-task=3", "mem=3GB", "job-name=distil"} <= options


def test_whatever_sbatch_takes_goes_to_it_and_what_it_refuses_is_one_line(place, monkeypatch):
    """submitit has arguments for some of its options alone."""
    make_cluster(place, monkeypatch)
    options = {"export": "NONE", "reservation": "night", "mail_type": "END", "signal_delay_s": 30, "mem": 8000}
    runs = [make_run(place, "a", "true")]
    slurm.submit(runs, dict(os.environ), replace(SETTINGS, slurm=options), 10**9)
    lines = [line for path in (place / "logs" / "slurm").glob("*.sh") for line in path.read_text().splitlines()]
    assert {f"#SBATCH --{text}" for text in ("export=NONE", "reservation=night", "mail-type=END", "mem=8000")} < {
        *lines
    }
    assert "#SBATCH --signal=USR2@30" in lines
    (place / "bin" / "sbatch").write_text("#!/bin/sh\necho sbatch: unrecognized option >&2\nexit 1\n")
    with pytest.raises(ValueError, match="sbatch: unrecognized option"):
        slurm.submit(runs, dict(os.environ), replace(SETTINGS, slurm={"setup": "module load x"}), 10**9)


def make_cluster(place: Path, monkeypatch: pytest.MonkeyPatch, queue: str = "") -> None:
    """Commands that take every script as job 7, start none and keep no accounts."""
    commands = dict.fromkeys(["sbatch", "srun"], "echo Submitted batch job 7")
    commands |= {"squeue": queue, "sacct": "echo accounting storage is disabled >&2; exit 1", "scancel": ""}
    (place / "bin").mkdir()
    for name, line in commands.items():
        (place / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (place / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "SCHEDULER", "slurm")
    monkeypatch.setattr(slurm, "QUEUE_SECONDS", 0.1)


def test_the_queue_is_not_asked_at_every_look(place, monkeypatch):
    """A result is a file and noticed at once; the controller is everybody's."""
    make_cluster(place, monkeypatch, queue=f"echo >> '{place / 'asked'}'; echo '7 RUNNING'")
    monkeypatch.setattr(slurm, "QUEUE_SECONDS", 30.0)
    queue = slurm.Queue()
    for _ in range(3):
        queue.look()
    assert (place / "asked").read_text() == "\n"
    assert queue.states == {"7": "RUNNING"}


def test_a_job_that_slurm_forgot_has_failed_where_it_keeps_no_accounts(place, monkeypatch):
    """A killed job leaves no result, and `sacct`, which submitit would ask, says nothing."""
    seen = place / "seen"
    make_cluster(place, monkeypatch, queue=f"[ -e '{seen}' ] || echo '7 RUNNING'; touch '{seen}'")
    monkeypatch.setattr(slurm, "GONE_SECONDS", 0.3)
    run, listener = make_run(place, "killed", "true"), Listener()
    [outcome] = slurm.execute_on_slurm([run], ProcessGroups(os.environ), listener, SETTINGS)
    assert listener.begun == {"killed": "job 7"}
    assert outcome.status == NOT_STARTED
    assert "left the queue without a result" in run.log.read_text()


def test_a_queue_that_does_not_answer_says_nothing_of_a_job(place, monkeypatch):
    make_cluster(place, monkeypatch, queue="exit 1")
    monkeypatch.setattr(slurm, "GONE_SECONDS", 0.0)
    listener = Listener()
    outcomes = slurm.execute_on_slurm(
        [make_run(place, "waiting", "true")], ProcessGroups(os.environ), listener, SETTINGS
    )
    looks = []

    def look(at_work: Sequence[RunAtWork]) -> None:
        looks.append(at_work)
        if len(looks) == 5:
            raise KeyboardInterrupt

    listener.watch = look
    with pytest.raises(KeyboardInterrupt):
        list(outcomes)
    assert not listener.begun


def test_no_token_lies_in_the_folder_and_the_run_has_it(place, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    groups = ProcessGroups(os.environ | {"OURS": "1"})
    run = make_run(place, "pushing", "sh", "-c", "echo ${#HF_TOKEN} $OURS")
    [outcome] = slurm.execute_on_slurm([run], groups, Listener(), SETTINGS)
    assert (outcome.status, run.log.read_text()) == (0, "12 1\n")
    kept = [path for path in (place / "logs" / "slurm").rglob("*") if path.is_file()]
    assert kept
    assert not any(b"hf_of_nobody" in path.read_bytes() for path in kept)
