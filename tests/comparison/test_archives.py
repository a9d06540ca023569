"""An archive is read as the folder it stands for, the same runs make the same bytes, and no member is trusted."""

import io
import lzma
import random
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks.archive_runs import main as pack
from layer_distillation.comparison import archives
from layer_distillation.comparison.archives import read_archive, write_archive
from layer_distillation.comparison.finding import find_run_folders, get_place
from layer_distillation.comparison.runs import read_runs
from simulated_runs import write_run

RECORD, PREDICTIONS = "run_record.json", "predictions.npz"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A folder of runs in two depths that is gone, moved to `away`, and the archive that stands for it."""
    root = tmp_path / "here"
    for strategy in ("top", "odd", "even-without"):
        for seed in (1, 2):
            write_run(root / "runs" / "sick" / f"{strategy}-seed{seed}", strategy.split("-")[0], seed)
    write_run(root / "runs" / "other" / "top-seed1", "top")
    assert pack([str(root / "runs"), str(root / "packed")]) == 0
    (root / "runs").rename(tmp_path / "away")
    (root / "packed.runs.tar.xz").rename(root / "runs.runs.tar.xz")
    return root / "runs"


def write_members(archive: Path, members: list[tuple[str | tarfile.TarInfo, bytes]]) -> Path:
    """A .tar.xz of whatever is given."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, data in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    archive.write_bytes(lzma.compress(content.getvalue()))
    return archive


def find_problem(archive: Path) -> str:
    """The one line that is said of an archive without a run to compare."""
    runs, left_out = read_runs(find_run_folders([archive]))
    assert runs == []
    [left] = left_out
    assert "\n" not in left.reason
    return left.reason


# ---- the same as folders -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [".", "runs", "runs/sick", "runs/sick/top-seed1", "runs/*/top-*", "runs/sick/*-seed[2-3]", "r*"]
)
def test_what_a_path_means_is_the_same_for_folders_and_archives(sweep, tmp_path, monkeypatch, path):
    monkeypatch.chdir(sweep.parent)
    packed = find_run_folders([Path(path)])
    Path("runs.runs.tar.xz").rename(tmp_path / "elsewhere")
    (tmp_path / "away").rename("runs")
    folders = find_run_folders([Path(path)])
    assert [run.folder for run in packed] == folders != []
    pairs = list(zip(*(read_runs(found)[0] for found in (packed, folders)), strict=True))
    assert len(pairs) == len(folders)
    for run, other in pairs:
        assert (run.folder, run.record) == (other.folder, other.record)
        assert run.arrays.keys() == other.arrays.keys()
        assert all(run.arrays[name].dtype == other.arrays[name].dtype for name in run.arrays)
        kept = {name: np.sort(array, axis=None).tobytes() for name, array in run.arrays.items()}  # packing sorts rows
        assert kept == {name: np.sort(array, axis=None).tobytes() for name, array in other.arrays.items()}


def test_an_archive_can_be_named_itself_and_mixed_with_folders(sweep, tmp_path):
    archive = sweep.parent / "runs.runs.tar.xz"
    folder = write_run(tmp_path / "more" / "odd-seed9", "odd", 9)
    places = [get_place(run) for run in find_run_folders([tmp_path / "more", archive, sweep / "sick"])]
    assert places[0] == folder
    assert places[1:] == sorted(places[1:])
    assert len(places) == 8


def test_packing_twice_or_what_was_packed_gives_the_same_bytes(sweep, tmp_path):
    first = (sweep.parent / "runs.runs.tar.xz").read_bytes()
    assert pack([str(tmp_path / "away"), str(tmp_path / "b" / "again")]) == 0
    assert pack([str(sweep.parent / "runs.runs.tar.xz"), str(tmp_path / "third.runs.tar.xz")]) == 0
    assert (tmp_path / "b" / "again.runs.tar.xz").read_bytes() == first
    assert (tmp_path / "third.runs.tar.xz").read_bytes() == first


