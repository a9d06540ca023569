"""Made-up exports: artifacts with scores and times, no files."""

from layer_distillation.records.export_record import STUDENT, TEACHER, Artifact, ExportRecord


def make_artifact(model: str, form: str, accuracy: float, single: float, many: float, megabytes: float) -> Artifact:
    return Artifact(
        model,
        form,
        path=None,
        bytes=int(megabytes * 1e6),
        metrics={"test": {"accuracy": accuracy}},
        milliseconds={"1": {"1": single, "32": many}},
    )


def make_export(*artifacts: Artifact, **options: object) -> ExportRecord:
    settings = {"headline": {"split": "test", "metric": "accuracy"}, "max_metric_loss": 0.01, "hardware": {}}
    settings |= {"weights": "weights"} | options
    return ExportRecord("export_student.py RUN", versions={}, artifacts=list(artifacts), **settings)


# The issue's own numbers: batch 1 and 32 in units of the teacher's pass in PyTorch.
TEACHER_FORMS = [
    make_artifact(TEACHER, "pytorch", 0.8636, 100.0, 100.0, 90.9),
    make_artifact(TEACHER, "onnx-int8", 0.8632, 25.0, 40.0, 23.4),
]
STUDENT_FORMS = [
    make_artifact(STUDENT, "pytorch", 0.8543, 55.0, 50.0, 69.6),
    make_artifact(STUDENT, "onnx-int8", 0.8516, 13.0, 20.0, 17.8),
]
