"""What a teacher's own model card says that its student inherits: licence, language, data, origin.

Entry: `read_teacher_card`. Only the card is believed. A config's `_name_or_path` is not: it is whatever the teacher's
maker typed, and a folder such as `out/bert` reads like the name of somebody else's model.
"""

import logging
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, hf_hub_download
from huggingface_hub.errors import HTTPError

from layer_distillation.records.markdown_text import clean_text

logger = logging.getLogger(__name__)

CARD_NAME = "README.md"
INHERITED = ("license", "license_name", "license_link", "language", "datasets", "base_model")
LONGEST_VALUE = 200
MOST_VALUES = 20


def read_teacher_card(location: str, revision: str) -> dict[str, list[str]]:
    """Entries of `INHERITED` as lists of one-line texts; those that the card lacks, or all without a card, are not in.

    Args:
        location: a folder, or a name on the Hub, whose card comes from the cache where the Hub cannot be reached.
    """
    path = find_card(location, revision)
    if path is None:
        return {}
    try:
        # By the text alone: `ModelCard.load` takes a string for a name on the Hub where no such file is.
        metadata = ModelCard(path.read_text(encoding="utf-8-sig"), ignore_metadata_errors=True).data.to_dict()
    except (OSError, ValueError, yaml.YAMLError) as error:
        logger.warning(
            "the teacher's model card cannot be read (%s): the student's says unknown", clean_text(str(error))
        )
        return {}
    read = {name: list_texts(metadata.get(name)) for name in INHERITED}
    return {name: texts for name, texts in read.items() if texts}


def find_card(location: str, revision: str) -> Path | None:
    folder = Path(location)
    if folder.is_dir():
        return folder / CARD_NAME if (folder / CARD_NAME).is_file() else None
    try:
        return Path(hf_hub_download(location, CARD_NAME, revision=revision))
    except (HTTPError, OSError, ValueError) as error:  # no card there, or no Hub and none in the cache
        logger.info("no model card of the teacher %s: %s", location, clean_text(str(error))[:LONGEST_VALUE])
        return None


def list_texts(value: Any) -> list[str]:
    """The texts of a YAML value, which a stranger wrote: one, or those of a list."""
    entries = value if isinstance(value, list) else [value]
    texts = [clean_text(entry)[:LONGEST_VALUE] for entry in entries if isinstance(entry, str)]
    return [text for text in texts if text][:MOST_VALUES]
