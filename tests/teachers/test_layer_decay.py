"""Each parameter of a teacher learns at the rate of its depth, once, and with weight decay where the Trainer has it."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from conftest import make_bert, make_rows
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.records.run_record import EARLIER_BEHAVIOUR
from layer_distillation.step.trimmed_embedding import TrimmedEmbedding
from layer_distillation.tasks.loading import TaskData
from layer_distillation.teachers import loading
from layer_distillation.teachers.arguments import TeacherArguments
from layer_distillation.teachers.layer_decay import LayerDecayTrainer, count_decays
from layer_distillation.teachers.loading import locate_fine_tuned
from tiny_project import COLOURS, WORDS, write_teacher, write_tokenizer

SIZES = {"vocab_size": 40, "num_labels": 3, "pad_token_id": 0}
WIDE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
MODELS = {
    "bert": WIDE,
    "camembert": WIDE,  # whose head is registered before its encoder
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
    "modernbert": WIDE | {"cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2},
    "nomic_bert": WIDE,  # whose pooler is
    "mpnet": WIDE,  # whose table of relative positions is registered after its layers
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "bos_token_id": 1, "eos_token_id": 2},
    "llama": WIDE | {"num_key_value_heads": 2},
}
# The first words of names -> how often the rate of 1 is multiplied by 0.5, with two layers.
EXPECTED = {
    "bert": {"bert.embeddings": 3, "bert.encoder.layer.0": 2, "bert.encoder.layer.1": 1, "bert.pooler": 0}
    | {"classifier": 0},
    "camembert": {"roberta.embeddings": 3, "roberta.encoder.layer.0": 2, "roberta.encoder.layer.1": 1}
    | {"classifier.dense": 0, "classifier.out_proj": 0},
    "nomic_bert": {"nomic_bert.embeddings": 3, "nomic_bert.layers.0": 2, "nomic_bert.layers.1": 1}
    | {"nomic_bert.pooler": 0, "classifier": 0},
    "distilbert": {"distilbert.embeddings": 3, "distilbert.transformer.layer.0": 2}
    | {"distilbert.transformer.layer.1": 1, "pre_classifier": 0, "classifier": 0},
    "modernbert": {"model.embeddings": 3, "model.layers.0": 2, "model.layers.1": 1, "model.final_norm": 0}
    | {"head.dense": 0, "head.norm": 0, "classifier": 0},
    "mpnet": {"mpnet.embeddings": 3, "mpnet.encoder.relative_attention_bias": 3, "mpnet.encoder.layer.0": 2}
    | {"mpnet.encoder.layer.1": 1, "classifier.dense": 0, "classifier.out_proj": 0},
    "gpt2": {"transformer.wte": 3, "transformer.wpe": 3, "transformer.h.0": 2, "transformer.h.1": 1}
    | {"transformer.ln_f": 0, "score": 0},
    "llama": {"model.embed_tokens": 3, "model.layers.0": 2, "model.layers.1": 1, "model.norm": 0, "score": 0},
}


NOTHING_EVALUATED = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


def make_model(model_type: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **SIZES, **MODELS[model_type])
    return AutoModelForSequenceClassification.from_config(config)


def make_arguments(folder: Path, **values: object) -> DistillationTrainingArguments:
    values = {"learning_rate": 1.0, "weight_decay": 0.1, "warmup_steps": 0, "bf16": False} | NOTHING_EVALUATED | values
    return DistillationTrainingArguments(str(folder), use_cpu=True, disable_tqdm=True, report_to=[], **values)


def describe_groups(optimizer: torch.optim.Optimizer, model: PreTrainedModel) -> dict[str, tuple[float, float]]:
    """Name -> rate and weight decay; a parameter in two groups, or in none, is an error."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = [(names[parameter], group) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(name for name, _ in found) == sorted(names.values())
    return {name: (group["lr"], group["weight_decay"]) for name, group in found}


@pytest.mark.parametrize("model_type", MODELS)
def test_every_parameter_has_the_rate_of_its_depth_and_the_trainers_weight_decay(tmp_path, model_type):
    model = make_model(model_type)
    arguments = make_arguments(tmp_path)
    stock = describe_groups(DistillationTrainer(model=model, args=arguments).create_optimizer(), model)
    own = describe_groups(LayerDecayTrainer(0.5, model=model, args=arguments).create_optimizer(), model)
    for name, (rate, weight_decay) in own.items():
        [exponent] = [count for start, count in EXPECTED[model_type].items() if name.startswith(f"{start}.")]
        assert (name, rate, weight_decay) == (name, 0.5**exponent, stock[name][1])
    assert {decay for _, decay in own.values()} == {0.0, 0.1}


