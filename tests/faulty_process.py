"""run_distillation.py with a fault in its second process, named by FAULT in the environment: started by torchrun."""

import os
import signal
import sys

import torch
from transformers import TrainerCallback

import conftest
import run_distillation
from layer_distillation.records.process_locks import leave_process_group
from layer_distillation.teachers import store_filling as teacher_store_filling


class Kill(TrainerCallback):
    """SIGKILL at the beginning of the step after `step`."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def raise_out_of_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("no memory in process 1")


def make_killed_trainer(*arguments):
    trainer = make_trainer(*arguments)
    trainer.add_callback(Kill(4))
    return trainer


if __name__ == "__main__":
    make_trainer = run_distillation.make_trainer
    fault = os.environ["FAULT"] if os.environ["RANK"] == "1" else ""
    if fault == "raise in filling":
        teacher_store_filling.write_part = raise_out_of_memory
    elif fault == "kill at step 4":
        run_distillation.make_trainer = make_killed_trainer
    exit_status = run_distillation.main()
    leave_process_group()
    conftest.check_group_has_ended()
    sys.exit(exit_status)
