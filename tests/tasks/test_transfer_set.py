"""Text without labels: what of the loss it reaches, what of a run it does not, and what is refused."""

import json
import logging
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset, DatasetDict, Value
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import run_distillation
from conftest import make_bert, make_rows, pad_rows
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.records.run_record import read_run_record
from layer_distillation.tasks import loading as tasks
from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.loading import TaskData, load_task
from layer_distillation.tasks.transfer_set import add_transfer_set
from run_distillation import main
from test_processes import TWO_PROCESSES, launch
from test_run_distillation import StopAtStep, refuse, replace_flag
from tests.runs.test_teacher_ensemble import write_other_teacher
from tiny_project import make_project, write_csv
from tiny_training import make_trainer, set_terms

# ---- the loss ----------------------------------------------------------------------------------------------------


def compute_gradients(trainer: DistillationTrainer, rows: list[dict], **weights: float) -> dict[str, torch.Tensor]:
    """By name, for these weights of terms, of a student without dropout."""
    set_terms(trainer, weights)
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model.eval(), pad_rows(rows)).backward()
    return {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}


def assert_same_gradients(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, gradient in left.items():
        torch.testing.assert_close(gradient, right[name], rtol=1e-4, atol=1e-6)


def drop_labels(rows: list[dict]) -> list[dict]:
    return [row | {"labels": -100} for row in rows]


def test_unlabelled_rows_leave_the_gradient_of_cross_entropy_as_it_is(tmp_path):
    trainer, rows = make_trainer(tmp_path), make_rows(12)
    alone = compute_gradients(trainer, rows[:5], ce=1.0)
    assert_same_gradients(compute_gradients(trainer, rows[:5] + drop_labels(rows[5:]), ce=1.0), alone)
    assert max(gradient.abs().max() for gradient in alone.values()) > 0.01


def test_the_gradients_of_all_other_terms_are_those_of_a_batch_with_all_labels(tmp_path):
    trainer, rows = make_trainer(tmp_path), make_rows(12)
    others = {"kl": 0.5, "hidden": 1.0, "attention": 0.3, "logit_cosine": 0.2}
    gradients = compute_gradients(trainer, rows[:5] + drop_labels(rows[5:]), **others)
    assert_same_gradients(gradients, compute_gradients(trainer, rows, **others))


def test_the_loss_is_the_sum_of_means_over_labelled_and_over_all_rows(tmp_path):
    """By hand: cross-entropy over 2 rows, KL at T = 3 and the logits' cosine over 6."""
    trainer, rows = make_trainer(tmp_path, temperature=3.0), make_rows(6)
    batch = pad_rows(rows[:2] + drop_labels(rows[2:]))
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    set_terms(trainer, {"ce": 0.5, "kl": 0.7, "logit_cosine": 0.2})
    with torch.no_grad():
        ours, theirs = trainer.model.eval()(**inputs).logits, trainer.teacher_outputs.teacher(**inputs).logits
        soft = F.softmax(theirs / 3, -1)
        kl = (soft * (soft.log() - F.log_softmax(ours / 3, -1))).sum() / 6
        cosine = 1 - F.cosine_similarity(ours, theirs).mean()
        expected = 0.5 * F.cross_entropy(ours[:2], batch["labels"][:2]) + 0.7 * 9 * kl + 0.2 * cosine
        assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_batch_without_any_label_trains_on_the_other_terms(tmp_path):
    trainer, rows = make_trainer(tmp_path), drop_labels(make_rows(6))
    with_ce = compute_gradients(trainer, rows, ce=1.0, kl=1.0, hidden=1.0)
    assert_same_gradients(with_ce, compute_gradients(trainer, rows, kl=1.0, hidden=1.0))
    assert all(gradient.abs().sum() == 0 for gradient in compute_gradients(trainer, rows, ce=1.0).values())
    assert trainer.compute_loss(trainer.model, pad_rows(rows)).item() == 0


def test_a_regression_batch_without_any_label_trains_on_the_other_terms(tmp_path):
    arguments = DistillationTrainingArguments(str(tmp_path), use_cpu=True, hidden_weight=0.0, pkd_weight=0.0)
    student, teacher = make_bert(2, num_labels=1, seed=2), make_bert(4, num_labels=1, seed=1)
    trainer = DistillationTrainer(student, arguments, teacher, data_collator=pad_rows, eval_dataset=make_rows(2))
    rows = [row | {"labels": math.nan} for row in make_rows(6)]
    with_ce = compute_gradients(trainer, rows, ce=1.0, kl=1.0)
    assert_same_gradients(with_ce, compute_gradients(trainer, rows, kl=1.0))
    assert all(gradient.isfinite().all() for gradient in with_ce.values())
    set_terms(trainer, {"ce": 1.0})
    assert trainer.compute_loss(trainer.model, pad_rows(rows)).item() == 0


# ---- the rows ----------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path) -> dict[str, str]:
    paths = {name: tmp_path / f"{name}.csv" for name in ("train", "validation")}
    return {f"{name}_file": str(write_csv(path, 12, seed)) for seed, (name, path) in enumerate(paths.items())}


def write_rows(path: Path, columns: dict[str, list]) -> str:
    """In the kind of file that the name says."""
    rows, kind = Dataset.from_dict(columns), path.suffix
    if kind == ".csv":
        rows.to_csv(path, index=False)
    elif kind == ".tsv":
        rows.to_csv(path, index=False, sep="\t")
    elif kind == ".parquet":
        rows.to_parquet(path)
    elif kind == ".json":
        path.write_text(json.dumps(rows.to_list()))
    else:
        rows.to_json(path)
    return str(path)


def load(**arguments: object) -> TaskData:
    return add_transfer_set(load_task(DataArguments(**arguments)), DataArguments(**arguments))


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_the_rows_come_after_the_training_rows_and_their_labels_are_ignored(tmp_path, files, kind, caplog):
    """A label column may hold anything: here even a class that training lacks."""
    columns = {"id": ["1", "2", "3"], "label": ["mauve", "red", ""], "text": ["the cup", "a door", "the tree"]}
    with caplog.at_level(logging.INFO):
        data = load(**files, unlabeled_file=write_rows(tmp_path / f"extra.{kind}", columns))
    assert data.unlabelled[:] == {"text": columns["text"], "labels": [-100] * 3, "example_index": [12, 13, 14]}
    assert data.student_train["text"][:] == data.train["text"][:] + columns["text"]
    assert data.student_train["example_index"][:] == list(range(15))
    assert len(data.train) == 12
    [line] = [record.getMessage() for record in caplog.records if "join" in record.getMessage()]
    assert line.endswith(f"extra.{kind}: 3 rows join the 12 training rows, without labels (ignored: id, label)")


def test_the_rows_are_drawn_by_the_sample_seed(tmp_path, files):
    texts = [f"the cup {number}" for number in range(20)]
    extra = write_rows(tmp_path / "extra.csv", {"text": texts})
    data = load(**files, unlabeled_file=extra, max_unlabeled_samples=5, sample_seed=7)
    assert data.unlabelled["text"][:] == Dataset.from_dict({"text": texts}).shuffle(seed=7).select(range(5))["text"][:]


def test_unlabelled_rows_of_a_regression_have_nan(tmp_path, files):
    rows = {"text": ["a cup", "a door", "a tree"], "label": ["0.5", "1.5", "2"]}
    files = {name: write_rows(Path(path), rows) for name, path in files.items()}
    data = load(**files, unlabeled_file=write_rows(tmp_path / "extra.csv", rows))
    assert data.student_train.features["labels"] == Value("float32")
    assert np.isnan(data.student_train["labels"][:]).tolist() == [False] * 3 + [True] * 3


def test_the_built_in_task_and_named_ones_say_what_the_text_columns_are(tmp_path, monkeypatch):
    extra = write_rows(tmp_path / "extra.csv", {"premise": ["a"], "hypothesis": ["b"], "sentence": ["c"]})
    assert load(max_train_samples=9, unlabeled_file=extra).unlabelled["premise"][:] == ["a"]
    split = Dataset.from_dict({"sentence": ["x", "y"], "label": [0, 1]})
    monkeypatch.setattr(tasks, "load_dataset", lambda *_: DatasetDict(train=split, validation=split))
    assert load(task_name="sst2", unlabeled_file=extra).unlabelled["sentence"][:] == ["c"]


def test_rows_that_are_evaluated_or_trained_on_too_are_counted_in_warnings(tmp_path, files, caplog):
    load(**files, unlabeled_file=files["validation_file"])
    assert "12 of the 12 rows of validation are in the unlabelled rows too" in caplog.text
    caplog.clear()
    load(**files, unlabeled_file=files["train_file"])
    assert "12 of the 12 rows of train are in the unlabelled rows too" in caplog.text


# ---- the whole run -----------------------------------------------------------------------------------------------


@pytest.fixture
def flags(tmp_path) -> list[str]:
    """A run with 24 training rows and 9 unlabelled ones, some with words that no training row has."""
    flags = make_project(tmp_path)
    texts = ["the tree and a cup", "a door is not red"] + [f"the green car and {word}" for word in "abcdefg"]
    return [*flags, f"--unlabeled_file={write_rows(tmp_path / 'extra.csv', {'text': texts, 'label': texts})}"]


def read_embedding(folder: Path, word: str) -> torch.Tensor:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    return model.get_input_embeddings().weight[AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(word)]


@pytest.mark.slow
def test_a_run_trains_on_them_and_says_so_in_record_card_and_report(tmp_path, flags, capsys):
    assert main(flags) == 0
    assert main(replace_flag(flags, unlabeled_file=None, output_dir=tmp_path / "without")) == 0
    record, without = (read_run_record(tmp_path / name) for name in ("run", "without"))
    assert [entry["step"] for entry in record.history] == [5, 10]  # 33 rows in batches of 8
    assert [entry["step"] for entry in without.history] == [3, 6]
    assert record.task["rows"] == without.task["rows"] == {"train": 24, "validation": 12, "test": 9}
    assert record.task["fingerprint"] == without.task["fingerprint"]
    assert (record.task["unlabelled_rows"], without.task["unlabelled_rows"]) == (9, 0)
    assert without.task["unlabelled_fingerprint"] is None
    assert re.fullmatch("[0-9a-f]{64}", record.task["unlabelled_fingerprint"])
    card = (tmp_path / "run" / "README.md").read_text()
    assert "| unlabelled training rows | 9, in every term but ce |" in card
    assert "and on 9 rows without labels from a file" in card
    assert "unlabelled" not in (tmp_path / "without" / "README.md").read_text()
    assert re.findall(r"unlabelled training rows +(\d+)", capsys.readouterr().out) == ["9"]
    # Embeddings of words that only unlabelled rows have are trained as well.
    before = read_embedding(tmp_path / "teacher", "and")
    assert not torch.equal(read_embedding(tmp_path / "run", "and"), before)
    assert torch.equal(read_embedding(tmp_path / "without", "and"), before)


@pytest.mark.slow
def test_the_teacher_is_fine_tuned_on_the_labelled_rows_and_found_again(tmp_path, flags, caplog):
    make_project(tmp_path / "other", has_head=False)
    flags = replace_flag(flags, teacher_model_name_or_path=tmp_path / "other" / "teacher", teacher_num_train_epochs=1)
    with caplog.at_level(logging.INFO):
        assert main(replace_flag(flags, unlabeled_file=None, output_dir=tmp_path / "without")) == 0
        caplog.clear()
        assert main(flags) == 0
    assert "found the fine-tuned teacher" in caplog.text
    teachers = [read_run_record(tmp_path / name).teacher for name in ("without", "run")]
    assert teachers[0] == teachers[1]


@pytest.mark.slow
def test_a_teacher_first_fine_tuned_beside_a_transfer_set_is_the_same(tmp_path, flags):
    make_project(tmp_path / "other", has_head=False)
    flags = replace_flag(flags, teacher_model_name_or_path=tmp_path / "other" / "teacher", teacher_num_train_epochs=1)
    assert main(flags) == 0
    alone = replace_flag(flags, unlabeled_file=None, output_dir=tmp_path / "b", cache_dir=tmp_path / "cache b")
    assert main(alone) == 0
    fingerprints = {read_run_record(tmp_path / name).teacher["fingerprint"] for name in ("run", "b")}
    assert len(fingerprints) == 1


@pytest.mark.slow
def test_what_is_chosen_by_data_is_chosen_by_the_labelled_rows(tmp_path, flags):
    flags = replace_flag(flags, layer_strategy="beam")
    assert main(flags) == 0
    assert main(replace_flag(flags, unlabeled_file=None, output_dir=tmp_path / "without")) == 0
    students = [read_run_record(tmp_path / name).student for name in ("run", "without")]
    assert students[0]["layer_scores"] == students[1]["layer_scores"]


@pytest.mark.slow
def test_the_store_holds_the_teachers_outputs_for_all_rows_and_they_are_the_live_ones(tmp_path, flags):
    flags = replace_flag(flags, hidden_weight=0, pkd_weight=0, bf16="false")
    for source in ("stored", "live"):
        assert main(replace_flag(flags, teacher_outputs=source, output_dir=tmp_path / source)) == 0
    manifests = [json.loads(path.read_text()) for path in (tmp_path / "cache").rglob("manifest.json")]
    assert sorted(manifest["spec"]["num_rows"] for manifest in manifests) == [9, 12, 33]  # test, validation, training
    stored, live = (read_run_record(tmp_path / source).history for source in ("stored", "live"))
    for own, other in zip(stored, live, strict=True):
        for name in ("train_ce_loss", "train_kl_loss", "eval_loss"):
            assert own[name] == pytest.approx(other[name], rel=1e-4)


@pytest.mark.slow
def test_several_teachers_all_answer_for_them(tmp_path, flags):
    write_other_teacher(tmp_path / "second", seed=5)
    flags = replace_flag(
        [*flags, f"--additional_teachers={tmp_path / 'second'}"], hidden_weight=0, pkd_weight=0, bf16="false"
    )
    for source in ("stored", "live"):
        assert main(replace_flag(flags, teacher_outputs=source, output_dir=tmp_path / source)) == 0
    manifests = [json.loads(path.read_text()) for path in (tmp_path / "cache").rglob("manifest.json")]
    assert sorted(manifest["spec"]["num_rows"] for manifest in manifests) == [9, 9, 12, 12, 33, 33]
    stored, live = (read_run_record(tmp_path / source).history for source in ("stored", "live"))
    assert [entry["train_kl_loss"] for entry in stored] == pytest.approx([e["train_kl_loss"] for e in live], rel=1e-4)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_them(tmp_path, flags, monkeypatch):
    steps = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2}
    whole, broken = (replace_flag(flags, **steps, output_dir=tmp_path / name) for name in ("whole", "broken"))
    assert main(whole) == 0
    make_trainer = run_distillation.make_trainer

    def make_breaking_trainer(*arguments):
        trainer = make_trainer(*arguments)
        trainer.add_callback(StopAtStep(7))
        return trainer

    monkeypatch.setattr(run_distillation, "make_trainer", make_breaking_trainer)
    with pytest.raises(KeyboardInterrupt):
        main(broken)
    monkeypatch.setattr(run_distillation, "make_trainer", make_trainer)
    assert main(broken) == 0
    assert read_run_record(tmp_path / "broken").metrics == read_run_record(tmp_path / "whole").metrics


