"""The newest complete checkpoint, whatever else lies there."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from layer_distillation.records.checkpoints import find_checkpoint, list_checkpoints


def write_checkpoint(folder: Path, step: int) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir()
    save_file({"weight": np.arange(100.0)}, checkpoint / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"step": step}, checkpoint / name)
    (checkpoint / "trainer_state.json").write_text('{"global_step": 1}')
    return checkpoint


def test_the_newest_checkpoint_is_found_by_its_number(tmp_path):
    assert find_checkpoint(tmp_path / "nowhere") is None
    for step in (9, 200, 10):
        write_checkpoint(tmp_path, step)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-9", "checkpoint-10", "checkpoint-200"]
    assert find_checkpoint(tmp_path) == str(tmp_path / "checkpoint-200")


@pytest.mark.parametrize("name", ["trainer_state.json", "model.safetensors", "optimizer.pt", "rng_state.pth"])
@pytest.mark.parametrize("kept_share", [0.0, 0.5, 0.99])
def test_a_checkpoint_with_a_file_that_ends_early_is_passed_over(tmp_path, name, kept_share):
    write_checkpoint(tmp_path, 9)
    path = write_checkpoint(tmp_path, 10) / name
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept_share * len(whole))])
    assert find_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")


@pytest.mark.parametrize("name", ["trainer_state.json", "model.safetensors"])
def test_a_checkpoint_without_its_state_or_weights_is_passed_over(tmp_path, name):
    write_checkpoint(tmp_path, 9)
    (write_checkpoint(tmp_path, 10) / name).unlink()
    assert find_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")
