"""What a student's config says to sentence-transformers, and that its `CrossEncoder` scores as we do."""

import json

import pytest
import torch
from transformers import AutoTokenizer, BertForSequenceClassification

from conftest import make_bert
from layer_distillation.teachers.cross_encoders import SIGMOID, check_modules, describe_cross_encoder
from tiny_project import WORDS, write_tokenizer

IDENTITY = "torch.nn.modules.linear.Identity"
PAIRS = [("the red ball", "a ball is red"), ("the house", "not a house and not a tree"), ("a cup", "the door is green")]


def make_config(**values: object):
    return make_bert(2, 1, vocab_size=len(WORDS), **values).config


@pytest.mark.parametrize(
    ("values", "own", "expected"),
    [
        ({}, None, SIGMOID),
        ({"sentence_transformers": {"activation_fn": IDENTITY, "version": "5.1.0"}}, None, IDENTITY),
        ({"sbert_ce_default_activation_function": IDENTITY}, None, IDENTITY),
        ({}, {"activation_fn": IDENTITY, "__version__": {"sentence_transformers": "5.9.0"}}, IDENTITY),
    ],
)
def test_the_activation_is_the_teachers(tmp_path, values, own, expected):
    if own is not None:
        (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(own))
    found = describe_cross_encoder(make_config(**values), str(tmp_path), "main")
    version = "5.1.0" if "sentence_transformers" in values else "5.9.0" if own else "6.2.0"
    assert found == {"activation_fn": expected, "version": version}


def test_further_modules_are_named(tmp_path):
    check_modules(str(tmp_path), "main")
    types = ["sentence_transformers.base.modules.transformer.Transformer", "sentence_transformers.models.Dense"]
    for count in (1, 2):
        (tmp_path / "modules.json").write_text(json.dumps([{"type": name} for name in types[:count]]))
        if count == 1:
            check_modules(str(tmp_path), "main")
    with pytest.raises(ValueError, match=r"scores by Transformer and Dense .modules.json., and a student is"):
        check_modules(str(tmp_path), "main")
    (tmp_path / "modules.json").write_text("[")
    with pytest.raises(ValueError, match=r"modules.json of .* cannot be read .*: save the model again"):
        check_modules(str(tmp_path), "main")


def test_a_default_prompt_that_no_student_would_put_there_is_refused(tmp_path):
    cross_encoder = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    make_bert(2, 1, vocab_size=len(WORDS)).save_pretrained(tmp_path / "plain")
    write_tokenizer(tmp_path / "plain")
    for default in (None, "red"):
        prompts = {"prompts": {"red": "the red "}, "default_prompt_name": default}
        model = cross_encoder.CrossEncoder(str(tmp_path / "plain"), device="cpu", **prompts)
        model.save_pretrained(str(tmp_path / str(default)), create_model_card=False)
    check_modules(str(tmp_path / "None"), "main")
    with pytest.raises(ValueError, match="puts its default prompt 'the red ' before every pair"):
        check_modules(str(tmp_path / "red"), "main")


@pytest.mark.parametrize("activation", [SIGMOID, IDENTITY])
def test_a_cross_encoder_scores_as_the_plain_class(tmp_path, activation):
    reason = "sentence-transformers is not installed (requirements-dev.txt)"
    cross_encoder = pytest.importorskip("sentence_transformers", reason=reason).CrossEncoder
    model = make_bert(2, 1, vocab_size=len(WORDS))
    model.config.sentence_transformers = {"activation_fn": activation, "version": "6.2.0"}
    model.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    inputs = tokenizer(*map(list, zip(*PAIRS, strict=True)), padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = BertForSequenceClassification.from_pretrained(tmp_path).eval()(**inputs).logits[:, 0]
    expected = logits.sigmoid() if activation == SIGMOID else logits
    found = cross_encoder(str(tmp_path), device="cpu").predict(PAIRS, convert_to_tensor=True)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert logits.std() > 1e-3
