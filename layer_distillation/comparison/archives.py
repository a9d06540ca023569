"""Archives of runs: one compressed file that is read as the folder it stands for.

`sick.runs.tar.xz` stands for the folder `sick` beside it; its members are what the comparison reads of each run's
folder, `even-seed42/run_record.json` and `even-seed42/predictions.npz`. Any tar opens it. docs/ARCHIVES.md has the
format and why. Reading unpacks nothing to disk and trusts no member.

Entry: `read_archive`, `write_archive`.
"""

import io
import lzma
import os
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from layer_distillation.records.run_record import RECORD_NAME

SUFFIX = ".runs.tar.xz"
PREDICTIONS_NAME = "predictions.npz"
MOST_BYTES = 2**29  # unpacked: of a whole archive, and of the predictions of one run
MOST_MEMBERS = 100_000
DECODER_BYTES = 2**28  # of memory; xz -9 takes a quarter of that
# Literals by their place in four bytes, as logits are 32-bit floats: 6 % smaller, and any xz reads it.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 2, "lp": 2, "pb": 2}]
EARLIEST_DATE = (1980, 1, 1, 0, 0, 0)  # that a zip can name


@dataclass(frozen=True, eq=False)
class PackedRun:
    """A run inside an archive, named as the folder that it would be; `problem` says why it cannot be compared."""

    folder: Path
    archive: Path
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    problem: str = ""


def name_stood_for(archive: Path) -> Path:
    """The folder that an archive is read as."""
    return archive.with_name(archive.name.removesuffix(SUFFIX))


# ---- reading -------------------------------------------------------------------------------------------------------


def read_archive(archive: Path) -> list[PackedRun]:
    """Its runs by name; of an archive that cannot be read whole, one entry with the problem, and no run."""
    try:
        folders = group_members(read_members(unpack(archive)))
    except OSError as error:
        return [PackedRun(archive, archive, problem=f"unreadable ({error.strerror}): allow reading it")]
    except (ValueError, tarfile.TarError, lzma.LZMAError, EOFError, OverflowError, MemoryError) as error:
        reason = str(error) if type(error) is ValueError else f"damaged ({type(error).__name__})"
        return [PackedRun(archive, archive, problem=f"{reason}: fetch it or pack its runs again")]
    place = name_stood_for(archive)
    return [
        PackedRun(place / name, archive, files, "" if RECORD_NAME in files else f"holds no {RECORD_NAME}")
        for name, files in sorted(folders.items())
    ]


def unpack(archive: Path) -> bytes:
    """The tar inside, in memory. Raises ValueError where it is cut short or larger than `MOST_BYTES`."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=DECODER_BYTES)
    with archive.open("rb") as file:
        packed = file.read(MOST_BYTES)
    unpacked = decoder.decompress(packed, max_length=MOST_BYTES + 1)
    if len(unpacked) > MOST_BYTES:
        raise ValueError(f"holds more than {MOST_BYTES >> 20} MiB")
    if not decoder.eof:
        raise ValueError("cut short")
    return unpacked


def read_members(unpacked: bytes) -> dict[PurePosixPath, bytes]:
    """Records and predictions by path; other files are passed over, as in a folder.

    Raises ValueError for a member that is no plain file at a plain place below the archive, or there twice.
    """
    members: dict[PurePosixPath, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as tar:
        for number, member in enumerate(tar):
            if number == MOST_MEMBERS:
                raise ValueError(f"holds more than {MOST_MEMBERS} members")
            path = PurePosixPath(member.name)
            if path.name not in (RECORD_NAME, PREDICTIONS_NAME):
                continue
            end = member.offset_data + member.size
            if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
                raise ValueError(f"holds {member.name!r}, which lies outside of it")
            if not member.isreg() or member.issparse() or not 0 <= member.offset_data <= end <= len(unpacked):
                raise ValueError(f"holds {member.name!r}, which is no plain file")
            if path in members:
                raise ValueError(f"holds {member.name!r} twice")
            members[path] = unpacked[member.offset_data : end]
    return members


def group_members(members: Mapping[PurePosixPath, bytes]) -> dict[str, dict[str, bytes]]:
    """Run -> file name -> bytes. Raises ValueError where there is no run, or predictions are larger than allowed."""
    folders: dict[str, dict[str, bytes]] = {}
    for path, content in members.items():
        if path.name == PREDICTIONS_NAME and zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as arrays:
                if sum(entry.file_size for entry in arrays.infolist()) > MOST_BYTES:
                    raise ValueError(f"holds {str(path)!r} of more than {MOST_BYTES >> 20} MiB")
        folders.setdefault(str(path.parent), {})[path.name] = content
    if not folders:
        raise ValueError("holds no run")
    return folders


# ---- writing -------------------------------------------------------------------------------------------------------


def write_archive(archive: Path, runs: Mapping[str, Mapping[str, bytes]]) -> None:
    """The same runs make the same bytes: sorted, without times and owners. Replaces the file in one step.

    Args:
        runs: path of each run below the folder that the archive stands for -> file name -> bytes.
    """
    if not archive.name.endswith(SUFFIX):
        raise ValueError(f"{archive} does not end in {SUFFIX}: so archives of runs are told from others, name it so")
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as file:
        for name, files in sorted(runs.items()):
            for file_name, content in sorted(files.items(), reverse=True):  # the record, then the predictions
                member = tarfile.TarInfo(f"{name}/{file_name}")
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))
    if tar.tell() > MOST_BYTES:
        raise ValueError(f"{archive} would hold {tar.tell() >> 20} MiB, {MOST_BYTES >> 20} are read: pack fewer runs")
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_name(f".unfinished-{archive.name}")
    unfinished.write_bytes(lzma.compress(tar.getvalue(), format=lzma.FORMAT_XZ, filters=FILTERS))
    os.replace(unfinished, archive)


def format_predictions(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A predictions.npz in the order given, not compressed: what is alike in several runs costs an archive nothing."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as file:
        for name, array in arrays.items():
            values = io.BytesIO()
            np.lib.format.write_array(values, array, allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy", EARLIEST_DATE), values.getvalue())
    return content.getvalue()
