"""The picture of an export."""

from figure_checks import check_legible, list_texts
from layer_distillation.export.figure import build_frontier, draw_frontier
from layer_distillation.records.export_record import STUDENT, TEACHER, TRIMMED, Artifact
from made_exports import STUDENT_FORMS, TEACHER_FORMS, make_artifact, make_export

TRIMMED_FORMS = [make_artifact(TRIMMED, "onnx-int8", 0.8510, 12.5, 19.5, 7.4)]


def test_every_panel_has_every_artifact_and_the_frontier():
    export = make_export(*STUDENT_FORMS, *TRIMMED_FORMS, *TEACHER_FORMS)
    figure = build_frontier(export.artifacts, export)
    check_legible(figure)
    assert {STUDENT, TRIMMED, TEACHER, "pytorch", "onnx-int8", "frontier", "test accuracy"} <= set(list_texts(figure))
    assert [len(panel.lines) for panel in figure.axes] == [6, 6, 6]
    frontier = figure.axes[2].lines[0]
    assert list(frontier.get_xdata()) == [7.4, 17.8, 23.4, 90.9]


def test_without_scores_there_is_no_picture(tmp_path):
    unscored = [Artifact(STUDENT, form, None, 10) for form in ("pytorch", "onnx")]
    assert not draw_frontier(make_export(*unscored), tmp_path / "export.png")
    assert not (tmp_path / "export.png").exists()


def test_the_picture_is_a_file(tmp_path):
    assert draw_frontier(make_export(*STUDENT_FORMS, *TEACHER_FORMS), tmp_path / "export.png")
    assert (tmp_path / "export.png").read_bytes().startswith(b"\x89PNG")