@pytest.mark.slow
def test_two_processes_give_the_metrics_of_one(tmp_path, flags):
    plain = {"optim": "sgd", "learning_rate": 0.05, "bf16": "false"}
    make_project(tmp_path / "calm", dropout=0.0)  # dropout draws by the shape of a batch
    flags = replace_flag(flags, **plain, teacher_model_name_or_path=tmp_path / "calm" / "teacher")
    assert main(replace_flag(flags, output_dir=tmp_path / "one")) == 0
    two = replace_flag(flags, per_device_train_batch_size=4, output_dir=tmp_path / "two", cache_dir=tmp_path / "cache2")
    result = launch(TWO_PROCESSES, two)
    assert result.returncode == 0, result.stderr[-3000:]
    first, second = (read_run_record(tmp_path / name) for name in ("one", "two"))
    assert second.task == first.task
    for split, metrics in first.metrics.items():
        assert second.metrics[split] == pytest.approx(metrics, rel=2e-3, abs=2e-3)


# ---- what is refused ---------------------------------------------------------------------------------------------


def test_a_run_begun_on_other_unlabelled_rows_is_not_gone_on_with(tmp_path, flags, capsys):
    assert main(flags) == 0
    record = tmp_path / "run" / "run_record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "running"}))
    write_rows(tmp_path / "extra.csv", {"text": ["the red door"] * 9})
    assert "was begun on other unlabelled rows" in refuse(capsys, flags)


