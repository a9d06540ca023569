"""Listing and pruning stores: the right ones go, and none that is being filled."""

import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

import teacher_stores
from layer_distillation.teachers.arguments import TeacherArguments
from teacher_stores import StoreInfo, main, read_stores
from tests.outputs.test_store import fill


@pytest.fixture
def cache(tmp_path) -> Path:
    """Two stores of 22 and 10 rows, the first unused for 9 days, and a half-filled one."""
    root = tmp_path / "teacher_outputs"
    old = fill(root)
    fill(root, num_rows=10)
    last_use = time.time() - 9 * teacher_stores.SECONDS_PER_DAY
    os.utime(old.folder / "manifest.json", (last_use, last_use))
    (root / "0123.unfinished-89ab").mkdir()
    (root / "0123.unfinished-89ab" / "states-00000.f16").write_bytes(b"half")
    return tmp_path


def list_names(cache: Path) -> list[int | None]:
    return [store.spec and store.spec["num_rows"] for store in read_stores(cache / "teacher_outputs")]


def test_the_default_cache_is_that_of_the_runs():
    assert TeacherArguments().cache_dir == teacher_stores.DEFAULT_CACHE


def test_a_list_says_size_rows_layers_and_last_use(cache, capsys):
    assert main(["list", "--cache_dir", str(cache)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "unused for   9.0 days  22 rows, 2 hidden, 0 attention, 0 relation layers" in lines[0]
    assert sum("unfinished" in line for line in lines) == 1
    assert lines[-1].startswith("3 stores, 0.000 GB")


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--unused_days", "5"], [10, None]),
        (["--max_gb", "0"], []),
        (["--unused_days", "0"], []),
        (["--max_gb", "1"], [22, 10, None]),
        (["--max_gb", "0", "--dry_run"], [22, 10, None]),
    ],
)
def test_pruning_removes_what_was_asked_for(cache, options, left, capsys):
    assert main(["prune", "--cache_dir", str(cache), *options]) == 0
    assert sorted(map(str, list_names(cache))) == sorted(map(str, left))


def test_the_longest_unused_go_until_the_rest_fits(cache):
    oldest, *rest = read_stores(cache / "teacher_outputs")
    limit = sum(store.size_bytes for store in rest) / 1e9
    assert main(["prune", "--cache_dir", str(cache), "--max_gb", str(limit)]) == 0
    assert [store.folder for store in read_stores(cache / "teacher_outputs")] == [store.folder for store in rest]
    assert oldest.spec["num_rows"] == 22


def test_a_store_of_another_version_is_listed_and_goes(cache, capsys):
    manifest = next((cache / "teacher_outputs").glob("*/manifest.json"))
    manifest.write_text('{"spec": {"version": 1}}')
    assert main(["list", "--cache_dir", str(cache)]) == 0
    assert "unknown rows" in capsys.readouterr().out
    assert main(["prune", "--cache_dir", str(cache), "--max_gb", "0"]) == 0
    assert list_names(cache) == []


def test_what_a_run_takes_away_meanwhile_is_no_error(cache, monkeypatch):
    """A fill removes its parts and renames its folder while they are listed."""
    root = cache / "teacher_outputs"
    filling = root / "0123.unfinished-89ab"
    listed = Path.iterdir

    def list_and_remove(folder: Path) -> list[Path]:
        paths = list(listed(folder))
        if folder == filling:
            paths[0].unlink()
        return paths

    monkeypatch.setattr(Path, "iterdir", list_and_remove)
    assert list_names(cache) == [22, 10]
    assert teacher_stores.read_store(root / "renamed") is None
    assert teacher_stores.remove_store(StoreInfo(root / "renamed", 0, 0.0, None))


def test_opening_a_store_counts_as_use(cache):
    fill(cache / "teacher_outputs")
    assert max(store.unused_days for store in read_stores(cache / "teacher_outputs")) < 1


def test_a_store_that_is_being_filled_is_left_alone(cache, capsys):
    with FileLock(cache / "teacher_outputs" / "0123.lock"):
        main(["prune", "--cache_dir", str(cache), "--max_gb", "0"])
    assert list_names(cache) == [None]
    assert "is being filled: left alone" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--max_gb", "-1"], ["--unused_days", "nan"]])
def test_a_prune_without_a_sound_limit_is_refused(cache, options, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["prune", "--cache_dir", str(cache), *options])
    assert "--unused_days" in capsys.readouterr().err


def test_no_cache_is_no_store(tmp_path, capsys):
    assert main(["list", "--cache_dir", str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out.startswith("0 stores")
