"""Every recipe says what it is and is understood."""

from pathlib import Path

import pytest
from tiny_project import write_csv

from command_line import parse_command_line

RECIPES = sorted((Path(__file__).resolve().parent.parent / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_has_its_header_and_is_parsed(recipe, tmp_path):
    text = recipe.read_text(encoding="utf-8")
    for title in ("command", "source", "cost", "expect"):
        assert f"\n# {title}:" in text, f"{recipe.name} does not say its {title}"
    data = [] if "task_name:" in text else ["--teacher_model_name_or_path=teacher"]
    for flag in ("--train_file", "--validation_file") if data else ():
        data.append(f"{flag}={write_csv(tmp_path / f'{flag}.csv', 4)}")
    arguments = parse_command_line([str(recipe), *data, f"--output_dir={tmp_path / 'run'}"])
    assert arguments.recipe == str(recipe)
    assert max(arguments.training.get_largest_weights().values()) > 0
