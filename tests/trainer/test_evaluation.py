"""What a user of the stock Trainer takes for granted of evaluate and predict; the right values are its own."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import EvalPrediction, Trainer, TrainingArguments

from conftest import make_bert, make_rows, pad_rows
from distill_trainer import DistillationTrainer, DistillationTrainingArguments

NUM_ROWS = 21
LOSS_OFF = {"hidden_weight": 0.0, "pkd_weight": 0.0}


def make_pair(folder: Path, with_teacher: bool = True, **options: object) -> tuple[DistillationTrainer, Trainer]:
    """Ours, and the stock Trainer of the same student and rows."""
    arguments = {name: options.pop(name) for name in list(options) if name in TrainingArguments.__dataclass_fields__}
    settings = {"output_dir": str(folder), "use_cpu": True, "per_device_eval_batch_size": 4, "disable_tqdm": True}
    settings |= {"bf16": False, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    settings |= {"report_to": "none"} | arguments
    shared = {"eval_dataset": Dataset.from_list(make_rows(NUM_ROWS, seed=9)), "data_collator": pad_rows} | options
    ours = DistillationTrainer(
        model=make_bert(2, seed=2),
        args=DistillationTrainingArguments(**settings, **LOSS_OFF),
        teacher=make_bert(4, seed=1) if with_teacher else None,
        **shared,
    )
    return ours, Trainer(model=make_bert(2, seed=2), args=TrainingArguments(**settings), **shared)


class Seen:
    """A user's metrics function, which keeps what it was given."""

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        self.prediction = prediction
        even, odd = prediction.label_ids[::2], prediction.label_ids[1::2]
        is_right = np.asarray(prediction.predictions).argmax(-1) == prediction.label_ids
        return {
            "even": float(is_right[::2].mean()),
            "odd": float(is_right[1::2].mean()),
            "sum": float(even.sum() - odd.sum()),
        }


def own_metrics(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name.rsplit("_", 1)[-1] in ("even", "odd", "sum")}


@pytest.mark.parametrize("with_teacher", [True, False])
def test_the_user_s_metrics_see_the_data_set_s_order(tmp_path, with_teacher):
    ours, stock = make_pair(tmp_path, with_teacher)
    ours.compute_metrics, stock.compute_metrics = Seen(), Seen()
    assert own_metrics(ours.evaluate()) == own_metrics(stock.evaluate())
    np.testing.assert_array_equal(ours.compute_metrics.prediction.label_ids, stock.compute_metrics.prediction.label_ids)
    np.testing.assert_allclose(
        ours.compute_metrics.prediction.predictions, stock.compute_metrics.prediction.predictions, rtol=1e-4, atol=1e-5
    )
    rows = Dataset.from_list(make_rows(NUM_ROWS, seed=9))
    assert own_metrics(ours.predict(rows).metrics) == own_metrics(stock.predict(rows).metrics)


def test_several_evaluation_sets_keep_their_order(tmp_path):
    sets = {name: Dataset.from_list(make_rows(NUM_ROWS, seed=seed)) for name, seed in (("a", 5), ("b", 6))}
    ours, stock = make_pair(tmp_path, eval_dataset=sets, compute_metrics=Seen())
    mine, theirs = own_metrics(ours.evaluate()), own_metrics(stock.evaluate())
    assert mine == theirs
    assert mine.keys() == {f"eval_{name}_{metric}" for name in sets for metric in ("even", "odd", "sum")}


def test_the_first_of_several_evaluation_sets_chooses_the_best_student(tmp_path):
    sets = {name: Dataset.from_list(make_rows(NUM_ROWS, seed=seed)) for name, seed in (("a", 5), ("b", 6))}
    options = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}
    options |= {"num_train_epochs": 1, "eval_dataset": sets, "train_dataset": Dataset.from_list(make_rows(8))}
    for metric in ("loss", "eval_loss", "b_loss"):
        args = DistillationTrainingArguments(
            str(tmp_path), use_cpu=True, disable_tqdm=True, num_train_epochs=1, metric_for_best_model=metric, **LOSS_OFF
        )
        rows = {name: options[name] for name in ("eval_dataset", "train_dataset")}
        trainer = DistillationTrainer(make_bert(2), args, make_bert(4), data_collator=pad_rows, **rows)
        trainer.train()
        log = {name: value for entry in trainer.state.log_history for name, value in entry.items()}
        assert trainer.state.best_metric == log["eval_b_loss" if metric == "b_loss" else "eval_a_loss"]
        assert args.metric_for_best_model == metric  # the user's own


