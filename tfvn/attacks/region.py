"""Regions of an image: where a perturbation may differ from zero, or where a change counts."""

import tensorflow as tf

from tfvn import checks

__all__ = ["check_region", "in_disc", "keep_region", "usual_radius", "window"]

# A disc that nobody sized has a radius of one of this many parts of the shorter side.
_PARTS = 12


def check_region(name, region):
    """The numbers of a region as a tuple; () for all of the image.

    Args:
        name: what it is called in a message.
        region: in pixels, three numbers for a disc (row and column of its centre, and its radius),
            or four for a box (first and last row, first and last column), or none.

    Raises:
        ValueError: for anything else.
    """
    numbers = tuple(checks.whole(name, number, 0) for number in _items(name, region))
    is_disc = len(numbers) == 3
    is_box = len(numbers) == 4 and numbers[0] <= numbers[1] and numbers[2] <= numbers[3]
    if numbers and not is_disc and not is_box:
        raise ValueError(
            f"{name} must be a disc (row, column, radius) or a box (first row, last row, first"
            f" column, last column), in pixels. Received: {name}={checks.shown(region)}"
        )
    return numbers


def _items(name, region):
    if isinstance(region, (tuple, list)):
        return region
    raise ValueError(f"{name} must be a list of numbers. Received: {name}={checks.shown(region)}")


def usual_radius(height, width):
    """The radius of a disc that nobody sized, in pixels: that of a lesion."""
    return min(height, width) // _PARTS


def in_disc(row, column, radius, height, width):
    """Which pixels lie in a disc, bool (height, width).

    Args:
        row, column: its centre, numbers or tensors.
        radius: in pixels.
        height, width: of the image.
    """
    rows, columns = tf.range(height)[:, None], tf.range(width)
    return tf.square(rows - row) + tf.square(columns - column) <= radius**2


def window(region, height, width):
    """Which pixels lie in a region, bool (height, width).

    Args:
        region: numbers that `check_region` has passed.
        height, width: of the image.

    Raises:
        ValueError: for a region that is not inside the image.
    """
    rows, columns = tf.range(height)[:, None], tf.range(width)
    if len(region) == 3:
        row, column, radius = region
        box = (row - radius, row + radius, column - radius, column + radius)
        inside = in_disc(row, column, radius, height, width)
    else:
        box = region
        inside = (rows >= box[0]) & (rows <= box[1]) & (columns >= box[2]) & (columns <= box[3])
    if box[0] < 0 or box[1] >= height or box[2] < 0 or box[3] >= width:
        raise ValueError(
            f"a region must lie inside the image of {height} x {width} pixels. Received: rows"
            f" {box[0]} to {box[1]}, columns {box[2]} to {box[3]}"
        )
    return inside


def keep_region(perturbation, rows=(0.35, 0.75), columns=(0.35, 0.7)):
    """The perturbation with 0 outside a window, as in the figures of Antun et al.

    Args:
        perturbation: (..., rows, width).
        rows: where the window begins and ends, as shares of the height.
        columns: the same, as shares of the width.

    Raises:
        ValueError: for a window that is not inside [0, 1].
    """
    perturbation = tf.convert_to_tensor(perturbation)
    if len(perturbation.shape) < 2:
        raise ValueError(
            "perturbation must have shape (..., rows, width). Received: "
            f"{checks.shown(perturbation)}"
        )
    height, width = perturbation.shape[-2:]
    inside_rows = _inside("rows", rows, height)
    inside_columns = _inside("columns", columns, width)
    inside = inside_rows[:, None] & inside_columns
    return tf.where(inside, perturbation, tf.zeros_like(perturbation))


def _inside(name, share, size):
    """Which of `size` positions lie in the share (begin, end) of them."""
    begin, end = _pair(share)
    if not 0 <= begin < end <= 1:
        raise ValueError(
            f"{name} must be (begin, end) with 0 <= begin < end <= 1. Received: "
            f"{name}={checks.shown(share)}"
        )
    position = tf.range(size)
    return (position >= round(begin * size)) & (position < round(end * size))


def _pair(share):
    """The two numbers, or a pair that no window has."""
    pair = isinstance(share, (tuple, list)) and len(share) == 2
    if not pair or not all(map(checks.is_number, share)):
        return 0, 0
    return share