def test_any_tar_unpacks_it_to_folders_that_are_read(sweep, tmp_path):
    with tarfile.open(sweep.parent / "runs.runs.tar.xz") as tar:
        members = tar.getmembers()
        tar.extractall(tmp_path / "unpacked", filter="data")
    assert [(member.mtime, member.uid, member.uname) for member in members] == [(0, 0, "")] * 14
    runs, left_out = read_runs(find_run_folders([tmp_path / "unpacked"]))
    assert (len(runs), left_out) == (7, [])


def test_what_else_a_tar_holds_is_passed_over(tmp_path):
    folder = write_run(tmp_path / "one")
    files = [(f"./a/one/{path.name}", path.read_bytes()) for path in folder.iterdir()]
    archive = write_members(
        tmp_path / "x.runs.tar.xz", [("../notes.txt", b""), *files, ("a/one/model.safetensors", b"")]
    )
    [run] = read_runs(find_run_folders([archive]))[0]
    assert run.folder == str(tmp_path / "x" / "a" / "one")


def test_an_unfinished_run_is_not_packed_and_a_damaged_one_is_an_error(tmp_path, capsys):
    write_run(tmp_path / "runs" / "a")
    write_run(tmp_path / "runs" / "b", seed=2, status="running")
    assert pack([str(tmp_path / "runs"), str(tmp_path / "runs")]) == 0
    assert "1 finished runs packed into" in capsys.readouterr().out
    (tmp_path / "runs" / "a" / PREDICTIONS).write_bytes(b"PK")
    assert pack([str(tmp_path / "runs" / "a"), str(tmp_path / "other")]) == 2
    assert "predictions.npz is damaged" in capsys.readouterr().err


# ---- there twice ---------------------------------------------------------------------------------------------------


def test_a_run_that_is_a_folder_too_counts_once_as_the_folder(sweep, tmp_path):
    (tmp_path / "away").rename(sweep)
    for path in ([sweep], [sweep.parent], [sweep.parent / "runs.runs.tar.xz", sweep]):
        runs, left_out = read_runs(find_run_folders(path))
        assert len(runs) == len(left_out) == 7
        assert left_out[0].reason == (
            f"in {sweep.parent / 'runs.runs.tar.xz'}, but a folder too, which is read: keep one of them"
        )


def test_a_run_in_two_archives_counts_once(sweep, tmp_path):
    sweep.mkdir()
    assert pack([str(tmp_path / "away" / "sick"), str(sweep / "sick")]) == 0
    runs, left_out = read_runs(find_run_folders([sweep]))
    assert (len(runs), len(left_out)) == (7, 6)
    assert "but in" in left_out[0].reason


def test_an_archive_given_twice_is_read_once(sweep, tmp_path):
    assert len(read_runs(find_run_folders([sweep.parent, sweep, sweep.parent / "runs.runs.tar.xz"]))[0]) == 7


# ---- not to be trusted ---------------------------------------------------------------------------------------------


def make_member(name: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    return member


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("../a/run_record.json", b"{}")], "'../a/run_record.json', which lies outside of it"),
        ([("/a/run_record.json", b"{}")], "which lies outside of it"),
        ([("a\\..\\b/run_record.json", b"{}")], "which lies outside of it"),
        ([(make_member("a/run_record.json", tarfile.SYMTYPE), b"")], "which is no plain file"),
        ([(make_member("a/run_record.json", tarfile.LNKTYPE), b"")], "which is no plain file"),
        ([("a/run_record.json", b"{}"), ("./a/run_record.json", b"{}")], "twice"),
        ([("a/notes.txt", b"")], "holds no run"),
        ([("a/predictions.npz", b"")], "holds no run_record.json"),
        ([("a/run_record.json", b"[]")], "is not a run record of this version"),
        ([("a/run_record.json", b"[" * 100_000)], "is not a run record of this version"),
        ([], "holds no run"),
    ],
)
def test_a_strange_member_leaves_the_archive_out(tmp_path, members, reason):
    assert reason in find_problem(write_members(tmp_path / "x.runs.tar.xz", members))
    assert [path.name for path in tmp_path.iterdir()] == ["x.runs.tar.xz"]


