"""Finds the checkpoint to go on from."""

import json
from pathlib import Path


def find_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint in a run's folder, None where there is none.

    transformers 5.23 writes a checkpoint in place and its `trainer_state.json` last: a kill leaves one without it,
    which `get_last_checkpoint` would pick all the same.
    """
    numbered = [(int(path.name.removeprefix("checkpoint-")), path) for path in folder.glob("checkpoint-*[0-9]")]
    complete = [path for _, path in sorted(numbered) if is_complete(path)]
    return str(complete[-1]) if complete else None


def is_complete(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
