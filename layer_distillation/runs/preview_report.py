"""What a preview found: the table on the terminal, and the files that it leaves."""

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from layer_distillation.layers.strategies import show_strategy
from layer_distillation.runs.report import AGREEMENT_TITLES, format_value

DISTANCES = ("kl_to_teacher", "mse_to_teacher")  # a regression has the second


@dataclass(frozen=True)
class StrategyPreview:
    """One untrained student. `cka_tokens[j][i]`: linear CKA of student layer j and teacher layer i, over real tokens;
    `cka_rows` likewise, over the mean of each row's tokens."""

    strategy: str
    layers: list[int | None]
    scores: dict[str, float]
    cka_tokens: list[list[float]]
    cka_rows: list[list[float]]
    seconds: float

    @property
    def distance(self) -> float:
        """How far its outputs are from the teacher's: KL or, in a regression, squared error."""
        return next(self.scores[name] for name in DISTANCES if name in self.scores)


@dataclass(frozen=True)
class Preview:
    """All strategies of one teacher and task; scores are on `split`, CKA on `compared_rows` of its rows."""

    task: str
    split: str
    metric_name: str
    scored_rows: int
    compared_rows: int
    teacher: str
    teacher_scores: dict[str, float]
    preparation_seconds: float
    strategies: list[StrategyPreview]

    def rank(self) -> list[StrategyPreview]:
        """The strategies, the one whose outputs are nearest the teacher's first."""
        return sorted(self.strategies, key=lambda preview: preview.distance)


def format_preview(preview: Preview, folder: Path) -> str:
    """The table, nearest to the teacher first, and where the rest is."""
    rows = [
        [format_cell(value) for value in (row | {"strategy": show_strategy(row["strategy"])}).values()]
        for row in list_rows(preview)
    ]
    header = list(list_rows(preview)[0])
    teacher = {"strategy": "teacher", **{name: format_value(value) for name, value in preview.teacher_scores.items()}}
    rows.append([teacher.get(name, "") for name in header])
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    total = preview.preparation_seconds + sum(strategy.seconds for strategy in preview.strategies)
    return "\n".join(
        [
            f"\nBefore any training: {preview.task}, {preview.scored_rows} rows of {preview.split}, "
            "nearest to the teacher first",
            *(line.rstrip() for line in lines),
            "",
            "cka_tokens, cka_rows: linear CKA of the last student layer and the last teacher layer on "
            f"{preview.compared_rows} rows, over tokens and over row means",
            f"every pair of layers: {folder / 'preview_cka.csv'}",
            f"seconds: {total:.1f}, of them teacher and data {preview.preparation_seconds:.1f}",
        ]
    )


def list_rows(preview: Preview) -> list[dict[str, Any]]:
    """One row per strategy, in the order of the table; values as they are."""
    names = ["loss", preview.metric_name, *AGREEMENT_TITLES]
    return [
        {
            "strategy": strategy.strategy,
            "layers": " ".join("-" if layer is None else str(layer) for layer in strategy.layers),
            **{name: strategy.scores[name] for name in names if name in strategy.scores},
            "cka_tokens": strategy.cka_tokens[-1][-1],
            "cka_rows": strategy.cka_rows[-1][-1],
            "seconds": f"{strategy.seconds:.1f}",
        }
        for strategy in preview.rank()
    ]


def list_layer_pairs(preview: Preview) -> list[dict[str, Any]]:
    """One row per strategy, student layer and teacher layer."""
    return [
        {
            "strategy": strategy.strategy,
            "student_layer": student_layer,
            "starts_from": "" if source is None else source,
            "teacher_layer": teacher_layer,
            "cka_tokens": cka_tokens,
            "cka_rows": strategy.cka_rows[student_layer][teacher_layer],
        }
        for strategy in preview.rank()
        for student_layer, source in enumerate(strategy.layers)
        for teacher_layer, cka_tokens in enumerate(strategy.cka_tokens[student_layer])
    ]


def format_cell(value: float | str) -> str:
    """Four decimals, or three digits of what is small: untrained students may differ by little from their teacher."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if abs(value) >= 0.1 else f"{value:.3g}"


def write_preview(preview: Preview, folder: Path) -> None:
    """`preview.json`, `preview.csv` and `preview_cka.csv`; an earlier preview's are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "preview.json").write_text(json.dumps(asdict(preview), indent=1) + "\n", encoding="utf-8")
    write_csv(list_rows(preview), folder / "preview.csv")
    write_csv(list_layer_pairs(preview), folder / "preview_cka.csv")


def write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
