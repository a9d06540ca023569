"""The formats' names, and what is missing for them."""

import pytest

from layer_distillation.export import formats
from layer_distillation.export.arguments import ExportArguments
from layer_distillation.export.formats import FORMATS, check_packages, parse_formats


def test_pytorch_comes_first_and_each_name_once():
    assert parse_formats("onnx-int8, onnx,onnx-int8") == ["pytorch", "onnx-int8", "onnx"]


def test_an_unknown_format_is_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"--formats has 'onnx-int4' \(did you mean onnx-int8\?\): give some of pyt"):
        parse_formats("onnx,onnx-int4")
    with pytest.raises(ValueError, match="--formats is empty: give some of pytorch, onnx"):
        parse_formats(",")


def test_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else name)
    with pytest.raises(
        ValueError,
        match=r"onnx, onnxscript, onnxruntime are not installed, which onnx need: pip install 'layer-distillation\[",
    ):
        check_packages(["pytorch", "onnx"])
    check_packages(["pytorch"])


def test_artifacts_lie_where_transformers_js_looks_for_them():
    paths = {name: FORMATS[name].path for name in ("onnx", "onnx-fp16", "onnx-int8")}
    assert paths == {
        "onnx": "onnx/model.onnx",
        "onnx-fp16": "onnx/model_fp16.onnx",
        "onnx-int8": "onnx/model_quantized.onnx",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 7}, r"--opset is 7: give 18 to 23 \(default 20\)"),
        ({"max_metric_loss": 1.5}, "--max_metric_loss is 1.5: give a share from 0 to 1"),
        ({"strict": True, "with_scores": False}, "--strict refuses by scores, and --no_scores makes none"),
        ({"timing_seconds": 0}, "--timing_seconds is 0: give a number above 0"),
        ({"vocabulary_files": ("a.txt",)}, "--vocabulary_files say what --trim_vocabulary keeps: add that"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        ExportArguments(tmp_path, ["pytorch"], **options)
