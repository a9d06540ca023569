"""What a trainer is made of is used or refused in one line, when it is made."""

import pytest
import torch
from datasets import Dataset, Features, List, Value
from transformers import DataCollatorWithPadding, TrainingArguments

from conftest import VOCABULARY_SIZE, make_bert, make_rows, pad_rows
from distill_trainer import DistillationTrainer, DistillationTrainingArguments

OFF = {"hidden_weight": 0.0, "pkd_weight": 0.0}


def make_args(folder, **options) -> DistillationTrainingArguments:
    settings = {"use_cpu": True, "bf16": False, "disable_tqdm": True, "eval_strategy": "no", "save_strategy": "no"}
    settings |= {"load_best_model_at_end": False, "num_train_epochs": 1, **OFF}
    return DistillationTrainingArguments(str(folder), **settings | options)


def make_trainer(folder, teacher=None, student=None, rows=None, **options) -> DistillationTrainer:
    names = {"compute_loss_func", "optimizers", "further_teachers", "eval_dataset", "extra_terms", "data_collator"}
    others = {name: options.pop(name) for name in names & options.keys()}
    return DistillationTrainer(
        student or make_bert(2, seed=2),
        make_args(folder, **options),
        teacher if teacher is not None else make_bert(4, seed=1),
        train_dataset=Dataset.from_list(make_rows(16)) if rows is None else rows,
        **{"data_collator": pad_rows} | others,
    )


def name_labels(model, names):
    model.config.id2label, model.config.label2id = dict(enumerate(names)), {n: i for i, n in enumerate(names)}
    return model


class PeftModel(torch.nn.Module):
    """As the library names an adapter's wrapper."""

    __module__ = "peft.peft_model"


def test_plain_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="args is a TrainingArguments: make it a DistillationTrainingArguments"):
        DistillationTrainer(make_bert(2), TrainingArguments(str(tmp_path)), make_bert(4))


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (DataCollatorWithPadding(None), "teacher is a DataCollatorWithPadding.*data_collator="),
        (PeftModel(), r"the teacher is a PeftModel: merge its adapter first, teacher.merge_and_unload\(\)"),
        (torch.nn.Linear(1, 1), "teacher is a Linear: give a PreTrainedModel"),
    ],
)
def test_what_is_no_teacher_is_refused(tmp_path, teacher, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, teacher)
    with pytest.raises(ValueError, match=message):
        make_trainer(tmp_path, further_teachers=[teacher])


def test_labels_in_another_order_are_refused_and_other_spellings_are_not(tmp_path):
    student = name_labels(make_bert(2), ["no", "maybe", "yes"])
    with pytest.raises(ValueError, match=r"\['no', 'maybe', 'yes'\] and \['yes', 'maybe', 'no'\]: bring"):
        make_trainer(tmp_path, name_labels(make_bert(4), ["yes", "maybe", "no"]), student)
    make_trainer(tmp_path, name_labels(make_bert(4), ["No", "Maybe", "Yes"]), student)
    make_trainer(tmp_path, make_bert(4), student)  # LABEL_0 ..: nothing is known of them


@pytest.mark.parametrize("size", [VOCABULARY_SIZE - 10, VOCABULARY_SIZE + 10])
def test_a_teacher_of_another_vocabulary_is_refused(tmp_path, size):
    with pytest.raises(ValueError, match=f"vocabulary has {VOCABULARY_SIZE} tokens and the teacher's {size}"):
        make_trainer(tmp_path, make_bert(4, vocab_size=size))


def test_a_teacher_that_returns_tuples_teaches_the_same(tmp_path):
    losses = []
    for return_dict in (True, False):
        teacher = make_bert(4, seed=1)
        teacher.config.return_dict = return_dict
        trainer = make_trainer(tmp_path, teacher, ce_weight=0.0, hidden_weight=1.0)
        losses.append(trainer.compute_loss(trainer.model.eval(), pad_rows(make_rows(6))).item())
    assert losses[0] == losses[1]


