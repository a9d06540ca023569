"""Distils a student for every strategy and seed, one after the other or several at once, and compares them.

    ./run_all_strategies.sh --strategies "top odd" --seeds "42 43" -- recipes/sick_minilm.yaml --train_file ...
    distil-sweep --tune learning_rate=1e-4,2e-4,4e-4 -- recipes/sick_minilm.yaml --train_file ...
    distil-sweep --plan -- recipes/sick_minilm.yaml --train_file ...

Its own process plans, starts, waits and tells; whatever needs torch runs in processes of its own.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from layer_distillation.records.interruption import Interrupted
from layer_distillation.sweep.arguments import RAY, SLURM, exit_with_error, parse_command_line
from layer_distillation.sweep.executors import Executor, execute_here
from layer_distillation.sweep.places import divide_machine
from layer_distillation.sweep.plan import WAITING, ClusterSettings, PlannedRun, SweepSettings, count_draws, plan_runs
from layer_distillation.sweep.processes import ProcessGroups
from layer_distillation.sweep.programs import find_launch, find_script, make_environment
from layer_distillation.sweep.report import SweepReport
from layer_distillation.sweep.states import add_states
from layer_distillation.sweep.tuning import (
    choose_values,
    describe_budget,
    list_chosen,
    mark_waiting,
    plan_further_seeds,
    plan_trials,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    settings, is_plan = parse_command_line(sys.argv[1:] if argv is None else argv)
    environment = make_environment()
    try:
        launch = find_launch(environment)
    except ValueError as error:
        exit_with_error(str(error))
    try:
        with ProcessGroups(environment) as groups:
            runs = mark_waiting(add_states(plan_all(settings, launch), groups))
            if is_plan:
                return print_plan(runs, settings)
            return sweep(runs, settings, launch, groups, choose_executor(settings, runs, environment))
    except Interrupted as interrupted:
        print(f"\nstopped by {interrupted}; the same command goes on from here", file=sys.stderr)
        return interrupted.exit_status
    except OSError as error:
        exit_with_error(str(error), status=1)
    except ValueError as error:  # of a cluster that takes no such runs
        exit_with_error(str(error))


def choose_executor(settings: SweepSettings, runs: Sequence[PlannedRun], environment: Mapping[str, str]) -> Executor:
    """Who makes the runs; ends the process with status 2 where that cannot be."""
    try:
        if settings.cluster is None:
            return partial(execute_here, places=divide_machine(settings.jobs, runs, environment))
        return CLUSTERS[settings.cluster.engine](settings.cluster)
    except ValueError as error:
        exit_with_error(str(error))
    except ModuleNotFoundError as error:
        extra = settings.cluster.engine
        exit_with_error(f"--executor {extra} needs {error.name}: pip install 'layer-distillation[{extra}]'")


def reach_ray(cluster: ClusterSettings) -> Executor:
    """Raises ValueError where it does not answer, ModuleNotFoundError where it is not installed."""
    from layer_distillation.sweep.ray_cluster import connect, execute_on_ray

    connect(cluster.ray_address)
    return partial(execute_on_ray, cluster=cluster)


def reach_slurm(cluster: ClusterSettings) -> Executor:
    """Raises as `reach_ray`."""
    from layer_distillation.sweep.slurm import check_scheduler, execute_on_slurm

    check_scheduler()
    return partial(execute_on_slurm, cluster=cluster)


CLUSTERS: dict[str, Callable[[ClusterSettings], Executor]] = {RAY: reach_ray, SLURM: reach_slurm}


def print_plan(runs: Sequence[PlannedRun], settings: SweepSettings) -> int:
    """A JSON object per line."""
    described = [run.describe() for run in runs]
    if settings.race:
        from layer_distillation.sweep.race import describe_plan  # here, because it loads scipy

        described = describe_plan(runs, partial(print, file=sys.stderr))
    for entry in described:
        print(json.dumps(entry))
    return 0


def plan_all(settings: SweepSettings, launch: Sequence[str]) -> list[PlannedRun]:
    """All runs; of arms that are still to be tuned those with further seeds as they might be."""
    if not settings.tune:
        return plan_runs(settings, launch)
    trials = plan_trials(settings, launch)
    return trials + plan_further_seeds(settings, launch, choose_values(trials))


def sweep(
    runs: Sequence[PlannedRun],
    settings: SweepSettings,
    launch: Sequence[str],
    groups: ProcessGroups,
    executor: Executor,
) -> int:
    """Executes what is open and compares what is finished; returns 1 where anything failed."""
    (settings.output_root / "logs").mkdir(parents=True, exist_ok=True)
    report = SweepReport(len(runs), is_live=settings.jobs > 1 or settings.cluster is not None)
    make = partial(execute, report=report, groups=groups, executor=executor)
    if settings.tune:
        runs = tune(runs, settings, launch, report, make, groups)
    if settings.race:
        from layer_distillation.sweep.race import race  # here, because it loads scipy

        race(runs, make, report.tell)
    else:
        make([run for run in runs if not run.is_trial])
    if len({run.arm for run in report.finished}) < 2:
        print("nothing to compare: fewer than two kinds of runs are finished", flush=True)
    elif status := compare(report.finished, settings, groups):
        report.failures.append(f"comparison: exit status {status}")
    return report.tell_failures()


def tune(
    runs: Sequence[PlannedRun],
    settings: SweepSettings,
    launch: Sequence[str],
    report: SweepReport,
    make: Callable[[Sequence[PlannedRun]], list[PlannedRun]],
    groups: ProcessGroups,
) -> list[PlannedRun]:
    """Makes the trials; returns, of the arms whose trials are all finished, the chosen one and the further seeds."""
    print(describe_budget(runs), flush=True)
    make([run for run in runs if run.is_trial])
    waited = dict.fromkeys(run.arm for run in runs if not run.is_trial)
    report.failures += [f"{arm}: its other seeds wait for its trials" for arm in waited if arm not in report.chosen]
    further = [run for run in plan_further_seeds(settings, launch, report.chosen) if run.arm in report.chosen]
    known = {run.folder: run for run in runs if run.state != WAITING}
    if new := [run for run in further if run.folder not in known]:
        known |= {run.folder: run for run in add_states(new, groups)}
    return [*list_chosen(runs, report.chosen), *(known[run.folder] for run in further)]


def execute(
    runs: Sequence[PlannedRun], report: SweepReport, groups: ProcessGroups, executor: Executor
) -> list[PlannedRun]:
    """Returns those that are finished."""
    num_before = len(report.finished)
    report.number(runs)
    with report.watching():
        for outcome in executor(runs, groups, report):
            report.end(outcome)
    return report.finished[num_before:]


def compare(runs: Sequence[PlannedRun], settings: SweepSettings, groups: ProcessGroups) -> int:
    """Returns the exit status of compare_strategies.py."""
    folders = [str(run.folder) for run in runs]
    options = ["--output_dir", str(settings.output_root / "comparison")]
    if settings.race:
        options += ["--race", *settings.seeds, "--race_draws", str(count_draws(settings))]
    command = [sys.executable, find_script("compare_strategies"), *folders, *options]
    return groups.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
