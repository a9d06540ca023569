"""Every way of pooling in every form of a sentence encoder: any batch and length, padding on either side."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, PreTrainedModel

from export_tools import MISSING
from layer_distillation.embedding import pooling
from layer_distillation.embedding.modules import SentenceModules
from layer_distillation.embedding.pooling import POOLINGS
from layer_distillation.export.clients import Batch, ask_pytorch
from layer_distillation.export.conversion import convert
from layer_distillation.export.formats import FORMATS
from sentence_folders import make_pooled
from tiny_project import write_tokenizer

LONGEST = 500


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[PreTrainedModel, Path]:
    """The model, all poolings joined, and its file."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=MISSING)
    folder = tmp_path_factory.mktemp("pooled")
    write_tokenizer(folder)
    model = make_pooled("bert", SentenceModules(tuple(POOLINGS)), num_layers=1, max_position_embeddings=LONGEST)
    convert(model, AutoTokenizer.from_pretrained(folder), folder / "model.onnx", 20)
    return model, folder / "model.onnx"


def draw(rows: int, pads_left: bool) -> Batch:
    """The first row is whole, of the others less and less is there."""
    ids = np.random.default_rng(0).integers(3, 10, (rows, LONGEST))
    places = np.arange(LONGEST)[:: -1 if pads_left else 1]
    mask = (places < (LONGEST // np.arange(1, rows + 1))[:, None]).astype(np.int64)
    return {"input_ids": ids * mask, "attention_mask": mask}


@pytest.mark.slow
@pytest.mark.parametrize("pads_left", [False, True])
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize(
    ("form", "nearness"), [("onnx", 1e-5), ("onnx-fp16", 2e-3), ("onnx-int8", 5e-2), ("openvino", 1e-5)]
)
def test_every_pooling_is_that_of_the_model(written, tmp_path, form, nearness, rows, pads_left):
    """Of long texts too: the weights of a weighted mean add up to more than 16 bits hold."""
    model, source = written
    if form == "openvino":
        pytest.importorskip("openvino", reason=MISSING)
    FORMATS[form].write(source, tmp_path / "form")
    batch = draw(rows, pads_left)
    answers = FORMATS[form].open(tmp_path / "form", 1), ask_pytorch(model, 1)
    found, wanted = (np.split(answer(batch), len(POOLINGS), axis=1) for answer in answers)
    for name, own, other in zip(POOLINGS, found, wanted, strict=True):
        np.testing.assert_allclose(own, other, atol=nearness * np.abs(other).max(), err_msg=name)


@pytest.mark.slow
def test_a_file_that_takes_the_traced_batch_alone_is_refused(written, tmp_path, monkeypatch):
    """`len` of a tensor is a number to the exporter."""
    model, source = written

    def pick_traced(states, places):
        return states[torch.arange(len(places)), places]

    monkeypatch.setattr(pooling, "pick_tokens", pick_traced)
    with pytest.raises(
        ValueError, match=r"bert cannot be written as ONNX .*\(input_ids is fixed to the traced sizes \[2"
    ):
        convert(model, AutoTokenizer.from_pretrained(source.parent), tmp_path / "model.onnx", 20)
