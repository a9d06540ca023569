"""Training only the used rows of the embedding gives what training all of them gives, in memory and on disk."""

import logging
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from torch import nn
from transformers import AutoTokenizer, DataCollatorWithPadding

from conftest import make_bert, make_rows
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.records.run_record import read_run_record
from layer_distillation.step.trimmed_embedding import TrimmedEmbedding, train_used_rows, trim_embedding
from run_distillation import main
from tiny_project import make_project, write_tokenizer

USED = [2, 3, 5, 8, 13]


def make_model(vocab_size: int = 60):
    return make_bert(2, seed=2, vocab_size=vocab_size, hidden_dropout_prob=0.1)


def get_table(model) -> torch.Tensor:
    return model.get_input_embeddings().weight


@pytest.fixture
def tokenizer(tmp_path):
    write_tokenizer(tmp_path)
    return AutoTokenizer.from_pretrained(tmp_path)


def make_trainer(folder: Path, tokenizer, **options: object) -> DistillationTrainer:
    """Rows that use less than half of the vocabulary; AdamW with clipping, dropout on."""
    torch.manual_seed(0)
    rows = [row | {"input_ids": [token % 15 + 5 for token in row["input_ids"]]} for row in make_rows(24)]
    settings = {"bf16": False, "learning_rate": 1e-2, "num_train_epochs": 2, "per_device_train_batch_size": 8}
    return DistillationTrainer(
        model=make_model(max(60, len(tokenizer))),
        args=DistillationTrainingArguments(
            output_dir=str(folder), kl_weight=0, hidden_weight=0, pkd_weight=0, disable_tqdm=True, **settings | options
        ),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(make_rows(12, seed=3)),
        processing_class=tokenizer,
    )


def test_a_forward_pass_is_the_plain_embeddings(tokenizer):
    plain = nn.Embedding(20, 4, padding_idx=3)
    trimmed = TrimmedEmbedding(plain, torch.tensor(USED))
    ids = torch.tensor([[3, 13, 5], [8, 2, 3]])
    torch.testing.assert_close(trimmed.train()(ids), plain(ids), rtol=0, atol=0)
    every_id = torch.arange(20)
    torch.testing.assert_close(trimmed.eval()(every_id), plain(every_id), rtol=0, atol=0)


def test_gradients_are_the_plain_ones_and_none_reaches_padding():
    plain = nn.Embedding(20, 4, padding_idx=3)
    trimmed = TrimmedEmbedding(nn.Embedding.from_pretrained(plain.weight.detach(), padding_idx=3), torch.tensor(USED))
    ids, weights = torch.tensor([[3, 13, 5], [8, 13, 3]]), torch.rand(2, 3, 4)
    (plain(ids) * weights).sum().backward()
    (trimmed.train()(ids) * weights).sum().backward()
    torch.testing.assert_close(trimmed.used_rows.grad, plain.weight.grad[USED], rtol=0, atol=0)
    assert not trimmed.used_rows.grad[USED.index(3)].any()
    assert trimmed.weight.grad is None


def test_an_id_that_was_not_announced_stops_training():
    with pytest.raises(IndexError):
        TrimmedEmbedding(nn.Embedding(20, 4), torch.tensor(USED)).train()(torch.tensor([4]))


