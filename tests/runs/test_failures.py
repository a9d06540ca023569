"""Which failures become one line, and what it says; what nobody foresaw keeps its traceback."""

import errno
import pickle
import re

import pytest
import torch
from safetensors import SafetensorError

from distill_trainer import DistillationTrainingArguments
from layer_distillation.records.process_locks import AGREED, is_agreed
from layer_distillation.runs.command_line import exit_with_error
from layer_distillation.runs.failures import REASON_CHARACTERS, advise_on_memory, describe_failure
from layer_distillation.step.training_watch import NonFiniteLossError


def describe(tmp_path, error: Exception) -> str | None:
    training = DistillationTrainingArguments(output_dir=str(tmp_path / "run"), use_cpu=True)
    return describe_failure(error, training, str(tmp_path / "cache"))


UNWRITTEN = r"^a file could not be written \({}\); .*free in .*run, .*free in .*cache: mend that"
LINES = {
    "full disk": (OSError(errno.ENOSPC, "No space left", "x.csv"), UNWRITTEN.format(r".*No space left: 'x.csv'")),
    "quota": (OSError(errno.EDQUOT, "Quota exceeded"), UNWRITTEN.format(".*Quota exceeded")),
    "safetensors": (SafetensorError("I/O error: full (os error 28)"), UNWRITTEN.format(r"I/O error: full .*")),
    "tokenizers": (Exception("No space left on device (os error 28)"), UNWRITTEN.format(r"No space left .*")),
    "torch": (RuntimeError("[inline_container.cc:672] . unexpected pos 64 vs 0"), UNWRITTEN.format("torch says .*")),
    "torch's file": (
        RuntimeError("[inline_container.cc:747] . open file failed with strerror: No space left on device"),
        UNWRITTEN.format(".*No space left on device"),
    ),
    "torch's stream": (RuntimeError("basic_ios::clear: iostream error"), UNWRITTEN.format("torch says .*")),
    "lost file": (FileNotFoundError(2, "No such file", "a"), r"No such file: 'a': once that is mended"),
    "CUDA memory": (torch.OutOfMemoryError("CUDA out of memory. Tried"), r"^out of memory \(CUDA .*--max_length"),
    "CPU memory": (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), "^out of memory"),
    "numpy's memory": (MemoryError(), r"^out of memory \(MemoryError\)"),
    "evaluation's memory": (
        RuntimeError("Evaluation hit an out-of-memory error. `auto"),
        "--per_device_eval_batch_size",
    ),
    "gloo": (
        RuntimeError("[gloo/transport/tcp/pair.cc:538] Connection closed by peer"),
        "^another process of this run",
    ),
    "nccl": (torch.distributed.DistBackendError("NCCL error"), "^another process of this run ended"),
    "loss": (NonFiniteLossError("at step 3"), "^at step 3$"),
}


@pytest.mark.parametrize("name", LINES)
def test_what_a_machine_does_is_told_in_one_line(tmp_path, name):
    error, pattern = LINES[name]
    line = describe(tmp_path, error)
    assert re.search(pattern, line), line
    assert "\n" not in line


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("[inline_container.cc:132] . PytorchStreamReader failed reading zip archive"),
        TypeError("unexpected keyword"),
        KeyError("loss"),
    ],
)
def test_a_mistake_of_ours_is_none_of_them(tmp_path, error):
    assert describe(tmp_path, error) is None


def test_the_advice_keeps_the_rows_of_a_step(tmp_path):
    training = DistillationTrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, per_device_train_batch_size=8, gradient_accumulation_steps=3
    )
    assert "--per_device_train_batch_size 4 --gradient_accumulation_steps 6 " in advise_on_memory(training)


def test_a_long_reason_is_cut(tmp_path):
    assert len(describe(tmp_path, OSError("x" * 5000))) < REASON_CHARACTERS + 100


def test_an_agreed_error_stays_one_on_its_way_to_another_process():
    error = OSError(errno.ENOSPC, "No space left")
    assert not is_agreed(error)
    error.add_note(AGREED)
    assert is_agreed(pickle.loads(pickle.dumps(error)))


@pytest.mark.parametrize(("is_shared", "line"), [(True, ""), (False, "run_distillation.py: error in process 1: why\n")])
def test_another_process_says_only_what_is_its_own(monkeypatch, capsys, is_shared, line):
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as stopped:
        exit_with_error("why", status=1, is_shared=is_shared)
    assert stopped.value.code == 1
    assert capsys.readouterr().err == line
