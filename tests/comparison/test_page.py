"""The page of a comparison: complete without a script, safe with foreign names, and alive in a browser."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from layer_distillation.comparison import page
from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.grouping import group_runs
from layer_distillation.comparison.race_runs import RacePlan
from layer_distillation.comparison.results import UnitResult, analyse_unit
from layer_distillation.comparison.runs import read_runs
from simulated_runs import WITHOUT_TEACHER, write_run

HOSTILE = "</script><img src=x onerror=alert(1)>&'\""
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")


class Tags(HTMLParser):
    """What is opened and closed, and the text of every table's cells."""

    VOID = frozenset(["meta", "img"])

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.seen, self.attributes, self.cells = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.attributes += attributes
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def analyse(folder: Path, race: RacePlan | None = None) -> list[UnitResult]:
    units = group_runs(read_runs(find_run_folders([folder]))[0])
    return [analyse_unit(unit, "auto", None, 200, race) for unit in units]


@pytest.fixture
def sweep(tmp_path):
    for strategy, accuracy in {"top": 0.85, "bottom": 0.5, "random": 0.7, "scratch": 0.4}.items():
        for seed in (1, 2):
            write_run(tmp_path / f"{strategy}{seed}", strategy, seed, accuracy)
    write_run(tmp_path / "alone", "top", 1, 0.8, arguments=WITHOUT_TEACHER)
    return tmp_path


def read_data(text: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])


def test_it_is_one_file_that_loads_nothing(sweep):
    text = page.format_page(analyse(sweep), None, [])
    tags = Tags(text)
    assert tags.open == []
    assert not {"link", "img", "iframe", "object"} & set(tags.seen)
    assert not {name for name, _ in tags.attributes} & {"src", "href", "onclick", "onload"}
    assert "default-src 'none'" in text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_the_verdict_stands_before_everything_and_a_race_has_its_own(sweep):
    text = page.format_page(analyse(sweep), None, [])
    assert text.index("Best: top (first)") < text.index("<table")
    raced = page.format_page(analyse(sweep, RacePlan((1, 2))), None, [])
    assert "The error of 0.05 holds over all looks and pairs" in raced[: raced.index("<table")]


def test_every_value_that_is_drawn_stands_in_a_table(sweep):
    [result] = analyse(sweep)
    text = page.format_page([result], None, [])
    cells = set(Tags(text).cells)
    for arm in read_data(text)["units"][0]["arms"]:
        assert arm["name"] in cells
        assert f"{arm['value']:.4f}" in cells
        assert f"[{arm['low']:.4f}, {arm['high']:.4f}]" in cells
        for seed in arm["seeds"]:
            assert {f"{loss:.4f}" for _, loss in seed["curve"]} <= cells


def test_a_history_in_another_order_as_a_resumed_run_has_it_gives_the_same_page(sweep):
    text = page.format_page(analyse(sweep), None, [])
    for path in sweep.glob("*/run_record.json"):
        record = json.loads(path.read_text())
        record["history"] = [dict(reversed(entry.items())) for entry in record["history"]]
        path.write_text(json.dumps(record))
    assert page.format_page(analyse(sweep), None, []) == text


def test_names_of_others_open_nothing(tmp_path):
    for strategy in ("top", "odd"):
        write_run(tmp_path / strategy, strategy, 1, task={"name": HOSTILE})
    text = page.format_page(analyse(tmp_path), None, [])
    tags = Tags(text)
    assert "img" not in tags.seen
    assert tags.seen.count("script") == 2
    assert read_data(text)["units"][0]["name"].startswith(HOSTILE)


def test_without_the_curves_it_stays_small(sweep, monkeypatch):
    results = analyse(sweep)
    whole = page.format_page(results, None, [])
    monkeypatch.setattr(page, "MOST_BYTES", len(whole.encode()) - 1)
    small = page.format_page(results, None, [])
    assert len(small) < len(whole)
    assert "Every epoch of every run" not in small
    assert {tuple(seed["curve"]) for arm in read_data(small)["units"][0]["arms"] for seed in arm["seeds"]} == {()}


