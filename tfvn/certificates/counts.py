"""How many draws a statement needs, and which of the sorted draws it is about.

Of n independent draws X_(1) <= ... <= X_(n) of a number, let at least the share p be at most t.
Then X_(q) > t only if fewer than q draws are at most t, which has at most the probability

    B(q - 1; n, p) = sum_{i < q} (n over i) p^i (1 - p)^(n - i).

The indices are exact: the largest q for which this is at most a level. No law of the draws is
assumed.

A change of the measurement by || d ||_2 <= rho under normal noise of deviation sigma takes an event
of probability p to one of at least Phi(Phi^-1(p) - rho / sigma) and at most
Phi(Phi^-1(p) + rho / sigma), by the lemma of Neyman and Pearson.
"""

import math

import numpy as np
from scipy.special import bdtr, ndtr, ndtri

from tfvn import checks

__all__ = ["above", "below", "fewest", "moved"]

# More draws than anyone makes.
_MOST = 10**9


def moved(p, ratio):
    """Phi(Phi^-1(p) + ratio): how likely an event can become, or how unlikely.

    Args:
        p: its probability, a number or an array in [0, 1].
        ratio: rho / sigma, the norm of the change by the deviation of the noise; below 0 for how
            unlikely.
    """
    return ndtr(ndtri(p) + ratio)


def below(n, p, level):
    """The largest q for which X_(q) is, but for a probability of `level`, at most the p-quantile.

    Args:
        n: the number of draws.
        p: the share of all draws that are at most the quantile, in (0, 1).
        level: the probability of an error.

    Returns:
        q, from 1 to n; 0 where there is none.
    """
    n = checks.whole("n", n, 0, limit=_MOST)
    # B(q - 1; n, p) grows with q: bisection between what is small enough and what is not.
    low, high = 0, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        if bdtr(middle - 1, n, p) <= level:
            low = middle
        else:
            high = middle
    return low


def above(n, p, level):
    """The smallest q for which X_(q) is, but for a probability of `level`, at least the p-quantile.

    Arguments as for `below`.

    Returns:
        q, from 1 to n; 0 where there is none.
    """
    # X_(q) counted from the largest is X_(n + 1 - q) of the mirrored law.
    mirrored = below(n, 1 - p, level)
    return n + 1 - mirrored if mirrored else 0


def fewest(p, level):
    """The fewest draws with `below(n, p, level)` >= 1; with 1 - p, those for `above`.

    It is infinite where that are more than anyone makes.
    """
    # (1 - p)^n <= level.
    with np.errstate(divide="ignore"):
        count = np.log(level) / np.log1p(-p)
    if not count < _MOST:
        return math.inf
    count = max(1, int(np.ceil(count)))
    # The quotient of two logarithms is rounded.
    return count + 1 if bdtr(0, count, p) > level else count
