"""Nothing of a stranger's is run, no secret is written, and no name leaves the output folder."""

import ast
import csv
import io
import json
import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers.dynamic_module_utils
from transformers import AutoTokenizer

import run_distillation
from layer_distillation.comparison.files import format_csv
from layer_distillation.comparison.pictures import clean_file_name
from layer_distillation.comparison.runs import read_runs
from layer_distillation.records.run_record import RECORD_NAME
from layer_distillation.runs.arguments import parse_command_line
from layer_distillation.runs.command_line import write_command
from layer_distillation.runs.failures import describe_failure
from layer_distillation.tasks.arguments import clean_name
from layer_distillation.teachers.arguments import TeacherArguments
from layer_distillation.teachers.loading import load_teacher_config, load_tokenizer
from packed_runs import unpack_run
from strange_inputs import Accepted, Refused, make_flags, try_input
from tiny_project import make_project, write_csv, write_teacher
from tiny_training import make_trainer

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted([*ROOT.glob("*.py"), *ROOT.glob("layer_distillation/**/*.py")])
TOKEN = "hf_" + "s3cret" * 5
HOSTILE_NAMES = [
    "../../x",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a/b",
    "con",
    "a\nb",
    "<script>",
    "a|b",
    "`x`",
    "x\0y",
    "a" * 999,
]


class Planted:
    """Runs a command when a pickle of it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, (str(self.marker),)


# ---- pickles -----------------------------------------------------------------------------------------------------


def list_calls(path: Path) -> list[str]:
    """`module.function(keyword=value)` of every call, as far as it is written out."""
    calls = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            keywords = ", ".join(f"{keyword.arg}={ast.unparse(keyword.value)}" for keyword in node.keywords)
            calls.append(f"{ast.unparse(node.func)}({keywords})")
    return calls


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_module_loads_a_pickle_or_runs_text(path):
    for call in list_calls(path):
        name = call.split("(")[0]
        assert name not in {"eval", "exec", "compile", "torch.load", "yaml.load", "yaml.unsafe_load", "os.system"}, call
        assert not name.startswith(("pickle.", "joblib.", "dill.", "marshal.", "shelve.")), call
        assert "allow_pickle=True" not in call, call
        assert "trust_remote_code=True" not in call, call
        assert "shell=True" not in call, call
        if name.endswith(("SequenceClassification.from_pretrained", "AutoModel.from_pretrained")):
            assert "use_safetensors=True" in call, call


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_pickle_planted_in_a_checkpoint_is_not_run_and_ends_in_one_line(tmp_path, name):
    options = {"save_strategy": "epoch", "num_train_epochs": 2, "num_rows": 8, "save_total_limit": 5}
    trainer = make_trainer(tmp_path / "run", **options)
    trainer.train()
    checkpoint = tmp_path / "run" / "checkpoint-1"
    torch.save(Planted(tmp_path / "executed"), checkpoint / name)
    with pytest.raises(Exception, match=r"[Ww]eights.only") as failure:
        make_trainer(tmp_path / "run", **options).train(resume_from_checkpoint=str(checkpoint))
    assert not (tmp_path / "executed").exists()
    line = describe_failure(failure.value, trainer.args, "cache")
    assert "none of that was loaded: remove that checkpoint" in line
    torch.load(checkpoint / name, weights_only=False)
    assert (tmp_path / "executed").is_dir()  # the plant works


def test_other_pickles_in_a_checkpoint_are_not_even_read(tmp_path):
    options = {"save_strategy": "epoch", "num_train_epochs": 2, "num_rows": 8, "save_total_limit": 5}
    make_trainer(tmp_path / "run", **options).train()
    checkpoint = tmp_path / "run" / "checkpoint-1"
    for name in ("training_args.bin", "pytorch_model.bin", "adapter_model.bin"):
        torch.save(Planted(tmp_path / "executed"), checkpoint / name)
    make_trainer(tmp_path / "run", **options).train(resume_from_checkpoint=str(checkpoint))
    assert not (tmp_path / "executed").exists()


def test_a_pickle_in_the_predictions_of_a_run_is_not_loaded(tmp_path):
    unpack_run("sick/bottom-seed42", tmp_path / "run")
    np.savez(tmp_path / "run" / "predictions.npz", **{"test.labels": np.array([Planted(tmp_path / "executed")])})
    runs, left_out = read_runs([tmp_path / "run"])
    assert runs == []
    assert len(left_out) == 1
    assert not (tmp_path / "executed").exists()


# ---- code of strangers -------------------------------------------------------------------------------------------

CONFIGURATION = """
import pathlib
from transformers import PretrainedConfig
pathlib.Path({marker!r}).mkdir()
class EvilConfig(PretrainedConfig):
    model_type = "evil"
