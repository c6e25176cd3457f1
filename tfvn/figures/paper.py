"""The paper's figures, drawn for a page 7 inches wide: text of 8 points, colours told apart by
colour-blind readers.

Everything is drawn on `matplotlib.figure.Figure` without pyplot: no display is needed and no state
is left behind. Images are in normalised units, see docs/mathematics.md; magnitudes are shown.
"""

import functools
import math
import warnings
from typing import NamedTuple, Optional

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import uniform_filter

__all__ = [
    "Example",
    "curve",
    "deviation",
    "figure1",
    "figure2",
    "figure3",
    "figure4",
    "figure5",
    "stage_picture",
]

_WIDTH = 7.0
_STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "savefig.dpi": 300,
}
# Okabe and Ito's palette, black first; yellow is left out, it is hard to see on white.
_COLORS = ("#000000", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
_MARKERS = "osD^vP*X<>"
_OUTLINE = "#F0E442"
_UNITS = "normalised image units"
# The zoomed region's share of each side of the image, and the inset's: it is shown at about twice
# its size.
_REGION, _INSET = 0.2, 0.42


class Example(NamedTuple):
    """One slice as one model sees it; a row of figure 3.

    name: of the model.
    clean: its prediction, real (rows, width).
    clean_scores: (RMSE, SSIM) of `clean`; NaN without a reference.
    radius, perturbation, attacked, attacked_scores: of an attack with complex r (rows, width); None
    without one.
    """

    name: str
    clean: np.ndarray
    clean_scores: tuple
    radius: Optional[float] = None
    perturbation: Optional[np.ndarray] = None
    attacked: Optional[np.ndarray] = None
    attacked_scores: Optional[tuple] = None


def _styled(draw):
    """Draws with the style above, whatever the user's own settings are, and puts those back."""

    @functools.wraps(draw)
    def styled(*arguments):
        with matplotlib.rc_context(), warnings.catch_warnings():
            # Matplotlib's own use of pyparsing.
            warnings.simplefilter("ignore", DeprecationWarning)
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            draw(*arguments)

    return styled


@_styled
def figure1(path, kspace_coil, sensitivity_map, reference, zero_filled):
    """The data: k-space of one coil, its sensitivity map, the zero-filled image and the ground
    truth.

    Args:
        path: file to write; its suffix says in which format.
        kspace_coil, sensitivity_map: complex (height, width), (rows, width), of the same coil.
            k-space is shown as log10(|k| / max |k|), unsampled entries in the colour of the
            smallest value.
        reference: (rows, width), complex or magnitude; None if there is none.
        zero_filled: (rows, width), complex or magnitude.
    """
    magnitude = np.abs(kspace_coil)
    with np.errstate(divide="ignore"):
        logarithm = np.log10(magnitude / magnitude.max())
    floor = max(np.floor(np.percentile(logarithm[magnitude > 0], 5)), -5.0)
    images = {"zero-filled": np.abs(zero_filled)}
    if reference is not None:
        images["ground truth"] = np.abs(reference)
    panels = [
        ("k-space\n$\\log_{10}|k|$", np.maximum(logarithm, floor), "gray", (floor, 0)),
        (
            "coil map\nmagnitude",
            np.abs(sensitivity_map),
            "viridis",
            (0, np.abs(sensitivity_map).max()),
        ),
        ("coil map\nphase", np.angle(sensitivity_map), "twilight", (-np.pi, np.pi)),
        *[
            (title, image, "gray", (0, np.percentile(image, 99.9)))
            for title, image in images.items()
        ],
    ]
    gap, head, foot = 0.12, 0.36, 0.34
    shares = [image.shape[1] / image.shape[0] for _, image, _, _ in panels]
    height = min((_WIDTH - gap * (len(panels) + 1)) / sum(shares), 3.5)
    figure = Figure((height * sum(shares) + gap * (len(panels) + 1), head + height + foot))
    left = gap
    for (title, image, colors, limits), share in zip(panels, shares):
        axes = _axes(figure, left, foot, height * share, height)
        drawn = _show(axes, image, limits, colors)
        axes.set_title(title, pad=3)
        bar_axes = _axes(figure, left, foot - 0.11, height * share, 0.06)
        bar = figure.colorbar(drawn, cax=bar_axes, orientation="horizontal")
        bar.set_ticks(
            limits,
            labels=["$-\\pi$", "$\\pi$"] if colors == "twilight" else [f"{x:.2g}" for x in limits],
        )
        bar.ax.tick_params(length=2, pad=1)
        # The labels of two bars must not meet.
        bar.ax.get_xticklabels()[0].set_horizontalalignment("left")
        bar.ax.get_xticklabels()[1].set_horizontalalignment("right")
        left += height * share + gap
    figure.savefig(path)


@_styled
def figure2(path, rows):
    """Perturbation effect ||f(k + A r) - f(k)|| and error || f(k + A r) - |y| || against ||r||,
    with 25 to 75 % bands.

    Args:
        path: file to write.
        rows: one dict an image, as in `results.csv`: `model`, `radius` (0: clean), `norm` = ||r||,
            `effect`, `rmse` (NaN without a reference) and `image_norm` = ||y||.
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    many = len(models) > len(_COLORS)
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.92, len(models))) if many else _COLORS
    # As many names side by side as fit at 8 points.
    columns = min(len(models), max(1, int(_WIDTH / (0.55 + 0.065 * max(map(len, models))))))
    figure = Figure((_WIDTH, 3.0 + 0.2 * math.ceil(len(models) / columns)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08)
    panels = figure.subplots(1, 2)
    norms = [row["image_norm"] for row in rows if np.isfinite(row["image_norm"])]
    for axes, key, title in zip(panels, ("effect", "rmse"), ("perturbation effect", "error")):
        empty = True
        for number, model in enumerate(models):
            points = curve([row for row in rows if row["model"] == model], key)
            if len(points) == 0 or (key == "effect" and len(points) < 2):
                continue
            empty = False
            x, mean, low, high = points.T
            marker, color = _MARKERS[number % len(_MARKERS)], colors[number]
            axes.fill_between(x, low, high, color=color, alpha=0.14, linewidth=0)
            edge = dict(markersize=4.5, markeredgecolor="white", markeredgewidth=0.5)
            axes.plot(x, mean, color=color, marker=marker, label=model, clip_on=False, **edge)
        axes.set_xlabel(f"$\\|r\\|_2$ ({_UNITS})")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(linewidth=0.4, alpha=0.4)
        formula = (
            "$\\|f(k + Ar) - f(k)\\|_2$" if key == "effect" else "$\\|f(k + Ar) - |y|\\,\\|_2$"
        )
        axes.set_ylabel(f"{title} {formula}")
        axes.set(xlim=(0, None), ylim=(0, None))
        if empty:
            axes.set(xticks=[], yticks=[])
            reason = "no attacks" if key == "effect" else "no reference"
            axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center")
        elif norms:
            percent = np.mean(norms) / 100
            upper = axes.secondary_xaxis(
                "top", functions=(lambda x, p=percent: x / p, lambda x, p=percent: x * p)
            )
            upper.set_xlabel("% of the mean image norm")
    handles = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    if handles:
        figure.legend(
            handles.values(), handles, loc="outside lower center", ncols=columns, frameon=False
        )
    figure.savefig(path)


def curve(rows, key):
    """Mean norm, and mean, 25th and 75th percentile of a key, for each radius with numbers: (radii,
    4).
    """
    points = []
    for radius in sorted({row["radius"] for row in rows}):
        chosen = [row for row in rows if row["radius"] == radius and np.isfinite(row[key])]
        if chosen:
            values = [row[key] for row in chosen]
            norm = np.mean([row["norm"] for row in chosen])
            points.append([norm, np.mean(values), *np.percentile(values, [25, 75])])
    return np.array(points)


@_styled
def figure4(path, rows):
    """Effect against ||r|| of the projected attack (line: mean, band: 25 to 75 %) and of that of
    Antun et al. (points:
    slices, dashed: mean of each rung), a panel a model, all on one scale.

    Args:
        path: file to write.
        rows: one dict an image, as in `results.csv`: `model`, `attack`, `radius`, `steps`, `norm`
            and `effect`.
    """
    models = list(dict.fromkeys(row["model"] for row in rows if row["attack"] == "antun"))
    columns = min(3, len(models))
    lines = math.ceil(len(models) / columns)
    figure = Figure((_WIDTH, 0.5 + 2.0 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes, model in zip(panels.flat, models):
        own = [row for row in rows if row["model"] == model]
        x, mean, low, high = curve(
            [row for row in own if row["attack"] in ("none", "l2")], "effect"
        ).T
        axes.fill_between(x, low, high, color=_COLORS[1], alpha=0.2, linewidth=0)
        axes.plot(
            x,
            mean,
            color=_COLORS[1],
            marker="o",
            markersize=3.5,
            label="projected on the ball",
            clip_on=False,
        )
        ladder = [{**row, "radius": row["steps"]} for row in own if row["attack"] == "antun"]
        axes.plot(
            [row["norm"] for row in ladder],
            [row["effect"] for row in ladder],
            "s",
            color=_COLORS[4],
            markersize=2.5,
            alpha=0.5,
        )
        x, mean, _, _ = curve(ladder, "effect").T
        axes.plot(
            x,
            mean,
            "--",
            color=_COLORS[4],
            marker="s",
            markersize=3.5,
            label="Antun et al. (penalty)",
        )
        axes.set_title(_shortened(model, _WIDTH / columns))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(linewidth=0.4, alpha=0.4)
        axes.set(xlim=(0, None), ylim=(0, None))
    for axes in panels.flat[len(models) :]:
        axes.set_visible(False)
    figure.supxlabel(f"$\\|r\\|_2$ ({_UNITS})", fontsize=8)
    figure.supylabel("effect $\\|f(k + Ar) - f(k)\\|_2$", fontsize=8)
    figure.legend(
        *panels.flat[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=2,
        frameon=False,
    )
    figure.savefig(path)


@_styled
def figure5(path, rows):
    """Error, effect and spread of smoothed predictions against the number of draws K, a line a
    model, both axes logarithmic but the first's value.

    Args:
        path: file to write.
        rows: dicts of `model`, `num_samples`, `rmse_clean`, `rmse_attacked`, `effect` and `spread`
            (NaN where unknown).
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure = Figure((_WIDTH, 2.9), layout="constrained")
    panels = figure.subplots(1, 3)
    titles = {
        "rmse": "RMSE (dashed: attacked)",
        "effect": "perturbation effect",
        "spread": "Monte Carlo spread",
    }
    for axes, (key, title) in zip(panels, titles.items()):
        for number, model in enumerate(models):
            own = sorted(
                (row for row in rows if row["model"] == model), key=lambda row: row["num_samples"]
            )
            x = [row["num_samples"] for row in own]
            style = dict(
                color=_COLORS[number % len(_COLORS)],
                marker=_MARKERS[number % len(_MARKERS)],
                markersize=4,
            )
            for column, line in (
                ((f"{key}_clean", "-"), (f"{key}_attacked", "--"))
                if key == "rmse"
                else ((key, "-"),)
            ):
                axes.plot(
                    x,
                    [row[column] for row in own],
                    line,
                    label=model if line == "-" else None,
                    **style,
                )
        axes.set_xscale("log", base=3)
        axes.set_xticks(x, [str(value) for value in x])
        axes.minorticks_off()
        axes.set_title(title)
        axes.set_xlabel("draws $K$")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(linewidth=0.4, alpha=0.4)
    panels[2].set_yscale("log")
    effects = [row["effect"] for row in rows if np.isfinite(row["effect"])]
    panels[1].set_ylim(0, 1.15 * max(effects, default=1))
    axis = panels[2].yaxis
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(5, len(models)),
        frameon=False,
    )
    figure.savefig(path)


