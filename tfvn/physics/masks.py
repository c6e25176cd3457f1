"""Cartesian sampling masks: which phase-encoding lines (columns of k-space) are measured.

Every function returns a float32 vector of zeros and ones of shape (width,), centred like
`tfvn.physics.fourier` (the zero frequency is line `width // 2`). Random masks are keyed by `seed`
and leave global states alone.
"""

import numbers

import numpy as np

__all__ = ["constant", "equispaced", "random"]

# The protocol of the knee data (Hammernik et al., MRM 79(6), 2018; Wolf, 2019): 28 centre lines of
# 368.
_PAPER_WIDTH, _PAPER_CENTER_LINES = 368, 28


def _check(width, acceleration=1.0, center_fraction=0.0):
    if not _is_number(width) or int(width) != width or width < 1:
        raise ValueError(f"width must be a whole number of lines >= 1. Received: width={width!r}")
    if not _is_number(acceleration) or acceleration < 1:
        raise ValueError(
            f"acceleration must be a number >= 1. Received: acceleration={acceleration!r}"
        )
    if not _is_number(center_fraction) or not 0 <= center_fraction <= 1:
        raise ValueError(
            f"center_fraction must lie in [0, 1]. Received: center_fraction={center_fraction!r}"
        )


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and np.isfinite(value)


def _check_centre(asked, total, values, remedy):
    """A centre that alone has more lines than are to be sampled leaves no mask that is what was
    asked for.
    """
    if asked > total:
        raise ValueError(
            f"the centre must not have more lines than are sampled. Received: {values}, which is"
            f" {asked} lines in the centre and {total} in all. {remedy}"
        )


def _center(width, lines):
    start = width // 2 - lines // 2
    return np.arange(start, start + lines)


def _mask(width, *lines):
    mask = np.zeros(width, np.float32)
    mask[np.concatenate(lines).astype(int)] = 1
    return mask


def constant(width, fraction=0.15, center_lines=None):
    """The paper's mask: `fraction` of all lines, a block in the centre, the rest equispaced on both
    sides.

    At width 368: 55 lines, 28 of them in the centre. Other widths scale the centre block in
    proportion.

    Raises:
        ValueError: for values outside their limits, and if the centre block alone has more lines
            than the fraction.
    """
    _check(width)
    if not _is_number(fraction) or not 0 < fraction <= 1:
        raise ValueError(f"fraction must lie in (0, 1]. Received: fraction={fraction!r}")
    total = max(1, round(fraction * width))
    if center_lines is None:
        center_lines = max(1, round(_PAPER_CENTER_LINES * width / _PAPER_WIDTH))
        remedy = "Sample a larger fraction (sampling.fraction), or take another mask."
        _check_centre(center_lines, total, f"fraction={fraction}, width={width}", remedy)
    if not 0 <= center_lines <= total:
        raise ValueError(
            f"center_lines must lie between 0 and the number of sampled lines ({total} = {fraction}"
            f" of {width}). Received: center_lines={center_lines}"
        )
    outer = total - center_lines
    first, after = width // 2 - center_lines // 2, width // 2 - center_lines // 2 + center_lines
    left = min(first, outer // 2)
    right = min(outer - left, width - after)
    left = outer - right
    # Equispaced from the outermost line inwards; the step to the centre block is the same as
    # between lines.
    left_lines = np.floor(np.arange(left) * first / max(left, 1))
    right_lines = width - 1 - np.floor(np.arange(right) * (width - after) / max(right, 1))
    return _mask(width, left_lines, _center(width, center_lines), right_lines)


def equispaced(width, acceleration=4, center_fraction=0.08, offset=0):
    """Every `acceleration`-th line from `offset`, and the centre block of `center_fraction * width`
    lines.

    The acceleration is the distance of the lines outside the centre: with the centre, more of all
    lines are sampled than 1 / acceleration.
    """
    _check(width, acceleration, center_fraction)
    lines = np.arange(offset % acceleration, width, acceleration)
    return _mask(width, np.floor(lines), _center(width, round(center_fraction * width)))


def random(width, acceleration=4, center_fraction=0.08, seed=0):
    """The centre block and lines drawn uniformly without replacement, `width / acceleration` lines
    in all.

    Raises:
        ValueError: for values outside their limits, and if the centre block alone has more than
            these lines.
    """
    _check(width, acceleration, center_fraction)
    center = _center(width, round(center_fraction * width))
    total = max(1, round(width / acceleration))
    values = f"acceleration={acceleration}, center_fraction={center_fraction}, width={width}"
    remedy = (
        f"Make center_fraction {total / width:.3g} or less, or acceleration"
        f" {width / max(len(center), 1):.3g} or less."
    )
    _check_centre(len(center), total, values, remedy)
    others = np.setdiff1d(np.arange(width), center)
    number = total - len(center)
    return _mask(width, center, np.random.default_rng(seed).choice(others, number, replace=False))
