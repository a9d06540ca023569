"""The sweep benchmark: what the ways leave behind, their losses, the order of the runs, resuming, and the report."""

import json
import math
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainingArguments

from benchmarks import bench_sweep, peers, sweep_settings, untimed
from benchmarks.bench_sweep import list_runs, main
from benchmarks.sweep_settings import PEERS, ROOT, WAYS, Places, SweepSettings, make_command
from conftest import make_bert, make_rows, pad_rows
from student_init import build_student
from tiny_project import COLOURS, write_csv, write_teacher

CLASSES = sorted(COLOURS)


@pytest.fixture
def settings(tmp_path) -> SweepSettings:
    """A tiny sweep: 2 of 4 layers, 2 epochs, on files whose teacher has its labels in another order than the task."""
    return SweepSettings(
        teacher=str(write_teacher(tmp_path / "given_teacher")),
        train_file=str(write_csv(tmp_path / "train.csv", 24, seed=1)),
        validation_file=str(write_csv(tmp_path / "validation.csv", 12, seed=2)),
        test_file=str(write_csv(tmp_path / "test.csv", 9, seed=3)),
        max_length=16,
        epochs=2,
        student_num_layers=2,
        batch_size=8,
        learning_rate=1e-3,
    )


@pytest.fixture
def places(tmp_path, settings) -> Places:
    """A benchmark's folder whose teacher is prepared."""
    places = Places(tmp_path / "bench")
    places.folder.mkdir()
    places.settings.write_text(json.dumps(asdict(settings)))
    write_teacher(places.teacher, labels=CLASSES)
    return places


@pytest.fixture
def flags(tmp_path, settings) -> list[str]:
    not_given = ("fp32", "max_train_samples", "code")
    values = {name: value for name, value in asdict(settings).items() if name not in not_given}
    return [f"--{name}={value}" for name, value in values.items()] + [f"--output_dir={tmp_path / 'bench'}"]


# ---- the ways ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", PEERS)
def test_a_peer_leaves_a_trained_student_with_the_layers_of_the_strategy(places, way):
    peers.main([str(places.folder), way, "odd", "7"])
    folder = places.get_student((way, "odd", 7))
    student = AutoModelForSequenceClassification.from_pretrained(folder)
    start = build_student(AutoModelForSequenceClassification.from_pretrained(places.teacher), [1, 3])
    assert student.config.num_hidden_layers == 2
    assert student.config.distillation["student_layers"] == [1, 3]
    assert list(student.config.id2label.values()) == CLASSES
    moved = (student.classifier.weight - start.classifier.weight).abs().max().item()
    assert 1e-4 < moved < 0.1
    assert len(AutoTokenizer.from_pretrained(folder)) > 5


