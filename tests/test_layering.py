"""The import graph of DESIGN: every module imports only modules below it, and the README's file tree is the tree."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the top down; a module may import those in later rows only.
LAYERS = [
    ["compare_strategies"],
    ["comparison_files", "comparison_pictures"],
    ["comparison_plots", "comparison_report"],
    ["comparison_verdict", "metric_figures"],
    ["comparison_tasks"],
    ["comparison_results", "figure_style", "label_placement"],
    ["comparison_pairs"],
    ["comparison"],
    ["comparison_arms"],
    ["check_runs", "preview_strategies", "push_student", "run_distillation", "teacher_stores"],
    ["failures", "untrained_student"],
    ["preview_report", "run_preparation"],
    ["layer_plan", "teacher_ensemble"],
    ["student_preparation"],
    ["command_line", "run_facts"],
    ["student_arguments"],
    ["layer_search", "publish", "report", "teacher_supply"],
    ["model_card"],
    ["card_inheritance"],
    ["card_metadata", "card_scores"],
    ["comparison_runs", "comparison_statistics"],
    ["comparison_metrics"],
    ["student_source"],
    ["teacher"],
    ["teacher_training", "predictions"],
    ["distill_trainer"],
    ["width_measures"],
    ["interruption", "layer_scores", "layer_similarity", "loss_plan", "loss_terms", "training_watch", "transfer_set"],
    ["fast_attention", "length_pools"],
    [
        "batches",
        "distillation_arguments",
        "layer_matching",
        "label_matching",
        "projections",
        "student_width",
        "tasks",
        "trimmed_embedding",
        "fast_dropout",
    ],
    ["teacher_store_filling"],
    ["data_arguments", "head_state_losses", "model_checks", "process_locks", "teacher_store"],
    [
        "losses",
        "metrics",
        "row_sampling",
        "run_record",
        "student_init",
        "task_columns",
        "teacher_card",
        "teacher_outputs",
    ],
    ["relation_targets"],
    [
        "attention_targets",
        "checkpoints",
        "data_files",
        "ensemble_logits",
        "locks",
        "loss_schedules",
        "markdown_text",
        "natural_logic",
        "representation_similarity",
        "student_names",
        "student_speed",
        "subset_search",
        "teacher_arguments",
        "token_counts",
        "width_names",
    ],
]
LEAVES = {"losses", "student_init", "natural_logic", "run_record"}
DEPTH = {name: depth for depth, names in enumerate(LAYERS) for name in names}


def list_own_imports(name: str) -> set[str]:
    tree = ast.parse((ROOT / f"{name}.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {module.split(".")[0] for module in imported} & DEPTH.keys()


def test_every_module_has_its_place():
    assert {path.stem for path in ROOT.glob("*.py")} == DEPTH.keys()


@pytest.mark.parametrize("name", sorted(DEPTH))
def test_a_module_imports_only_what_lies_below_it(name):
    upward = {other for other in list_own_imports(name) if DEPTH[other] <= DEPTH[name]}
    assert not upward


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_a_leaf_imports_none_of_ours(name):
    assert list_own_imports(name) == set()


def test_the_readme_shows_every_file_at_the_top_level():
    tree = re.search(r"```text\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL).group(1)
    shown = set(re.findall(r"^(\S+\.(?:py|yaml|sh|txt|md|toml))\b", tree, re.MULTILINE))
    here = {path.name for path in ROOT.iterdir() if path.suffix in {".py", ".yaml", ".sh", ".txt"}}
    assert here <= shown


def test_the_gate_runs_the_test_command_of_the_readme():
    command = "python3 -m venv .venv && .venv/bin/pip install -q -r requirements-dev.txt && .venv/bin/python -m pytest"
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