def test_logits_are_preprocessed_for_the_user_s_metrics_alone(tmp_path):
    calls = []

    def decide(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        calls.append((logits.shape[1:], labels.shape == logits.shape[:1]))
        return logits.argmax(dim=-1)

    def score(prediction: EvalPrediction) -> dict[str, float]:
        hits = prediction.predictions == prediction.label_ids
        return {"even": float(hits[::2].mean()), "odd": float(hits[1::2].mean())}

    plain, _ = make_pair(tmp_path)
    ours, stock = make_pair(tmp_path, preprocess_logits_for_metrics=decide, compute_metrics=score)
    mine = ours.evaluate()
    assert set(calls) == {((3,), True)}  # the student's alone, (batch, classes)
    assert own_metrics(mine) == own_metrics(stock.evaluate())
    before = plain.evaluate()
    assert {name: mine[name] for name in ("eval_loss", "eval_kl_to_teacher")} == {
        name: before[name] for name in ("eval_loss", "eval_kl_to_teacher")
    }
    rows = Dataset.from_list(make_rows(NUM_ROWS, seed=9))
    assert ours.predict(rows).predictions.tolist() == stock.predict(rows).predictions.tolist()


def test_preprocessed_logits_may_be_nested_but_have_one_entry_per_row(tmp_path):
    def split(logits: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return logits.argmax(dim=-1), logits

    rows = Dataset.from_list(make_rows(NUM_ROWS, seed=9))
    ours, stock = make_pair(tmp_path, preprocess_logits_for_metrics=split)
    for mine, theirs in zip(ours.predict(rows).predictions, stock.predict(rows).predictions, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    ours, _ = make_pair(tmp_path, preprocess_logits_for_metrics=lambda logits, _: logits.sum()[None])
    with pytest.raises(ValueError, match=r"shape \(6,\) for 21 rows: give one entry per row"):
        ours.predict(rows)


def test_predict_gives_the_student_s_logits_and_the_teacher_s_by_name(tmp_path):
    rows = Dataset.from_list(make_rows(NUM_ROWS, seed=9))
    ours, stock = make_pair(tmp_path)
    output = ours.predict(rows)
    logits, labels, _ = output  # as stock's
    np.testing.assert_allclose(logits, stock.predict(rows).predictions, rtol=1e-4, atol=1e-5)
    assert np.argmax(logits, axis=1).shape == (NUM_ROWS,)
    assert labels.tolist() == rows["labels"]
    batch = pad_rows(list(rows))
    with torch.no_grad():
        taught = ours.teacher(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    np.testing.assert_allclose(output.teacher_logits, taught, rtol=1e-4, atol=1e-5)
    assert make_pair(tmp_path, with_teacher=False)[0].predict(rows).teacher_logits is None


def test_inputs_and_losses_are_given_to_metrics_that_ask_for_them(tmp_path):
    ours, stock = make_pair(tmp_path, include_for_metrics=["inputs", "loss"])
    ours.compute_metrics, stock.compute_metrics = Seen(), Seen()
    ours.evaluate(), stock.evaluate()
    mine, theirs = ours.compute_metrics.prediction, stock.compute_metrics.prediction
    for own, other in zip(mine.inputs, theirs.inputs, strict=True):
        assert own[own > 0].tolist() == other[other > 0].tolist()  # how a row is padded depends on its batch
    labels, logits = torch.tensor(mine.label_ids), torch.tensor(mine.predictions)
    np.testing.assert_allclose(mine.losses, F.cross_entropy(logits, labels, reduction="none"), rtol=1e-5)


def test_rows_without_a_mask_are_all_real(tmp_path):
    rows = [row for row in make_rows(40, seed=9) if len(row["input_ids"]) == 7]
    bare = [{name: row[name] for name in ("input_ids", "labels")} for row in rows]

    def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
        return {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}

    losses = []
    for given in (rows, bare):
        ours, stock = make_pair(
            tmp_path, eval_dataset=Dataset.from_list(given), data_collator=collate, per_device_eval_batch_size=64
        )
        mine = ours.evaluate()
        assert mine["eval_loss"] == pytest.approx(stock.evaluate()["eval_loss"], rel=1e-5)
        losses.append((mine["eval_loss"], ours.compute_loss(ours.model.eval(), collate(given)).item()))
    assert losses[0] == losses[1]


@pytest.mark.parametrize("label", [-100, -1])
def test_a_label_below_0_is_none_as_in_the_test_rows_of_glue(tmp_path, label):
    ours, _ = make_pair(tmp_path)
    rows = Dataset.from_list([row | {"labels": label} for row in make_rows(NUM_ROWS, seed=9)])
    scores = ours.evaluate(rows)
    assert scores["eval_kl_to_teacher"] == pytest.approx(ours.evaluate()["eval_kl_to_teacher"])
    assert "eval_loss" not in scores


def test_an_evaluation_set_without_labels_is_scored_for_its_closeness_to_the_teacher(tmp_path):
    rows = Dataset.from_list(make_rows(NUM_ROWS, seed=9))
    ours, stock = make_pair(tmp_path, compute_metrics=Seen())
    labelled = ours.evaluate()
    bare = rows.remove_columns(["labels"])
    unlabelled = ours.evaluate(bare)
    assert unlabelled["eval_kl_to_teacher"] == labelled["eval_kl_to_teacher"]
    assert not {"eval_loss", "eval_even"} & unlabelled.keys()
    output, stock_output = ours.predict(bare), stock.predict(bare)
    assert output.label_ids is stock_output.label_ids is None
    np.testing.assert_allclose(output.predictions, stock_output.predictions, rtol=1e-4, atol=1e-5)


def test_only_the_loss_is_computed_where_only_that_is_wanted(tmp_path):
    ours, _ = make_pair(tmp_path, prediction_loss_only=True, compute_metrics=Seen())
    plain, _ = make_pair(tmp_path)
    metrics = ours.evaluate()
    assert metrics["eval_loss"] == plain.evaluate()["eval_loss"]
    assert "eval_even" not in metrics
    assert ours.predict(ours.eval_dataset).predictions is None


def test_a_loader_of_the_user_s_own_keeps_its_order(tmp_path):
    ours, _ = make_pair(tmp_path, compute_metrics=Seen())
    rows = list(ours.eval_dataset)
    ours.get_eval_dataloader = lambda _=None: torch.utils.data.DataLoader(rows, batch_size=4, collate_fn=pad_rows)
    ours.evaluate()
    assert ours.compute_metrics.prediction.label_ids.tolist() == [row["labels"] for row in rows]


def test_json_of_what_is_scored(tmp_path):
    ours, _ = make_pair(tmp_path, compute_metrics=lambda _: {"score": np.float32(0.5)})
    assert json.loads(json.dumps(ours.evaluate()))["eval_score"] == 0.5
