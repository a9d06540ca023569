"""What the card tells of a student's other forms, and which files they are."""

import json

import pytest

from layer_distillation.cards.artifacts import describe_artifacts, find_artifacts, list_artifact_files
from layer_distillation.cards.publish import write_model_card
from layer_distillation.export.verdict import write_verdict
from layer_distillation.records.export_record import STUDENT, TRIMMED, fingerprint_weights, read_export_record
from made_exports import STUDENT_FORMS, TEACHER_FORMS, make_artifact, make_export
from made_students import make_record, write_student


@pytest.fixture
def export():
    made = make_artifact(STUDENT, "onnx-int8", 0.8516, 13.0, 20.0, 17.8)
    made.path = "onnx/model_quantized.onnx"
    made.intervals, made.agreement = {"test": {"accuracy": [0.84, 0.86]}}, {"test": {"student": 0.97}}
    record = make_export(STUDENT_FORMS[0], made, *TEACHER_FORMS, hardware={"device": "CPU <b>"}, tokens=24)
    record.verdict = write_verdict(record)
    return record


def test_every_form_is_a_row_and_the_teachers_have_no_file(export):
    title, table, *rest = describe_artifacts(export)
    rows = table.splitlines()[2:]
    assert title == "## Other forms"
    assert rows[0] == "| student, pytorch | this folder | 0.8543 | - | 69.6 | 55.00 | 50.00 |"
    assert rows[1] == (
        "| student, onnx-int8 | onnx/model_quantized.onnx | 0.8516 [0.8400, 0.8600] | 0.9700 | 17.8 | 13.00 | 20.00 |"
    )
    assert [row.split(" | ")[1] for row in rows[2:]] == ["-", "-"]
    assert "24 tokens per row, one thread of CPU &lt;b&gt;" in rest[0]
    assert rest[-1].startswith("- the student is on the frontier: student, onnx-int8 against teacher, onnx-int8")


def test_the_head_of_the_table_says_what_the_agreement_is(export):
    assert "| same answer as the student |" in describe_artifacts(export)[1]
    export.agreement = "mean cosine with"
    assert "| mean cosine with the student |" in describe_artifacts(export)[1]


def test_a_form_that_is_not_uploaded_has_no_file(export):
    rows = describe_artifacts(export, uploaded=[])[1].splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows[:2]] == ["this folder", "-"]


def test_a_warning_of_the_gate_is_in_the_card(export):
    export.artifacts[1].warning = "loses 0.0500 of test accuracy"
    assert "- student, onnx-int8 loses 0.0500 of test accuracy." in describe_artifacts(export)


def test_without_an_export_there_is_no_section():
    assert describe_artifacts(None) == []


def test_a_form_that_was_not_exported_is_refused_with_those_that_were(export):
    assert find_artifacts(export, ["onnx-int8"]) == [export.artifacts[1]]
    with pytest.raises(
        ValueError, match=r"--with openvino: this student has onnx-int8; .* --formats openvino makes it"
    ):
        find_artifacts(export, ["openvino"])
    with pytest.raises(ValueError, match=r"--with onnx: this student has no other form"):
        find_artifacts(None, ["onnx"])


def test_a_trimmed_student_is_pushed_by_a_name_of_its_own(export):
    with pytest.raises(ValueError, match=r"--with trimmed: this student has onnx-int8; .* --trim_vocabulary makes it"):
        find_artifacts(export, ["trimmed"])
    made = [make_artifact(TRIMMED, form, 0.85, 13.0, 20.0, 7.5) for form in ("pytorch", "onnx", "openvino")]
    made[0].path, made[1].path = "trimmed/.", "trimmed/onnx/model.onnx"
    export.artifacts += made
    assert find_artifacts(export, ["trimmed"]) == made[:2]
    with pytest.raises(ValueError, match=r"--with onnx: this student has onnx-int8, trimmed;"):
        find_artifacts(export, ["onnx"])  # the trimmed student alone has that


def test_a_form_may_be_a_file_or_a_folder(export, tmp_path):
    made = export.artifacts[1]
    assert list_artifact_files(tmp_path, made) == [tmp_path / made.path]
    made.path = "openvino"
    (tmp_path / "openvino").mkdir()
    for name in ("model.xml", "model.bin"):
        (tmp_path / "openvino" / name).touch()
    assert [path.name for path in list_artifact_files(tmp_path, made)] == ["model.bin", "model.xml"]


def test_the_students_card_has_the_section_while_the_weights_are_those_that_were_exported(export, tmp_path):
    folder, record = write_student(tmp_path / "odd", make_record()), make_record()
    export.weights = fingerprint_weights(folder)
    export.write(folder)
    assert read_export_record(folder) == export
    write_model_card(record, folder)
    assert "## Other forms" in (folder / "README.md").read_text()
    export.weights = "others"
    export.write(folder)
    write_model_card(record, folder)
    assert "## Other forms" not in (folder / "README.md").read_text()


def test_a_damaged_export_record_is_one_line(tmp_path):
    folder = write_student(tmp_path / "odd", make_record())
    (folder / "export.json").write_text('{"command": ')
    with pytest.raises(
        ValueError, match=r"export.json is no export record of this version .*: remove it, export again"
    ):
        read_export_record(folder)


def test_of_a_smaller_sentence_encoder_the_folders_of_its_modules_are_files_too(tmp_path):
    """Which sentence-transformers does not open it without."""
    made = make_artifact(TRIMMED, "pytorch", 0.85, 13.0, 20.0, 7.5)
    made.path = "trimmed/."
    entries = [{"path": path, "type": f"sentence_transformers.models.{path[2:]}"} for path in ("1_Pooling", "2_Dense")]
    wanted = ["trimmed/1_Pooling/config.json", "trimmed/2_Dense/model.safetensors", "trimmed/modules.json"]
    for name in (*wanted, "trimmed/onnx/model.onnx"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(entries))
    found = [path.relative_to(tmp_path).as_posix() for path in list_artifact_files(tmp_path, made)]
    assert found == wanted
