"""What can be known of a file of data before it is read. Without `datasets`."""

from pathlib import Path

FILE_ENDINGS = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".conll", ".bio", ".iob", ".iob2", ".txt", ".txt.gz")


def find_ending(path: str) -> str | None:
    """That of `FILE_ENDINGS` which the file's name has."""
    return next((ending for ending in FILE_ENDINGS if Path(path).name.lower().endswith(ending)), None)


def check_data_file(flag: str, path: str) -> None:
    """ValueError unless `path` is a file with contents and an extension that we read."""
    if not Path(path).is_file():
        raise ValueError(f"{flag} {path} is not a file: check the path (relative to {Path.cwd()}).")
    if find_ending(path) is None:
        raise ValueError(
            f"{flag} {path} ends in {Path(path).suffix!r}: give a file with one of {', '.join(FILE_ENDINGS)}."
        )
    if Path(path).stat().st_size == 0:
        raise ValueError(f"{flag} {path} is empty (0 bytes): give a file with rows.")
