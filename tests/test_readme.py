"""The README keeps its promises: its Python runs as printed, its first command is in sight, every link leads on."""

import re
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification

from tiny_project import COLOURS, NOUNS, write_teacher

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FIRST_SCREEN_LINES = 30


def test_the_python_example_runs_as_printed(tmp_path, monkeypatch):
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    write_teacher(tmp_path / "my-teacher", num_layers=6)
    lines = ["text,label", *(f"the {colour} {noun},{label}" for label, colour in enumerate(COLOURS) for noun in NOUNS)]
    for name in ("train", "validation"):
        (tmp_path / f"{name}.csv").write_text("\n".join(lines), encoding="utf-8")
    scope: dict = {}
    exec(compile(code, "README.md", "exec"), scope)
    scope["trainer"].save_model("student")
    student = AutoModelForSequenceClassification.from_pretrained("student")
    assert student.config.num_hidden_layers == 3
    assert scope["trainer"].state.global_step == 3


def test_the_first_command_is_in_the_first_screen():
    first = "\n".join(README.splitlines()[:FIRST_SCREEN_LINES])
    assert "accelerate launch run_distillation.py" in first
    assert "test accuracy" in first


def test_it_is_short_enough_for_a_newcomer():
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    prose = "\n".join(line for line in prose.splitlines() if not line.startswith("|"))
    assert len(prose.split()) <= 1000


@pytest.mark.parametrize("page", ["README.md", "docs/ARCHITECTURE.md"])
def test_every_room_is_on_the_map(page):
    [tree] = re.findall(r"```text\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    rooms = {path.parent.name for path in (ROOT / "layer_distillation").glob("*/__init__.py")}
    assert rooms <= set(re.findall(r"(\w+)/", tree))


def list_anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [page for page in PAGES if page.exists()], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith("http"):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in list_anchors(target), link
