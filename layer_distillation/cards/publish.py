"""What leaves a run: the student's model card in its folder, and the push to the Hub. Without torch.

Entry: `write_model_card`, `push_folder`; `push_student.py` is the command.
"""

import fnmatch
import os
import shlex
import sys
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError

from layer_distillation.cards.artifacts import describe_artifacts, find_artifacts, list_artifact_files
from layer_distillation.cards.model_card import build_model_card
from layer_distillation.cards.push_target import PushTarget
from layer_distillation.cards.scores import ComparisonRow, list_scores
from layer_distillation.records.command_names import find_command
from layer_distillation.records.export_record import EXPORT_NAME, ExportRecord, read_export_record
from layer_distillation.records.module_folders import list_module_folders
from layer_distillation.records.run_record import RECORD_NAME, RunRecord, read_run_record

CARD_NAME = "README.md"
PUSH_SCRIPT = Path(__file__).parents[2] / "push_student.py"
# The run's own beside the student, all folders apart: what resumes it, and what tells of the user's disk and data.
NEVER_PUSHED = (".*", "*.bin", "*.pt", "*.pth", "*.npz", RECORD_NAME, EXPORT_NAME, "export.png")
LONGEST_REASON = 200


class PushError(OSError):
    """A push that failed; the message says at what. The student's folder is as it was."""


def write_model_card(record: RunRecord, folder: Path) -> None:
    """Into the student's folder, in one step; it says how to load the student from there."""
    unfinished = folder / f".unfinished-{CARD_NAME}"
    unfinished.write_text(render_model_card(record, folder, read_export_record(folder)), encoding="utf-8")
    unfinished.replace(folder / CARD_NAME)


def render_model_card(record: RunRecord, folder: Path, export: ExportRecord | None) -> str:
    """The card of the student in its folder, with all of its exported forms."""
    scores = list_scores(folder, record)
    return str(build_model_card(record, str(folder), scores, artifacts=describe_artifacts(export)))


def push_folder(folder: Path, target: PushTarget, comparison: ComparisonRow | None = None) -> str:
    """Uploads the student of a finished run as one commit, its card naming the repository; returns its address.

    Raises:
        PushError: the Hub said no, or could not be reached. Nothing is lost.
    """
    record, export = read_run_record(folder), read_export_record(folder)
    scores = list_scores(folder, record)
    artifacts = find_artifacts(export, target.forms)
    files = [*list_student_files(folder), *(file for made in artifacts for file in list_artifact_files(folder, made))]
    described = describe_artifacts(export, [made.path for made in artifacts])
    api = HfApi(token=target.token)
    try:
        repository = open_repository(api, target)
        card = build_model_card(record, repository, scores, comparison, described)
        commit = api.create_commit(
            repository,
            [
                CommitOperationAdd(CARD_NAME, str(card).encode()),
                *(CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in files),
            ],
            commit_message="Distilled student",
            revision=target.revision,
        )
    # The Hub's client raises its HTTP library's errors for lost connections, RuntimeError for a file that did not
    # arrive, ValueError for a card that the Hub refuses, and OSError for the rest.
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise PushError(describe_push_error(error)) from error
    return commit.commit_url


def describe_push_error(error: Exception) -> str:
    """What went wrong, the Hub's own words before its client's, which begin with addresses."""
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        return f"{error} {describe_push_error(error.__cause__)}"
    if isinstance(error, HfHubHTTPError):
        return f"{error.response.status_code} {error.server_message or error}"
    return f"{type(error).__name__}: {error}"


def describe_failed_push(reason: str, folder: Path, target: PushTarget, comparison: Path | None = None) -> str:
    """One line: what is kept, and the command that pushes it later, which needs neither data nor teacher."""
    short = " ".join(reason.split())[:LONGEST_REASON]
    command = write_push_command(folder, target, comparison)
    return f"the push failed ({short}); the student is whole in {folder}; this pushes it: {command}"


def write_push_command(folder: Path, target: PushTarget, comparison: Path | None = None) -> str:
    """As a shell takes it, from the folder it is printed in; never with the token, which others could read there."""
    installed = find_command(PUSH_SCRIPT.name)
    words = [installed] if installed else [sys.executable, os.path.relpath(PUSH_SCRIPT)]
    words += [str(folder), "--hub_model_id", target.name]
    words += ["--hub_private_repo"] if target.is_private else []
    words += ["--hub_revision", target.revision] if target.revision is not None else []
    words += ["--comparison", str(comparison)] if comparison is not None else []
    words += ["--with", ",".join(target.forms)] if target.forms else []
    return shlex.join(words)


def open_repository(api: HfApi, target: PushTarget) -> str:
    """Creates what is missing of repository and branch; returns the repository's name with its owner.

    Raises:
        ValueError: it is to be private and exists in public.
    """
    repository = api.create_repo(target.name, private=target.is_private, exist_ok=True).repo_id
    if target.is_private and not api.model_info(repository).private:
        raise ValueError(
            f"{repository} exists and is public, which --hub_private_repo does not change: make it private on the Hub, "
            "or give another --hub_model_id"
        )
    if target.revision is not None:
        api.create_branch(repository, branch=target.revision, exist_ok=True)
    return repository


def list_student_files(folder: Path) -> list[Path]:
    """Weights, config and tokenizer, of a sentence encoder the folders that its modules.json names; not the card, which
    is written anew for the Hub."""
    inside = [path for own in list_module_folders(folder) for path in sorted(own.iterdir())]
    return [
        path
        for path in [*sorted(folder.iterdir()), *inside]
        if path.is_file() and not any(fnmatch.fnmatch(path.name, pattern) for pattern in (*NEVER_PUSHED, CARD_NAME))
    ]
