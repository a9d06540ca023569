"""FORMATS: what a student can be written as. A further one is one entry, of two functions.

Loads neither torch nor any of the optional packages: `check_packages` says what is missing.
"""

import difflib
import importlib.util
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from layer_distillation.export.clients import Answer, open_onnx, open_openvino, open_pytorch
from layer_distillation.tasks.kinds.entry import TaskKind

PYTORCH = "pytorch"
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Format:
    """A form of a model.

    Attributes:
        path: of the artifact below the model's folder, where transformers.js and text-embeddings-inference look for it.
        packages: what it takes beside the project's requirements.
        write: from the float32 ONNX file to the artifact.
        open: from the artifact and a number of threads to a function that answers.
        sees_neighbours: an answer moves a little with the other rows of its batch.
    """

    path: str
    packages: tuple[str, ...]
    write: Callable[[Path, Path], None]
    open: Callable[[Path, int], Answer]
    sees_neighbours: bool = False


def write_nothing(source: Path, target: Path) -> None:
    """The model's folder itself."""


def write_onnx(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def write_fp16(source: Path, target: Path) -> None:
    from layer_distillation.export.quantization import halve

    halve(source, target)


def write_int8(source: Path, target: Path) -> None:
    from layer_distillation.export.quantization import quantize

    quantize(source, target)


def write_openvino(source: Path, target: Path) -> None:
    import openvino

    target.mkdir()
    model = openvino.convert_model(source)
    openvino.save_model(model, target / "openvino_model.xml", compress_to_fp16=False)


FORMATS: dict[str, Format] = {
    PYTORCH: Format(".", (), write_nothing, open_pytorch),
    "onnx": Format("onnx/model.onnx", ONNX_PACKAGES, write_onnx, open_onnx),
    "onnx-fp16": Format("onnx/model_fp16.onnx", ONNX_PACKAGES, write_fp16, open_onnx),
    "onnx-int8": Format("onnx/model_quantized.onnx", ONNX_PACKAGES, write_int8, open_onnx, sees_neighbours=True),
    "openvino": Format("openvino", (*ONNX_PACKAGES, "openvino"), write_openvino, open_openvino),
}


def parse_formats(text: str, flag: str = "--formats") -> list[str]:
    """The names, each once, PyTorch first, beside which all others are measured.

    Raises:
        ValueError: one is no format.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in FORMATS:
            near = difflib.get_close_matches(name, FORMATS, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"{flag} has {name!r}{hint}: give some of {', '.join(FORMATS)}")
    if not names:
        raise ValueError(f"{flag} is empty: give some of {', '.join(FORMATS)}")
    return list(dict.fromkeys([PYTORCH, *names]))


def check_packages(names: Sequence[str]) -> None:
    """Raises ValueError where a format needs a package that is not installed."""
    missing = [
        package
        for package in dict.fromkeys(package for name in names for package in FORMATS[name].packages)
        if importlib.util.find_spec(package) is None
    ]
    if missing:
        raise ValueError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed, which "
            f"{', '.join(name for name in names if set(FORMATS[name].packages) & set(missing))} need: "
            "pip install 'layer-distillation[export]', or of a checkout its requirements-export.txt"
        )


def check_trimming(kind: TaskKind, is_trimmed: bool) -> None:
    """Raises ValueError for a trimmed vocabulary where items are not rows: with a word in more pieces than before,
    other words fall off a row's end, or other windows are cut."""
    if is_trimmed and kind.item_column is not None:
        raise ValueError(
            f"--trim_vocabulary and a student for {kind.name}: a word whose token is gone comes in more pieces, and "
            "its row would be cut elsewhere and scored on other words; leave it out"
        )
