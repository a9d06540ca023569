"""A teacher is loaded, its head noticed, its faults refused."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, XLNetConfig, XLNetForSequenceClassification

from conftest import make_bert
from distill_trainer import DistillationTrainingArguments
from layer_distillation.tasks.kinds.multi_label import MULTI_LABEL
from layer_distillation.tasks.loading import TaskData
from layer_distillation.teachers import loading as teacher
from layer_distillation.teachers.arguments import TeacherArguments
from layer_distillation.teachers.loading import (
    fingerprint_model,
    load_teacher_config,
    load_tokenizer,
    load_with_task_head,
    locate_teacher,
    prepare_teacher,
)
from layer_distillation.teachers.majority import warn_about_majority
from tiny_project import COLOURS, WORDS, write_teacher, write_tokenizer


def make_data(label_names: list[str] | None, labels: list[int] | None = None) -> TaskData:
    rows = Dataset.from_dict({"labels": labels or [0, 1, 2, 2]})
    return TaskData("tiny", rows, {"validation": rows}, None, ("text",), label_names, ("accuracy",), None, None)


def load(folder, label_names):
    arguments = TeacherArguments(teacher_model_name_or_path=str(folder))
    return load_with_task_head(str(folder), arguments, load_tokenizer(str(folder), arguments), make_data(label_names))


def test_a_trained_head_is_kept_as_it_is(tmp_path):
    model, is_head_new = load(write_teacher(tmp_path), COLOURS)
    assert not is_head_new
    assert torch.equal(model.classifier.weight, make_bert(4, seed=1).classifier.weight)


def test_an_untrained_head_is_noticed_and_gets_the_task_s_labels_the_same_every_time(tmp_path):
    write_teacher(tmp_path, has_head=False)
    model, is_head_new = load(tmp_path, ["yes", "no"])
    assert is_head_new
    assert model.config.id2label == {0: "yes", 1: "no"}
    torch.manual_seed(99)
    assert fingerprint_model(load(tmp_path, ["yes", "no"])[0]) == fingerprint_model(model)


def test_an_untrained_head_for_a_regression_has_one_output(tmp_path):
    write_teacher(tmp_path, has_head=False)
    model, _ = load(tmp_path, None)
    assert model.config.num_labels == 1
    assert model.config.problem_type == "regression"


def test_a_tokenizer_with_more_tokens_than_the_model_embeds_is_refused(tmp_path):
    make_bert(2, vocab_size=10).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    with pytest.raises(ValueError, match="tokens and the model embeds only 10: save the tokenizer"):
        load(tmp_path, COLOURS)


def test_a_folder_without_model_or_tokenizer_is_refused(tmp_path):
    arguments = TeacherArguments(teacher_model_name_or_path=str(tmp_path))
    with pytest.raises(ValueError, match="no model could be loaded from"):
        load_teacher_config(str(tmp_path), arguments)
    make_bert(2).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no tokenizer could be loaded"):
        load_tokenizer(str(tmp_path), arguments)


def test_a_tokenizer_that_pads_on_the_left_pads_on_the_right_here(tmp_path):
    """On the left a BERT would see other positions, and a row other logits in every batch: in a store those of one."""
    write_teacher(tmp_path)
    AutoTokenizer.from_pretrained(tmp_path, padding_side="left").save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).padding_side == "left"
    tokenizer = load_tokenizer(str(tmp_path), TeacherArguments(teacher_model_name_or_path=str(tmp_path)))
    assert tokenizer.pad({"input_ids": [[2, 5, 3], [2, 3]]})["attention_mask"] == [[1, 1, 1], [1, 1, 0]]


def test_an_xlnet_is_padded_on_the_left_and_answers_alike_in_every_batch(tmp_path):
    sizes = {"n_layer": 2, "n_head": 2, "d_model": 16, "d_inner": 24, "initializer_range": 0.3}
    model = XLNetForSequenceClassification(XLNetConfig(vocab_size=len(WORDS), pad_token_id=0, **sizes)).eval()
    model.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path), TeacherArguments(teacher_model_name_or_path=str(tmp_path)))
    rows = [[2, 5, 9, 3], [2, 3], [2, 8, 3]]
    with torch.no_grad():
        together = model(**tokenizer.pad({"input_ids": rows}, return_tensors="pt")).logits
        alone = torch.cat([model(input_ids=torch.tensor([row])).logits for row in rows])
    torch.testing.assert_close(together, alone)


def test_the_cache_folder_goes_by_the_seed_and_the_version_of_the_fine_tuning(tmp_path, monkeypatch):
    write_teacher(tmp_path / "encoder", has_head=False)
    folders, location = [], str(tmp_path / "encoder")

    def remember(folder, model, *_):
        folders.append(folder.name)
        model.save_pretrained(folder)

    monkeypatch.setattr(teacher, "fine_tune_once", remember)
    for seed, version in (("42", 2), ("43", 2), ("42", 3), ("42", 2)):
        monkeypatch.setattr(teacher, "TEACHER_TRAINING_VERSION", version)
        arguments = TeacherArguments(location, cache_dir=str(tmp_path / "cache"), teacher_seeds=seed)
        training = DistillationTrainingArguments(str(tmp_path), use_cpu=True)
        tokenizer = load_tokenizer(location, arguments)
        prepare_teacher(arguments, training, location, tokenizer, make_data(COLOURS), "rows", lambda _: {})
    assert folders[0] not in folders[1:3]
    assert folders[1] != folders[2]
    assert folders[3] == folders[0]


def test_the_fingerprint_follows_every_weight(tmp_path):
    model = make_bert(2)
    before = fingerprint_model(model)
    assert fingerprint_model(make_bert(2)) == before
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.bias[3] += 1e-3
    assert fingerprint_model(model) != before


def test_a_teacher_no_better_than_the_most_frequent_class_is_warned_about(caplog):
    data = make_data(COLOURS, labels=[0, 2, 2, 2])
    with caplog.at_level(logging.WARNING):
        warn_about_majority("t", {"validation": {"accuracy": 0.76}}, data)
        assert caplog.text == ""
        warn_about_majority("t", {"validation": {"accuracy": 0.75}}, data)
    assert "right on 0.750 of the rows" in caplog.text
    assert "nothing that a student could imitate" in caplog.text


def test_a_teacher_that_gives_no_label_is_warned_about(caplog):
    data = replace(make_data(COLOURS), kind=MULTI_LABEL, metric_names=("micro_f1", "macro_f1"))
    with caplog.at_level(logging.WARNING):
        warn_about_majority("t", {"validation": {"micro_f1": 0.01, "macro_f1": 0.0}}, data)
        assert caplog.text == ""
        warn_about_majority("t", {"validation": {"micro_f1": 0.0}}, data)
    assert "is 0 on validation, as if it gave no answer" in caplog.text


def test_the_built_in_encoder_is_written_once_into_the_cache(tmp_path):
    arguments = TeacherArguments(cache_dir=str(tmp_path))
    location = locate_teacher(arguments)
    assert load_teacher_config(location, arguments).num_hidden_layers == 12
    written = {path: path.stat().st_mtime_ns for path in Path(location).iterdir()}
    assert locate_teacher(arguments) == location
    assert written == {path: path.stat().st_mtime_ns for path in Path(location).iterdir()}


def test_the_fingerprint_follows_what_the_config_decides():
    """The same weights with another number of heads are another teacher; other label names are not."""
    names = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    assert fingerprint_model(make_bert(2, num_attention_heads=4)) != fingerprint_model(make_bert(2))
    assert fingerprint_model(make_bert(2, **names)) == fingerprint_model(make_bert(2))


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"no tensors")])
def test_missing_or_damaged_weights_are_one_line(tmp_path, damage):
    damage(write_teacher(tmp_path) / "model.safetensors")
    with pytest.raises(ValueError, match=r"the weights of .* cannot be loaded"):
        load(tmp_path, COLOURS)
