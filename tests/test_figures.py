import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from tfvn.attacks.result import Wanted
from tfvn.figures import curves, insets, paper, stages, targets
from tfvn.figures.paper import Example
from tfvn.results import writing


def image(rng, rows=48, width=32):
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, width), indexing="ij")
    disc = (y**2 + x**2 < 0.6) * (1 + 0.1 * rng.standard_normal((rows, width)))
    return (disc * np.exp(1j * y)).astype(np.complex64)


def examples(reference, count=2, attacked=True, radii=(3.5,)):
    rng = np.random.default_rng(1)
    result = []
    for number in range(count):
        clean = 0.9 * np.abs(reference)
        r = (0.1 * image(rng, *reference.shape)).astype(np.complex64)
        attack = (
            (radii[number % len(radii)], r, np.abs(0.9 * reference + r), (2.0, 0.8))
            if attacked
            else ()
        )
        result.append(Example(f"model_{number}", clean, (1.0, 0.9), *attack))
    return result


def rows(models=3, radii=(0.0, 1.5, 3.5), image_norm=20.0):
    rng = np.random.default_rng(2)
    return [
        {
            "model": f"model_{number}",
            "radius": radius,
            "norm": radius,
            "effect": radius * rng.uniform(0.5, 1.5),
            "rmse": 1 + radius if image_norm == image_norm else float("nan"),
            "image_norm": image_norm,
        }
        for number in range(models)
        for radius in radii
        for _ in range(4)
    ]


def check(path, width=None):
    """A picture that is there, complete, of a page's width, and shows something up to its sides."""
    picture = imread(path)
    if width:
        assert picture.shape[1] == pytest.approx(width * 300, abs=2)
    assert picture[..., :3].std() > 0.05
    for border in (picture[:2], picture[-2:], picture[:, :2], picture[:, -2:]):
        assert (border[..., :3] > 0.98).all(), "something is cut off at the edge of the picture"
    return picture


@pytest.mark.parametrize("with_reference", [True, False])
def test_figure1_shows_the_data(tmp_path, with_reference):
    rng = np.random.default_rng(0)
    reference = image(rng)
    kspace = np.fft.fftshift(np.fft.fft2(reference)) * (rng.random(32) < 0.4)
    path = tmp_path / "figure1.png"
    paper.figure1(
        path, kspace, reference + 0.3, reference if with_reference else None, 0.5 * reference
    )
    check(path, width=7)


@pytest.mark.slow_cases
@pytest.mark.parametrize("models", [1, 5, 9])
def test_figure2_shows_any_number_of_models(tmp_path, models):
    curves.figure2(tmp_path / "figure2.png", rows(models))
    check(tmp_path / "figure2.png", width=7)


@pytest.mark.slow_cases
@pytest.mark.parametrize("radii", [(0.0,), (0.0, 1.5)])
@pytest.mark.parametrize("image_norm", [20.0, float("nan")])
def test_figure2_does_without_attacks_or_reference(tmp_path, radii, image_norm):
    curves.figure2(tmp_path / "figure2.png", rows(2, radii, image_norm))
    check(tmp_path / "figure2.png")


def test_figure2_shows_the_bounds_that_are_near_what_was_measured(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: drawn.append(figure))
    factors = {"model_0": 1.2, "model_1": 40.0, "model_2": np.nan}
    bounded = [{**row, "bound": factors[row["model"]] * row["norm"]} for row in rows()]
    curves.figure2(tmp_path / "figure2.png", bounded)
    curves.figure2(tmp_path / "figure2.png", rows())
    panels = [figure.axes[0] for figure in drawn]
    dashed = [[line for line in axes.lines if line.get_marker() == "None"] for axes in panels]
    assert [len(lines) for lines in dashed] == [2, 0]
    bound, in_legend = dashed[0]
    np.testing.assert_allclose(bound.get_xydata(), [[0, 0], [1.5, 1.8], [3.5, 4.2]])
    assert bound.get_color() == panels[0].lines[0].get_color()
    assert in_legend.get_label() == "certified" and not len(in_legend.get_xdata())
    assert panels[0].get_ylim()[1] < 10


def test_the_band_of_figure2_is_the_middle_half_of_the_images():
    values = [1.0, 2.0, 3.0, 10.0, 4.0]
    chosen = [{"radius": 2.0, "norm": 1.9, "effect": value} for value in values]
    np.testing.assert_allclose(curves.curve(chosen, "effect"), [[1.9, 4.0, 2.0, 4.0]])


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape, with_reference, attacked",
    [
        ((48, 32), True, True),
        ((32, 32), True, False),
        ((160, 92), False, True),
        ((32, 48), False, False),
    ],
)
def test_figure3_has_a_row_a_model(tmp_path, shape, with_reference, attacked):
    reference = image(np.random.default_rng(0), *shape)
    heights = []
    for count in (1, 3):
        path = tmp_path / f"figure3_{count}.png"
        paper.figure3(
            path, reference if with_reference else None, examples(reference, count, attacked)
        )
        heights.append(check(path).shape[0])
    assert heights[1] > 2 * heights[0]


