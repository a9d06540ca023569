"""Groups runs into arms that may be compared: the same task, rows, teacher and settings; they differ in start and seed,
and in what is varied on purpose.

Whatever does not agree is left out by name, with the reason; where it is not clear what to leave out, it is an error.

Entry: `group_runs`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np

from layer_distillation.comparison.arms import (
    Arm,
    describe_start,
    list_equal_starts,
    list_missing_seeds,
    list_mixed_losses,
    list_mixed_machines,
)
from layer_distillation.comparison.runs import TEACHER_ARGUMENTS, UNLABELLED_ARGUMENTS, LeftOut, Run
from layer_distillation.comparison.tuning import list_tuning_remarks, settle_tuning
from layer_distillation.records.run_record import HARMLESS_ARGUMENTS
from layer_distillation.records.student_names import VARIANT_ARGUMENTS
from layer_distillation.tasks.evaluation_sets import RETRIEVAL

START_ARGUMENTS = ("layer_strategy", "student_layers", "student_num_layers", *VARIANT_ARGUMENTS)
# What makes the arms, and what the fingerprints of teacher and rows say better than a path does.
FREE_ARGUMENTS = frozenset(
    ["seed", "data_seed", "student_width_init", *START_ARGUMENTS]
    + ["teacher_model_name_or_path", "train_file", "validation_file", "test_file", "unlabeled_file", "recombined_pairs"]
    + ["teacher_outputs", "teacher_store_max_gb"]
    + ["per_device_eval_batch_size", "eval_accumulation_steps", "use_cpu", "calibration_rows", "beam_width"]
)
ROW_ARGUMENTS = (
    *("task_name", "dataset_name", "dataset_config_name", "train_file", "validation_file", "test_file"),
    *("validation_split", "text_columns", "label_column", "label_kind", "max_length", "sample_seed"),
    *("max_train_samples", "max_eval_samples", "evaluation_files", "label_columns", "task_type"),
    "version_2_with_negative",
)
# What a step sees is their product, with the number of processes.
BATCH_ARGUMENTS = frozenset(["per_device_train_batch_size", "gradient_accumulation_steps", "auto_find_batch_size"])
ANSWERED_ARGUMENTS = ("teacher_", "additional_teachers", "soft_label_", "zero_shot_", "hypothesis_")
READABLE_DIFFERENCES = {
    "task fingerprint": "other rows",
    "unlabelled rows": "other unlabelled rows",
    "teacher fingerprint": "other teacher",
    "source fingerprint": "another checkpoint that its weights came from",
}


@dataclass
class Unit:
    """Arms that may be compared: one task, one number of student layers. `left_out` and `remarks` are to be shown."""

    task_name: str
    num_layers: int
    arms: list[Arm]
    left_out: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.task_name}, {self.num_layers} layer" + ("s" if self.num_layers != 1 else "")

    @property
    def runs(self) -> list[Run]:
        return [run for arm in self.arms for run in arm.runs]


def group_runs(runs: Sequence[Run]) -> list[Unit]:
    """One unit for every task and number of student layers.

    Raises ValueError where two sets of runs are equally large and do not agree, or a run is there twice and differs.
    """
    members: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        members.setdefault((run.record.task["name"], len(run.layers)), []).append(run)
    return [group_unit(task_name, num_layers, found) for (task_name, num_layers), found in sorted(members.items())]


def group_unit(task_name: str, num_layers: int, runs: list[Run]) -> Unit:
    """Leaves out, in turn: other settings, other layers under one name, the same run again."""
    unit = Unit(task_name, num_layers, arms=[])
    kept = keep_agreeing(unit, runs)
    arms: dict[str, list[Run]] = {}
    for run in kept:
        arms.setdefault(run.arm_name, []).append(run)
    for name, found in arms.items():
        agreeing = keep_majority(unit, found, describe_arm, f"arm {name!r}")
        chosen, tuning, others = settle_tuning(name, agreeing)
        unit.left_out += others
        chosen = keep_majority(unit, chosen, describe_unlabelled, f"arm {name!r}")  # trials may differ in them
        unit.arms.append(Arm(name, drop_duplicates(unit, name, chosen), tuning))
    unit.remarks += list_equal_starts(unit.arms) + list_missing_seeds(unit.arms) + list_mixed_losses(unit.arms)
    unit.remarks += list_tuning_remarks(unit.arms) + list_mixed_machines(unit.runs)
    return unit


def keep_agreeing(unit: Unit, runs: list[Run]) -> list[Run]:
    """The largest set of runs with one teacher, one set of rows and the same settings.

    Runs without a teacher's terms are held against what those with one agree on, as far as both have it.
    """
    with_teacher = keep_majority(unit, [run for run in runs if run.has_teacher_terms], list_settings, unit.name)
    without_teacher = [run for run in runs if not run.has_teacher_terms]
    if with_teacher:
        without_teacher = keep_like(unit, without_teacher, list_settings(with_teacher[0]))
    return with_teacher + keep_majority(unit, without_teacher, list_settings, f"{unit.name}, without teacher")


def keep_like(unit: Unit, runs: list[Run], wanted: dict[str, Any]) -> list[Run]:
    """Runs without a teacher's terms that agree with the others; the weight of their only term is their own affair."""
    kept = []
    for run in runs:
        settings = {name: value for name, value in list_settings(run).items() if name != "ce_weight"}
        differences = list_differences({name: wanted.get(name) for name in settings}, settings)
        if differences:
            unit.left_out.append(LeftOut(run.folder, "; ".join(differences.values())))
        else:
            kept.append(run)
    return kept


