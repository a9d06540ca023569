"""Finds the checkpoint to go on from."""

import json
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open


def find_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint in a run's folder, None where there is none.

    transformers 5.23 writes a checkpoint in place and its `trainer_state.json` last: a kill leaves one without it,
    which `get_last_checkpoint` would pick all the same.
    """
    complete = [path for path in list_checkpoints(folder) if is_complete(path)]
    return str(complete[-1]) if complete else None


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run's folder by step, complete or not."""
    numbered = [(int(path.name.removeprefix("checkpoint-")), path) for path in folder.glob("checkpoint-*[0-9]")]
    return [path for _, path in sorted(numbered)]


def is_complete(checkpoint: Path) -> bool:
    """Whether the state is there, weights are, and no file ends early.

    The state alone does not say so: a run that goes on from an earlier checkpoint writes into those after it.
    """
    weights, archives = list(checkpoint.glob("*.safetensors")), checkpoint.glob("*.pt*")
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        for path in weights:
            with safe_open(path, framework="numpy"):  # reads the header and compares it with the file's length
                pass
    except (OSError, ValueError, SafetensorError):
        return False
    return bool(weights) and all(zipfile.is_zipfile(path) for path in archives)  # its directory is at its end
