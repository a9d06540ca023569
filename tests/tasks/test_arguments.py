"""The data arguments: defaults, one source of data, and refusals that name the remedy."""

import dataclasses

import pytest
from transformers import HfArgumentParser

from layer_distillation.tasks import natural_logic
from layer_distillation.tasks.arguments import TASKS, DataArguments, name_task
from layer_distillation.tasks.metrics import METRICS


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nx,a\n")
    return str(path)


def test_no_data_named_means_the_built_in_task_at_its_own_length():
    arguments = DataArguments()
    assert (arguments.task_name, arguments.max_length) == ("natural_logic", natural_logic.MAX_POSITIONS)


def test_other_tasks_default_to_128_tokens(file):
    assert DataArguments(task_name="mnli").max_length == 128
    assert DataArguments(train_file=file, validation_file=file).max_length == 128
    assert DataArguments(task_name="natural_logic", max_length=64).max_length == 64


def test_command_line_gives_the_same_arguments(file):
    command = ["--train_file", file, "--validation_file", file, "--max_train_samples", "5", "--label_kind", "numbers"]
    parsed = HfArgumentParser(DataArguments).parse_args_into_dataclasses(command)[0]
    expected = DataArguments(train_file=file, validation_file=file, max_train_samples=5, label_kind="numbers")
    assert parsed == expected


def test_every_argument_has_help():
    assert all(argument.metadata["help"] for argument in dataclasses.fields(DataArguments))


def test_tasks_are_the_nine_of_glue_and_the_built_in_one():
    glue = {"cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli"}
    assert set(TASKS) == glue | {"natural_logic"}
    assert all(name == spec.name and set(spec.metrics) <= set(METRICS) for name, spec in TASKS.items())
    assert {TASKS[name].dataset for name in glue} == {"nyu-mll/glue"}
    assert TASKS["mnli"].validation_splits == ("validation_matched", "validation_mismatched")
    assert [name for name, spec in TASKS.items() if spec.is_regression] == ["stsb"]


def test_tasks_are_named_by_task_data_set_or_file(tmp_path):
    (tmp_path / "my films").mkdir()
    for name in ("train.csv", "good ones.csv"):
        (tmp_path / "my films" / name).write_text("text,label\nx,a\n")
    path = str(tmp_path / "my films")
    assert name_task(DataArguments(task_name="rte")) == "rte"
    assert name_task(DataArguments(dataset_name="you/Some Data", dataset_config_name="en")) == "Some-Data-en"
    files = {"validation_file": f"{path}/train.csv"}
    assert name_task(DataArguments(train_file=f"{path}/train.csv", **files)) == "my-films"
    assert name_task(DataArguments(train_file=f"{path}/good ones.csv", **files)) == "good-ones"


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ({"task_name": "mnil"}, "choose from natural_logic, cola, .* Did you mean 'mnli'"),
        ({"task_name": "rte", "dataset_name": "a/b"}, "--task_name rte and --dataset_name a/b: name the data by one"),
        ({"task_name": "rte", "train_file": "FILE", "validation_file": "FILE"}, "by one of them alone"),
        ({"train_file": "FILE"}, "--validation_file None: give both"),
        ({"validation_file": "FILE"}, "give both"),
        (
            {"train_file": "absent.csv", "validation_file": "FILE"},
            "--train_file absent.csv is not a file: check the path",
        ),
        ({"train_file": "FILE", "validation_file": "FILE", "test_file": "x.csv"}, "--test_file x.csv is not a file"),
        ({"train_file": __file__, "validation_file": "FILE"}, "ends in '.py': give a file with one of"),
        ({"test_file": "FILE"}, "--test_file .* goes with --train_file"),
        ({"dataset_config_name": "en"}, "--dataset_config_name en goes with --dataset_name"),
        ({"task_name": "rte", "text_columns": "a"}, "--text_columns a goes with --dataset_name or --train_file"),
        ({"label_column": "a"}, "--label_column a goes with"),
        ({"task_name": "stsb", "label_kind": "classes"}, "--label_kind classes goes with"),
        ({"dataset_name": "a/b", "label_kind": "floats"}, "choose from classes, numbers"),
        ({"validation_split": "validation"}, "--validation_split validation goes with"),
        ({"task_name": "rte", "validation_split": "train"}, "choose by rows not trained on"),
        ({"max_length": 7}, "--max_length 7 is too short: give at least 8"),
        ({"max_train_samples": 0}, "--max_train_samples 0 leaves nothing: give at least 1"),
        ({"max_eval_samples": -3}, "--max_eval_samples -3 leaves nothing"),
        ({"unlabeled_file": "x.csv"}, "--unlabeled_file x.csv is not a file"),
        ({"unlabeled_file": "FILE", "max_unlabeled_samples": 0}, "--max_unlabeled_samples 0 leaves nothing"),
        ({"max_unlabeled_samples": 5}, "--max_unlabeled_samples 5 goes with --unlabeled_file"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_one_line(file, arguments, remedy):
    with pytest.raises(ValueError, match=remedy) as refusal:
        DataArguments(**{name: file if value == "FILE" else value for name, value in arguments.items()})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [({"metrics": "acuracy"}, "did you mean|Did you mean"), ({"metrics": "accuracy,"}, "choose from accuracy")],
)
def test_an_unknown_metric_is_refused(file, options, remedy):
    with pytest.raises(ValueError, match=remedy):
        DataArguments(train_file=file, validation_file=file, **options)


def test_metrics_go_with_a_named_task_too():
    assert DataArguments(task_name="mnli", metrics="roc_auc").metrics == "roc_auc"


def test_an_empty_name_takes_the_unlabelled_file_back():
    """As run_all_strategies.sh --without_teacher does with the one of its flags or of a recipe."""
    assert DataArguments(unlabeled_file="", max_unlabeled_samples=5) == DataArguments()
