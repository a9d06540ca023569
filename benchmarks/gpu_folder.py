"""The folder that `benchmarks/gpu.sh` carries to a machine with a GPU: made here, read there.

    python -m benchmarks.gpu_folder --teacher FOLDER --sick DATA --sst2 DATA --output_dir gpu_folder

DATA are folders with train.csv, validation.csv and, for SICK, test.csv. In it are the code of this checkout, token ids
(neither texts nor a tokenizer travel), the teacher in half precision, with those token embeddings alone that the ids
use (its answers to them are the same), the wheels that a machine with PyTorch and transformers may lack, and the sizes
of the parts. BERT-base, with random weights, is made there. At most 60 MB.
"""

import argparse
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.loading import TaskData, load_task
from layer_distillation.tasks.tokenizing import tokenize_task

ROOT = Path(__file__).resolve().parent.parent
MAX_BYTES = 60_000_000
MODEL, ROWS, WHEELS, CODE, SIZES = "teacher", "rows", "wheels", "code", "sizes.json"
CODE_PATTERNS = ("*.py", "*.sh", "*.json", "pytest.ini", "recipes/*.yaml")
CODE_FOLDERS = ("benchmarks", "layer_distillation", "recipes", "tests")
PADDING, UNKNOWN = "[PAD]", "[UNK]"
# What travels as wheels: these and all that they require, less what is too large and has to be there.
PACKAGES = ("transformers", "accelerate", "datasets", "evaluate", "pytest", "rich")
LEFT_OUT = {"torch", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "hf-xet", "typer"}
PLATFORMS = [f"manylinux{version}_x86_64" for version in ("_2_28", "_2_27", "_2_17", "2014", "1", "_2_12", "2010")]


@dataclass(frozen=True)
class Sizes:
    """How much each part does; `--tiny` is for a try on a processor."""

    epochs: int = 3
    seeds: tuple[int, ...] = (42, 43, 44)
    sst2_rows: int = 6000
    evaluated_rows: int = 100_000  # at most
    base_config: dict[str, int] | None = None  # of the random BERT; None: BertConfig's own, BERT-base
    batches: tuple[int, ...] = (32, 256)
    length: int = 128
    uncounted_steps: int = 5
    steps: int = 20
    product_size: int = 8192


