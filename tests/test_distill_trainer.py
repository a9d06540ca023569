"""The trainer's facts: exact means, an untouched teacher, an eval_loss that is the task's, terms logged."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from conftest import VOCABULARY_SIZE, make_bert, make_rows, pad_rows
from distill_trainer import DistillationTrainer, DistillationTrainingArguments, NonFiniteLossError
from layer_distillation.losses.batches import count_items
from tiny_training import OFF, make_trainer, set_terms

TINY_TRAINING = Path(__file__).parent / "tiny_training.py"


def train_weights(folder: Path, **options: object) -> dict[str, torch.Tensor]:
    trainer = make_trainer(folder, **options)
    trainer.train()
    return trainer.model.state_dict()


def assert_same_weights(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    for name, tensor in left.items():
        torch.testing.assert_close(
            tensor, right[name], rtol=2e-5, atol=2e-6, msg=lambda text, name=name: f"{name} {text}"
        )


def compute_batch_loss(trainer: DistillationTrainer, rows: list[dict], length: int | None = None) -> torch.Tensor:
    trainer.model.eval()
    return trainer.compute_loss(trainer.model, pad_rows(rows, length))


def test_loss_is_the_weighted_sum_of_the_documented_terms(tmp_path):
    """Written out once more from the formulas, for a full batch without padding."""
    options = {"kl_weight": 0.7, "hidden_weight": 0.3, "attention_weight": 0.2, "hidden_loss": "mse"}
    trainer = make_trainer(tmp_path, temperature=3.0, **options)
    batch = pad_rows(make_rows(5, shortest=6, longest=6))
    student, teacher = trainer.model.eval(), trainer.teacher_outputs.teacher
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    ours = student(**inputs, output_hidden_states=True, output_attentions=True)
    theirs = teacher(**inputs, output_hidden_states=True, output_attentions=True)
    matched = [(0, 1), (1, 3)]  # block ends of 4 layers in 2 blocks
    expected = F.cross_entropy(ours.logits, batch["labels"])
    soft = F.softmax(theirs.logits / 3, -1)
    expected += 0.7 * 9 * (soft * (soft.log() - F.log_softmax(ours.logits / 3, -1))).sum(-1).mean()
    hidden = [F.mse_loss(ours.hidden_states[s + 1], theirs.hidden_states[t + 1]) for s, t in matched]
    expected += 0.3 * torch.stack(hidden).mean()
    attentions = [F.mse_loss(ours.attentions[s], theirs.attentions[t]) for s, t in matched]
    expected += 0.2 * torch.stack(attentions).mean()
    expected += 1.0 * (1 - F.cosine_similarity(ours.logits, theirs.logits)).mean()
    assert trainer.compute_loss(student, batch).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("hidden_loss", ["mse", "cosine"])
def test_a_batch_padded_further_has_the_same_loss(tmp_path, hidden_loss):
    trainer = make_trainer(tmp_path, hidden_loss=hidden_loss)
    rows = make_rows(8)
    loss = compute_batch_loss(trainer, rows)
    assert compute_batch_loss(trainer, rows, length=40).item() == pytest.approx(loss.item(), rel=1e-5)


def test_gradients_of_a_batch_padded_further_are_the_same(tmp_path):
    gradients = []
    for length in (None, 40):
        trainer = make_trainer(tmp_path)
        compute_batch_loss(trainer, make_rows(8), length).backward()
        gradients.append({name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None})
    assert_same_weights(*gradients)


def test_accumulation_equals_one_batch_also_for_the_ragged_last_step(tmp_path):
    """22 rows: steps of 8, 8 and 6 rows, once whole and once in micro-batches of 2 with a ragged end."""
    whole = train_weights(tmp_path, per_device_train_batch_size=8)
    split = train_weights(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert_same_weights(whole, split)


def test_accumulation_equals_one_batch_where_most_rows_have_no_label(tmp_path):
    """5 of 22 rows have one: many of the micro-batches of 2 hold none."""
    whole = train_weights(tmp_path, num_labelled=6, per_device_train_batch_size=8)
    split = train_weights(tmp_path, num_labelled=6, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert_same_weights(whole, split)


@pytest.mark.parametrize("class_weights", ["0.1,1,4", "balanced"])
def test_accumulation_equals_one_batch_with_weighted_classes(tmp_path, class_weights):
    """Also where most micro-batches of 2 rows hold no label, or weigh less than 1 together."""
    options = {"num_labelled": 9, "class_weights": class_weights}
    whole = train_weights(tmp_path, per_device_train_batch_size=8, **options)
    split = train_weights(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, **options)
    assert_same_weights(whole, split)
    unweighted = train_weights(tmp_path, num_labelled=9, per_device_train_batch_size=8)
    assert not torch.allclose(whole["classifier.bias"], unweighted["classifier.bias"], atol=1e-3)


def test_weighted_classes_give_torch_s_own_loss_and_an_unweighted_eval_loss(tmp_path):
    plain, weighted = (
        make_trainer(tmp_path, **OFF | {"ce_weight": 1.0}, class_weights=text) for text in (None, "1,2,9")
    )
    batch = pad_rows(make_rows(8))
    logits = weighted.model(**{name: batch[name] for name in ("input_ids", "attention_mask")}).logits
    expected = torch.nn.functional.cross_entropy(logits, batch["labels"], torch.tensor([1.0, 2.0, 9.0]))
    assert weighted.compute_loss(weighted.model, batch).item() == pytest.approx(expected.item(), rel=1e-5)
    assert weighted.evaluate()["eval_loss"] == plain.evaluate()["eval_loss"]


@pytest.mark.slow
def test_a_compiled_student_learns_the_same(tmp_path):
    """Batches of several lengths, with a ragged last one: dynamo must not compile anew for each."""
    options = {"hidden_weight": 1.0, "attention_weight": 0.0, "per_device_train_batch_size": 4}
    plain = make_trainer(tmp_path / "plain", **options)
    plain.train()
    torch._dynamo.utils.counters.clear()
    compiled = make_trainer(tmp_path / "compiled", torch_compile=True, **options)
    compiled.train()
    assert_same_weights(plain.model.state_dict(), compiled.model.state_dict())
    assert torch._dynamo.utils.counters["frames"]["total"] > 0
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 6


def run_two_processes(folder: Path, runs: dict[str, dict]) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, *launch, str(TINY_TRAINING), str(folder), json.dumps(runs)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_equal_one_in_gradients_and_eval_loss(tmp_path):
    """Global batches of 8. Of 21 rows the last round has 5, so that accelerate fills it up with duplicates, which must
    not count; of 17 rows it has one, and the second process none at all. 21 evaluated rows likewise."""
    runs = {
        "five left": {"num_rows": 21, "has_own_term": True},
        "one left": {"num_rows": 17},
        "pools of two steps": {"num_rows": 130, "length_pool_batches": 2, "learning_rate": 0.01},
        "most without a label": {"num_rows": 21, "num_labelled": 5},
        "weighted classes": {"num_rows": 17, "class_weights": "0.2,1,5"},
        "balanced classes": {"num_rows": 21, "class_weights": "balanced"},
        "more terms in two stages": {
            "num_rows": 21,
            **dict.fromkeys(["pkd_weight", "embedding_weight", "relation_weight"], 1.0),
            "relation_heads": 4,
            "attention_loss": "kl",
            "num_train_epochs": 2,
            "intermediate_epochs": 1.0,
            "temperature": 2.0,
            "schedules": "temperature=linear:1,pkd_weight=cosine:0",
        },
    }
    run_two_processes(tmp_path, {name: options | {"per_device_train_batch_size": 4} for name, options in runs.items()})
    for name, options in runs.items():
        single = make_trainer(tmp_path / f"{name} on one", **options)
        single.train()
        assert single.sampler.pool_batches == (2 if "pools" in name else 1)
        assert_same_weights(single.model.state_dict(), torch.load(tmp_path / name / "weights.pt"))
        log = json.loads((tmp_path / name / "log.json").read_text())
        for own, other in zip(single.state.log_history, log, strict=True):
            losses = {key: value for key, value in own.items() if key.endswith("loss")}
            assert {key: other[key] for key in losses} == pytest.approx(losses, rel=1e-4)
        evaluated = next(entry for entry in log if "eval_rows" in entry)
        assert evaluated["eval_rows"] == 21
        assert evaluated["eval_order"] == sum(i * row["labels"] for i, row in enumerate(make_rows(21, seed=9)))


@pytest.mark.slow
def test_two_processes_go_on_within_an_epoch_of_pools(tmp_path):
    """17 steps an epoch; the second run starts at step 10 of them."""
    options = {"num_rows": 130, "length_pool_batches": 2, "learning_rate": 0.01, "per_device_train_batch_size": 4}
    options |= {"save_strategy": "steps", "save_steps": 10, "save_total_limit": None}
    options |= {"num_train_epochs": 2, "eval_strategy": "no"}
    whole, rest = dict(options), options | {"resume_from": str(tmp_path / "whole" / "checkpoint-10")}
    run_two_processes(tmp_path, {"whole": whole, "rest": rest})
    weights = [torch.load(tmp_path / name / "weights.pt") for name in ("whole", "rest")]
    assert_same_weights(*weights)
    single = make_trainer(tmp_path / "one", **options | {"per_device_train_batch_size": 8})
    single.train()
    assert single.sampler.pool_batches == 2
    assert_same_weights(single.model.state_dict(), weights[1])


def test_training_moves_the_student_and_leaves_the_teacher_bit_equal_in_eval_mode(tmp_path):
    trainer = make_trainer(tmp_path)
    teacher = trainer.teacher_outputs.teacher
    before, student_before = copy.deepcopy(teacher.state_dict()), copy.deepcopy(trainer.model.state_dict())
    trainer.train()
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert not teacher.training
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())
    moved = [
        name for name, tensor in trainer.model.state_dict().items() if not torch.equal(tensor, student_before[name])
    ]
    assert "bert.encoder.layer.0.attention.self.query.weight" in moved
    assert "classifier.weight" in moved


def test_the_teacher_is_in_no_checkpoint_and_in_no_optimizer(tmp_path):
    trainer = make_trainer(tmp_path, save_strategy="epoch")
    trainer.train()
    own = {id(parameter) for parameter in trainer.model.parameters()}
    assert {id(p) for group in trainer.optimizer.param_groups for p in group["params"]} <= own
    checkpoint = next(tmp_path.glob("checkpoint-*"))
    student_bytes = sum(p.numel() for p in trainer.model.parameters()) * 4
    assert (checkpoint / "model.safetensors").stat().st_size < student_bytes * 1.2


def test_eval_loss_is_the_cross_entropy_of_every_row_whatever_the_weights(tmp_path):
    """21 rows in batches of 4: the last batch is short, which the stock mean of batch means gets wrong."""
    trainer = make_trainer(tmp_path, ce_weight=0.0, kl_weight=5.0, temperature=7.0)
    evaluated = trainer.evaluate()
    batch = pad_rows(make_rows(21, seed=9))
    with torch.no_grad():
        logits = trainer.model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert evaluated["eval_loss"] == pytest.approx(F.cross_entropy(logits, batch["labels"]).item(), rel=1e-5)


def test_evaluation_reports_closeness_to_the_teacher(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.model.load_state_dict(make_bert(2, seed=5).state_dict())
    evaluated = trainer.evaluate()
    batch = pad_rows(make_rows(21, seed=9))
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    with torch.no_grad():
        ours, theirs = trainer.model.eval()(**inputs).logits, trainer.teacher_outputs.teacher(**inputs).logits
    kl = F.kl_div(ours.log_softmax(-1), theirs.log_softmax(-1), log_target=True, reduction="batchmean")
    assert evaluated["eval_kl_to_teacher"] == pytest.approx(kl.item(), rel=1e-4)
    assert evaluated["eval_agreement"] == pytest.approx((ours.argmax(-1) == theirs.argmax(-1)).float().mean().item())


def test_every_term_is_logged_by_itself_and_adds_up_to_the_loss(tmp_path):
    trainer = make_trainer(tmp_path, kl_weight=0.5, hidden_weight=2.0)
    trainer.train()
    logged = next(entry for entry in trainer.state.log_history if "ce_loss" in entry)
    weights = {"ce": 1.0, "kl": 0.5, "hidden": 2.0, "attention": 1.0, "logit_cosine": 1.0}
    assert logged["loss"] == pytest.approx(sum(weights[name] * logged[f"{name}_loss"] for name in weights), rel=1e-4)


def test_a_term_of_weight_zero_is_not_computed(tmp_path):
    trainer = make_trainer(tmp_path, hidden_weight=0.0, attention_weight=0.0, logit_cosine_weight=0.0)
    trainer.train()
    logged = next(entry for entry in trainer.state.log_history if "ce_loss" in entry)
    assert {name for name in logged if name.endswith("_loss")} == {"ce_loss", "kl_loss"}
    assert trainer.teacher_outputs.hidden_layers == ()


def test_rows_without_a_label_count_in_every_term_but_cross_entropy(tmp_path):
    trainer = make_trainer(tmp_path)
    rows = make_rows(6)
    unlabelled = [row | {"labels": -100} for row in rows[:3]] + rows[3:]
    batch, labelled = pad_rows(unlabelled), pad_rows(rows[3:])
    with torch.no_grad():
        trainer.model.eval()
        set_terms(trainer, {"ce": 1.0})
        assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(
            trainer.compute_loss(trainer.model, labelled).item(), rel=1e-5
        )
        set_terms(trainer, {"kl": 1.0})
        assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(
            trainer.compute_loss(trainer.model, pad_rows(rows)).item(), rel=1e-6
        )
    counts = count_items([batch], torch.device("cpu"))
    assert (counts["labelled_rows"].item(), counts["rows"].item()) == (3, 6)


def test_a_live_teacher_gets_the_segment_ids_that_the_student_does_not_take(tmp_path):
    def pad_pairs(rows: list[dict]) -> dict[str, torch.Tensor]:
        batch = pad_rows(rows)
        segments = [row["token_type_ids"] + [0] * (batch["input_ids"].size(1) - len(row["input_ids"])) for row in rows]
        return batch | {"token_type_ids": torch.tensor(segments)}

    config = DistilBertConfig(vocab_size=VOCABULARY_SIZE, dim=16, hidden_dim=32, n_layers=2, n_heads=2, num_labels=3)
    student, teacher = DistilBertForSequenceClassification(config), make_bert(4, seed=1)
    pairs = [row | {"token_type_ids": [0] + [1] * (len(row["input_ids"]) - 1)} for row in make_rows(8)]
    settings = {"ce_weight": 0.0, "kl_weight": 1.0, "hidden_weight": 0.0, "pkd_weight": 0.0, "eval_strategy": "no"}
    settings |= {"save_strategy": "no", "load_best_model_at_end": False, "use_cpu": True, "bf16": False}
    args, rows = DistillationTrainingArguments(str(tmp_path), **settings), Dataset.from_list(pairs)
    trainer = DistillationTrainer(student.eval(), args, teacher, data_collator=pad_pairs, train_dataset=rows)
    batch = next(iter(trainer.get_train_dataloader()))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    with torch.no_grad():
        logits = teacher.eval()(**inputs).logits
        live, stored = (trainer.compute_loss(student, held) for held in (batch, batch | {"teacher_logits": logits}))
    assert live.item() == pytest.approx(stored.item())


def test_the_teacher_logits_of_a_batch_take_the_place_of_the_live_teacher(tmp_path):
    trainer = make_trainer(tmp_path, hidden_weight=0.0, attention_weight=0.0)
    batch = pad_rows(make_rows(6))
    trainer.model.eval()
    live = trainer.compute_loss(trainer.model, batch)
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    logits = trainer.teacher_outputs.get_logits(inputs)
    trainer.teacher_outputs.teacher = None  # would fail if it were asked
    assert trainer.compute_loss(trainer.model, batch | {"teacher_logits": logits}).item() == pytest.approx(live.item())


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step(tmp_path):
    trainer = make_trainer(tmp_path, learning_rate=1e38, save_strategy="steps", save_steps=1)
    with pytest.raises(NonFiniteLossError, match=r"nan or infinite at step 2.*--learning_rate"):
        trainer.train()
    saved = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    assert "checkpoint-2" not in saved


def test_regression_takes_squared_errors_in_place_of_cross_entropy_and_kl(tmp_path):
    student, teacher = make_bert(2, num_labels=1, seed=2), make_bert(4, num_labels=1, seed=1)
    arguments = DistillationTrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, ce_weight=1.0, kl_weight=0.5, hidden_weight=0.0, pkd_weight=0.0
    )
    rows = make_rows(6)
    trainer = DistillationTrainer(
        model=student, teacher=teacher, args=arguments, data_collator=pad_rows, eval_dataset=rows
    )
    batch = pad_rows(rows)
    batch["labels"] = torch.tensor([0.5, 2.0, float("nan"), 1.0, 4.0, 3.0])
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    with torch.no_grad():
        ours, theirs = student.eval()(**inputs).logits[:, 0], teacher(**inputs).logits[:, 0]
        known = ~batch["labels"].isnan()
        expected = F.mse_loss(ours[known], batch["labels"][known]) + 0.5 * F.mse_loss(ours, theirs)
        assert trainer.compute_loss(student, batch).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kl_weight": -1.0}, "kl_weight is -1.0: a weight is at least 0"),
        (
            dict.fromkeys(["ce_weight", "kl_weight", "hidden_weight", "pkd_weight"], 0.0),
            "all weights are 0: set one of --ce_weight",
        ),
        ({"temperature": 0.0}, "temperature is 0.0: it has to be above 0"),
        ({"hidden_loss": "mae"}, "choose one of mse, cosine"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        DistillationTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **options)


def test_a_teacher_of_other_labels_or_heads_is_refused(tmp_path):
    arguments = DistillationTrainingArguments(output_dir=str(tmp_path), use_cpu=True, attention_weight=1.0)
    with pytest.raises(ValueError, match="num_labels is 3 in the student and 2 in the teacher"):
        DistillationTrainer(model=make_bert(2), teacher=make_bert(4, num_labels=2), args=arguments)
    with pytest.raises(ValueError, match=r"2 heads of scores in the student and 4 of scores in the teacher.*relation"):
        DistillationTrainer(model=make_bert(2), teacher=make_bert(4, num_attention_heads=4), args=arguments)
