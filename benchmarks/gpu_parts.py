"""One part of what `benchmarks/gpu.sh` runs on a machine with a GPU: a line of JSON per figure, at once.

    python -m benchmarks.gpu_parts FOLDER PART

FOLDER is what `benchmarks/gpu_folder.py` made. On a machine without a GPU everything runs on the processor: slow at the
sizes of a GPU, but it shows that a part works, and gives the figures to set beside. `gpu.sh` says what the parts are.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu_base, gpu_equality, gpu_sick
from benchmarks.gpu_folder import ROOT
from layer_distillation.runs.facts import describe_hardware, list_versions


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    folder, name = sys.argv[1:] if argv is None else argv
    figures = sys.stdout

    def show(**values: Any) -> None:
        print(json.dumps({"part": name} | values), file=figures, flush=True)

    with tempfile.TemporaryDirectory(prefix="gpu_parts-") as work, redirect_stdout(sys.stderr):  # the Trainer prints
        PARTS[name](Path(folder).resolve(), Path(work), show)
    return 0


Show = Callable[..., None]


def tell_machine(folder: Path, work: Path, show: Show) -> None:
    """What all other figures are of."""
    device = gpu_base.find_device()
    facts = {"hardware": describe_hardware(device), "versions": list_versions()}
    if device.type == "cuda":
        facts["memory_bytes"] = torch.cuda.get_device_properties(device).total_memory
    show(**facts)


def run_tests(folder: Path, work: Path, show: Show) -> None:
    """The tests that need a GPU: skipped, all of them, where there is none."""
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "--import-mode=importlib", "-m", "gpu"]
    paths = ["tests/test_gpu.py", "tests/test_processes.py"]
    done = subprocess.run([*command, *paths], cwd=ROOT, capture_output=True, text=True, check=False)
    summary = done.stdout.strip().splitlines()[-1]
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", summary)}
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    show(**counts, failures=failed, exit_status=done.returncode)


PARTS: dict[str, Callable[[Path, Path, Show], None]] = {
    "machine": tell_machine,
    "tests": run_tests,
    "sick": gpu_sick.compare_strategies,
    "base": gpu_base.time_ways,
    "waits": gpu_base.profile_ways,
    "equality": gpu_equality.compare_processes,
    "variants": gpu_base.time_variants,
    "sst2": gpu_sick.compare_sst2,
}

if __name__ == "__main__":
    sys.exit(main())
