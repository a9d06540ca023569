"""8-bit files: small, and near the model that they are of."""

from pathlib import Path

import numpy as np
import pytest

from layer_distillation.export.clients import open_onnx
from layer_distillation.export.conversion import make_batch

onnx = pytest.importorskip("onnx", reason="the packages of requirements-export.txt are not installed")
pytest.importorskip("onnxruntime", reason="the packages of requirements-export.txt are not installed")
quantization = pytest.importorskip("layer_distillation.export.quantization")


@pytest.fixture
def source(exported) -> Path:
    return exported[2]


def draw(exported) -> dict[str, np.ndarray]:
    model, tokenizer, _ = exported
    return make_batch(model, tokenizer, 4, 9, padding=2)


def test_int8_is_small_and_nearer_to_the_floats_than_with_one_scale_for_the_embeddings(source, exported, tmp_path):
    """One row of them is a thousand times as large as the others."""
    quantization.quantize(source, tmp_path / "int8.onnx")
    quantization.quantize_dynamic(source, tmp_path / "default.onnx", per_channel=True)
    paths = (source, tmp_path / "int8.onnx", tmp_path / "default.onnx")
    wanted, got, default = (open_onnx(path, 1)(draw(exported)) for path in paths)
    assert np.abs(got - wanted).max() < 0.2 * np.abs(wanted).max()
    assert np.abs(got - wanted).mean() < 0.2 * np.abs(default - wanted).mean()
    assert (tmp_path / "int8.onnx").stat().st_size < 0.4 * source.stat().st_size


def test_every_matrix_and_every_embedding_is_8_bit(source, exported, tmp_path):
    quantization.quantize(source, tmp_path / "int8.onnx")
    graph = onnx.load(tmp_path / "int8.onnx").graph
    floats = [tensor.name for tensor in graph.initializer if np.prod(tensor.dims) > 600 and tensor.data_type == 1]
    assert floats == []


def test_an_embedding_that_a_head_shares_stays_for_the_head():
    from onnx import TensorProto, helper, numpy_helper

    table = numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "table")
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["states"], "lookup", axis=0),
        helper.make_node("Transpose", ["table"], ["turned"], "turn"),
        helper.make_node("MatMul", ["states", "turned"], ["logits"], "head"),
    ]
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows"])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", 4])]
    model = helper.make_model(helper.make_graph(nodes, "tied", inputs, outputs, [table]))
    quantization.quantize_embeddings(model)
    assert {tensor.name for tensor in model.graph.initializer} == {"table", "table_int8", "table_scale"}
    onnx.checker.check_model(model)


def test_fp16_halves_the_file_and_keeps_the_logits_type(source, exported, tmp_path):
    quantization.halve(source, tmp_path / "fp16.onnx")
    wanted, got = (open_onnx(path, 1)(draw(exported)) for path in (source, tmp_path / "fp16.onnx"))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, atol=0.02 * np.abs(wanted).max())
    assert (tmp_path / "fp16.onnx").stat().st_size < 0.7 * source.stat().st_size
