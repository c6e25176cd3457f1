"""Intervals hold what they say in 95 % of cases, draw patients, and compare rows in pairs."""

import math

import numpy as np
import pytest

from tfvn.leaderboard.intervals import excess, interval

TRIALS = 1000
# The deviation of log e over patients, and of log e' / e between two rows of one slice.
SPREAD, BETWEEN = 0.3, 0.05


def covered(patients, slices):
    """In which share of trials the interval of the rmse, and that of a ratio, hold the true one.

    Args:
        patients: how many there are in a trial.
        slices: how many each patient has, all alike.
    """
    rng = np.random.default_rng(0)
    names = np.repeat(np.arange(patients), slices)
    rmse, ratio = math.exp(SPREAD**2), math.exp(BETWEEN**2)
    held = np.zeros(2)
    for _ in range(TRIALS):
        errors = np.repeat(rng.lognormal(0, SPREAD, patients), slices)
        others = errors * np.repeat(rng.lognormal(0, BETWEEN, patients), slices)
        low, high = interval(errors, names)
        _, least, most = excess(others, errors, names)
        held += low <= rmse <= high, least <= ratio - 1 <= most
    return held / TRIALS


@pytest.mark.parametrize("patients, slices", [(2, 1), (4, 1), (4, 3), (8, 1), (16, 1)])
def test_intervals_hold_the_true_value_as_often_as_they_say(patients, slices):
    """Percentiles hold it in 47 % of trials with 2 patients, in 73 with 4, and in 88 with 16."""
    for share in covered(patients, slices):
        assert 0.89 <= share <= 0.97


def test_the_interval_draws_patients_and_not_slices():
    errors = np.array([1.0, 3.0, 2.0, 2.0])
    # Mean squares of 5 and 4: a quarter of the draws have 5, a quarter has 4, the others 4.5.
    low, high = interval(errors, ["a", "a", "b", "b"])
    deviation = math.sqrt(2) * math.sqrt(1 / 8) / (2 * 4.5)
    width = 12.706 * deviation
    assert math.log(high / math.sqrt(4.5)) == pytest.approx(width, rel=0.05)
    assert low * high == pytest.approx(4.5)
    # All of one patient: each slice stands for itself.
    assert interval(errors, [""] * 4) == interval(errors, list("abcd"))
    assert all(map(math.isnan, interval(errors[:1], ["a"])))


def test_without_any_error_nothing_is_spread():
    assert interval([0.0, 0.0, 0.0], list("abc")) == (0, 0)
    assert interval([2.0, 2.0, 2.0], list("abc")) == (2, 2)


def test_rows_are_compared_in_pairs_of_slices():
    errors = np.array([1.0, 2.0, 4.0, 8.0])
    patients = ["a", "b", "c", "d"]
    # On every slice 10 % above: the slices differ more, and their intervals overlap.
    assert excess(1.1 * errors, errors, patients) == pytest.approx((0.1, 0.1, 0.1))
    assert interval(1.1 * errors, patients)[0] < interval(errors, patients)[1]
    _, low, high = excess(errors[::-1], errors, patients)
    assert low < 0 < high
    # Of two patients the slices are drawn together: here both rows have the same two numbers.
    assert excess([1.0, 3.0, 2.0, 2.0], [3.0, 1.0, 2.0, 2.0], list("aabb")) == (0, 0, 0)
    share, low, high = excess([2.0], [1.0], ["a"])
    assert share == 1 and math.isnan(low + high)
