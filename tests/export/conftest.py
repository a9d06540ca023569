"""One tiny model as ONNX and one finished run for all tests of this folder: the exporter takes seconds."""

import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from conftest import make_bert
from export_tools import MISSING, finish_run
from layer_distillation.export import artifacts, stages
from layer_distillation.export.conversion import convert
from tiny_project import write_tokenizer


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Path]:
    """The model, its tokenizer and its file; one row of the embedding is a thousand times as large as the others."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=MISSING)
    folder = tmp_path_factory.mktemp("model")
    write_tokenizer(folder)
    model = make_bert(num_layers=2, hidden_size=64, intermediate_size=256, vocab_size=500)
    model.bert.embeddings.word_embeddings.weight.data[7] *= 1000
    tokenizer = AutoTokenizer.from_pretrained(folder)
    convert(model, tokenizer, folder / "model.onnx", 20)
    return model, tokenizer, folder / "model.onnx"


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    return finish_run(tmp_path_factory.mktemp("project"))


@pytest.fixture
def project(finished, tmp_path, monkeypatch) -> Path:
    """A copy of its run; no seconds for fresh processes and pictures."""
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.setattr(stages, "start_fresh", lambda *_: (0.5, 100_000_000))
    monkeypatch.setattr(stages, "draw_frontier", lambda *_: False)
    return tmp_path


@pytest.fixture
def packages() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=MISSING)


@pytest.fixture(scope="session")
def converted(tmp_path_factory) -> dict[str, Path]:
    return {}


@pytest.fixture
def quick(monkeypatch, converted, tmp_path_factory) -> None:
    """The exporter's seconds once for each model of this file."""
    convert, folder = artifacts.convert, tmp_path_factory.mktemp("converted")

    def convert_once(model, tokenizer, path, opset) -> None:
        key = f"{model.config.num_hidden_layers} {model.config.vocab_size} {opset}"
        if key not in converted:
            convert(model, tokenizer, folder / f"{key}.onnx", opset)
            converted[key] = folder / f"{key}.onnx"
        shutil.copyfile(converted[key], path)

    monkeypatch.setattr(artifacts, "convert", convert_once)