TINY = Sizes(
    epochs=1,
    seeds=(42,),
    sst2_rows=24,
    evaluated_rows=16,
    base_config={
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": 60,
    },
    batches=(2,),
    length=8,
    uncounted_steps=1,
    steps=2,
    product_size=32,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--teacher", required=True, help="A folder, fine-tuned on SICK.")
    parser.add_argument("--sick", required=True, type=Path, help="A folder with train, validation and test.csv.")
    parser.add_argument("--sst2", required=True, type=Path, help="A folder with train and validation.csv.")
    parser.add_argument("--output_dir", required=True, type=Path)
    here = ".".join(map(str, sys.version_info[:2]))
    parser.add_argument("--python", default=here, help=f"The machine's Python, whose wheels travel (default: {here}).")
    parser.add_argument("--no_wheels", action="store_true", help="The machine has all that requirements.txt names.")
    parser.add_argument("--tiny", action="store_true", help="Sizes for a dry run on a processor.")
    arguments = parser.parse_args(argv)
    try:
        num_bytes = make_folder(arguments)
    except ValueError as error:
        print(f"gpu_folder.py: error: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"folder": arguments.output_dir.name, "megabytes": round(num_bytes / 1e6, 1)}))
    return 0


# ---- making it -----------------------------------------------------------------------------------------------------


def make_folder(arguments: argparse.Namespace) -> int:
    """Writes the folder; returns its size in bytes.

    Raises:
        ValueError: it is there already, data or teacher cannot be read, or it is larger than it may be.
    """
    folder, sizes = arguments.output_dir, TINY if arguments.tiny else Sizes()
    if folder.exists():
        raise ValueError(f"--output_dir {folder} exists already: remove it, or give another")
    tokenizer = AutoTokenizer.from_pretrained(arguments.teacher)
    tasks = {
        "sick": load_rows(arguments.sick, tokenizer, has_test=True, max_rows=None),
        "sst2": load_rows(arguments.sst2, tokenizer, has_test=False, max_rows=sizes.sst2_rows),
    }
    folder.mkdir(parents=True)
    used = find_used(tasks, tokenizer.pad_token_id)
    (folder / ROWS).mkdir()
    for name, data in tasks.items():
        for split, rows in data.list_splits():
            write_rows(folder / ROWS / f"{name}_{split}.npz", rows, used)
    model = AutoModelForSequenceClassification.from_pretrained(arguments.teacher)
    keep_embeddings(model, used).half().save_pretrained(folder / MODEL)
    (folder / SIZES).write_text(json.dumps(asdict(sizes)), encoding="utf-8")
    copy_code(folder / CODE)
    if not arguments.no_wheels:
        fetch_wheels(folder / WHEELS, arguments.python)
    num_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if num_bytes > MAX_BYTES:
        raise ValueError(f"{folder} has {num_bytes} bytes, more than {MAX_BYTES}: take a smaller teacher")
    return num_bytes


def load_rows(folder: Path, tokenizer: PreTrainedTokenizerBase, has_test: bool, max_rows: int | None) -> TaskData:
    files = {f"{split}_file": str(folder / f"{split}.csv") for split in ("train", "validation", "test")[: 2 + has_test]}
    data = load_task(DataArguments(**files, max_train_samples=max_rows))
    return tokenize_task(data, tokenizer, 128)


def find_used(tasks: dict[str, TaskData], padding_id: int) -> np.ndarray:
    """The ids of all rows, sorted, the padding's first."""
    rows = [rows for data in tasks.values() for _, rows in data.list_splits()]
    used = np.unique(np.concatenate([np.concatenate(split["input_ids"][:]) for split in rows]))
    return np.concatenate([[padding_id], used[used != padding_id]])


def write_rows(path: Path, rows: Dataset, used: np.ndarray) -> None:
    """Token ids as places in `used`, segment ids, lengths and labels."""
    places = {int(token): place for place, token in enumerate(used)}
    columns = rows.with_format(None)
    segments = columns["token_type_ids"][:] if "token_type_ids" in rows.column_names else None
    ids = columns["input_ids"][:]
    np.savez_compressed(
        path,
        ids=np.array([places[token] for row in ids for token in row], np.uint16),
        segments=np.concatenate(segments).astype(np.uint8) if segments else np.zeros(sum(map(len, ids)), np.uint8),
        lengths=np.array([len(row) for row in ids], np.uint16),
        labels=np.array(columns["labels"][:], np.int16),
    )


def keep_embeddings(model: PreTrainedModel, used: np.ndarray) -> PreTrainedModel:
    """The model with the embeddings of `used` alone, in that order."""
    table = model.get_input_embeddings().weight.detach()[torch.from_numpy(used.astype(np.int64))].clone()
    model.resize_token_embeddings(len(used), mean_resizing=False)
    model.get_input_embeddings().weight.data = table
    model.config.pad_token_id = model.get_input_embeddings().padding_idx = 0
    return model


def copy_code(folder: Path) -> None:
    """What of this checkout the parts need."""
    paths = [path for pattern in CODE_PATTERNS for path in ROOT.glob(pattern)]
    for name in CODE_FOLDERS:
        paths += [path for path in (ROOT / name).rglob("*") if path.suffix in (".py", ".sh", ".json", ".yaml", ".csv")]
    for path in paths:
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def fetch_wheels(folder: Path, python: str) -> None:
    """For x86-64 Linux, in the versions installed here; raises ValueError where the package index has them not."""
    names = [f"{name}=={version(name)}" for name in list_required(PACKAGES)]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    target = ["--implementation=cp", f"--python-version={python}", *(f"--platform={name}" for name in PLATFORMS)]
    done = subprocess.run([*command, *target, *names], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise ValueError(f"the wheels could not be fetched ({lines[-1]}): try again, or give --no_wheels")


def list_required(names: Iterable[str]) -> list[str]:
    """These packages and, over all steps, what they require on this Python, less LEFT_OUT."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found | LEFT_OUT:
            continue
        found.add(name)
        wanted = [Requirement(line) for line in requires(name) or []]
        waiting |= {need.name for need in wanted if need.marker is None or need.marker.evaluate({"extra": ""})}
    return sorted(found)


# ---- reading it ----------------------------------------------------------------------------------------------------


def read_sizes(folder: Path) -> Sizes:
    values = json.loads((folder / SIZES).read_text(encoding="utf-8"))
    return Sizes(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def read_rows(folder: Path, name: str, max_rows: int | None = None) -> Dataset:
    """A split such as `sick_train` as the trainer takes it."""
    with np.load(folder / ROWS / f"{name}.npz") as arrays:
        bounds = np.concatenate([[0], np.cumsum(arrays["lengths"], dtype=np.int64)])[: max_rows and max_rows + 1]
        pieces = {column: arrays[column].astype(np.int64) for column in ("ids", "segments", "labels")}
    spans = list(itertools.pairwise(bounds))
    columns: dict[str, list[Any]] = {
        "input_ids": [pieces["ids"][start:end].tolist() for start, end in spans],
        "token_type_ids": [pieces["segments"][start:end].tolist() for start, end in spans],
        "attention_mask": [[1] * int(end - start) for start, end in spans],
        "labels": pieces["labels"][: len(spans)].tolist(),
        "example_index": list(range(len(spans))),
    }
    return Dataset.from_dict(columns)


def load_teacher(folder: Path, **options: Any) -> PreTrainedModel:
    """In float32, whatever it travelled in."""
    return AutoModelForSequenceClassification.from_pretrained(folder / MODEL, dtype=torch.float32, **options).eval()


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One that only pads: the rows are token ids already."""
    model = Tokenizer(WordLevel({PADDING: 0, UNKNOWN: 1}, unk_token=UNKNOWN))
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=model, pad_token=PADDING, model_input_names=names)


if __name__ == "__main__":
    sys.exit(main())
