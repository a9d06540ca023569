"""A store of logits that are there without a pass of a teacher over these very rows.

Entry: `open_given`.
"""

import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import PreTrainedConfig

from layer_distillation.outputs.store import LOGIT_STARTS_NAME, LOGITS_NAME, StoreSpec, TeacherStore, remove_damaged
from layer_distillation.records.process_locks import agree_on_failure, hold_lock_together
from layer_distillation.teachers.store_filling import UNFINISHED_SUFFIX, finish_store


def open_given(
    root: Path,
    spec: StoreSpec,
    compute_logits: Callable[[], np.ndarray],
    config: PreTrainedConfig,
    lengths: Sequence[int] | None = None,
) -> TeacherStore:
    """The store of logits that are there without a pass of a teacher over these rows; written first where it is missing
    or damaged.

    Args:
        compute_logits: called by all processes, where there is no store yet; (rows or all their tokens, classes).
        config: what the store shows as its teacher's.
        lengths: of logits per token how many each row has.
    """
    folder, state, start = root / spec.name, PartialState(), time.perf_counter()
    with agree_on_failure():
        if state.is_main_process:
            remove_damaged(folder, spec)
    [is_there] = broadcast_object_list([folder.exists()])
    logits = None if is_there else compute_logits()
    with hold_lock_together(root / f"{spec.name}.lock"):
        with agree_on_failure():
            if logits is not None and state.is_main_process and not folder.exists():
                write_given(folder, spec, logits, lengths, start)
        state.wait_for_everyone()
        with agree_on_failure():
            return TeacherStore(folder, spec, config)


def write_given(folder: Path, spec: StoreSpec, logits: np.ndarray, lengths: Sequence[int] | None, start: float) -> None:
    arrays = {LOGITS_NAME: logits.astype(np.float32)}
    if lengths is not None:
        arrays[LOGIT_STARTS_NAME] = np.cumsum([0, *lengths])
    unfinished = folder.with_suffix(f"{UNFINISHED_SUFFIX}-{secrets.token_hex(4)}")
    try:
        unfinished.mkdir()
        finish_store(unfinished, spec, arrays, start)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
