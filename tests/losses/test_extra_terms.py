"""A user's own terms: summed exactly like the others, logged, and refused where they cannot be meant."""

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor

from conftest import make_bert, make_rows, pad_rows
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.losses.terms import ComparedBatch
from tiny_training import OFF

PLAIN = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0, "lr_scheduler_type": "constant", "warmup_steps": 0}


def make_trainer(folder, extra_terms, with_teacher=True, **options) -> DistillationTrainer:
    settings = {"use_cpu": True, "bf16": False, "disable_tqdm": True, "num_train_epochs": 1, "eval_strategy": "no"}
    settings |= {"save_strategy": "no", "load_best_model_at_end": False, "per_device_train_batch_size": 8}
    return DistillationTrainer(
        make_bert(2, seed=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
        DistillationTrainingArguments(str(folder), **{**settings, **PLAIN, **OFF, "ce_weight": 0.1, **options}),
        make_bert(4, seed=1) if with_teacher else None,
        data_collator=pad_rows,
        train_dataset=Dataset.from_list(make_rows(22)),
        extra_terms=extra_terms,
    )


def compare_rows(batch: ComparedBatch) -> Tensor:
    """The mean over rows of a squared distance of logits."""
    return (batch.student.logits - batch.teacher.logits).square().sum(dim=-1).mean()


def contrast(batch: ComparedBatch) -> Tensor:
    """InfoNCE: each row's student state is to be nearest its own teacher's state among those of the batch."""
    own, taught = (states[-1][:, 0].float() for states in (batch.student.hidden_states, batch.teacher.hidden_states))
    similarity = F.normalize(own, dim=-1) @ F.normalize(taught, dim=-1).T / 0.1
    return F.cross_entropy(similarity, torch.arange(len(own)))


def test_a_contrastive_term_is_weighted_summed_and_learnt(tmp_path):
    trainer = make_trainer(tmp_path, {"contrast": (0.5, contrast, ("hidden",))})
    batch = pad_rows(make_rows(8))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        models = trainer.model.eval(), trainer.teacher
        outputs = [model(**inputs, output_hidden_states=True) for model in models]
        own, taught = outputs[0].hidden_states[2][:, 0], outputs[1].hidden_states[4][:, 0]  # the ends of the blocks
        similarity = F.cosine_similarity(own[:, None], taught[None], dim=-1) / 0.1
        by_hand = -similarity.log_softmax(dim=-1).diagonal().mean()
        ce = F.cross_entropy(outputs[0].logits, batch["labels"])
        assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx((0.1 * ce + 0.5 * by_hand).item())
    trainer.args.num_train_epochs, trainer.args.logging_strategy = 8, "epoch"
    trainer.train()
    logged = [entry["contrast_loss"] for entry in trainer.state.log_history if "contrast_loss" in entry]
    assert logged[-1] < 0.9 * logged[0]


def test_accumulation_and_a_ragged_last_step_are_the_whole_batch(tmp_path):
    """22 rows in steps of 8: micro-batches of 4 and, last, of 4 and 2."""
    terms = {"rows": (0.7, compare_rows)}
    whole = make_trainer(tmp_path / "1", terms, per_device_train_batch_size=8)
    split = make_trainer(tmp_path / "2", terms, per_device_train_batch_size=4, gradient_accumulation_steps=2)
    logs = []
    for trainer in (whole, split):
        trainer.train()
        logs.append(next(entry for entry in trainer.state.log_history if "rows_loss" in entry))
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(tensor, split.model.state_dict()[name], rtol=2e-5, atol=2e-6)
    assert logs[0]["rows_loss"] == pytest.approx(logs[1]["rows_loss"], rel=1e-5)
    assert logs[0]["loss"] == pytest.approx(0.1 * logs[0]["ce_loss"] + 0.7 * logs[0]["rows_loss"], rel=1e-5)


def test_a_built_in_term_written_anew_trains_the_same_student(tmp_path):
    def divergence(batch: ComparedBatch) -> Tensor:
        taught, own = batch.teacher.logits.log_softmax(-1), batch.student.logits.log_softmax(-1)
        return (taught.exp() * (taught - own)).sum(dim=-1).mean()

    ours = make_trainer(tmp_path / "1", None, kl_weight=0.5)
    own = make_trainer(tmp_path / "2", {"divergence": (0.5, divergence)})
    for trainer in (ours, own):
        trainer.train()
    for name, tensor in ours.model.state_dict().items():
        torch.testing.assert_close(tensor, own.model.state_dict()[name], rtol=2e-5, atol=2e-6)


def test_it_counts_in_both_stages_and_without_a_teacher(tmp_path):
    stages = {"hidden_weight": 1.0, "num_train_epochs": 2, "intermediate_epochs": 1.0, "logging_strategy": "epoch"}
    trainer = make_trainer(tmp_path / "1", {"rows": (1.0, compare_rows)}, **stages)
    trainer.train()
    assert sum("rows_loss" in entry for entry in trainer.state.log_history) == 2
    plain = make_trainer(tmp_path / "2", {"size": (1.0, lambda batch: batch.student.logits.square().mean())}, False)
    plain.train()
    logged = next(entry for entry in plain.state.log_history if "size_loss" in entry)
    assert logged["loss"] == pytest.approx(logged["ce_loss"] + logged["size_loss"], rel=1e-5)


def test_a_term_of_weight_zero_is_not_called(tmp_path):
    make_trainer(tmp_path, {"off": (0.0, lambda _: 1 / 0)}).train()


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"kl": (1.0, compare_rows)}, "kl_loss is logged already"),
        ({"eval": (1.0, compare_rows)}, "eval_loss is logged already"),
        ({"my term": (1.0, compare_rows)}, "take a word"),
        ({"mine": (-1.0, compare_rows)}, "-1.0: a weight is a number, at least 0"),
        ({"mine": (float("nan"), compare_rows)}, "nan: a weight is a number"),
        ({"mine": compare_rows}, r"give \(weight, function\)"),
        ({"mine": (1.0, "kl")}, r"give \(weight, function\)"),
        ({"mine": (1.0, compare_rows, ("ce",))}, r"\['ce'\]: name terms whose states it compares"),
        ({"mine": (1.0, compare_rows, "hidden")}, "'hidden': name terms"),
    ],
)
def test_terms_that_cannot_be_meant_are_refused(tmp_path, terms, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, terms)


def test_states_that_no_teacher_gives_are_refused(tmp_path):
    with pytest.raises(ValueError, match="matched with a teacher's: give a teacher"):
        make_trainer(tmp_path, {"mine": (1.0, contrast, ("hidden",))}, with_teacher=False)


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (lambda batch: batch.student.logits, r"a tensor of shape \(8, 3\)"),
        (lambda batch: 1.0, "a float"),
    ],
)
def test_a_function_that_returns_no_scalar_is_refused(tmp_path, function, got):
    trainer = make_trainer(tmp_path, {"mine": (1.0, function)})
    with pytest.raises(ValueError, match=rf"'mine'\] returned {got}: return a tensor without dimensions"):
        trainer.train()
