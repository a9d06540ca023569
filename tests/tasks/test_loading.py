"""Loading, sampling, tokenizing and fingerprinting a task: offline, on files made here."""

import logging
import math
from hashlib import sha256
from pathlib import Path

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from layer_distillation.tasks import loading as tasks
from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.loading import TaskData, fingerprint_task, load_task
from layer_distillation.tasks.row_sampling import draw_rows
from layer_distillation.tasks.tokenizing import tokenize_task

WORDS = ["NA", "null", "None", "good", "bad", "film", "plot", "x", "y"]
SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"
TRAIN = {"text": [f"film {number}" for number in range(40)], "label": ["good", "bad"] * 20}
VALIDATION = {"text": ["NA", "null"], "label": ["bad", "good"]}


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64, model_input_names=names
    )


@pytest.fixture
def fake_glue(monkeypatch):
    """Makes `load_dataset` return these splits, whatever is asked for; the list collects what was."""
    requests = []

    def install(**splits: Dataset) -> list:
        monkeypatch.setattr(tasks, "load_dataset", lambda *names: requests.append(names) or DatasetDict(splits))
        return requests

    return install


def write_files(folder: Path, train: dict, validation: dict, test: dict | None = None) -> dict[str, str]:
    paths = {}
    for name, columns in {"train": train, "validation": validation, "test": test}.items():
        if columns is not None:
            paths[f"{name}_file"] = str(folder / f"{name}.csv")
            Dataset.from_dict(columns).to_csv(paths[f"{name}_file"], index=False)
    return paths


def load_files(folder: Path, train: dict = TRAIN, validation: dict = VALIDATION, test=None, **arguments) -> TaskData:
    return load_task(DataArguments(**write_files(folder, train, validation, test), **arguments))


def make_nli_split(label: list[int], prefix: str) -> Dataset:
    names = ClassLabel(names=["entailment", "neutral", "contradiction"])
    features = Features(
        {"premise": Value("string"), "hypothesis": Value("string"), "label": names, "idx": Value("int32")}
    )
    texts = [f"{prefix} {row}" for row in range(len(label))]
    columns = {"premise": texts, "hypothesis": texts, "label": label, "idx": list(range(len(label)))}
    return Dataset.from_dict(columns, features=features)


def test_files_become_texts_labels_and_row_numbers(tmp_path):
    data = load_files(tmp_path, test={"text": ["y"], "label": ["bad"]})
    assert (data.name, data.text_columns, data.label_names) == (tmp_path.name, ("text",), ["bad", "good"])
    assert data.metric_names == ("accuracy", "macro_f1")
    assert not data.is_regression
    assert data.dataset_name is None
    assert data.train.features == Features(
        {"text": Value("string"), "labels": Value("int64"), "example_index": Value("int64")}
    )
    assert data.train[3] == {"text": "film 3", "labels": 0, "example_index": 3}
    assert list(data.validation) == ["validation"]
    assert data.first_validation[:] == {"text": ["NA", "null"], "labels": [0, 1], "example_index": [0, 1]}
    assert data.test["labels"][:] == [0]
    assert [name for name, _ in data.list_splits()] == ["train", "validation", "test"]


def test_numbers_with_a_fraction_are_a_regression(tmp_path):
    data = load_files(tmp_path, {"text": ["x", "y", "z"], "label": ["0.5", "", "3"]}, {"text": ["a"], "label": [2.5]})
    assert data.is_regression
    assert data.label_names is None
    assert data.metric_names == ("pearson", "spearmanr")
    assert data.train.features["labels"] == Value("float32")
    labels = data.train["labels"][:]
    assert labels[::2] == [0.5, 3.0]
    assert math.isnan(labels[1])


