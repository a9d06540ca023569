"""The command on text alone: the student that comes out, its folder, its record and card, and a comparison."""

import csv
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

import run_distillation
from compare_strategies import main as compare
from layer_distillation.embedding.encoding import load_encoder
from layer_distillation.embedding.modules import SentenceModules, get_modules
from layer_distillation.records.run_record import read_run_record
from sentence_folders import TEXTS, make_encoder, make_texts, write_sentence_folder
from tiny_project import write_tokenizer


def make_project(folder, **flags) -> list[str]:
    """The flags of a complete run: 2 of 4 layers, 2 epochs, on a CPU."""
    write_sentence_folder(folder / "teacher")
    (folder / "texts.txt").write_text("\n".join(make_texts(40)), encoding="utf-8")
    texts = make_texts(24, seed=3)
    with (folder / "sts.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [[texts[2 * row], texts[2 * row + 1], row % 5 + 0.2] for row in range(12)]
        csv.writer(file).writerows([["sentence1", "sentence2", "score"], *rows])
    settings = {
        "task_type": "embedding",
        "teacher_model_name_or_path": folder / "teacher",
        "train_file": folder / "texts.txt",
        "test_file": folder / "sts.csv",
        "layer_strategy": "spread",
        "cache_dir": folder / "cache",
        "output_dir": folder / "run",
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "learning_rate": 3e-3,
    } | flags
    torch.manual_seed(0)
    given = [f"--{name}={value}" for name, value in settings.items() if value is not None]
    return [*given, "--use_cpu", "--disable_tqdm", "true"]


def test_a_run_on_text_alone_leaves_a_folder_of_sentence_transformers(tmp_path, capsys):
    assert run_distillation.main(make_project(tmp_path)) == 0
    folder, record = tmp_path / "run", read_run_record(tmp_path / "run")
    assert record.task["kind"] == "embedding"
    assert record.task["rows"] == {"train": 39, "validation": 1, "test": 12}
    assert record.task["options"]["pooling"] == ["mean"]
    untrained = record.student["untrained"]["cosine_to_teacher"]
    assert record.metrics["validation"]["cosine_to_teacher"] > untrained
    assert record.history[-1]["train_loss"] < record.history[0]["train_loss"]
    assert record.arguments["metric_for_best_model"] == "cosine_to_teacher"
    assert record.arguments["greater_is_better"] is True
    assert record.teacher["metrics"]["test"].keys() == {"spearmanr", "pearson"}
    assert "`SentenceTransformer` cuts them at its `max_seq_length`" in (folder / "README.md").read_text()
    assert "student = SentenceTransformer(" in capsys.readouterr().out
    card = (folder / "README.md").read_text(encoding="utf-8")
    for part in ("library_name: sentence-transformers", "pipeline_tag: sentence-similarity", "- sentence-transformers"):
        assert part in card
    assert type(AutoModel.from_pretrained(folder)).__name__ == "BertModel"
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    theirs = library.SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(theirs, load_encoder(str(folder)).encode(TEXTS), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(theirs, axis=1), 1, rtol=1e-5)


def test_gold_of_the_validation_file_chooses_the_epoch(tmp_path):
    flags = make_project(tmp_path, validation_file=tmp_path / "sts.csv", test_file=None, num_train_epochs=1)
    assert run_distillation.main(flags) == 0
    record = read_run_record(tmp_path / "run")
    assert record.arguments["metric_for_best_model"] == "spearmanr"
    assert "without_gold" in record.task
    assert record.metrics["validation"].keys() >= {"spearmanr", "pearson", "cosine_to_teacher", "spearman_to_teacher"}


@pytest.mark.slow
def test_strategies_are_compared_by_pairs(tmp_path):
    for strategy in ("top", "bottom"):
        out = {"layer_strategy": strategy, "output_dir": tmp_path / "runs" / strategy}
        assert run_distillation.main(make_project(tmp_path, **out)) == 0
    assert compare([str(tmp_path / "runs"), "--output_dir", str(tmp_path / "compared")]) == 0
    unit = json.loads((tmp_path / "compared" / "comparison.json").read_text())["units"][0]
    assert (unit["metric_name"], unit["split"], unit["rows"]) == ("spearmanr", "test", 12)


@pytest.mark.slow
def test_strategies_are_compared_by_texts_where_there_is_no_gold(tmp_path):
    for strategy in ("top", "bottom"):
        out = {"layer_strategy": strategy, "output_dir": tmp_path / "runs" / strategy, "test_file": None}
        texts = {"validation_file": tmp_path / "texts.txt"}
        assert run_distillation.main(make_project(tmp_path, **out, **texts)) == 0
    assert compare([str(tmp_path / "runs"), "--output_dir", str(tmp_path / "compared"), "--no_pictures"]) == 0
    unit = json.loads((tmp_path / "compared" / "comparison.json").read_text())["units"][0]
    assert (unit["metric_name"], unit["rows"]) == ("cosine_to_teacher", 40)


def test_a_narrower_student_ships_the_dense_layer_to_its_teachers_width(tmp_path):
    sizes = {"student_hidden_size": 8, "student_attention_heads": 1, "num_train_epochs": 1, "test_file": None}
    assert run_distillation.main(make_project(tmp_path, **sizes)) == 0
    folder = tmp_path / "run"
    assert json.loads((folder / "2_Dense" / "config.json").read_text())["out_features"] == 16
    assert AutoModel.from_pretrained(folder).config.hidden_size == 8
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    theirs = library.SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(theirs, load_encoder(str(folder)).encode(TEXTS), atol=1e-5)
    assert theirs.shape == (len(TEXTS), 16)


DENSE = {"name": "dense", "in_features": 16, "out_features": 6, "bias": True, "activation": "Tanh"}


@pytest.mark.parametrize("steps", [(), (DENSE,)])
def test_layers_of_another_checkpoint_are_those_of_that_one(tmp_path, steps):
    source = {"student_source_model": tmp_path / "other", "learning_rate": 1e-9, "num_train_epochs": 1}
    flags = make_project(tmp_path, **source, test_file=None)
    write_sentence_folder(tmp_path / "other", seed=9)
    write_sentence_folder(tmp_path / "teacher", modules=SentenceModules(("mean",), steps))
    assert run_distillation.main(flags) == 0
    ours, other = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "other"))
    for name in ("embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.query.weight"):
        torch.testing.assert_close(ours[name], other[name], atol=1e-6, rtol=0)
    if steps:
        ours, teacher = (load_file(tmp_path / name / "2_Dense" / "model.safetensors") for name in ("run", "teacher"))
        torch.testing.assert_close(ours, teacher, atol=1e-6, rtol=0)


