"""The median of an answer under normal noise, pixel by pixel, and how far any change can move it.

Let m(k) be a median of a pixel of f(k + e). For every || d ||_2 <= rho, with the shares
p = Phi(-rho / sigma) and 1 - p,

    (p-quantile of f(k + e))  <=  m(k + d)  <=  ((1 - p)-quantile of f(k + e)).

Two order statistics of the draws enclose both quantiles, but for a probability of
alpha / (2 pixels) on each side: see `tfvn.certificates.counts`. So, with confidence 1 - alpha, all
pixels of m(k + d) are inside for all such d at once. Nothing is assumed of f, neither a range nor a
Lipschitz constant. docs/theorem.md has the proof.

Chiang et al., Detection as Regression: Certified Object Detection by Median Smoothing, NeurIPS
2020, lemma 1.
"""

from typing import NamedTuple

import numpy as np

from tfvn.certificates import counts
from tfvn.certificates.base import check_sigma
from tfvn.certificates.draws import Answer, Draws, FromDraws, check_radii

__all__ = ["Intervals", "Median"]


class Intervals(NamedTuple):
    """What is known of the median images at all changed data.

    image: the median of the draws, float32.
    lower, upper: for each radius, below and above which no pixel of the median lies, float32
        (radii, ...); NaN where too few draws were made.
    """

    image: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    def change(self):
        """The largest || m(k + d) - m(k) ||_2 of each radius, (radii,)."""
        return _norms(self.upper - self.lower)

    def distance(self):
        """The largest || m(k + d) - image ||_2 of each radius, (radii,)."""
        return _norms(np.maximum(self.upper - self.image, self.image - self.lower))


def _norms(images):
    return np.array([np.linalg.norm(image.astype(float)) for image in images])


class Median(FromDraws):
    """The median image, pixel by pixel, from draws. It abstains where they are too few.

    Args:
        alpha: the probability that one pixel of one radius is not inside.

    Raises:
        ValueError: for an alpha that is not in (0, 1).
    """

    name = "median"
    about = "distance of the median image at any k + d from that of these draws"

    def needed(self, pixels, ratio):
        """The fewest draws with which all pixels have bounds."""
        return counts.fewest(counts.moved(0.5, -ratio), self._level(pixels))

    def places(self, count, pixels, ratio):
        """Which of `count` sorted draws enclose the medians: two numbers from 1, or None."""
        lower = counts.below(count, counts.moved(0.5, -ratio), self._level(pixels))
        # The law may be turned around: the upper one is as far from the other end.
        return (lower, count + 1 - lower) if lower else None

    def _level(self, pixels):
        return self.alpha / (2 * pixels)

    def intervals(self, draws: Draws, sigma, radii):
        """The `Intervals` of draws. Arguments as for `FromDraws.answer`."""
        check_sigma(sigma)
        radii, count = check_radii(radii), len(draws)
        places = [self.places(count, draws.pixels, radius / sigma) for radius in radii]
        image = np.empty(draws.pixels, np.float32)
        bounds = np.full((2, len(radii), draws.pixels), np.nan, np.float32)
        for pixels, values in draws.blocks():
            values.sort(axis=0)
            image[pixels] = (values[(count - 1) // 2] + values[count // 2]) / 2 if count else np.nan
            for number, place in enumerate(places):
                if place is not None:
                    for side, index in zip(bounds, place):
                        side[number, pixels] = values[index - 1]
        lower, upper = bounds.reshape(2, len(radii), *draws.shape)
        return Intervals(image.reshape(draws.shape), lower, upper)

    def answer(self, draws, sigma, radii, reference=None):
        """The median of the draws, and the largest || m(k + d) - it ||_2 of each radius."""
        del reference
        found = self.intervals(draws, sigma, radii)
        if not len(draws):
            return Answer(None, found.distance())
        return Answer(found.image, found.distance(), found.lower, found.upper)