def test_figure3_tells_how_many_models_it_leaves_out(tmp_path):
    reference = image(np.random.default_rng(0))
    pictures = []
    for left_out in (0, 6):
        path = tmp_path / f"figure3_{left_out}.png"
        paper.figure3(path, reference, examples(reference, 2), left_out)
        pictures.append(check(path))
    height = len(pictures[0])
    assert np.array_equal(pictures[0][: height // 2], pictures[1][: height // 2])
    assert not np.array_equal(pictures[0], pictures[1])


def test_figure4_has_room_for_the_models_that_are_drawn_last(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(curves.Figure, "savefig", lambda figure, path: drawn.append(figure))
    found = rows(5)
    for number, row in enumerate(found):
        row["effect"] = number * row["radius"]
    attacked = [row for row in found if row["radius"]]
    curves.figure4(tmp_path / "figure4.png", found, {"another": attacked})
    largest = max(row["effect"] for row in found)
    assert all(axes.get_ylim()[1] >= largest for axes in drawn[0].axes)


def test_figure3_mixes_runs_with_and_without_attacks_and_radii(tmp_path):
    reference = image(np.random.default_rng(0))
    mixed = examples(reference, 2, attacked=False)[:1] + examples(reference, 2, radii=(1.5, 3.5))
    paper.figure3(tmp_path / "figure3.png", reference, mixed)
    check(tmp_path / "figure3.png")


def test_the_zoomed_region_holds_the_largest_error_of_the_object_and_not_the_background():
    truth = np.zeros((96, 72))
    truth[20:80, 15:60] = 1
    error = np.zeros_like(truth)
    error[40:46, 30:36], error[2:8, 2:8] = 1, 3
    top, left, height, width = insets.region_of(error, truth)
    assert top <= 40 and top + height >= 46 and left <= 30 and left + width >= 36
    assert top > 0 and top + height < 96 and left > 0 and left + width < 72


@pytest.mark.parametrize("rmse", ["1.51", "0.384", "0.000123"])
def test_a_text_beside_an_inset_does_not_reach_it(rmse):
    figure = Figure(figsize=(1.2, 1.2))
    axes = figure.add_axes((0, 0, 1, 1))
    shown, region = np.zeros((40, 40)), insets.Region(5, 30, 8, 8)
    insets.show_with_inset(axes, shown, (0, 1), "gray", region, "yellow")
    insets.write_beside(axes, f"RMSE {rmse}\nSSIM 0.980", region, shown.shape)
    figure.canvas.draw()
    text, (inset,) = axes.texts[0], axes.child_axes
    assert inset.get_window_extent().x1 <= text.get_window_extent().x0


@pytest.mark.parametrize("filters", [3, 24])
def test_a_stages_picture_has_a_cell_a_filter(tmp_path, filters):
    rng, x = np.random.default_rng(0), np.linspace(-0.3, 0.3, 101)
    phi, counts = (
        np.sin(20 * x)[:, None] * rng.normal(size=filters),
        rng.integers(0, 9, (40, filters)),
    )
    stages.stage_picture(
        tmp_path / "stage.png", "stage 1", rng.normal(size=(7, 7, 2, filters)), x, phi, counts
    )
    picture = check(tmp_path / "stage.png")
    assert (picture.shape[0] > 300) == (filters > 16)


def test_drawing_leaves_the_users_matplotlib_settings_alone(tmp_path):
    with matplotlib.rc_context({"font.size": 17}):
        before = dict(matplotlib.rcParams)
        curves.figure2(tmp_path / "figure2.png", rows(2))
        assert dict(matplotlib.rcParams) == before


def test_importing_needs_no_pyplot():
    # The file on its own: TensorFlow takes its time.
    code = (
        f"import runpy, sys; runpy.run_path({paper.__file__!r}); sys.exit('matplotlib.pyplot' in"
        " sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_figure3_shows_the_chosen_models_or_the_first_ones():
    shown = [
        writing._shown(examples(image(np.random.default_rng(0)), 8), names)
        for names in ((), ("model_7", "model_0"))
    ]
    names = [[example.name for example in one] for one in shown]
    assert names == [[f"model_{number}" for number in range(6)], ["model_7", "model_0"]]
    with pytest.raises(ValueError, match=r"each once: a, b. Received: show=\['a', 'a'\]"):
        writing.check_shown(["a", "a"], ["a", "b"])


@pytest.mark.slow
def test_targets_are_drawn_one_attack_a_row(tmp_path):
    rng = np.random.default_rng(3)
    clean = np.abs(image(rng))
    lesion = clean.copy()
    lesion[20:26, 12:18] += 0.3
    discs = np.array([[10, 8, 4], [10, 20, 4], [30, 12, 4]])
    wanted = [
        Wanted("insert", target=lesion),
        Wanted("effect in a disc", discs=discs, reached=np.array([0.1, 0.4, 0.2])),
        Wanted("one r for all slices"),
    ]
    change = np.abs(image(rng))
    aimed = [
        targets.Aimed("a_$_model", f"attack, radius {number}", clean, lesion, one, change)
        for number, one in enumerate(wanted)
    ]
    targets.targets(tmp_path / "targets.png", aimed)
    check(tmp_path / "targets.png")
    one_row = tmp_path / "one.png"
    targets.targets(one_row, aimed[:1])
    assert imread(one_row).shape[0] < 0.6 * imread(tmp_path / "targets.png").shape[0]