def test_training_gives_the_weights_of_the_whole_table(tmp_path, tokenizer):
    whole = make_trainer(tmp_path / "whole", tokenizer, trim_embedding=False)
    trimmed = make_trainer(tmp_path / "trimmed", tokenizer)
    start = get_table(trimmed.model).detach().clone()
    for trainer in (whole, trimmed):
        torch.manual_seed(1)  # dropout
        trainer.train()
    assert isinstance(trimmed.model.get_input_embeddings(), nn.Embedding)
    assert trimmed.model.state_dict().keys() == whole.model.state_dict().keys()
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(trimmed.model.state_dict()[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    moved = (get_table(trimmed.model) != start).any(dim=1)
    assert 10 <= int(moved.sum()) <= 20  # the tokens of the rows; padding and the rest stay to the bit
    whole_losses = [entry["eval_loss"] for entry in whole.state.log_history if "eval_loss" in entry]
    losses = [entry["eval_loss"] for entry in trimmed.state.log_history if "eval_loss" in entry]
    assert losses == pytest.approx(whole_losses, rel=1e-5)


def test_a_checkpoint_is_a_plain_models_and_holds_the_trained_rows(tmp_path, tokenizer):
    trainer = make_trainer(tmp_path / "run", tokenizer, load_best_model_at_end=False, save_total_limit=None)
    start = get_table(trainer.model).detach().clone()
    trainer.train()
    saved = load_file(tmp_path / "run" / "checkpoint-6" / "model.safetensors")
    assert saved.keys() == trainer.model.state_dict().keys()
    table = saved["bert.embeddings.word_embeddings.weight"]
    torch.testing.assert_close(table, get_table(trainer.model).detach(), rtol=0, atol=0)
    assert not torch.equal(table, start)


def test_the_best_checkpoint_is_loaded_with_its_rows(tmp_path, tokenizer):
    trainer = make_trainer(tmp_path / "run", tokenizer, learning_rate=0.5, save_total_limit=None)
    trainer.train()
    best = load_file(Path(trainer.state.best_model_checkpoint) / "model.safetensors")
    table = best["bert.embeddings.word_embeddings.weight"]
    torch.testing.assert_close(get_table(trainer.model).detach(), table, rtol=0, atol=0)


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, tokenizer):
    whole = make_trainer(tmp_path / "run", tokenizer, load_best_model_at_end=False, save_total_limit=None)
    whole.train()
    resumed = make_trainer(tmp_path / "run", tokenizer, load_best_model_at_end=False, save_total_limit=None)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], tensor, rtol=0, atol=0, msg=name)


def test_training_twice_moves_the_rows_twice(tmp_path, tokenizer):
    trainer = make_trainer(tmp_path / "run", tokenizer, load_best_model_at_end=False, save_strategy="no")
    trainer.train()
    first = get_table(trainer.model).detach().clone()
    trainer.train()
    assert not torch.equal(get_table(trainer.model), first)


def test_the_plain_embedding_is_back_even_after_a_failure():
    model = make_model()
    plain = model.get_input_embeddings()
    with pytest.raises(RuntimeError, match="stop"), train_used_rows(model, USED):
        raise RuntimeError("stop")
    assert model.get_input_embeddings() is plain
    assert plain.weight.requires_grad


@pytest.mark.parametrize(
    "prepare", [lambda model: range(40), lambda model: get_table(model).requires_grad_(False) is None or USED]
)
def test_nothing_is_trimmed_where_most_rows_are_used_or_none_is_trained(prepare):
    model = make_model()
    with train_used_rows(model, prepare(model)) as is_trimmed:
        assert not is_trimmed
        assert type(model.get_input_embeddings()) is nn.Embedding


def test_an_optimizer_that_couples_rows_gets_the_whole_table(tmp_path, tokenizer):
    trainer = make_trainer(tmp_path / "run", tokenizer, optim="adafactor")
    with trim_embedding(trainer) as is_trimmed:
        assert not is_trimmed
    with trim_embedding(make_trainer(tmp_path / "run", tokenizer)) as is_trimmed:
        assert is_trimmed
    trainer = make_trainer(tmp_path / "run", tokenizer)
    trainer.optimizer_cls_and_kwargs = (torch.optim.Adafactor, {})
    with trim_embedding(trainer) as is_trimmed:
        assert not is_trimmed


def test_the_collator_s_tokenizer_is_enough(tmp_path, tokenizer):
    options = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    whole = make_trainer(tmp_path / "run", tokenizer, **options)
    trainer = DistillationTrainer(
        model=whole.model,
        args=whole.args,
        train_dataset=whole.train_dataset,
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    with trim_embedding(trainer) as is_trimmed:
        assert is_trimmed


@pytest.mark.slow
@pytest.mark.parametrize(("bf16", "tolerance"), [("false", 1e-4), ("true", 2e-2)])
def test_a_compiled_run_from_the_store_learns_what_a_plain_one_does(tmp_path, caplog, bf16, tolerance):
    """The whole command: stored outputs, trimmed embedding, pools; without dropout, which is drawn otherwise."""
    caplog.set_level(logging.INFO)
    flags = [*make_project(tmp_path, dropout=0.0), "--bf16", bf16]
    losses = []
    for name, more in {"plain": [], "compiled": ["--torch_compile", "true"]}.items():
        torch._dynamo.utils.counters.clear()
        caplog.clear()
        assert main([*flags, *more, f"--output_dir={tmp_path / name}"]) == 0
        assert "teacher outputs: stored" in caplog.text
        assert "token embeddings: those of the training rows" in caplog.text
        losses.append(read_run_record(tmp_path / name).metrics["validation"]["loss"])
    assert torch._dynamo.utils.counters["frames"]["total"] > 0
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)
