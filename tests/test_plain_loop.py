"""The plain loop of docs/COMPARE.md, run as it is printed there, in a checkout whose built-in task is made tiny."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TINY = {"max_train_samples": 64, "max_eval_samples": 32, "teacher_num_train_epochs": 1, "num_train_epochs": 1}


def copy_checkout(folder: Path) -> Path:
    """Code and recipes alone; the recipe of the built-in task is cut down, and keeps its cache here."""
    folder.mkdir()
    for path in [*ROOT.glob("*.py"), ROOT / "layer_distillation", ROOT / "recipes"]:
        (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / path.name)
    [recipe] = folder.rglob("natural_logic.yaml")
    lines = [line for line in recipe.read_text().splitlines() if line.split(":")[0] not in TINY]
    settings = TINY | {"cache_dir": folder / "cache", "use_cpu": "true"}
    recipe.write_text("\n".join([*lines, *(f"{name}: {value}" for name, value in settings.items())]))
    return folder


def read_loop() -> str:
    """The lines that the document prints."""
    text = (ROOT / "docs" / "COMPARE.md").read_text(encoding="utf-8")
    [loop] = re.findall(r"```bash\n(for .*?)```", text, re.DOTALL)
    return loop


def test_the_loop_is_the_one_of_the_documents():
    assert read_loop().splitlines() == [
        "for s in top bottom odd even; do accelerate launch run_distillation.py --layer_strategy $s; done",
        "python compare_strategies.py runs",
    ]


@pytest.mark.slow
def test_the_plain_loop_runs_as_printed_and_is_compared(tmp_path):
    checkout = copy_checkout(tmp_path / "checkout")
    environment = os.environ | {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-eu", "-c", read_loop()],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    [unit] = json.loads((checkout / "comparison" / "comparison.json").read_text())["units"]
    assert {run["arm"] for run in unit["runs"]} == {"top", "bottom", "odd", "even"}
    assert "Verdict" in done.stdout
