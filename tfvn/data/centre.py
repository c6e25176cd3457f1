"""The centre of k-space: a block of lines round the zero frequency, and the window on it.

The zero frequency of an axis has the index size // 2.
"""

import numpy as np

__all__ = ["block", "hann_window", "lines_of"]


def lines_of(size, lines):
    """The central lines of an axis, a slice.

    Args:
        size: of the axis. One that is shorter than `lines` is taken whole.
        lines: how many.
    """
    lines = min(size, lines)
    first = size // 2 - lines // 2
    return slice(first, first + lines)


def block(shape, lines):
    """The central block of images or coils: an index of the last two axes of an array.

    Args:
        shape: (height, width) of k-space.
        lines: side of the block, on both axes.
    """
    height, width = shape
    return ..., lines_of(height, lines), lines_of(width, lines)


def hann_window(shape):
    """A Hann window (height, width) that is 0 just outside."""
    height, width = (np.hanning(size + 2)[1:-1] for size in shape)
    return height[:, None] * width
