"""What a run takes, from the weights that are there."""

import shutil

import pytest
import torch
from huggingface_hub import constants

from conftest import make_bert
from layer_distillation.runs.arguments import parse_command_line
from layer_distillation.sweep import needs
from layer_distillation.sweep.needs import BYTES_PER_PARAMETER, PROCESS_BYTES, count_parameters, estimate_needs
from layer_distillation.sweep.plan import Needs
from tiny_project import make_project


@pytest.fixture(autouse=True)
def nothing_remembered():
    count_parameters.cache_clear()


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "8KB"}], ids=["one file", "sharded"])
def test_every_parameter_of_a_teachers_folder_counts_whatever_it_is_stored_in(tmp_path, options):
    model = make_bert()
    model.half().save_pretrained(tmp_path, **options)
    assert count_parameters(str(tmp_path), "main") == count(model)


def test_pickled_weights_count_by_their_size(tmp_path):
    torch.save({"weight": torch.zeros(10_000)}, tmp_path / "pytorch_model.bin")
    assert count_parameters(str(tmp_path), "main") == pytest.approx(10_000, rel=0.1)


def test_a_model_of_the_hub_counts_once_it_is_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert count_parameters("someone/model", "main") == 0
    count_parameters.cache_clear()
    cached = tmp_path / "models--someone--model"
    model = make_bert()
    model.save_pretrained(cached / "snapshots" / "abc")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    assert count_parameters("someone/model", "main") == count(model)


def test_all_teachers_count_and_cards_only_where_they_are_used(tmp_path, monkeypatch):
    monkeypatch.setattr(needs.torch.cuda, "device_count", lambda: 2)
    flags = make_project(tmp_path)
    each = count_parameters(str(tmp_path / "teacher"), "main")
    assert each > 0
    shutil.copytree(tmp_path / "teacher", tmp_path / "another")
    flags.append(f"--additional_teachers={tmp_path / 'another'}")
    assert estimate_needs(parse_command_line(flags)) == Needs(PROCESS_BYTES + 2 * each * BYTES_PER_PARAMETER)
