"""What a certificate is: a bound on the change of a model's answer, for every change of the
measurement within a distance. NumPy only.
"""

import numpy as np

from tfvn.checks import shown

__all__ = [
    "Certificate",
    "check_distance",
    "check_finite",
    "check_number",
    "check_sigma",
    "check_together",
]


class Certificate:
    """A bound on || g(k + d) - g(k) ||_2 over all d of a norm, from the draws of an answer.

    `statistics` are those of a model, see `tfvn.models.base.Statistics`: `mean` and `deviation`
    (batch, rows, width), `largest_norm` and `operator_norm` (batch,). `distance` is the norm of
    what is added to the measurement: that of A r for a perturbation r of the image.

    Attributes:
        name: the name in `tfvn.certificates.CERTIFICATES`.
        norm: the norm that the distance is measured in, "l2" or "l1".
        confidence: 1 for what is proved, 1 - alpha for what is estimated at that level, 0 for an
            estimate without a level.
    """

    name = ""
    norm = "l2"
    confidence = 1.0

    def bound(self, statistics, distance):
        """The largest change of each image for any d of this norm or a smaller one, (batch,)."""
        raise NotImplementedError

    def lipschitz(self, statistics):
        """The slope of the bound at distance 0, (batch,)."""
        raise NotImplementedError

    def certified_distance(self, statistics, change):
        """The largest distance for which the bound is at most `change`, (batch,)."""
        raise NotImplementedError

    def image_lipschitz(self, statistics):
        """The slope of `image_bound` at size 0, (batch,); NaN where it has none."""
        del statistics
        return np.nan

    def image_bound(self, statistics, size):
        """The largest change of each image for any d = A r, || r ||_2 <= size, (batch,).

        Infinite for a certificate that is about d alone.
        """
        del statistics, size
        return np.inf


def check_distance(distance):
    """A distance, or an array of them. Raises ValueError for anything else."""
    return _checked("distance", distance, ">= 0", lambda x: x >= 0)


def check_sigma(sigma):
    """A standard deviation, or an array of them. Raises ValueError for anything else."""
    expected = "> 0 and finite: without noise there is no certificate"
    return _checked("sigma", sigma, expected, lambda x: (x > 0) & np.isfinite(x))


def check_finite(name, value):
    """A finite number >= 0, or an array of them. Raises ValueError for anything else."""
    return _checked(name, value, ">= 0 and finite", lambda x: (x >= 0) & np.isfinite(x))


def check_number(name, value):
    """A single number >= 0. Raises ValueError for anything else."""
    array = _checked(name, value, "a number >= 0", lambda x: x >= 0)
    if array.ndim:
        raise ValueError(f"{name} must be one number. Received: {name}={shown(value)}")
    return float(array)


def check_together(**arrays):
    """Checks that arrays are of one shape, or single numbers. Raises ValueError if not."""
    try:
        np.broadcast_shapes(*(np.shape(array) for array in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name}.shape={np.shape(array)}" for name, array in arrays.items())
        raise ValueError(
            f"{' and '.join(arrays)} must be of one shape, or one a number. Received: {shapes}"
        ) from None


def _checked(name, value, expected, fits):
    """Real numbers, an array or one, for all of which `fits` holds."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = np.asarray(None)
    real = array.dtype.kind in "fiu"
    if not real or not fits(array).all():
        received = shown(array.tolist()) if real else shown(value)
        raise ValueError(f"{name} must be {expected}. Received: {name}={received}")
    return array
