"""A part of an image, shown enlarged in a corner of it."""

import re
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.patches import Rectangle
from scipy.ndimage import uniform_filter

from tfvn.figures.style import show

__all__ = ["ENLARGED", "Corner", "Region", "region_of", "show_with_inset", "write_beside"]

# The share of each side of the image that is shown enlarged, and the share that the inset takes.
_REGION, _INSET = 0.2, 0.42
# How many times larger the inset shows it.
ENLARGED = _INSET / _REGION
_MARGIN = 0.03  # of a text, as a share of the image
# The mean width of a letter of a text, in sizes of its font.
_LETTER = 0.62


class Corner(NamedTuple):
    """A corner of an image."""

    is_left: bool
    is_lower: bool


class Region(NamedTuple):
    """A window of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, image):
        """The window's part of an image."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]

    def farthest_corner(self, shape):
        """The `Corner` of an image (rows, width) that is the farthest from the window."""
        is_right = self.left + self.width / 2 > shape[1] / 2
        is_upper = self.top + self.height / 2 < shape[0] / 2
        return Corner(is_left=is_right, is_lower=is_upper)


def region_of(error, image):
    """The `Region` inside the object with the largest mean squared error."""
    size = [max(4, round(_REGION * n)) for n in image.shape]
    brightness = uniform_filter(image, size) / max(np.percentile(image, 99), 1e-12)
    energy = uniform_filter(np.square(error), size) * np.minimum(brightness, 0.2)
    # Whole windows only, a little away from the border, where the outline would not be seen.
    top, left = size[0] // 2 + 2, size[1] // 2 + 2
    inside = energy[top:-top, left:-left]
    row, column = np.unravel_index(np.argmax(inside), inside.shape)
    return Region(row + 2, column + 2, *size)


def show_with_inset(axes, image, limits, colors, region, outline):
    """Shows an image, with a region of it enlarged in the corner farthest from there.

    Args:
        axes, image, limits, colors: as for `tfvn.figures.style.show`.
        region: a `Region`.
        outline: the colour of the lines around it.

    Returns:
        What was drawn of the image.
    """
    corner = region.farthest_corner(image.shape)
    left = bottom = 1 - _INSET
    if corner.is_left:
        left = 0
    if corner.is_lower:
        bottom = 0
    inset = axes.inset_axes((left, bottom, _INSET, _INSET))
    inset.imshow(
        region.of(image),
        cmap=colors,
        vmin=limits[0],
        vmax=limits[1],
        aspect="auto",
        interpolation="nearest",
    )
    inset.set(xticks=[], yticks=[])
    inset.spines[:].set(color=outline, linewidth=0.8)
    frame = Rectangle(
        (region.left - 0.5, region.top - 0.5),
        region.width,
        region.height,
        fill=False,
        edgecolor=outline,
        linewidth=0.8,
    )
    axes.add_patch(frame)
    return show(axes, image, limits, colors)


def write_beside(axes, text, region, shape):
    """Writes a text beside the inset of an image (rows, width), at the same end of the image.

    The region itself is at the other end. The text is smaller where it would reach the inset.
    """
    corner = region.farthest_corner(shape)
    x, across = _MARGIN, "left"
    if corner.is_left:
        x, across = 1 - _MARGIN, "right"
    y, up = 1 - _MARGIN, "top"
    if corner.is_lower:
        y, up = _MARGIN, "bottom"
    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        color="white",
        fontsize=_size_of(text, axes),
        linespacing=1.1,
        ha=across,
        va=up,
        bbox=dict(facecolor="black", alpha=0.45, linewidth=0, pad=1),
    )


def _size_of(text, axes):
    """The size of the font, in points, with which a text fits beside an inset of the axes."""
    width = axes.get_position().width * axes.figure.get_size_inches()[0]
    free = 72 * width * (1 - _INSET - 2 * _MARGIN)
    # Signs of a formula take no place.
    letters = max(len(line) for line in re.sub(r"[$\\_]", "", text).splitlines())
    return min(matplotlib.rcParams["font.size"], free / (_LETTER * letters))
