"""A reranker through the whole command: files of queries, a teacher of one logit, students, comparison, cards."""

import json
import random

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score
from transformers import AutoTokenizer

import run_distillation
from compare_strategies import main as compare
from conftest import make_bert
from layer_distillation.comparison.runs import read_run
from layer_distillation.records.run_record import read_run_record
from layer_distillation.runs.predictions import score_logits
from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.loading import load_task
from layer_distillation.tasks.tokenizing import tokenize_task
from layer_distillation.tasks.transfer_set import add_transfer_set
from test_processes import LAUNCHES, TWO_PROCESSES, run
from tiny_kinds import write_json_lines
from tiny_project import COLOURS, NOUNS, WORDS, write_tokenizer


def make_queries(num_rows: int, seed: int) -> list[dict]:
    """The positive text names the query's colour."""
    draw, rows = random.Random(seed), []
    for index in range(num_rows):
        colours, noun = draw.sample(COLOURS, 3), draw.choice(NOUNS)
        query = f"a {colours[0]} {noun} and the {NOUNS[index % 6]} is {'not ' * (index // 6)}{COLOURS[seed]}"
        texts = [f"the {noun} is {colour}" for colour in colours]
        rows.append({"query": query, "positive": texts[0], "negatives": texts[1:]})
    return rows


def write_files(folder) -> dict[str, str]:
    sizes = {"train": 15, "validation": 12, "test": 9}
    return {
        f"{name}_file": str(write_json_lines(folder / f"{name}.jsonl", make_queries(size, seed)))
        for seed, (name, size) in enumerate(sizes.items())
    }


def load_pairs(folder, **flags):
    write_tokenizer(folder)
    tokenizer, arguments = AutoTokenizer.from_pretrained(folder), DataArguments(**write_files(folder), **flags)
    return tokenize_task(add_transfer_set(load_task(arguments, ("LABEL_0",)), arguments), tokenizer, 24)


