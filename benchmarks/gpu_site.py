"""Lays out the wheels that a machine lacks, or has in another version, as a folder for PYTHONPATH.

python gpu_site.py WHEELS SITE

It imports nothing of the project, and needs no pip: a wheel of these packages is a zip file to be unpacked. SITE is
called site-packages, as dill 0.4.1 takes modules elsewhere for the user's own and pickles them by value: slow, and of
pyarrow an error.
"""

import importlib.metadata
import sys
import zipfile
from pathlib import Path


def main() -> None:
    """Runs the command line."""
    wheels, site = map(Path, sys.argv[1:])
    for wheel in sorted(wheels.glob("*.whl")):
        name, wanted = wheel.name.split("-")[:2]
        if find_version(name) != wanted:
            with zipfile.ZipFile(wheel) as packed:
                packed.extractall(site)
            print(f"{name} {wanted}: from its wheel (here: {find_version(name) or 'none'})", file=sys.stderr)


def find_version(name: str) -> str | None:
    """The installed one, beside what was laid out."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
