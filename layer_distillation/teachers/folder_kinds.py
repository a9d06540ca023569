"""What a model's folder is where it is no plain model: each kind gets a line that says what to do.

Entry: `check_folder_kind`.
"""

from pathlib import Path
from typing import NamedTuple

from transformers.utils import cached_file


class FolderKind(NamedTuple):
    """Known by a file in it."""

    file: str
    what: str
    remedy: str


ADAPTER = FolderKind(
    "adapter_config.json",
    "a PEFT adapter, not a whole model",
    "merge it into its base (PeftModel.from_pretrained(base, adapter).merge_and_unload()), save that and the tokenizer "
    "in one folder, and give that",
)
SETFIT = FolderKind(
    "config_setfit.json",
    "a SetFit model, whose head is scikit-learn's in a pickle, which is never loaded",
    "give the encoder that it began from, which is fine-tuned here, or a model for sequence classification",
)
FOLDER_KINDS = (ADAPTER, SETFIT, SETFIT._replace(file="model_head.pkl"))


def check_folder_kind(location: str, revision: str = "main") -> None:
    """Raises ValueError where a folder, or a repository of the Hub, holds something else than one model."""
    for kind in FOLDER_KINDS:
        if has_file(location, kind.file, revision):
            raise ValueError(f"{location!r} is {kind.what} ({kind.file}): {kind.remedy}")


def has_file(location: str, file: str, revision: str) -> bool:
    """Of a repository that is not there, or not to be reached, nothing is known yet: loading says what is wrong."""
    if Path(location).is_dir():
        return (Path(location) / file).is_file()
    if not file.endswith(".json"):
        return False  # a pickle is not even downloaded
    quiet = dict.fromkeys(("gated_repo", "missing_entries", "connection_errors"), False)
    quiet = {f"_raise_exceptions_for_{name}": value for name, value in quiet.items()}
    try:
        return cached_file(location, file, revision=revision, **quiet) is not None
    except OSError:
        return False
