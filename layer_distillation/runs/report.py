"""The short table at the end of a run."""

from layer_distillation.cards.model_card import name_member
from layer_distillation.records.answers import describe_answers, describe_gold
from layer_distillation.records.run_record import RunRecord
from layer_distillation.tasks.evaluation_sets import list_metric_names
from layer_distillation.tasks.kinds.table import get_record_kind


def format_report(record: RunRecord, folder: str) -> str:
    """Teacher and student side by side, the layer map, and the line that loads the student."""
    teacher, student = record.teacher, record.student
    rows = [("", "teacher", "student"), ("layers", str(teacher["layers"] or "-"), str(len(student["layers"])))]
    rows.append(("parameters", format_count(teacher["parameters"]), f"{student['parameters']:,}"))
    if unlabelled := record.task.get("unlabelled_rows"):
        rows.append(("unlabelled training rows", "", f"{unlabelled:,}"))
    for split, metrics in record.metrics.items():
        for name in ["loss", *list_metric_names(record.task, split)]:
            if name in metrics:
                rows.append(
                    (
                        f"{split} {name}",
                        format_value(teacher["metrics"].get(split, {}).get(name)),
                        format_value(metrics[name]),
                    )
                )
    for batch_size, milliseconds in record.speed.get("milliseconds", {}).items():
        times = (f"{milliseconds[name]:.2f}" if name in milliseconds else "-" for name in ("teacher", "student"))
        rows.append((f"ms, batch of {batch_size}", *times))
    first = next(iter(record.metrics.values()))
    for name, title in AGREEMENT_TITLES.items():
        if name in first and name not in record.task["metric_names"]:
            rows.append((title, "", format_value(first[name])))
    kind = get_record_kind(record.task)
    seconds = " ".join(f"{stage} {value:.0f}" for stage, value in record.seconds.items())
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    table = "\n".join(f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}".rstrip() for row in rows)
    loading = format_loading(folder, kind.auto_class) if kind.write_loading is None else kind.write_loading(folder)
    return f"\n{table}\n{format_notes(record)}{format_members(record)}\nseconds: {seconds}\n\n{loading}"


def format_count(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def format_notes(record: RunRecord) -> str:
    """What the teacher was, where it is no model that was trained on the task, and where no gold label was seen."""
    notes = [f"the teacher: {describe_answers(record.teacher)}"] if record.teacher.get("kind") else []
    notes += [describe_gold(record)] if record.task.get("without_gold") else []
    return "".join(f"{note}\n" for note in notes)


def format_members(record: RunRecord) -> str:
    """Several teachers, each by itself; nothing of a single one."""
    members = record.teacher.get("members", [])
    if not members:
        return ""
    split, metric = next(iter(record.metrics)), record.task["metric_names"][0]
    lines = [
        f"  {name_member(member)}: {split} {metric} {format_value(member['metrics'].get(split, {}).get(metric))}"
        for member in members
    ]
    return "\n".join(["", f"the mean of {len(members)} teachers, layers and sizes of the first:", *lines, ""])


AGREEMENT_TITLES = {
    "agreement": "agrees with the teacher",
    "kl_to_teacher": "KL to the teacher",
    "pearson_to_teacher": "Pearson with the teacher",
    "mse_to_teacher": "squared error to the teacher",
    "cosine_to_teacher": "cosine with the teacher",
    "spearman_to_teacher": "Spearman with the teacher",
}


def format_value(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def format_loading(folder: str, auto_class: str) -> str:
    """The code that loads the student."""
    return f"from transformers import {auto_class}\nstudent = {auto_class}.from_pretrained({folder!r})"


def format_layer_map(layers: list[int | None], matching: list[int], origin: str = "teacher") -> str:
    """One line per student layer: where it starts from and, where it imitates one, which teacher layer."""
    lines = []
    for index, source in enumerate(layers):
        start = "fresh weights" if source is None else f"{origin} layer {source}"
        target = f"   (imitates teacher layer {matching[index]})" if matching else ""
        lines.append(f"student layer {index} <- {start}{target}")
    return "\n".join(lines)
