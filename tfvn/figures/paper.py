"""The paper's figures that are images: the data (1), and a slice as every model sees it (3).

Images are in normalised units, see docs/mathematics.md; magnitudes are shown.
"""

from typing import NamedTuple, Optional

import numpy as np
from matplotlib.figure import Figure

from tfvn.figures.insets import ENLARGED, region_of, show_with_inset, write_beside
from tfvn.figures.panels import OUTLINE, WHITE, Layout, add_bar_beside
from tfvn.figures.style import WIDTH, axes_at, label, shortened, show, styled

__all__ = ["Example", "Panel", "figure1", "figure3"]


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
    """The data: k-space and sensitivity map of one coil, the zero-filled image and the truth.

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
    return Panel(title, magnitude, "gray", (0, np.percentile(magnitude, WHITE)))


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
def figure3(path, reference, examples, left_out=0):
    """A slice as every model sees it, or as the chosen ones do.

    Each model has a row: the truth, the truth + r, its clean and its attacked prediction, and the
    error of the attacked prediction. All images share one grey scale, up to the 99.9th percentile
    of the truth, and all errors another. Insets show the same region everywhere: the one inside the
    object where the first attacked model errs most. Without a reference, the panels that need one
    are left out, and the last column is the change that the attack made.

    Args:
        path: file to write.
        reference: complex (rows, width); None if there is none.
        examples: a list of `Example`.
        left_out: the number of models that are not shown, for the note below.
    """
    grid = _Grid(reference, examples)
    layout = Layout(len(examples), len(grid.columns), examples[0].clean.shape, grid.largest > 0)
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
        add_bar_beside(figure, axes, drawn, grid.word)
    note = (
        f"Grey scale: 0 to {grid.white:.3g}, the 99.9th percentile of the {grid.brightest}. Inset:"
        f" {ENLARGED:.1f} x."
    )
    if left_out:
        note += f" {len(examples)} of {len(examples) + left_out} models."
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
    """What figure 3 shows.

    Args:
        reference, examples: as for `figure3`.

    Attributes:
        columns: a dict from a title to a `_Cell` for each example.
        white: the value that is shown white, a percentile of the image that `brightest` names.
        largest: the value at the end of the scale of errors; 0 without errors.
        word: what the last column shows, "error" or "change".
        region: the `Region` that insets show.
    """

    def __init__(self, reference, examples):
        self.examples = examples
        self.reference = reference
        if reference is None:
            truth = examples[0].clean
            self.brightest, self.word = "clean prediction", "change"
        else:
            truth = np.abs(reference)
            self.brightest, self.word = "ground truth", "error"
        self.white = max(np.percentile(truth, WHITE), 1e-12)
        radii = {example.radius for example in examples if example.attacked is not None}
        self.is_attacked = bool(radii)
        # Where it is the same for all, the titles say it.
        self.norm = ""
        if len(radii) == 1:
            self.norm = f", $\\|r\\|_2 = {radii.pop():g}$"
        errors = [self._error(example) for example in examples]
        there = [error for error in errors if error is not None]
        self.largest = max([np.percentile(np.abs(error), WHITE) for error in there], default=0)
        focus = examples[0].clean
        if there:
            focus = there[0]
        self.region = region_of(focus, truth)
        self.columns = self._images(truth)
        if self.largest > 0:
            cells = [_Cell(error, is_error=True) for error in errors]
            self.columns[self._title_of_errors()] = cells

    def _images(self, truth):
        """All columns but that of the errors."""
        columns = {}
        if self.reference is not None:
            columns["ground truth $y$"] = [_Cell(truth)] * len(self.examples)
        if self.reference is not None and self.is_attacked:
            columns[f"$|y + r|${self.norm}"] = [self._sum(example) for example in self.examples]
        columns["clean $f(k)$"] = [_clean(example) for example in self.examples]
        if self.is_attacked:
            columns["attacked $f(k + Ar)$"] = [self._attacked(one) for one in self.examples]
        return columns

    def _sum(self, example):
        """|y + r|, where there is an attack."""
        if example.perturbation is None:
            return _Cell(None)
        return _Cell(np.abs(self.reference + example.perturbation))

    def _attacked(self, example):
        text = _told(example.attacked_scores)
        if text and not self.norm:
            text += f"\n$\\|r\\|_2={example.radius:g}$"
        return _Cell(example.attacked, text)

    def _title_of_errors(self):
        if self.reference is None:
            return f"attacked $-$ clean{self.norm}"
        if self.is_attacked:
            return "error, attacked"
        return "error, clean"

    def _error(self, example):
        """What the last column shows of a model; None where there is nothing to show.

        It is of the attacked prediction where any model was attacked, and against the clean
        prediction where there is no truth.
        """
        image = example.clean
        if self.is_attacked:
            image = example.attacked
        if self.reference is not None and image is not None:
            return image - np.abs(self.reference)
        if self.is_attacked and image is not None:
            return image - example.clean
        return None


def _clean(example):
    return _Cell(example.clean, _told(example.clean_scores))


def _told(scores):
    """(RMSE, SSIM) as text; "" without a reference or an attack."""
    if not scores or not np.isfinite(scores[0]):
        return ""
    rmse, ssim = scores
    return f"RMSE {rmse:#.3g}\nSSIM {ssim:.3f}"


def _draw_cell(axes, cell, grid):
    """Draws a panel. Returns what was drawn of an error, for the colour bar."""
    if cell.image is None:
        axes.text(0.5, 0.5, "no attack", transform=axes.transAxes, ha="center", color="0.5")
        return None
    if cell.is_error:
        limits = (-grid.largest, grid.largest)
        return show_with_inset(axes, cell.image, limits, "RdBu_r", grid.region, "black")
    show_with_inset(axes, cell.image, (0, grid.white), "gray", grid.region, OUTLINE)
    if cell.text:
        write_beside(axes, cell.text, grid.region, cell.image.shape)
    return None
