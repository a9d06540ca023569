"""Runs of `results/` as the folders that they were before they were packed."""

from pathlib import Path

from layer_distillation.comparison.finding import find_run_folders

RESULTS = Path(__file__).resolve().parent.parent / "results"


def unpack_run(name: str, folder: Path) -> Path:
    """`sick/top-seed42`, written into the folder."""
    [run] = find_run_folders([RESULTS / name])
    folder.mkdir(parents=True)
    for file_name, content in run.files.items():
        (folder / file_name).write_bytes(content)
    return folder
