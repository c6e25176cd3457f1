"""Cartesian sampling masks: which phase-encoding lines (columns of k-space) are measured.

Every function returns a float32 vector of zeros and ones of shape (width,), centred like `tfvn.fourier`
(the zero frequency is line `width // 2`). Random masks are keyed by `seed` and leave global states alone.
"""
import numpy as np

# The protocol of the knee data (Hammernik et al., MRM 79(6), 2018; Wolf, 2019): 28 centre lines of 368.
_PAPER_WIDTH, _PAPER_CENTER_LINES = 368, 28


def _check(width, acceleration=1.0, center_fraction=0.0):
    if int(width) != width or width < 1:
        raise ValueError(f"width must be a whole number of lines >= 1. Received: width={width}")
    if not acceleration >= 1:
        raise ValueError(f"acceleration must be a number >= 1. Received: acceleration={acceleration}")
    if not 0 <= center_fraction <= 1:
        raise ValueError(f"center_fraction must lie in [0, 1]. Received: center_fraction={center_fraction}")


def _center(width, lines):
    start = width // 2 - lines // 2
    return np.arange(start, start + lines)


def _mask(width, *lines):
    mask = np.zeros(width, np.float32)
    mask[np.concatenate(lines).astype(int)] = 1
    return mask


def constant(width, fraction=0.15, center_lines=None):
    """The paper's mask: `fraction` of all lines, a block in the centre, the rest equispaced on both sides.

    At width 368: 55 lines, 28 of them in the centre. Other widths scale the centre block in proportion.
    """
    _check(width)
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must lie in (0, 1]. Received: fraction={fraction}")
    total = max(1, round(fraction * width))
    if center_lines is None:
        center_lines = min(total, max(1, round(_PAPER_CENTER_LINES * width / _PAPER_WIDTH)))
    if not 0 <= center_lines <= total:
        raise ValueError(
            f"center_lines must lie between 0 and the number of sampled lines ({total} = {fraction} of {width}). "
            f"Received: center_lines={center_lines}"
        )
    outer = total - center_lines
    first, after = width // 2 - center_lines // 2, width // 2 - center_lines // 2 + center_lines
    left = min(first, outer // 2)
    right = min(outer - left, width - after)
    left = outer - right
    # Equispaced from the outermost line inwards; the step to the centre block is the same as between lines.
    left_lines = np.floor(np.arange(left) * first / max(left, 1))
    right_lines = width - 1 - np.floor(np.arange(right) * (width - after) / max(right, 1))
    return _mask(width, left_lines, _center(width, center_lines), right_lines)


def equispaced(width, acceleration=4, center_fraction=0.08, offset=0):
    """Every `acceleration`-th line from `offset`, and the centre block of `center_fraction * width` lines."""
    _check(width, acceleration, center_fraction)
    lines = np.arange(offset % acceleration, width, acceleration)
    return _mask(width, np.floor(lines), _center(width, round(center_fraction * width)))


def random(width, acceleration=4, center_fraction=0.08, seed=0):
    """The centre block and lines drawn uniformly without replacement, `width / acceleration` lines in all."""
    _check(width, acceleration, center_fraction)
    center = _center(width, round(center_fraction * width))
    others = np.setdiff1d(np.arange(width), center)
    number = min(len(others), max(0, max(1, round(width / acceleration)) - len(center)))
    return _mask(width, center, np.random.default_rng(seed).choice(others, number, replace=False))
