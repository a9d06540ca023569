"""Kinds whose rows are several inputs train as exactly as classes do: multiple choice, and windows over a context."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from layer_distillation.outputs.compared import run_model
from tiny_kinds import make_data, make_trainer

KINDS = ("multiple-choice", "question-answering")


def test_choices_are_classes_by_hand(tmp_path):
    data, tokenizer = make_data(tmp_path, "multiple-choice")
    trainer = make_trainer(tmp_path, data, tokenizer, hidden_weight=0.0, pkd_weight=0.0)
    batch = trainer.data_collator([data.train[index] for index in range(5)])
    inputs = {name: values for name, values in batch.items() if name not in ("labels", "example_index")}
    student, teacher = (model(**inputs).logits for model in (trainer.model, trainer.teacher))
    assert student.shape == (5, 3)
    expected = F.cross_entropy(student, batch["labels"]) * trainer.args.ce_weight
    tempered = F.log_softmax(student / 2, -1), F.log_softmax(teacher / 2, -1)
    expected = expected + 4 * F.kl_div(*tempered, log_target=True, reduction="batchmean")
    assert batch["labels"].tolist()[-1] == -100
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_spans_are_over_allowed_positions_by_hand(tmp_path):
    data, tokenizer = make_data(tmp_path, "question-answering")
    trainer = make_trainer(tmp_path, data, tokenizer, hidden_weight=0.0, pkd_weight=0.0)
    rows = [data.train[index] for index in range(len(data.train))]
    batch = trainer.data_collator(rows)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    student, teacher = (run_model(model, inputs).logits for model in (trainer.model, trainer.teacher))
    task, divergence, labelled = 0.0, 0.0, 0
    for window, row in enumerate(rows):
        allowed = [place for place, mark in enumerate(row["item_mask"]) if mark]
        for side in (0, 1):
            own, other = student[window, allowed, side], teacher[window, allowed, side]
            tempered = F.log_softmax(own / 2, -1), F.log_softmax(other / 2, -1)
            divergence += 4 * F.kl_div(*tempered, log_target=True, reduction="sum")
            if row["labels"][side] >= 0:
                task += F.cross_entropy(own, torch.tensor(allowed.index(row["labels"][side])))
                labelled += 1
    assert 0 < labelled < 2 * len(rows)
    expected = trainer.args.ce_weight * task / labelled + divergence / (2 * len(rows))
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_stock_s_own_loss_is_ours_where_every_position_is_allowed(tmp_path):
    data, tokenizer = make_data(tmp_path, "question-answering")
    trainer = make_trainer(tmp_path, data, tokenizer, kl_weight=0.0, hidden_weight=0.0, pkd_weight=0.0, ce_weight=1.0)
    rows = [row for row in data.train if row["labels"][0] >= 0 and len(row["input_ids"]) == 14]
    batch = trainer.data_collator([row | {"item_mask": [1] * 14} for row in rows])
    starts, ends = batch["labels"].unbind(dim=1)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    stock = trainer.model(**inputs, start_positions=starts, end_positions=ends).loss
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(stock.item(), rel=1e-5)


def test_padding_on_the_left_changes_neither_loss_nor_answers(tmp_path):
    data, tokenizer = make_data(tmp_path, "question-answering")
    trainer = make_trainer(tmp_path, data, tokenizer, hidden_weight=0.0, pkd_weight=0.0)
    trainer.model.bert.embeddings.position_embeddings.weight.data.zero_()  # they would differ
    trainer.teacher.bert.embeddings.position_embeddings.weight.data.zero_()
    right = trainer.predict(data.first_validation)
    tokenizer.padding_side = "left"
    left_data = dataclasses.replace(data, pads_left=True)
    trainer.compute_metrics = lambda prediction: left_data.score(prediction.predictions, prediction.label_ids)
    left = trainer.predict(data.first_validation)
    for name in ("test_loss", "test_kl_to_teacher", "test_f1", "test_exact_match"):
        assert left.metrics[name] == pytest.approx(right.metrics[name], rel=1e-4), name
    answers = data.answer_rows("validation", right.predictions).answers
    assert left_data.answer_rows("validation", left.predictions).answers.tolist() == answers.tolist()
