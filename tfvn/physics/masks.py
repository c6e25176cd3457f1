"""Cartesian sampling masks: which phase-encoding lines (columns of k-space) are measured.

Every function returns a float32 vector of zeros and ones of shape (width,), centred like
`tfvn.physics.fourier` (the zero frequency is line `width // 2`). Random masks are keyed by `seed`
and leave global states alone.
"""

import numbers

import numpy as np

__all__ = ["FASTMRI", "constant", "equispaced", "fastmri", "random"]

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


def fastmri(width, kind="random", accelerations=(4,), center_fractions=(0.08,), name=""):
    """A mask of the fastMRI challenges, line by line the one that their code draws for a volume.

    A pair (acceleration, center_fraction) is drawn, then the lines. The centre block is the same
    for all kinds: `round(center_fraction * width)` lines.

    * `random`: each line outside the centre with one probability, `width / acceleration` in the
      mean.
    * `equispaced`: every `acceleration`-th line from an offset that is drawn.
    * `equispaced-fraction`: the same with a distance that makes `width / acceleration` lines in
      all, as in the public test data.
    * `magic`: every `acceleration`-th line, with another offset on each side of the zero frequency,
      so that conjugate symmetry fills gaps (Defazio, arXiv:1912.01101).

    Source: Zbontar et al., arXiv:1811.08839, and the published code of the challenge
    (`fastmri.data.subsample`): NumPy's legacy generator, seeded by the letters of the file's name.

    Args:
        kind: one of `FASTMRI`.
        accelerations, center_fractions: lists of one length, of which a pair is drawn.
        name: of the volume's file, with its ending: 'file1000000.h5'. '' has a seed of its own.

    Raises:
        ValueError: for values outside their limits, for two lengths, and for a centre that alone
            has more lines than are to be sampled.
    """
    if kind not in FASTMRI:
        raise ValueError(f"kind must be one of {', '.join(FASTMRI)}. Received: kind={kind!r}")
    if not 0 < len(accelerations) == len(center_fractions):
        raise ValueError(
            "accelerations and center_fractions must be lists of one length. Received:"
            f" accelerations={list(accelerations)}, center_fractions={list(center_fractions)}"
        )
    seed = tuple(map(ord, name)) or (0,)
    generator = np.random.RandomState(seed)
    choice = generator.randint(len(accelerations))
    acceleration, center_fraction = accelerations[choice], center_fractions[choice]
    _check(width, acceleration, center_fraction)
    center_lines = round(width * center_fraction)
    values = f"acceleration={acceleration}, center_fraction={center_fraction}, width={width}"
    remedy = "Make center_fractions or accelerations smaller."
    _check_centre(center_lines, int(width / acceleration), values, remedy)
    mask = np.asarray(FASTMRI[kind](generator, width, acceleration, center_lines), np.float32)
    first = (width - center_lines + 1) // 2
    mask[first : first + center_lines] = 1
    return mask


def _fastmri_random(generator, width, acceleration, center_lines):
    if center_lines == width:
        return np.ones(width)
    probability = (width / acceleration - center_lines) / (width - center_lines)
    return generator.uniform(size=width) < probability


def _fastmri_equispaced(generator, width, acceleration, center_lines):
    del center_lines
    _check_whole(acceleration)
    mask = np.zeros(width)
    mask[generator.randint(0, int(acceleration)) :: int(acceleration)] = 1
    return mask


def _fastmri_equispaced_fraction(generator, width, acceleration, center_lines):
    mask = np.zeros(width)
    missing = width - center_lines * acceleration
    if missing <= 0:
        # The centre has all the lines that are to be sampled.
        return mask
    distance = acceleration * (width - center_lines) / missing
    offset = generator.randint(0, round(distance))
    lines = np.around(np.arange(offset, width - 1, distance)).astype(int)
    mask[lines] = 1
    return mask


def _fastmri_magic(generator, width, acceleration, center_lines):
    del center_lines
    _check_whole(acceleration)
    acceleration = int(acceleration)
    offset = generator.randint(0, acceleration)
    if offset % 2 == 0:
        above, below = offset + 1, offset + 2
    else:
        above, below = offset + 2, offset - 1
    # From the zero frequency outwards, on both sides.
    positive = np.zeros((width + 1) // 2)
    negative = np.zeros(width // 2)
    positive[above::acceleration] = 1
    negative[below::acceleration] = 1
    return np.concatenate([negative[::-1], positive])


def _check_whole(acceleration):
    if acceleration != int(acceleration):
        raise ValueError(
            "lines at equal distances need a whole acceleration. Received:"
            f" acceleration={acceleration}. Round it, or take the kind equispaced-fraction."
        )


# The kinds of `fastmri`.
FASTMRI = {
    "random": _fastmri_random,
    "equispaced": _fastmri_equispaced,
    "equispaced-fraction": _fastmri_equispaced_fraction,
    "magic": _fastmri_magic,
}
