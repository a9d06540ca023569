"""What a user of the stock Trainer takes for granted of `train` and of what it leaves; the right values are its own."""

import copy
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

from conftest import make_bert, make_rows, pad_rows
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.step.fast_dropout import FastDropout
from layer_distillation.step.trimmed_embedding import TrimmedEmbedding
from tiny_training import OFF

STOCK = {"use_cpu": True, "bf16": False, "disable_tqdm": True, "num_train_epochs": 1, "eval_strategy": "no"}
STOCK |= {
    "save_strategy": "no",
    "load_best_model_at_end": False,
    "per_device_train_batch_size": 8,
    "max_grad_norm": 0.0,
}
STOCK |= {"optim": "sgd", "learning_rate": 0.1, "lr_scheduler_type": "constant", "warmup_steps": 0}
STOCK |= {"report_to": "none"}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def take_fields(kind: type, options: dict) -> dict:
    """Those of `options` that are arguments of this kind, taken out of it."""
    return {name: options.pop(name) for name in list(options) if name in kind.__dataclass_fields__}


def make_student(num_layers: int = 2, **options):
    return make_bert(num_layers, seed=2, **NO_DROPOUT, **options)


def make_trainer(folder: Path, kind=DistillationTrainer, teacher=None, rows=None, **options) -> DistillationTrainer:
    """By default plain fine-tuning, which the stock Trainer can be compared with."""
    fields = {
        name: options.pop(name) for name in list(options) if name in DistillationTrainingArguments.__dataclass_fields__
    }
    args = DistillationTrainingArguments(str(folder), **{**STOCK, **OFF, "ce_weight": 1.0, **fields})
    others = {"data_collator": pad_rows, "train_dataset": Dataset.from_list(rows or make_rows(22))} | options
    if "model_init" not in others:
        others = {"model": make_student()} | others
    return kind(args=args, teacher=teacher, **others)


def make_stock(folder: Path, rows=None, **options) -> Trainer:
    fields = take_fields(TrainingArguments, options)
    sequential = {"train_sampling_strategy": "sequential"}
    others = {"data_collator": pad_rows, "train_dataset": Dataset.from_list(rows or make_rows(22))} | options
    return Trainer(make_student(), TrainingArguments(str(folder), **STOCK | sequential | fields), **others)


def weighted_loss(outputs, labels, num_items_in_batch=None) -> torch.Tensor:
    """Class weights, normalized as the Trainer's documentation says."""
    weights = torch.tensor([0.5, 1.0, 3.0])
    total = F.cross_entropy(outputs["logits"].float(), labels, weight=weights, reduction="sum")
    return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


