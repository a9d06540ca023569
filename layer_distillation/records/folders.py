"""Folders that are yet to be made."""

import os
from pathlib import Path


def check_writable(folder: Path, flag: str) -> None:
    """Raises ValueError where a folder, or what it is to be made in, can take no files: training would be for nothing.

    Nothing is written: a folder appears with what is to be in it.
    """
    existing = find_existing(folder)
    if not existing.is_dir():
        raise ValueError(f"{flag} {folder} cannot be made, {existing} is a file: give another {flag}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"{flag} {folder} cannot be written, {existing} is read-only: give another {flag}")


def find_existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return folder if folder.exists() else find_existing(folder.parent)
