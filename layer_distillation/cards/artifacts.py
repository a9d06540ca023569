"""What a card tells of a student's other forms: where they lie, what they score and cost, and what the teacher does.

Entry: `describe_artifacts`, `find_artifacts`, `group_forms`, `list_artifact_files`.
"""

from collections.abc import Collection
from pathlib import Path

from layer_distillation.records.export_record import STUDENT, TRIMMED, Artifact, ExportRecord
from layer_distillation.records.markdown_text import escape_markdown, format_table
from layer_distillation.records.module_folders import list_module_folders

PYTORCH = "pytorch"
TRIMMED_FORM = "trimmed"  # of `--with`


def describe_artifacts(export: ExportRecord | None, uploaded: Collection[str] | None = None) -> list[str]:
    """The section, or nothing where nothing was exported.

    Args:
        uploaded: paths of the artifacts that go with the card; None: the card lies beside all of them.
    """
    if export is None:
        return []
    rows = [list_cells(made, export, uploaded) for made in export.artifacts]
    split, metric = export.headline["split"], export.headline["metric"]
    header = [
        "form",
        "file",
        f"{split} {metric}",
        f"{export.agreement} the student",
        "MB",
        "ms, batch of 1",
        "ms, batch of 32",
    ]
    warnings = [f"- {escape_markdown(f'{made.name} {made.warning}')}." for made in export.artifacts if made.warning]
    return [
        "## Other forms",
        format_table(header, rows),
        f"Milliseconds: medians of passes by turns, {export.tokens} tokens per row, one thread of "
        f"{escape_markdown(str(export.hardware['device']))}. The teacher's forms are what deploying it without any "
        "distillation gives.",
        *(["\n".join(warnings)] if warnings else []),
        *(["\n".join(f"- {escape_markdown(line)}" for line in export.verdict)] if export.verdict else []),
    ]


def list_cells(made: Artifact, export: ExportRecord, uploaded: Collection[str] | None) -> list[str]:
    split, metric = export.headline["split"], export.headline["metric"]
    value, interval = made.metrics.get(split, {}).get(metric), made.intervals.get(split, {}).get(metric)
    score = "-" if value is None else f"{value:.4f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")
    same = made.agreement.get(split, {}).get("student")
    times = [made.milliseconds.get("1", {}).get(rows) for rows in ("1", "32")]
    is_here = is_base(made) or (made.path is not None and (uploaded is None or made.path in uploaded))
    return [
        made.name,
        (made.path if not is_base(made) else "this folder") if is_here else "-",
        score,
        "-" if same is None else f"{same:.4f}",
        f"{made.bytes / 1e6:.1f}",
        *("-" if time is None else f"{time:.2f}" for time in times),
    ]


def is_base(made: Artifact) -> bool:
    """The student in PyTorch, which is always there."""
    return (made.model, made.format) == (STUDENT, PYTORCH)


def find_artifacts(export: ExportRecord | None, forms: Collection[str]) -> list[Artifact]:
    """The student's artifacts of some formats; `trimmed` is the whole folder of the student with fewer tokens.

    Raises:
        ValueError: one of them was not exported, or not kept.
    """
    made = group_forms(export)
    for form in forms:
        if form not in made:
            has = f"this student has {', '.join(made)}" if made else "this student has no other form"
            way = "--trim_vocabulary" if form == TRIMMED_FORM else f"--formats {form}"
            raise ValueError(f"--with {form}: {has}; python export_student.py RUN {way} makes it")
    return [one for form in forms for one in made[form]]


def group_forms(export: ExportRecord | None) -> dict[str, list[Artifact]]:
    """All that can be pushed beside the student, by what `--with` calls it."""
    kept = [made for made in (export.artifacts if export else []) if made.path is not None]
    forms = {made.format: [made] for made in kept if made.model == STUDENT and not is_base(made)}
    trimmed = [made for made in kept if made.model == TRIMMED]
    return forms | ({TRIMMED_FORM: trimmed} if trimmed else {})


def list_artifact_files(folder: Path, made: Artifact) -> list[Path]:
    """The file of an artifact, or all of its folder; of a model in PyTorch only those beside its weights, and those of
    its modules."""
    path = folder / made.path
    if not path.is_dir():
        return [path]
    own = [path, *list_module_folders(path)]
    found = (file for one in own for file in one.iterdir()) if made.format == PYTORCH else path.rglob("*")
    return sorted(one for one in found if one.is_file())
