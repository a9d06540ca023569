"""The sweep benchmark of taggers: run_ner's preparation, the recipe's loss over tagged pieces, one F1 for all ways."""

import json
import math
from dataclasses import asdict, replace

import pytest
import torch
from transformers import BertForTokenClassification

from benchmarks import peers, untimed
from benchmarks.bench_sweep import main
from benchmarks.sweep_settings import TAGS, WAYS_OF_TAGS, Places, SweepSettings, make_command
from student_init import build_student
from tiny_kinds import TAGS as TAG_NAMES
from tiny_kinds import make_kind_project, make_tag_rows

SIZES = {"max_length": 16, "epochs": 2, "student_num_layers": 2, "batch_size": 8, "learning_rate": 1e-3}


@pytest.fixture
def settings(tmp_path) -> SweepSettings:
    make_kind_project(tmp_path, TAGS)
    files = {f"{name}_file": str(tmp_path / f"{name}.jsonl") for name in ("train", "validation", "test")}
    return SweepSettings(teacher=str(tmp_path / "teacher"), task_type=TAGS, **files, **SIZES)


@pytest.fixture
def places(tmp_path, settings) -> Places:
    places = Places(tmp_path / "bench")
    places.folder.mkdir()
    places.settings.write_text(json.dumps(asdict(settings)))
    assert untimed.main([str(places.folder), "prepare", "odd"]) == 0
    return places


def test_the_recipes_loss_is_of_tagged_pieces_alone():
    student = torch.tensor([[[0.0, math.log(3.0)], [5.0, -5.0], [0.0, math.log(3.0)]]])
    labels = torch.tensor([[0, -100, 1]])
    taken = peers.take_labelled(student, student * 2, labels)
    assert [len(tensor) for tensor in taken] == [2, 2, 2]
    plain = peers.take_labelled(student[:, 0], student[:, 0], labels[:, 0])
    assert torch.equal(plain[0], student[:, 0])
    expected = peers.compute_recipe_loss(student[0, [0, 2]], 2 * student[0, [0, 2]], labels[0, [0, 2]])
    assert peers.compute_recipe_loss(*taken).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("way", ["stock", "docs_recipe"])
def test_a_peer_leaves_a_trained_tagger_that_is_scored_by_its_entities(places, way):
    peers.main([str(places.folder), way, "odd", "7"])
    student = BertForTokenClassification.from_pretrained(places.get_student((way, "odd", 7)))
    start = build_student(BertForTokenClassification.from_pretrained(places.teacher), [1, 3])
    assert student.config.distillation["student_layers"] == [1, 3]
    assert list(student.config.id2label.values()) == TAG_NAMES
    assert 1e-4 < (student.classifier.weight - start.classifier.weight).abs().max().item() < 0.1
    state = json.loads(next(places.get_student((way, "odd", 7)).glob("checkpoint-*/trainer_state.json")).read_text())
    assert "eval_entity_f1" in {name for entry in state["log_history"] for name in entry}
    assert untimed.main([str(places.folder), "score", f"{way}-odd-seed7"]) == 0
    scores = json.loads(places.scores.read_text())
    assert 0 <= scores[f"{way}-odd-seed7"]["entity_f1"] <= 1


def test_a_tagger_that_is_right_scores_1(places, monkeypatch):
    """Also on rows of several lengths; a perfect model is made of the rows' own labels."""
    data = peers.read_rows(peers.read_settings(places), untimed.AutoTokenizer.from_pretrained(places.teacher), True)
    model = BertForTokenClassification.from_pretrained(places.teacher)
    labels = {tuple(row["input_ids"]): row["labels"] for row in data.test}

    def answer(input_ids, attention_mask, **_):
        logits = torch.zeros(*input_ids.shape, len(TAG_NAMES))
        for row, (ids, mask) in enumerate(zip(input_ids, attention_mask, strict=True)):
            for place, label in enumerate(labels[tuple(ids[mask == 1].tolist())]):
                logits[row, place, max(label, 0)] = 1.0
        return type("Output", (), {"logits": logits})

    monkeypatch.setattr(model, "forward", answer)
    tokenizer = untimed.AutoTokenizer.from_pretrained(places.teacher)
    assert untimed.measure_entity_f1(model, data, data.test, tokenizer) == 1.0
    assert len(data.test) == len(make_tag_rows(9, 2))


def test_this_project_is_told_the_kind(settings, places):
    command = make_command(("this_project_logits", "odd", 3), settings, places)
    assert command[command.index("--task_type") + 1] == TAGS
    plain = make_command(("this_project_logits", "odd", 3), replace(settings, task_type="text-classification"), places)
    assert "--task_type" not in plain


def test_data_of_another_kind_and_ways_without_a_tagger_are_refused(tmp_path, settings, places, capsys):
    places.settings.write_text(json.dumps(asdict(replace(settings, task_type="text-classification"))))
    assert untimed.main([str(places.folder), "prepare", "odd"]) == 2
    assert "is for token-classification: this benchmark has --task_type" in capsys.readouterr().err
    flags = [f"--{name}={getattr(settings, name)}" for name in ("teacher", "train_file", "validation_file")]
    assert main([*flags, f"--task_type={TAGS}", "--ways", "expert"]) == 2
    assert f"--ways expert trains no {TAGS}: give some of {', '.join(WAYS_OF_TAGS)}" in capsys.readouterr().err


@pytest.mark.slow
def test_a_tiny_sweep_of_tags_from_end_to_end(tmp_path, settings, capsys):
    given = {
        name: value for name, value in asdict(settings).items() if name not in ("fp32", "max_train_samples", "code")
    }
    flags = [f"--{name}={value}" for name, value in given.items()]
    ways = ["stock", "docs_recipe", "this_project_logits"]
    assert main([*flags, "--ways", *ways, "--strategies", "odd", f"--output_dir={tmp_path / 'bench'}"]) == 0
    printed = capsys.readouterr().out
    report = json.loads(printed.splitlines()[-1])
    assert [row["way"] for row in report["summary"]] == ways
    assert all(0 <= row["entity_f1"] <= 1 for row in report["summary"])
    assert "test entity_f1" in printed
    assert "teacher entity_f1: " in printed
