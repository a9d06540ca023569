"""The same command under plain python, accelerate launch and two processes; on a GPU where there is one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from layer_distillation.records.run_record import read_run_record
from tiny_project import make_project

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = str(ROOT / "run_distillation.py")
LAUNCHES = {
    "python": [sys.executable, SCRIPT],
    "accelerate": [sys.executable, "-m", "accelerate.commands.launch", "--cpu", SCRIPT],
    "accelerate with config": [
        *[sys.executable, "-m", "accelerate.commands.launch"],
        *["--config_file", str(ROOT / "accelerate_config.yaml"), SCRIPT],
    ],
}
TWO_PROCESSES = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", SCRIPT]


def launch(command: list[str], flags: list[str]) -> subprocess.CompletedProcess:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"  # DeepSpeed calls ninja
    return subprocess.run([*command, *flags], env=environment, capture_output=True, text=True, timeout=300, check=False)


def run(command: list[str], flags: list[str], folder: Path) -> dict[str, dict[str, float]]:
    result = launch(command, [*flags, f"--output_dir={folder}"])
    assert result.returncode == 0, result.stderr[-3000:]
    return read_run_record(folder).metrics


@pytest.mark.slow
def test_two_processes_give_the_metrics_of_one(tmp_path):
    """24 training rows in global batches of 8; 12 and 9 evaluated rows in batches of 2 x 5, every one counted once.
    The teacher is fine-tuned, too, by both processes together."""
    flags = make_project(tmp_path, has_head=False, dropout=0.0)  # dropout draws by the shape of a batch
    flags += ["--teacher_num_train_epochs=2", "--per_device_eval_batch_size=5", "--optim=sgd", "--learning_rate=0.05"]
    one = run(LAUNCHES["python"], [*flags, f"--cache_dir={tmp_path / 'cache1'}"], tmp_path / "one")
    half = [*flags, "--per_device_train_batch_size=4", f"--cache_dir={tmp_path / 'cache2'}"]
    two = run(TWO_PROCESSES, half, tmp_path / "two")
    assert two.keys() == {"validation", "test"}
    for split, metrics in one.items():
        assert two[split] == pytest.approx(metrics, rel=2e-3, abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["accelerate", "accelerate with config"])
def test_accelerate_launch_gives_what_python_gives(tmp_path, name):
    flags = make_project(tmp_path)
    assert run(LAUNCHES[name], flags, tmp_path / "b") == run(LAUNCHES["python"], flags, tmp_path / "a")


@pytest.mark.slow
def test_a_mistake_is_one_line_from_two_processes_too(tmp_path):
    result = launch(TWO_PROCESSES, [*make_project(tmp_path), "--layer_strategy=odd", "--student_num_layers=3"])
    lines = [line for line in result.stderr.splitlines() if "run_distillation.py: error:" in line]
    assert len(lines) == 1
    assert "at most 2" in lines[0]


@pytest.mark.slow
def test_sharding_that_accelerate_would_leave_out_without_a_word_is_refused_in_one_line(tmp_path):
    flags = [flag for flag in make_project(tmp_path) if flag != "--use_cpu"]
    result = launch(TWO_PROCESSES, [*flags, "--fsdp=full_shard"])
    lines = [line for line in result.stderr.splitlines() if "run_distillation.py: error:" in line]
    assert len(lines) == 1, result.stderr[-2000:]
    assert (
        "--fsdp shards over several cards and here is a processor: accelerate shards nothing on processors" in lines[0]
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2])
def test_deepspeed_gives_the_metrics_of_two_plain_processes(tmp_path, stage):
    """Sharded optimizer and gradients; the teacher is fine-tuned so, too, and an untrained student scored before."""
    pytest.importorskip("deepspeed", reason="pip install -r requirements-deepspeed.txt")
    auto = dict.fromkeys(
        ["train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "train_batch_size", "gradient_clipping"],
        "auto",
    )
    settings = tmp_path / "zero.json"
    settings.write_text(json.dumps(auto | {"zero_optimization": {"stage": stage}}))
    flags = make_project(tmp_path, has_head=False, dropout=0.0)
    flags += ["--teacher_num_train_epochs=2", "--learning_rate=0.05", "--per_device_train_batch_size=2"]
    flags += ["--gradient_accumulation_steps=2", "--num_train_epochs=3", "--bf16=false"]
    plain = run(TWO_PROCESSES, [*flags, f"--cache_dir={tmp_path / 'cache1'}"], tmp_path / "plain")
    sharded = run(
        TWO_PROCESSES, [*flags, f"--deepspeed={settings}", f"--cache_dir={tmp_path / 'cache2'}"], tmp_path / "sharded"
    )
    for split, metrics in plain.items():
        assert sharded[split] == pytest.approx(metrics, rel=1e-4, abs=1e-4)


@pytest.mark.slow
def test_a_student_that_torch_shards_gets_the_gradients_of_a_whole_one_with_its_teacher_in_a_store(tmp_path):
    """FSDP 2 by torch's own hand: accelerate, which would do it, does so on cards alone."""
    script = str(Path(__file__).with_name("sharded_gradients.py"))
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    command = [*TWO_PROCESSES[:-1], script, str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": paths}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    words = result.stdout.split()
    shards, largest, difference = (float(words[words.index(name) + 1]) for name in ("sharded", "largest", "difference"))
    assert shards == 41
    assert largest > 0.1
    assert difference < 1e-6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["--bf16=false", "--bf16=true"])
def test_a_run_on_a_gpu(tmp_path, precision):
    flags = [flag for flag in make_project(tmp_path) if flag != "--use_cpu"]
    result = subprocess.run(
        [sys.executable, SCRIPT, *flags, precision, "--hidden_weight=1"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert read_run_record(tmp_path / "run").metrics["validation"]["loss"] < 2
