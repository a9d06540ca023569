"""The facts in a record are those of this machine and this run."""

import time

import torch

from conftest import make_bert
from layer_distillation.records.run_record import RunRecord
from layer_distillation.runs.facts import count_parameters, describe_hardware, list_versions, measure_peak_memory, timed


def test_versions_and_hardware_are_named():
    assert list_versions()["torch"] == torch.__version__
    hardware = describe_hardware(torch.device("cpu"))
    assert hardware["processes"] == 1
    assert hardware["device"]


def test_parameters_are_counted_once():
    assert count_parameters(make_bert(3)) - count_parameters(make_bert(2)) == 2224  # one layer of width 16


def test_a_stage_adds_to_the_seconds_of_an_earlier_start():
    record = RunRecord("c", {}, {}, {}, seed=0, strategy="odd", seconds={"teacher": 100.0})
    with timed(record, "teacher"):
        time.sleep(0.02)
    assert 100.02 <= record.seconds["teacher"] < 101


def test_peak_memory_is_in_bytes():
    assert 50e6 < measure_peak_memory(torch.device("cpu")) < 1e12
