"""Strangers' model folders: each is the teacher that it says it is, or is refused in one line, before any training."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import AlbertConfig, AutoModelForSequenceClassification, FunnelConfig, PreTrainedTokenizerFast

from conftest import make_bert
from strange_inputs import Accepted, StrangeInput, check_outcome, make_flags, try_input
from tiny_project import COLOURS, write_teacher

WEIGHTS, CONFIG = "model.safetensors", "config.json"
Tensors = dict[str, torch.Tensor]


def write_model(folder: Path, damage: Callable[[Path], object], flags: dict[str, object], num_layers: int) -> list[str]:
    """A fine-tuned teacher's folder, whole until `damage` has been at it."""
    teacher = write_teacher(folder / "teacher", num_layers=num_layers)
    damage(teacher)
    return make_flags(folder, teacher_model_name_or_path=teacher, allow_untrained_teacher=None, **flags)


def refuse(name: str, remedy: str, damage: Callable[[Path], object], **flags: object) -> StrangeInput:
    return StrangeInput(name, functools.partial(write_model, damage=damage, flags=flags, num_layers=4), remedy=remedy)


def accept(
    name: str, check: Callable[[Accepted], str], damage: Callable[[Path], object], num_layers: int = 4, **flags: object
) -> StrangeInput:
    return StrangeInput(
        name, functools.partial(write_model, damage=damage, flags=flags, num_layers=num_layers), check=check
    )


def edit_config(name: str = CONFIG, drop: tuple[str, ...] = (), **values: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / name
        content = json.loads(path.read_text()) | values
        path.write_text(json.dumps({key: value for key, value in content.items() if key not in drop}))

    return edit


def edit_tensors(edit: Callable[[Tensors], object]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        edit(tensors)
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / WEIGHTS, {"format": "pt"})

    return rewrite


def replace_file(name: str, contents: str | bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(contents.encode() if isinstance(contents, str) else contents)


def cut_file(name: str, keep: float) -> Callable[[Path], object]:
    def cut(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(keep * len(content))])

    return cut


def replace_model(config: object) -> Callable[[Path], None]:
    return lambda folder: AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)


