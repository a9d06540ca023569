"""How an artifact is opened and asked, as its users do it: arrays in, an array out.

onnxruntime and openvino are optional, and a process that measures one client loads no other: all are imported where
they are used.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Batch = dict[str, np.ndarray]  # such as input_ids: (batch, tokens), int64
# The model's logits, float32, of a sentence encoder its vectors; start and end of answer spans are one array, (batch,
# tokens, 2).
Answer = Callable[[Batch], np.ndarray]
SPAN_OUTPUTS = ["start_logits", "end_logits"]


def open_pytorch(folder: Path, threads: int) -> Answer:
    """The folder of a model; the threads are the whole process's, and set anew for every answer."""
    import torch
    from transformers import AutoConfig

    from layer_distillation.records.module_folders import MODULES_NAME
    from layer_distillation.tasks.kinds.embedding import EMBEDDING
    from layer_distillation.tasks.kinds.table import find_head_kind
    from layer_distillation.tasks.model_checks import get_auto_class

    is_pooled = (folder / MODULES_NAME).is_file()  # the config of such a folder is the plain encoder's
    auto_class = get_auto_class(EMBEDDING if is_pooled else find_head_kind(AutoConfig.from_pretrained(folder)))
    return ask_pytorch(auto_class.from_pretrained(folder, dtype=torch.float32, use_safetensors=True), threads)


def ask_pytorch(model: "PreTrainedModel", threads: int) -> Answer:
    import torch

    from layer_distillation.architectures.plain_logits import read_logits

    model.eval()

    def answer(batch: Batch) -> np.ndarray:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        with torch.inference_mode():
            outputs = model(**{name: torch.from_numpy(array) for name, array in batch.items()})
            return read_logits(outputs).numpy()

    return answer


def choose_outputs(names: Sequence[str]) -> list[str]:
    return SPAN_OUTPUTS if set(SPAN_OUTPUTS) <= set(names) else list(names[:1])


def join_outputs(outputs: Sequence[np.ndarray]) -> np.ndarray:
    return outputs[0] if len(outputs) == 1 else np.stack(outputs, axis=-1)


def open_onnx(path: Path, threads: int) -> Answer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    # Its threads wait busily for the next question, which would slow down whoever is timed by turns with it.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    outputs = choose_outputs([entry.name for entry in session.get_outputs()])
    return lambda batch: join_outputs(session.run(outputs, {name: batch[name] for name in names}))


def open_openvino(folder: Path, threads: int) -> Answer:
    import openvino

    # Without the hint it computes in bf16 where the processor can: 5e-3 beside the model's own answers.
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(folder / "openvino_model.xml", "CPU", settings)
    names = [entry.any_name for entry in model.inputs]
    outputs = choose_outputs([entry.any_name for entry in model.outputs])

    def answer(batch: Batch) -> np.ndarray:
        # A request of its own for every batch: the model's one may not be asked from two threads.
        found = model.create_infer_request().infer({name: batch[name] for name in names})
        return join_outputs([found[name] for name in outputs])

    return answer
