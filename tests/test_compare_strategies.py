"""The command: what it prints and writes, how it refuses, how fast it is, and that it loads no torch."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from compare_strategies import main
from simulated_runs import STARTS, WITHOUT_TEACHER, write_run

COMMAND = Path(__file__).resolve().parent.parent / "compare_strategies.py"


@pytest.fixture
def sweep(tmp_path):
    for strategy, accuracy in {"top": 0.85, "bottom": 0.5, "odd": 0.8, "random": 0.7}.items():
        for seed in (1, 2, 3):
            write_run(tmp_path / "runs" / f"{strategy}{seed}", strategy, seed, accuracy)
    return tmp_path / "runs"


def compare(*arguments: object) -> int:
    return main([*map(str, arguments), "--resamples", "200"])


def refuse(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    """The one line on stderr that names the mistake."""
    with pytest.raises(SystemExit) as stopped:
        compare(*arguments)
    assert stopped.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("compare_strategies.py: error:")]
    assert len(errors) == 1
    return errors[0]


def test_it_prints_the_report_and_writes_the_files(sweep, tmp_path, capsys):
    assert compare(sweep, "--output_dir", tmp_path / "out", "--no_pictures") == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[2].split("  ")[0] == "Student layer"
    assert "- Highest: top (first), test accuracy 0." in printed
    assert "not shown to be better than odd." in printed
    assert "- bottom (last) is worse than top (first) by 0." in printed
    assert "- odd cannot be told apart from top (first) on these data" in printed
    assert "3 random draws" in printed
    assert max(map(len, printed.splitlines())) <= 105
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".lock",
        "comparison.csv",
        "comparison.html",
        "comparison.json",
        "comparison.md",
        "runs.csv",
    ]
    markdown = (tmp_path / "out" / "comparison.md").read_text()
    assert "| Student layer | Training loss | Validation loss | Validation accuracy | Epoch | At the end |" in markdown


def test_the_same_runs_give_the_same_files(sweep, tmp_path):
    for name in ("one", "two"):
        compare(sweep, "--output_dir", tmp_path / name, "--no_pictures")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_split_and_metric_are_the_users(sweep, tmp_path):
    compare(sweep, "--output_dir", tmp_path, "--no_pictures", "--split", "validation", "--metric", "macro_f1")
    [unit] = json.loads((tmp_path / "comparison.json").read_text())["units"]
    assert (unit["split"], unit["metric_name"], unit["rows"]) == ("validation", "macro_f1", 60)


def test_what_is_left_out_is_on_stderr_and_in_the_report(sweep, tmp_path, caplog):
    (sweep / "top3" / "predictions.npz").unlink()
    write_run(sweep / "hot", "odd", 4, arguments={"temperature": 4.0})
    with caplog.at_level("INFO"):
        compare(sweep, "--output_dir", tmp_path, "--no_pictures")
    messages = [record.getMessage() for record in caplog.records]
    assert f"left out: {sweep / 'hot'}: temperature 2 -> 4" in messages
    assert f"left out: {sweep / 'top3'}: predictions.npz is missing: run it again" in messages
    markdown = (tmp_path / "comparison.md").read_text()
    assert "temperature 2 -&gt; 4" in markdown
    assert "predictions.npz is missing" in markdown
    assert "missing: top (first) has no run with seed 3" in markdown


def test_tasks_have_their_own_section_and_a_summary(sweep, tmp_path, capsys):
    for strategy in ("top", "bottom", "odd"):
        write_run(sweep / f"mrpc-{strategy}", strategy, 1, task={"name": "mrpc"})
    write_run(sweep / "alone", "top", 1, student={"layers": [1]})
    compare(sweep, "--output_dir", tmp_path / "out", "--no_pictures")
    printed = capsys.readouterr().out
    assert "mrpc, 2 layers: the kept students" in printed
    assert "sick, 2 layers: the kept students" in printed
    assert "Over 2 tasks: mean ranks (1 is best)" in printed
    assert "No pair of strategies is tested by Wilcoxon: with 2 tasks that all agree" in printed
    assert "top (first) is the only arm of sick, 1 layer" in " ".join(printed.split())


PICTURES = ["layer_map.png", "loss_curves.png", "metric_intervals.png", "pareto.png"]


def test_pictures_are_drawn(tmp_path):
    pytest.importorskip("layer_distillation.comparison.plots", reason="needs matplotlib")
    for strategy in ("top", "random"):
        write_run(tmp_path / "runs" / strategy, strategy)
    compare(tmp_path / "runs", "--output_dir", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == PICTURES
    report = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert all(f"]({name})" in report for name in PICTURES)


def test_every_unit_has_its_pictures_in_a_folder_of_its_own(sweep, tmp_path, monkeypatch):
    pictures = pytest.importorskip("layer_distillation.comparison.pictures", reason="needs matplotlib")
    for name in ("loss_curves", "metric_intervals", "layer_map", "pareto", "mean_ranks"):
        monkeypatch.setattr(
            pictures, f"plot_{name}", lambda *values: next(v for v in values if isinstance(v, Path)).touch()
        )
    for strategy in ("top", "bottom", "odd"):
        write_run(sweep / f"mrpc-{strategy}", strategy, 1, task={"name": "m/../r pc"})
    compare(sweep, "--output_dir", tmp_path / "out")
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
    folders = ("1-m-..-r-pc-2-layers", "2-sick-2-layers")
    assert found == [*(f"{folder}/{name}" for folder in folders for name in PICTURES), "mean_ranks.png"]


def test_students_of_several_sizes_share_a_picture(sweep, tmp_path, monkeypatch):
    pictures = pytest.importorskip("layer_distillation.comparison.pictures", reason="needs matplotlib")
    drawn = {}
    for name in ("loss_curves", "metric_intervals", "layer_map"):
        monkeypatch.setattr(pictures, f"plot_{name}", lambda *values: None)
    monkeypatch.setattr(pictures, "plot_pareto", lambda points, metric, path: drawn.update({path.name: points}))
    for strategy in ("top", "bottom"):
        write_run(sweep / f"short-{strategy}", strategy, 1, student={"layers": [0], "parameters": 400})
    compare(sweep, "--output_dir", tmp_path / "out")
    points = drawn["pareto-1-sick.png"]
    assert {point.name: point.parameters for point in points} == {
        "teacher": 1000,
        **{f"{name}, 1 layer": 400 for name in ("top (first)", "bottom (last)")},
        **{f"{name}, 2 layers": 600 for name in ("top (first)", "bottom (last)", "odd")},
    }


def test_without_matplotlib_a_line_says_so_and_the_rest_is_there(sweep, tmp_path, monkeypatch, caplog):
    monkeypatch.delitem(sys.modules, "layer_distillation.comparison.pictures", raising=False)
    monkeypatch.delitem(sys.modules, "layer_distillation.comparison.plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with caplog.at_level("INFO"):
        assert compare(sweep, "--output_dir", tmp_path / "out") == 0
    assert "no pictures: the module matplotlib is not installed" in caplog.text
    assert (tmp_path / "out" / "comparison.md").exists()


def test_no_runs_is_an_error(tmp_path, capsys):
    assert "no run is in" in refuse(capsys, tmp_path)
    assert "is no folder" in refuse(capsys, tmp_path / "nowhere")


def test_no_whole_run_is_an_error(tmp_path, capsys):
    write_run(tmp_path / "a", status="running")
    assert "none of 1 runs can be compared" in refuse(capsys, tmp_path)


def test_one_arm_is_an_error(tmp_path, capsys):
    write_run(tmp_path / "a", seed=1)
    write_run(tmp_path / "b", seed=2)
    assert "one arm only (sick, 2 layers: top (first)): give runs of at least two strategies" in refuse(
        capsys, tmp_path
    )


@pytest.mark.parametrize(
    ("flags", "remedy"),
    [
        (["--metric", "bleu"], "the task sick has accuracy, macro_f1"),
        (["--resamples", "5"], "at least 100"),
        (["--resamples", "many"], "invalid int value"),
        (["--split", "train"], "no labelled train rows in"),
        (["--metrics", "accuracy"], "unrecognized arguments"),
        (["--resample", "200"], "unrecognized arguments"),
        (["--vary", "temperatur"], "no run has such a setting, did you mean temperature?"),
        (["--vary", "zzz"], "no run has such a setting: give flags of run_distillation.py"),
        (["--vary", "teacher_seeds"], "compared on the same rows and with one teacher"),
        (["--vary", "max_train_samples"], "compared on the same rows and with one teacher"),
        (["--vary", "evaluation_files"], "compared on the same rows and with one teacher"),
        (["--vary", "hypothesis_template"], "compared on the same rows and with one teacher"),
        (["--vary", "output_dir"], "it changes no student"),
        (["--vary", "layer_strategy"], "starts make arms already"),
        (["--vary", "seed"], "seeds are what an arm is averaged over"),
    ],
)
def test_a_wrong_flag_is_an_error(sweep, tmp_path, capsys, flags, remedy):
    with pytest.raises(SystemExit) as stopped:
        main([str(sweep), "--output_dir", str(tmp_path / "out"), *flags])
    assert stopped.value.code == 2
    assert remedy in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_tie_of_settings_is_an_error_that_names_both(tmp_path, capsys):
    write_run(tmp_path / "a", "top")
    write_run(tmp_path / "b", "odd", arguments={"temperature": 4.0})
    message = refuse(capsys, tmp_path)
    assert str(tmp_path / "a") in message
    assert str(tmp_path / "b") in message
    assert message.endswith("give one set alone, or make arms of them by --vary temperature")


def test_what_is_varied_on_purpose_makes_arms(tmp_path, capsys):
    write_run(tmp_path / "a", "top")
    write_run(tmp_path / "b", "top", arguments={"temperature": 4.0})
    compare(tmp_path, "--vary", "temperature", "--output_dir", tmp_path / "out", "--no_pictures")
    arms = json.loads((tmp_path / "out" / "comparison.json").read_text())["units"][0]["arms"]
    assert sorted(arm["arm"] for arm in arms) == ["top, temperature 2", "top, temperature 4"]


def test_several_flags_may_be_varied_one_by_one_or_together(tmp_path):
    write_run(tmp_path / "a", "top")
    write_run(tmp_path / "b", "top", arguments={"temperature": 4.0, "num_train_epochs": 6.0})
    found = []
    for words in (
        ["--vary", "temperature", "--vary", "num_train_epochs"],
        ["--vary", "temperature", "num_train_epochs"],
    ):
        compare(tmp_path, *words, "--output_dir", tmp_path / "out", "--no_pictures")
        arms = json.loads((tmp_path / "out" / "comparison.json").read_text())["units"][0]["arms"]
        found.append(sorted(arm["arm"] for arm in arms))
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_two_different_runs_of_one_seed_are_an_error(sweep, capsys):
    write_run(sweep / "again", "top", 1, 0.4)
    assert "remove one" in refuse(capsys, sweep)


def test_an_unwritable_output_is_an_error(sweep, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "file" in refuse(capsys, sweep, "--output_dir", tmp_path / "file", "--no_pictures")


@pytest.mark.slow
def test_sixty_runs_take_seconds_and_no_torch(tmp_path):
    rows = {"train": 9, "validation": 500, "test": 5000}
    for strategy in STARTS:
        for seed in range(5):
            write_run(tmp_path / f"{strategy}{seed}", strategy, seed, rows=rows)
            write_run(tmp_path / f"{strategy}{seed}-alone", strategy, seed, rows=rows, arguments=WITHOUT_TEACHER)
    script = (
        f"import sys; sys.path.insert(0, {str(COMMAND.parent)!r}); import compare_strategies\n"
        f"compare_strategies.main([{str(tmp_path)!r}, '--no_pictures', '--output_dir', {str(tmp_path / 'out')!r}])\n"
        "print({'torch', 'transformers', 'datasets', 'sklearn', 'matplotlib'} & set(sys.modules), file=sys.stderr)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    # Seconds of the processor, not of the clock: other work on the machine is not this command's.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 5
    assert ended.stderr.splitlines()[-1] == "set()"
    assert len((tmp_path / "out" / "runs.csv").read_text().splitlines()) == 61
