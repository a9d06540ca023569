"""What of a run reaches the terminal, or a file: our own messages, from the main process, and no noise of libraries.

Entry: `set_up_logging`.
"""

import logging
import sys

import datasets
import huggingface_hub.utils
import transformers
from accelerate import PartialState

from layer_distillation.losses.arguments import DistillationTrainingArguments

QUIET_LIBRARIES = ("httpx", "httpx2", "httpcore2", "filelock", "fsspec", "urllib3")
# Warnings that no user can do anything about: logger -> a part of the text.
NOTES_FOR_NOBODY = {"transformers.trainer_utils": "mtime may not be reliable"}  # two checkpoints within a second


def set_up_logging(training: DistillationTrainingArguments) -> None:
    """Messages on stderr, from the main process alone; the libraries' from warnings on."""
    level = training.get_process_log_level()
    is_main = PartialState().is_main_process
    logging.basicConfig(format="%(message)s", level=min(level, logging.INFO) if is_main else logging.ERROR)
    for library in QUIET_LIBRARIES:
        logging.getLogger(library).setLevel(max(level, logging.WARNING))
    transformers.logging.set_verbosity(level if is_main else logging.ERROR)
    datasets.logging.set_verbosity(max(level, logging.WARNING) if is_main else logging.ERROR)
    for name, part in NOTES_FOR_NOBODY.items():
        logging.getLogger(name).addFilter(lambda note, part=part: part not in note.getMessage())
    if not sys.stderr.isatty():
        training.disable_tqdm = True  # a file keeps every state of a bar
    hide_short_bars(is_download_shown=is_main and not training.disable_tqdm)


def hide_short_bars(is_download_shown: bool) -> None:
    """No bars of the libraries for what takes a moment: weights, shards, tokenizing. A download may take long."""
    transformers.logging.disable_progress_bar()  # the Hub's bars, too
    datasets.disable_progress_bars()
    if is_download_shown:
        huggingface_hub.utils.enable_progress_bars()
