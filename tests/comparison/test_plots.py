"""The pictures carry the values that they were given, and are saved whole or not at all."""

import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Rectangle

from figure_checks import LONG_NAMES, check_legible, list_texts
from layer_distillation.comparison import plots
from layer_distillation.comparison.metric_figures import ArmInterval, ParetoPoint

TASK_LOSS = "cross-entropy (nats)"
CURVES = {
    "odd": [
        [{"epoch": 1.0, "train_loss": 2.0, "eval_loss": 3.0}, {"epoch": 2.0, "train_loss": 1.0, "eval_loss": 0.5}],
        [{"epoch": 1.0, "train_loss": 4.0, "eval_loss": 1.0}, {"epoch": 2.0, "train_loss": 2.0, "eval_loss": 1.0}],
    ],
    "even": [[{"epoch": 1.0, "train_loss": 1.5, "train_kl_loss": 0.5, "eval_loss": 0.75}]],
}
SAVERS = {
    "curves": lambda path: plots.plot_loss_curves(CURVES, path),
    "intervals": lambda path: plots.plot_metric_intervals(
        [ArmInterval("odd", 0.5, 0.4, 0.6, [0.5], False)], "accuracy", 0.7, path
    ),
    "map": lambda path: plots.plot_layer_map({"odd": [1, 3], "scratch": [None, None]}, 4, path),
    "pareto": lambda path: plots.plot_pareto([ParetoPoint("odd", 10**6, 0.5, 0.4, 0.6)], "accuracy", path),
    "ranks": lambda path: plots.plot_mean_ranks({"odd": 1.2, "even": 1.8}, 1.1, path),
}


@pytest.mark.parametrize("name", SAVERS)
def test_a_picture_is_a_png_of_the_full_width_and_the_same_bytes_each_time(name, tmp_path):
    SAVERS[name](tmp_path / "first.png")
    SAVERS[name](tmp_path / "second.png")
    assert imread(tmp_path / "first.png", format="png").shape[1] == 1800
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"first.png", "second.png"}


