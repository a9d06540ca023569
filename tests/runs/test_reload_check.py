"""No run is finished whose student cannot be loaded, or is another one when it is."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, EsmConfig, PreTrainedModel

from conftest import make_bert
from layer_distillation.records.run_record import FINISHED, read_run_record
from layer_distillation.runs.reload_check import UnusableStudentError, check_reload
from run_distillation import main
from tiny_project import WORDS, make_project, write_tokenizer

BATCH = {"input_ids": torch.tensor([[5, 6, 7], [8, 9, 0]]), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_student_that_reloads_as_it_was_saved_passes(tmp_path, dtype):
    student = make_bert(2).to(dtype)
    student.save_pretrained(tmp_path)
    check_reload(student, tmp_path, BATCH)


def test_another_student_in_the_folder_is_an_error(tmp_path):
    student = make_bert(2, seed=1)
    student.save_pretrained(tmp_path)
    student.bert.encoder.layer[1].output.dense.weight.data.mul_(1.5)
    with pytest.raises(UnusableStudentError, match=r"not the one that was trained, its logits differ by"):
        check_reload(student, tmp_path, BATCH)


def test_a_student_that_cannot_be_loaded_is_an_error(tmp_path):
    student = make_bert(2)
    student.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_size": 32}))
    with pytest.raises(UnusableStudentError, match=r"cannot be loaded again \(.*the run is not finished"):
        check_reload(student, tmp_path, BATCH)


@pytest.mark.slow
def test_a_run_whose_student_is_spoilt_on_its_way_to_the_disk_is_not_finished(tmp_path, monkeypatch, capsys):
    save = PreTrainedModel.save_pretrained

    def save_other(model: PreTrainedModel, folder: str, **options: object) -> None:
        if Path(folder) == tmp_path / "run":
            model.classifier.weight.data.mul_(2.0)
            save(model, folder, **options)
            model.classifier.weight.data.div_(2.0)
        else:
            save(model, folder, **options)

    flags = make_project(tmp_path)
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", save_other)
    with pytest.raises(SystemExit) as exit_status:
        main([*flags, "--num_train_epochs=1"])
    assert exit_status.value.code == 1
    assert "is not the one that was trained" in capsys.readouterr().err
    assert read_run_record(tmp_path / "run").status != FINISHED
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", save)
    assert main([*flags, "--num_train_epochs=1"]) == 0
    assert read_run_record(tmp_path / "run").status == FINISHED


def test_an_esm_student_is_cut_trained_and_loaded_again(tmp_path):
    """Its contact head reads every head of every layer: outside of the stack, and yet of its layers."""
    flags = make_project(tmp_path)
    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
    config = EsmConfig(vocab_size=len(WORDS), pad_token_id=0, mask_token_id=4, max_position_embeddings=66, **sizes)
    config.id2label, config.label2id = {0: "red", 1: "green", 2: "blue"}, {"red": 0, "green": 1, "blue": 2}
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "esm")
    write_tokenizer(tmp_path / "esm")
    options = [f"--teacher_model_name_or_path={tmp_path / 'esm'}", "--student_layers=3,1", "--num_train_epochs=1"]
    assert main([*flags, *options]) == 0
    student = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    assert student.esm.contact_head.regression.weight.shape == (1, 4)