def test_sample_is_the_published_draw(tmp_path):
    data = load_files(tmp_path, max_train_samples=10, max_eval_samples=1, sample_seed=1150)
    expected = Dataset.from_dict(TRAIN).shuffle(seed=1150).select(range(10))
    assert data.train["text"][:] == expected["text"][:]
    assert [data.label_names[label] for label in data.train["labels"]] == expected["label"][:]
    assert data.train["example_index"][:] == list(range(10))
    expected = Dataset.from_dict(VALIDATION).shuffle(seed=1150).select(range(1))
    assert data.first_validation["text"][:] == expected["text"][:]


def test_another_seed_draws_other_rows(tmp_path):
    draws = [load_files(tmp_path, max_train_samples=10, sample_seed=seed).train["text"][:] for seed in (1, 2, 1)]
    assert draws[0] == draws[2] != draws[1]


def test_sample_of_more_than_there_is_takes_all_in_order_and_says_so(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        data = load_files(tmp_path, max_train_samples=41)
    assert data.train["text"][:] == TRAIN["text"]
    assert "has 40 rows, fewer than the 41 asked for: all are used" in caplog.text


def test_classes_are_those_of_all_training_rows_not_of_the_sample(tmp_path):
    assert load_files(tmp_path, max_train_samples=1).label_names == ["bad", "good"]


def test_sample_without_any_label_is_refused(tmp_path):
    train = {"text": list("abcdefgh"), "label": ["p", "q", *[""] * 6]}
    seed = next(seed for seed in range(99) if not set(draw_rows(8, 1, seed)) & {0, 1})
    with pytest.raises(ValueError, match="none of 1 sampled rows has a label: raise --max_train_samples"):
        load_files(tmp_path, train, {"text": ["x"], "label": ["p"]}, max_train_samples=1, sample_seed=seed)


def test_a_data_set_of_csv_files_keeps_codes_of_classes_as_they_are_written(tmp_path):
    """datasets reads them as the numbers 1, 1 and 10."""
    for name in ("train", "validation"):
        (tmp_path / f"{name}.csv").write_text("text,label,id\nfilm,01,1\nplot,1,2\nx,10,3\n")
    data = load_task(DataArguments(dataset_name=str(tmp_path)))
    assert data.label_names == ["01", "1", "10"]
    assert data.train["labels"][:] == [0, 1, 2]


@pytest.mark.parametrize(
    ("labels", "names"), [("0.5 1 2", None), ("2 10 9", ["2", "9", "10"]), ("1.0 0.0 1.0", ["0", "1"])]
)
def test_numbers_of_a_data_set_of_csv_files_are_what_they_were(tmp_path, labels, names):
    rows = "".join(f"film {row},{label}\n" for row, label in enumerate(labels.split()))
    for name in ("train", "validation"):
        (tmp_path / f"{name}.csv").write_text("text,label\n" + rows)
    assert load_task(DataArguments(dataset_name=str(tmp_path))).label_names == names


def test_rows_shared_with_train_and_empty_texts_are_counted_in_warnings(tmp_path, caplog):
    load_files(tmp_path, validation={"text": ["film 1", "film 2", "", "y"], "label": ["bad"] * 4})
    assert "2 of the 4 rows of validation are in train too" in caplog.text
    assert "validation.csv: 1 texts are empty" in caplog.text


def test_text_column_named_like_ours_is_refused(tmp_path):
    train = {"labels": ["x", "y"], "gold": ["a", "b"]}
    with pytest.raises(ValueError, match="names of ours, rename the column"):
        load_files(tmp_path, train, train, label_column="gold")


def test_evaluation_file_without_the_text_column_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"validation.csv has no column 'text', its columns are \['texts', 'label'\]"):
        load_files(tmp_path, validation={"texts": ["x"], "label": ["bad"]})


def test_built_in_task_loads_without_any_download():
    data = load_task(DataArguments(max_train_samples=30, max_eval_samples=9))
    assert data.name == "natural_logic"
    assert data.text_columns == ("premise", "hypothesis")
    assert data.label_names == ["entailment", "neutral", "contradiction"]
    assert [len(split) for _, split in data.list_splits()] == [30, 9, 9]


