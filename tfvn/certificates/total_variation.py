"""What may be claimed of a map smoothed with noise, g(x) = E f(x + e). NumPy only. docs/theorem.md
has statement and proofs.

For every bounded f and every d,

    ||g(x + d) - g(x)|| <= D TV(law of x + e, law of x + d + e)

with D the *diameter* of the range of f. Proof: let P, Q be the two laws and m any point. g(x+d) -
g(x) is the integral of (f - m) against Q - P, so it equals TV(P, Q) times the difference of two
means of f under probability laws, and two averages of points of a set are at most the set's
diameter apart. The constant max||f|| + min||f|| printed in Wolf (2019) is not valid in general: the
range of f may have diameter max||f|| sqrt(2) while min||f|| = 0 (tests/test_certificates.py has the
example).

With independent components of standard deviation sigma, the total variation is

    gaussian   erf(||d||_2 / (2 sqrt(2) sigma))
    uniform    on [-a, a], a = sqrt(3) sigma: at most min(1, ||d||_1 / (2 a)), with equality where d has one entry
    laplace    of scale b = sigma / sqrt(2): at most 1 - exp(-||d||_1 / (2 b)), with equality where d has one entry

`distance` is that norm of what is added to the data: of A r for a perturbation r of the image, not
of r itself. A ball in another norm is covered by the inequalities ||d||_2 <= sqrt(n) ||d||_inf and
||d||_1 <= n ||d||_inf, n real components.
"""

import numpy as np
from scipy.special import erf, erfinv

from tfvn.checks import shown

__all__ = [
    "NORMS",
    "certified_distance",
    "global_bound",
    "lipschitz_constant",
    "local_bound",
    "range_diameter",
    "total_variation",
]

# The norm in which each noise certifies.
NORMS = {"gaussian": "l2", "uniform": "l1", "laplace": "l1"}


def _numbers(name, value, expected, fits):
    """Real numbers, an array or one, for all of which `fits` holds."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.dtype.kind not in "fiu" or not fits(array).all():
        raise ValueError(f"{name} must be {expected}. Received: {name}={_received(value, array)}")
    return array


def _received(value, array):
    return shown(array.tolist() if array.dtype.kind in "fiu" else value)


def _check(distance, sigma, noise="gaussian"):
    distance = _numbers("distance", distance, ">= 0", lambda x: x >= 0)
    expected = "> 0 and finite: without noise there is no certificate"
    sigma = _numbers("sigma", sigma, expected, lambda x: (x > 0) & np.isfinite(x))
    if not isinstance(noise, str) or noise not in NORMS:
        raise ValueError(f"noise must be one of {', '.join(NORMS)}. Received: noise={noise!r}")
    _check_together(distance=distance, sigma=sigma)


def _check_together(**arrays):
    try:
        np.broadcast_shapes(*(np.shape(array) for array in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name}.shape={np.shape(array)}" for name, array in arrays.items())
        raise ValueError(
            f"{' and '.join(arrays)} must be of one shape, or one a number. Received: {shapes}"
        ) from None


def _size(name, value):
    return _numbers(name, value, ">= 0 and finite", lambda x: (x >= 0) & np.isfinite(x))


def _number(name, value):
    """A single one, >= 0."""
    array = _numbers(name, value, "a number >= 0", lambda x: x >= 0)
    if array.ndim:
        raise ValueError(f"{name} must be one number. Received: {name}={shown(value)}")
    return float(array)


def total_variation(distance, sigma, noise="gaussian"):
    """Largest total variation between the laws of x + e and x + d + e over all d of that norm; in
    [0, 1].

    Args:
        distance: ||d||_2 for gaussian noise, ||d||_1 for uniform and Laplace noise; a number or an
            array.
        sigma: standard deviation of each real component of e.
        noise: "gaussian", "uniform" or "laplace".
    """
    _check(distance, sigma, noise)
    ratio = np.asarray(distance) / np.asarray(sigma)
    if noise == "gaussian":
        return erf(ratio / (2 * np.sqrt(2)))
    if noise == "uniform":
        return np.minimum(ratio / (2 * np.sqrt(3)), 1.0)
    return -np.expm1(-ratio / np.sqrt(2))


def range_diameter(max_norm, non_negative=False):
    """Largest possible diameter of a range whose elements have norm <= max_norm.

    2 max_norm in general; sqrt(2) max_norm where all entries are non-negative (magnitude images),
    because then
    ||a - b||^2 = ||a||^2 + ||b||^2 - 2 <a, b> <= 2 max_norm^2.
    """
    _size("max_norm", max_norm)
    return (np.sqrt(2) if non_negative else 2.0) * max_norm


def global_bound(distance, sigma, diameter, noise="gaussian"):
    """Largest possible ||g(x + d) - g(x)|| over all x and all d of norm <= distance, for f with a
    range of that diameter.
    """
    variation = total_variation(distance, sigma, noise)
    _size("diameter", diameter)
    _check_together(diameter=diameter, distance=variation)
    return diameter * variation


def lipschitz_constant(sigma, diameter, noise="gaussian"):
    """Lipschitz constant of the smoothed map, from the norm of `total_variation` to l2: diameter
    times the slope of the total variation at 0, 1 / (sqrt(2 pi) sigma), 1 / (2 sqrt(3) sigma) or 1
    / (sqrt(2) sigma).
    """
    _check(0, sigma, noise)
    _size("diameter", diameter)
    _check_together(diameter=diameter, sigma=sigma)
    slope = {"gaussian": np.sqrt(2 * np.pi), "uniform": 2 * np.sqrt(3), "laplace": np.sqrt(2)}[
        noise
    ]
    return diameter / (slope * np.asarray(sigma))


def certified_distance(change, sigma, diameter, noise="gaussian"):
    """The largest distance for which `global_bound` is at most `change`; infinite where change >=
    diameter.

    Raises:
        ValueError: for a change or a diameter that is not one number >= 0.
    """
    _check(0, sigma, noise)
    change, diameter = _number("change", change), _number("diameter", diameter)
    if change >= diameter:
        return np.inf
    share, sigma = change / diameter, np.asarray(sigma)
    if noise == "gaussian":
        return 2 * np.sqrt(2) * sigma * erfinv(share)
    if noise == "uniform":
        return 2 * np.sqrt(3) * sigma * share
    return -np.sqrt(2) * sigma * np.log1p(-share)


def local_bound(distance, sigma, variance):
    """Largest ||g(x + d) - g(x)|| at this x over all ||d||_2 <= distance, for Gaussian noise and
    any square-integrable f.

    sqrt(variance) sqrt(exp(distance^2 / sigma^2) - 1), by Cauchy and Schwarz against the likelihood
    ratio.

    Args:
        variance: largest eigenvalue of the covariance of f(x + e), or anything above it, such as
            its trace E ||f(x + e) - g(x)||^2. Estimated from draws, the bound is an estimate too.
    """
    _check(distance, sigma)
    variance = _size("variance", variance)
    _check_together(distance=distance, sigma=sigma, variance=variance)
    return np.sqrt(variance * np.expm1(np.square(np.asarray(distance) / np.asarray(sigma))))