def test_numbers_that_are_missing_are_dashes_and_no_nan(sweep):
    write_run(sweep / "odd1", "odd", 1, history=[])
    text = page.format_page(analyse(sweep), None, [])
    assert "nan" not in json.dumps(read_data(text)).lower()
    assert '<td data-value="">-</td>' in text


# ---- in a browser --------------------------------------------------------------------------------------------------

PROBE = """<script>
const told = {}, ask = query => document.querySelector(query);
const table = ask("table.sortable"), first = () => table.tBodies[0].rows[0].cells[0].textContent;
const sort = column => table.tHead.rows[0].cells[column].querySelector("button").click();
told.intervals = document.querySelectorAll("#intervals-0 .point").length;
told.layers = document.querySelectorAll("#layers-0 .kept").length;
told.curves = document.querySelectorAll("#curves-0 .curve").length;
sort(1); told.highest = first();
sort(1); told.lowest = first();
sort(4); told.dashLast = table.tBodies[0].rows[table.tBodies[0].rows.length - 1].cells[4].textContent;
ask("#keys-0 button").click();
told.said = ask("#said-0").textContent;
told.on = document.querySelectorAll("#curves-0 .is-on").length;
const line = ask("#curves-0 .curve"), svg = line.ownerSVGElement;
const box = svg.getBoundingClientRect(), path = line.getPointAtLength(0), scale = box.width / svg.viewBox.baseVal.width;
const place = {clientX: box.left + path.x * scale, clientY: box.top + path.y * scale};
svg.dispatchEvent(new PointerEvent("pointermove", place));
told.hovered = ask("#said-0").textContent;
told.overflow = document.documentElement.scrollWidth - innerWidth;
const before = getComputedStyle(document.body).backgroundColor;
ask("#theme").click();
told.themed = before !== getComputedStyle(document.body).backgroundColor;
document.title = JSON.stringify(told);
</script></body>"""


def probe(path: Path, width: int) -> dict:
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={path.parent / 'profile'}"]
    command = [BROWSER, *options, f"--window-size={width},900", "--dump-dom", path.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout
    return json.loads(re.search("<title>(.*?)</title>", shown, re.S)[1].replace("&quot;", '"').replace("&amp;", "&"))


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("width", [1300, 500])
def test_a_browser_draws_sorts_and_answers(sweep, tmp_path, width):
    [result] = analyse(sweep)
    path = tmp_path / "page.html"
    text = page.format_page([result], None, [])
    path.write_text(text.replace("</body>", PROBE), encoding="utf-8")
    told = probe(path, width)
    values = {arm["name"]: arm["value"] for arm in read_data(text)["units"][0]["arms"]}
    assert (told["intervals"], told["curves"]) == (len(values), sum(len(arm.runs) for arm in result.arms))
    assert told["layers"] == 2 * 4  # two layers of top, bottom and two draws
    assert told["highest"] == max(values, key=values.get)
    assert told["lowest"] == min(values, key=values.get)
    assert told["dashLast"] == "-"
    assert told["said"].startswith("top (first): 2 runs")
    assert told["on"] == 2
    assert told["hovered"].startswith("top (first), seed 1: epoch 1: ")
    assert told["overflow"] <= 0
    assert told["themed"]


@pytest.mark.slow
@needs_browser
def test_a_browser_runs_no_script_of_others(tmp_path):
    for strategy in ("top", "odd"):
        write_run(tmp_path / strategy, strategy, 1, task={"name": HOSTILE})
    path = tmp_path / "page.html"
    text = page.format_page(analyse(tmp_path), None, [])
    spy = "<script>window.alert = () => { document.documentElement.dataset.ran = 'yes'; };</script><title>"
    path.write_text(text.replace("<title>", spy, 1).replace("</body>", PROBE), encoding="utf-8")
    assert probe(path, 1300)["curves"] == 2
