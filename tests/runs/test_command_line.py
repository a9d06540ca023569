"""Recipes become flags in front of the user's, and every mistake is one line with a remedy."""

import re
from pathlib import Path

import pytest
import yaml

from layer_distillation.losses.flags import TERM_NAMES
from layer_distillation.runs.arguments import parse_command_line
from layer_distillation.runs.recipes import BUILT_IN_RECIPE
from tiny_project import write_csv

RECIPES = sorted(BUILT_IN_RECIPE.parent.glob("*.yaml"))


@pytest.fixture
def recipe(tmp_path) -> Path:
    data = {"train_file": str(write_csv(tmp_path / "train.csv")), "validation_file": str(tmp_path / "train.csv")}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(data | {"temperature": 4.0, "layer_strategy": "odd", "learning_rate": "3e-5"}))
    return path


def fail_with(argv: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as stopped:
        parse_command_line(argv)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_with_no_data_named_the_built_in_recipe_runs():
    arguments = parse_command_line([])
    assert arguments.data.task_name == "natural_logic"
    assert arguments.recipe == str(BUILT_IN_RECIPE)
    assert arguments.student.strategy_name == "even"
    assert arguments.training.output_dir == "runs/natural_logic/even-seed42"


def test_flags_after_the_recipe_win(recipe):
    arguments = parse_command_line([str(recipe), "--temperature", "2.5", "--seed=3"])
    assert arguments.training.temperature == 2.5
    assert arguments.training.learning_rate == 3e-5
    assert arguments.training.output_dir.endswith("odd-seed3")


def test_a_list_of_layers_replaces_the_strategy_of_the_recipe(recipe):
    arguments = parse_command_line([str(recipe), "--student_layers", "1,0"])
    assert arguments.student.layer_strategy is None
    assert arguments.training.output_dir.endswith("layers-1-0-seed42")


def test_own_data_replace_the_data_of_the_recipe(recipe, tmp_path):
    other = write_csv(tmp_path / "other.csv")
    arguments = parse_command_line([str(recipe), "--train_file", str(other), "--validation_file", str(other)])
    assert arguments.data.train_file == str(other)
    assert arguments.training.temperature == 4.0


def test_own_data_come_without_the_unlabelled_rows_of_the_recipe(recipe, tmp_path):
    other = str(write_csv(tmp_path / "other.csv"))
    with recipe.open("a") as file:
        file.write(f"unlabeled_file: {other}\nmax_unlabeled_samples: 4\n")
    assert parse_command_line([str(recipe)]).data.max_unlabeled_samples == 4
    data = parse_command_line([str(recipe), "--train_file", other, "--validation_file", other]).data
    assert (data.unlabeled_file, data.max_unlabeled_samples) == (None, None)


def test_an_alias_goes_by_its_real_name():
    assert parse_command_line(["--layer_strategy", "last"]).training.output_dir == "runs/natural_logic/bottom-seed42"


def test_defaults_keep_the_best_student_by_its_task_loss():
    training = parse_command_line([]).training
    assert training.load_best_model_at_end
    assert training.metric_for_best_model == "loss"
    assert training.greater_is_better is False


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_parses_and_says_what_it_is(path, tmp_path):
    data = write_csv(tmp_path / "train.csv")
    has_data = re.search("^(task_name|train_file):", path.read_text(), re.MULTILINE)
    own_data = [] if has_data else [f"--train_file={data}", f"--validation_file={data}"]
    arguments = parse_command_line([str(path), *own_data])
    header = "\n".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    assert f"run_distillation.py recipes/{path.name}" in header or path == BUILT_IN_RECIPE
    assert all(f"\n# {title}:" in header for title in ("command", "source", "cost", "expect"))
    assert arguments.recipe == str(path)


@pytest.mark.parametrize(
    "path", [path for path in RECIPES if path.name.startswith("terms_")], ids=lambda path: path.name
)
def test_a_recipe_of_a_paper_takes_nothing_from_the_default_of_the_loss(path):
    named = set(re.findall(r"^(\w+):", path.read_text(), re.MULTILINE))
    assert {*(f"{term}_weight" for term in TERM_NAMES), "temperature", "layer_matching", "intermediate_epochs"} <= named


def test_the_published_recipe_is_the_published_experiment():
    arguments = parse_command_line([str(BUILT_IN_RECIPE.parent / "mnli_published.yaml")])
    data, training = arguments.data, arguments.training
    assert (data.task_name, data.max_train_samples, data.max_eval_samples) == ("mnli", 10_000, 1_000)
    assert (data.sample_seed, data.max_length, data.validation_split) == (1150, 128, "validation_mismatched")
    assert (training.learning_rate, training.num_train_epochs, training.warmup_steps) == (5e-5, 3, 0)
    assert training.per_device_train_batch_size == 32
    assert training.temperature == 1
    weights = (training.ce_weight, training.kl_weight, training.logit_cosine_weight)
    assert weights == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert (training.hidden_weight, training.attention_weight) == (0, 0)
    assert arguments.teacher.allow_untrained_teacher


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("temprature: 2\n", "unknown key 'temprature' (did you mean temperature?)"),
        ("- temperature\n", "holds a list, not flags and values"),
        ("temperature: [\n", "is not valid YAML"),
        ("temperature:\n", "give one value"),
        ("temperature: warm\n", "temperature"),
        ("layer_strategy: evn\n", "did you mean even?"),
    ],
)
def test_a_recipe_with_a_mistake_is_refused_in_one_line(tmp_path, capsys, content, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(content)
    assert message in fail_with([str(path)], capsys)


def test_a_recipe_without_data_asks_for_them(tmp_path, capsys):
    path = tmp_path / "recipe.yaml"
    path.write_text("temperature: 2.0\n")
    assert "names no data: add --train_file" in fail_with([str(path)], capsys)


def test_a_recipe_that_is_not_there_suggests_one_that_is(capsys):
    assert "there is no recipe" in fail_with(["recipes/nowhere.yaml"], capsys)
    assert "neither a flag nor a recipe" in fail_with(["odd"], capsys)


@pytest.mark.parametrize("argv", [["--seed", "1", "sick_minilm"], ["--text_columns", "premise", "sick_minilm"]])
def test_a_word_behind_a_flag_and_its_value_is_told_where_recipes_and_lists_go(argv, capsys):
    assert "'sick_minilm' is no flag, and the flag before it has its value: a recipe comes first" in fail_with(
        argv, capsys
    )


def test_the_token_is_in_no_effective_argument():
    arguments = parse_command_line(["--hub_token", "hf_secret"])
    assert "hf_secret" not in str(arguments.to_dict())
    assert "hf_secret" not in arguments.command
