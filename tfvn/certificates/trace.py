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
"""

import numpy as np

from tfvn import checks
from tfvn.certificates import bets
from tfvn.certificates.draws import Answer, FromDraws, check_radii
from tfvn.certificates.local import local_bound

__all__ = ["Trace"]


class Trace(FromDraws):
    """The local bound of the mean image over all noise, from the trace of its covariance.

    Args:
        alpha: the probability that the bounds do not hold.
        room: how much larger than that of the first draw the norm of an image may be, as a factor
            > 1. Images that are larger are scaled back.

    Raises:
        ValueError: for values outside the ranges above; and for draws that are no magnitudes.
    """

    name = "trace"
    about = "change of the mean of all draws at any k + d, of images scaled back to a norm"

    def __init__(self, alpha=0.001, room=1.1):
        super().__init__(alpha)
        self.room = checks.number("room", room, above=1)

    def needed(self, pixels, ratio):
        """The fewest draws with which it is less than what any map has."""
        del pixels, ratio
        return 2 + bets.fewest(self.alpha)

    def variance(self, draws):
        """The mean of the draws, and a bound of v; NaN from too few draws."""
        images = draws.images()
        first = next(images).astype(float)
        _check_magnitude(first)
        largest = self.room * np.linalg.norm(first)
        mean, shares = first, []
        for number, image in enumerate(images, 1):
            _check_magnitude(image)
            image = image * min(1, largest / max(np.linalg.norm(image), largest))
            difference = image - mean
            shares.append(np.square(difference).sum() / (2 * largest**2))
            mean = mean + difference / (number + 1)
        share = bets.largest_mean(shares, self.alpha)
        return mean, 2 * largest**2 * share if share < 1 else np.nan

    def answer(self, draws, sigma, radii, reference=None):
        """The mean of the draws, and the bound of each radius."""
        del reference
        radii = np.array(check_radii(radii))
        mean, variance = self.variance(draws)
        if np.isnan(variance):
            return Answer(mean, np.full(len(radii), np.nan))
        return Answer(mean, local_bound(radii, sigma, variance))


def _check_magnitude(image):
    if image.min() < 0:
        raise ValueError(
            "draws must be magnitude images, which are nowhere below 0. Received: an image with"
            f" {image.min():.3g}"
        )
