"""The child of `benchmarks/run_seconds.py`: one run, its stages timed. python -m ... REPORT FLAGS"""

import time

BEGAN, PROCESSOR_BEFORE = time.time(), time.process_time()  # before anything is imported

import importlib  # noqa: E402 - after the clock was read
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from benchmarks.run_seconds import IMPORTS, StageClock  # noqa: E402


def main() -> int:
    """Runs the flags as `run_distillation.py` does; writes what it took."""
    report, *flags = sys.argv[1:]
    clock = StageClock()
    run = clock.timed(IMPORTS, importlib.import_module)("run_distillation")
    clock.timed(IMPORTS, clock.replace_all)()
    status = run.main(flags)
    told = {"began": BEGAN, "ended": time.time(), "processor_before": PROCESSOR_BEFORE}
    told |= {"processor_after": time.process_time(), "stages": clock.stages}
    Path(report).write_text(json.dumps(told), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
