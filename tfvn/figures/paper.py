"""The paper's figures that are images: the data (1), and a slice as every model sees it (3).

Images are in normalised units, see docs/mathematics.md; magnitudes are shown.
"""

from typing import NamedTuple, Optional

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import uniform_filter

from tfvn.figures.style import WIDTH, axes_at, label, shortened, show, styled

__all__ = ["Example", "Panel", "Region", "figure1", "figure3", "region_of"]

_OUTLINE = "#F0E442"
# Brighter pixels, a thousandth of all, are white too.
_WHITE = 99.9
# The share of each side of the image that is shown enlarged, and the share that the inset takes: it
# is shown at about twice its size.
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


class Panel(NamedTuple):
    """An image with a colour bar; a panel of figure 1."""

    title: str
    image: np.ndarray
    colors: str
    limits: tuple


@styled
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
    magnitude, phase = np.abs(sensitivity_map), np.angle(sensitivity_map)
    panels = [
        _kspace_panel(kspace_coil),
        Panel("coil map\nmagnitude", magnitude, "viridis", (0, magnitude.max())),
        Panel("coil map\nphase", phase, "twilight", (-np.pi, np.pi)),
        _grey_panel("zero-filled", zero_filled),
    ]
    if reference is not None:
        panels.append(_grey_panel("ground truth", reference))
    gap, head, foot = 0.12, 0.36, 0.34
    shares = [panel.image.shape[1] / panel.image.shape[0] for panel in panels]
    gaps = gap * (len(panels) + 1)
    height = min((WIDTH - gaps) / sum(shares), 3.5)
    figure = Figure((height * sum(shares) + gaps, head + height + foot))
    left = gap
    for panel, share in zip(panels, shares):
        width = height * share
        axes = axes_at(figure, left, foot, width, height)
        drawn = show(axes, panel.image, panel.limits, panel.colors)
        axes.set_title(panel.title, pad=3)
        bar_axes = axes_at(figure, left, foot - 0.11, width, 0.06)
        _add_bar_below(figure, bar_axes, drawn, panel)
        left += width + gap
    figure.savefig(path)


def _kspace_panel(kspace_coil):
    magnitude = np.abs(kspace_coil)
    with np.errstate(divide="ignore"):
        logarithm = np.log10(magnitude / magnitude.max())
    floor = max(np.floor(np.percentile(logarithm[magnitude > 0], 5)), -5.0)
    shown = np.maximum(logarithm, floor)
    return Panel("k-space\n$\\log_{10}|k|$", shown, "gray", (floor, 0))


def _grey_panel(title, image):
    magnitude = np.abs(image)
    return Panel(title, magnitude, "gray", (0, np.percentile(magnitude, _WHITE)))


def _add_bar_below(figure, axes, drawn, panel):
    """A colour bar with the values of its two ends."""
    if panel.colors == "twilight":
        texts = ["$-\\pi$", "$\\pi$"]
    else:
        texts = [f"{limit:.2g}" for limit in panel.limits]
    bar = figure.colorbar(drawn, cax=axes, orientation="horizontal")
    bar.set_ticks(panel.limits, labels=texts)
    bar.ax.tick_params(length=2, pad=1)
    # The labels of two bars must not meet.
    first, last = bar.ax.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")


@styled
def figure3(path, reference, examples):
    """A row a model: truth, truth + r, its clean and attacked prediction, and the error of the
    attacked prediction.

    All images share one grey scale, up to the 99.9th percentile of the truth, and all errors
    another. Insets show the same region everywhere: the one inside the object where the first
    attacked model errs most. Without a reference, the panels that need one are left out, and the
    last column is the change that the attack made.

    Args:
        path: file to write.
        reference: complex (rows, width); None if there is none.
        examples: a list of `Example`.
    """
    grid = _Grid(reference, examples)
    layout = _Layout(len(examples), len(grid.columns), examples[0].clean.shape, grid.largest > 0)
    figure = Figure(layout.size)
    drawn = None
    for column, (title, cells) in enumerate(grid.columns.items()):
        for row, cell in enumerate(cells):
            axes = axes_at(figure, *layout.place(row, column))
            if row == 0:
                axes.set_title(title, pad=4)
            if column == 0:
                name = shortened(label(examples[row].name), layout.step)
                axes.set_ylabel(name, labelpad=3)
            drawn = _draw_cell(axes, cell, grid) or drawn
    if grid.largest > 0:
        axes = axes_at(figure, *layout.bar_place())
        _add_bar_beside(figure, axes, drawn, "change" if reference is None else "error")
    source = "clean prediction" if reference is None else "ground truth"
    note = (
        f"Grey scale: 0 to {grid.white:.3g}, the 99.9th percentile of the {source}. Inset:"
        f" {_INSET / _REGION:.1f} x."
    )
    figure.text(layout.side / layout.size[0], 0.06 / layout.size[1], note)
    figure.savefig(path)


