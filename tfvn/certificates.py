"""What may be claimed of a map smoothed with Gaussian noise, g(x) = E f(x + e), e ~ N(0, sigma^2 I). NumPy only.

For every bounded f and every d,

    ||g(x + d) - g(x)|| <= D TV(N(0, sigma^2 I), N(d, sigma^2 I)) = D erf(||d|| / (2 sqrt(2) sigma)) <= D ||d|| / (sqrt(2 pi) sigma)

with D the *diameter* of the range of f. Proof: let P, Q be the two laws and m any point. g(x+d) - g(x) is the integral
of (f - m) against Q - P, so it equals TV(P, Q) times the difference of two means of f under probability laws, and two
averages of points of a set are at most the set's diameter apart. The constant max||f|| + min||f|| printed in Wolf (2019) is not valid
in general: the range of f may have diameter max||f|| sqrt(2) while min||f|| = 0 (tests/test_certificates.py has the example).

`distance` is the norm of what is added to the data: for a perturbation r of the image that is ||A r||, not ||r||.
"""
import numpy as np
from scipy.special import erf


def _check(distance, sigma):
    if not np.all(np.asarray(distance) >= 0):
        raise ValueError(f"distance must be >= 0. Received: distance={distance}")
    if not np.all(np.asarray(sigma) > 0):
        raise ValueError(f"sigma must be > 0: without noise there is no certificate. Received: sigma={sigma}")


def total_variation(distance, sigma):
    """Total variation between N(x, sigma^2 I) and N(x + d, sigma^2 I) with ||d|| = distance; in [0, 1)."""
    _check(distance, sigma)
    return erf(np.asarray(distance) / (2 * np.sqrt(2) * np.asarray(sigma)))


def range_diameter(max_norm, non_negative=False):
    """Largest possible diameter of a range whose elements have norm <= max_norm.

    2 max_norm in general; sqrt(2) max_norm where all entries are non-negative (magnitude images), because then
    ||a - b||^2 = ||a||^2 + ||b||^2 - 2 <a, b> <= 2 max_norm^2.
    """
    if not max_norm >= 0:
        raise ValueError(f"max_norm must be >= 0. Received: max_norm={max_norm}")
    return (np.sqrt(2) if non_negative else 2.0) * max_norm


def global_bound(distance, sigma, diameter):
    """Largest possible ||g(x + d) - g(x)|| over all x and all ||d|| <= distance, for f with a range of that diameter."""
    return diameter * total_variation(distance, sigma)


def lipschitz_constant(sigma, diameter):
    """Lipschitz constant diameter / (sqrt(2 pi) sigma) of the smoothed map."""
    _check(0, sigma)
    return diameter / (np.sqrt(2 * np.pi) * np.asarray(sigma))
