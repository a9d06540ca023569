"""Pushes to a Hub on 127.0.0.1 through the real client: what arrives, what stays, what failures leave behind."""

import logging
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import push_student
from distill_trainer import DistillationTrainingArguments
from hub_server import DROP, HubServer, environment, format_requests, use_hub
from layer_distillation.cards.publish import PushError, push_folder
from layer_distillation.cards.push_target import PushTarget, check_push
from layer_distillation.records.export_record import STUDENT, TRIMMED, fingerprint_weights
from layer_distillation.records.run_record import FINISHED, check_finished
from layer_distillation.runs.flag_checks import make_push_target
from layer_distillation.students.arguments import StudentArguments
from made_exports import STUDENT_FORMS, make_artifact, make_export
from made_students import make_record, write_student
from run_distillation import push_result

NAME = "user/student"
TARGET = PushTarget(NAME)
PRIVATE = PushTarget(NAME, is_private=True)
TOKEN = "hf_a_token_that_nobody_may_see"
PUSHED = {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
LEFT_BEHIND = [
    "checkpoint-10/model.safetensors",
    "checkpoint-10/optimizer.pt",
    "runs/events.out.tfevents.1",
    ".unfinished-run_record.json",
    "training_args.bin",
    "optimizer.pt",
]


def make_arguments(folder: Path, **options: object) -> DistillationTrainingArguments:
    settings = {"push_to_hub": True, "hub_model_id": NAME, "use_cpu": True}
    return DistillationTrainingArguments(output_dir=str(folder), **settings | options)


@pytest.fixture
def hub(monkeypatch):
    with HubServer(token=TOKEN) as server:
        use_hub(server, monkeypatch)
        yield server


@pytest.fixture
def folder(tmp_path) -> Path:
    """A finished run's folder, with everything beside the student that a run may leave there."""
    path = write_student(tmp_path / "odd seed's 7", make_record())
    for name in LEFT_BEHIND:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(b"not the student's")
    return path


# ---- before the run --------------------------------------------------------------------------------------------------


def test_a_push_without_a_token_is_refused_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("layer_distillation.cards.push_target.get_token", lambda: None)
    with pytest.raises(ValueError, match="hf auth login"):
        check_push(TARGET)


def test_a_push_that_offline_mode_forbids_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE=1 forbids it: unset it"):
        check_push(PushTarget(NAME, token=TOKEN))


@pytest.mark.parametrize("options", [{"hub_model_id": "user/my student"}, {"hub_model_id": None}])
def test_a_push_to_an_impossible_name_is_refused_with_the_remedy(options, tmp_path, hub):
    with pytest.raises(ValueError, match=r"my student.*give --hub_model_id"):
        check_push(make_push_target(make_arguments(tmp_path / "my student", **options)))
    check_push(make_push_target(make_arguments(tmp_path / "my student")))


# ---- what arrives ----------------------------------------------------------------------------------------------------


def test_a_push_is_these_requests_in_this_order(folder, hub):
    push_folder(folder, PushTarget(NAME, is_private=True, revision="odd"))
    assert format_requests(hub) == [
        "POST /api/repos/create",
        "GET /api/models/user/student",
        "POST /api/models/user/student/branch/odd",
        "POST /api/validate-yaml",
        "POST /api/models/user/student/preupload/odd",
        "POST /user/student.git/info/lfs/objects/batch",
        "PUT /objects/<sha256>",
        "POST /user/student.git/info/lfs/objects/verify",
        "POST /api/models/user/student/commit/odd",
    ]


def test_exactly_the_student_is_pushed_and_in_one_commit(folder, hub):
    address = push_folder(folder, TARGET)
    repository = hub.repositories[NAME]
    assert repository.files.keys() - {".gitattributes"} == PUSHED
    assert address == f"{hub.url}/{NAME}/commit/{repository.branches['main']}"
    assert [commit.message for commit in repository.commits.values()] == ["initial commit", "Distilled student"]
    for name in PUSHED - {"README.md"}:
        assert repository.files[name] == (folder / name).read_bytes()
    assert not repository.private


def test_the_pushed_card_loads_from_the_hub_and_the_local_one_from_the_folder(folder, hub):
    push_folder(folder, TARGET)
    assert f'model="{NAME}")' in hub.repositories[NAME].files["README.md"].decode()
    assert str(folder) not in hub.repositories[NAME].files["README.md"].decode()
    assert f'model="{folder}")' in (folder / "README.md").read_text()


def test_without_a_name_the_repository_is_called_after_the_folder(folder, hub):
    renamed = folder.rename(folder.with_name("odd-seed7"))
    push_folder(renamed, make_push_target(make_arguments(renamed, hub_model_id=None)))
    assert set(hub.repositories) == {"user/odd-seed7"}


def test_a_private_push_is_seen_by_nobody_else(folder, hub):
    push_folder(folder, PRIVATE)
    assert hub.repositories[NAME].private
    with pytest.raises(huggingface_hub.errors.RepositoryNotFoundError):
        huggingface_hub.HfApi(token=False).model_info(NAME)


def test_a_private_push_to_a_public_repository_is_refused(folder, hub):
    hub.add_repository(NAME)
    with pytest.raises(PushError, match=r"exists and is public.*make it private"):
        push_folder(folder, PRIVATE)
    assert hub.repositories[NAME].files.keys() == {".gitattributes"}


def test_an_existing_repository_is_updated_and_keeps_its_other_files(folder, hub):
    hub.add_repository(NAME, {"config.json": b"old", "notes.md": b"kept"})
    push_folder(folder, TARGET)
    files = hub.repositories[NAME].files
    assert files["config.json"] == (folder / "config.json").read_bytes()
    assert files["notes.md"] == b"kept"


def test_the_same_push_again_commits_nothing_new(folder, hub):
    first = push_folder(folder, TARGET)
    assert push_folder(folder, TARGET) == first
    assert len(hub.repositories[NAME].commits) == 2


def test_a_push_to_a_branch_leaves_main_alone(folder, hub):
    for _ in range(2):
        push_folder(folder, PushTarget(NAME, revision="odd"))
    repository = hub.repositories[NAME]
    assert repository.files.keys() == {".gitattributes"}
    assert repository.find_commit("odd").files.keys() >= PUSHED


def test_the_pushed_student_loads_by_its_name_and_then_offline(folder, hub, tmp_path, monkeypatch):
    push_folder(folder, PRIVATE)
    batch = {"input_ids": torch.tensor([[2, 5, 8, 3]])}
    expected = AutoModelForSequenceClassification.from_pretrained(folder)(**batch).logits
    for is_offline in (False, True):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", is_offline)
        hub.requests.clear()
        student = AutoModelForSequenceClassification.from_pretrained(NAME, cache_dir=tmp_path / "cache")
        tokenizer = AutoTokenizer.from_pretrained(NAME, cache_dir=tmp_path / "cache")
        assert (hub.requests == []) == is_offline
        torch.testing.assert_close(student(**batch).logits, expected)
        assert tokenizer("the red ball").input_ids == AutoTokenizer.from_pretrained(folder)("the red ball").input_ids


def test_other_processes_find_the_hub_by_their_environment(folder, hub, tmp_path):
    """The server's own test: a snapshot of the student, then a data set of CSV files."""
    push_folder(folder, TARGET)
    hub.add_repository("user/data", {"train.csv": b"text,label\nthe red ball,red\n"}, kind="datasets")
    code = (
        f"import huggingface_hub; print(huggingface_hub.snapshot_download('{NAME}'));"
        "import datasets; print(datasets.load_dataset('user/data')['train'][0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(hub, tmp_path), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    snapshot, row = done.stdout.splitlines()
    assert {path.name: path.read_bytes() for path in Path(snapshot).iterdir()} == hub.repositories[NAME].files
    assert snapshot.startswith(str(tmp_path / "hf_home"))
    assert row == "{'text': 'the red ball', 'label': 'red'}"


# ---- what fails ------------------------------------------------------------------------------------------------------

# What a failing route makes the Hub's client raise; `info` is asked for private repositories, `branch` for a revision.
ROUTES = ["create", "info", "branch", "validate", "preupload", "batch", "upload", "verify", "commit"]
FAULTS = {500: "500 the test server was told to fail", 403: "403 the test server was told to fail", DROP: "Error"}
ELSEWHERE = {"hub_private_repo": True, "hub_revision": "odd"}


@pytest.fixture
def impatient(monkeypatch):
    """The client repeats what failed without waiting in between."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)


def push_and_report(folder: Path, capsys: pytest.CaptureFixture, **options: object) -> tuple[int, str]:
    """Exit status and messages of the end of a run that was told to push."""
    return push_run(folder, StudentArguments(), **options), capsys.readouterr().err


def push_run(folder: Path, student: StudentArguments, **options: object) -> int:
    return push_result(folder, SimpleNamespace(training=make_arguments(folder, **options), student=student))


def read_all(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def find_command(messages: str) -> list[str]:
    """The words of the command in the one line that a failed push ends with."""
    line = messages.rstrip().splitlines()[-1]
    assert "Traceback" not in messages
    assert "error: the push failed" in line  # behind an unfinished progress bar
    words = shlex.split(line.split("; this pushes it: ")[1])
    assert words[0] == sys.executable
    assert Path(words[1]).samefile(push_student.__file__)
    return words


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("route", ROUTES)
def test_a_push_that_fails_midway_loses_nothing_and_prints_the_command_that_does_it(
    route, fault, folder, hub, capsys, impatient
):
    hub.fail_at[route] = fault
    before = read_all(folder)
    status, messages = push_and_report(folder, capsys, **ELSEWHERE)
    assert status == 1
    assert re.search(FAULTS[fault], messages), messages
    assert f"the student is whole in {folder}" in messages
    assert read_all(folder) == before
    assert check_finished(folder).status == FINISHED
    AutoModelForSequenceClassification.from_pretrained(folder)
    assert all(len(repository.commits) == 1 for repository in hub.repositories.values())  # no half a push
    hub.fail_at.clear()
    assert push_student.main(find_command(messages)[2:]) == 0
    assert hub.repositories[NAME].private
    assert hub.repositories[NAME].find_commit("odd").files.keys() >= PUSHED


def test_the_printed_command_pushes_in_a_shell(folder, hub, tmp_path, capsys):
    hub.fail_at["commit"] = 403
    _, messages = push_and_report(folder, capsys, hub_token=TOKEN)
    assert TOKEN not in messages
    hub.fail_at.clear()
    command = messages.rstrip().splitlines()[-1].split("; this pushes it: ")[1]
    done = subprocess.run(
        command, shell=True, env=environment(hub, tmp_path), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"pushed to {hub.url}/{NAME}/commit/")
    assert hub.repositories[NAME].files.keys() >= PUSHED


def test_a_wrong_token_after_training_loses_nothing_and_the_right_one_pushes(folder, hub, capsys):
    before = read_all(folder)
    status, messages = push_and_report(folder, capsys, hub_token="hf_wrong")
    assert status == 1
    assert "401 Invalid credentials in Authorization header" in messages
    assert "hf_wrong" not in messages
    assert hub.repositories == {}
    assert read_all(folder) == before
    assert push_student.main(find_command(messages)[2:]) == 0  # with the token of HF_TOKEN
    assert hub.repositories[NAME].files.keys() >= PUSHED


def test_a_hub_that_is_not_there_ends_in_one_line(folder, monkeypatch, capsys):
    with HubServer() as gone:
        use_hub(gone, monkeypatch)
    status, messages = push_and_report(folder, capsys)
    assert status == 1
    assert "ConnectError" in messages
    find_command(messages)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_the_push_ends_in_the_same_line(number, expected, folder, hub, capsys, monkeypatch):
    monkeypatch.setattr(
        "layer_distillation.cards.publish.HfApi.create_commit", lambda *_, **__: os.kill(os.getpid(), number)
    )
    status, messages = push_and_report(folder, capsys)
    assert status == expected
    assert f"stopped by {number.name}" in messages
    find_command(messages)
    assert push_student.main([str(folder), "--hub_model_id", NAME]) == expected
    assert f"stopped by {number.name}" in capsys.readouterr().err


EXPORTED = {
    "onnx/model.onnx": (STUDENT, "onnx", "onnx/model.onnx"),
    "onnx/model_quantized.onnx": (STUDENT, "onnx-int8", "onnx/model_quantized.onnx"),
    "trimmed/config.json": (TRIMMED, "pytorch", "trimmed/."),
    "trimmed/onnx/model.onnx": (TRIMMED, "onnx", "trimmed/onnx/model.onnx"),
}


def write_exports(folder: Path) -> None:
    """As an earlier and a later export left them; a form of the teacher has no file."""
    export = make_export(STUDENT_FORMS[0], weights=fingerprint_weights(folder), hardware={"device": "CPU"}, tokens=24)
    for name, (model, form, path) in EXPORTED.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"a model")
        export.artifacts.append(make_artifact(model, form, 0.85, 1.0, 20.0, 17.8))
        export.artifacts[-1].path = path
    export.write(folder)


@pytest.mark.parametrize(
    ("flags", "pushed"),
    [
        ({"export": "onnx-int8,openvino"}, {"onnx/model_quantized.onnx"}),  # OpenVINO's was refused by its gate
        ({"export": "onnx", "trim_vocabulary": True}, EXPORTED.keys() - {"onnx/model_quantized.onnx"}),
        ({}, set()),
    ],
)
def test_a_run_that_exports_pushes_what_it_exported_with_the_student(flags, pushed, folder, hub):
    write_exports(folder)
    assert push_run(folder, StudentArguments(**flags)) == 0
    files = hub.repositories[NAME].files
    assert {name for name in files if name in EXPORTED} == pushed
    card = files["README.md"].decode()
    assert ("| onnx/model_quantized.onnx |" in card) == ("onnx/model_quantized.onnx" in pushed)
    assert ("| trimmed/onnx/model.onnx |" in card) == ("trimmed/onnx/model.onnx" in pushed)


def test_a_failed_push_of_exports_prints_the_command_that_pushes_them_too(folder, hub, capsys):
    write_exports(folder)
    hub.fail_at["commit"] = 403
    assert push_run(folder, StudentArguments(export="onnx", trim_vocabulary=True)) == 1
    hub.fail_at.clear()
    assert push_student.main(find_command(capsys.readouterr().err)[2:]) == 0
    assert hub.repositories[NAME].files.keys() >= EXPORTED.keys() - {"onnx/model_quantized.onnx"}


def test_a_run_that_was_not_told_to_push_asks_the_hub_nothing(folder, hub, capsys):
    assert push_and_report(folder, capsys, push_to_hub=False) == (0, "")
    assert hub.requests == []


@pytest.mark.parametrize("options", [{}, {"hub_token": TOKEN}])
def test_the_token_is_in_no_message_and_no_file(options, folder, hub, capsys, caplog):
    for name in (None, "huggingface_hub", "httpx2", "httpcore2"):
        caplog.set_level(logging.DEBUG, logger=name)
    hub.fail_at["commit"] = 500
    _, failure = push_and_report(folder, capsys, **options)
    hub.fail_at.clear()
    _, success = push_and_report(folder, capsys, **options)
    assert f"pushed to {hub.url}/{NAME}/commit/" in caplog.text
    assert TOKEN not in failure + success + caplog.text
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    for content in files + list(hub.repositories[NAME].files.values()):
        assert TOKEN.encode() not in content


@pytest.mark.slow
def test_the_pushed_student_loads_in_another_process_and_then_offline(folder, hub, tmp_path):
    """Slow for its imports alone."""
    push_folder(folder, PRIVATE)
    code = (
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer;"
        f"AutoModelForSequenceClassification.from_pretrained('{NAME}'); AutoTokenizer.from_pretrained('{NAME}')"
    )
    for offline in ("0", "1"):
        hub.requests.clear()
        variables = environment(hub, tmp_path) | {"HF_HUB_OFFLINE": offline}
        subprocess.run([sys.executable, "-c", code], env=variables, check=True, timeout=120)
        assert (hub.requests == []) == (offline == "1")