def test_a_picture_that_cannot_be_drawn_leaves_the_old_one_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def break_off(figure: Figure, unfinished: Path, **_) -> None:
        unfinished.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", break_off)
    with pytest.raises(OSError, match="disk full"):
        plots.plot_mean_ranks({"odd": 1.0}, None, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_neither_torch_nor_pyplot_is_imported_and_settings_stay_as_they_were():
    code = "import sys; from layer_distillation.comparison import plots; plots.build_mean_ranks({'odd': 1.0}, None); "
    code += "import matplotlib; assert matplotlib.rcParams['axes.spines.top']; "
    code += "assert not {'torch', 'transformers', 'matplotlib.pyplot'} & sys.modules.keys()"
    root = Path(plots.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
    assert matplotlib.rcParams["axes.spines.top"]


def get_values(figure: Figure, panel: int, label: str) -> list[tuple[float, float]]:
    line = next(line for line in figure.axes[panel].lines if line.get_label() == label)
    return list(zip(*line.get_data(), strict=True))


def test_a_curve_is_the_mean_over_seeds_by_epoch():
    figure = plots.build_loss_curves(CURVES, TASK_LOSS)
    assert get_values(figure, 0, "validation cross-entropy (nats)") == [(1.0, 2.0), (2.0, 0.75)]
    assert get_values(figure, 0, "training total (weighted)") == [(1.0, 3.0), (2.0, 1.5)]
    assert get_values(figure, 1, "training KL to teacher (nats)") == [(1.0, 0.5)]


def test_the_band_reaches_from_the_lowest_to_the_highest_seed_and_one_seed_has_none():
    figure = plots.build_loss_curves(CURVES, TASK_LOSS)
    outline = figure.axes[0].collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in outline} == {(1.0, 1.0), (1.0, 3.0), (2.0, 0.5), (2.0, 1.0)}
    assert not figure.axes[1].collections


def test_terms_that_no_run_has_are_left_out_and_no_two_lines_look_alike_without_colour():
    figure = plots.build_loss_curves(CURVES, TASK_LOSS)
    assert not any("hidden" in text for text in list_texts(figure))
    looks = [(str(line_style), marker) for _, _, line_style, marker in plots.SERIES.values()]
    assert len({style for style, _ in looks}) == len({marker for _, marker in looks}) == len(looks)


def test_the_task_loss_is_named_by_the_caller():
    assert "validation squared error" in list_texts(plots.build_loss_curves(CURVES, "squared error"))


def test_panels_share_their_axes_and_carry_the_names():
    figure = plots.build_loss_curves(CURVES, TASK_LOSS)
    assert [panel.get_title() for panel in figure.axes] == ["odd", "even"]
    assert len({(panel.get_xlim(), panel.get_ylim()) for panel in figure.axes}) == 1


def test_a_term_ten_times_the_validation_loss_turns_the_axis_logarithmic():
    entry = {"epoch": 1.0, "eval_loss": 1.0, "train_hidden_loss": 9.0}
    assert plots.build_loss_curves({"odd": [[entry]]}, TASK_LOSS).axes[0].get_yscale() == "linear"
    figure = plots.build_loss_curves({"odd": [[entry | {"train_hidden_loss": 11.0}]]}, TASK_LOSS)
    assert figure.axes[0].get_yscale() == "log"
    assert "loss (log scale)" in list_texts(figure)
    zero = entry | {"train_hidden_loss": 11.0, "train_kl_loss": 0.0}
    assert plots.build_loss_curves({"odd": [[zero]]}, TASK_LOSS).axes[0].get_yscale() == "linear"


@pytest.mark.parametrize("num_arms", [1, 12])
def test_curves_of_many_arms_stay_legible(num_arms):
    entry = dict.fromkeys(plots.SERIES, 1.0)
    history = [entry | {"epoch": float(epoch)} for epoch in range(1, 4)]
    check_legible(plots.build_loss_curves({name: [history] * 2 for name in LONG_NAMES[:num_arms]}, TASK_LOSS))


def test_a_history_without_evaluations_gives_an_empty_panel():
    figure = plots.build_loss_curves({"odd": [[]], "even": CURVES["even"]}, TASK_LOSS)
    assert [len(panel.lines) for panel in figure.axes] == [0, 3]


def test_names_break_between_words_and_numbers_only():
    assert plots.wrap_name("11,1,3,5,7,9", 7) == "11,1,3,\n5,7,9"
    assert plots.wrap_name("even, without teacher", 16) == "even, without\nteacher"
    assert plots.wrap_name("unbreakable", 4) == "unbreakable"


def list_filled(figure: Figure) -> list[tuple[float, float]]:
    """(column, row) of the cells of copied layers, in a map whose rows are all one line high."""
    cells = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    return [cell.get_xy() for cell in cells if same_color(cell.get_facecolor(), plots.SKY)]


def test_a_cell_is_filled_where_a_layer_is_copied():
    assert list_filled(plots.build_layer_map({"odd": [1, 3], "top": [0, 1]}, 4)) == [(1, 0), (3, 0), (0, 1), (1, 1)]


def test_cells_hold_student_layers_in_any_order_with_repeats_and_fresh_ones_last():
    assert plots.list_cell_texts([3, 0, 3, None], 4) == ["1", "", "", "0\n2", "3"]
    assert plots.list_cell_texts([None, None, 0, None], 1) == ["2", "0-1\n3"]


def test_fresh_layers_are_hatched_in_a_column_of_their_own_that_is_there_only_when_needed():
    figure = plots.build_layer_map({"scratch": [None, None], "top": [0, 1]}, 2)
    hatched = [patch for patch in figure.axes[0].patches if patch.get_hatch()]
    assert len(hatched) == 1
    assert hatched[0].get_x() > 2
    assert "fresh" in list_texts(figure)
    assert "fresh" not in list_texts(plots.build_layer_map({"top": [0, 1]}, 2))


def test_the_ends_of_the_teacher_are_marked():
    assert {"input end", "output end"} <= set(list_texts(plots.build_layer_map({"top": [0]}, 2)))


@pytest.mark.parametrize(
    ("layers", "num_teacher_layers"),
    [({"top": [0]}, 2), ({name: [0, 0, None, *range(9)] for name in LONG_NAMES}, 24)],
)
def test_maps_of_any_size_stay_legible(layers, num_teacher_layers):
    check_legible(plots.build_layer_map(layers, num_teacher_layers))
