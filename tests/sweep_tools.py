"""What the tests of the sweep share: settings, and the files of a finished run, made without any training."""

import json
import os
import struct
import threading
import time
from pathlib import Path

from layer_distillation.sweep.plan import SweepSettings

LAUNCH = ["accelerate", "launch", "run_distillation.py"]
RECORD = {
    "command": "run_distillation.py",
    "arguments": {},
    "versions": {},
    "hardware": {},
    "seed": 1,
    "strategy": "top",
    "status": "finished",
    "task": {"metric_names": ["accuracy"], "rows": {"train": 3, "validation": 2}},
    "metrics": {"validation": {"accuracy": 0.9, "loss": 0.25}},
}
FINISHED_RUN = {
    "run_record.json": json.dumps(RECORD).encode(),
    "config.json": b'{"model_type": "bert", "architectures": ["BertForSequenceClassification"]}',
    "tokenizer_config.json": b"{}",
    "model.safetensors": struct.pack("<Q", 2) + b"{}",
}
SCORED = "validation accuracy 0.9000, loss 0.2500"


def make_settings(**values: object) -> SweepSettings:
    """One seed of two strategies, unless said otherwise."""
    defaults = {
        "strategies": ["top", "odd"],
        "seeds": ["42"],
        "random": 0,
        "scratch": False,
        "without_teacher": False,
        "output_root": Path("runs"),
        "flags": [],
    }
    return SweepSettings(**defaults | values)


def write_finished_run(folder: Path, loss: float = 0.25) -> None:
    folder.mkdir(parents=True)
    for name, content in FINISHED_RUN.items():
        (folder / name).write_bytes(content.replace(b"0.25", str(loss).encode()))


def send_once_there(path: Path, number: int) -> None:
    """A signal to this process as soon as a file is there, from a thread."""

    def watch() -> None:
        while not path.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=watch, daemon=True).start()


def has_ended(process: int) -> bool:
    """Where nobody waits for an orphan, as in a container, it stays as a zombie."""
    state = Path(f"/proc/{process}/stat")
    end = time.monotonic() + 10
    while state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