def test_the_recipes_loss_is_half_cross_entropy_half_distillation(tmp_path, teacher):
    student = make_bert(num_layers=2, seed=5)
    batch = pad_rows(make_rows(6, seed=3))
    batch.pop("example_index")
    arguments = TrainingArguments(str(tmp_path), report_to="none", use_cpu=True)
    trainer = peers.RecipeTrainer(model=student, args=arguments, teacher=teacher.train())
    loss, outputs = trainer.compute_loss(student, batch, return_outputs=True)
    with torch.no_grad():
        logits = [model.eval()(**batch).logits.double().numpy() for model in (student, teacher)]
    labels = batch["labels"].numpy()
    cross_entropy = -log_softmax(logits[0], axis=1)[np.arange(6), labels].mean()
    soft_student, soft_teacher = (log_softmax(values / 2, axis=1) for values in logits)
    divergence = (np.exp(soft_teacher) * (soft_teacher - soft_student)).sum(axis=1).mean()
    assert loss.item() == pytest.approx(0.5 * cross_entropy + 0.5 * 4 * divergence, rel=1e-5)
    np.testing.assert_allclose(outputs.logits.detach().numpy(), logits[0], rtol=1e-4, atol=1e-5)
    loss.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_the_experts_loss_is_the_recipes_and_its_teacher_is_asked_once(places, monkeypatch):
    seen = []

    class SeenTrainer(peers.ColumnTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            batch = {name: tensor.clone() for name, tensor in inputs.items()}
            loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
            if "teacher_logits" in batch:
                wanted = peers.compute_recipe_loss(outputs.logits.float(), batch["teacher_logits"], batch["labels"])
                seen.append((batch["input_ids"], batch["attention_mask"], batch["teacher_logits"], loss - wanted))
            return (loss, outputs) if return_outputs else loss

    monkeypatch.setattr(peers, "ColumnTrainer", SeenTrainer)
    lines = [f"the {COLOURS[row % 3]} ball{' and the cup' * (row % 4)},{COLOURS[row % 3]}" for row in range(24)]
    train_file = Path(json.loads(places.settings.read_text())["train_file"])
    train_file.write_text(
        "\n".join(["text,label", *lines])
    )  # of several lengths: the teacher sees them in another order
    places.settings.write_text(json.dumps(json.loads(places.settings.read_text()) | {"fp32": True}))
    peers.main([str(places.folder), "expert", "odd", "7"])
    teacher = AutoModelForSequenceClassification.from_pretrained(places.teacher).eval()
    for ids, mask, logits, difference in seen:
        with torch.no_grad():
            torch.testing.assert_close(teacher(ids, mask).logits, logits, rtol=1e-4, atol=1e-5)
        assert difference == 0.0
    stored = places.get_cache("expert") / sweep_settings.TEACHER_LOGITS
    np.save(stored, np.zeros((24, 3), np.float32))  # the second run takes what the first has left
    del seen[:]
    peers.main([str(places.folder), "expert", "even", "7"])
    assert all((logits == 0).all() for _, _, logits, _ in seen)


def test_the_tutorials_loss_is_the_mean_of_three_terms():
    student, labels = torch.tensor([[0.0, math.log(3.0)], [0.0, math.log(3.0)]]), torch.tensor([0, 1])
    teacher = student.flip(0) * 2
    cross_entropy = (math.log(4) + math.log(4 / 3)) / 2
    divergence = 0.1 * math.log(0.1 / 0.25) + 0.9 * math.log(0.9 / 0.75)
    assert peers.compute_tutorial_loss(student, teacher, labels).item() == pytest.approx(
        (cross_entropy + divergence + 0.0) / 3, rel=1e-5
    )
    assert peers.compute_tutorial_loss(student, -student, labels).item() == pytest.approx(
        (cross_entropy + 0.5 * math.log(3) + 2.0) / 3, rel=1e-5
    )


def test_this_project_is_started_as_a_user_starts_it(settings, places):
    logits, hidden = (
        make_command((way, "odd", 3), settings, places) for way in ("this_project_logits", "this_project_hidden")
    )
    assert hidden[1] == str(ROOT / "run_distillation.py")
    assert all(logits[logits.index(flag) + 1] == "0" for flag in ("--hidden_weight", "--pkd_weight"))
    assert not {"--hidden_weight", "--pkd_weight"} & set(hidden)
    assert "--test_file" not in hidden
    caches = [command[command.index("--cache_dir") + 1] for command in (logits, hidden)]
    assert caches[0] != caches[1]


# ---- outside the timing ------------------------------------------------------------------------------------------


def test_preparing_fine_tunes_an_encoder_and_scoring_counts_right_rows(tmp_path, settings, places):
    write_teacher(tmp_path / "encoder", has_head=False)
    places.settings.write_text(json.dumps(asdict(settings) | {"teacher": str(tmp_path / "encoder")}))
    assert untimed.main([str(places.folder), "prepare", "top", "odd"]) == 0
    prepared = json.loads(places.prepared.read_text())
    assert prepared["rows"] == {"train": 24, "validation": 12, "test": 9}
    teacher = AutoModelForSequenceClassification.from_pretrained(places.teacher).eval()
    assert list(teacher.config.id2label.values()) == CLASSES
    build_student(teacher, [1, 3]).save_pretrained(places.students / "one")
    assert untimed.main([str(places.folder), "score", "one"]) == 0
    rows = [line.rsplit(",", 1) for line in Path(settings.test_file).read_text().splitlines()[1:]]
    inputs = AutoTokenizer.from_pretrained(places.teacher)(
        [text for text, _ in rows], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        guesses = teacher(**inputs).logits.argmax(dim=-1).tolist()
    right = [CLASSES[guess] == label for guess, (_, label) in zip(guesses, rows, strict=True)]
    scores = json.loads(places.scores.read_text())
    assert scores["teacher"]["accuracy"] == pytest.approx(sum(right) / 9)
    assert scores["one"]["layers"] == [1, 3]
    places.scores.write_text(json.dumps(scores | {"one": {"accuracy": 0.5, "layers": [7]}}))
    build_student(teacher, [0, 2]).save_pretrained(places.students / "two")
    assert untimed.main([str(places.folder), "score", "one", "two"]) == 0
    again = json.loads(places.scores.read_text())
    assert again["one"]["layers"] == [7]  # not scored a second time
    assert again["two"]["layers"] == [0, 2]


def test_a_strategy_that_does_not_exist_is_one_line_with_the_names(places, capsys):
    with pytest.raises(SystemExit, match="2"):
        untimed.main([str(places.folder), "prepare", "oddd"])
    assert "did you mean odd?" in capsys.readouterr().err


def test_a_test_file_without_labels_is_refused_before_any_training(tmp_path, settings, places, capsys):
    (tmp_path / "blank.csv").write_text("text,label\nthe red ball,\n")
    places.settings.write_text(json.dumps(asdict(settings) | {"test_file": str(tmp_path / "blank.csv")}))
    assert untimed.main([str(places.folder), "prepare", "top"]) == 2
    assert "give another --test_file, or none" in capsys.readouterr().err


# ---- the processes -----------------------------------------------------------------------------------------------


def test_the_ways_take_turns_within_each_strategy():
    runs = list_runs(["stock", "docs_recipe"], ["top", "odd", "top"], [1, 2])
    assert runs == [(way, strategy, seed) for seed in (1, 2) for strategy in ("top", "odd") for way in WAYS[:2]]


def test_a_childs_status_seconds_and_peak_memory_are_its_own(tmp_path):
    """In a process of its own: below this one's memory no child's peak can be seen."""
    log = tmp_path / "logs" / "child.log"
    child = (
        "import os, time; block = b'1' * 100_000_000; time.sleep(0.3); print(os.environ['OMP_NUM_THREADS']); exit(7)"
    )
    script = f"""
import json, sys
from pathlib import Path
from benchmarks.bench_sweep import run_child
measured = run_child([sys.executable, "-c", {child!r}], Path({str(log)!r}), threads=3)
print(json.dumps([*measured, "torch" in sys.modules]))
"""
    printed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True).stdout
    status, seconds, peak_memory_bytes, has_torch = json.loads(printed)
    assert (status, log.read_text(), has_torch) == (7, "3\n", False)
    assert 0.3 < seconds < 30
    assert 100e6 < peak_memory_bytes < 150e6


class FakeChildren:
    """Stands for the child processes: notes each, and leaves what it would leave. Run number n takes n seconds."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.started: list[str] = []
        self.fails: str | None = None
        self.stored_before: dict[str, list[str]] = {}

    def run_child(self, command: list[str], log: Path, threads: int) -> tuple[int, float, int]:
        self.started.append(log.stem)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"something\n{log.stem} says why\n\n")
        if log.stem == "prepare":
            facts = {"hardware": {"cores": 2}, "versions": {}, "rows": {}, "strategies": command[5:]}
            self.places.prepared.write_text(json.dumps(facts))
        elif log.stem == "score":
            scores = {name: {"accuracy": 0.8 + 0.1 * ("odd" in name), "layers": [0]} for name in command[5:]}
            self.places.scores.write_text(json.dumps(scores | {"teacher": {"accuracy": 0.9, "layers": None}}))
        else:
            self.leave_student(log.stem)
        seconds = sum(name not in ("prepare", "score") for name in self.started)
        return (1 if log.stem == self.fails else 0), float(seconds), 10**9

    def leave_student(self, name: str) -> None:
        cache = self.places.get_cache(name.split("-")[0])
        self.stored_before[name] = [path.name for path in cache.glob("*")]
        (self.places.students / name / "checkpoint-1").mkdir(parents=True)
        if name.startswith("this_project"):
            record = {"arguments": {"bf16": True, "fp16": False}}
            (self.places.students / name / "run_record.json").write_text(json.dumps(record))
            cache.mkdir(parents=True, exist_ok=True)
            (cache / "store").write_bytes(b"12345678")


@pytest.fixture
def children(tmp_path, monkeypatch) -> FakeChildren:
    fake = FakeChildren(Places(tmp_path / "bench"))
    monkeypatch.setattr(bench_sweep, "run_child", fake.run_child)
    return fake


def test_the_report_has_ratios_bytes_and_errors_and_ends_in_one_json_object(tmp_path, flags, children, capsys):
    ways = ["stock", "docs_recipe", "this_project_logits"]
    assert main([*flags, "--ways", *ways, "--strategies", "top", "odd", "--seeds", "1", "2"]) == 0
    printed = capsys.readouterr().out
    report = json.loads(printed.splitlines()[-1])
    assert [run["way"] for run in report["runs"]] == ways * 4
    assert [run["position"] for run in report["runs"]] == list(range(1, 13))
    rows = {(row["sweep"], row["way"]): row for row in report["summary"]}
    assert list(rows) == [(sweep, way) for sweep in (1, 2, "all") for way in ways]
    ours = rows["all", "this_project_logits"]
    assert rows[1, "this_project_logits"]["seconds"] == 3 + 6
    assert ours["seconds"] == (3 + 6 + 9 + 12) / 2
    assert ours["ratio_to_docs_recipe"] == (3 + 6 + 9 + 12) / (2 + 5 + 8 + 11)
    assert ours["ratio_to_stock"] == (3 + 6 + 9 + 12) / (1 + 4 + 7 + 10)
    assert (ours["stored_bytes"], rows["all", "stock"]["stored_bytes"], ours["precision"]) == (8, 0, "bf16")
    assert ours["accuracy"] == pytest.approx(0.85)
    assert ours["accuracy_standard_error"] == pytest.approx(math.sqrt(4 * 0.05**2 / 3) / 2)
    assert ours["accuracy_minus_docs_recipe"] == 0.0
    assert "| all | this_project_logits | 15.0 | 1.154 | 1.364 | 1000.0 | 0.0 | 0.8500 ± 0.0289 |" in printed
    assert "precision: stock fp32, docs_recipe fp32, this_project_logits bf16" in printed
    assert str(tmp_path) not in printed
    assert not list(children.places.students.glob("*/checkpoint-*"))


def test_the_same_command_goes_on_after_a_failure_and_then_does_nothing(flags, children, capsys):
    command = [*flags, "--ways", "stock", "this_project_hidden", "--strategies", "top", "odd"]
    children.fails = "stock-odd-seed42"
    assert main(command) == 1
    assert "stock-odd-seed42 ended with status 1: stock-odd-seed42 says why" in capsys.readouterr().err
    with children.places.runs.open("a") as file:
        file.write('\n{"way": "sto')  # a line that a kill cut short
    children.fails, children.started = None, []
    assert main(command) == 0
    assert children.started == ["stock-odd-seed42", "this_project_hidden-odd-seed42", "score"]
    first = capsys.readouterr().out
    children.started = []
    assert main(command) == 0
    assert (children.started, capsys.readouterr().out) == ([], first)
    assert main([*command, "--seeds", "42", "43"]) == 0
    assert len(children.started) == 5


def test_a_store_left_by_an_interrupted_run_is_paid_for_again(flags, children):
    command = [*flags, "--ways", "this_project_hidden", "--strategies", "top", "odd"]
    children.fails = "this_project_hidden-top-seed42"
    assert main(command) == 1
    children.fails = None
    assert main(command) == 0
    assert children.stored_before == {"this_project_hidden-top-seed42": [], "this_project_hidden-odd-seed42": ["store"]}


def test_a_folder_with_other_settings_is_refused(flags, children, capsys):
    command = [*flags, "--ways", "stock", "--strategies", "top"]
    assert main(command) == 0
    assert main([*command, "--epochs", "5"]) == 2
    assert "other settings (epochs 2, now 5): give another --output_dir" in capsys.readouterr().err


def test_a_folder_begun_with_other_code_is_refused(flags, children, capsys, monkeypatch, tmp_path):
    command = [*flags, "--ways", "stock", "--strategies", "top"]
    assert main(command) == 0
    monkeypatch.setattr(sweep_settings, "ROOT", tmp_path)
    assert main(command) == 2
    assert "other settings (code " in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_benchmark_trains_every_way_and_the_second_seed_finds_the_store(tmp_path, flags):
    command = [sys.executable, "-m", "benchmarks.bench_sweep", *flags, "--strategies", "odd", "--seeds", "1", "2"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    assert [run["way"] for run in report["runs"]] == [*WAYS, *WAYS]
    assert all(run["layers"] == [1, 3] for run in report["runs"])
    assert all(run["seconds"] > 0 and run["peak_memory_bytes"] > 1e8 for run in report["runs"])
    stored = {(run["way"], run["seed"]): run["stored_bytes"] for run in report["runs"]}
    assert stored["this_project_hidden", 1] > stored["this_project_logits", 1] > 0
    assert stored["this_project_hidden", 1] == stored["this_project_hidden", 2]
    assert {stored[way, seed] for way in PEERS[:3] for seed in (1, 2)} == {0}
    assert stored["expert", 1] == stored["expert", 2] == 128 + 24 * 3 * 4
    precisions = {run["precision"] for run in report["runs"] if run["way"] in ("expert", "this_project_hidden")}
    assert len(precisions) == 1
    for run in report["runs"]:
        folder = tmp_path / "bench" / "students" / f"{run['way']}-odd-seed{run['seed']}"
        assert AutoModelForSequenceClassification.from_pretrained(folder).config.num_hidden_layers == 2
