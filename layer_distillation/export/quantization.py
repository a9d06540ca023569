"""Smaller ONNX files: 8-bit matrices and embeddings, or 16-bit floats.

Matrices get one scale per output column, and their inputs one per batch, found when the model is asked (dynamic). A
table of embeddings gets one scale per row: onnxruntime's quantizer has one for the whole table, which its largest
entry decides for all.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.utils import Extractor
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16

LARGEST_INT8 = 127.0
TOKEN_STATES = "last_hidden_state"  # an output of sentence encoders, which the vector is made of
# Unless this says that it was done, the quantizer advises its preprocessing, which dynamic quantization does not need.
PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}


def halve(source: Path, target: Path) -> None:
    """16-bit weights; inputs and logits keep their types, and vectors are pooled in 32 bits, as in PyTorch: sums over
    long texts pass what 16 bits hold."""
    model = onnx.load(source)
    inputs, outputs = ([value.name for value in values] for values in (model.graph.input, model.graph.output))
    if TOKEN_STATES not in outputs:
        onnx.save(convert_float_to_float16(model, keep_io_types=True), target)
        return
    parts = Extractor(model)
    encoder = parts.extract_model(inputs, [TOKEN_STATES])
    pooling = parts.extract_model([*inputs, TOKEN_STATES], [name for name in outputs if name != TOKEN_STATES])
    halved = convert_float_to_float16(encoder, keep_io_types=True)
    prefix_names(pooling.graph, "pooling_")
    halved.graph.initializer.extend(pooling.graph.initializer)
    halved.graph.node.extend(pooling.graph.node)
    del halved.graph.output[:]
    halved.graph.output.extend(model.graph.output)
    onnx.save(halved, target)


def prefix_names(graph: onnx.GraphProto, prefix: str) -> None:
    """Of everything but inputs and outputs, in place: both parts may hold what they share."""
    kept = {"", *(value.name for value in (*graph.input, *graph.output))}
    for node in graph.node:
        node.name = prefix + node.name
        for names in (node.input, node.output):
            names[:] = [name if name in kept else prefix + name for name in names]
    for tensor in graph.initializer:
        tensor.name = prefix + tensor.name


def quantize(source: Path, target: Path) -> None:
    """8-bit matrices and embeddings."""
    model = onnx.load(source)
    quantize_embeddings(model)
    helper.set_model_props(model, PREPARED)
    quantize_dynamic(model, target, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)


def quantize_embeddings(model: onnx.ModelProto) -> None:
    """Every table that rows are gathered from becomes int8 with a scale per row, in place: Gather -> Cast -> Mul."""
    tables = {table.name: table for table in model.graph.initializer if is_table(table)}
    nodes, replaced = [], set()
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[0] in tables and find_axis(node) == 0:
            nodes += gather_scaled(node)
            replaced.add(node.input[0])
        else:
            nodes.append(node)
    still_used = {name for node in nodes for name in node.input}
    for name in sorted(replaced):
        model.graph.initializer.extend(split_table(tables[name]))
        if name not in still_used:  # a head may share the table
            model.graph.initializer.remove(tables[name])
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def is_table(tensor: onnx.TensorProto) -> bool:
    return len(tensor.dims) == 2 and tensor.data_type == onnx.TensorProto.FLOAT


def find_axis(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)


def gather_scaled(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The nodes that take the place of a Gather from a table of floats."""
    table, ids = node.input
    name = node.name
    return [
        helper.make_node("Gather", [f"{table}_int8", ids], [f"{name}_int8"], f"{name}_gather_int8", axis=0),
        helper.make_node("Gather", [f"{table}_scale", ids], [f"{name}_scale"], f"{name}_gather_scale", axis=0),
        helper.make_node("Cast", [f"{name}_int8"], [f"{name}_float"], f"{name}_cast", to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}_float", f"{name}_scale"], list(node.output), f"{name}_mul"),
    ]


def split_table(table: onnx.TensorProto) -> list[onnx.TensorProto]:
    """A float table (rows, width) as int8 of the same shape and scales (rows, 1)."""
    values = numpy_helper.to_array(table)
    scales = np.abs(values).max(axis=1, keepdims=True) / LARGEST_INT8
    scales[scales == 0] = 1.0  # a row of zeros, as of the padding token
    quantized = np.rint(values / scales).astype(np.int8)
    return [
        numpy_helper.from_array(quantized, f"{table.name}_int8"),
        numpy_helper.from_array(scales.astype(np.float32), f"{table.name}_scale"),
    ]
