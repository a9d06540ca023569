"""Lists the stores of teacher outputs and the exported teachers in a cache folder, and removes what is not wanted.

    python teacher_stores.py list
    python teacher_stores.py prune --unused_days 30 --max_gb 10

Both are made again when they are needed, so removing one loses nothing but the seconds of a teacher's pass. A run that
reads a store keeps it: its files stay readable until the run ends, but for loader processes that are spawned later and
not forked. One that is being filled is left alone.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import Timeout

from layer_distillation.records.command_names import name_commands, name_speaker
from layer_distillation.records.locks import make_lock

MANIFEST_NAME = "manifest.json"
FOLDERS = ("teacher_outputs", "teacher_exports")  # of the cache
DEFAULT_CACHE = "~/.cache/layer_distillation"
SECONDS_PER_DAY = 86_400


class StoreInfo(NamedTuple):
    """One folder: a store, or what a killed run left of one (`spec` is None)."""

    folder: Path
    size_bytes: int
    unused_days: float
    spec: dict[str, Any] | None

    def describe(self) -> str:
        size = f"{self.folder.name:<36} {self.size_bytes / 1e9:8.3f} GB  unused for {self.unused_days:5.1f} days"
        if self.spec is None:
            return f"{size}  unfinished"
        kinds = ("hidden", "attention", "relation")
        layers = ", ".join(f"{len(self.spec.get(f'{kind}_layers', ()))} {kind}" for kind in kinds)
        held = f"as {self.spec['format']}" if "format" in self.spec else f"{layers} layers"
        teacher = str(self.spec.get("teacher_fingerprint", "unknown"))[:12]
        return f"{size}  {self.spec.get('num_rows', 'unknown')} rows, {held}, teacher {teacher}"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    cache = Path(arguments.cache_dir).expanduser()
    stores = sort_stores(store for name in FOLDERS for store in read_stores(cache / name))
    if arguments.action == "prune":
        wanted = choose_stores(stores, arguments.unused_days, arguments.max_gb)
        removed = [store for store in wanted if arguments.dry_run or remove_store(store)]
        stores = [store for store in stores if store not in removed]
        for store in removed:
            print(f"{'would remove' if arguments.dry_run else 'removed'} {store.describe()}")
    for store in stores:
        print(store.describe())
    print(f"{len(stores)} stores, {sum(store.size_bytes for store in stores) / 1e9:.3f} GB in {cache}")
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=name_speaker("teacher_stores.py"),
        description=name_commands(__doc__),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["list", "prune"])
    parser.add_argument("--cache_dir", default=DEFAULT_CACHE, help="the runs' --cache_dir (default: theirs)")
    parser.add_argument("--unused_days", type=float, help="prune: remove what no run opened for so long")
    parser.add_argument("--max_gb", type=float, help="prune: then remove the longest unused until so much is left")
    parser.add_argument("--dry_run", action="store_true", help="prune: only say what would go")
    arguments = parser.parse_args(argv)
    limits = [arguments.unused_days, arguments.max_gb]
    if arguments.action == "prune" and limits == [None, None]:
        parser.error("prune removes nothing by itself: give --unused_days, --max_gb or both (0 removes all)")
    if any(limit is not None and not limit >= 0 for limit in limits):
        parser.error("--unused_days and --max_gb are at least 0")
    return arguments


def read_stores(root: Path) -> list[StoreInfo]:
    """Every store below `root`, the longest unused first."""
    stores = [read_store(folder) for folder in root.glob("*") if folder.is_dir()]
    return sort_stores(store for store in stores if store is not None)


def sort_stores(stores: Iterable[StoreInfo]) -> list[StoreInfo]:
    """The longest unused first."""
    return sorted(stores, key=lambda store: -store.unused_days)


def read_store(folder: Path) -> StoreInfo | None:
    """None of one that a run is filling, renaming or removing while it is read."""
    manifest = folder / MANIFEST_NAME
    try:
        size = measure_bytes(folder)
        last_use = (manifest if manifest.exists() else folder).stat().st_mtime
    except FileNotFoundError:
        return None
    try:
        spec = json.loads(manifest.read_text(encoding="utf-8"))["spec"] | {}
    except (OSError, ValueError, KeyError, TypeError):
        spec = None
    return StoreInfo(folder, size, (time.time() - last_use) / SECONDS_PER_DAY, spec)


def measure_bytes(folder: Path) -> int:
    return sum(measure_bytes(path) if path.is_dir() else path.stat().st_size for path in folder.iterdir())


def choose_stores(stores: Sequence[StoreInfo], unused_days: float | None, max_gb: float | None) -> list[StoreInfo]:
    """What is to go, of stores ordered by how long they are unused: the unused ones, then what is over the limit."""
    chosen = [store for store in stores if unused_days is not None and store.unused_days >= unused_days]
    kept = [store for store in stores if store not in chosen]
    while max_gb is not None and sum(store.size_bytes for store in kept) > max_gb * 1e9:
        chosen.append(kept.pop(0))
    return chosen


def remove_store(store: StoreInfo) -> bool:
    """Removes it unless a run is filling it right now; returns whether it is gone."""
    lock = make_lock(store.folder.parent / f"{store.folder.stem}.lock")
    try:
        with lock.acquire(timeout=0), suppress(FileNotFoundError):  # another prune may have been faster
            shutil.rmtree(store.folder)
    except Timeout:
        print(f"{store.folder.name} is being filled: left alone", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
