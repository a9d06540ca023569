"""The card, and pushes to a Hub on 127.0.0.1 through the real client: what arrives, what stays, what failures leave."""

import logging
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
import yaml
from conftest import make_bert
from hub_api import list_card_errors
from hub_server import DROP, HubServer, environment, use_hub
from huggingface_hub import ModelCard
from tiny_project import write_tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

from distill_trainer import DistillationTrainingArguments
from publish import PushError, build_model_card, check_push, push_student, save_student
from run_distillation import push_result
from run_record import FINISHED, RunRecord

NAME = "user/student"
TOKEN = "hf_a_token_that_nobody_may_see"
PUSHED = {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
LEFT_BEHIND = [
    "checkpoint-10/model.safetensors",
    "checkpoint-10/optimizer.pt",
    "runs/events.out.tfevents.1",
    ".run_record.json.123",
    "training_args.bin",
    "optimizer.pt",
    "predictions.npz",
]


def make_record(**changes: dict) -> RunRecord:
    """The record of a finished run, some of its parts changed."""
    parts = {
        "task": {"name": "sst2", "dataset_name": "nyu-mll/glue", "metric_names": ["accuracy"]},
        "teacher": {
            "name": "org/teacher",
            "is_local": False,
            "layers": 4,
            "parameters": 9000,
            "metrics": {"validation": {"accuracy": 0.75, "loss": 0.5}},
        },
        "student": {"layers": [1, 3, None], "layer_matching": [1, 3, 3], "parameters": 5000},
        "metrics": {"validation": {"accuracy": 0.625, "loss": 0.75, "agreement": 0.875}, "test": {"accuracy": 0.5}},
    }
    return RunRecord(
        command="run_distillation.py --layer_strategy odd",
        arguments={"output_dir": "runs/odd"},
        versions={},
        hardware={},
        seed=7,
        strategy="odd",
        status=FINISHED,
        **{name: part | changes.get(name, {}) for name, part in parts.items()},
    )


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
    path = tmp_path / "odd-seed7"
    write_tokenizer(tmp_path / "tokenizer")
    record = make_record()
    save_student(make_bert(num_layers=2), PreTrainedTokenizerFast.from_pretrained(tmp_path / "tokenizer"), record, path)
    record.write(path)
    for name in LEFT_BEHIND:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(b"not the student's")
    return path


# ---- the card --------------------------------------------------------------------------------------------------------


def test_the_card_states_origin_scores_and_how_to_load():
    card = ModelCard(str(build_model_card(make_record(), NAME)))
    assert card.data.base_model == "org/teacher"
    assert card.data.datasets == ["nyu-mll/glue"]
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.tags == ["knowledge-distillation", "layer-pruning"]
    results = {(result.dataset_split, result.metric_type): result.metric_value for result in card.data.eval_results}
    assert results == {("validation", "accuracy"): 0.625, ("test", "accuracy"): 0.5}
    assert list_card_errors(str(card)) == []
    lines = card.text.splitlines()
    assert "# student" in lines
    assert 'student = AutoModelForSequenceClassification.from_pretrained("user/student")' in lines
    assert "| validation | accuracy | 0.6250 | 0.7500 |" in lines
    assert "| validation | agreement | 0.8750 | - |" in lines
    assert "Parameters: 5,000 (teacher 9,000). One run, seed 7" in card.text
    assert "run_distillation.py --layer_strategy odd" in lines


def test_the_card_has_one_row_for_each_student_layer():
    rows = build_model_card(make_record(), NAME).text.split("| student layer | teacher layer |\n|---|---|\n")[1]
    assert rows.splitlines()[:4] == ["| 0 | 1 |", "| 1 | 3 |", "| 2 | fresh weights |", ""]


def test_the_card_names_no_folder_of_the_user(tmp_path):
    """The Hub refuses a card whose base model or data set is a path."""
    teacher, data = tmp_path / "my_teacher", tmp_path / "my_data"
    data.mkdir()
    record = make_record(
        teacher={"name": str(teacher), "is_local": True}, task={"name": "my_data", "dataset_name": str(data)}
    )
    card = build_model_card(record, NAME)
    assert str(tmp_path) not in str(card)
    assert "`my_teacher`" in card.text
    metadata = yaml.safe_load(str(card).split("---\n")[1])
    assert "base_model" not in metadata
    assert "datasets" not in metadata
    assert metadata["model-index"][0]["results"][0]["dataset"]["type"] == "my_data"


# ---- before the run --------------------------------------------------------------------------------------------------


def test_a_push_without_a_token_is_refused_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("publish.get_token", lambda: None)
    with pytest.raises(ValueError, match="hf auth login"):
        check_push(make_arguments(tmp_path))
    check_push(make_arguments(tmp_path, push_to_hub=False))


def test_a_push_that_offline_mode_forbids_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE=1 forbids it: unset it"):
        check_push(make_arguments(tmp_path, hub_token=TOKEN))


@pytest.mark.parametrize("options", [{"hub_model_id": "user/my student"}, {"hub_model_id": None}])
def test_a_push_to_an_impossible_name_is_refused_with_the_remedy(options, tmp_path, hub):
    with pytest.raises(ValueError, match=r"my student.*give --hub_model_id"):
        check_push(make_arguments(tmp_path / "my student", **options))
    check_push(make_arguments(tmp_path / "my student"))


# ---- what arrives ----------------------------------------------------------------------------------------------------


def test_exactly_the_student_is_pushed_and_in_one_commit(folder, hub):
    address = push_student(folder, make_arguments(folder))
    repository = hub.repositories[NAME]
    assert repository.files.keys() - {".gitattributes"} == PUSHED
    assert address == f"{hub.url}/{NAME}/commit/{repository.branches['main']}"
    assert [commit.message for commit in repository.commits.values()] == ["initial commit", "Distilled student"]
    for name in PUSHED - {"README.md"}:
        assert repository.files[name] == (folder / name).read_bytes()
    assert not repository.private


def test_the_pushed_card_loads_from_the_hub_and_the_local_one_from_the_folder(folder, hub):
    push_student(folder, make_arguments(folder))
    assert f'from_pretrained("{NAME}")' in hub.repositories[NAME].files["README.md"].decode()
    assert str(folder) not in hub.repositories[NAME].files["README.md"].decode()
    assert f'from_pretrained("{folder}")' in (folder / "README.md").read_text()


def test_without_a_name_the_repository_is_called_after_the_folder(folder, hub):
    push_student(folder, make_arguments(folder, hub_model_id=None))
    assert set(hub.repositories) == {"user/odd-seed7"}


def test_a_private_push_is_seen_by_nobody_else(folder, hub):
    push_student(folder, make_arguments(folder, hub_private_repo=True))
    assert hub.repositories[NAME].private
    with pytest.raises(huggingface_hub.errors.RepositoryNotFoundError):
        huggingface_hub.HfApi(token=False).model_info(NAME)


def test_a_private_push_to_a_public_repository_is_refused(folder, hub):
    hub.add_repository(NAME)
    with pytest.raises(PushError, match=r"exists and is public.*make it private"):
        push_student(folder, make_arguments(folder, hub_private_repo=True))
    assert hub.repositories[NAME].files.keys() == {".gitattributes"}


def test_an_existing_repository_is_updated_and_keeps_its_other_files(folder, hub):
    hub.add_repository(NAME, {"config.json": b"old", "notes.md": b"kept"})
    push_student(folder, make_arguments(folder))
    files = hub.repositories[NAME].files
    assert files["config.json"] == (folder / "config.json").read_bytes()
    assert files["notes.md"] == b"kept"


def test_the_same_push_again_commits_nothing_new(folder, hub):
    first = push_student(folder, make_arguments(folder))
    assert push_student(folder, make_arguments(folder)) == first
    assert len(hub.repositories[NAME].commits) == 2


def test_a_push_to_a_branch_leaves_main_alone(folder, hub):
    for _ in range(2):
        push_student(folder, make_arguments(folder, hub_revision="odd"))
    repository = hub.repositories[NAME]
    assert repository.files.keys() == {".gitattributes"}
    assert repository.find_commit("odd").files.keys() >= PUSHED


def test_the_pushed_student_loads_by_its_name_and_then_offline(folder, hub, tmp_path, monkeypatch):
    push_student(folder, make_arguments(folder, hub_private_repo=True))
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
    push_student(folder, make_arguments(folder))
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

FAILURES = {
    "create": (500, "500 the test server was told to fail"),
    "validate": (DROP, "(RemoteProtocol|Read|Write)Error"),
    "preupload": (403, "403 the test server was told to fail"),
    "batch": (404, "404 the test server was told to fail"),
    "upload": (403, "model.safetensors.* 403 the test server was told to fail"),
    "verify": (404, "model.safetensors.* 404 the test server was told to fail"),
    "commit": (DROP, "(RemoteProtocol|Read|Write)Error"),
}


def push_and_report(folder: Path, capsys: pytest.CaptureFixture, **options: object) -> tuple[int, str]:
    """Exit status and messages of the end of a run that was told to push."""
    status = push_result(folder, SimpleNamespace(training=make_arguments(folder, **options)))
    return status, capsys.readouterr().err


@pytest.mark.parametrize("route", FAILURES)
def test_a_push_that_fails_midway_ends_in_one_line_and_succeeds_when_repeated(route, folder, hub, capsys):
    hub.fail_at[route], reason = FAILURES[route]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    status, messages = push_and_report(folder, capsys)
    assert status == 1
    line = messages.splitlines()[-1]
    assert "run_distillation.py: error: the push failed" in line  # behind an unfinished progress bar
    assert re.search(reason, line), line
    assert f"the student is whole in {folder}" in line
    assert "Traceback" not in messages
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert NAME not in hub.repositories or hub.repositories[NAME].files.keys() == {".gitattributes"}
    hub.fail_at.clear()
    assert push_and_report(folder, capsys)[0] == 0
    assert hub.repositories[NAME].files.keys() >= PUSHED


def test_a_wrong_token_is_named_as_the_reason_and_the_right_one_pushes(folder, hub, capsys):
    status, messages = push_and_report(folder, capsys, hub_token="hf_wrong")
    assert status == 1
    assert "401 Invalid credentials in Authorization header" in messages
    assert str(folder) in messages
    assert hub.repositories == {}
    assert push_and_report(folder, capsys)[0] == 0


def test_a_hub_that_is_not_there_ends_in_one_line(folder, monkeypatch, capsys):
    with HubServer() as gone:
        use_hub(gone, monkeypatch)
    status, messages = push_and_report(folder, capsys)
    assert status == 1
    assert "ConnectError" in messages
    assert f"the student is whole in {folder}" in messages


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
    push_student(folder, make_arguments(folder, hub_private_repo=True))
    code = (
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer;"
        f"AutoModelForSequenceClassification.from_pretrained('{NAME}'); AutoTokenizer.from_pretrained('{NAME}')"
    )
    for offline in ("0", "1"):
        hub.requests.clear()
        variables = environment(hub, tmp_path) | {"HF_HUB_OFFLINE": offline}
        subprocess.run([sys.executable, "-c", code], env=variables, check=True, timeout=120)
        assert (hub.requests == []) == (offline == "1")
