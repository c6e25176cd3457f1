"""The signature of a slice: a few numbers that tell it from another.

They are projections of its k-space, maps and mask on fixed patterns, over their norms. They are no
digest of bytes: rounding differs between machines and libraries, and changes a projection by as
little.
"""

import numpy as np

__all__ = ["TOLERANCE", "distance", "same_slice", "signature_of"]

# How far two signatures of one slice may be apart, relative to the data. Maps that are estimated on
# another machine differ by less; other scans by far more.
TOLERANCE = 1e-3
_PATTERNS = 8


def signature_of(inputs):
    """The signature of a slice.

    Args:
        inputs: of one slice, a batch of one.

    Returns:
        Array float64 (3, patterns, 2): of k-space, maps and mask, real and imaginary parts.
    """
    found = []
    for key in ("kspace", "sensitivity_maps", "mask"):
        array = np.asarray(inputs[key])[0].astype(np.complex128)
        norm = max(float(np.linalg.norm(array)), 1e-30)
        projected = _projected(array)
        found.append(np.stack([projected.real, projected.imag], -1) / norm)
    return np.stack(found)


def _projected(array):
    """The projections of an array (coils, height, width), (patterns,)."""
    coils, height, width = array.shape
    by_width = array @ _waves(width, 0)
    by_height = np.einsum("chk,hk->ck", by_width, _waves(height, 1))
    return (by_height * _waves(coils, 2)).sum(0)


def _waves(size, axis):
    """Phases exp(i a n^2 + i b n), (size, patterns), with a and b of every pattern and axis.

    No symmetry of an image repeats them.
    """
    n = np.arange(size)[:, None]
    k = 1 + axis + 3 * np.arange(_PATTERNS)
    return np.exp(2j * np.pi * (np.sqrt(2) * k * n**2 + np.sqrt(3) * k * n))


def distance(signature, other):
    """How far two slices are apart, relative to their norms, as far as the signatures tell."""
    if np.shape(signature) != np.shape(other) or not np.isfinite(signature).all():
        return 1.0
    squares = np.square(np.subtract(signature, other)).sum((1, 2))
    return float(np.sqrt(squares.max() / _PATTERNS))


def same_slice(signature, other):
    """Whether two signatures are those of one slice, up to rounding."""
    return distance(signature, other) < TOLERANCE
