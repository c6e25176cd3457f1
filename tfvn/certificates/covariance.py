"""The local bound with the largest eigenvalue of the covariance in the place of its trace.

`tfvn.certificates.local` has the bound. What it needs is lambda_max(C), C the covariance of a draw.
The largest eigenvalue of the covariance of n draws is that of the matrix of inner products of their
differences from the mean, n x n, over n - 1. It is computed exactly from blocks of pixels.

It stands for lambda_max(C) as an estimate. The covariance of the draws has the mean C, and
lambda_max is convex, so in the mean it is too large: by far, where the draws spread over more
directions than there are draws. It claims no level of confidence. `tfvn.certificates.trace` does,
and is much wider, because it must allow for draws that were not seen.
"""

from typing import NamedTuple

import numpy as np

from tfvn import checks
from tfvn.certificates.base import check_sigma
from tfvn.certificates.draws import Answer, FromDraws, check_radii
from tfvn.certificates.local import local_bound

__all__ = ["Covariance", "Spectrum"]


class Spectrum(NamedTuple):
    """What draws show of their covariance.

    largest: the largest eigenvalue of that of the draws, at least lambda_max(C) in the mean.
    trace: its trace, of mean trace(C).
    seen: the variance that half of the draws have along the first direction of the other half. Its
        mean is at most lambda_max(C).
    """

    largest: float
    trace: float
    seen: float


class Covariance(FromDraws):
    """The local bound of the mean, from the largest eigenvalue of the covariance of draws.

    It is an estimate, and claims no level of confidence.

    Args:
        most: draws that are looked at: their inner products, most^2 numbers, are in memory.

    Raises:
        ValueError: for `most` < 4.
    """

    name = "covariance"
    about = "change of the mean of all draws at any k + d, an estimate"
    confidence = 0.0
    suffices = False

    def __init__(self, most=1000):
        self.most = checks.whole("most", most, 4)

    @classmethod
    def at_level(cls, alpha):
        """An estimate has no level."""
        del alpha
        return cls()

    def needed(self, pixels, ratio):
        """Four draws: two in each half."""
        del pixels, ratio
        return 4

    def spectrum(self, draws):
        """The `Spectrum` of at least 4 draws."""
        count = min(len(draws), self.most)
        products = np.zeros((count, count))
        for _, values in draws.blocks():
            values = values[:count].astype(float)
            values -= values.mean(0)
            products += values @ values.T
        largest = np.linalg.eigvalsh(products)[-1] / (count - 1)
        return Spectrum(largest, products.trace() / (count - 1), _seen(products))

    def answer(self, draws, sigma, radii, reference=None):
        """The bound of each radius. It is around g, the mean of all draws, which nobody knows."""
        del reference
        radii = np.array(check_radii(radii))
        check_sigma(sigma)
        if len(draws) < self.needed(draws.pixels, None):
            return Answer(None, np.full(len(radii), np.nan))
        return Answer(None, local_bound(radii, sigma, self.spectrum(draws).largest))


def _seen(products):
    """The variance of the second half along the first direction of the first half."""
    half = len(products) // 2
    first, across = products[:half, :half], products[half:, :half]
    centred = first - first.mean(0) - first.mean(1)[:, None] + first.mean()
    values, vectors = np.linalg.eigh(centred)
    # The direction is a combination of the first half's differences from their mean.
    weights = vectors[:, -1] / np.sqrt(max(values[-1], np.finfo(float).tiny))
    along = across @ (weights - weights.mean())
    return float(along.var(ddof=1))