def test_several_regression_targets_are_refused(tmp_path):
    options = {"problem_type": "regression", "num_labels": 3}
    with pytest.raises(ValueError, match="the student's problem_type is regression with 3 outputs"):
        make_trainer(tmp_path, student=make_bert(2, **options))
    with pytest.raises(ValueError, match="the teacher's problem_type is regression with 3 outputs"):
        make_trainer(tmp_path, make_bert(4, **options))


def test_teacher_and_student_of_one_and_of_several_labels_to_a_row_are_refused(tmp_path):
    several = make_bert(4, problem_type="multi_label_classification")
    with pytest.raises(ValueError, match=r"the teacher's problem_type is None.*multi_label_classification"):
        make_trainer(tmp_path, student=make_bert(2, problem_type="multi_label_classification"))
    with pytest.raises(ValueError, match="multi_label_classification"):
        make_trainer(tmp_path, several)


@pytest.mark.parametrize("name", ["train_dataset", "eval_dataset"])
def test_a_column_of_several_labels_is_refused(tmp_path, name):
    rows = [{"input_ids": [1, 2, 3], "attention_mask": [1, 1, 1], "labels": [0.0, 1.0, 1.0]}] * 3
    features = {"input_ids": List(Value("int64")), "attention_mask": List(Value("int64"))}
    several = Dataset.from_list(rows, Features({**features, "labels": List(Value("float32"))}))
    given = {"rows": several} if name == "train_dataset" else {"eval_dataset": several}
    with pytest.raises(ValueError, match=f"{name} has several labels per row in 'labels'"):
        make_trainer(tmp_path, **given)
    numbers = Dataset.from_list([row | {"labels": 0.5} for row in rows])
    with pytest.raises(ValueError, match=r"numbers \(float64\) in 'labels', and the student 3 outputs"):
        make_trainer(tmp_path, **({"rows": numbers} if name == "train_dataset" else {"eval_dataset": numbers}))


def test_a_batch_of_several_labels_is_never_broadcast(tmp_path):
    """As many labels as rows: (3, 3) against logits of (3, 3) would give a number."""
    batch = pad_rows(make_rows(3)) | {"labels": torch.ones(3, 3)}
    trainer = make_trainer(tmp_path, kl_weight=0.0)
    with pytest.raises(ValueError, match=r"shape \(3, 3\): give one label per row"):
        trainer.compute_loss(trainer.model, batch)
    with pytest.raises(ValueError, match=r"labels are torch\.float32, and the student has 3 classes"):
        trainer.compute_loss(trainer.model, batch | {"labels": torch.ones(3)})


def test_rows_without_labels_teach_by_the_teacher_alone(tmp_path):
    rows = Dataset.from_list(make_rows(16)).remove_columns("labels")
    with pytest.raises(ValueError, match="none of labels, label, label_ids: add labels, or set ce_weight to 0"):
        make_trainer(tmp_path, rows=rows)
    unlabelled, labelled = (make_trainer(tmp_path, rows=given, ce_weight=0.0) for given in (rows, None))
    weights = []
    for trainer in (unlabelled, labelled):
        trainer.train()
        weights.append(trainer.model.state_dict())
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    batch = {name: tensor for name, tensor in pad_rows(make_rows(4)).items() if name != "labels"}
    trainer = make_trainer(tmp_path)
    with pytest.raises(ValueError, match="a batch has no labels, and ce_weight is above 0"):
        trainer.compute_loss(trainer.model, batch)


def test_a_loss_that_would_never_be_called_is_refused(tmp_path):
    with pytest.raises(ValueError, match="takes the place of the CE term, and ce_weight is 0"):
        make_trainer(tmp_path, compute_loss_func=lambda *_, **__: 0, ce_weight=0.0)
    with pytest.raises(ValueError, match="which class_weights weighs: give one of both"):
        make_trainer(tmp_path, compute_loss_func=lambda *_, **__: 0, class_weights="balanced")


def test_batches_without_token_ids_are_refused(tmp_path):
    trainer = make_trainer(tmp_path)
    with pytest.raises(ValueError, match=r"a batch holds \['pixels'\], and no input_ids"):
        trainer.compute_loss(trainer.model, {"pixels": torch.ones(2, 3), "labels": torch.ones(2).long()})