class _Cell(NamedTuple):
    """A panel of figure 3.

    image: what it shows; None where a model was not attacked.
    text: what is written into it.
    is_error: whether it is a difference, in red and blue, or an image, in grey.
    """

    image: Optional[np.ndarray]
    text: str = ""
    is_error: bool = False


class _Grid:
    """What figure 3 shows: `columns`, a dict from a title to a `_Cell` for each example.

    Args:
        reference, examples: as for `figure3`.
    """

    def __init__(self, reference, examples):
        self.truth = None if reference is None else np.abs(reference)
        radii = {example.radius for example in examples if example.attacked is not None}
        self.attacked = bool(radii)
        # Where it is the same for all, the titles say it.
        self.norm = f", $\\|r\\|_2 = {radii.pop():g}$" if len(radii) == 1 else ""
        errors = [self._error(example) for example in examples]
        there = [error for error in errors if error is not None]
        largest = [np.percentile(np.abs(error), _WHITE) for error in there]
        self.largest = max(largest, default=0)
        truth = examples[0].clean if reference is None else self.truth
        self.white = max(np.percentile(truth, _WHITE), 1e-12)
        self.region = region_of(there[0] if there else examples[0].clean, truth)
        self.columns = self._images(reference, examples)
        if self.largest > 0:
            self.columns[self._title_of_errors()] = [_Cell(error, "", True) for error in errors]

    def _images(self, reference, examples):
        """All columns but that of the errors."""
        columns = {}
        if reference is not None:
            columns["ground truth $y$"] = [_Cell(self.truth)] * len(examples)
        if reference is not None and self.attacked:
            title = f"$|y + r|${self.norm}"
            columns[title] = [_Cell(_sum(reference, example)) for example in examples]
        columns["clean $f(k)$"] = [self._clean(example) for example in examples]
        if self.attacked:
            columns["attacked $f(k + Ar)$"] = [self._attacked(example) for example in examples]
        return columns

    def _clean(self, example):
        return _Cell(example.clean, _told(example.clean_scores))

    def _attacked(self, example):
        text = _told(example.attacked_scores)
        if text and not self.norm:
            text += f"\n$\\|r\\|_2={example.radius:g}$"
        return _Cell(example.attacked, text)

    def _title_of_errors(self):
        if self.truth is None:
            return f"attacked $-$ clean{self.norm}"
        return "error, attacked" if self.attacked else "error, clean"

    def _error(self, example):
        """What the last column shows of a model; None where there is nothing to show.

        It is of the attacked prediction where any model was attacked, and against the clean
        prediction where there is no truth.
        """
        against = self.truth
        if self.truth is None and self.attacked:
            against = example.clean
        image = example.attacked if self.attacked else example.clean
        if image is None or against is None:
            return None
        return image - against


def _sum(reference, example):
    """|y + r|, or None without an attack."""
    return None if example.perturbation is None else np.abs(reference + example.perturbation)


def _told(scores):
    """(RMSE, SSIM) as text; "" without a reference or an attack."""
    if not scores or not np.isfinite(scores[0]):
        return ""
    rmse, ssim = scores
    return f"RMSE {rmse:#.3g}\nSSIM {ssim:.3f}"


