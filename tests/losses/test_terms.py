"""The terms inside the trainer: the right layers compared, exact sums, stored = live, schedules and stages by step."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, GPT2Config, GPT2ForSequenceClassification
from transformers.utils import ModelOutput

from conftest import make_bert, make_rows, pad_rows
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.losses.functions import attention_loss, hidden_state_loss, relation_loss
from layer_distillation.losses.head_states import patient_loss
from layer_distillation.losses.terms import (
    WantedLayers,
    check_architecture_fits,
    check_store_fits,
    list_wanted_layers,
    match_layers,
    place_head,
    switch_on_outputs,
)
from layer_distillation.outputs.store import TeacherStore, make_spec
from layer_distillation.records.run_record import read_run_record
from layer_distillation.teachers.loading import fingerprint_model
from layer_distillation.teachers.store_filling import open_or_fill
from layer_distillation.teachers.supply import names_layers
from run_distillation import main
from test_distill_trainer import assert_same_weights, compute_batch_loss
from test_student_init import ARCHITECTURES, make_teacher
from tiny_project import make_project
from tiny_training import MORE_TERMS, OFF, make_trainer


def record_projections(model: torch.nn.Module, layer: int) -> list[torch.Tensor]:
    """Queries, keys and values of every forward pass from now on, in this order."""
    found, attention = [], model.bert.encoder.layer[layer].attention.self
    for projection in (attention.query, attention.key, attention.value):
        projection.register_forward_hook(lambda module, inputs, output: found.append(output))
    return found


@pytest.mark.parametrize(("relation_layer", "imitated"), [(None, 3), (1, 1)])
def test_the_terms_compare_the_documented_layers(tmp_path, relation_layer, imitated):
    """Written out once more: embeddings, [CLS] states and attention of the pairs 0-1 and 1-3, relations of one pair."""
    options = OFF | MORE_TERMS | {"attention_weight": 0.5, "relation_layer": relation_layer}
    trainer = make_trainer(tmp_path, **options)
    student, teacher = trainer.model.eval(), trainer.teacher_outputs.teacher
    batch = pad_rows(make_rows(5))
    mask = batch["attention_mask"]
    inputs = {"input_ids": batch["input_ids"], "attention_mask": mask}
    our_states, their_states = record_projections(student, 1), record_projections(teacher, imitated)
    ours, theirs = (model(**inputs, output_hidden_states=True, output_attentions=True) for model in (student, teacher))
    expected = F.mse_loss(ours.hidden_states[0][mask.bool()], theirs.hidden_states[0][mask.bool()])
    pairs = [(0, 1), (1, 3)]
    states = [[model.hidden_states[pair[side] + 1] for pair in pairs] for side, model in enumerate((ours, theirs))]
    expected += patient_loss(*states, mask)
    attentions = [[model.attentions[pair[side]] for pair in pairs] for side, model in enumerate((ours, theirs))]
    expected += 0.5 * attention_loss(*attentions, mask, kind="kl")
    expected += relation_loss(torch.stack(our_states[:3], 1), torch.stack(their_states[:3], 1), mask, 4)
    assert trainer.compute_loss(student, batch).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("name", ["pkd", "embedding", "relation", "rkd"])
def test_each_term_can_stand_alone_and_only_it_is_computed(tmp_path, name):
    options = OFF | {f"{name}_weight": 2.0, "relation_heads": 4, "logging_strategy": "steps", "logging_steps": 1}
    trainer = make_trainer(tmp_path, **options)
    before = {key: tensor.clone() for key, tensor in trainer.model.state_dict().items()}
    trainer.train()
    logged = trainer.state.log_history[0]
    assert {key for key in logged if key.endswith("_loss")} == {f"{name}_loss"}
    assert logged["loss"] == pytest.approx(2.0 * logged[f"{name}_loss"], rel=1e-5)
    assert any(not torch.equal(tensor, before[key]) for key, tensor in trainer.model.state_dict().items())
    layers = trainer.teacher_outputs
    expected = {"pkd": ((1, 3), ()), "embedding": ((-1,), ()), "relation": ((), (3,)), "rkd": ((1, 3), ())}[name]
    assert (layers.hidden_layers, layers.relation_layers) == expected
    assert layers.attention_layers == ()


def test_a_batch_padded_further_has_the_same_loss_and_gradients(tmp_path):
    losses, gradients = [], []
    for length in (None, 40):
        trainer = make_trainer(tmp_path, **MORE_TERMS, rkd_weight=1.0)
        loss = compute_batch_loss(trainer, make_rows(8), length)
        loss.backward()
        losses.append(loss.item())
        gradients.append({name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None})
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert_same_weights(*gradients)


# ---- stored = live -----------------------------------------------------------------------------------------------


def fill(root: Path, layers: WantedLayers, terms: dict[str, float]) -> TeacherStore:
    teacher, rows = make_bert(4, seed=1), Dataset.from_list(make_rows(22))
    switch_on_outputs(teacher, terms)
    spec = make_spec(teacher.config, fingerprint_model(teacher), rows, *layers)
    return open_or_fill(root, spec, teacher, rows, pad_rows, torch.device("cpu"))


def test_training_from_the_store_has_the_losses_of_training_live(tmp_path):
    options = MORE_TERMS | {"rkd_weight": 1.0, "logging_strategy": "steps", "logging_steps": 1, "eval_strategy": "no"}
    live = make_trainer(tmp_path / "live", **options)
    layers = list_wanted_layers(live.term_weights, [1, 3], relation_layer=3)
    assert layers == ((-1, 1, 3), (1, 3), (3,))
    store = fill(tmp_path / "stores", layers, live.term_weights)
    stored = DistillationTrainer(
        model=make_bert(2, seed=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
        teacher=store,
        args=live.args,
        data_collator=pad_rows,
        train_dataset=live.train_dataset,
    )
    live.train()
    stored.train()
    assert stored.teacher_outputs is None
    names = [name for name in live.state.log_history[0] if name.endswith("loss")]
    assert len(names) == 10  # nine terms and their sum
    for own, other in zip(live.state.log_history[:3], stored.state.log_history[:3], strict=True):
        assert {name: other[name] for name in names} == pytest.approx({n: own[n] for n in names}, rel=1e-2)
    shards = [path.stat().st_size for path in store.folder.glob("*.f16")]
    assert store.spec.count_bytes() == sum(shards) + 22 * 3 * 4


def test_stored_relations_are_the_teacher_s_own_and_zero_at_padding(tmp_path):
    store, rows = fill(tmp_path, WantedLayers(relation_layers=(0, 2)), {"relation": 1.0}), make_rows(22)
    picked = [7, 0, 21]
    batch = pad_rows([rows[row] for row in picked], 20)
    mask = batch["attention_mask"]
    teacher = make_bert(4, seed=1)
    recorded = [record_projections(teacher, layer) for layer in (0, 2)]
    with torch.no_grad():
        teacher(input_ids=batch["input_ids"], attention_mask=mask)
    expected = torch.stack([torch.stack(states, dim=1) for states in recorded], dim=1) * mask[:, None, None, :, None]
    for flip in (False, True):  # padding on the left too
        found = store.get_relations(picked, mask.flip(1) if flip else mask).float()
        shifted = torch.zeros_like(expected)
        for row, length in enumerate(mask.sum(dim=1).tolist()):
            shifted[row, :, :, slice(-length, None) if flip else slice(length)] = expected[row, :, :, :length]
        torch.testing.assert_close(found, shifted, rtol=1e-3, atol=1e-3)


def test_a_store_without_what_a_term_compares_is_refused(tmp_path):
    store = fill(tmp_path, WantedLayers(hidden_layers=(1, 3)), {})
    with pytest.raises(ValueError, match=r"hidden states of teacher layers \[1, 3\].*imitate \[-1, 1, 3\]"):
        check_store_fits(store, [1, 3], {"hidden": 1.0, "embedding": 1.0})
    with pytest.raises(ValueError, match=r"relations of teacher layers \[\].*imitate \[2\]: fill a store"):
        check_store_fits(store, [1, 3], {"relation": 1.0}, relation_layer=2)


def test_layers_that_nobody_named_are_seen():
    assert names_layers({"pkd": 1.0, "attention": 1.0}, [1, 3], [1, 3])
    assert names_layers({"embedding": 1.0, "relation": 1.0, "kl": 1.0}, [], [])
    assert not names_layers({"pkd": 1.0}, [], [1, 3])
    assert not names_layers({"attention": 1.0}, [1, 3], [])


def test_terms_are_computed_in_float32_whatever_the_models_compute_in(tmp_path):
    trainer = make_trainer(tmp_path, **MORE_TERMS, rkd_weight=1.0)
    exact = compute_batch_loss(trainer, make_rows(6))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = compute_batch_loss(trainer, make_rows(6))
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=0.03)
    states = [torch.randn(2, 3, 5, 8) for _ in range(2)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = relation_loss(*states, torch.ones(2, 5), 2)
    assert inside.item() == relation_loss(*states, torch.ones(2, 5), 2).item()
    hidden = [[torch.randn(2, 5, 8)] for _ in range(2)]
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            inside = hidden_state_loss(*hidden, torch.ones(2, 5), "cosine")
        assert inside.item() == hidden_state_loss(*hidden, torch.ones(2, 5), "cosine").item()


def test_a_run_with_every_term_fills_a_store_and_ends_in_a_plain_student(tmp_path):
    flags = [f"--{name}={value}" for name, value in MORE_TERMS.items()] + ["--attention_weight=1", "--rkd_weight=1"]
    stages = ["--intermediate_epochs=1", "--schedules=temperature=linear:1", "--temperature=2"]
    assert main([*make_project(tmp_path), *flags, *stages]) == 0
    record = read_run_record(tmp_path / "run")
    for name in ("pkd", "embedding", "relation", "attention", "rkd"):
        assert record.history[0][f"train_{name}_loss"] > 0
    assert record.best_epoch == 2
    manifests = [json.loads(path.read_text())["spec"] for path in (tmp_path / "cache").rglob("manifest.json")]
    assert [spec["relation_layers"] for spec in manifests if spec["hidden_layers"]] == [[3]]
    student = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    assert student.config._attn_implementation == "sdpa"


# ---- what cannot be meant ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pkd_weight": -1.0}, "pkd_weight is -1.0: a weight is at least 0"),
        ({"attention_loss": "cosine"}, "attention_loss is 'cosine': choose one of mse, kl"),
        ({"second_stage": "none"}, "second_stage is 'none': choose one of all, prediction"),
        ({"schedules": "temperature=linear:0"}, "temperature is 0.0: it has to be above 0"),
        ({"rkd_weight": 1.0, "gradient_accumulation_steps": 2}, "--gradient_accumulation_steps 2 and 1 processes"),
        ({"relation_weight": 1.0, "activation_checkpointing": True}, "what --activation_checkpointing throws away"),
        ({"intermediate_epochs": 3.0}, "--intermediate_epochs 3 has to leave epochs for the second stage"),
        ({"intermediate_epochs": 1.0, "max_steps": 9}, "without --max_steps"),
        (
            {"intermediate_epochs": 1.0, "hidden_weight": 0, "pkd_weight": 0},
            "in its first stage: set one of --hidden_weight",
        ),
        ({"intermediate_epochs": 1.0, "ce_weight": 0, "kl_weight": 0}, "in its second stage: set one of --ce_weight"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        DistillationTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **options)


def test_the_last_layer_can_be_left_out_of_the_patient_term(tmp_path):
    options = OFF | {"pkd_weight": 1.0}
    whole, rest = (make_trainer(tmp_path, **options, pkd_last_layer=with_last) for with_last in (True, False))
    batch = pad_rows(make_rows(5))
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    with torch.no_grad():
        models = rest.model.eval(), rest.teacher_outputs.teacher
        ours, theirs = (model(**inputs, output_hidden_states=True).hidden_states[1:] for model in models)
        losses = [trainer.compute_loss(rest.model, batch).item() for trainer in (whole, rest)]
    first = patient_loss([ours[0]], [theirs[1]], batch["attention_mask"]).item()
    last = patient_loss([ours[1]], [theirs[3]], batch["attention_mask"]).item()
    assert losses == pytest.approx([(first + last) / 2, first], rel=1e-5)


def test_a_student_of_one_layer_needs_its_last_one_in_the_patient_term(tmp_path):
    args = DistillationTrainingArguments(str(tmp_path), use_cpu=True, bf16=False, pkd_last_layer=False)
    with pytest.raises(ValueError, match="leaves --pkd_weight nothing to compare in a student of one layer"):
        match_layers(make_bert(1), make_bert(4), args, {"pkd": 1.0})
    match_layers(make_bert(1), make_bert(4), args, {"hidden": 1.0})


def test_a_weight_that_a_schedule_raises_is_on_from_the_start(tmp_path):
    args = DistillationTrainingArguments(str(tmp_path), use_cpu=True, schedules="rkd_weight=linear:1", hidden_weight=0)
    assert args.get_largest_weights() == {"ce": 0.5, "kl": 0.5, "pkd": 10.0, "rkd": 1.0} | dict.fromkeys(
        ["logit_cosine", "hidden", "attention", "embedding", "relation", "margin", "similarity"], 0.0
    )


def test_relation_heads_that_do_not_divide_the_widths_are_refused_by_the_trainer(tmp_path):
    with pytest.raises(ValueError, match="is 12 and has to divide the width 16: take one of 1, 2, 4, 8, 16"):
        make_trainer(tmp_path, relation_weight=1.0)


@pytest.mark.parametrize(
    ("model_type", "options", "message"),
    [
        (
            "deberta-v2",
            {"attention_weight": 1.0, "attention_loss": "kl"},
            "deberta-v2 does not give: take mse, or one of",
        ),
        ("modernbert", {"attention_weight": 1.0, "attention_loss": "kl"}, "modernbert does not give"),
        ("mpnet", {"relation_weight": 1.0}, "mpnet does not show them"),
    ],
)
def test_an_architecture_that_lacks_what_a_term_compares_is_refused(tmp_path, model_type, options, message):
    args = DistillationTrainingArguments(str(tmp_path), use_cpu=True, **options)
    weights = {name: weight for name, weight in args.get_largest_weights().items() if weight > 0}
    config = make_bert(2).config
    config.model_type = model_type
    with pytest.raises(ValueError, match=message):
        check_architecture_fits([config], args, weights)


@pytest.mark.parametrize("term", ["hidden", "pkd"])
def test_no_term_compares_a_state_behind_the_final_norm_with_one_before_it(tmp_path, term):
    student, teacher = make_teacher("gpt2", n_layer=2), make_teacher("gpt2", n_layer=4)
    args = DistillationTrainingArguments(str(tmp_path), use_cpu=True, bf16=False, layer_matching="top")
    with pytest.raises(ValueError, match="has passed the final norm"):
        match_layers(student, teacher, args, {term: 1.0})


def test_a_decoder_s_patient_term_compares_the_last_tokens_which_its_head_reads(tmp_path):
    sizes = {"vocab_size": 200, "n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": 16}
    config = GPT2Config(**sizes, num_labels=3, pad_token_id=0, bos_token_id=1, eos_token_id=1)
    student, teacher = (GPT2ForSequenceClassification(config).eval() for _ in range(2))
    args = DistillationTrainingArguments(str(tmp_path), use_cpu=True, bf16=False, **(OFF | {"pkd_weight": 1.0}))
    trainer = DistillationTrainer(student, args, teacher, data_collator=pad_rows, eval_dataset=make_rows(2))
    batch = pad_rows(make_rows(5))
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    with torch.no_grad():
        states = [model(**inputs, output_hidden_states=True).hidden_states[1:] for model in (student, teacher)]
        loss = trainer.compute_loss(student, batch)
    ends = batch["attention_mask"].sum(dim=1) - 1
    assert len(set(ends.tolist())) > 1
    rows = torch.arange(5)
    expected = [2 - 2 * F.cosine_similarity(*(layers[i][rows, ends] for layers in states)).mean() for i in (0, 1)]
    torch.testing.assert_close(loss, torch.stack(expected).mean())


POOLINGS = [("modernbert", {"classifier_pooling": "mean"})]
POOLINGS += [("eurobert", {"classifier_pooling": kind}) for kind in ("bos", "mean")]


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in ARCHITECTURES if name != "xlnet"), *POOLINGS])
def test_the_patient_term_compares_the_states_that_the_head_reads(name, options):
    """By the gradient of the logits, row by row: the first real token, the last one, or all."""
    model = make_teacher(name, **options)
    mask = (torch.arange(12) < torch.tensor([[12], [7], [4]])).long()
    input_ids = torch.randint(4, 40, (3, 12), generator=torch.Generator().manual_seed(1)).where(mask.bool(), 1)
    states = model.base_model(input_ids=input_ids, attention_mask=mask).last_hidden_state.detach().requires_grad_()
    model.base_model.register_forward_hook(lambda module, inputs, output: replace_state(module, output, states))
    (gradient,) = torch.autograd.grad(model(input_ids=input_ids, attention_mask=mask).logits.square().sum(), states)
    is_read = gradient.abs().sum(dim=-1) > 0
    tokens = torch.arange(12)
    expected = {
        "first": (tokens == 0).expand(3, 12),
        "last": tokens == mask.sum(dim=1, keepdim=True) - 1,
        "mean": mask.bool(),
    }
    assert torch.equal(is_read, expected[place_head(model.config)])


def replace_state(module: torch.nn.Module, output: ModelOutput, states: torch.Tensor) -> ModelOutput:
    """The base model's output as if its last states were `states`."""
    output["last_hidden_state"] = states
    if getattr(module, "pooler", None) is not None:
        output["pooler_output"] = module.pooler(states)
    return output
