"""`--evaluation_files NAME=PATH,...`: what a sentence encoder is scored on beside its texts. A file holds pairs with a
score, a folder BEIR's three files.

Entry: `parse_evaluation_files` of the flag; `read_retrieval_sets` of the folders. The files become splits of the task
(`loading.py`), evaluated as its other validation sets are.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from layer_distillation.tasks.file_checks import check_data_file

SPLIT_NAMES = ("train", "validation", "test", "auto")
RETRIEVAL_METRICS = ("ndcg_at_10", "recall_at_10")
RETRIEVAL = "retrieval"  # of a record's task: by name how many queries and documents a set has
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def parse_evaluation_files(text: str | None) -> dict[str, str]:
    """Name -> file or folder.

    Raises:
        ValueError: a part is no NAME=PATH, a name cannot be one or comes twice, a path is not there.
    """
    found: dict[str, str] = {}
    for part in [] if text is None else text.split(","):
        name, sign, path = (word.strip() for word in part.partition("="))
        if not sign or not name or not path:
            raise ValueError(
                f"--evaluation_files has {part.strip()!r}: give NAME=PATH, such as sts=pairs.csv,retrieval=folder"
            )
        if not NAME.fullmatch(name) or name in SPLIT_NAMES:
            raise ValueError(
                f"--evaluation_files names a set {name!r}: take letters, digits and _, and none of "
                f"{', '.join(SPLIT_NAMES)}"
            )
        if name in found:
            raise ValueError(f"--evaluation_files names two sets {name!r}: give each a name of its own")
        if not Path(path).is_dir():
            check_data_file(f"--evaluation_files {name}", path)
        found[name] = path
    return found


def list_set_names(text: str | None) -> list[str]:
    """Of a record's flag, whose files may be gone."""
    return [] if text is None else [part.partition("=")[0].strip() for part in text.split(",")]


def list_metric_names(task: Mapping[str, Any], split: str) -> tuple[str, ...]:
    """What scores a split or retrieval set of a record's task, the headline first."""
    return RETRIEVAL_METRICS if split in task.get(RETRIEVAL, {}) else tuple(task["metric_names"])


def list_folders(sets: Mapping[str, str]) -> dict[str, str]:
    """Those that are retrieval sets."""
    return {name: path for name, path in sets.items() if Path(path).is_dir()}


def list_files(sets: Mapping[str, str]) -> dict[str, str]:
    """Those that are pairs with a score."""
    return {name: path for name, path in sets.items() if not Path(path).is_dir()}
