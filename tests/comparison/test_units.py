"""What is resampled is the kind's unit: sentences of tags, articles or contexts of questions; and texts say so."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compare_strategies import main as compare
from layer_distillation.comparison.metrics import resample_scores, score_all_rows
from layer_distillation.comparison.numbers import name_one
from layer_distillation.comparison.runs import read_run
from layer_distillation.comparison.statistics import compare_runs, compute_covariance
from layer_distillation.tasks.kinds.entry import Truth
from layer_distillation.tasks.kinds.table import TASK_KINDS
from simulated_runs import write_run

TAGS = ["B-place", "I-place", "O"]
METRICS = {"token-classification": ("entity_f1", "accuracy"), "question-answering": ("f1", "exact_match")}
LABELS = {"token-classification": TAGS, "question-answering": ["start", "end"]}


def write_kind_run(folder: Path, kind: str, strategy: str, seed: int, unit: str | None = "articles") -> Path:
    """A made-up run of the kind: 40 and 60 sentences of 6 words, or questions of which 3 have a context."""
    rows = {"train": 90, "validation": 40, "test": 60}
    write_run(folder, strategy, seed, rows=rows)
    generator, arrays, metrics = np.random.default_rng(seed + len(strategy)), {}, {}
    for split in ("validation", "test"):
        make = make_tags if kind == "token-classification" else make_questions
        own = make(np.random.default_rng(rows[split]), generator, rows[split]) | (
            {"unit": np.array(unit)} if unit else {}
        )
        arrays |= {f"{split}.{name}": array for name, array in own.items()}
    record = json.loads((folder / "run_record.json").read_text())
    record["task"] |= {"kind": kind, "label_names": LABELS[kind], "metric_names": [*METRICS[kind]]}
    np.savez_compressed(folder / "predictions.npz", **arrays)
    for split in ("validation", "test"):
        metrics[split] = {"loss": 1.0} | score_arrays(kind, arrays, split)
    record["metrics"], record["teacher"]["metrics"] = metrics, metrics
    (folder / "run_record.json").write_text(json.dumps(record))
    return folder


def make_tags(task: np.random.Generator, own: np.random.Generator, num_rows: int) -> dict[str, np.ndarray]:
    labels = task.integers(0, 3, 6 * num_rows)
    answers = np.where(own.random(len(labels)) < 0.2, own.integers(0, 3, len(labels)), labels)
    logits = 3 * np.eye(3, dtype=np.float32)[answers]
    counts = np.full(num_rows, 6)
    return {"student_logits": logits, "teacher_logits": logits, "labels": labels, "row_items": counts}


def make_questions(task: np.random.Generator, own: np.random.Generator, num_rows: int) -> dict[str, np.ndarray]:
    scores = (own.random((num_rows, 2)) < 0.6).astype(np.float32)
    answers = np.full(num_rows, "x")
    named = {f"{model}_{part}": value for model in ("student", "teacher") for part, value in
             (("scores", scores), ("answers", answers))}  # fmt: skip
    return named | {"labels": np.ones(num_rows, int), "units": np.arange(num_rows) // 3}


def score_arrays(kind: str, arrays: dict[str, np.ndarray], split: str) -> dict[str, float]:
    own = {name.removeprefix(f"{split}."): array for name, array in arrays.items() if name.startswith(split)}
    truth = Truth(own["labels"], LABELS[kind], own.get("row_items"), units=own.get("units"))
    kept = own["student_logits"] if kind == "token-classification" else own["student_scores"]
    return TASK_KINDS[kind].score(kept, truth, METRICS[kind])


@pytest.mark.parametrize(
    ("kind", "unit", "number", "name"),
    [
        ("token-classification", None, 60, "sentences"),
        ("question-answering", "articles", 20, "articles"),
        ("question-answering", "contexts", 20, "contexts"),
        ("question-answering", None, 20, "contexts or articles"),
    ],
)
def test_report_page_and_verdict_name_what_is_resampled(tmp_path, kind, unit, number, name):
    for strategy in ("top", "even"):
        for seed in (1, 2):
            write_kind_run(tmp_path / "runs" / f"{strategy}{seed}", kind, strategy, seed, unit)
    assert compare([str(tmp_path / "runs"), "--output_dir", str(tmp_path / "out"), "--no_pictures"]) == 0
    text = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    [found] = json.loads((tmp_path / "out" / "comparison.json").read_text())["units"]
    assert (found["rows"], found["units"]) == (number, name)
    assert f"Over seeds ({number} test {name})" in text
    assert f"{name.capitalize()} are resampled" in text
    assert f"paired by seed and by {name_one(name)}." in text
    assert "rows" not in " ".join(found["verdict"])
    assert name in " ".join(found["verdict"])
    assert f"{number} test {name} " in (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("units", "one"), [("rows", "row"), ("queries", "query"), ("contexts or articles", "context or article")]
)
def test_one_of_them_is_named(units, one):
    assert name_one(units) == one


def test_a_run_of_one_label_to_a_row_resamples_rows(tmp_path):
    assert read_run(write_run(tmp_path)).name_units("test") == "rows"


# ---- how often equal arms are told apart --------------------------------------------------------------------------


def limit(cases: int) -> float:
    """5 % and three standard errors of the simulation."""
    return 0.05 + 3 * math.sqrt(0.05 * 0.95 / cases)


def measure_false_positives(kind: str, metric: str, draw: Callable, cases: int, num_resamples: int = 200) -> float:
    """Of two arms of three seeds each, alike but for chance."""
    generator, found = np.random.default_rng(3), 0
    for _ in range(cases):
        answers, truth = draw(generator)
        scorer = TASK_KINDS[kind].list_scorers(truth.label_names)[metric](answers, truth)
        covariance = compute_covariance(resample_scores(scorer, truth.num_rows, num_resamples))
        scores = score_all_rows(scorer, truth.num_rows)
        found += compare_runs(scores, covariance, range(3), range(3, 6), truth.num_rows).p_value < 0.05
    return found / cases


def draw_noise(generator: np.random.Generator, num_units: int) -> np.ndarray:
    """(runs, units): what an arm finds hard, over all its seeds, and what a run does."""
    by_arm = generator.normal(size=(2, num_units))
    return np.repeat(by_arm, 3, axis=0) + 0.3 * generator.normal(size=(6, num_units))


def draw_sentences(generator: np.random.Generator) -> tuple[np.ndarray, Truth]:
    """80 sentences of 6 words; an arm fails in whole sentences, so that its words are not independent of each other."""
    labels = generator.choice(3, (80, 6), p=[0.2, 0.2, 0.6])
    quality = 0.75 + 0.03 * generator.normal(size=(6, 1))
    is_right = generator.random(80) + 0.5 * draw_noise(generator, 80) < quality
    answers = np.where(is_right[:, :, None], labels, (labels + generator.integers(1, 3, (6, 80, 6))) % 3)
    return answers.reshape(6, -1), Truth(labels.ravel(), TAGS, np.full(80, 6))


def draw_labels(generator: np.random.Generator) -> tuple[np.ndarray, Truth]:
    """120 rows of 8 labels, some of them rare; an arm fails in whole rows."""
    labels = (generator.random((120, 8)) < np.linspace(0.05, 0.4, 8)).astype(np.float32)
    quality = 0.7 + 0.03 * generator.normal(size=(6, 1))
    is_right = generator.random(120) + 0.3 * draw_noise(generator, 120) < quality
    noise = generator.random((6, 120, 8)) < 0.3
    answers = np.where(is_right[:, :, None], labels == 1, (labels == 1) ^ noise)
    return answers, Truth(labels, [f"l{index}" for index in range(8)])


def draw_questions(generator: np.random.Generator, are_questions_units: bool = False) -> tuple[np.ndarray, Truth]:
    """60 contexts of 6 questions; an arm understands a context or does not."""
    by_context = generator.normal(size=(1, 60)) + draw_noise(generator, 60)
    chance = np.repeat(by_context, 6, axis=1) + 0.5 * generator.normal(size=(6, 360))
    answers = np.clip(0.6 + 0.3 * chance, 0, 1).astype(np.float32)
    units = np.arange(360) if are_questions_units else np.arange(360) // 6
    return answers, Truth(np.ones(360, int), ["start", "end"], units=units)


FALSE_POSITIVES = {
    "entity F1": ("token-classification", "entity_f1", draw_sentences, 200),
    "micro F1": ("multi-label", "micro_f1", draw_labels, 400),
    "macro F1 of labels": ("multi-label", "macro_f1", draw_labels, 400),
    "F1 of answers": ("question-answering", "f1", draw_questions, 400),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FALSE_POSITIVES)
def test_equal_arms_are_rarely_told_apart(name):
    kind, metric, draw, cases = FALSE_POSITIVES[name]
    assert measure_false_positives(kind, metric, draw, cases) <= limit(cases)


@pytest.mark.slow
def test_resampling_less_than_the_unit_would_tell_equal_arms_apart_too_often():
    """Which is why it is contexts and not questions; the simulation can see it."""
    found = measure_false_positives(
        "question-answering", "f1", lambda generator: draw_questions(generator, are_questions_units=True), 400
    )
    assert found > limit(400)
