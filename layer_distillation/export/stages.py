"""An export from end to end: subjects, artifacts, scores, costs, verdict, and then all of it put in place.

Entry: `export_run`.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from layer_distillation.cards.publish import CARD_NAME, render_model_card
from layer_distillation.comparison.runs import Run, read_predictions
from layer_distillation.export.arguments import ExportArguments
from layer_distillation.export.artifacts import FOLDERS, Made, answer_all, write_all
from layer_distillation.export.clients import Batch
from layer_distillation.export.conversion import make_batch
from layer_distillation.export.figure import draw_frontier
from layer_distillation.export.formats import FORMATS, PYTORCH, check_packages, check_trimming
from layer_distillation.export.placing import open_workshop, put_in_place
from layer_distillation.export.scoring import find_headline, measure_change, name_agreement, read_run, score_artifact
from layer_distillation.export.subjects import (
    Subject,
    load_rows,
    load_student,
    load_teacher,
    load_texts,
    mark_items,
    save_model,
)
from layer_distillation.export.teacher_cache import TeacherCache, open_cache
from layer_distillation.export.timing import start_fresh, time_answers
from layer_distillation.export.verdict import judge, write_verdict
from layer_distillation.export.vocabulary import trim_student
from layer_distillation.records.export_record import (
    EXPORT_NAME,
    STUDENT,
    TEACHER,
    TRIMMED,
    Artifact,
    ExportRecord,
    fingerprint_weights,
    read_export_record,
)
from layer_distillation.records.process_locks import hold_run_folder
from layer_distillation.records.run_record import RunRecord, check_finished
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.kinds.table import get_record_kind

logger = logging.getLogger(__name__)

MOST_TIMED_TOKENS = 128
USUAL_TOKENS = 32  # of a record from before speed was measured
PLAIN_TEXT, MOST_TEXT_CHARACTERS = "a short text", 400
PICTURE_NAME = "export.png"


def export_run(arguments: ExportArguments) -> ExportRecord:
    """Exports, scores and times the student of a finished run, and the teacher beside it.

    Raises:
        ValueError: the run, its rows or its teacher, or the arguments cannot be meant so. Nothing is changed.
        OSError: something could not be written; what was exported before is as it was.
    """
    check_packages(arguments.formats)
    record = check_finished(arguments.folder)
    check_trimming(get_record_kind(record.task), arguments.trim_vocabulary)
    arguments = leave_foreign_teacher(arguments, record)
    with hold_run_folder(arguments.folder), open_workshop(arguments.folder) as workshop:
        return export_alone(arguments, record, workshop)


def leave_foreign_teacher(arguments: ExportArguments, record: RunRecord) -> ExportArguments:
    """Without the control where the teacher is no model that reads the student's tokens and answers the task: soft
    labels, a model of natural language inference, one with another tokenizer."""
    if not arguments.has_controls or not record.teacher.get("kind"):
        return arguments
    logger.info("the student is exported alone: its teacher, %s, could not take its place", record.teacher["name"])
    return replace(arguments, with_controls=False)


def export_alone(arguments: ExportArguments, record: RunRecord, workshop: Path) -> ExportRecord:
    run = read_run(arguments.folder, record)
    check_gold(arguments, run)
    export = begin_record(arguments, record, run)
    with timed(export, "loading"):
        subjects, texts = prepare_subjects(arguments, record, export, workshop)
    with timed(export, "writing"):
        cache = open_cache(arguments, record, subjects[-1]) if arguments.has_controls else None
        made = write_all(subjects, arguments, workshop, cache)
    if arguments.with_scores:
        with timed(export, "scoring"):
            score_all(made, run, export, cache, subjects[0].data)
    with timed(export, "measuring"):
        measure_costs(made, texts, export, arguments.timing_seconds, record)
    export.artifacts = [piece.entry for piece in made]
    export.verdict = write_verdict(export)
    finish_export(made, export, record, arguments, workshop)
    return export


def check_gold(arguments: ExportArguments, run: Run) -> None:
    """Raises ValueError where vectors are to be scored by those of a teacher that is left out."""
    split, metric = find_headline(run)
    needs_teacher = run.kind.keep_answers is not None and run.has_teacher_for_gold(split)
    if arguments.with_scores and not arguments.has_controls and needs_teacher:
        raise ValueError(
            f"no row of {split} has a gold score, so that vectors are scored by the teacher's ({metric}), which "
            "--no_controls leaves out: leave one of the two out, or add --no_scores"
        )


def begin_record(arguments: ExportArguments, record: RunRecord, run: Run) -> ExportRecord:
    split, metric = find_headline(run)
    packages = dict.fromkeys(package for name in arguments.formats for package in FORMATS[name].packages)
    return ExportRecord(
        command=arguments.command,
        weights=fingerprint_weights(arguments.folder),
        versions={name: version(name) for name in ("torch", "transformers", *packages)},
        hardware=arguments.hardware,
        headline={"split": split, "metric": metric},
        max_metric_loss=arguments.max_metric_loss,
        agreement=name_agreement(run),
        tokens=min(MOST_TIMED_TOKENS, record.speed.get("tokens", USUAL_TOKENS)),
    )


# ---- subjects ----------------------------------------------------------------------------------------------------


def prepare_subjects(
    arguments: ExportArguments, record: RunRecord, export: ExportRecord, workshop: Path
) -> tuple[list[Subject], TaskData | None]:
    """The student, with a trimmed vocabulary too where that is asked for, and the teacher; and their rows' texts."""
    folder = arguments.folder
    model, tokenizer = load_student(folder, get_record_kind(record.task))
    texts = load_texts(record) if arguments.needs_rows else None
    data = None if texts is None else mark_items(load_rows(texts, tokenizer, record), read_predictions(folder))
    subjects = [Subject(STUDENT, model, tokenizer, folder, data)]
    if arguments.trim_vocabulary:
        trimmed, export.vocabulary = trim_student(subjects[0], texts, arguments.vocabulary_files, record, workshop)
        subjects.append(trimmed)
    if arguments.has_controls:
        teacher = load_teacher(record, data, arguments.cache_dir)
        save_model(teacher, workshop / "teacher")
        tokenizer.save_pretrained(workshop / "teacher")
        subjects.append(Subject(TEACHER, teacher, tokenizer, workshop / "teacher", data))
    return subjects, texts


