"""The picture of a stage's parameters: its kernels and its activation functions."""

import math

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure

from tfvn.figures.style import COLORS, axes_at, show, styled

__all__ = ["stage_picture"]

_MOST_COLUMNS, _COLUMN_INCHES = 8, 0.8
_MARGIN, _HEAD = 0.06, 0.46  # in inches


@styled
def stage_picture(path, name, kernel, x, phi, counts):
    """A stage's parameters.

    Each filter has a cell with the real and the imaginary part of its kernel, and below them its
    activation function.

    Args:
        path: file to write, or a binary stream, which becomes PNG.
        name: of the stage, for the title.
        kernel: (kernel_size, kernel_size, 2, filters), all on one grey scale, symmetric about 0.
        x, phi: (points,) and (points, filters), the activation functions phi(x), all on one scale.
        counts: (bins, filters), histogram of their inputs over the range of x; each is drawn as
            high as its cell.
    """
    cells = _Cells(kernel.shape[0], kernel.shape[-1])
    limit, largest = max(np.abs(kernel).max(), 1e-12), max(np.abs(phi).max(), 1e-12)
    inches = _COLUMN_INCHES * cells.columns
    height = inches * cells.height / cells.width
    figure = Figure((max(inches + 2 * _MARGIN, 4.6), height + _HEAD))
    axes = axes_at(figure, _MARGIN, 0.04, inches, height)
    show(axes, cells.montage(kernel), (-limit, limit), "gray")
    boxes = [cells.box(number) for number in range(cells.filters)]
    areas, curves, crosses = [], [], []
    for number, box in enumerate(boxes):
        areas.append(box.histogram(counts[:, number]))
        curves.append(box.curve(x / x[-1], phi[:, number] / largest))
        crosses += box.cross()
    frames = [box.frame() for box in boxes]
    axes.add_collection(PolyCollection(areas, facecolors=COLORS[6], alpha=0.35, linewidths=0))
    axes.add_collection(LineCollection(crosses, colors="0.6", linewidths=0.4))
    axes.add_collection(LineCollection(curves, colors=COLORS[0], linewidths=1.0))
    axes.add_collection(PolyCollection(frames, facecolors="none", edgecolors="0.6", linewidths=0.4))
    text = (
        f"{name}: kernels, real | imaginary, black to white: $\\pm${limit:.2g}\n$\\varphi(x)$ for"
        f" $|x| \\leq {x[-1]:.2g}$, $|\\varphi| \\leq {largest:.2g}$; blue: histogram of its inputs"
    )
    left, top = _MARGIN / figure.get_figwidth(), 1 - _MARGIN / figure.get_figheight()
    figure.text(left, top, text, va="top", linespacing=1.3)
    figure.savefig(path, dpi=150)


class _Cells:
    """Where the filters of a stage are drawn, in pixels of their kernels.

    A cell is two kernels wide, with a pixel between them. Below the kernels is a box, as high as a
    kernel, for the activation function.

    Args:
        side: of a kernel.
        filters: their number.
    """

    def __init__(self, side, filters):
        self.side, self.filters = side, filters
        self.columns = min(_MOST_COLUMNS, filters)
        self.lines = math.ceil(filters / self.columns)
        self.gap = max(1, round(side / 5))
        self.cell = 2 * side + 1
        self.width = self.columns * (self.cell + self.gap)
        self.height = self.lines * (self.cell + 2 * self.gap)

    def corner(self, number):
        """The upper left pixel of a cell, (row, column)."""
        line, column = divmod(number, self.columns)
        return line * (self.cell + 2 * self.gap), column * (self.cell + self.gap)

    def montage(self, kernel):
        """All kernels as one image, NaN where there is none."""
        image = np.full((self.height, self.width), np.nan)
        for number in range(self.filters):
            top, left = self.corner(number)
            real = image[top : top + self.side, left : left + self.side]
            imaginary = image[top : top + self.side, left + self.side + 1 : left + self.cell]
            real[:] = kernel[:, :, 0, number]
            imaginary[:] = kernel[:, :, 1, number]
        return image

    def box(self, number):
        """The `_Box` below a filter's kernels."""
        top, left = self.corner(number)
        # Coordinates run from pixel centre to pixel centre.
        return _Box(left - 0.5, top + self.side + 0.5, self.cell, self.side)


class _Box:
    """A rectangle in the coordinates of an image, whose rows count downwards."""

    def __init__(self, left, top, width, height):
        self.left, self.top, self.width, self.height = left, top, width, height
        self.right, self.bottom = left + width, top + height
        self.center, self.middle = left + width / 2, top + height / 2

    def frame(self):
        """Its corners."""
        return [
            (self.left, self.top),
            (self.right, self.top),
            (self.right, self.bottom),
            (self.left, self.bottom),
        ]

    def cross(self):
        """The two lines x = 0 and phi = 0."""
        horizontal = [(self.left, self.middle), (self.right, self.middle)]
        vertical = [(self.center, self.top), (self.center, self.bottom)]
        return [horizontal, vertical]

    def curve(self, x, y):
        """A curve of x and y from -1 to 1, (points, 2)."""
        across = self.left + (x + 1) / 2 * self.width
        down = self.middle - 0.47 * self.height * y
        return np.stack([across, down], 1)

    def histogram(self, counts):
        """The outline of a histogram, as high as the box, as a list of points."""
        heights = np.repeat(counts / max(counts.max(), 1), 2)
        edges = np.repeat(np.linspace(0, self.width, len(counts) + 1), 2)[1:-1]
        across = self.left + edges
        up = self.bottom - 0.95 * self.height * heights
        return [(self.left, self.bottom), *zip(across, up), (self.right, self.bottom)]
