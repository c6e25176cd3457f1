"""The figure of attacks that wanted something of a part of the image, or of all slices at once."""

from typing import NamedTuple

import numpy as np
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from tfvn.figures.insets import region_of, show_with_inset, write_beside
from tfvn.figures.panels import OUTLINE, WHITE, Layout, add_bar_beside
from tfvn.figures.style import axes_at, label, shortened, show, styled
from tfvn.tables import digits

__all__ = ["Aimed", "targets"]

_TITLES = (
    "clean $f(k)$",
    "what was wanted",
    "attacked",
    "attacked $-$ clean",
    "change of the data",
)


class Aimed(NamedTuple):
    """A row of the figure: one model under one attack.

    model: its name.
    title: what the attack is called.
    clean, attacked: the answers, real (rows, width).
    wanted: a `tfvn.attacks.result.Wanted`.
    change: the change of the zero-filled image A^H k, magnitude (rows, width).
    """

    model: str
    title: str
    clean: np.ndarray
    attacked: np.ndarray
    wanted: object
    change: np.ndarray

    @property
    def difference(self):
        """What the attack did."""
        return self.attacked - self.clean


@styled
def targets(path, rows):
    """A slice under attacks that have a target, or attack discs or all slices at once.

    Images share one grey scale, and differences another. Discs are coloured by what was reached in
    them, and the worst has an outline. Insets show where the target differs from the clean answer,
    or where the answer has changed most.

    Args:
        path: file to write.
        rows: a list of `Aimed`.
    """
    layout = Layout(len(rows), len(_TITLES), rows[0].clean.shape, with_bar=True)
    figure = Figure(layout.size)
    white = max(np.percentile(row.clean, WHITE) for row in rows)
    largest = max(np.percentile(np.abs(row.difference), WHITE) for row in rows)
    for number, row in enumerate(rows):
        places = [layout.place(number, column) for column in range(len(_TITLES))]
        axes = [axes_at(figure, *place) for place in places]
        name = shortened(label(row.model), layout.step)
        axes[0].set_ylabel(name, labelpad=3)
        drawn = _draw_row(axes, row, (0, white), (-largest, largest))
        if number == 0:
            for one, title in zip(axes, _TITLES):
                one.set_title(title, pad=4)
    add_bar_beside(figure, axes_at(figure, *layout.bar_place()), drawn, "change")
    note = f"Grey scale: 0 to {white:.3g}."
    figure.text(layout.side / layout.size[0], 0.06 / layout.size[1], note)
    figure.savefig(path)


def _draw_row(axes, row, grey, limits):
    """Draws the panels of a row. Returns the drawn difference, for the colour bar."""
    region, shape = _region(row), row.clean.shape
    for place, image in ((0, row.clean), (2, row.attacked)):
        show_with_inset(axes[place], image, grey, "gray", region, OUTLINE)
    write_beside(axes[0], label(row.title).replace(", ", "\n"), region, shape)
    _draw_wanted(axes[1], row, grey, region)
    show(axes[4], row.change, (0, row.change.max()), "viridis")
    write_beside(axes[4], f"up to {digits(row.change.max())}", region, shape)
    return show_with_inset(axes[3], row.difference, limits, "RdBu_r", region, "black")


def _draw_wanted(axes, row, grey, region):
    """Draws the target or the discs, or says in words what was wanted."""
    wanted = row.wanted
    if wanted.target is None and wanted.discs is None:
        axes.text(0.5, 0.5, wanted.text, transform=axes.transAxes, ha="center", color="0.5")
        axes.spines[:].set_visible(False)
        return
    if wanted.discs is not None:
        _draw_discs(axes, row, grey)
    else:
        show_with_inset(axes, wanted.target, grey, "gray", region, OUTLINE)
    write_beside(axes, wanted.text, region, row.clean.shape)


def _region(row):
    """The part of the image that insets show."""
    focus = row.difference
    if row.wanted.target is not None:
        focus = row.wanted.target - row.clean
    if row.wanted.discs is not None:
        middle, column, radius = _worst(row.wanted)
        rows, columns = np.ogrid[: focus.shape[0], : focus.shape[1]]
        focus = 1.0 * ((rows - middle) ** 2 + (columns - column) ** 2 <= radius**2)
    return region_of(focus, row.clean)


def _worst(wanted):
    return wanted.discs[np.argmax(wanted.reached)]


def _draw_discs(axes, row, grey):
    """The discs over the clean answer, coloured by what was reached in each."""
    show(axes, row.clean, grey, "gray")
    circles = [Circle((column, middle), radius) for middle, column, radius in row.wanted.discs]
    drawn = PatchCollection(circles, cmap="inferno", alpha=0.6, linewidth=0)
    drawn.set_array(row.wanted.reached)
    drawn.set_clim(row.wanted.reached.min(), row.wanted.reached.max())
    axes.add_collection(drawn)
    middle, column, radius = _worst(row.wanted)
    axes.add_patch(Circle((column, middle), radius, fill=False, edgecolor=OUTLINE, linewidth=1))
