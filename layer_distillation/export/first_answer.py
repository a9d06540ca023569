"""A fresh process that opens one artifact and answers one row: how soon, and with how much memory.

    python -m layer_distillation.export.first_answer FORMAT ARTIFACT TOKENIZER_FOLDER rows|choices TEXT [TEXT]

Prints the largest resident set, in bytes, as soon as the answer is there; whoever started it has the time. ONNX and
OpenVINO are asked without torch and transformers, as a small server does.
"""

import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from layer_distillation.export.formats import FORMATS, PYTORCH


def main(argv: Sequence[str] | None = None) -> int:
    form, artifact, folder, shape, *texts = sys.argv[1:] if argv is None else argv
    batch = (tokenize_by_transformers if form == PYTORCH else tokenize)(Path(folder), texts)
    if shape == "choices":  # (1, tokens) -> (1, 1, tokens): a row with one choice
        batch = {name: array[None] for name, array in batch.items()}
    FORMATS[form].open(Path(artifact), 1)(batch)
    print(read_peak_bytes(), flush=True)
    return 0


def tokenize(folder: Path, texts: Sequence[str]) -> dict[str, np.ndarray]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()  # the last call's are saved in the file
    tokenizer.no_truncation()
    encoding = tokenizer.encode(*texts)
    arrays = {
        "input_ids": encoding.ids,
        "attention_mask": encoding.attention_mask,
        "token_type_ids": encoding.type_ids,
    }
    return {name: np.array([values], np.int64) for name, values in arrays.items()}


def tokenize_by_transformers(folder: Path, texts: Sequence[str]) -> dict[str, np.ndarray]:
    from transformers import AutoTokenizer

    encoded = AutoTokenizer.from_pretrained(folder)(*texts)
    return {name: np.array([values], np.int64) for name, values in encoded.items()}


def read_peak_bytes() -> int:
    """Linux's own count of this program; `getrusage` begins with the memory of the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
