#!/usr/bin/env bash
# Distils a student for every strategy and seed, one after the other, and compares them: see --help.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The active virtual environment, else the one beside this script, else whatever python is there.
[[ -n ${VIRTUAL_ENV:-}${CONDA_PREFIX:-} || ! -d $here/.venv/bin ]] || VIRTUAL_ENV=$here/.venv
PATH=${VIRTUAL_ENV:+$VIRTUAL_ENV/bin:}$PATH
if ! python=$(command -v python || command -v python3); then
    echo "run_all_strategies.sh: error: there is no python: make .venv as the README says" >&2
    exit 2
fi
# -P: no file of the user's folder stands for a library.
PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH} exec "$python" -P -m layer_distillation.sweep.command "$@"
