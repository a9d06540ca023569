"""Runs with several teachers: stored as live, each paid for once, recorded by itself, refused before any training."""

import gc
import json
import pickle
import re
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.special import log_softmax, softmax
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DistilBertConfig,
    DistilBertForSequenceClassification,
)

import preview_strategies
import run_distillation
from conftest import make_bert, make_rows, pad_rows
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.losses.functions import kl_divergence_loss, logit_cosine_loss
from layer_distillation.outputs.ensemble_logits import mix_logits
from layer_distillation.outputs.store import TeacherStore, make_spec
from layer_distillation.records.run_record import read_run_record
from layer_distillation.runs import preparation as run_preparation
from layer_distillation.runs import teacher_ensemble
from layer_distillation.runs.teacher_ensemble import fingerprint_ensemble, list_further
from layer_distillation.teachers import store_filling as teacher_store_filling
from layer_distillation.teachers import training as teacher_training
from layer_distillation.teachers.arguments import TeacherArguments
from layer_distillation.teachers.store_filling import open_or_fill
from run_distillation import main
from simulated_runs import write_run
from test_preview_strategies import read_preview
from test_run_distillation import refuse, replace_flag
from tests.comparison.test_grouping import group_one, list_reasons
from tiny_project import COLOURS, make_project, write_csv, write_tokenizer
from tiny_training import make_trainer

FINE_TUNING = {"teacher_num_train_epochs": 1, "teacher_learning_rate": 1e-3}


def write_other_teacher(
    folder: Path, seed: int, labels: list[str] = COLOURS, num_layers: int = 2, **options: object
) -> Path:
    """Of other depth and width than `make_project`'s teacher."""
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: index for index, name in enumerate(labels)}}
    model = make_bert(
        num_layers, len(labels), seed, **{"hidden_size": 24, "num_attention_heads": 3, **names, **options}
    )
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


@pytest.fixture
def flags(tmp_path) -> list[str]:
    """Two teachers of other labels' order; what differs from the first stands in `write_other_teacher`."""
    write_other_teacher(tmp_path / "b", seed=5, labels=COLOURS[::-1])
    write_other_teacher(tmp_path / "c", seed=6, num_layers=3)
    return [*make_project(tmp_path), f"--additional_teachers={tmp_path / 'b'},{tmp_path / 'c'}"]


def count_fillings(monkeypatch) -> list[str]:
    """The fingerprint of the teacher of every store that is filled from now on."""
    filled, fill = [], teacher_store_filling.fill
    monkeypatch.setattr(
        teacher_store_filling, "fill", lambda *given: (filled.append(given[1].teacher_fingerprint), fill(*given))
    )
    return filled


# ---- the loss in the trainer -------------------------------------------------------------------------------------


