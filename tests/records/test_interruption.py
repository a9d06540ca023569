"""Ctrl-C and SIGTERM: one line that says what is kept, the exit status of shells, and the same command goes on."""

import os
import signal
from pathlib import Path

import pytest
from transformers import TrainerCallback

import run_distillation
from layer_distillation.records.interruption import Interrupted, describe_interruption, signals_as_exceptions
from layer_distillation.records.run_record import read_run_record
from tiny_project import make_project


class Signal(TrainerCallback):
    """Sends this process a signal at the beginning of a step."""

    def __init__(self, number: int, step: int) -> None:
        self.number, self.step = number, step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step >= self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("number", "status", "step", "kept"),
    [(signal.SIGTERM, 143, 4, "checkpoint-3 is kept"), (signal.SIGINT, 130, 1, "no checkpoint is in")],
)
@pytest.mark.slow
def test_a_signal_ends_the_run_with_one_line_and_it_goes_on(tmp_path, monkeypatch, capsys, number, status, step, kept):
    flags = [*make_project(tmp_path), "--num_train_epochs=2"]
    make_trainer = run_distillation.make_trainer

    def make_signalled_trainer(*arguments):
        trainer = make_trainer(*arguments)
        trainer.add_callback(Signal(number, step))
        return trainer

    monkeypatch.setattr(run_distillation, "make_trainer", make_signalled_trainer)
    before = signal.getsignal(number)
    assert run_distillation.main(flags) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("run_distillation.py: ")]
    assert len(lines) == 1
    assert signal.Signals(number).name in lines[0]
    assert kept in lines[0]
    assert signal.getsignal(number) is before
    monkeypatch.setattr(run_distillation, "make_trainer", make_trainer)
    assert run_distillation.main(flags) == 0
    assert read_run_record(tmp_path / "run").status == "finished"


def test_a_second_signal_does_not_cut_the_clearing_up_short():
    cleared = []

    def stop() -> None:
        with signals_as_exceptions():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.kill(os.getpid(), signal.SIGINT)
                cleared.append(True)

    with pytest.raises(Interrupted, match="SIGTERM"):
        stop()
    assert cleared


def test_the_line_is_one_line(tmp_path: Path):
    assert "\n" not in describe_interruption(tmp_path, Interrupted(signal.SIGINT))
