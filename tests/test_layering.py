"""The house: a room imports only rooms below it, and each says in a few lines what it is for."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "layer_distillation"
# From the top floor down; rooms of one floor know nothing of each other. Root files stand where their code belongs.
FLOORS = [
    [
        *("run_distillation", "preview_strategies", "compare_strategies", "push_student", "export_student"),
        "teacher_stores",
    ],
    ["sweep"],
    ["runs"],
    ["students", "export"],
    ["teachers"],
    ["distill_trainer"],
    ["trainer"],
    ["losses", "cards"],
    ["comparison"],
    ["tasks"],
    ["outputs", "step"],
    ["student_init", "embedding"],
    ["architectures"],
    ["layers", "records"],
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
FILES = sorted([*ROOT.glob("*.py"), *PACKAGE.glob("*/**/*.py")])


def name_room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0] if path.is_relative_to(PACKAGE) else path.stem


def list_imported_rooms(path: Path) -> set[str]:
    """The rooms, and the files at the root, that a file imports anywhere in it."""
    modules = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import hides the room"
            modules += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    parts = [module.split(".") for module in modules]
    rooms = {names[1] for names in parts if names[0] == PACKAGE.name and len(names) > 1}
    return (rooms | {names[0] for names in parts}) & FLOOR.keys()


def test_every_room_and_every_file_at_the_root_has_its_floor():
    assert {*ROOMS, *(path.stem for path in ROOT.glob("*.py"))} == FLOOR.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_rooms_below_it(path):
    room = name_room(path)
    assert {other for other in list_imported_rooms(path) - {room} if FLOOR[other] <= FLOOR[room]} == set()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_for(room):
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8")))
    assert 3 <= len([line for line in text.splitlines() if line]) <= 6
    assert "In: " in text
    assert "Out: " in text
    assert "mport" in text


def test_names_in_a_room_do_not_repeat_it():
    for path in FILES:
        assert not path.stem.startswith(f"{name_room(path)}_")


def test_the_gate_runs_the_test_command_of_the_readme():
    command = "python3 -m venv .venv && .venv/bin/pip install -q -r requirements-dev.txt && .venv/bin/python -m pytest"
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