def make_ensemble_trainers(
    folder: Path, further: list[torch.nn.Module], **options: object
) -> tuple[DistillationTrainer, DistillationTrainer]:
    """One with live teachers, one with stores of the same, filled in the same order."""
    options = {"logging_strategy": "steps", "logging_steps": 1, "attention_weight": 0.0} | options
    made = make_trainer(folder / "live", **options)
    first, rows = make_bert(4, seed=1), made.train_dataset
    stores: list[TeacherStore] = []
    for index, model in enumerate([first, *further]):
        layers = [(1, 3)] if index == 0 else []
        spec = make_spec(model.config, f"teacher {index}", rows, *layers)
        stores.append(open_or_fill(folder / "stores", spec, model, rows, pad_rows, torch.device("cpu")))
    stores[0].further_stores += stores[1:]
    sources = ({"teacher": first, "further_teachers": further}, {"teacher": stores[0]})
    return tuple(
        DistillationTrainer(
            model=make_bert(2, seed=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
            args=made.args,
            data_collator=pad_rows,
            train_dataset=rows,
            eval_dataset=made.eval_dataset,
            **source,
        )
        for source in sources
    )


def list_losses(trainer: DistillationTrainer) -> list[dict[str, float]]:
    return [
        {name: value for name, value in entry.items() if name.endswith("loss") and not name.startswith("eval")}
        for entry in trainer.state.log_history
        if "kl_loss" in entry
    ]


def test_stored_ensembles_have_the_losses_of_live_ones(tmp_path):
    further = [make_bert(3, seed=5, hidden_size=24, num_attention_heads=3), make_bert(1, seed=6)]
    live, stored = make_ensemble_trainers(
        tmp_path, further, rkd_weight=1.0, temperature=2.0, schedules="temperature=linear:1"
    )
    live.train()
    stored.train()
    assert stored.teacher_outputs is None
    for own, other in zip(list_losses(live), list_losses(stored), strict=True):
        assert own.keys() == {"loss", "ce_loss", "kl_loss", "hidden_loss", "logit_cosine_loss", "rkd_loss"}
        assert other == pytest.approx(own, rel=1e-2)  # hidden states are stored in half precision
        assert [other[name] for name in ("kl_loss", "ce_loss")] == pytest.approx(
            [own[name] for name in ("kl_loss", "ce_loss")], rel=1e-3
        )


@pytest.mark.parametrize("kind", [0, 1])
def test_the_terms_compare_with_all_teachers_as_written_out(tmp_path, kind):
    """KL with the mean distribution at T = 2, logit cosine with the mean of the logits; live and from the store."""
    further = [make_bert(3, seed=5), make_bert(1, seed=6)]
    off = dict.fromkeys(["ce_weight", "hidden_weight", "pkd_weight"], 0.0)
    weights = off | {"kl_weight": 1.0, "logit_cosine_weight": 0.01}  # the logits are small, and so is KL
    trainer = make_ensemble_trainers(tmp_path, further, temperature=2.0, **weights)[kind]
    batch = next(iter(trainer.get_train_dataloader()))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        teachers = [model(**inputs).logits for model in (make_bert(4, seed=1), *further)]
        student = trainer.model.eval()(**inputs).logits
        loss = trainer.compute_loss(trainer.model, batch)
    mean = torch.stack([(logits / 2).softmax(dim=-1) for logits in teachers]).mean(dim=0)
    expected = kl_divergence_loss(student, 2 * mean.log(), 2.0) + 0.01 * logit_cosine_loss(student, sum(teachers) / 3)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_one_teacher_twice_trains_as_that_teacher_alone(tmp_path):
    alone, _ = make_ensemble_trainers(tmp_path / "alone", [])
    twice, _ = make_ensemble_trainers(tmp_path / "twice", [make_bert(4, seed=1)])
    alone.train()
    twice.train()
    for own, other in zip(list_losses(alone), list_losses(twice), strict=True):
        assert other == pytest.approx(own, rel=1e-4)


def test_live_teachers_are_bit_equal_afterwards_and_evaluation_compares_with_their_mean(tmp_path):
    further = make_bert(3, seed=5)
    before = {name: tensor.clone() for name, tensor in further.state_dict().items()}
    trainer, _ = make_ensemble_trainers(tmp_path, [further])
    trainer.train()
    assert all(torch.equal(tensor, before[name]) for name, tensor in further.state_dict().items())
    batch = pad_rows(make_rows(5, seed=9))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    _, logits, _ = trainer.prediction_step(trainer.model, dict(batch), prediction_loss_only=False)
    teacher_logits = logits["teacher"]
    with torch.no_grad():
        logits = [model(**inputs).logits for model in (make_bert(4, seed=1), further)]
    torch.testing.assert_close(teacher_logits, mix_logits(torch.stack(logits, dim=1)), rtol=1e-4, atol=1e-5)


def test_a_pickled_store_of_several_teachers_gives_the_same_logits(tmp_path):
    """As the worker of a data loader gets it."""
    _, stored = make_ensemble_trainers(tmp_path, [make_bert(1, seed=6)])
    copied = pickle.loads(pickle.dumps(stored.teacher_store))
    assert copied.get_logits([3, 0]).shape == (2, 2, 3)
    assert torch.equal(copied.get_logits([3, 0]), stored.teacher_store.get_logits([3, 0]))


# ---- whole runs --------------------------------------------------------------------------------------------------


def predict(folder: Path, csv_file: Path) -> np.ndarray:
    """Logits of a folder's model; of colours in alphabetical order, as the task's are."""
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    texts = [line.split(",")[0] for line in csv_file.read_text().splitlines()[1:]]
    with torch.no_grad():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.numpy()
    names = sorted(COLOURS) if logits.shape[1] == 3 else list(model.config.label2id)
    return logits[:, [model.config.label2id[name] for name in names]]


def test_a_run_with_three_teachers_records_shows_and_scores_their_mean(tmp_path, flags, capsys):
    assert main(flags) == 0
    folder = tmp_path / "run"
    record, printed, card = read_run_record(folder), capsys.readouterr().out, (folder / "README.md").read_text()
    logits = [predict(tmp_path / name, tmp_path / "validation.csv") for name in ("teacher", "b", "c")]
    mean = np.mean([softmax(own, axis=-1) for own in logits], axis=0)
    arrays = np.load(folder / "predictions.npz")
    np.testing.assert_allclose(arrays["validation.teacher_logits"], np.log(mean), rtol=1e-3, atol=1e-4)
    student_log = log_softmax(arrays["validation.student_logits"], axis=-1)
    divergence = np.mean(np.sum(mean * (np.log(mean) - student_log), axis=-1))
    assert record.metrics["validation"]["kl_to_teacher"] == pytest.approx(divergence, rel=1e-3)
    labels = arrays["validation.labels"]
    assert record.teacher["metrics"]["validation"]["accuracy"] == np.mean(mean.argmax(axis=-1) == labels)
    members = record.teacher["members"]
    assert [Path(member["name"]).name for member in members] == ["teacher", "b", "c"]
    assert [member["layers"] for member in members] == [4, 2, 3]
    accuracies = [member["metrics"]["validation"]["accuracy"] for member in members]
    assert accuracies == [np.mean(own.argmax(axis=-1) == labels) for own in logits]
    assert record.teacher["fingerprint"] == fingerprint_ensemble([member["fingerprint"] for member in members])
    assert (record.teacher["layers"], record.teacher["parameters"]) == (4, members[0]["parameters"])
    assert "the mean of 3 teachers" in printed
    assert f"  b: validation accuracy {accuracies[1]:.4f}" in printed
    assert "The teacher is the mean distribution of 3 models" in card
    assert f"| c | {accuracies[2]:.4f} |" in card
    assert "--additional_teachers=b,c" in card
    assert all(str(tmp_path / name) not in card for name in ("teacher", "b", "c"))


def test_a_single_teacher_is_recorded_without_members(tmp_path):
    assert main(make_project(tmp_path)) == 0
    record = read_run_record(tmp_path / "run")
    assert "members" not in record.teacher
    assert "the mean of" not in (tmp_path / "run" / "README.md").read_text()


@pytest.mark.slow
def test_live_runs_have_the_losses_of_stored_ones_and_any_order_of_further_teachers(tmp_path, flags):
    switched = f"{tmp_path / 'c'},{tmp_path / 'b'}"
    # Only terms without half-precision stores.
    options = {"hidden_weight": 0, "pkd_weight": 0, "logit_cosine_weight": 0.5, "bf16": "false"}
    runs = {"stored": {}, "live": {"teacher_outputs": "live"}, "switched": {"additional_teachers": switched}}
    for name, values in runs.items():
        assert main(replace_flag(flags, output_dir=tmp_path / name, **options, **values)) == 0
    stored, live, other = (read_run_record(tmp_path / name) for name in runs)
    for entry in (live, other):
        assert [epoch["train_loss"] for epoch in entry.history] == pytest.approx(
            [epoch["train_loss"] for epoch in stored.history], rel=1e-4
        )
        assert entry.metrics["validation"]["loss"] == pytest.approx(stored.metrics["validation"]["loss"], rel=1e-4)
        assert entry.teacher["fingerprint"] == stored.teacher["fingerprint"]


@pytest.mark.slow
def test_an_ensemble_after_one_teacher_pays_for_the_new_ones_alone(tmp_path, flags, monkeypatch):
    filled = count_fillings(monkeypatch)
    assert main(replace_flag(flags, additional_teachers=None, output_dir=tmp_path / "alone")) == 0
    assert len(filled) == 3  # train, validation, test
    filled.clear()
    assert main(flags) == 0
    members = read_run_record(tmp_path / "run").teacher["members"]
    assert sorted(filled) == sorted(3 * [member["fingerprint"] for member in members[1:]])
    filled.clear()
    assert main(replace_flag(flags, output_dir=tmp_path / "again", layer_strategy="bottom")) == 0
    assert filled == []


@pytest.mark.slow
def test_where_all_is_stored_no_teacher_s_weights_outlive_its_turn(tmp_path, flags, monkeypatch):
    made, alive, prepare = [], [], run_preparation.prepare_teacher

    def prepare_and_watch(*given):
        gc.collect()
        alive.append(sum(model() is not None for model in made))
        teacher = prepare(*given)
        made.append(weakref.ref(teacher.model))
        return teacher

    monkeypatch.setattr(run_preparation, "prepare_teacher", prepare_and_watch)
    monkeypatch.setattr(teacher_ensemble, "prepare_teacher", prepare_and_watch)
    assert main(flags) == 0
    assert alive == [0, 0, 0]


@pytest.mark.slow
def test_seeds_make_several_teachers_of_one_encoder_and_the_first_is_todays(tmp_path, monkeypatch):
    flags = replace_flag(make_project(tmp_path, has_head=False), **FINE_TUNING)
    fine_tuned, fine_tune = [], teacher_training.fine_tune
    monkeypatch.setattr(
        teacher_training, "fine_tune", lambda folder, *rest: (fine_tuned.append(folder.name), fine_tune(folder, *rest))
    )
    assert main(replace_flag(flags, output_dir=tmp_path / "alone")) == 0
    assert main([*flags, "--teacher_seeds=42,43"]) == 0
    assert len(set(fine_tuned)) == len(fine_tuned) == 2
    alone, several = (read_run_record(tmp_path / name).teacher for name in ("alone", "run"))
    assert [member["seed"] for member in several["members"]] == [42, 43]
    assert several["members"][0]["fingerprint"] == alone["fingerprint"]
    assert several["members"][1]["fingerprint"] != alone["fingerprint"]
    assert several["fingerprint"] != alone["fingerprint"]
    assert "| teacher, seed 43 |" in (tmp_path / "run" / "README.md").read_text()


def test_a_further_teacher_without_a_head_is_fine_tuned_too(tmp_path, flags):
    shutil.rmtree(tmp_path / "b")
    make_bert(2, seed=5).bert.save_pretrained(tmp_path / "b")
    write_tokenizer(tmp_path / "b")
    assert main(replace_flag(flags, **FINE_TUNING)) == 0
    assert [member["seed"] for member in read_run_record(tmp_path / "run").teacher["members"]] == [None, 42, None]


def test_the_mean_of_regressions_is_that_of_their_outputs(tmp_path):
    flags = replace_flag(make_project(tmp_path, labels=["x"]), logit_cosine_weight=0)
    for name, rows in (("train", 24), ("validation", 12), ("test", 9)):
        path = write_csv(tmp_path / f"{name}.csv", rows)
        values = {colour: str(0.5 + index) for index, colour in enumerate(COLOURS)}
        lines = [line.rsplit(",", 1) for line in path.read_text().splitlines()]
        path.write_text(
            "\n".join([",".join(lines[0]), *(f"{text},{values[label]}" for text, label in lines[1:])]) + "\n"
        )
    write_other_teacher(tmp_path / "b", seed=5, labels=["x"])
    assert main([*flags, f"--additional_teachers={tmp_path / 'b'}"]) == 0
    mean = sum(predict(tmp_path / name, tmp_path / "validation.csv") for name in ("teacher", "b")) / 2
    found = np.load(tmp_path / "run" / "predictions.npz")["validation.teacher_logits"]
    np.testing.assert_allclose(found, mean, rtol=1e-4, atol=1e-5)


def test_a_preview_compares_with_all_teachers(tmp_path, flags):
    assert preview_strategies.main([*replace_flag(flags, output_dir=tmp_path / "p"), "--strategies", "bottom"]) == 0
    assert main([*flags, "--layer_strategy=bottom", "--num_train_epochs=1"]) == 0
    record, preview = read_run_record(tmp_path / "run"), read_preview(tmp_path / "p")
    assert preview["teacher"] == "teacher and 2 more"
    assert preview["strategies"]["bottom"]["scores"] == record.student["untrained"]
    assert preview["teacher_scores"] == record.teacher["metrics"]["validation"]


# ---- what tells runs apart ---------------------------------------------------------------------------------------


def test_another_ensemble_is_another_teacher_in_a_comparison_and_another_name_of_it_is_not(tmp_path):
    for strategy in ("top", "odd", "even"):
        arguments = {"additional_teachers": f"/{strategy}/b", "teacher_seeds": "42"}
        write_run(tmp_path / strategy, strategy, arguments=arguments, teacher={"fingerprint": "a b"})
    write_run(tmp_path / "other", "ends", arguments={"additional_teachers": "/x/c"}, teacher={"fingerprint": "a c"})
    assert list_reasons(group_one(tmp_path)) == {"other": "other teacher"}


def test_the_fingerprint_of_an_ensemble_knows_the_first_and_no_other_order():
    assert fingerprint_ensemble(["a", "b", "c"]) == fingerprint_ensemble(["a", "c", "b"])
    assert len({fingerprint_ensemble(names) for names in (["a", "b"], ["b", "a"], ["a", "a"], ["a", "b", "b"])}) == 4


def test_further_teachers_are_the_other_seeds_and_then_the_named_ones():
    arguments = TeacherArguments("a", additional_teachers="b, c", teacher_seeds="7,8", teacher_revision="v2")
    found = [
        (own.teacher_model_name_or_path, own.teacher_seeds, own.teacher_revision) for own in list_further(arguments)
    ]
    assert found == [("a", "8", "v2"), ("b", "7", "main"), ("c", "7", "main")]


# ---- what is refused: one line, exit status 2, before any training -------------------------------------------------


def write_other_vocabulary(folder: Path) -> None:
    path = folder / "b" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"] |= {"the": content["model"]["vocab"]["a"], "a": content["model"]["vocab"]["the"]}
    path.write_text(json.dumps(content))


REFUSALS = {
    "nowhere": ({"additional_teachers": "nowhere"}, None, "no model could be loaded from --additional_teachers"),
    "other labels": (
        {},
        lambda folder: write_other_teacher(folder / "b", 5, ["cat", "dog", "cow"]),
        r"\['cat', 'dog', 'cow'\].*\['blue', 'green', 'red'\]",
    ),
    "other vocabulary": (
        {},
        write_other_vocabulary,
        "--additional_teachers .*b has another vocabulary than the teacher",
    ),
    "fewer positions": (
        {},
        lambda folder: write_other_teacher(folder / "b", 5, max_position_embeddings=8),
        "--max_length 16 is more than the 8 tokens",
    ),
    "without weights": ({}, lambda folder: (folder / "b" / "model.safetensors").unlink(), "the weights of .*b' cannot"),
    "seeds of a fine-tuned teacher": ({"teacher_seeds": "42,43"}, None, "fine-tuned already: give one seed"),
    "seeds no numbers": ({"teacher_seeds": "42,x"}, None, "--teacher_seeds is '42,x': give whole numbers"),
    "a seed twice": ({"teacher_seeds": "42,42"}, None, "has a seed twice"),
    "untrained, training never": (
        {"teacher_training": "never"},
        lambda folder: (
            (shutil.rmtree(folder / "b"), make_bert(2).bert.save_pretrained(folder / "b"))
            and write_tokenizer(folder / "b")
        ),
        "head of .*b is newly initialised",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_teachers_end_in_one_line_and_status_2_before_any_training(case, tmp_path, flags, capsys, monkeypatch):
    values, prepare, message = REFUSALS[case]
    monkeypatch.setattr(run_distillation, "distil", lambda *_: pytest.fail("training began"))
    monkeypatch.setattr(teacher_training, "fine_tune", lambda *_: pytest.fail("a teacher was trained"))
    if prepare is not None:
        prepare(tmp_path)
    line = refuse(capsys, replace_flag(flags, **values))
    assert re.search(message, line), line


def test_a_bad_further_teacher_is_refused_before_the_first_is_fine_tuned(tmp_path, capsys, monkeypatch):
    flags = make_project(tmp_path, has_head=False)
    write_other_teacher(tmp_path / "b", 5, ["cat", "dog", "cow"])
    monkeypatch.setattr(teacher_training, "fine_tune", lambda *_: pytest.fail("a teacher was trained"))
    with pytest.raises(SystemExit):
        main([*flags, f"--additional_teachers={tmp_path / 'b'}"])
    assert "cat" in capsys.readouterr().err


def test_a_teacher_that_is_there_twice_is_refused(tmp_path, flags, capsys):
    twice = [*flags[:-1], f"--additional_teachers={tmp_path / 'b'},{tmp_path / 'b'}"]
    with pytest.raises(SystemExit):
        main(twice)
    assert "is there twice among the teachers" in capsys.readouterr().err
    shutil.copytree(tmp_path / "b", tmp_path / "copy")
    with pytest.raises(SystemExit):
        main([*flags[:-1], f"--additional_teachers={tmp_path / 'b'},{tmp_path / 'copy'}"])
    assert "is the same teacher as one before it" in capsys.readouterr().err


def test_further_teachers_that_do_not_fit_are_refused_in_python_too(tmp_path):
    student, args = make_bert(2, 3, seed=0), DistillationTrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    with pytest.raises(ValueError, match="give the first of them as teacher"):
        DistillationTrainer(student, args, further_teachers=[make_bert(2, 3, seed=1)])
    with pytest.raises(ValueError, match="give all of them the task's labels"):
        DistillationTrainer(student, args, make_bert(4, 3, seed=1), further_teachers=[make_bert(2, 4, seed=1)])


def test_a_live_further_teacher_gets_what_only_it_reads(tmp_path):
    """As a store would hold it: DistilBERT takes no segments, BERT does."""
    sizes = {"vocab_size": 60, "dim": 16, "hidden_dim": 32, "n_heads": 2, "num_labels": 3, "pad_token_id": 0}
    student, first = (DistilBertForSequenceClassification(DistilBertConfig(n_layers=n, **sizes)) for n in (1, 2))
    rows = [row | {"token_type_ids": [1] * len(row["input_ids"])} for row in make_rows(8)]
    seen: list[set[str]] = []

    def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
        seen.append(set(rows[0]))
        return pad_rows(rows)

    trainer = DistillationTrainer(
        student,
        DistillationTrainingArguments(
            output_dir=str(tmp_path), use_cpu=True, eval_strategy="no", load_best_model_at_end=False
        ),
        first,
        further_teachers=[make_bert(2, seed=1)],
        data_collator=collate,
        train_dataset=Dataset.from_list(rows),
    )
    next(iter(trainer.get_train_dataloader()))
    assert "token_type_ids" in seen[0]
