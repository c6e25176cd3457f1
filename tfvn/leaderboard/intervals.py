"""How sure an RMSE is, and a difference of two: whole patients are drawn again.

    rmse        sqrt(mean_i e_i^2), over the slices
    interval    from the 2.5th to the 97.5th percentile of a number of slices that are drawn again,
                whole patients at a time, 2000 times (Efron, Annals of Statistics 7, 1979)
    excess      rmse / rmse' - 1 of two rows, in pairs: both have the same slices in each draw

Intervals of two rows may overlap although one row is better on every slice. So rows are compared in
pairs.
"""

import math

import numpy as np

__all__ = ["excess", "interval"]

_DRAWN_AGAIN, _SEED = 2000, 0
_PERCENT = (2.5, 97.5)


def interval(errors, patients):
    """Between which two numbers the rmse lies where other patients are drawn, a pair.

    Of one slice alone nothing is known, and both are NaN.

    Args:
        errors: e_i of each slice.
        patients: the patient of each slice. Where all are of one, as in data that do not tell, each
            slice stands for itself.
    """
    return _ends(_drawn(errors, patients))


def excess(errors, others, patients):
    """By what share the rmse of a row is above that of another one: (share, lowest, highest).

    Args:
        errors, others: e_i of each slice, of the row and of the other one.
        patients: as for `interval`.
    """
    share = _rmse(np.array(errors)) / _rmse(np.array(others)) - 1
    return float(share), *_ends(_drawn(errors, patients) / _drawn(others, patients) - 1)


def _rmse(errors):
    return np.sqrt(np.mean(np.square(errors)))


def _ends(drawn):
    """The ends of the interval of a number, of all draws; NaN without any."""
    if not len(drawn):
        return math.nan, math.nan
    low, high = np.percentile(drawn, _PERCENT)
    return float(low), float(high)


def _drawn(errors, patients):
    """The rmse of each draw, the same draws for all rows; none where there is one slice."""
    groups = {}
    for place, patient in enumerate(patients):
        groups.setdefault(patient, []).append(place)
    groups = list(groups.values())
    if len(groups) == 1:
        groups = [[place] for place in groups[0]]
    if len(groups) == 1:
        return np.zeros(0)
    squares = np.square(np.array(errors, float))
    sums = np.array([np.sum(squares[group]) for group in groups])
    counts = np.array([len(group) for group in groups])
    again = np.random.default_rng(_SEED).integers(len(groups), size=(_DRAWN_AGAIN, len(groups)))
    return np.sqrt(sums[again].sum(1) / counts[again].sum(1))
