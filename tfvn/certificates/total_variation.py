"""What is proved of a map that is smoothed with noise, g(x) = E f(x + e), at every x.

For every bounded f and every d,

    || g(x + d) - g(x) || <= D TV(law of x + e, law of x + d + e)

with D the *diameter* of the range of f. `docs/theorem.md` has the statement and its proofs.

Proof: Let P and Q be the two laws and m any point. g(x + d) - g(x) is the integral of f - m against
Q - P. So it is TV(P, Q) times the difference of two means of f under probability laws. Two means of
points of a set are at most the diameter of the set apart.

The constant max ||f|| + min ||f|| that is printed in Wolf (2019) is not valid in general. The range
of f may have the diameter sqrt(2) max ||f|| while min ||f|| is 0; `tests/test_certificates.py` has
the example.

With independent components of standard deviation sigma, the total variation is

    gaussian   erf(||d||_2 / (2 sqrt(2) sigma))
    uniform    on [-a, a], a = sqrt(3) sigma: at most min(1, ||d||_1 / (2 a))
    laplace    of scale b = sigma / sqrt(2): at most 1 - exp(-||d||_1 / (2 b))

The last two are attained where d has one entry. A ball in another norm is covered by the
inequalities ||d||_2 <= sqrt(n) ||d||_inf and ||d||_1 <= n ||d||_inf, of n real components.
"""

import numpy as np
from scipy.special import erf, erfinv

from tfvn.certificates.base import (
    Certificate,
    check_distance,
    check_finite,
    check_number,
    check_sigma,
    check_together,
)

__all__ = [
    "NORMS",
    "TotalVariation",
    "certified_distance",
    "global_bound",
    "lipschitz_constant",
    "range_diameter",
    "total_variation",
]

# The norm in which each law of noise certifies.
NORMS = {"gaussian": "l2", "uniform": "l1", "laplace": "l1"}
# 1 / (sigma * slope of the total variation at 0).
_INVERSE_SLOPES = {
    "gaussian": np.sqrt(2 * np.pi),
    "uniform": 2 * np.sqrt(3),
    "laplace": np.sqrt(2),
}


class TotalVariation(Certificate):
    """The bound D TV of a smoothed model, with D from the largest norm of a single draw.

    D is the diameter of the range of the map whose images are scaled back to that norm. It gives
    the same draws that were seen. The bound holds for the mean over all noise: the mean of K draws
    has a spread of its own.

    Args:
        sigma: the standard deviation of each real component of the noise, > 0.
        law: the distribution of the noise, "gaussian", "uniform" or "laplace".

    Raises:
        ValueError: for other values.
    """

    name = "total-variation"

    def __init__(self, sigma, law="gaussian"):
        _check_law(law)
        check_sigma(sigma)
        self.sigma = sigma
        self.law = law
        self.norm = NORMS[law]

    def diameter(self, statistics):
        """D, (batch,). Magnitude images are non-negative."""
        return range_diameter(np.asarray(statistics.largest_norm, float), non_negative=True)

    def share(self, distance):
        """The bound as a share of D: the total variation, in [0, 1]."""
        return total_variation(distance, self.sigma, self.law)

    def bound(self, statistics, distance):
        """The largest change of each image for any d of this norm or a smaller one, (batch,)."""
        return global_bound(distance, self.sigma, self.diameter(statistics), self.law)

    def lipschitz(self, statistics):
        """The Lipschitz constant of the smoothed map, (batch,)."""
        return lipschitz_constant(self.sigma, self.diameter(statistics), self.law)

    def certified_distance(self, statistics, change):
        """The largest distance for which the bound is at most `change`, (batch,)."""
        diameters = np.ravel(self.diameter(statistics))
        found = [certified_distance(change, self.sigma, one, self.law) for one in diameters]
        return np.array(found)


def _check_law(law):
    if not isinstance(law, str) or law not in NORMS:
        raise ValueError(f"law must be one of {', '.join(NORMS)}. Received: law={law!r}")


def total_variation(distance, sigma, law="gaussian"):
    """Largest total variation between the laws of x + e and x + d + e, in [0, 1].

    It is the largest over all d of that norm.

    Args:
        distance: ||d||_2 for gaussian noise, ||d||_1 for uniform and Laplace noise; a number or an
            array.
        sigma: the standard deviation of each real component of e.
        law: the distribution of e, "gaussian", "uniform" or "laplace".

    Raises:
        ValueError: for other values.
    """
    distance = check_distance(distance)
    sigma = check_sigma(sigma)
    _check_law(law)
    check_together(distance=distance, sigma=sigma)
    ratio = distance / sigma
    if law == "gaussian":
        return erf(ratio / (2 * np.sqrt(2)))
    if law == "uniform":
        return np.minimum(ratio / (2 * np.sqrt(3)), 1.0)
    return -np.expm1(-ratio / np.sqrt(2))


def range_diameter(max_norm, non_negative=False):
    """Largest possible diameter of a range whose elements have norm <= max_norm.

    It is 2 max_norm in general. Where all entries are non-negative, as of magnitude images, it is
    sqrt(2) max_norm, because ||a - b||^2 = ||a||^2 + ||b||^2 - 2 <a, b> <= 2 max_norm^2.
    """
    check_finite("max_norm", max_norm)
    if non_negative:
        return np.sqrt(2) * max_norm
    return 2.0 * max_norm


def global_bound(distance, sigma, diameter, law="gaussian"):
    """Largest possible ||g(x + d) - g(x)|| over all x and all d of norm <= distance.

    Args:
        distance, sigma, law: as for `total_variation`.
        diameter: that of the range of f.
    """
    variation = total_variation(distance, sigma, law)
    check_finite("diameter", diameter)
    check_together(diameter=diameter, distance=variation)
    return diameter * variation


def lipschitz_constant(sigma, diameter, law="gaussian"):
    """Lipschitz constant of the smoothed map, from the norm of `total_variation` to l2.

    It is the diameter times the slope of the total variation at 0: 1 / (sqrt(2 pi) sigma) for
    gaussian, 1 / (2 sqrt(3) sigma) for uniform and 1 / (sqrt(2) sigma) for Laplace noise.
    """
    sigma = check_sigma(sigma)
    _check_law(law)
    check_finite("diameter", diameter)
    check_together(diameter=diameter, sigma=sigma)
    return diameter / (_INVERSE_SLOPES[law] * sigma)


def certified_distance(change, sigma, diameter, law="gaussian"):
    """The largest distance for which `global_bound` is at most `change`.

    It is infinite where change >= diameter.

    Raises:
        ValueError: for a change or a diameter that is not one number >= 0.
    """
    sigma = check_sigma(sigma)
    _check_law(law)
    change = check_number("change", change)
    diameter = check_number("diameter", diameter)
    if change >= diameter:
        return np.inf
    share = change / diameter
    if law == "gaussian":
        return 2 * np.sqrt(2) * sigma * erfinv(share)
    if law == "uniform":
        return 2 * np.sqrt(3) * sigma * share
    return -np.sqrt(2) * sigma * np.log1p(-share)