def load_with_library(folder):
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    return library.SentenceTransformer(str(folder), device="cpu")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dense_layers_are_saved_in_half_precision_too(tmp_path, dtype):
    sizes = {"student_hidden_size": 8, "student_attention_heads": 1, "num_train_epochs": 1, "test_file": None}
    assert run_distillation.main(make_project(tmp_path, **sizes, save_dtype=dtype)) == 0
    saved = load_file(tmp_path / "run" / "2_Dense" / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {getattr(torch, dtype)}
    theirs = load_with_library(tmp_path / "run").encode(TEXTS)
    np.testing.assert_allclose(theirs, load_encoder(str(tmp_path / "run")).encode(TEXTS), atol=0.02)


def test_an_existing_student_reads_texts_as_its_teacher_does(tmp_path):
    flags = make_project(tmp_path, student_model_name_or_path=tmp_path / "student", layer_strategy=None, test_file=None)
    prompted = SentenceModules(("cls",), prompts={"q": "the red "}, default_prompt_name="q", max_length=20)
    write_sentence_folder(tmp_path / "teacher", modules=prompted)
    other = SentenceModules(("mean",), prompts={"x": "not a "}, default_prompt_name="x", max_length=9)
    write_sentence_folder(tmp_path / "student", modules=other, num_layers=2)
    assert run_distillation.main(flags) == 0
    student = load_with_library(tmp_path / "run")
    assert (student.default_prompt_name, student.prompts["q"], student.max_seq_length) == ("q", "the red ", 20)
    assert "x" not in student.prompts
    assert student[1].pooling_mode == "mean"


def test_a_plain_student_pools_as_its_teacher_does(tmp_path):
    flags = make_project(tmp_path, student_model_name_or_path=tmp_path / "student", layer_strategy=None, test_file=None)
    write_sentence_folder(tmp_path / "teacher", modules=SentenceModules(("cls",)))
    make_encoder(num_layers=2).save_pretrained(tmp_path / "student")
    write_tokenizer(tmp_path / "student")
    assert run_distillation.main(flags) == 0
    assert get_modules(load_encoder(str(tmp_path / "run")).model.config).pooling == ("cls",)


WRONG = {
    "contradicts the modules.json": {"pooling": "cls"},
    "--additional_teachers x: vectors of several teachers": {"additional_teachers": "x"},
    "--temperature 2 is that of similarities here": {"temperature": 2},
    "--matryoshka_dims 64: the vectors have 16 dimensions": {"matryoshka_dims": 64},
    "--schedules temperature=linear:1 is that of similarities here": {"schedules": "temperature=linear:1"},
    "--similarity_loss mse says how --similarity_weight compares, which is 0": {"similarity_loss": "mse"},
    "--matryoshka_dims 8: no term that is on compares parts of vectors": {"matryoshka_dims": 8, "hidden_weight": 1},
    "there is no prompt 'query': the teacher has none": {"prompt_name": "query"},
    "--ce_weight 1: no training row has a gold label": {"ce_weight": 1},
    "--similarity_weight compares the rows of one whole batch": {
        "similarity_weight": 1,
        "gradient_accumulation_steps": 2,
    },
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_meant_is_one_line_and_status_2(tmp_path, capsys, message):
    with pytest.raises(SystemExit) as ended:
        run_distillation.main(make_project(tmp_path, **WRONG[message]))
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.strip().splitlines()[-1:]
    assert message in line
    assert "Traceback" not in line
    assert not [*(tmp_path / "cache").rglob("manifest.json")], "the teacher was asked before that"


def test_no_loss_chooses_the_epoch_of_vectors(tmp_path, capsys):
    gold = {"validation_file": tmp_path / "sts.csv", "test_file": None, "metric_for_best_model": "loss"}
    with pytest.raises(SystemExit):
        run_distillation.main(make_project(tmp_path, **gold))
    assert "--metric_for_best_model is 'loss': the task texts has spearmanr, pearson, cosine" in capsys.readouterr().err


def test_flags_of_vectors_are_refused_for_other_tasks(tmp_path, capsys):
    from tiny_project import make_project as make_classification

    for flag in ("--pooling=cls", "--similarity_weight=1", "--matryoshka_dims=8", "--normalize_embeddings=true"):
        with pytest.raises(SystemExit) as ended:
            run_distillation.main([*make_classification(tmp_path), flag])
        assert ended.value.code == 2
        assert "it goes with --task_type embedding" in capsys.readouterr().err.replace(" goes with", " it goes with")


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path):
    """After the first epoch's checkpoint; the end is that of a run that nobody stopped."""
    whole = make_project(tmp_path, output_dir=tmp_path / "whole", similarity_weight=0.5, logit_cosine_weight=1)
    assert run_distillation.main(whole) == 0
    flags = make_project(tmp_path, similarity_weight=0.5, logit_cosine_weight=1)
    save = run_distillation.DistillationTrainer._save_checkpoint

    def stop(trainer, *args):
        save(trainer, *args)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_distillation.DistillationTrainer, "_save_checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            run_distillation.main(flags)
    assert read_run_record(tmp_path / "run").status == "running"
    assert run_distillation.main(flags) == 0
    ours, theirs = (load_encoder(str(tmp_path / name)).encode(TEXTS) for name in ("run", "whole"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_student_is_pushed_with_its_module_folders(tmp_path, monkeypatch):
    from hub_server import HubServer, use_hub
    from layer_distillation.cards.publish import push_folder
    from layer_distillation.cards.push_target import PushTarget

    flags = make_project(tmp_path, student_hidden_size=8, student_attention_heads=1, num_train_epochs=1, test_file=None)
    assert run_distillation.main(flags) == 0
    with HubServer(token="hf_test") as hub:
        use_hub(hub, monkeypatch)
        push_folder(tmp_path / "run", PushTarget("student", False, None, "hf_test"))
        [repository] = hub.repositories.values()
    pushed = set(repository.files)
    assert {"modules.json", "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"} <= pushed
    assert {"config_sentence_transformers.json", "sentence_bert_config.json", "model.safetensors"} <= pushed
    assert not any("checkpoint" in name or name.endswith((".npz", "run_record.json")) for name in pushed)