# ---- a loss of the user's own ------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_loss_of_the_user_s_own_trains_as_it_does_with_the_stock_trainer(tmp_path, accumulation):
    sizes = {"per_device_train_batch_size": 8 // accumulation, "gradient_accumulation_steps": accumulation}
    options = {"compute_loss_func": weighted_loss, "train_sampling_strategy": "sequential", **sizes}
    ours, stock = make_trainer(tmp_path, **options), make_stock(tmp_path, **options)
    for trainer in (ours, stock):
        trainer.train()
    for name, tensor in ours.model.state_dict().items():
        torch.testing.assert_close(tensor, stock.model.state_dict()[name], rtol=2e-5, atol=2e-6)


def test_a_loss_of_the_user_s_own_is_the_evaluation_s_and_one_of_several_terms(tmp_path):
    rows = make_rows(21, seed=9)
    options = {"compute_loss_func": weighted_loss, "eval_dataset": Dataset.from_list(rows)}
    trainer = make_trainer(tmp_path, teacher=make_bert(4, seed=1), kl_weight=0.5, **options)
    stock = make_stock(tmp_path, **options, per_device_eval_batch_size=64)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(stock.evaluate()["eval_loss"], rel=1e-5)
    batch = pad_rows(rows)
    plain = make_trainer(tmp_path, teacher=make_bert(4, seed=1), kl_weight=0.5, ce_weight=0.0)
    with torch.no_grad():
        outputs = trainer.model(**{name: batch[name] for name in ("input_ids", "attention_mask")})
        expected = weighted_loss(outputs, batch["labels"]) + plain.compute_loss(plain.model.eval(), batch)
        assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_compute_loss_returns_the_model_s_own_outputs(tmp_path):
    trainer = make_trainer(tmp_path)
    _, outputs = trainer.compute_loss(trainer.model, pad_rows(make_rows(4)), return_outputs=True)
    assert outputs["logits"].shape == outputs[0].shape == (4, 3)


# ---- a model for each training, weights that change --------------------------------------------------------------


def test_a_model_init_trains_a_new_student_each_time_with_the_wrappers_on_it(tmp_path):
    made, seen = [], []

    class Watching(DistillationTrainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            seen.append({type(module) for module in model.modules()} & {TrimmedEmbedding, FastDropout})
            return super().training_step(model, inputs, num_items_in_batch)

    def make_model():
        made.append(make_bert(2, seed=2))
        return made[-1]

    trainer = make_trainer(tmp_path, Watching, make_bert(4, seed=1), model_init=make_model, kl_weight=1.0)
    trainer.train()
    first = copy.deepcopy(made[1].state_dict())
    assert trainer.model is made[1]  # made[0] is that of the constructor, as stock's
    trainer.train()
    assert trainer.model is made[2]
    assert all(torch.equal(tensor, first[name]) for name, tensor in made[2].state_dict().items())
    assert seen[0] == seen[-1] == {FastDropout}
    assert not {type(module) for model in made for module in model.modules()} & {TrimmedEmbedding, FastDropout}


def test_a_model_init_of_another_width_gets_projections_anew(tmp_path):
    made = []

    def make_model():
        made.append(make_bert(2, seed=2, hidden_size=8, intermediate_size=16))
        return made[-1]

    trainer = make_trainer(tmp_path, teacher=make_bert(4, seed=1), model_init=make_model, hidden_weight=1.0)
    starts = []
    for _ in range(2):
        trainer.train()
        starts.append(copy.deepcopy(made[-1].state_dict()))
    assert all(torch.equal(tensor, starts[1][name]) for name, tensor in starts[0].items())


def test_weights_set_on_the_arguments_count_as_the_temperature_does(tmp_path):
    batch = pad_rows(make_rows(6))
    later = {"kl_weight": 0.7, "hidden_weight": 2.0, "temperature": 3.0, "layer_matching": [0, 2]}
    teacher = make_bert(4, seed=1)
    changed = make_trainer(tmp_path / "1", teacher=teacher)
    for name, value in later.items():
        setattr(changed.args, name, value)
    given = make_trainer(tmp_path / "2", teacher=teacher, **later)
    with torch.no_grad():
        losses = [trainer.compute_loss(trainer.model.eval(), batch).item() for trainer in (changed, given)]
    assert losses[0] == losses[1]
    for trainer in (changed, given):
        trainer.train()
    for name, tensor in changed.model.state_dict().items():
        assert torch.equal(tensor, given.model.state_dict()[name])
    changed.args.kl_weight = -1.0
    with pytest.raises(ValueError, match=r"kl_weight is -1\.0: a weight is at least 0"):
        changed.train()


def test_a_term_cannot_be_turned_on_within_a_training(tmp_path):
    class TurnOn(DistillationTrainer):
        def training_step(self, *args, **kwargs):
            self.args.hidden_weight = 1.0
            return super().training_step(*args, **kwargs)

    with pytest.raises(ValueError, match="hidden_weight was set above 0 while training: set it before train"):
        make_trainer(tmp_path, TurnOn, make_bert(4, seed=1)).train()


def test_lists_and_mappings_are_kept_as_the_text_that_they_stand_for(tmp_path):
    schedules = {"hidden_weight": ("cosine", 0.0), "temperature": ["linear", 1]}
    args = DistillationTrainingArguments(
        str(tmp_path), use_cpu=True, layer_matching=[1, 3], schedules=schedules, temperature=4.0
    )
    assert (args.layer_matching, args.schedules) == ("1,3", "hidden_weight=cosine:0.0,temperature=linear:1")
    fields = {name: value for name, value in args.to_dict().items() if name in args.__dataclass_fields__}
    again = DistillationTrainingArguments(
        **{name: fields[name] for name in ("output_dir", "layer_matching", "schedules")}
    )
    assert again.parsed_schedules == args.parsed_schedules
    assert '"layer_matching": "1,3"' in args.to_json_string()
    weighted = DistillationTrainingArguments(str(tmp_path), use_cpu=True, class_weights=[1, 2.5, 1])
    assert weighted.class_weights == "1,2.5,1"
    for wrong, message in (
        ({"layer_matching": [1.0]}, r"layer_matching is \[1.0\]: give a name, or a list"),
        (
            {"schedules": {"hidden_weight": "cosine"}},
            "schedules has 'hidden_weight': 'cosine': give a shape and an end",
        ),
        ({"schedules": {"hidden_weight": ("square", 0)}}, "SHAPE one of linear, cosine"),
    ):
        with pytest.raises(ValueError, match=message):
            DistillationTrainingArguments(str(tmp_path), use_cpu=True, **wrong)


# ---- hooks that name parameters ----------------------------------------------------------------------------------


class ByName(DistillationTrainer):
    def create_optimizer(self, model=None):
        named = [p for name, p in self.model.named_parameters() if name.endswith("word_embeddings.weight")]
        self.optimizer = torch.optim.SGD(named, lr=0.1)
        return self.optimizer


def make_few_tokens() -> list[dict]:
    """Rows of few tokens of the vocabulary, so that its table is trimmed where it may be."""
    return [row | {"input_ids": [token % 9 + 1 for token in row["input_ids"]]} for row in make_rows(22)]


@pytest.fixture
def trimmable(monkeypatch):
    """The tests' collator has no tokenizer to say which tokens it adds: it adds none."""
    monkeypatch.setattr("layer_distillation.step.trimmed_embedding.knows_all_tokens", lambda *_: True)
    monkeypatch.setattr(pad_rows, "tokenizer", type("Tokenizer", (), {"all_special_ids": [0]}), raising=False)


def test_a_subclass_that_groups_parameters_by_name_finds_the_embeddings(tmp_path, trimmable, caplog):
    caplog.set_level(logging.INFO)
    moved = []
    for kind in (ByName, DistillationTrainer):
        trainer = make_trainer(tmp_path, kind, rows=make_few_tokens())
        before = trainer.model.bert.embeddings.word_embeddings.weight.clone()
        trainer.train()
        moved.append((trainer.model.bert.embeddings.word_embeddings.weight - before).abs().sum().item())
    assert moved[0] > 0.001
    assert moved[1] > 0.001
    assert caplog.text.count("token embeddings: those of the training rows") == 1  # of the second


def test_operations_are_counted_as_stock_counts_them(tmp_path, trimmable, caplog):
    caplog.set_level(logging.INFO)
    rows, options = make_few_tokens(), {"train_sampling_strategy": "sequential"}
    ours, stock = make_trainer(tmp_path, rows=rows, **options), make_stock(tmp_path, rows=rows)
    for trainer in (ours, stock):
        trainer.train()
    assert "token embeddings: those of the training rows" in caplog.text
    assert ours.state.total_flos == stock.state.total_flos


# ---- what a training leaves --------------------------------------------------------------------------------------


def test_after_a_bf16_training_the_model_computes_what_a_reload_does(tmp_path):
    rows = Dataset.from_list(make_rows(21, seed=9))
    trainer = make_trainer(tmp_path, teacher=make_bert(4, seed=1), kl_weight=1.0, bf16=True, eval_dataset=rows)
    batch = {name: tensor for name, tensor in pad_rows(list(rows)).items() if name in ("input_ids", "attention_mask")}
    before = trainer.evaluate()  # of the plain model too
    assert before["eval_loss"] == make_trainer(tmp_path, eval_dataset=rows).evaluate()["eval_loss"]
    for _ in range(2):
        trainer.train()
        trainer.save_model(tmp_path / "saved")
        reloaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
        with torch.no_grad():
            logits = trainer.model.eval()(**batch).logits
            assert logits.dtype == torch.float32
            assert torch.equal(logits, reloaded(**batch).logits)
        predicted = trainer.predict(rows)
        np.testing.assert_allclose(predicted.predictions, logits, rtol=1e-5, atol=1e-6)
        loss = F.cross_entropy(logits, torch.tensor(rows["labels"])).item()
        assert trainer.evaluate()["eval_loss"] == pytest.approx(loss, rel=1e-5)
        assert "forward" not in vars(trainer.model)


def test_a_second_training_goes_on_as_stock_s_does(tmp_path):
    options = {"optim": "adamw_torch", "learning_rate": 1e-2, "train_sampling_strategy": "sequential"}
    ours, stock = make_trainer(tmp_path, **options), make_stock(tmp_path, **options)
    for trainer in (ours, stock):
        trainer.train(), trainer.train()
    for name, tensor in ours.model.state_dict().items():
        torch.testing.assert_close(tensor, stock.model.state_dict()[name], rtol=1e-3, atol=1e-4)


def test_a_training_that_fails_leaves_the_plain_model(tmp_path):
    class Failing(DistillationTrainer):
        def training_step(self, *args, **kwargs):
            raise KeyboardInterrupt

    trainer = make_trainer(tmp_path, Failing, bf16=True)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert "forward" not in vars(trainer.model)
    assert FastDropout not in {type(module) for module in trainer.model.modules()}