def test_mnli_has_two_validation_sets_and_an_unlabelled_test(fake_glue):
    requests = fake_glue(
        train=make_nli_split([0, 1, 2], "train"),
        validation_matched=make_nli_split([0], "matched"),
        validation_mismatched=make_nli_split([1, 2], "mismatched"),
        test_matched=make_nli_split([-1, -1], "test"),
        test_mismatched=make_nli_split([-1], "other"),
    )
    data = load_task(DataArguments(task_name="mnli"))
    assert requests == [("nyu-mll/glue", "mnli")]
    assert list(data.validation) == ["validation_matched", "validation_mismatched"]
    assert data.label_names == ["entailment", "neutral", "contradiction"]
    assert data.text_columns == (
        "premise",
        "hypothesis",
    )
    assert data.test["labels"][:] == [-100, -100]
    assert (data.dataset_name, data.dataset_config_name, data.metric_names) == ("nyu-mll/glue", "mnli", ("accuracy",))
    data = load_task(DataArguments(task_name="mnli", validation_split="validation_mismatched"))
    assert list(data.validation) == ["validation_mismatched", "validation_matched"]
    assert data.first_validation["labels"][:] == [1, 2]


def test_stsb_is_a_regression_even_where_a_sample_is_whole(fake_glue):
    split = Dataset.from_dict({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [5.0, 0.0], "idx": [0, 1]})
    fake_glue(train=split, validation=split, test=split.remove_columns("label").add_column("label", [-1.0, -1.0]))
    data = load_task(DataArguments(task_name="stsb"))
    assert data.is_regression
    assert data.metric_names == ("pearson", "spearmanr")
    assert all(map(math.isnan, data.test["labels"]))


def test_folder_of_files_loads_like_a_hub_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "films").mkdir()
    validation = {"text": ["x", "y"], "label": ["good", "bad"]}
    write_files(tmp_path / "films", TRAIN, validation, {"text": ["x"], "label": ["good"]})
    data = load_task(DataArguments(dataset_name=str(tmp_path / "films")))
    assert (data.name, data.label_names, data.text_columns) == ("films", ["bad", "good"], ("text",))
    assert [len(split) for _, split in data.list_splits()] == [40, 2, 1]
    data = load_task(DataArguments(dataset_name=str(tmp_path / "films"), validation_split="test"))
    assert list(data.validation) == ["test_as_validation", "validation"]
    assert data.test is None


def test_hub_data_set_without_validation_is_refused_until_a_split_is_named(fake_glue):
    split = Dataset.from_dict(TRAIN)
    fake_glue(train=split, test=split, unsupervised=split)
    with pytest.raises(ValueError, match=r"splits \['train', 'test', 'unsupervised'\], .* with --validation_split"):
        load_task(DataArguments(dataset_name="stanfordnlp/imdb"))
    with pytest.raises(ValueError, match=r"with --validation_split\. Did you mean 'test'"):
        load_task(DataArguments(dataset_name="stanfordnlp/imdb", validation_split="tests"))
    data = load_task(DataArguments(dataset_name="stanfordnlp/imdb", validation_split="test"))
    assert list(data.validation) == ["test_as_validation"]
    assert data.test is None


def test_hub_data_set_that_does_not_load_is_refused_in_one_line(monkeypatch):
    def fail(*names):
        raise ConnectionError("Couldn't reach it\nand a second line")

    monkeypatch.setattr(tasks, "load_dataset", fail)
    with pytest.raises(
        ValueError, match=r"Couldn't reach it.*check both names and the network .with HF_HUB_OFFLINE=1"
    ) as got:
        load_task(DataArguments(task_name="rte"))
    assert "\n" not in str(got.value)


