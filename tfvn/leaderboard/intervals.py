"""How sure an RMSE is, and a ratio of two: whole patients are drawn again.

    rmse        sqrt(m), m = mean_i e_i^2 over the slices
    interval    rmse exp(-t s) to rmse exp(t s)
    excess      q - 1, q = rmse / rmse' of two rows; from q exp(-t s) - 1 to q exp(t s) - 1

    s           sqrt(n / (n - 1)) times the standard deviation of log rmse, to first order that of
                m* / 2 m; for two rows that of m* / 2 m - m'* / 2 m'
    m*          m of n patients, drawn from the n that there are, 2000 times, for all rows the same
    t           the 97.5th percentile of Student's law with n - 1 degrees of freedom

For few patients the percentiles of the drawn numbers themselves (Efron, Annals of Statistics 7,
1979) are too narrow. Student's law and the factor of s mend it (Hesterberg, The American
Statistician 69, 2015).

Intervals of two rows may overlap although one row is better on every slice. So rows are compared in
pairs.
"""

import math

import numpy as np
from scipy.special import stdtrit

__all__ = ["excess", "interval"]

_DRAWN_AGAIN, _SEED = 2000, 0
_UPPER = 0.975


def interval(errors, patients):
    """Between which two numbers the rmse of other patients lies with 95 %, a pair.

    Of one slice alone nothing is known, and both are NaN.

    Args:
        errors: e_i of each slice.
        patients: the patient of each slice. Where all are of one, as in data that do not tell, each
            slice stands for itself.
    """
    groups = _groups(patients)
    return _ends(_rmse(errors), _drawn(errors, groups), len(groups))


def excess(errors, others, patients):
    """By what share the rmse of a row is above that of another one: (share, lowest, highest).

    Args:
        errors, others: e_i of each slice, of the row and of the other one.
        patients: as for `interval`.
    """
    groups = _groups(patients)
    ratio = _rmse(errors) / _rmse(others)
    low, high = _ends(ratio, _drawn(errors, groups) - _drawn(others, groups), len(groups))
    return ratio - 1, low - 1, high - 1


def _rmse(errors):
    return math.sqrt(np.mean(np.square(errors)))


def _ends(value, drawn, patients):
    """The ends of the interval of a number, from its logarithm in each draw up to a constant."""
    if patients == 1:
        return math.nan, math.nan
    width = stdtrit(patients - 1, _UPPER) * np.std(drawn) * math.sqrt(patients / (patients - 1))
    return float(value * np.exp(-width)), float(value * np.exp(width))


def _groups(patients):
    """The places of each patient's slices; of each slice alone where there is one patient."""
    groups = {}
    for place, patient in enumerate(patients):
        groups.setdefault(patient, []).append(place)
    if len(groups) == 1:
        return [[place] for place in range(len(patients))]
    return list(groups.values())


def _drawn(errors, groups):
    """m* / 2 m of each draw, (draws,). Without any error all draws have the same."""
    squares = np.square(np.array(errors, float))
    sums = np.array([np.sum(squares[group]) for group in groups])
    counts = np.array([len(group) for group in groups])
    if not np.any(sums):
        return np.zeros(_DRAWN_AGAIN)
    again = np.random.default_rng(_SEED).integers(len(groups), size=(_DRAWN_AGAIN, len(groups)))
    return sums[again].sum(1) / counts[again].sum(1) / (2 * np.mean(squares))
