"""The printed table of an export: every artifact, its scores and what it costs."""

from layer_distillation.records.export_record import Artifact, ExportRecord


def format_table(record: ExportRecord) -> str:
    """Rows of all artifacts, those of earlier exports last; what was not measured is a dash."""
    rows = [list_header(record), *(list_cells(made, record) for made in record.artifacts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    warnings = [f"warning: {made.name}: {made.warning}" for made in record.artifacts if made.warning]
    return "\n".join([*(line.rstrip() for line in lines), "", *warnings, *record.verdict]).rstrip()


def list_header(record: ExportRecord) -> list[str]:
    timed = next((made.milliseconds for made in record.artifacts if made.milliseconds), {})
    times = [f"ms {rows} x {threads}t" for threads, by_rows in timed.items() for rows in by_rows]
    headline = f"{record.headline['split']} {record.headline['metric']}"
    return ["", headline, "95 %", "as student", "as teacher", "MB", *times, "MB memory", "first s"]


def list_cells(made: Artifact, record: ExportRecord) -> list[str]:
    split, metric = record.headline["split"], record.headline["metric"]
    interval = made.intervals.get(split, {}).get(metric)
    agreement = made.agreement.get(split, {})
    times = [f"{value:.2f}" for by_rows in made.milliseconds.values() for value in by_rows.values()]
    return [
        made.name,
        show(made.metrics.get(split, {}).get(metric), ".4f"),
        f"{interval[0]:.4f}-{interval[1]:.4f}" if interval else "-",
        show(agreement.get("student"), ".4f"),
        show(agreement.get("teacher"), ".4f"),
        f"{made.bytes / 1e6:.2f}",
        *times,
        show(made.peak_memory_bytes and made.peak_memory_bytes / 1e6, ".0f"),
        show(made.first_answer_seconds, ".2f"),
    ]


def show(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)