@_styled
def figure3(path, reference, examples):
    """A row a model: truth, truth + r, its clean and attacked prediction, and the error of the
    attacked prediction.

    All images share one grey scale, up to the 99.9th percentile of the truth, all errors another.
    Insets show the same
    region everywhere: the one inside the object where the first attacked model errs most. Without a
    reference, the panels that need one are left out and the last column is the change that the
    attack made.

    Args:
        path: file to write.
        reference: complex (rows, width); None if there is none.
        examples: a list of `Example`.
    """
    truth = None if reference is None else np.abs(reference)
    attacked = [example for example in examples if example.attacked is not None]
    radii = {example.radius for example in attacked}
    norm = f", $\\|r\\|_2 = {radii.pop():g}$" if len(radii) == 1 else ""
    scale = (0, max(np.percentile(examples[0].clean if truth is None else truth, 99.9), 1e-12))
    maps = [_difference(example, truth, bool(attacked)) for example in examples]
    largest = max(
        (np.percentile(np.abs(error), 99.9) for error in maps if error is not None), default=0
    )
    focus = next((error for error in maps if error is not None), None)
    region = _region(
        examples[0].clean if focus is None else focus, examples[0].clean if truth is None else truth
    )

    # Title, and an image and scores for each model.
    columns = []
    if truth is not None:
        columns.append(("ground truth $y$", [truth] * len(examples), None))
        sums = [
            None if e.perturbation is None else np.abs(reference + e.perturbation) for e in examples
        ]
        columns += [("$|y + r|$" + norm, sums, None)] if attacked else []
    columns.append(
        ("clean $f(k)$", [e.clean for e in examples], [e.clean_scores for e in examples])
    )
    if attacked:
        columns.append(
            (
                "attacked $f(k + Ar)$",
                [e.attacked for e in examples],
                [e.attacked_scores for e in examples],
            )
        )
    if largest > 0:
        title = (
            f"error, {'attacked' if attacked else 'clean'}"
            if truth is not None
            else "attacked $-$ clean" + norm
        )
        columns.append((title, maps, None))

    rows, width = examples[0].clean.shape
    gap, head, foot, side, bar_side = 0.04, 0.24, 0.2, 0.22, 0.74 if largest > 0 else 0.04
    panel = min((_WIDTH - side - bar_side - gap * (len(columns) - 1)) / len(columns), 2.2)
    step = panel * rows / width + gap
    # Wide enough for the note below.
    total = max(side + bar_side + (panel + gap) * len(columns) - gap, 4.8)
    figure = Figure((total, head + step * len(examples) + foot))
    for row, example in enumerate(examples):
        bottom = foot + gap / 2 + (len(examples) - 1 - row) * step
        for column, (title, images, scores) in enumerate(columns):
            axes = _axes(figure, side + column * (panel + gap), bottom, panel, step - gap)
            if row == 0:
                axes.set_title(title, pad=4)
            if column == 0:
                axes.set_ylabel(_shortened(example.name, step), labelpad=3)
            if images[row] is None:
                axes.text(0.5, 0.5, "no attack", transform=axes.transAxes, ha="center", color="0.5")
            elif images is maps:
                drawn = _show_with_inset(
                    axes, images[row], (-largest, largest), "RdBu_r", region, "black"
                )
            else:
                _show_with_inset(axes, images[row], scale, "gray", region, _OUTLINE)
            if scores and scores[row] and np.isfinite(scores[row][0]):
                text = f"RMSE {scores[row][0]:#.3g}\nSSIM {scores[row][1]:.3f}"
                # Where the title cannot say the norm, the panel does.
                differs = images[row] is example.attacked and not norm
                _print(
                    axes,
                    text + (f"\n$\\|r\\|_2={example.radius:g}$" if differs else ""),
                    region,
                    images[row].shape,
                )
    if largest > 0:
        height = min(step * len(examples) - gap, 3.0)
        middle = foot + step * len(examples) / 2
        left = side + (panel + gap) * len(columns) + 0.03
        bar = figure.colorbar(drawn, cax=_axes(figure, left, middle - height / 2, 0.08, height))
        bar.set_label(f"{'change' if truth is None else 'error'} (image units)", labelpad=1)
        bar.ax.tick_params(length=2, pad=1)
        bar.locator = MaxNLocator(5)
        bar.update_ticks()
    source = "clean prediction" if truth is None else "ground truth"
    note = (
        f"Grey scale: 0 to {scale[1]:.3g}, the 99.9th percentile of the {source}. Inset:"
        f" {_INSET / _REGION:.1f} x."
    )
    figure.text(side / figure.get_figwidth(), 0.06 / figure.get_figheight(), note)
    figure.savefig(path)


