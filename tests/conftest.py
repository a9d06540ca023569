"""Tiny models, tokenizers and data that the tests make themselves; nothing is downloaded."""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a script's background, for all that is started too
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors: a second thread only costs
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

torch.set_num_threads(1)

VOCABULARY_SIZE = 60


def pytest_collection_finish() -> None:
    """What is there by now stays to the end: a collection, with which every training ends (accelerate's), need not walk
    it, which takes a third of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on the number, and whoever times a model sets it for the whole process."""
    yield
    torch.set_num_threads(1)


def make_bert(num_layers: int = 4, num_labels: int = 3, seed: int = 0, **options) -> BertForSequenceClassification:
    """A BERT of width 16; weights wide enough that every layer changes its input visibly."""
    torch.manual_seed(seed)
    settings = {
        "vocab_size": VOCABULARY_SIZE,
        "hidden_size": 16,
        "num_hidden_layers": num_layers,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
        "initializer_range": 0.2,
        "num_labels": num_labels,
    } | options
    return BertForSequenceClassification(BertConfig(**settings)).eval()


def make_rows(
    num_rows: int = 24, num_labels: int = 3, seed: int = 0, shortest: int = 3, longest: int = 12
) -> list[dict]:
    """Random rows of random length, as tokenized data are: no padding."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int, size: tuple[int, ...]) -> list[int]:
        return torch.randint(low, high, size, generator=generator).tolist()

    rows = []
    for index in range(num_rows):
        length = draw(shortest, longest + 1, (1,))[0]
        rows.append(
            {
                "input_ids": draw(1, VOCABULARY_SIZE, (length,)),
                "attention_mask": [1] * length,
                "labels": draw(0, num_labels, (1,))[0],
                "example_index": index,
            }
        )
    return rows


def pad_rows(rows: list[dict], length: int | None = None) -> dict[str, torch.Tensor]:
    """Collates rows to the longest, or to `length`."""
    length = length or max(len(row["input_ids"]) for row in rows)
    batch = {name: torch.tensor([row[name] for row in rows]) for name in rows[0] if not isinstance(rows[0][name], list)}
    for name in ("input_ids", "attention_mask"):
        batch[name] = torch.tensor([row[name] + [0] * (length - len(row[name])) for row in rows])
    return batch


@pytest.fixture
def teacher() -> BertForSequenceClassification:
    return make_bert(num_layers=4, seed=1)


def check_group_has_ended() -> None:
    """No thread of a process group is left (where the system names its threads, as Linux does): such a thread may abort
    the process while the interpreter ends.

    Raises:
        AssertionError: one is.
    """
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    assert not [name for name in names if "gloo" in name], names