"""
TOKENIZATION = """
import pathlib
from transformers import PreTrainedTokenizerFast
pathlib.Path({marker!r}).mkdir()
class EvilTokenizer(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture
def marker(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    return tmp_path / "executed"


def edit_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def plant_config(folder: Path, marker: Path, model_type: str) -> None:
    (folder / "evil.py").write_text(CONFIGURATION.format(marker=str(marker)))
    edit_json(folder / "config.json", model_type=model_type, auto_map={"AutoConfig": "evil.EvilConfig"})


def plant_tokenizer(folder: Path, marker: Path) -> None:
    (folder / "evil.py").write_text(TOKENIZATION.format(marker=str(marker)))
    auto_map = {"AutoTokenizer": [None, "evil.EvilTokenizer"]}
    edit_json(folder / "tokenizer_config.json", auto_map=auto_map, tokenizer_class="EvilTokenizer")


def test_the_code_of_a_model_is_not_run_unless_the_flag_says_so(tmp_path, marker):
    teacher = write_teacher(tmp_path / "teacher")
    plant_config(teacher, marker, "evil")
    outcome = try_input(make_flags(tmp_path, teacher_model_name_or_path=teacher))
    assert isinstance(outcome, Refused)
    assert outcome.status == 2
    assert len(outcome.lines) == 1
    assert (
        "code of its own, which is not run: read that code, and if you trust it give --trust_remote_code"
        in (outcome.lines[0])
    )
    assert not marker.exists()
    load_teacher_config(str(teacher), TeacherArguments(trust_remote_code=True))
    assert marker.is_dir()  # the plant works


def test_a_known_architecture_is_built_by_transformers_own_code(tmp_path, marker):
    teacher = write_teacher(tmp_path / "teacher")
    plant_config(teacher, marker, "bert")
    flags = make_flags(tmp_path, teacher_model_name_or_path=teacher, allow_untrained_teacher=None)
    assert isinstance(try_input(flags), Accepted)
    assert not marker.exists()


def test_the_code_of_a_tokenizer_is_not_run_unless_the_flag_says_so(tmp_path, marker):
    teacher = write_teacher(tmp_path / "teacher")
    plant_tokenizer(teacher, marker)
    try_input(make_flags(tmp_path, teacher_model_name_or_path=teacher))
    assert not marker.exists()
    load_tokenizer(str(teacher), TeacherArguments(trust_remote_code=True))
    assert marker.is_dir()


def test_the_script_of_a_data_set_is_not_run(tmp_path, marker):
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "films.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).mkdir()\n")
    (folder / "dataset.pkl").write_bytes(b"\x80\x04.")
    flags = make_flags(tmp_path, train_file=None, validation_file=None, dataset_name=folder)
    outcome = try_input(flags)
    assert outcome.status == 2
    assert len(outcome.lines) == 1
    assert "did not load" in outcome.lines[0]
    assert not marker.exists()


# ---- secrets -----------------------------------------------------------------------------------------------------


def test_a_token_is_in_no_file_and_no_message_of_a_run(tmp_path, monkeypatch, capfd, caplog):
    """Checkpoints hold the training arguments, the record the command, the card both."""
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}_env")
    flags = make_project(tmp_path, has_head=False)
    options = ["--num_train_epochs=1", "--teacher_num_train_epochs=1", "--keep_checkpoints", "--log_level=debug"]
    with caplog.at_level(logging.DEBUG):
        assert run_distillation.main([*flags, *options, "--hub_token", TOKEN]) == 0
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"training_args.bin", RECORD_NAME, "README.md"} <= {path.name for path in written}
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
    printed = capfd.readouterr()
    assert TOKEN not in printed.out + printed.err + caplog.text