@_styled
def stage_picture(path, name, kernel, x, phi, counts):
    """A stage's parameters, a cell a filter: real and imaginary part of its kernel, below them its
    activation function.

    Args:
        path: file to write, or a binary stream, which becomes PNG.
        name: of the stage, for the title.
        kernel: (kernel_size, kernel_size, 2, filters), all on one grey scale, symmetric about 0.
        x, phi: (points,) and (points, filters), the activation functions phi(x), all on one scale.
        counts: (bins, filters), histogram of their inputs over the range of x; each is drawn as
            high as its cell.
    """
    side, filters = kernel.shape[0], kernel.shape[-1]
    columns = min(8, filters)
    lines = math.ceil(filters / columns)
    # In pixels of the kernels: a cell is two kernels wide, and as high again for the function.
    gap = max(1, round(side / 5))
    width, step = 2 * side + 1, (2 * side + 1 + gap, 2 * side + 1 + 2 * gap)
    montage = np.full((lines * step[1], columns * step[0]), np.nan)
    curves, areas, crosses, boxes = [], [], [], []
    largest, range_ = max(np.abs(phi).max(), 1e-12), x[-1]
    edges = np.repeat(np.linspace(0, width, len(counts) + 1), 2)[1:-1]
    for number in range(filters):
        top, left = number // columns * step[1], number % columns * step[0]
        montage[top : top + side, left : left + side] = kernel[:, :, 0, number]
        montage[top : top + side, left + side + 1 : left + width] = kernel[:, :, 1, number]
        # Rows count downwards, from pixel centre to pixel centre.
        left, top = left - 0.5, top + side + 0.5
        bottom, middle = top + side, top + side / 2
        heights = np.repeat(counts[:, number] / max(counts[:, number].max(), 1), 2)
        areas.append(
            [
                (left, bottom),
                *zip(left + edges, bottom - 0.95 * side * heights),
                (left + width, bottom),
            ]
        )
        curves.append(
            np.stack(
                [
                    left + (x / range_ + 1) / 2 * width,
                    middle - 0.47 * side * phi[:, number] / largest,
                ],
                1,
            )
        )
        crosses += [
            [(left, middle), (left + width, middle)],
            [(left + width / 2, top), (left + width / 2, bottom)],
        ]
        boxes.append([(left, top), (left + width, top), (left + width, bottom), (left, bottom)])
    shape, head = montage.shape, 0.46
    inches = 0.8 * columns
    figure = Figure((max(inches + 0.12, 4.6), inches * shape[0] / shape[1] + head))
    axes = _axes(figure, 0.06, 0.04, inches, inches * shape[0] / shape[1])
    limit = max(np.abs(kernel).max(), 1e-12)
    _show(axes, montage, (-limit, limit), "gray")
    axes.add_collection(PolyCollection(areas, facecolors=_COLORS[6], alpha=0.35, linewidths=0))
    axes.add_collection(LineCollection(crosses, colors="0.6", linewidths=0.4))
    axes.add_collection(LineCollection(curves, colors=_COLORS[0], linewidths=1.0))
    axes.add_collection(PolyCollection(boxes, facecolors="none", edgecolors="0.6", linewidths=0.4))
    text = (
        f"{name}: kernels, real | imaginary, black to white: $\\pm${limit:.2g}\n$\\varphi(x)$ for"
        f" $|x| \\leq {range_:.2g}$, $|\\varphi| \\leq {largest:.2g}$; blue: histogram of its"
        " inputs"
    )
    figure.text(
        0.06 / figure.get_figwidth(),
        1 - 0.06 / figure.get_figheight(),
        text,
        va="top",
        linespacing=1.3,
    )
    figure.savefig(path, dpi=150)