# ---- scores and costs --------------------------------------------------------------------------------------------


def score_all(made: list[Made], run: Run, export: ExportRecord, cache: TeacherCache | None, data: TaskData) -> None:
    for piece in made:
        piece.logits = answer_all(piece, made, run, cache)
    plain = {piece.subject.name: piece.logits for piece in made if piece.entry.format == PYTORCH}
    for piece in made:
        score_artifact(piece.entry, piece.logits, run, data, plain)
        piece.entry.change = measure_change(piece.logits, run, data, plain)
        judge(piece.entry, export)


def measure_costs(
    made: list[Made], texts: TaskData | None, export: ExportRecord, budget_seconds: float, record: RunRecord
) -> None:
    kind, row = get_record_kind(record.task), take_texts(texts)
    choices = len(record.task["label_names"]) if kind.has_choices else 1
    for piece in made:
        logger.info("starting afresh: %s", piece.entry.name)
        seconds, peak = start_fresh(piece.entry.format, piece.path, piece.subject.folder, row, kind.has_choices)
        piece.entry.first_answer_seconds, piece.entry.peak_memory_bytes = seconds, peak
    by_name = {piece.entry.name: piece for piece in made}

    def draw(name: str, rows: int) -> Batch:
        subject = by_name[name].subject
        return make_batch(subject.model, subject.tokenizer, rows, export.tokens, choices=choices)

    logger.info("timing all by turns")
    openers = {name: piece.open for name, piece in by_name.items()}
    for name, milliseconds in time_answers(openers, draw, budget_seconds).items():
        by_name[name].entry.milliseconds = milliseconds


def take_texts(texts: TaskData | None) -> list[str]:
    """Those of a row, as one input; none is so long that a model could not take it."""
    if texts is None:
        return [PLAIN_TEXT]
    rows = texts.raw.get(next(iter(texts.validation)), texts.first_validation)
    cells = [rows[0][column] for column in texts.text_columns]
    # The words of a row; of its choices the first.
    words = [cell if isinstance(cell, str) else " ".join(cell if len(cells) == 1 else cell[:1]) for cell in cells]
    return [text[:MOST_TEXT_CHARACTERS] for text in words]


# ---- what is left behind -----------------------------------------------------------------------------------------


def finish_export(
    made: list[Made], export: ExportRecord, record: RunRecord, arguments: ExportArguments, workshop: Path
) -> None:
    """First all that has to be written, in the workshop, where a full disk harms nothing; then names alone change."""
    folder = arguments.folder
    for piece in made:
        if piece.entry.warning and arguments.strict:
            piece.entry.path = None
    export.artifacts += list_kept(read_export_record(folder), export, folder)
    has_picture = draw_frontier(export, workshop / PICTURE_NAME)
    export.write(workshop)
    (workshop / CARD_NAME).write_text(render_model_card(record, folder, export), encoding="utf-8")
    place_trimmed(made, folder)
    for piece in made:
        if piece.subject.name == STUDENT and piece.entry.format != PYTORCH and piece.entry.path is not None:
            put_in_place(piece.path, folder / piece.entry.path)
    for name in (EXPORT_NAME, CARD_NAME, *([PICTURE_NAME] if has_picture else [])):
        put_in_place(workshop / name, folder / name)


def place_trimmed(made: list[Made], folder: Path) -> None:
    """The trimmed student with all its forms is one folder, as its tokenizer is another."""
    pieces = [piece for piece in made if piece.subject.name == TRIMMED]
    for piece in pieces:
        if piece.entry.format != PYTORCH and piece.entry.path is not None:
            put_in_place(piece.path, piece.subject.folder / FORMATS[piece.entry.format].path)
    if pieces:
        put_in_place(pieces[0].subject.folder, folder / FOLDERS[TRIMMED].rstrip("/"))


def list_kept(before: ExportRecord | None, export: ExportRecord, folder: Path) -> list[Artifact]:
    """Artifacts of earlier exports that are still there, and that this one did not make anew."""
    is_trimmed_anew = any(made.model == TRIMMED for made in export.artifacts)
    return [
        made
        for made in (before.artifacts if before else [])
        if export.find(made.model, made.format) is None
        and made.path is not None
        and (folder / made.path).exists()
        and not (made.model == TRIMMED and is_trimmed_anew)
    ]


@contextmanager
def timed(export: ExportRecord, stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    export.seconds[stage] = time.perf_counter() - start
