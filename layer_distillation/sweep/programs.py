"""The programs that a sweep starts: found once, before anything is started.

Entry: `make_environment`, `find_launch`, `find_script`.
"""

import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

DEFAULT_LAUNCH = ("accelerate", "launch")


def make_environment() -> dict[str, str]:
    """This process's, with the launchers of its own Python first, be its virtual environment active or not."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return os.environ | {"PATH": path}


def find_launch(environment: Mapping[str, str]) -> list[str]:
    """What starts a run: the words of LAUNCH, and the path of run_distillation.py.

    Raises:
        ValueError: there is no such launcher.
    """
    words = environment.get("LAUNCH", "").split() or DEFAULT_LAUNCH
    if shutil.which(words[0], path=environment["PATH"]) is None:
        raise ValueError(f"there is no {words[0]}: install requirements.txt, or set LAUNCH=python")
    return [*words, find_script("run_distillation")]


def find_script(module: str) -> str:
    """The file of a module, which lies beside the package in a checkout and in site-packages alike; not imported."""
    return importlib.util.find_spec(module).origin