def keep_majority(unit: Unit, runs: list[Run], describe: Callable[[Run], dict[str, Any]], where: str) -> list[Run]:
    """The largest set of equal descriptions; the other runs are left out, with their difference from it."""
    if not runs:
        return []
    counts = Counter(freeze(describe(run)) for run in runs)
    ranked = counts.most_common(2)
    first = {key: next(run for run in runs if freeze(describe(run)) == key) for key, _ in ranked}
    largest = first[ranked[0][0]]
    if len(ranked) == 2 and ranked[0][1] == ranked[1][1]:
        other = first[ranked[1][0]]
        differences = list_differences(describe(largest), describe(other))
        names = list_remedies(differences, largest, other)
        remedy = f", or make arms of them by --vary {' '.join(names)}" if names else ""
        raise ValueError(
            f"{where}: {largest.folder} and {other.folder} stand for {ranked[0][1]} run(s) each that do not agree "
            f"({'; '.join(differences.values())}): give one set alone{remedy}"
        )
    kept = []
    for run in runs:
        differences = list_differences(describe(largest), describe(run))
        if differences:
            unit.left_out.append(LeftOut(run.folder, "; ".join(differences.values())))
        else:
            kept.append(run)
    return kept


def list_remedies(differences: dict[str, str], kept: Run, other: Run) -> list[str]:
    """The arguments that would tell the two apart if they were varied; none where something else differs too."""
    names: list[str] = []
    for difference in differences:
        makers = UNLABELLED_ARGUMENTS if difference == "unlabelled rows" else (difference,)
        own = [name for name in makers if kept.record.arguments.get(name) != other.record.arguments.get(name)]
        if not own or difference in ROW_ARGUMENTS:
            return []
        names += own
    return list(dict.fromkeys(names))


def freeze(settings: dict[str, Any]) -> str:
    """An argument that an older version did not know is one that is not set."""
    return repr(sorted((name, value) for name, value in settings.items() if value is not None))


def list_settings(run: Run) -> dict[str, Any]:
    """All that runs of one comparison have to agree in."""
    dropped = HARMLESS_ARGUMENTS | FREE_ARGUMENTS | run.varied_arguments.keys()
    dropped |= frozenset() if run.has_teacher_terms else TEACHER_ARGUMENTS
    dropped |= frozenset(["tuned_flags", *run.tuned])
    arguments = {
        name: value
        for name, value in run.record.arguments.items()
        if name not in dropped
        and not name.startswith(ANSWERED_ARGUMENTS)  # the teacher's fingerprint says what came of these
    }
    if not BATCH_ARGUMENTS & run.varied_arguments.keys():
        arguments = {name: value for name, value in arguments.items() if name not in BATCH_ARGUMENTS}
        arguments["rows per step"] = run.record.count_rows_per_step()
    arguments |= dict.fromkeys((f"tuned {name}" for name in run.tuned), True)
    labels = {f"{split} labels": hash_labels(run, split) for split in run.labelled_rows}
    fingerprints = {
        "task fingerprint": run.record.task["fingerprint"],
        "teacher fingerprint": run.record.teacher["fingerprint"],
    }
    return fingerprints | list_unlabelled(run) | labels | arguments


