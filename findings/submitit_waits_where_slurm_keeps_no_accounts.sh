#!/usr/bin/env bash
# submitit knows a SLURM job's end by its result file or by sacct alone: where SLURM keeps no accounts, a job that was
# killed is "not done" for ever, though squeue has no such job any more.
#
# SLURM comes without an accounting database, and many a small cluster has none; sacct then exits with 1. submitit turns
# that into a warning and the state UNKNOWN, and asks nothing else, so that job.result() and job.wait() never return for
# a job that the memory limit or a lost node ended before it could write its result. We ask squeue too
# (layer_distillation/sweep/slurm.py). SLURM's commands are stood in for by what they print on such a machine.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q submitit==1.5.4
mkdir bin
printf '#!/bin/sh\necho Submitted batch job 7\n' >bin/sbatch
printf '#!/bin/sh\nexit 0\n' >bin/srun
printf '#!/bin/sh\necho "$@" >>%s/asked\nexit 0\n' "$folder" >bin/squeue
printf '#!/bin/sh\necho Slurm accounting storage is disabled >&2\nexit 1\n' >bin/sacct
chmod +x bin/*
cat >finding.py <<'END'
import pathlib
import sys

import submitit

executor = submitit.AutoExecutor(folder="jobs", cluster="slurm")
job = executor.submit(print, "never started")
done = [job.done(force_check=True) for _ in range(5)]
asked = pathlib.Path("asked").exists()
print(f"submitit {submitit.__version__}")
print("expected: a job without a result that squeue does not list is over")
print(f"seen:     job {job.job_id}: done {done}, state {job.state}; squeue was {'asked' if asked else 'never asked'}")
sys.exit(0 if done == [False] * 5 and job.state == "UNKNOWN" and not asked else 1)
END
PATH=$folder/bin:$PATH venv/bin/python finding.py 2>errors