ONLY_LABELS = {"kl_weight": 0, "hidden_weight": 0, "pkd_weight": 0}


@pytest.mark.parametrize("weights", [ONLY_LABELS, ONLY_LABELS | {"kl_weight": "0.0"}])
def test_text_without_labels_and_nothing_but_cross_entropy_is_refused_before_anything_is_loaded(
    flags, capsys, monkeypatch, weights
):
    monkeypatch.setattr(
        "layer_distillation.runs.answering.load_teacher_config", lambda *_: pytest.fail("something was loaded")
    )
    line = refuse(capsys, replace_flag(flags, **weights))
    assert re.search(r"cross-entropy is the only term.*set --kl_weight .* or drop --unlabeled_file", line)


def test_a_teachers_term_that_a_schedule_brings_in_is_one(tmp_path, flags):
    later = ONLY_LABELS | {"schedules": "kl_weight=linear:1"}
    assert main(replace_flag(flags, **later)) == 0


REFUSALS = {
    "missing": (None, "--unlabeled_file .*extra.csv is not a file: check the path"),
    "empty": ("", "--unlabeled_file .*extra.csv is empty"),
    "header alone": ("text\n", "extra.csv has no rows"),
    "no such column": ("texts\nthe cup\n", r"extra.csv has no column 'text'.*--unlabeled_file\. Did you mean 'texts'"),
    "not UTF-8": (b"text\n\xff\xfe\n", "is not UTF-8"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_file_that_cannot_serve_ends_in_one_line_before_any_training(case, tmp_path, flags, capsys, monkeypatch):
    content, message = REFUSALS[case]
    monkeypatch.setattr(
        "layer_distillation.runs.preparation.prepare_teacher", lambda *_: pytest.fail("the teacher was loaded")
    )
    (tmp_path / "extra.csv").unlink()
    if content is not None:
        (tmp_path / "extra.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refuse(capsys, flags)
    assert line.startswith("run_distillation.py: error: ")
    assert re.search(message, line), line
