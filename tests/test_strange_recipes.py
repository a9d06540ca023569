"""Strangers' recipes and flags: each means exactly what it says, or is refused in one line, before any training."""

import functools
from pathlib import Path

import pytest

from strange_inputs import Accepted, StrangeInput, check_outcome, make_flags, try_input


def write_recipe(folder: Path, contents: str | bytes, flags: tuple[str, ...] = ()) -> list[str]:
    """The recipe before the flags of a complete tiny run."""
    path = folder / "recipe.yaml"
    path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
    return [str(path), *make_flags(folder), *flags]


def accept(name: str, expected: dict[str, object], contents: str | bytes, *flags: str) -> StrangeInput:
    """An input after which these arguments have these values."""
    return StrangeInput(
        name,
        functools.partial(write_recipe, contents=contents, flags=flags),
        check=functools.partial(check_values, expected),
    )


def check_values(expected: dict[str, object], accepted: Accepted) -> str:
    arguments = accepted.arguments.to_dict()
    values = {name: arguments[name] for name in expected}
    assert values == expected
    return ", ".join(f"{name} {value!r}" for name, value in values.items())


def refuse(name: str, remedy: str, contents: str | bytes, *flags: str) -> StrangeInput:
    return StrangeInput(name, functools.partial(write_recipe, contents=contents, flags=flags), remedy=remedy)


def write_bomb() -> str:
    """Lists of lists under known keys: 9 times nested, 10 to the 9th values once written out."""
    keys = ("text_columns", "label_column", "metrics", "schedules", "run_name", "project", "optim", "student_layers")
    lines = ["dataset_config_name: &a0 [" + ", ".join(["x"] * 10) + "]"]
    for depth, key in enumerate(keys, start=1):
        lines.append(f"{key}: &a{depth} [" + ", ".join([f"*a{depth - 1}"] * 10) + "]")
    return "\n".join(lines) + "\n"