def _shortened(name, inches):
    """A name that fits a length at 8 points, its end cut off where it must be."""
    length = max(4, int(inches / 0.07))
    return name if len(name) <= length else name[: length - 3] + "..."


def _difference(example, truth, attacked):
    """What the last column of figure 3 shows of a model: of the attacked prediction where any was
    attacked; or None.
    """
    image, against = (example.attacked, example.clean) if attacked else (example.clean, None)
    against = against if truth is None else truth
    return None if image is None or against is None else image - against


def _region(error, image):
    """(top, left, height, width) of the window inside the object with the largest mean squared
    error.
    """
    size = [max(4, round(_REGION * n)) for n in image.shape]
    share = np.minimum(uniform_filter(image, size) / max(np.percentile(image, 99), 1e-12), 0.2)
    energy = uniform_filter(np.square(error), size) * share
    top, left = (n // 2 for n in size)
    # Whole windows only, a little away from the border, where the outline would not be seen.
    inside = energy[top + 2 : energy.shape[0] - top - 2, left + 2 : energy.shape[1] - left - 2]
    row, column = np.unravel_index(np.argmax(inside), inside.shape)
    return row + 2, column + 2, *size


def _corner(region, shape):
    """The corner farthest from a region: (is it at the left, is it at the bottom)."""
    top, left, height, width = region
    return left + width / 2 > shape[1] / 2, top + height / 2 < shape[0] / 2


@_styled
def deviation(path, image, standard_deviation, white, brightest, note):
    """A smoothed reconstruction and beside it the standard deviation of its draws, in % of what is
    shown as white.

    Args:
        path: file to write.
        image, standard_deviation: (rows, width), in the same units.
        white, brightest: the values at the ends of their scales.
        note: how the draws were made.
    """
    white = white or 1
    percent = 100 * standard_deviation / white
    gap, head, foot, bar, labels = 0.1, 0.42, 0.12, 0.1, 0.5
    width = (_WIDTH - 3 * gap - bar - labels) / 2
    height = width * image.shape[0] / image.shape[1]
    figure = Figure((_WIDTH, head + height + foot))
    panels = [
        ("mean of the draws", image, (0, white), "gray"),
        (
            f"standard deviation of the draws, % of white\n{note}",
            percent,
            (0, 100 * brightest / white),
            "inferno",
        ),
    ]
    for number, (title, shown, limits, colors) in enumerate(panels):
        axes = _axes(figure, gap + number * (width + gap), foot, width, height)
        drawn = _show(axes, shown, (0, limits[1] or 1), colors)
        axes.set_title(title, pad=3)
    figure.colorbar(drawn, cax=_axes(figure, 3 * gap + 2 * width, foot, bar, height))
    figure.savefig(path)


def _axes(figure, left, bottom, width, height):
    """Axes at a place given in inches, without ticks."""
    total = figure.get_size_inches()
    axes = figure.add_axes(
        (left / total[0], bottom / total[1], width / total[0], height / total[1])
    )
    axes.set(xticks=[], yticks=[])
    return axes


def _show(axes, image, limits, colors):
    axes.spines[:].set_visible(False)
    # Averaging neighbouring pixels would draw lines where the phase wraps.
    interpolation = "nearest" if colors == "twilight" else "antialiased"
    return axes.imshow(
        image,
        cmap=colors,
        vmin=limits[0],
        vmax=limits[1],
        aspect="equal",
        interpolation=interpolation,
    )


def _show_with_inset(axes, image, limits, colors, region, outline):
    top, left, height, width = region
    at_left, at_bottom = _corner(region, image.shape)
    inset = axes.inset_axes(
        (0 if at_left else 1 - _INSET, 0 if at_bottom else 1 - _INSET, _INSET, _INSET)
    )
    window = image[top : top + height, left : left + width]
    inset.imshow(
        window, cmap=colors, vmin=limits[0], vmax=limits[1], aspect="auto", interpolation="nearest"
    )
    inset.set(xticks=[], yticks=[])
    inset.spines[:].set(color=outline, linewidth=0.8)
    axes.add_patch(
        Rectangle(
            (left - 0.5, top - 0.5), width, height, fill=False, edgecolor=outline, linewidth=0.8
        )
    )
    return _show(axes, image, limits, colors)


def _print(axes, text, region, shape):
    # Beside the inset, at the same end of the image, the region being at the other one.
    at_left, at_bottom = _corner(region, shape)
    axes.text(
        0.97 if at_left else 0.03,
        0.03 if at_bottom else 0.97,
        text,
        transform=axes.transAxes,
        color="white",
        linespacing=1.1,
        ha="right" if at_left else "left",
        va="bottom" if at_bottom else "top",
        bbox=dict(facecolor="black", alpha=0.45, linewidth=0, pad=1),
    )
