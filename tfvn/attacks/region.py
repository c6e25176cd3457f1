"""A window of an image, outside of which a perturbation is zero."""

import tensorflow as tf

from tfvn import checks

__all__ = ["keep_region"]


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
