"""A bound of the mean of a law on [0, 1] from draws of it, by a bet.

As long as the mean is at least m, the capital

    prod_i (1 + a_i (m - s_i)),    0 <= a_i < 1, a_i known before s_i is,

has a mean of at most 1. By the inequality of Ville it ever reaches 1 / alpha with a probability of
at most alpha. The bound is the smallest m for which it does. It holds for draws whose law depends
on those before, too, if each has, given those, at least the mean that is bounded.

Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, JRSS B 2024.
"""

import math

import numpy as np

from tfvn.certificates.draws import check_alpha

__all__ = ["fewest", "largest_mean"]

# The largest share of the capital at stake.
_MOST_STAKE = 0.95
_HALVINGS = 50
_MOST_DRAWS = 10**6


def fewest(alpha, bound=1.0):
    """The fewest draws, all of them 0, with which the bound of the mean is at most `bound`.

    It is infinite where that are more than `_MOST_DRAWS`.

    Args:
        alpha: the probability that the mean is larger.
        bound: in (0, 1]. With 1 it is below 1.
    """
    alpha = check_alpha(alpha)

    def enough(count):
        gains = np.log1p(bound * _stakes(np.zeros(count), alpha))
        return gains.sum() >= np.log(1 / alpha)

    low, high = 0, 1
    while high <= _MOST_DRAWS and not enough(high):
        low, high = high, 2 * high
    if high > _MOST_DRAWS:
        return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def largest_mean(scores, alpha):
    """A bound of the mean of a law on [0, 1] from independent draws of it.

    Args:
        scores: the draws, (..., draws). Every line is a sample of its own. It may be empty.
        alpha: the probability that the mean is larger.

    Returns:
        The bound of each sample, (...), at most 1.
    """
    alpha, scores = check_alpha(alpha), np.asarray(scores, float)
    if not scores.shape[-1]:
        return np.ones(scores.shape[:-1])
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
