"""What holds of a map that is smoothed with normal noise, g(x) = E f(x + e), at one x.

For every square-integrable f and every d,

    || g(x + d) - g(x) || <= sqrt(lambda_max(C)) sqrt(exp(||d||_2^2 / sigma^2) - 1)

with C the covariance of f(x + e). g(x + d) - g(x) is the mean of f(x + e) - g(x) times L - 1, with
L the likelihood ratio of the shifted law. The inequality of Cauchy and Schwarz gives the bound:
sqrt(exp(||d||_2^2 / sigma^2) - 1) is the standard deviation of L.
"""

import numpy as np

from tfvn.certificates.base import (
    Certificate,
    check_distance,
    check_finite,
    check_number,
    check_sigma,
    check_together,
)

__all__ = ["Local", "local_bound"]


class Local(Certificate):
    """The local bound of a smoothed model, with the trace of C in place of its largest eigenvalue.

    The trace is larger. It is estimated from the draws of one answer, so the bound is an estimate
    too, and no level of confidence is claimed.

    Args:
        sigma: the standard deviation of each real component of the normal noise, > 0.

    Raises:
        ValueError: for another sigma.
    """

    name = "local"
    confidence = 0.0

    def __init__(self, sigma):
        check_sigma(sigma)
        self.sigma = sigma

    def variance(self, statistics):
        """The estimate of the trace of C, (batch,)."""
        return np.square(np.asarray(statistics.deviation, float)).sum((1, 2))

    def bound(self, statistics, distance):
        """The largest change of each image for any d of this norm or a smaller one, (batch,)."""
        return local_bound(distance, self.sigma, self.variance(statistics))

    def lipschitz(self, statistics):
        """The slope of the bound at distance 0, (batch,). It bounds the derivative of g at k."""
        return np.sqrt(self.variance(statistics)) / self.sigma

    def certified_distance(self, statistics, change):
        """The largest distance for which the bound is at most `change`, (batch,)."""
        change = check_number("change", change)
        variance = self.variance(statistics)
        with np.errstate(divide="ignore"):
            ratio = np.where(variance > 0, np.square(change) / variance, np.inf)
        return self.sigma * np.sqrt(np.log1p(ratio))


def local_bound(distance, sigma, variance):
    """Largest ||g(x + d) - g(x)|| at this x over all ||d||_2 <= distance, for Gaussian noise.

    Args:
        distance: a number or an array.
        sigma: the standard deviation of each real component of e.
        variance: largest eigenvalue of the covariance of f(x + e), or anything above it, such as
            its trace E ||f(x + e) - g(x)||^2. Estimated from draws, the bound is an estimate too.

    Raises:
        ValueError: for other values.
    """
    distance = check_distance(distance)
    sigma = check_sigma(sigma)
    variance = check_finite("variance", variance)
    check_together(distance=distance, sigma=sigma, variance=variance)
    # It is infinite at large distances; 0 of what does not vary, at all of them.
    with np.errstate(over="ignore", invalid="ignore"):
        squared = variance * np.expm1(np.square(distance / sigma))
    return np.sqrt(np.where(variance > 0, squared, 0.0))[()]