RECIPE_INPUTS = [
    accept(
        "Recipe with an anchor and its alias",
        {"temperature": 3.0, "kl_weight": 3.0},
        "temperature: &t 3\nkl_weight: *t\n",
    ),
    accept("Recipe with a byte order mark and CR LF", {"temperature": 3.0}, "\ufefftemperature: 3\r\nseed: 1\r\n"),
    accept("Recipe with quoted numbers", {"temperature": 3.0, "seed": 7}, "temperature: '3'\nseed: \"7\"\n"),
    accept(
        "Recipe with yes and no",
        {"trim_embedding": False, "keep_checkpoints": True},
        "trim_embedding: no\nkeep_checkpoints: yes\n",
    ),
    accept("Recipe with a list of layers", {"student_layers": "3,1"}, "student_layers: [3, 1]\n"),
    accept("Recipe with dashes in its keys", {"layer_strategy": "odd"}, "layer-strategy: odd\n"),
    accept(
        "Recipe with dashes, overruled by a flag",
        {"layer_strategy": None, "student_layers": "0,2"},
        "layer-strategy: odd\n",
        "--student_layers=0,2",
    ),
    accept("Recipe with a value that looks like a flag", {"run_name": "--seed=9", "seed": 42}, "run_name: --seed=9\n"),
    accept("Recipe with a number in another form", {"learning_rate": 3e-5}, "learning_rate: 3e-05\n"),
    refuse("Recipe with a key twice", "the key 'temperature' twice.*leave one out", "temperature: 3\ntemperature: 4\n"),
    refuse(
        "Recipe with a key twice, once with a dash",
        "'layer_strategy' twice",
        "layer_strategy: odd\nlayer-strategy: even\n",
    ),
    refuse("Recipe with a merge key", "unknown key '<<'", "<<: {temperature: 3}\n"),
    refuse(
        "Recipe with a Python object",
        "the tag '!!python/object/apply:os.system'.*leave it out",
        "temperature: !!python/object/apply:os.system ['touch executed']\n",
    ),
    refuse("Recipe with a Python name", "the tag '!!python/name:os.system'", "run_name: !!python/name:os.system x\n"),
    refuse("Recipe with a tag of its own", "the tag '!env'", "run_name: !env HF_TOKEN\n"),
    refuse("Recipe with a tagged number", "the tag '!!float'", "temperature: !!float 3\n"),
    refuse("Recipe that is a list", "holds a list, not flags and values", "- temperature: 3\n"),
    refuse("Recipe that is a word", "holds a single value, not flags and values", "temperature\n"),
    refuse("Recipe that is empty", "holds nothing, not flags and values", ""),
    refuse("Recipe of comments alone", "holds nothing, not flags and values", "# temperature: 3\n"),
    refuse("Recipe of two documents", "is not valid YAML.*single document", "temperature: 3\n---\ntemperature: 4\n"),
    refuse("Recipe that is a picture", "save it as UTF-8", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"),
    refuse("Recipe in UTF-16", "save it as UTF-8", "temperature: 3\n".encode("utf-16")),
    refuse("Recipe with NUL bytes", "is not valid YAML", "temperature: 3\0\n"),
    refuse("Recipe with a tab as indentation", "is not valid YAML", "temperature: 3\n\tseed: 1\n"),
    refuse("Recipe with JSON cut short", "is not valid YAML", '{"temperature": 3'),
    refuse("Recipe nested 1,000 deep", "nested too deep", "temperature: " + "[" * 1_000 + "]" * 1_000 + "\n"),
    refuse("Recipe whose lists double and double", "give one value, or a list", write_bomb()),
    refuse("Recipe with a list that holds itself", "give one value, or a list", "temperature: &a [*a]\n"),
    refuse("Recipe with a list of mappings", "give one value, or a list", "student_layers: [{a: 1}]\n"),
    refuse("Recipe with a mapping as a value", "give one value", "temperature: {a: 1}\n"),
    refuse("Recipe with a list as a key", "unknown key", "? [a, b]\n: 3\n"),
    refuse("Recipe with an empty list", "give one value", "student_layers: []\n"),
    refuse("Recipe with an empty value", "give one value", "temperature:\n"),
    refuse("Recipe with an empty text", "give one value", "temperature: ''\n"),
    refuse("Recipe with an unknown key", "did you mean temperature", "temprature: 3\n"),
    refuse("Recipe with a key of escape codes", "unknown key", '"\\e[31mred": 3\n'),
    refuse("Recipe with a word for a number", "temperature.*hot", "temperature: hot\n"),
    refuse("Recipe with a fraction for a whole number", "student_num_layers.*2.5", "student_num_layers: 2.5\n"),
    refuse("Recipe with nan for a number", "--temperature is nan", "temperature: nan\n"),
    refuse("Recipe with a list for a number", "temperature.*1,2", "temperature: [1, 2]\n"),
    refuse("Recipe that asks for help", "help", "help: yes\n"),
    refuse("Recipe with digits of another script", "need whole numbers with commas", "student_layers: \u0663,\u0661\n"),
    refuse("Recipe with an underscore in a layer", "need whole numbers with commas", "student_layers: '1_0,2'\n"),
    refuse(
        "Recipe with layers by the thousand",
        "need 0 to 3",
        "student_layers: [" + ", ".join(["0"] * 999 + ["9"]) + "]\n",
    ),
    refuse(
        "Flag with a path as the strategy", "--layer_strategy is '../../x'", "seed: 1\n", "--layer_strategy=../../x"
    ),
    refuse("Flag with a line end in its value", "--layer_strategy is", "seed: 1\n", "--layer_strategy=odd\neven"),
    refuse("Flag with infinity for a weight", "kl_weight is inf", "seed: 1\n", "--kl_weight=inf"),
    refuse("Flag with nan for a weight", "kl_weight is nan", "seed: 1\n", "--kl_weight=nan"),
]


@pytest.mark.parametrize("case", RECIPE_INPUTS, ids=lambda case: case.name)
def test_strange_recipes_mean_what_they_say_or_are_refused_in_one_line(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_outcome(case, try_input(case.write(tmp_path)))
    assert not (tmp_path / "executed").exists()