def list_unlabelled(run: Run) -> dict[str, Any]:
    """What all runs have to agree in of their transfer sets: the rows, or, where these are varied or tuned and only an
    arm's have to be the same, what else makes them."""
    if not run.has_teacher_terms:
        return {}
    own = {name for name in UNLABELLED_ARGUMENTS if name in (*run.varied, *run.tuned)}
    if not own:
        return describe_unlabelled(run)
    others = {name: run.record.arguments.get(name) for name in UNLABELLED_ARGUMENTS if name not in own}
    return {name: PurePath(value).name if isinstance(value, str) else value for name, value in others.items()}


def describe_unlabelled(run: Run) -> dict[str, Any]:
    return {"unlabelled rows": run.unlabelled_fingerprint}


def hash_labels(run: Run, split: str) -> int:
    """The task's fingerprint leaves out the test rows; rows that differ have, nearly always, labels that differ."""
    if run.is_retrieval(split):
        return hash(run.record.task[RETRIEVAL][split]["fingerprint"])
    return hash(run.arrays[f"{split}.labels"].tobytes())


def list_differences(kept: dict[str, Any], other: dict[str, Any]) -> dict[str, str]:
    """By name, `temperature 2 -> 4`, for what differs; where the rows do, their labels go without saying."""
    differences = {}
    for name in [*kept, *(name for name in other if name not in kept)]:
        if kept.get(name) != other.get(name):
            differences[name] = describe_difference(name, kept.get(name), other.get(name))
    if "task fingerprint" in differences:
        return {name: text for name, text in differences.items() if not name.endswith(" labels")}
    return differences


def describe_difference(name: str, kept: Any, other: Any) -> str:
    if name in READABLE_DIFFERENCES:
        return READABLE_DIFFERENCES[name]
    if name.endswith(" labels"):
        return f"other {name}"
    if name == "num_train_epochs":
        return f"{format_setting(kept)} epochs -> {format_setting(other)}"
    return f"{name} {format_setting(kept)} -> {format_setting(other)}"


def describe_arm(run: Run) -> dict[str, Any]:
    """What runs of one arm have to agree in, beside what all runs do."""
    varied = {name: value for name, value in run.varied_arguments.items() if name not in FREE_ARGUMENTS}
    is_tuned = any(name in UNLABELLED_ARGUMENTS for name in run.tuned)
    return describe_start(run) | varied | ({} if is_tuned else describe_unlabelled(run))


def format_setting(value: Any) -> str:
    return "none" if value in (None, "") else f"{value:g}" if isinstance(value, float) else str(value)


def drop_duplicates(unit: Unit, arm_name: str, runs: list[Run]) -> list[Run]:
    """One run per seed, by seed; a run that is there twice, bit for bit, counts once, whatever its seed is called."""
    kept: dict[int, Run] = {}
    for run in sorted(runs, key=lambda run: run.record.seed):
        same = next((first for first in kept.values() if hold_same_predictions(first, run)), None)
        first = kept.get(run.record.seed)
        if same is None and first is not None:
            raise ValueError(
                f"{first.folder} and {run.folder} are both {arm_name!r} with seed {run.record.seed}, and their "
                "predictions differ: remove one, or leave it out"
            )
        if same is not None:
            seed = "" if same.record.seed == run.record.seed else ", though with another seed"
            unit.left_out.append(LeftOut(run.folder, f"the same run as {same.folder}{seed}"))
        else:
            kept[run.record.seed] = run
    return list(kept.values())


def hold_same_predictions(first: Run, second: Run) -> bool:
    return first.arrays.keys() == second.arrays.keys() and all(
        np.array_equal(array, second.arrays[name], equal_nan=array.dtype.kind == "f")
        for name, array in first.arrays.items()
    )
