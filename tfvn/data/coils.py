"""Do arrays look like the coils of one slice, or like slices? Their order of axes is the same.

Coils see one object: with maps S of unit norm that are made of few centre lines, the images x of
more lines are nearly S S^H x, the more nearly the more lines make the maps. Slices are different
objects; what they have in common is lost as details come in. With d(n) the part of the energy that
S S^H x leaves, maps of n lines and images of 2 n,

    d(24) / d(8)    was 0 to 0.13 for coils (three heads, a phantom, generated knees)
                    and 0.67 to 1.7 for slices (a head, hearts, generated knees),

with noise of up to 3 % of the maximum of the image. The part that noise leaves is taken off, with
a deviation estimated from the outer half of k-space; where it is the larger part nothing is told.
"""

import numpy as np

from tfvn.data import centre
from tfvn.data.sample import ifft2c

__all__ = ["COILS", "LINES", "SLICES", "noise_power", "variation"]

_FEW, _MANY = 8, 24
# Side of central k-space that is enough to ask of.
LINES = 4 * _MANY
# Between what coils and slices gave.
SLICES, COILS = 0.5, 0.25
# Of less than this nothing can be told: images that are alike, or coils that are.
_LEAST = 1e-3


def variation(kspace, power=None):
    """d(24) / d(8), see the module's text; None where it cannot be told.

    That is of a single image, of fewer than 48 centre lines, of images that hardly differ, and of
    much noise.

    Args:
        kspace: complex (number, height, width), or the central `LINES` of it.
        power: of its noise, see `noise_power`; needed with central lines alone.
    """
    number, height, width = kspace.shape
    side = 2 * _MANY
    if number < 2 or min(height, width) < side:
        return None
    if not kspace[centre.block((height, width), side)].any(0).all():
        return None
    if power is None:
        power = noise_power(kspace)
    # Twice the lines are enough to see what the lines hold, and cost less than all.
    block = kspace[centre.block((height, width), 2 * side)]
    few, _ = _left(block, _FEW, power)
    many, of_noise = _left(block, _MANY, power)
    if few < _LEAST or of_noise > many / 2:
        return None
    return (many - of_noise) / few


def noise_power(kspace):
    """The mean of |noise|^2 in complex (number, height, width), or more.

    It is that of k-space outside of the central half of both axes.
    """
    height, width = kspace.shape[1:]
    power = np.abs(kspace) ** 2
    power[:, height // 4 : -(height // 4), width // 4 : -(width // 4)] = 0
    if not power.any():
        return 0.0
    # The median of what is distributed as the square of complex Gaussian noise; a mean would be
    # the signal's.
    return float(np.median(power[power > 0])) / np.log(2)


def _left(kspace, lines, power):
    """d(n) of this many lines, and how much of it is noise."""
    low, _ = _low_resolution(kspace, lines)
    high, window = _low_resolution(kspace, 2 * lines)
    maps = low / np.maximum(np.sqrt((np.abs(low) ** 2).sum(0)), np.finfo(np.float32).tiny)
    left = high - maps * (np.conj(maps) * high).sum(0)
    # White noise in all coils leaves what it has outside of the range of one map.
    of_noise = (len(kspace) - 1) * power * (window**2).sum()
    energy = (np.abs(high) ** 2).sum()
    return (np.abs(left) ** 2).sum() / energy, of_noise / energy


def _low_resolution(kspace, lines):
    """Images of the central lines through a Hann window, and that window."""
    window = np.zeros(kspace.shape[1:])
    window[centre.block(window.shape, lines)] = centre.hann_window((lines, lines))
    return ifft2c(kspace * window), window
