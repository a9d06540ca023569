"""The command that pushes a finished run's student: from its folder alone, in one line where it cannot."""

import subprocess
import sys
from pathlib import Path

import pytest

from compare_strategies import main as compare
from hub_server import HubServer, use_hub
from layer_distillation.records.export_record import STUDENT, fingerprint_weights
from layer_distillation.records.run_record import RUNNING, read_run_record
from made_exports import make_artifact, make_export
from made_students import make_record, write_student
from push_student import main
from simulated_runs import write_run

ROOT = Path(__file__).resolve().parent.parent
NAME = "user/student"


@pytest.fixture
def hub(monkeypatch):
    with HubServer() as server:
        use_hub(server, monkeypatch)
        yield server


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_student(tmp_path / "odd-seed7", make_record())


def test_the_student_is_pushed_where_it_is_told(folder, hub, capsys):
    assert main([str(folder), "--hub_model_id", NAME, "--hub_private_repo", "--hub_revision", "odd"]) == 0
    assert capsys.readouterr().out == f"pushed to {hub.url}/{NAME}/commit/{hub.repositories[NAME].branches['odd']}\n"
    assert hub.repositories[NAME].private
    assert "model.safetensors" in hub.repositories[NAME].find_commit("odd").files


def test_without_a_name_it_is_the_folders(folder, hub):
    assert main([str(folder)]) == 0
    assert set(hub.repositories) == {"user/odd-seed7"}
    assert not hub.repositories["user/odd-seed7"].private


def test_the_comparisons_row_is_in_the_pushed_card(folder, hub, tmp_path):
    """The student's files are put beside the record of a run that was compared."""
    for strategy, accuracy in {"odd": 0.85, "bottom": 0.5}.items():
        for seed in (1, 2):
            arguments = make_record().arguments
            hardware = {"device": "CPU", "cores": 2, "processes": 1}
            task = {"dataset_name": None, "text_columns": ["text"]}
            write_run(
                tmp_path / "runs" / f"{strategy}{seed}",
                strategy,
                seed,
                accuracy,
                arguments=arguments,
                hardware=hardware,
                task=task,
                teacher={"is_trained": True},
            )
    comparison = tmp_path / "comparison"
    assert compare([str(tmp_path / "runs"), "--output_dir", str(comparison), "--no_pictures"]) == 0
    run = tmp_path / "runs" / "bottom2"
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (run / name).write_bytes((folder / name).read_bytes())
    assert main([str(run), "--hub_model_id", NAME, "--comparison", str(comparison)]) == 0
    card = hub.repositories[NAME].files["README.md"].decode()
    assert "## Among the strategies compared" in card
    assert "| bottom (last) | 0." in card
    assert "- bottom (last) is worse than odd by 0." in card


def refuse(flags: list[str], capsys: pytest.CaptureFixture) -> str:
    """The one line of a command that ends with status 2."""
    try:
        status = main(flags)
    except SystemExit as stopped:
        status = stopped.code
    lines = capsys.readouterr().err.strip().splitlines()
    assert status == 2
    assert lines[-1].startswith("push_student.py: error: ")
    assert len([line for line in lines if "error" in line]) == 1
    return lines[-1]


def test_what_is_no_finished_run_is_refused_before_the_hub_is_asked(folder, hub, capsys, tmp_path):
    assert "holds no run_record.json: it is not the folder of a run" in refuse([str(tmp_path / "absent")], capsys)
    record = read_run_record(folder)
    record.status = RUNNING
    record.write(folder)
    assert "is not finished: run its command again" in refuse([str(folder)], capsys)
    make_record().write(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "its student cannot be read" in refuse([str(folder)], capsys)
    assert hub.requests == []


def test_a_comparison_without_the_run_is_refused(folder, hub, capsys):
    line = refuse([str(folder), "--comparison", str(ROOT / "results" / "comparison")], capsys)
    assert "does not hold this run (odd, seed 7, on sst2): run compare_strategies.py again" in line
    assert hub.requests == []


def test_no_token_no_valid_name_and_no_such_flag_are_refused(folder, hub, capsys, monkeypatch):
    assert "give --hub_model_id" in refuse([str(folder), "--hub_model_id", "a b"], capsys)
    assert "unrecognized arguments: --hub_token" in refuse([str(folder), "--hub_token", "hf_x"], capsys)
    monkeypatch.setattr("layer_distillation.cards.push_target.get_token", lambda: None)
    assert "run `hf auth login`, set HF_TOKEN" in refuse([str(folder), "--hub_model_id", NAME], capsys)
    assert hub.requests == []


def test_a_failed_push_ends_in_one_line_with_the_same_command(folder, hub, capsys, tmp_path):
    hub.fail_at["commit"] = 403
    assert main([str(folder), "--hub_model_id", NAME]) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "push_student.py: error: the push failed (403 the test server was told to fail)" in line
    assert line.endswith(f"push_student.py {folder} --hub_model_id {NAME}")


def test_it_loads_neither_torch_nor_transformers():
    code = "import sys, push_student; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# ---- with other forms ----------------------------------------------------------------------------------------------


@pytest.fixture
def exported(folder) -> Path:
    """The student with an 8-bit form, a folder of OpenVINO and a picture."""
    forms = {"onnx-int8": "onnx/model_quantized.onnx", "openvino": "openvino"}
    record = make_export(*(make_artifact(STUDENT, form, 0.8, 1, 2, 3) for form in forms), hardware={"device": "CPU"})
    for made in record.artifacts:
        made.path = forms[made.format]
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model_quantized.onnx").write_bytes(b"int8")
    (folder / "openvino").mkdir()
    (folder / "openvino" / "openvino_model.xml").write_text("graph")
    (folder / "export.png").write_bytes(b"picture")
    record.weights = fingerprint_weights(folder)
    record.write(folder)
    return folder


def test_the_chosen_forms_go_with_the_student_and_its_card_lists_them(exported, hub):
    assert main([str(exported), "--hub_model_id", NAME, "--with", "onnx-int8"]) == 0
    files = hub.repositories[NAME].files
    assert files["onnx/model_quantized.onnx"] == b"int8"
    assert not {"export.json", "export.png", "openvino/openvino_model.xml"} & files.keys()
    card = files["README.md"].decode()
    assert "| student, onnx-int8 | onnx/model_quantized.onnx | 0.8000" in card
    assert "| student, openvino | - | 0.8000" in card


def test_without_the_flag_no_form_goes_with_it(exported, hub):
    assert main([str(exported), "--hub_model_id", NAME]) == 0
    assert not [name for name in hub.repositories[NAME].files if "/" in name]


def test_a_form_that_was_not_exported_is_one_line(exported, hub, capsys):
    message = refuse([str(exported), "--hub_model_id", NAME, "--with", "onnx"], capsys)
    assert "--with onnx: this student has onnx-int8, openvino" in message
    assert not hub.repositories
