"""What the configs alone say of a student's layers. Layers by strategy: test_student_init.py."""

import logging

import pytest
from transformers import BigBirdConfig, GPT2Config

from conftest import make_bert
from layer_distillation.architectures import traits
from layer_distillation.runs.arguments import parse_command_line
from layer_distillation.students.layer_plan import plan_layers
from layer_distillation.students.layer_search import SEARCHED_STRATEGIES
from tiny_project import make_project


@pytest.fixture
def flags(tmp_path):
    return make_project(tmp_path)


@pytest.mark.parametrize("matching", SEARCHED_STRATEGIES)
def test_a_matching_that_no_search_can_find_is_refused_by_the_config_alone(tmp_path, flags, matching):
    make_bert(6).save_pretrained(tmp_path / "deep")
    own = [*flags, f"--layer_matching={matching}", f"--student_model_name_or_path={tmp_path / 'deep'}"]
    with pytest.raises(ValueError, match=f"--layer_matching {matching} finds at most the teacher's 4 layers, and the"):
        plan_layers(parse_command_line(own), make_bert().config)
    decoder = GPT2Config(n_layer=4, n_head=2, n_embd=16, num_labels=3)
    terms = [*flags, f"--layer_matching={matching}", "--layer_strategy=odd"]
    with pytest.raises(ValueError, match=f"{matching} need not name the last layer, and in gpt2 .* take best or block"):
        plan_layers(parse_command_line(terms), decoder)
    logits_alone = ["--hidden_weight=0", "--pkd_weight=0", "--attention_weight=0"]
    assert plan_layers(parse_command_line([*terms, *logits_alone]), decoder) == [1, 3]


@pytest.mark.parametrize("matching", ["block", "best", "greedy"])
def test_one_layer_without_the_last_is_refused_whatever_the_matching(flags, matching):
    own = ["--student_num_layers=1", "--pkd_weight=1", "--pkd_last_layer=false", f"--layer_matching={matching}"]
    with pytest.raises(ValueError, match="leaves --pkd_weight nothing to compare in a student of one layer"):
        plan_layers(parse_command_line([*flags, *own]), make_bert().config)


def test_a_layer_that_cannot_stand_at_its_new_place_is_refused_by_the_config_alone(flags):
    config = GPT2Config(n_layer=4, n_head=2, n_embd=16, num_labels=3, scale_attn_by_inverse_layer_idx=True)
    with pytest.raises(ValueError, match=r"gpt2 layer 1 -> 0: the architecture builds the layer otherwise .*scal"):
        plan_layers(parse_command_line([*flags, "--student_layers=1,3"]), config)
    assert plan_layers(parse_command_line([*flags, "--student_layers=0,1"]), config) == [0, 1]


def test_what_is_surprising_about_an_architecture_is_said(flags, caplog):
    traits.warn_about.cache_clear()
    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 24}
    with caplog.at_level(logging.WARNING):
        plan_layers(parse_command_line(flags), BigBirdConfig(vocab_size=40, num_labels=3, **sizes))
    assert "big_bird: transformers computes full attention from the first batch of short rows on" in caplog.text
