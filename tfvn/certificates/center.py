"""The centre of an answer under normal noise, and how far any change can move it.

The centre c(k) is one of a few candidate images: that whose distances to further draws of f(k + e)
have the smallest median, R(k). The candidates are draws, and the mean of them. Let the excess x be
between 0 and 1/2. But for a small probability,

    at k + d:  a ball around c(k + d) of radius R(k + d) holds more than the share 1/2 - x,
    at k:      a ball around c(k) of radius r holds at least Phi(Phi^-1(1/2 + x) + rho / sigma),

the latter by an order statistic r of the distances of more draws. For || d ||_2 <= rho the ball
around c(k) holds the share 1/2 + x at k + d too. So the two balls meet. A candidate at k + d that
lies in the ball around c(k) is no further than 2 r from all of it. So R(k + d) <= 2 r, and

    || c(k + d) - c(k) ||_2  <=  r + R(k + d)  <=  3 r.

docs/theorem.md has the proof with all probabilities.

Kumar and Goldstein, Center Smoothing: Certified Robustness for Networks with Structured Outputs,
NeurIPS 2021. They check the ball around c(k + d) with fresh draws, and abstain where it is not
sure. Here exact probabilities of all candidates together stand in the place of the check. So it is
known before a draw is made whether there are enough.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import bdtr

from tfvn import checks
from tfvn.certificates import counts
from tfvn.certificates.base import check_sigma
from tfvn.certificates.draws import Answer, FromDraws, check_radii

__all__ = ["Center", "Found"]

_MOST_JUDGES = 10**6


class Found(NamedTuple):
    """What draws show of a centre.

    image: the centre.
    spread: R, the median of its distances to the draws that chose it.
    distances: of further draws to it, sorted.
    """

    image: np.ndarray
    spread: float
    distances: np.ndarray


class Center(FromDraws):
    """The centre of the draws, in l2. It abstains where they are too few.

    With an alpha or an excess so small that a million draws would choose no centre it always does.
    More candidates or a larger excess make room for a smaller alpha.

    The first draws are candidates, those after them choose one, and all others say how far it is
    from what is drawn. The first two kinds must be made again at k + d, as many. They must be
    independent of d and of the draws at k: with another seed.

    Args:
        alpha: the probability that a bound does not hold, at one k and one k + d: half for each.
        candidates: the number of draws among which the centre is looked for, beside their mean.
        excess: x, in (0, 1/2). A smaller one makes bounds smaller, and needs more draws.

    Raises:
        ValueError: for values outside the ranges above.
    """

    name = "center"
    about = "distance of the centre at any k + d from that of these draws"

    def __init__(self, alpha=0.001, candidates=30, excess=0.1):
        super().__init__(alpha)
        self.candidates = checks.whole("candidates", candidates, 1)
        self.excess = checks.number("excess", excess, above=0, below=0.5)
        self.judges = self._judges()

    def failure(self, judges):
        """The probability that a centre which `judges` draws choose is not as it must be.

        `judges` is odd. R is the distance of the middle one, number h. It is too large if no
        candidate lies in the ball, or if fewer than h judges do. It is too small if, for one
        candidate, h judges lie where at most the share 1/2 - x does.
        """
        missed = (0.5 - self.excess) ** self.candidates
        # h or more of the share 1/2 - x are, turned around, fewer than h of 1/2 + x.
        misjudged = bdtr((judges - 1) // 2, judges, 0.5 + self.excess)
        return missed + (1 + self.candidates + 1) * misjudged

    def _judges(self):
        """The fewest draws that choose a centre with a failure of half of alpha at most, odd.

        It is infinite where that are more than `_MOST_JUDGES`.
        """
        low, high = -1, _MOST_JUDGES // 2
        if self.failure(2 * high + 1) > self.alpha / 2:
            return math.inf
        while high - low > 1:
            middle = (low + high) // 2
            if self.failure(2 * middle + 1) > self.alpha / 2:
                low = middle
            else:
                high = middle
        return 2 * high + 1

    def _share(self, ratio):
        """What a ball must hold at k to hold 1/2 + x at k + d."""
        return counts.moved(0.5 + self.excess, ratio)

    def needed(self, pixels, ratio):
        """The fewest draws with which the radius is finite; as many for images of every size."""
        del pixels
        most = counts.fewest(1 - self._share(ratio), self.alpha / 2)
        return self.candidates + self.judges + most

    def found(self, draws):
        """The `Found` centre of at least `candidates + judges` draws."""
        first, last = self.candidates, self.candidates + self.judges
        candidates = np.stack(list(draws.images(0, first)))
        mean = candidates.mean(0, dtype=float).astype(np.float32)
        candidates = np.concatenate([candidates, mean[None]])
        distances = np.array([_distances(candidates, one) for one in draws.images(first, last)])
        spreads = np.median(distances, axis=0)
        best = spreads.argmin()
        image = candidates[best]
        others = [_distances(image[None], one)[0] for one in draws.images(last)]
        return Found(image, float(spreads[best]), np.sort(others))

    def bounds_of(self, found, sigma, radii):
        """3 r of each radius, (radii,), from the `Found` centre."""
        check_sigma(sigma)
        bounds = []
        for radius in check_radii(radii):
            share = self._share(radius / sigma)
            place = counts.above(len(found.distances), share, self.alpha / 2)
            bounds.append(3 * found.distances[place - 1] if place else np.nan)
        return np.array(bounds)

    def answer(self, draws, sigma, radii, reference=None):
        """The centre, None from too few draws, and 3 r of each radius."""
        del reference
        if len(draws) < self.candidates + self.judges:
            return Answer(None, np.full(len(radii), np.nan))
        found = self.found(draws)
        return Answer(found.image, self.bounds_of(found, sigma, radii))


def _distances(images, other):
    """The l2 distance of each image to another one, in double precision, (images,)."""
    found = []
    for image in images:
        found.append(np.linalg.norm(image.astype(float) - other))
    return np.array(found)
