"""The expected error to the truth under normal noise, and how far any change can raise it.

Let s be a score in [0, 1]. For every || d ||_2 <= rho

    E s(k + d + e)  <=  Phi(Phi^-1(E s(k + e)) + rho / sigma).

The score here is the error || f(k + e) - |y| ||_2 as a share of || y ||_2, and 1 where it is
larger: then an empty image would have been as good. The mean E s at k is not known. Draws bound it
with confidence 1 - alpha, for all radii at once, by a bet: as long as E s is at least m, the
capital

    prod_i (1 + a_i (m - s_i)),    0 <= a_i < 1, a_i known before s_i is,

has a mean of at most 1. By the inequality of Ville it ever reaches 1 / alpha with a probability of
at most alpha. The bound is the smallest m for which it does.

Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, JRSS B 2024. The
bound on scores is the lemma of Neyman and Pearson, as in Salman et al., NeurIPS 2019, lemma 2.
"""

import numpy as np

from tfvn.certificates import counts
from tfvn.certificates.base import check_number, check_sigma
from tfvn.certificates.draws import FromDraws, check_alpha, check_radii

__all__ = ["ExpectedError", "largest_mean"]

# The largest share of the capital at stake.
_MOST_STAKE = 0.9
_HALVINGS = 50


class ExpectedError(FromDraws):
    """The expected error of a single draw. It abstains where the truth is not known.

    It is about min(error, || y ||_2) of single draws. The error of their mean is at most its mean,
    where no draw is off by more than || y ||_2.

    Args:
        alpha: the probability that the bounds do not hold.

    Raises:
        ValueError: for an alpha that is not in (0, 1).
    """

    name = "expected-error"
    about = "expected error to the truth of one draw at any k + d, cut at ||y||"

    def __init__(self, alpha=0.001):
        self.alpha = check_alpha(alpha)
        self.confidence = 1 - self.alpha

    def needed(self, pixels, ratio):
        """The fewest draws with which the bound can be below || y ||_2: those of a perfect model
        that end the bet.
        """
        del pixels, ratio
        return int(np.ceil(np.log(1 / self.alpha) / np.log1p(_MOST_STAKE)))

    def answer(self, draws, sigma, radii, reference=None):
        """No image, and the largest expected error of each radius."""
        check_sigma(sigma)
        radii = np.array(check_radii(radii))
        nothing = None, np.full(len(radii), np.nan)
        if reference is None:
            return nothing
        reference = np.abs(reference).astype(float)
        largest = check_number("the norm of the reference", np.linalg.norm(reference))
        if not largest:
            return nothing
        errors = np.array([np.linalg.norm(image - reference) for image in draws.images()])
        mean = largest_mean(np.minimum(errors / largest, 1), self.alpha)
        if mean >= 1:
            return nothing
        return None, largest * counts.moved(mean, radii / sigma)


def largest_mean(scores, alpha):
    """A bound of the mean of a law on [0, 1] from independent draws of it.

    Args:
        scores: the draws, (..., draws). Every line is a sample of its own.
        alpha: the probability that the mean is larger.

    Returns:
        The bound of each sample, (...), at most 1.
    """
    alpha, scores = check_alpha(alpha), np.asarray(scores, float)
    stakes = _stakes(scores, alpha)
    # The capital grows with m, so the smallest m is found by bisection. What is not reached at 1
    # is 1.
    low, high = np.zeros(scores.shape[:-1]), np.ones(scores.shape[:-1])
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        gains = np.log1p(stakes * (middle[..., None] - scores))
        reached = gains.cumsum(-1).max(-1, initial=-np.inf) >= np.log(1 / alpha)
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return high


def _stakes(scores, alpha):
    """a_i of each draw, from the draws before it: the less they vary, the more is at stake."""
    numbers = np.arange(1, scores.shape[-1] + 1)
    # The mean and the variance of what has been seen, with half a draw of 1/2 and a quarter.
    means = (0.5 + scores.cumsum(-1)) / (numbers + 1)
    variances = (0.25 + np.square(scores - means).cumsum(-1)) / (numbers + 1)
    before = np.concatenate([np.full((*scores.shape[:-1], 1), 0.25), variances[..., :-1]], -1)
    stakes = np.sqrt(2 * np.log(1 / alpha) / (scores.shape[-1] * before))
    return np.minimum(stakes, _MOST_STAKE)
