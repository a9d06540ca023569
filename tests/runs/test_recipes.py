"""A recipe is the user's own file, or one that comes along, by path or by name, from any folder."""

from pathlib import Path

import pytest

from layer_distillation.runs.arguments import parse_command_line
from layer_distillation.runs.recipes import BUILT_IN_RECIPE, SHIPPED_RECIPES, find_recipe, list_shipped_names


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "word", ["natural_logic", "natural_logic.yaml", "recipes/natural_logic.yaml", "./recipes/natural_logic.yaml"]
)
def test_every_spelling_finds_the_shipped_recipe_from_any_folder(word):
    assert find_recipe(word) == BUILT_IN_RECIPE
    arguments = parse_command_line([word, "--seed", "7"])
    assert arguments.data.task_name == "natural_logic"
    assert arguments.recipe == str(BUILT_IN_RECIPE)
    assert arguments.command == f"run_distillation.py {word} --seed 7"


@pytest.mark.parametrize(
    ("word", "own"),
    [
        ("natural_logic", "natural_logic.yaml"),
        ("natural_logic.yaml", "natural_logic.yaml"),
        ("recipes/natural_logic.yaml", "recipes/natural_logic.yaml"),
        ("mine.yml", "mine.yml"),
        ("runs/mine", "runs/mine.yaml"),
    ],
)
def test_a_file_of_the_users_wins(folder, word, own):
    path = folder / own
    path.parent.mkdir(exist_ok=True)
    path.write_text("task_name: natural_logic\ntemperature: 3.5\n")
    assert find_recipe(word) == Path(own)
    assert parse_command_line([word]).training.temperature == 3.5


@pytest.mark.parametrize("name", ["natural_logic", "natural_logic.yaml"])
def test_a_folder_is_no_recipe(folder, name):
    (folder / name).mkdir()
    assert find_recipe(name) == BUILT_IN_RECIPE


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("natural_logc", "'natural_logc' is neither a flag nor a recipe (did you mean natural_logic?)"),
        ("recipes/natural_logc.yaml", "there is no recipe recipes/natural_logc.yaml (did you mean natural_logic?)"),
        ("other/natural_logic.yaml", "there is no recipe other/natural_logic.yaml (did you mean natural_logic?)"),
        ("other/natural_logic", "is neither a flag nor a recipe (did you mean natural_logic?)"),
        ("nowhere.yml", "there is no recipe nowhere.yml: give a file, or one of those that come along: goemotions_"),
        ("", "'' is neither a flag nor a recipe: a recipe comes first"),
        pytest.param("x" * 5000, "is neither a flag nor a recipe: a recipe comes first", id="long"),
    ],
)
def test_an_unknown_recipe_is_refused_with_the_nearest(capsys, word, message):
    with pytest.raises(SystemExit) as stopped:
        parse_command_line([word])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_every_recipe_of_the_folder_is_shipped():
    assert list_shipped_names() == sorted(path.stem for path in SHIPPED_RECIPES.iterdir())