def test_a_pickle_in_packed_predictions_is_not_loaded(tmp_path):
    folder = write_run(tmp_path / "one")
    np.savez(folder / PREDICTIONS, **{"test.labels": np.array([{}, None])})
    archive = tmp_path / "x.runs.tar.xz"
    write_archive(archive, {"one": {path.name: path.read_bytes() for path in folder.iterdir()}})
    assert find_problem(archive) == "predictions.npz is damaged (ValueError): run it again"


@pytest.mark.parametrize("length", [0, 1, 100, -1, -100])
def test_a_cut_archive_is_left_out_and_the_others_are_read(sweep, tmp_path, length):
    content = (sweep.parent / "runs.runs.tar.xz").read_bytes()
    (tmp_path / "cut.runs.tar.xz").write_bytes(content[:length])
    runs, left_out = read_runs(find_run_folders([tmp_path / "cut.runs.tar.xz", sweep]))
    assert len(runs) == 7
    assert left_out == [(str(tmp_path / "cut.runs.tar.xz"), "cut short: fetch it or pack its runs again")]


def test_no_change_of_bytes_raises_anything_else(sweep, tmp_path):
    """Of the compressed bytes, which carry a checksum, and of the tar inside, which does not."""
    content = (sweep.parent / "runs.runs.tar.xz").read_bytes()
    unpacked, generator = lzma.decompress(content), random.Random(0)
    for attempt in range(60):
        changed = bytearray(content if attempt % 2 else unpacked)
        for _ in range(generator.choice([1, 20])):
            changed[generator.randrange(len(changed) if attempt % 4 else 512)] ^= generator.randrange(1, 256)
        archive = tmp_path / "changed.runs.tar.xz"
        archive.write_bytes(bytes(changed) if attempt % 2 else lzma.compress(bytes(changed), preset=0))
        runs, left_out = read_runs(find_run_folders([archive]))
        assert len(runs) < 8
        assert all("\n" not in left.reason for left in left_out)
        assert not attempt % 2 or (runs, len(left_out)) == ([], 1)


def test_an_archive_larger_than_is_read_is_refused_on_both_sides(sweep, tmp_path, monkeypatch):
    unpacked = len(lzma.decompress((sweep.parent / "runs.runs.tar.xz").read_bytes()))
    monkeypatch.setattr(archives, "MOST_BYTES", unpacked - 1)
    assert "holds more than 0 MiB" in find_problem(sweep.parent / "runs.runs.tar.xz")
    with pytest.raises(ValueError, match="pack fewer runs"):
        write_archive(tmp_path / "new.runs.tar.xz", {"a": {RECORD: bytes(unpacked)}})
    assert not (tmp_path / "new.runs.tar.xz").exists()


def test_a_bomb_is_unpacked_no_further_than_the_limit(tmp_path, monkeypatch):
    (tmp_path / "x.runs.tar.xz").write_bytes(lzma.compress(bytes(50 * 10**6), preset=0))
    monkeypatch.setattr(archives, "MOST_BYTES", 2**20)
    tracemalloc.start()
    [run] = read_archive(tmp_path / "x.runs.tar.xz")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert run.problem.startswith("holds more than 1 MiB")
    assert peak_bytes < 4 * 2**20


def test_predictions_that_unpack_to_too_much_are_refused(tmp_path, monkeypatch):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("test.labels.npy", bytes(10**6))
    write_archive(tmp_path / "x.runs.tar.xz", {"a": {RECORD: b"{}", PREDICTIONS: content.getvalue()}})
    monkeypatch.setattr(archives, "MOST_BYTES", 10**5)
    assert "'a/predictions.npz' of more than" in find_problem(tmp_path / "x.runs.tar.xz")


def test_an_archive_by_another_name_is_refused(sweep, tmp_path):
    other = (sweep.parent / "runs.runs.tar.xz").rename(tmp_path / "runs.tar.xz")
    with pytest.raises(ValueError, match=r"is no folder: give folders of runs, archives of them \(\*\.runs\.tar\.xz\)"):
        find_run_folders([other])
    with pytest.raises(ValueError, match="name it so"):
        write_archive(other, {})
