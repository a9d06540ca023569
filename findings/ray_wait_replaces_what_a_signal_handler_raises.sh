#!/usr/bin/env bash
# An exception that a Python signal handler raises during ray.wait does not arrive: another one does in its place.
#
# A program that turns SIGTERM into an exception of its own, to clean up and to exit with 143, meets a SystemError where
# that derives from Exception, and a plain KeyboardInterrupt, as if by Ctrl-C, where it derives from KeyboardInterrupt:
# Ray's core runs the handler and loses what it raised. ray.get does the same; in time.sleep each arrives whole. Our
# sweep notes the signal itself (layer_distillation/sweep/processes.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q ray==2.60.0
cat >finding.py <<'END'
import os
import signal
import sys
import threading
import time

import ray


class Stopped(Exception):
    pass


class Interrupted(KeyboardInterrupt):
    pass


@ray.remote
def rest():
    time.sleep(30)


def see(kind, wait):
    def stop(number, frame):
        raise kind("SIGTERM")

    signal.signal(signal.SIGTERM, stop)
    threading.Timer(2, os.kill, [os.getpid(), signal.SIGTERM]).start()
    try:
        wait()
    except BaseException as error:
        return f"{type(error).__name__}({str(error)[:60]})"
    return "nothing"


ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
reference = rest.remote()
waits = {"time.sleep": lambda: time.sleep(10), "ray.wait": lambda: ray.wait([reference], timeout=10)}
seen = {(name, kind.__name__): see(kind, wait) for name, wait in waits.items() for kind in (Stopped, Interrupted)}
print(f"ray {ray.__version__}")
print("expected: what the handler raises, Stopped(SIGTERM) or Interrupted(SIGTERM), from each")
for (name, kind), error in seen.items():
    print(f"seen:     of {kind} from {name}: {error}")
is_so = [seen["time.sleep", kind] == f"{kind}(SIGTERM)" for kind in ("Stopped", "Interrupted")] == [True, True]
is_so = is_so and seen["ray.wait", "Stopped"].startswith("SystemError")
is_so = is_so and seen["ray.wait", "Interrupted"] == "KeyboardInterrupt()"
sys.stdout.flush()
ray.shutdown()
sys.exit(0 if is_so else 1)
END
venv/bin/python finding.py 2>errors