def test_rows_are_queries_until_they_are_tokenized_and_pairs_then(tmp_path):
    unlabelled = tmp_path / "more.jsonl"
    write_json_lines(unlabelled, [{"query": "the red cup", "text": "a cup"}, {"query": "the red cup", "text": "red"}])
    data = load_pairs(tmp_path, max_train_samples=5, unlabeled_file=str(unlabelled))
    assert {name: len(rows) for name, rows in data.list_splits()} == {"train": 15, "validation": 36, "test": 27}
    assert {name: data.count_rows(name, rows) for name, rows in data.list_splits()}["validation"] == 12
    assert data.train["query_index"][:] == [index // 3 for index in range(15)]
    assert data.train["labels"][:6] == [1, 0, 0, 1, 0, 0]
    assert data.student_train["example_index"][:] == list(range(17))
    assert data.student_train["query_index"][-2:] == [5, 5]
    assert np.isnan(data.unlabelled["labels"][:]).all()
    assert data.text_facts["train"]["rows"] == 15
    assert data.metric_names == ("ndcg_at_10",)


def test_every_split_is_scored_by_its_own_queries(tmp_path):
    data, draw = load_pairs(tmp_path), np.random.default_rng(0)
    logits = {name: draw.normal(size=(len(rows), 1)) for name, rows in data.list_splits() if name != "train"}
    for name, scores in score_logits(data, logits, None).items():
        labels = np.asarray(dict(data.list_splits())[name]["labels"][:])
        expected = ndcg_score(labels.reshape(-1, 3), logits[name].reshape(-1, 3), k=10)
        assert scores["ndcg_at_10"] == pytest.approx(expected, abs=1e-6)
        probability = 1 / (1 + np.exp(-logits[name][:, 0]))
        cross_entropy = -np.log(np.where(labels == 1, probability, 1 - probability)).mean()
        assert scores["loss"] == pytest.approx(cross_entropy)


def make_project(folder, **flags) -> list[str]:
    dropout = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    make_bert(3, 1, seed=1, vocab_size=len(WORDS), **dropout).save_pretrained(folder / "teacher")
    write_tokenizer(folder / "teacher")
    settings = write_files(folder) | {
        "teacher_model_name_or_path": folder / "teacher",
        "cache_dir": folder / "cache",
        "max_length": 24,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 12,
        "learning_rate": 1e-3,
        **flags,
    }
    return [f"--{name}={value}" for name, value in settings.items()] + ["--use_cpu", "--disable_tqdm", "true"]


@pytest.mark.slow
def test_whole_runs_and_their_comparison(tmp_path, capsys):
    flags = make_project(tmp_path, margin_weight=0.5)
    for strategy in ("top", "bottom"):
        folder = tmp_path / "runs" / strategy
        assert run_distillation.main([*flags, f"--output_dir={folder}", f"--layer_strategy={strategy}"]) == 0
    record, run = read_run_record(folder), read_run(folder)
    assert (record.task["kind"], record.task["rows"]["test"]) == ("reranking", 9)
    logits, labels = (run.arrays[f"test.{name}"].reshape(9, 3) for name in ("student_logits", "labels"))
    assert record.metrics["test"]["ndcg_at_10"] == pytest.approx(ndcg_score(labels, logits, k=10), abs=1e-6)
    assert "train_margin_loss" in record.history[0]
    card = (folder / "README.md").read_text(encoding="utf-8")
    for line in ("pipeline_tag: text-ranking", "library_name: sentence-transformers", "- cross-encoder", "- reranker"):
        assert line in card
    assert "from sentence_transformers import CrossEncoder" in card
    assert "0.5 margin" in card
    assert json.loads((folder / "config.json").read_text())["sentence_transformers"]["activation_fn"].endswith(
        "Sigmoid"
    )
    assert compare([str(tmp_path / "runs"), "--output_dir", str(tmp_path / "compared"), "--no_pictures"]) == 0
    unit = json.loads((tmp_path / "compared" / "comparison.json").read_text())["units"][0]
    assert (unit["metric_name"], unit["rows"]) == ("ndcg_at_10", 9)


@pytest.mark.slow
def test_two_processes_give_the_metrics_of_one(tmp_path):
    """45 pairs of 15 queries in global batches of 12: the last one has 9, of which one process gets 6, the other 3."""
    flags = [*make_project(tmp_path, margin_weight=1), "--optim=sgd", "--learning_rate=0.05", "--bf16=false"]
    one = run(LAUNCHES["python"], flags, tmp_path / "one")
    two = run(TWO_PROCESSES, [*flags, "--per_device_train_batch_size=6"], tmp_path / "two")
    for split, metrics in one.items():
        assert two[split] == pytest.approx(metrics, rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_a_new_head_is_trained_on_the_scores_and_texts_alone_learn_from_the_teacher(tmp_path):
    flags = make_project(tmp_path, teacher_num_train_epochs=12, teacher_learning_rate=5e-3, label_column="none")
    make_bert(3, 1, seed=1, vocab_size=len(WORDS)).bert.save_pretrained(tmp_path / "encoder")
    write_tokenizer(tmp_path / "encoder")
    assert run_distillation.main([*flags, f"--output_dir={tmp_path / 'alone'}"]) == 0
    record = read_run_record(tmp_path / "alone")
    assert record.arguments["ce_weight"] == 0
    assert "train" in record.task["without_gold"]
    assert 0 < record.metrics["test"]["ndcg_at_10"] <= 1
    flags = [flag for flag in flags if "label_column" not in flag]
    flags += [f"--teacher_model_name_or_path={tmp_path / 'encoder'}", f"--output_dir={tmp_path / 'tuned'}"]
    assert run_distillation.main(flags) == 0
    record = read_run_record(tmp_path / "tuned")
    assert record.teacher["metrics"]["validation"]["loss"] < 0.69  # of a coin
    assert torch.isfinite(torch.tensor(record.metrics["test"]["loss"]))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"margin_weight": 1, "per_device_train_batch_size": 8}, "3 candidates, and --per_device_train_batch_size 8"),
        ({"metrics": "accuracy"}, "--metrics accuracy cannot score an order of candidates"),
        ({"label_kind": "numbers", "task_type": "reranking"}, "--label_kind numbers goes with --task_type text-class"),
        ({"logit_cosine_weight": 1}, "--logit_cosine_weight above 0 on a regression task"),
        ({"margin_weight": 1, "task_type": "text-classification", "text_columns": "query,positive", "label_column":
          "query"}, "different columns, not the label column"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_line_before_any_training(tmp_path, capsys, flags, message):
    with pytest.raises(SystemExit) as ended:
        run_distillation.main([*make_project(tmp_path, **flags), f"--output_dir={tmp_path / 'run'}"])
    assert ended.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert not (tmp_path / "run" / "checkpoint-1").exists()


@pytest.mark.parametrize("flags", [{"temperature": 4}, {"schedules": "temperature=linear:2"}, {"temperature": 1}])
def test_a_temperature_that_nothing_reads_is_named(tmp_path, capsys, flags):
    ends_early = {"margin_weight": 1, "per_device_train_batch_size": 8}
    with pytest.raises(SystemExit):
        run_distillation.main([*make_project(tmp_path, **ends_early, **flags), f"--output_dir={tmp_path / 'run'}"])
    said = "changes nothing here: a single score has no softmax" in capsys.readouterr().err
    assert said == (flags != {"temperature": 1})


def test_a_teacher_of_several_outputs_is_refused(tmp_path, capsys):
    flags = make_project(tmp_path)
    make_bert(3, 2, vocab_size=len(WORDS)).save_pretrained(tmp_path / "teacher")
    with pytest.raises(SystemExit):
        run_distillation.main([*flags, f"--output_dir={tmp_path / 'run'}"])
    assert "a task of reranking has one output, and the model" in capsys.readouterr().err
