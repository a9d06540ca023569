"""What lies in folders of its own below a sentence encoder's: pooling, dense layers. Of another student there is none.

Entry: `list_module_folders`, `list_dense_weights`.
"""

import json
from pathlib import Path

MODULES_NAME, WEIGHTS_NAME = "modules.json", "model.safetensors"


def list_module_folders(folder: Path) -> list[Path]:
    """Those that are there."""
    paths = [folder / entry["path"] for entry in read_entries(folder) if entry["path"]]
    return [path for path in paths if path.is_dir()]


def list_dense_weights(folder: Path) -> list[Path]:
    """The weights that have to be there."""
    dense = [entry for entry in read_entries(folder) if entry["type"].endswith(".Dense")]
    return [folder / entry["path"] / WEIGHTS_NAME for entry in dense]


def read_entries(folder: Path) -> list[dict[str, str]]:
    listed = folder / MODULES_NAME
    return json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else []
