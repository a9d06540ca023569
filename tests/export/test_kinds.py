"""Students of every kind as ONNX and in 8 bits: the model's own answers, scored by the kind's own metric."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

import run_distillation
from export_tools import export, refuse
from layer_distillation.export.artifacts import write_base
from layer_distillation.export.clients import open_onnx, open_pytorch
from layer_distillation.export.scoring import predict_splits, read_run, score_artifact
from layer_distillation.export.subjects import Subject, load_rows, load_student, load_texts
from layer_distillation.records.export_record import Artifact, read_export_record
from layer_distillation.records.run_record import read_run_record
from layer_distillation.tasks.kinds.table import TASK_KINDS, get_record_kind
from soft_projects import make_soft_project
from tiny_kinds import TINY_KINDS, make_kind_project

# Those whose projects `tiny_kinds` makes; rerankers and sentence encoders have files of their own.
OTHERS = ["multi-label", "token-classification", "question-answering", "multiple-choice"]
SHORT = ("--num_train_epochs=1", "--hidden_weight=0", "--pkd_weight=0")


def test_every_kind_is_exported_somewhere():
    assert {*OTHERS, "text-classification", "reranking", "embedding"} == {*TASK_KINDS}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict:
    return {}


@pytest.fixture
def project(request, runs, tmp_path_factory):
    """The folder of a kind's project with a finished run, made once."""
    kind = request.param
    if kind not in runs:
        folder = tmp_path_factory.mktemp(kind)
        assert run_distillation.main([*make_kind_project(folder, kind), *SHORT]) == 0
        runs[kind] = folder
    return runs[kind]


@pytest.mark.slow
@pytest.mark.parametrize("project", OTHERS, indirect=True)
def test_the_student_asked_as_an_artifact_has_the_scores_of_its_run(project):
    """In batches of another order, asked of the folder itself; by the run's record to the last digits."""
    record = read_run_record(project / "run")
    run, kind = read_run(project / "run", record), get_record_kind(record.task)
    model, tokenizer = load_student(project / "run", kind)
    data = load_rows(load_texts(record), tokenizer, record)
    subject = Subject("student", model, tokenizer, project / "run", data)
    logits = predict_splits(open_pytorch(project / "run", 1), subject, by_length=True)
    artifact = Artifact("student", "pytorch", None, 1)
    score_artifact(artifact, logits, run, data)
    for split, metrics in record.metrics.items():
        wanted = {name: metrics[name] for name in artifact.metrics[split]}
        assert {*record.task["metric_names"], "loss"} == wanted.keys()
        assert artifact.metrics[split] == pytest.approx(wanted, rel=1e-4, abs=1e-6)
        assert artifact.agreement[split]["student"] == 1.0


@pytest.mark.slow
@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("project", OTHERS, indirect=True)
def test_every_kind_is_exported_and_scored_beside_its_teacher(project, capsys):
    """Fresh processes answer too: of choices as (1, 1, tokens)."""
    assert export(project, "--formats=onnx,onnx-int8") == 0
    record, run = read_export_record(project / "run"), read_run_record(project / "run")
    assert [made.name for made in record.artifacts] == [
        f"{model}, {form}" for model in ("student", "teacher") for form in ("pytorch", "onnx", "onnx-int8")
    ]
    name = run.task["metric_names"][0]
    assert record.headline == {"split": "test", "metric": name}
    plain, small = record.find("student", "onnx"), record.find("student", "onnx-int8")
    assert plain.metrics["test"][name] == pytest.approx(run.metrics["test"][name], abs=1e-4)
    assert plain.metrics["test"]["loss"] == pytest.approx(run.metrics["test"]["loss"], rel=1e-3)
    assert plain.agreement["test"]["student"] == 1.0
    teacher = record.find("teacher", "onnx").metrics["test"]
    assert teacher[name] == pytest.approx(run.teacher["metrics"]["test"][name], abs=1e-4)
    assert small.metrics["test"].keys() == plain.metrics["test"].keys()
    for made in record.artifacts:
        assert made.first_answer_seconds > 0
        assert set(made.milliseconds["1"]) == {"1", "32"}
    assert f"test {name}" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["multiple-choice", "question-answering"])
@pytest.mark.slow
@pytest.mark.usefixtures("packages")
def test_the_onnx_file_takes_any_number_of_choices_and_names_starts_and_ends(tmp_path, kind):
    make_kind_project(tmp_path, kind)
    model = TINY_KINDS[kind].model_class.from_pretrained(tmp_path / "teacher")
    subject = Subject("student", model, AutoTokenizer.from_pretrained(tmp_path / "teacher"), tmp_path / "teacher", None)
    answer = open_onnx(write_base(subject, subject, 20, tmp_path), 1)
    shape = (2, 5, 7) if kind == "multiple-choice" else (2, 7)
    ids = np.random.default_rng(0).integers(5, 15, shape)
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    with torch.no_grad():
        outputs = model.eval()(**{name: torch.from_numpy(array) for name, array in batch.items()})
    if kind == "multiple-choice":
        wanted = outputs.logits
        assert wanted.shape == (2, 5)
    else:
        wanted = torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)
    np.testing.assert_allclose(answer(batch), wanted.numpy(), atol=1e-4)


# ---- what is not exported, or not beside a teacher ----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("project", ["token-classification", "question-answering"], indirect=True)
def test_a_vocabulary_is_not_trimmed_where_rows_would_be_cut_elsewhere(project, capsys):
    message = refuse(project, capsys, "--formats=pytorch", "--trim_vocabulary")
    assert message.startswith("--trim_vocabulary and a student for ")
    assert "its row would be cut elsewhere" in message


@pytest.mark.slow
@pytest.mark.parametrize("project", ["multiple-choice", "multi-label"], indirect=True)
def test_a_vocabulary_is_trimmed_where_a_row_is_an_item(project):
    assert export(project, "--formats=pytorch", "--trim_vocabulary") == 0
    record = read_export_record(project / "run")
    whole, trimmed = record.find("student", "pytorch"), record.find("trimmed student", "pytorch")
    assert trimmed.metrics["test"] == pytest.approx(whole.metrics["test"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("has_gold", [True, False])
def test_a_student_of_soft_labels_is_exported_alone_by_the_run_itself(tmp_path, has_gold, caplog):
    flags = make_soft_project(tmp_path, {"has_gold": has_gold}, {"has_gold": has_gold})
    own = [] if has_gold else ["--label_column=none"]
    assert run_distillation.main([*flags, *own, *SHORT]) == 0
    with caplog.at_level("INFO"):
        assert export(tmp_path, "--formats=pytorch") == 0
    record, run = read_export_record(tmp_path / "run"), read_run_record(tmp_path / "run")
    assert [made.name for made in record.artifacts] == ["student, pytorch"]
    assert "the student is exported alone: its teacher" in caplog.text
    wanted = run.metrics["validation"]
    names = {*run.task["metric_names"], *(["loss"] if has_gold else [])}
    assert record.artifacts[0].metrics["validation"] == {name: pytest.approx(wanted[name]) for name in names}