def test_the_first_group_whose_rate_is_logged_is_the_heads(tmp_path):
    optimizer = LayerDecayTrainer(0.5, model=make_model("bert"), args=make_arguments(tmp_path)).create_optimizer()
    assert optimizer.param_groups[0]["lr"] == 1.0


def test_a_model_without_one_stack_is_refused():
    model = make_bert(2)
    model.config.num_hidden_layers = 7
    with pytest.raises(ValueError, match="need exactly one such ModuleList"):
        count_decays(model)


def test_the_update_of_a_step_follows_the_rate_and_only_used_embeddings_are_trained(tmp_path):
    """Adam's first step is the rate itself, whatever the gradient."""
    write_tokenizer(tmp_path)
    rows = [row | {"input_ids": [token % len(WORDS) % 9 for token in row["input_ids"]]} for row in make_rows(8)]
    model = make_bert(2, seed=3)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trainer = LayerDecayTrainer(
        0.5,
        model=model,
        args=make_arguments(tmp_path, learning_rate=1e-3, weight_decay=0.0, max_steps=1, lr_scheduler_type="constant"),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(tmp_path),
    )
    kinds = []
    create = trainer.create_scheduler
    trainer.create_scheduler = lambda *values, **named: (
        kinds.append(type(model.get_input_embeddings())) or create(*values, **named)
    )
    trainer.train()
    moved = {
        name: float((parameter.detach() - before[name]).abs().max()) for name, parameter in model.named_parameters()
    }
    assert kinds == [TrimmedEmbedding]
    for name, exponent in count_decays(model).items():
        if name.endswith("key.bias"):  # whose gradient is rounding alone: it moves all of a row's scores together
            continue
        assert moved[name] == pytest.approx(1e-3 * 0.5**exponent, rel=1e-2), name


def test_teachers_of_before_are_found_and_one_with_decay_is_another(tmp_path):
    def locate(**values: object) -> str:
        arguments = TeacherArguments("x", cache_dir=str(tmp_path), **values)
        return locate_fine_tuned(arguments, make_bert(2), "rows").name

    # What `locate_fine_tuned` gave before the flag existed.
    assert locate() == locate(teacher_layer_decay=1.0) == "6c1c0bc071c46a78"
    assert len({locate(), locate(teacher_layer_decay=0.9), locate(teacher_layer_decay=0.8)}) == 3
    assert locate(teacher_metric_for_best_model="loss") == locate() != locate(teacher_metric_for_best_model="f1")
    for name in ("teacher_layer_decay", "teacher_metric_for_best_model"):
        assert EARLIER_BEHAVIOUR[name] == asdict(TeacherArguments())[name]


@pytest.mark.parametrize("decay", [0.0, -0.5, 1.5, float("nan")])
def test_a_decay_that_cannot_be_meant_is_refused(decay):
    with pytest.raises(ValueError, match=r"--teacher_layer_decay is .*: give 1 \(none\) or less, above 0"):
        TeacherArguments("x", teacher_layer_decay=decay)


def test_the_commands_teacher_is_fine_tuned_with_it(tmp_path, monkeypatch):
    write_teacher(tmp_path / "encoder", has_head=False)
    location, found = str(tmp_path / "encoder"), []

    def remember(folder, model, tokenizer, data, arguments, compute_metrics, layer_decay):
        found.append((layer_decay, arguments.metric_for_best_model, arguments.greater_is_better))
        model.save_pretrained(folder)

    monkeypatch.setattr(loading, "fine_tune_once", remember)
    own = {"teacher_layer_decay": 0.9, "teacher_metric_for_best_model": "accuracy"}
    arguments = TeacherArguments(location, cache_dir=str(tmp_path / "cache"), **own)
    rows = Dataset.from_dict({"labels": [0, 1, 2, 2]})
    data = TaskData("tiny", rows, {"validation": rows}, None, ("text",), COLOURS, ("accuracy",), None, None)
    tokenizer = loading.load_tokenizer(location, arguments)
    loading.prepare_teacher(arguments, make_arguments(tmp_path), location, tokenizer, data, "rows", lambda _: {})
    assert found == [(0.9, "accuracy", True)]
