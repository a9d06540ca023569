"""The command on text alone: the student that comes out, its folder, its record and card, and a comparison."""

import csv
import json

import numpy as np
import pytest
import torch
from transformers import AutoModel

import run_distillation
from compare_strategies import main as compare
from layer_distillation.embedding.encoding import load_encoder
from layer_distillation.records.run_record import read_run_record
from sentence_folders import TEXTS, make_texts, write_sentence_folder


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
