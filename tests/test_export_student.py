"""The command that exports a finished run's student, as users start it, and killed while it works."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from export_tools import MISSING, finish_run
from layer_distillation.export.clients import open_onnx
from layer_distillation.export.placing import WORKSHOP
from layer_distillation.records.export_record import read_export_record

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return finish_run(tmp_path_factory.mktemp("project"))


@pytest.fixture
def packages() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=MISSING)


@pytest.mark.slow
@pytest.mark.usefixtures("packages")
def test_killed_at_any_time_no_half_artifact_has_a_final_name(finished, tmp_path):
    """SIGKILL after 4 seconds of an export, then after half as much again; the last ends whole, nothing is left."""
    shutil.copytree(finished, tmp_path / "run")
    command = [sys.executable, str(ROOT / "export_student.py"), str(tmp_path / "run"), "--formats=onnx,onnx-int8"]
    command += ["--timing_seconds=0.01", "--no_controls", "--trim_vocabulary"]
    kills = 0
    while True:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"HF_HUB_OFFLINE": "1"})
        end = time.monotonic() + 4 * 1.5**kills
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        for path in (tmp_path / "run").glob("onnx/*.onnx"):
            assert not path.name.startswith(".")
            open_onnx(path, 1)
    assert process.returncode == 0
    assert kills > 1
    folder = tmp_path / "run"
    assert not (folder / WORKSHOP).exists()
    assert {made.format for made in read_export_record(folder).artifacts} == {"pytorch", "onnx", "onnx-int8"}


@pytest.mark.slow
@pytest.mark.usefixtures("packages")
def test_the_command_as_users_start_it(finished, tmp_path):
    pytest.importorskip("openvino", reason=MISSING)
    shutil.copytree(finished, tmp_path / "run")
    formats = "onnx,onnx-fp16,onnx-int8,openvino"
    command = [sys.executable, str(ROOT / "export_student.py"), str(tmp_path / "run"), f"--formats={formats}"]
    done = subprocess.run([*command, "--trim_vocabulary"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "export.json").read_text())
    assert len(record["artifacts"]) == 15
    assert all(made["peak_memory_bytes"] > 1e7 and made["first_answer_seconds"] > 0 for made in record["artifacts"])
    light = next(made for made in record["artifacts"] if made["format"] == "onnx-int8")
    assert light["peak_memory_bytes"] < 0.5 * record["artifacts"][0]["peak_memory_bytes"]
    assert (tmp_path / "run" / "trimmed" / "openvino" / "openvino_model.bin").exists()
