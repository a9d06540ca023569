"""How an artifact is opened and asked, as its users do it: arrays in, an array out.

onnxruntime and openvino are optional, and a process that measures one client loads no other: all are imported where
they are used.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Batch = dict[str, np.ndarray]  # such as input_ids: (batch, tokens), int64
Answer = Callable[[Batch], np.ndarray]  # the model's first output, float32


def open_pytorch(folder: Path, threads: int) -> Answer:
    """The folder of a classifier; the threads are the whole process's, and set anew for every answer."""
    import torch
    from transformers import AutoModelForSequenceClassification

    return ask_pytorch(
        AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, use_safetensors=True), threads
    )


def ask_pytorch(model: "PreTrainedModel", threads: int) -> Answer:
    import torch

    model.eval()

    def answer(batch: Batch) -> np.ndarray:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        with torch.inference_mode():
            return model(**{name: torch.from_numpy(array) for name, array in batch.items()}).logits.numpy()

    return answer


def open_onnx(path: Path, threads: int) -> Answer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    # Its threads wait busily for the next question, which would slow down whoever is timed by turns with it.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return lambda batch: session.run(None, {name: batch[name] for name in names})[0]


def open_openvino(folder: Path, threads: int) -> Answer:
    import openvino

    # Without the hint it computes in bf16 where the processor can: 5e-3 beside the model's own answers.
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(folder / "openvino_model.xml", "CPU", settings)
    names = [entry.any_name for entry in model.inputs]
    # A request of its own for every batch: the model's one may not be asked from two threads.
    return lambda batch: model.create_infer_request().infer({name: batch[name] for name in names})[0]
