"""The local bound of the mean of all draws, with a level of confidence.

`tfvn.certificates.local` has the bound: of a map f with E f = g, for || d ||_2 <= rho

    || g(k + d) - g(k) ||  <=  sqrt(v) sqrt(exp(rho^2 / sigma^2) - 1),
    v = E || f(k + e) - g(k) ||^2.

v is bounded with confidence 1 - alpha from draws x_i. A bound needs a range: the map is that whose
images are scaled back to the norm B where they are larger. The first draw says what B is, and no
other draw does: B is a share above its norm. With c_i the mean of the draws before x_i

    E || x_i - c_i ||^2  =  E || f - g ||^2 + || c_i - g ||^2,

and of non-negative images || x_i - c_i ||^2 is at most 2 B^2. So the bet of
`tfvn.certificates.bets` on the shares || x_i - c_i ||^2 / (2 B^2) bounds v / (2 B^2).

Of every such map sqrt(2) B TV(d) is a bound, without a draw: `tfvn.certificates.total_variation`.
So a bound from draws counts where it is smaller. Both are about g, the mean of infinitely many
draws. Their own mean is near it, and no bound is around that.
"""

from typing import NamedTuple

import numpy as np

from tfvn import checks
from tfvn.certificates import bets, total_variation
from tfvn.certificates.base import check_sigma
from tfvn.certificates.draws import Answer, FromDraws, check_radii
from tfvn.certificates.local import local_bound

__all__ = ["Trace", "Variance"]

# The largest share of draws that may be scaled back: the map is hardly another one then.
_MOST_SCALED = 0.01
_TINY = np.finfo(float).tiny


class Variance(NamedTuple):
    """What draws show of v.

    largest: the bound of v; 2 B^2 where there is no smaller one.
    norm: B.
    scaled: the share of draws that were larger, and were scaled back.
    """

    largest: float
    norm: float
    scaled: float


class Trace(FromDraws):
    """The local bound of the mean image over all noise, from the trace of its covariance.

    It abstains where draws add nothing to what holds of every map with this range, and where more
    than a hundredth of the draws had to be scaled back.

    Args:
        alpha: the probability that the bounds do not hold.
        room: how much larger than that of the first draw the norm of an image may be, as a factor
            > 1. Images that are larger are scaled back.

    Raises:
        ValueError: for values outside the ranges above; and for draws that are no magnitudes.
    """

    name = "trace"
    about = "change of the mean of all draws at any k + d, of images scaled back to a norm"
    suffices = False

    def __init__(self, alpha=0.001, room=1.1):
        super().__init__(alpha)
        self.room = checks.number("room", room, above=1)

    def needed(self, pixels, ratio):
        """The fewest draws, all of them equal, with which it is less than what any map has.

        Draws that vary need more.
        """
        del pixels
        # Of v / (2 B^2): local_bound = sqrt(2) B TV.
        share = (_without_draws(ratio, 1.0, 1.0) / local_bound(ratio, 1.0, 2.0)) ** 2
        return 1 + bets.fewest(self.alpha, share) if share > 0 else np.inf

    def variance(self, draws):
        """The `Variance` from at least one draw."""
        images = draws.images()
        first = next(images).astype(float)
        _check_magnitude(first)
        largest = self.room * np.linalg.norm(first)
        mean, shares, scaled = first, [], 0
        for number, image in enumerate(images, 1):
            _check_magnitude(image)
            norm = np.linalg.norm(image)
            scaled += norm > largest
            image = image * min(1, largest / max(norm, largest, _TINY))
            difference = image - mean
            shares.append(np.square(difference).sum() / max(2 * largest**2, _TINY))
            mean = mean + difference / (number + 1)
        share = bets.largest_mean(shares, self.alpha)
        return Variance(float(2 * largest**2 * share), float(largest), scaled / len(draws))

    def answer(self, draws, sigma, radii, reference=None):
        """The bound of each radius. It is around g, the mean of all draws, which nobody knows."""
        del reference
        check_sigma(sigma)
        radii = np.array(check_radii(radii))
        if not len(draws):
            return Answer(None, np.full(len(radii), np.nan))
        found = self.variance(draws)
        bounds = local_bound(radii, sigma, found.largest)
        silent = bounds >= _without_draws(radii, sigma, found.norm)
        if found.scaled > _MOST_SCALED:
            silent[:] = True
        bounds = np.where(silent, np.nan, bounds)
        return Answer(None, bounds, norm=found.norm, scaled=found.scaled)


def _without_draws(radius, sigma, norm):
    """What holds of every map whose images are non-negative and no larger than a norm."""
    diameter = total_variation.range_diameter(norm, non_negative=True)
    return total_variation.global_bound(radius, sigma, diameter)


def _check_magnitude(image):
    if image.min() < 0:
        raise ValueError(
            "draws must be magnitude images, which are nowhere below 0. Received: an image with"
            f" {image.min():.3g}"
        )