class _Layout:
    """Where the panels of figure 3 are, in inches.

    Args:
        rows, columns: numbers of panels.
        shape: (rows, width) of the images.
        with_bar: whether there is a colour bar at the right.
    """

    gap, head, foot, side = 0.04, 0.24, 0.2, 0.22

    def __init__(self, rows, columns, shape, with_bar):
        self.rows, self.columns = rows, columns
        bar_side = 0.74 if with_bar else 0.04
        free = WIDTH - self.side - bar_side - self.gap * (columns - 1)
        self.panel = min(free / columns, 2.2)
        self.step = self.panel * shape[0] / shape[1] + self.gap
        # Wide enough for the note below.
        width = max(self.side + bar_side + (self.panel + self.gap) * columns - self.gap, 4.8)
        self.size = width, self.head + self.step * rows + self.foot

    def place(self, row, column):
        """Left, bottom, width and height of a panel."""
        left = self.side + column * (self.panel + self.gap)
        bottom = self.foot + self.gap / 2 + (self.rows - 1 - row) * self.step
        return left, bottom, self.panel, self.step - self.gap

    def bar_place(self):
        """Left, bottom, width and height of the colour bar."""
        height = min(self.step * self.rows - self.gap, 3.0)
        middle = self.foot + self.step * self.rows / 2
        left = self.side + (self.panel + self.gap) * self.columns + 0.03
        return left, middle - height / 2, 0.08, height


def _draw_cell(axes, cell, grid):
    """Draws a panel. Returns what was drawn of an error, for the colour bar."""
    if cell.image is None:
        axes.text(0.5, 0.5, "no attack", transform=axes.transAxes, ha="center", color="0.5")
        return None
    if cell.is_error:
        limits = (-grid.largest, grid.largest)
        return _show_with_inset(axes, cell.image, limits, "RdBu_r", grid.region, "black")
    _show_with_inset(axes, cell.image, (0, grid.white), "gray", grid.region, _OUTLINE)
    if cell.text:
        _print(axes, cell.text, grid.region, cell.image.shape)
    return None


def _add_bar_beside(figure, axes, drawn, word):
    bar = figure.colorbar(drawn, cax=axes)
    bar.set_label(f"{word} (image units)", labelpad=1)
    bar.ax.tick_params(length=2, pad=1)
    bar.locator = MaxNLocator(5)
    bar.update_ticks()


class Region(NamedTuple):
    """A window of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, image):
        """The window's part of an image."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]

    def is_right(self, shape):
        """Whether it is in the right half of an image."""
        return self.left + self.width / 2 > shape[1] / 2

    def is_upper(self, shape):
        """Whether it is in the upper half of an image."""
        return self.top + self.height / 2 < shape[0] / 2


def region_of(error, image):
    """The `Region` inside the object with the largest mean squared error."""
    size = [max(4, round(_REGION * n)) for n in image.shape]
    brightness = uniform_filter(image, size) / max(np.percentile(image, 99), 1e-12)
    energy = uniform_filter(np.square(error), size) * np.minimum(brightness, 0.2)
    top, left = (n // 2 for n in size)
    # Whole windows only, a little away from the border, where the outline would not be seen.
    inside = energy[top + 2 : energy.shape[0] - top - 2, left + 2 : energy.shape[1] - left - 2]
    row, column = np.unravel_index(np.argmax(inside), inside.shape)
    return Region(row + 2, column + 2, *size)


def _show_with_inset(axes, image, limits, colors, region, outline):
    """Shows an image, with a region enlarged in the corner farthest from it."""
    left = 0 if region.is_right(image.shape) else 1 - _INSET
    bottom = 0 if region.is_upper(image.shape) else 1 - _INSET
    inset = axes.inset_axes((left, bottom, _INSET, _INSET))
    scale = dict(cmap=colors, vmin=limits[0], vmax=limits[1])
    inset.imshow(region.of(image), aspect="auto", interpolation="nearest", **scale)
    inset.set(xticks=[], yticks=[])
    inset.spines[:].set(color=outline, linewidth=0.8)
    corner = region.left - 0.5, region.top - 0.5
    frame = dict(fill=False, edgecolor=outline, linewidth=0.8)
    axes.add_patch(Rectangle(corner, region.width, region.height, **frame))
    return show(axes, image, limits, colors)


def _print(axes, text, region, shape):
    """Writes a text into a corner of an image."""
    # Beside the inset, at the same end of the image, the region being at the other one.
    right, lower = region.is_right(shape), region.is_upper(shape)
    axes.text(
        0.97 if right else 0.03,
        0.03 if lower else 0.97,
        text,
        transform=axes.transAxes,
        color="white",
        linespacing=1.1,
        ha="right" if right else "left",
        va="bottom" if lower else "top",
        bbox=dict(facecolor="black", alpha=0.45, linewidth=0, pad=1),
    )
