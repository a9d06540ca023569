"""The crossing of two choices: shares of the variance against known ones and scipy's, and what it refuses."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import f_oneway

from benchmarks.crossing import analyze_variance, main
from simulated_runs import write_run

NAMES = ["layer_strategy", "layer_matching"]


def write_crossing(folder: Path, **changes: object) -> None:
    """Of two starts, two matchings, two seeds; the matching matters."""
    for start, matching, seed in product(["top", "odd"], ["top", "block"], [1, 2]):
        quality = 0.8 if matching == "block" else 0.5
        arguments = {"layer_matching": matching}
        write_run(folder / f"{start}-{matching}-{seed}", start, seed, quality, arguments=arguments, **changes)


def test_shares_of_a_layout_made_of_known_effects():
    rows, columns = np.array([-1.0, 1.0]), np.array([-3.0, 0.0, 3.0])
    noise = np.array([-0.5, 0.5])
    effects = analyze_variance(rows[:, None, None] + columns[:, None] + noise, ["start", "matching"])
    assert effects["start"]["share"] == pytest.approx(1 / 7.25)
    assert effects["matching"]["share"] == pytest.approx(6 / 7.25)
    assert effects["both together"]["share"] == pytest.approx(0.0)
    assert effects["seed"]["share"] == pytest.approx(0.25 / 7.25)
    assert effects["start"]["f"] == pytest.approx((12 / 1) / (3 / 6))  # 12 values, 6 of them free


def test_what_only_both_together_explain():
    values = np.array([[1.0, -1.0], [-1.0, 1.0]])[..., None] + np.array([-0.1, 0.1])
    effects = analyze_variance(values, ["start", "matching"])
    assert effects["both together"]["f"] == pytest.approx((8 / 1) / (0.08 / 4))
    assert effects["both together"]["p"] < 0.001
    assert effects["start"]["p"] == pytest.approx(1.0)


def test_the_cells_together_are_scipy_s_one_way_analysis():
    values = np.random.default_rng(0).normal(size=(4, 3, 5))
    effects = analyze_variance(values, NAMES)
    share = sum(effects[name]["share"] for name in (*NAMES, "both together"))
    ratio = (share / 11) / (effects["seed"]["share"] / 48)
    assert ratio == pytest.approx(f_oneway(*values.reshape(12, 5)).statistic)


def test_prints_the_table_and_the_effects(tmp_path, capsys):
    write_crossing(tmp_path)
    for path in tmp_path.rglob("predictions.npz"):  # in an archive the splits come in any order
        with np.load(path) as arrays:
            reordered = {name: arrays[name] for name in sorted(arrays.files)}
        np.savez(path, **reordered)
        assert list(reordered)[-1].startswith("validation")
    assert main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    report = json.loads(lines[-1])
    assert main([str(path) for path in sorted(tmp_path.iterdir())]) == 0  # a part may be named instead of the whole
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == report
    assert report["rows"] == ["odd", "top"]
    assert report["columns"] == ["block", "top"]
    assert report["seeds"] == [1, 2]
    assert report["metric"] == "test accuracy"
    assert report["effects"]["layer_matching"]["p"] < 0.01
    assert f"{np.mean(report['values'][0][0]):.3f} ±" in lines[2]
    assert lines[0] == "| layer_strategy \\ layer_matching | block | top | mean |"


def test_a_missing_run_is_named(tmp_path, capsys):
    write_crossing(tmp_path)
    (tmp_path / "odd-top-2" / "run_record.json").unlink()
    assert main([str(tmp_path)]) == 2
    assert "run odd x top seed 2 too" in capsys.readouterr().err


def test_runs_that_differ_in_more_are_refused(tmp_path, capsys):
    write_crossing(tmp_path)
    write_run(tmp_path / "other", "odd", 1, arguments={"num_train_epochs": 5.0})
    assert main([str(tmp_path)]) == 2
    assert "differs in more (3 epochs -> 5)" in capsys.readouterr().err


def test_a_pair_that_was_run_twice_is_refused(tmp_path, capsys):
    write_crossing(tmp_path)
    write_run(tmp_path / "other", "odd", 1, accuracy=0.3, arguments={"layer_matching": "top"})
    assert main([str(tmp_path)]) == 2
    assert "second run of odd x top seed 1: keep one of them" in capsys.readouterr().err


@pytest.mark.parametrize("names", [["layer_strategy", "layers"], ["layer_strategy", "layer_matching"]])
def test_a_name_that_is_none_and_a_folder_without_runs_are_one_line(tmp_path, capsys, names):
    folder = tmp_path / "empty"
    folder.mkdir()
    if "layers" in names:
        write_crossing(folder)
    assert main([str(folder), "--by", *names]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("crossing.py: error: ")


def test_seeds_that_change_nothing_leave_no_error_to_test_against():
    with pytest.raises(ValueError, match="every seed gives the same score"):
        analyze_variance(np.array([[[1.0, 1.0], [2.0, 2.0]], [[3.0, 3.0], [4.0, 4.0]]]), NAMES)


@pytest.mark.parametrize("shape", [(1, 4, 3), (4, 1, 3), (4, 4, 1)])
def test_one_of_anything_is_no_crossing(shape):
    with pytest.raises(ValueError, match="two values of each choice and two seeds"):
        analyze_variance(np.zeros(shape), NAMES)