def test_tokenized_task_has_the_model_columns_truncated_and_unpadded(tmp_path, tokenizer):
    train = {"a": ["good film", "bad"], "b": ["x " * 20, "NA None"], "label": ["p", "q"]}
    data = load_files(tmp_path, train, train, train, text_columns="a,b")
    tokenized = tokenize_task(data, tokenizer, max_length=8)
    for _, split in tokenized.list_splits():
        assert set(split.column_names) == {"input_ids", "token_type_ids", "attention_mask", "labels", "example_index"}
        assert split["input_ids"][:] == [[5, 7, 9, 9, 9, 9, 9, 9], [6, 2, 4]]
        assert split["labels"][:] == [0, 1]
        assert split["example_index"][:] == [0, 1]
    assert data.train.column_names == ["a", "b", "labels", "example_index"]


def test_fingerprint_changes_with_tokens_labels_and_names_alone(tmp_path, tokenizer):
    def fingerprint(train=TRAIN, validation=VALIDATION, test=None, max_length=8):
        return fingerprint_task(tokenize_task(load_files(tmp_path, train, validation, test), tokenizer, max_length))

    reference = fingerprint()
    assert reference == fingerprint() == fingerprint(test=VALIDATION) == fingerprint(max_length=64)
    changed = [
        fingerprint({**TRAIN, "text": ["plot 0", *TRAIN["text"][1:]]}),
        fingerprint({**TRAIN, "label": TRAIN["label"][::-1]}),
        fingerprint({**TRAIN, "label": ["good", "awful"] * 20}, {**VALIDATION, "label": ["awful", "good"]}),
        fingerprint(validation={**VALIDATION, "text": ["NA", "None"]}),
    ]
    assert len({reference, *changed}) == 5


def test_fingerprint_is_the_same_on_every_machine():
    split = Dataset.from_dict({"input_ids": [[1, 2], [3]], "labels": [0.5, math.nan], "example_index": [0, 1]})
    data = TaskData("any", split, {"validation": split}, None, ("text",), None, ("pearson",), None, None)
    rows = "2][[[1, 2], [3]], [0.5, NaN]]"
    assert fingerprint_task(data) == sha256(f'null["train", {rows}["validation", {rows}'.encode()).hexdigest()


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"needs the real data of {SHARED_DATA}")
@pytest.mark.parametrize(
    ("name", "class_count"),
    [("sick", 3), ("mnli", 3), ("rte", 2), ("mrpc", 2), ("cola", 2), ("sst2", 2), ("stsb", None), ("agnews", 4)],
)
def test_real_data_loads_with_the_right_kind_of_label(name, class_count):
    files = {f"{split}_file": str(SHARED_DATA / name / f"{split}.csv") for split in ("train", "validation")}
    data = load_task(DataArguments(**files, max_train_samples=100))
    assert data.name == name
    assert len(data.train) == 100
    assert (None if data.is_regression else len(data.label_names)) == class_count
    assert data.text_columns in (("sentence",), ("sentence1", "sentence2"))


def test_asked_metrics_score_own_files(tmp_path):
    task = load_files(tmp_path, metrics="matthews_correlation,f1")
    assert task.metric_names == ("matthews_correlation", "f1", "accuracy", "macro_f1")


def test_asked_metrics_come_after_those_of_a_named_task(fake_glue):
    split = make_nli_split([0, 1, 2], "x")
    fake_glue(train=split, validation_matched=split, validation_mismatched=split)
    assert load_task(DataArguments(task_name="mnli", metrics="roc_auc,accuracy")).metric_names == (
        "accuracy",
        "roc_auc",
    )


@pytest.mark.parametrize(
    ("labels", "metrics", "remedy"),
    [
        (["good", "bad"] * 20, "pearson", "pearson cannot score classes"),
        ([0.5, 1.5] * 20, "accuracy", "accuracy cannot score numbers"),
        (["good", "bad", "fair", "bad"] * 10, "f1", "take macro_f1"),
    ],
)
def test_a_metric_that_does_not_fit_the_labels_is_refused(tmp_path, labels, metrics, remedy):
    train = TRAIN | {"label": labels}
    validation = VALIDATION | {"label": labels[:2]}
    with pytest.raises(ValueError, match=remedy):
        load_files(tmp_path, train, validation, metrics=metrics)
