"""Speed is measured by turns, on models as a user loads them, within its time, and costs no student."""

import pytest
import torch
from transformers import BertForSequenceClassification

from conftest import make_bert
from layer_distillation.runs import student_speed
from layer_distillation.runs.student_speed import build_model, count_weight_bytes, measure_speed

CPU = torch.device("cpu")


def measure(teacher_layers: int = 4, student_layers: int = 2, row_tokens: int = 16):
    configs = [make_bert(layers).config for layers in (teacher_layers, student_layers)]
    return measure_speed(BertForSequenceClassification, *configs, row_tokens, CPU)


def test_fewer_layers_take_less_time_and_room():
    speed = measure(24, 2)
    for milliseconds in speed["milliseconds"].values():
        assert milliseconds["teacher"] > 2 * milliseconds["student"] > 0
    assert speed["weight_bytes"]["teacher"] > 5 * speed["weight_bytes"]["student"]
    assert list(speed["milliseconds"]) == ["1", "32"]
    assert speed["threads"] == torch.get_num_threads()


@pytest.mark.parametrize(("row_tokens", "tokens"), [(16, 16), (500, 128)])
def test_rows_are_as_long_as_asked_and_no_longer_than_128(row_tokens, tokens, monkeypatch):
    shapes = []
    monkeypatch.setattr(student_speed, "time_models", lambda models, shape, device: (shapes.append(shape), ({}, 1))[1])
    assert measure(row_tokens=row_tokens)["tokens"] == tokens
    assert shapes == [(1, tokens), (32, tokens)]


def test_teacher_and_student_take_turns_and_the_warm_up_does_not_count(monkeypatch):
    calls, seconds = [], iter([9.0, 9.0, 4.0, 2.0, 3.0, 1.0])
    monkeypatch.setattr(student_speed, "MOST_ROUNDS", 3)

    def time_call(call, device):
        call()
        return next(seconds)

    monkeypatch.setattr(student_speed, "time_call", time_call)
    models = {name: lambda input_ids, attention_mask, name=name: calls.append(name) for name in ("teacher", "student")}
    monkeypatch.setattr(student_speed, "draw_inputs", lambda *_: {"input_ids": None, "attention_mask": None})
    assert student_speed.time_models(models, (1, 16), CPU) == ({"teacher": 3000.0, "student": 1000.0}, 2)
    assert calls == ["teacher", "student"] * 3


def test_a_slow_machine_is_asked_for_one_round_only(monkeypatch):
    monkeypatch.setattr(student_speed, "BUDGET_SECONDS", 0.0)
    assert measure()["rounds"] == {"1": 1, "32": 1}


def test_the_attention_and_precision_of_training_are_not_those_that_are_timed():
    config = make_bert(2).config
    config._attn_implementation = "eager"
    config.dtype = torch.float16
    model = build_model(BertForSequenceClassification, config, CPU)
    assert model.config._attn_implementation == "sdpa"
    assert model.dtype == torch.float32
    assert not model.training
    assert config.dtype == torch.float16


def test_the_size_is_that_of_the_saved_weights(tmp_path):
    model = make_bert(4)
    model.save_pretrained(tmp_path)
    saved = (tmp_path / "model.safetensors").stat().st_size
    header = int.from_bytes((tmp_path / "model.safetensors").read_bytes()[:8], "little") + 8
    assert count_weight_bytes(model) == saved - header


def test_the_random_state_stays_as_it_was():
    config = make_bert(2).config
    before = torch.get_rng_state()
    measure_speed(BertForSequenceClassification, config, config, 16, CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_too_little_memory_costs_the_figures_and_not_the_student(monkeypatch, caplog):
    def fail(*_):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(student_speed, "build_model", fail)
    assert measure() == {}
    assert "speed is not measured" in caplog.text
