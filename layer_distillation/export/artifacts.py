"""Every form of a model, made in the workshop, and what each answers to the rows that are scored.

Entry: `write_all`, `answer_all`.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from layer_distillation.comparison.runs import Run
from layer_distillation.export.arguments import ExportArguments
from layer_distillation.export.clients import Answer, ask_pytorch
from layer_distillation.export.conversion import check_answers, convert
from layer_distillation.export.formats import FORMATS, PYTORCH
from layer_distillation.export.placing import measure_bytes
from layer_distillation.export.scoring import Logits, complete_splits, predict_splits, score_sets
from layer_distillation.export.subjects import Subject
from layer_distillation.export.teacher_cache import TeacherCache
from layer_distillation.export.vocabulary import trim_graph
from layer_distillation.records.export_record import STUDENT, TEACHER, TRIMMED, Artifact
from layer_distillation.records.run_record import list_weight_files

logger = logging.getLogger(__name__)

FOLDERS = {STUDENT: "", TRIMMED: "trimmed/"}  # below the run's


@dataclass
class Made:
    """An artifact while it is worked on, still in the workshop. `answers` are its open sessions, by threads."""

    subject: Subject
    entry: Artifact
    path: Path
    logits: Logits = field(default_factory=dict)
    answers: dict[int, Answer] = field(default_factory=dict)

    def open(self, threads: int) -> Answer:
        if threads not in self.answers:
            is_pytorch = self.entry.format == PYTORCH
            self.answers[threads] = (
                ask_pytorch(self.subject.model, threads)
                if is_pytorch
                else FORMATS[self.entry.format].open(self.path, threads)
            )
        return self.answers[threads]


def write_all(
    subjects: Sequence[Subject], arguments: ExportArguments, workshop: Path, cache: TeacherCache | None
) -> list[Made]:
    """Every form of every model, the student's first."""
    made = [piece for one in subjects for piece in write_artifacts(one, subjects[0], arguments, workshop, cache)]
    for one in subjects:
        (workshop / f"{one.name}.onnx").unlink(missing_ok=True)
    return made


def write_artifacts(
    subject: Subject, whole: Subject, arguments: ExportArguments, workshop: Path, cache: TeacherCache | None
) -> list[Made]:
    """PyTorch's is there already. Those of the teacher that were kept come with their answers."""
    made = [place(subject, name, workshop) for name in arguments.formats]
    if cache is not None and subject.name == TEACHER:
        for piece in made:
            piece.logits = cache.fetch(piece.entry.format, piece.path)
    missing = [piece for piece in made if piece.entry.format != PYTORCH and not piece.logits]
    if missing:
        logger.info("writing the %s", subject.name)
        base = write_base(subject, whole, arguments.opset, workshop)
        for piece in missing:
            FORMATS[piece.entry.format].write(base, piece.path)
    for piece in made:
        is_pytorch = piece.entry.format == PYTORCH
        files = list_weight_files(subject.folder) if is_pytorch else [piece.path]
        piece.entry.bytes = sum(map(measure_bytes, files))
    return made


def place(subject: Subject, form: str, workshop: Path) -> Made:
    path = None if subject.name == TEACHER else f"{FOLDERS[subject.name]}{FORMATS[form].path}"
    target = workshop / f"{subject.name} {form}{Path(FORMATS[form].path).suffix}"
    return Made(subject, Artifact(subject.name, form, path, bytes=0), subject.folder if form == PYTORCH else target)


def write_base(subject: Subject, whole: Subject, opset: int, workshop: Path) -> Path:
    """The float32 ONNX file that all forms are made of; that of the whole student makes that of the trimmed one."""
    base = workshop / f"{subject.name}.onnx"
    source = workshop / f"{whole.name}.onnx"
    if subject.name != TRIMMED or not trim_graph(source, base, whole.model, subject.model):
        convert(subject.model, subject.tokenizer, base, opset)
    expected = ask_pytorch(subject.model, 1)
    check_answers(FORMATS["onnx"].open(base, 1), expected, subject.model, subject.tokenizer, "ONNX")
    return base


# ---- answers -----------------------------------------------------------------------------------------------------


def answer_all(piece: Made, made: Sequence[Made], run: Run, cache: TeacherCache | None) -> Logits:
    """Its answers to all rows: recorded by the run, kept from an earlier export, or asked now."""
    if recorded := find_recorded(piece, run):
        return recorded
    if piece.logits:
        return piece.logits
    logger.info("scoring: %s", piece.entry.name)
    answer, form = piece.open(1), piece.entry.format
    by_length = not FORMATS[form].sees_neighbours
    sets = score_sets(answer, piece.subject)
    if piece.subject.name == TRIMMED and by_length:
        [whole] = [one for one in made if (one.subject.name, one.entry.format) == (STUDENT, form)]
        return complete_splits(answer, piece.subject, whole.logits) | sets
    logits = predict_splits(answer, piece.subject, by_length) | sets
    if cache is not None and piece.subject.name == TEACHER:
        cache.keep(form, piece.path, logits)
    return logits


def find_recorded(piece: Made, run: Run) -> Logits:
    """What the run itself wrote down of student and teacher in PyTorch; of several teachers that is their mean, of
    answer spans the answers alone, of vectors how similar they are."""
    is_first = piece.entry.format == PYTORCH and piece.subject.name in (STUDENT, TEACHER)
    if (
        not is_first
        or run.kind.answer_rows is not None
        or run.kind.keep_answers is not None
        or (piece.subject.name == TEACHER and "members" in run.record.teacher)
    ):
        return {}
    ending = f".{piece.subject.name}_logits"
    return {name.removesuffix(ending): array for name, array in run.arrays.items() if name.endswith(ending)}
