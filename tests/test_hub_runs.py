"""A whole run by Hub names alone, in its own process: teacher and data come from the Hub, the student goes there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hub_api import list_card_errors
from hub_server import HubServer, environment
from tiny_project import write_csv, write_teacher

ROOT = Path(__file__).resolve().parent.parent
CARD = "---\nlicense: mit\nlanguage: en\n---\n# A teacher\n"
FLAGS = (
    "--teacher_model_name_or_path user/teacher --dataset_name user/data --max_length 16 --num_train_epochs 1 "
    "--per_device_train_batch_size 8 --use_cpu --disable_tqdm true"
)


def add_teacher_and_data(hub: HubServer, folder: Path) -> None:
    teacher = write_teacher(folder / "teacher")
    files = {path.name: path.read_bytes() for path in teacher.iterdir()}
    hub.add_repository("user/teacher", files | {"README.md": CARD.encode()})
    splits = {"train": 24, "validation": 12, "test": 9}
    tables = {f"{name}.csv": write_csv(folder / name, rows).read_bytes() for name, rows in splits.items()}
    hub.add_repository("user/data", tables, kind="datasets")


def run(folder: Path, name: str, variables: dict[str, str], *flags: str) -> subprocess.CompletedProcess:
    """A run with a folder and a cache of its own, so that all it has in common with others is what the Hub gave."""
    command = [sys.executable, str(ROOT / "run_distillation.py"), *FLAGS.split(), *flags]
    command += ["--output_dir", str(folder / name), "--cache_dir", str(folder / f"{name}-cache")]
    return subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, timeout=300)


def read_record(folder: Path) -> dict:
    return json.loads((folder / "run_record.json").read_text())


@pytest.mark.slow
def test_a_run_by_hub_names_is_the_same_again_offline_from_its_cache(tmp_path):
    """Slow for its two processes."""
    with HubServer() as hub:
        add_teacher_and_data(hub, tmp_path)
        variables = environment(hub, tmp_path)
        done = run(tmp_path, "online", variables, "--push_to_hub", "--hub_model_id", "user/student")
        assert done.returncode == 0, done.stderr
        pushed = hub.repositories["user/student"].files
        paths = [path for _, path in hub.requests]
    assert any(re.fullmatch(r"/user/teacher/resolve/\w+/config\.json", path) for path in paths)
    assert any(re.fullmatch(r"/datasets/user/data/resolve/\w+/train\.csv", path) for path in paths)
    card = ModelCard(pushed["README.md"].decode())
    assert list_card_errors(str(card)) == []
    assert (card.data.base_model, card.data.license, card.data.language) == ("user/teacher", "mit", "en")
    assert card.data.datasets == ["user/data"]
    assert hub.token.encode() not in b"".join(pushed.values())

    done = run(tmp_path, "offline", variables | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    online, offline = read_record(tmp_path / "online"), read_record(tmp_path / "offline")
    assert offline["metrics"] == online["metrics"]
    assert offline["teacher"] == online["teacher"]
    assert online["teacher"]["card"] == {"license": ["mit"], "language": ["en"]}
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("online", "offline")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_names_that_the_hub_does_not_have_end_in_one_line(tmp_path):
    """Slow for its processes."""
    with HubServer() as hub:
        add_teacher_and_data(hub, tmp_path)
        variables = environment(hub, tmp_path)
        for flag, reason in (
            ("--teacher_model_name_or_path", "no model could be loaded"),
            ("--dataset_name", "did not load"),
        ):
            done = run(tmp_path, "absent", variables, flag, "user/absent")
            assert done.returncode == 2
            line = done.stderr.strip().splitlines()[-1]
            assert line.startswith("run_distillation.py: error: ")
            assert reason in line
            assert "user/absent" in line
            assert "Traceback" not in done.stderr
    assert not (tmp_path / "absent").exists()