def write_other_tokenizer(vocabulary: dict[str, int], **tokens: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", **tokens)
        tokenizer.save_pretrained(folder)

    return write


def save_as_pickle(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def index_missing_shard(folder: Path) -> None:
    names = list(load_file(folder / WEIGHTS))
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    weight_map = {name: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def poison(value: float) -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        tensors["bert.encoder.layer.2.output.dense.bias"][3] = value

    return edit


def drop(*parts: str) -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        for name in [name for name in tensors if any(part in name for part in parts)]:
            del tensors[name]

    return edit


def write_empty_text(folder: Path) -> list[str]:
    flags = write_model(folder, write_other_tokenizer(VOCABULARY, eos_token="[SEP]"), {}, num_layers=4)
    (folder / "train.csv").write_text("text,label\nthe,red\n,green\nred,blue\n")
    return flags


# ---- what is made of those that are accepted -----------------------------------------------------------------------


def expect_teacher(accepted: Accepted) -> str:
    """The very teacher that was written, its labels in the task's order."""
    run = accepted.run
    reference = make_bert(run.teacher.model.config.num_hidden_layers, seed=1)
    order = [COLOURS.index(name) for name in sorted(COLOURS)]
    assert torch.equal(run.teacher.model.classifier.weight, reference.classifier.weight[order])
    name = "encoder.layer.0.attention.self.query.weight"
    assert torch.equal(run.teacher.model.bert.get_parameter(name), reference.bert.get_parameter(name))
    assert run.teacher.is_trained
    return f"teacher of {reference.config.num_hidden_layers} layers, student of layers {run.layers}"


def expect_one_layer(accepted: Accepted) -> str:
    assert accepted.run.layers == [0]
    return expect_teacher(accepted)


def expect_pad_token(token: str, accepted: Accepted) -> str:
    tokenizer = accepted.run.teacher.tokenizer
    assert tokenizer.pad_token == token
    return f"pads with {token}; {expect_teacher(accepted)}"


VOCABULARY = {"[UNK]": 0, "the": 1, "red": 2, "green": 3, "blue": 4, "[SEP]": 5}
LARGE_VOCABULARY = VOCABULARY | {f"w{index}": index for index in range(6, 100)}

MODEL_INPUTS = [
    refuse(
        "Folder of a PEFT adapter",
        "is a PEFT adapter, not a whole model .*: merge it into its base",
        lambda folder: [(folder / "adapter_config.json").write_text("{}"), (folder / CONFIG).unlink()],
    ),
    refuse(
        "Folder of a PEFT adapter with a config",
        "is a PEFT adapter, not a whole model .*: merge it into its base",
        replace_file("adapter_config.json", "{}"),
    ),
    refuse("Folder of SetFit", "is a SetFit model.*give the encoder that", replace_file("model_head.pkl", "x")),
    accept("Model as it should be", expect_teacher, lambda folder: None),
    accept("Model of one layer", expect_one_layer, lambda folder: None, num_layers=1),
    accept(
        "Model with tensors of another head beside",
        expect_teacher,
        edit_tensors(lambda tensors: tensors.update({"cls.predictions.bias": torch.zeros(60)})),
    ),
    accept("Model with files of other kinds beside", expect_teacher, replace_file("optimizer.pt", b"\x80\x04.")),
    accept(
        "Model with weights and a pickle of them",
        expect_teacher,
        replace_file("pytorch_model.bin", b"\x80\x04cos\nsystem\n(S'touch executed'\ntR."),
    ),
    accept("Tokenizer with fewer words than the model embeds", expect_teacher, lambda folder: None),
    accept(
        "Tokenizer without a pad token, with an end token",
        functools.partial(expect_pad_token, "[SEP]"),
        write_other_tokenizer(VOCABULARY, eos_token="[SEP]"),
    ),
    accept("Config with keys that nobody knows", expect_teacher, edit_config(wings=2, _evil={"a": [1]})),
    accept(
        "Config with bytes of a byte order mark in a name", expect_teacher, edit_config(_name_or_path="\ufeff../../x")
    ),
    refuse("Weights cut short", "weights of .* cannot be loaded.*save the model again", cut_file(WEIGHTS, 0.5)),
    refuse("Weights without a header", "cannot be loaded", replace_file(WEIGHTS, b"")),
    refuse("Weights with a header of 8 EB", "cannot be loaded", replace_file(WEIGHTS, b"\xff" * 8 + b"{}")),
    refuse("Weights that are HTML", "cannot be loaded", replace_file(WEIGHTS, "<html>not found</html>")),
    refuse(
        "Weights that are a pointer of git LFS",
        "cannot be loaded",
        replace_file(WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    ),
    refuse("Weights missing", "cannot be loaded", lambda folder: (folder / WEIGHTS).unlink()),
    refuse(
        "Weights as a pickle alone", "safetensors .a pickle such as pytorch_model.bin is never loaded", save_as_pickle
    ),
    refuse("Weights of two shards, one missing", "cannot be loaded", index_missing_shard),
    refuse(
        "Weights without a layer's tensor",
        "lack.*layer.2.attention.self.query.weight",
        edit_tensors(drop("layer.2.attention.self.query.weight")),
    ),
    refuse("Weights without a whole layer", "lack.*layer.3", edit_tensors(drop("layer.3."))),
    refuse("Weights without the embeddings", "lack.*word_embeddings", edit_tensors(drop("word_embeddings"))),
    refuse("Weights of none of its tensors", "lack", edit_tensors(drop("bert", "classifier"))),
    refuse(
        "Weights with more layers than the config",
        "layer.3.*correct num_hidden_layers",
        lambda folder: edit_config(num_hidden_layers=3)(folder),
    ),
    refuse("Config with more layers than the weights", "lack.*layer.4", edit_config(num_hidden_layers=5)),
    refuse(
        "Weights of another width",
        r"embeddings.LayerNorm.bias as \[16\].*asks for \[32\]: correct",
        edit_config(hidden_size=32),
    ),
    refuse("Weights of another vocabulary", r"as \[60, 16\].*asks for \[61, 16\]: correct", edit_config(vocab_size=61)),
    refuse(
        "Weights with a tensor of another shape",
        r"classifier.weight as \[7, 16\].*asks for \[3, 16\]: correct",
        edit_tensors(lambda tensors: tensors.update({"classifier.weight": torch.zeros(7, 16)})),
    ),
    refuse("Weights with NaN", "layer.2.output.dense.bias.*not finite", edit_tensors(poison(float("nan")))),
    refuse("Weights with infinity", "layer.2.output.dense.bias.*not finite", edit_tensors(poison(float("inf")))),
    refuse(
        "Folder with nothing in it",
        "no model could be loaded",
        lambda folder: [path.unlink() for path in folder.iterdir()],
    ),
    refuse("Config that is not JSON", "no model could be loaded", replace_file(CONFIG, "model_type: bert\n")),
    refuse("Config that is a JSON list", "no model could be loaded", replace_file(CONFIG, "[]")),
    refuse("Config that is empty", "no model could be loaded", replace_file(CONFIG, "")),
    refuse("Config of a picture", "no model could be loaded", replace_file(CONFIG, b"\x89PNG\r\n")),
    refuse("Config nested 100,000 deep", "no model could be loaded", replace_file(CONFIG, '{"a": ' + "[" * 100_000)),
    refuse(
        "Config without a model type", "no model could be loaded", edit_config(drop=("model_type", "architectures"))
    ),
    refuse("Config of an unknown model type", "no model could be loaded", edit_config(model_type="burt")),
    refuse("Config with a number as the model type", "no model could be loaded", edit_config(model_type=5)),
    refuse(
        "Config of a model of images",
        "config builds no model for text-classification",
        edit_config(model_type="vit"),
    ),
    refuse("Config with 0 layers", "has 0 layers, need at least 1", edit_config(num_hidden_layers=0)),
    refuse("Config with -1 layers", "-1 layers, need at least 1", edit_config(num_hidden_layers=-1)),
    refuse("Config with a word for the layers", "no model could be loaded", edit_config(num_hidden_layers="many")),
    refuse(
        "Config with heads that do not divide the width",
        "config builds no model .*not a multiple.*correct its config.json",
        edit_config(num_attention_heads=3),
    ),
    refuse("Config with a width of 0", "config builds no model", edit_config(hidden_size=0)),
    refuse("Config with a negative width", "config builds no model", edit_config(hidden_size=-16)),
    refuse("Config with a pad token outside of the vocabulary", "config builds no model", edit_config(pad_token_id=99)),
    refuse("Config with an activation that nobody knows", "config builds no model", edit_config(hidden_act="swoosh")),
    refuse(
        "Config with label names that are no list",
        "no model could be loaded|labels",
        edit_config(id2label=["a", "b", "c"]),
    ),
    refuse("Config with two labels of one name", "labels", edit_config(id2label={"0": "red", "1": "red", "2": "blue"})),
    refuse(
        "ALBERT",
        "share one set of weights",
        replace_model(
            AlbertConfig(
                vocab_size=60,
                embedding_size=8,
                hidden_size=16,
                num_attention_heads=2,
                intermediate_size=16,
                num_hidden_layers=4,
            )
        ),
    ),
    refuse(
        "Funnel",
        "blocks of shrinking length",
        replace_model(FunnelConfig(vocab_size=60, d_model=16, n_head=2, d_head=8, d_inner=16, block_sizes=[1, 1])),
    ),
    refuse(
        "Tokenizer missing",
        "no tokenizer could be loaded",
        lambda folder: [path.unlink() for path in folder.glob("tokenizer*")],
    ),
    refuse("Tokenizer that is not JSON", "no tokenizer could be loaded", replace_file("tokenizer.json", "{")),
    refuse("Tokenizer cut short", "no tokenizer could be loaded", cut_file("tokenizer.json", 0.7)),
    refuse(
        "Tokenizer's config that is a JSON list",
        "no tokenizer could be loaded",
        replace_file("tokenizer_config.json", "[]"),
    ),
    accept(
        "Tokenizer of a class that is a Python name",
        functools.partial(expect_pad_token, "[PAD]"),
        edit_config("tokenizer_config.json", tokenizer_class="os.system"),
    ),
    StrangeInput(
        "Tokenizer that makes no token of an empty text",
        write_empty_text,
        remedy="row 2, give no token.*drop these rows",
    ),
    refuse("Tokenizer without words", "no tokenizer could be loaded", write_other_tokenizer({"[UNK]": 0})),
    refuse("Tokenizer without pad and end token", "no pad token: give it one", write_other_tokenizer(VOCABULARY)),
    refuse(
        "Tokenizer with more words than the model embeds",
        "embeds only 60: save the tokenizer",
        write_other_tokenizer(LARGE_VOCABULARY, eos_token="[SEP]"),
    ),
    refuse(
        "Tokenizer with few words and a high number",
        "embeds only 60: save the tokenizer",
        write_other_tokenizer(VOCABULARY | {"car": 5000}, eos_token="[SEP]"),
    ),
    refuse(
        "Tokenizer that makes nothing of some texts",
        "the tokenizer fails on the texts.*save the tokenizer",
        write_other_tokenizer({"the": 1, "x": 2}, eos_token="[SEP]"),
    ),
    refuse("Teacher with a folder's name alone", "no model could be loaded", lambda folder: (folder / CONFIG).unlink()),
]


@pytest.mark.parametrize("case", MODEL_INPUTS, ids=lambda case: case.name)
def test_strange_models_are_what_they_say_or_are_refused_in_one_line(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_outcome(case, try_input(case.write(tmp_path)))
    assert not (tmp_path / "executed").exists()