def test_the_command_is_kept_without_the_token_however_it_was_given():
    assert write_command(["--hub_token", TOKEN, "--seed=1"], TOKEN) == "run_distillation.py --hub_token '***' --seed=1"
    assert TOKEN not in write_command([f"--hub_token={TOKEN}"], TOKEN)
    assert "it's" not in write_command(["--hub_token", "it's"], "it's")


def test_help_says_where_a_token_is_not_seen(capsys):
    with pytest.raises(SystemExit):
        parse_command_line(["--help_all"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "sees it in the list of processes: run `hf auth login`, or set HF_TOKEN" in shown


@pytest.mark.parametrize("flags", [[f"--hub_token={TOKEN}"], ["--hub-token", TOKEN]])
def test_the_loop_passes_no_token_to_the_list_of_processes(tmp_path, flags):
    command = [str(ROOT / "run_all_strategies.sh"), "--output_root", str(tmp_path / "runs"), "--", *flags]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert "set HF_TOKEN" in result.stderr
    assert TOKEN not in result.stderr
    assert not (tmp_path / "runs").exists()


# ---- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_is_one_part_of_a_path_that_leads_nowhere(name):
    for cleaned in (clean_name(name), f"1-{clean_file_name(name)}"):
        assert Path(cleaned).parts == (cleaned,)
        assert cleaned not in ("..", ".")
        assert not set(cleaned) & set("/\\\0\n|<>`")
        assert len(cleaned.encode()) <= 255


@pytest.mark.parametrize("name", [name for name in HOSTILE_NAMES if name and "\0" not in name])
def test_the_default_output_folder_lies_under_runs(name):
    for flags in ([f"--dataset_name={name}"], ["--dataset_name=x/y", f"--dataset_config_name={name}"]):
        folder = Path(parse_command_line(flags).training.output_dir)
        assert folder.parts[0] == "runs"
        assert len(folder.parts) == 3
        assert ".." not in folder.parts


def test_a_list_of_layers_too_long_for_a_name_asks_for_the_folder(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse_command_line([f"--student_layers={','.join(['0'] * 200)}"])
    assert stopped.value.code == 2
    assert "give --output_dir" in capsys.readouterr().err


def test_the_names_of_chat_templates_become_no_files(tmp_path):
    write_teacher(tmp_path / "teacher")
    templates = [{"name": "default", "template": "x"}, {"name": "../../../evil", "template": "x"}]
    edit_json(tmp_path / "teacher" / "tokenizer_config.json", chat_template=templates)
    assert AutoTokenizer.from_pretrained(tmp_path / "teacher").chat_template
    tokenizer = load_tokenizer(str(tmp_path / "teacher"), TeacherArguments())
    tokenizer.save_pretrained(tmp_path / "a" / "b" / "student")
    assert not list(tmp_path.rglob("*.jinja"))


# ---- what is shown -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+cmd", "@SUM(A1)", "-2+cmd|x", "\t=1", "\r=1"])
def test_a_text_is_no_formula_in_a_spreadsheet(text):
    rows = list(csv.DictReader(io.StringIO(format_csv([{"unit": text}]), newline="")))
    assert rows == [{"unit": f"'{text.strip()}"}]


@pytest.mark.parametrize(("value", "shown"), [("- - 3", "- - 3"), (-0.5, "-0.5"), ("top, 3", "top, 3"), (None, "")])
def test_other_cells_stay_as_they_are(value, shown):
    (row,) = csv.DictReader(io.StringIO(format_csv([{"a": "x", "unit": value}])))
    assert row["unit"] == shown


def test_a_file_name_cannot_steer_the_terminal(tmp_path):
    name = tmp_path / "\x1b[31mrows\n.csv"
    write_csv(name, 3).write_text("text,label\n")
    outcome = try_input(make_flags(tmp_path, train_file=name))
    assert len(outcome.lines) == 1
    assert outcome.lines[0].isprintable()


def test_the_token_of_a_recipe_is_not_kept(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"task_name: natural_logic\nhub_token: {TOKEN}\n")
    arguments = parse_command_line([str(recipe)])
    assert arguments.training.hub_token == TOKEN
    assert TOKEN not in arguments.command + str(arguments.to_dict())
