"""Lipschitz constants: nothing breaks them, and what is linear reaches them."""

from functools import partial

import numpy as np
import pytest
from scipy.optimize import minimize

from tfvn.certificates import Lipschitz
from tfvn.certificates.lipschitz import _Steps, of_monotone, of_regularised, of_zero_filled
from tfvn.models.base import Statistics

# Regularisers, weights of the data steps, and steps with each.
DESIGNS = [
    ([0.5], [1.0, 1.0], 1),
    ([1.9], [0.3, 1.9], 2),
    ([0.3, 1.2, 0.05], [0.9, 1.0, 0.2, 1.7], 3),
    ([1.0] * 8, [1.0] * 9, 4),
    ([1e-9] * 4, [0.7] * 5, 5),
]
every_design = pytest.mark.parametrize("design", DESIGNS, ids=str)


def operator(seed, rows=5, columns=6, smallest=1e-3):
    """A real matrix A of norm 1, with singular values down to `smallest`."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.standard_normal((rows, rows)))[0]
    right = np.linalg.qr(rng.standard_normal((columns, columns)))[0][:rows]
    return left @ np.diag(np.geomspace(1, smallest, rows)) @ right


def linear_network(a, design, regularisers):
    """The matrix from k to u of a network whose regularisers are matrices."""
    gains, weights, steps = design
    found = np.zeros(a.T.shape)
    for number, weight in enumerate(weights):
        if number:
            found = found - gains[number - 1] * regularisers[number - 1] @ found
        for _ in range(steps):
            found = found - weight * a.T @ (a @ found - np.eye(len(a)))
    return found


def worst_found(a, design, of_image, seed, trials=150):
    """The largest amplification that hill climbing over projections on one vector finds."""
    rng = np.random.default_rng(seed)
    count, size = len(design[0]), a.shape[1]

    def amplification(vectors):
        units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        network = linear_network(a, design, [np.outer(unit, unit) for unit in units])
        return np.linalg.norm(network @ a if of_image else network, 2)

    best = rng.standard_normal((count, size))
    value, length = amplification(best), 0.5
    for _ in range(trials):
        other = best + length * rng.standard_normal(best.shape)
        reached = amplification(other)
        if reached > value:
            best, value = other, reached
        else:
            length = max(0.97 * length, 0.01)
    return value


@every_design
@pytest.mark.parametrize("seed", range(4))
def test_no_linear_network_of_the_design_passes_the_constants(design, seed):
    a = operator(seed, smallest=10.0 ** -(1 + seed))
    for of_image, constant in enumerate(of_monotone(1.0, *design)):
        assert worst_found(a, design, of_image, seed) <= constant


@pytest.mark.parametrize("seed", range(10))
def test_no_nonlinear_network_passes_the_constants(seed):
    rng = np.random.default_rng(seed)
    design = DESIGNS[2]
    a = operator(seed)
    kernels = [np.linalg.qr(rng.standard_normal((6, 6)))[0] for _ in design[0]]
    knots = rng.uniform(0.05, 0.5, (3, 6))

    def network(k):
        u = np.zeros(6)
        for number, weight in enumerate(design[1]):
            if number:
                kernel, knot = kernels[number - 1], knots[number - 1]
                u = u - design[0][number - 1] * kernel.T @ np.clip(kernel @ u, -knot, knot)
            for _ in range(design[2]):
                u = u - weight * a.T @ (a @ u - k)
        return u

    constant, of_image = of_monotone(1.0, *design)
    for _ in range(200):
        k, d, r = (rng.standard_normal(size) * 10 ** rng.uniform(-2, 1) for size in (5, 5, 6))
        assert np.linalg.norm(network(k + d) - network(k)) <= constant * np.linalg.norm(d)
        moved = np.linalg.norm(network(k + a @ r) - network(k))
        assert moved <= of_image * np.linalg.norm(r)


def test_a_network_without_regularisers_reaches_the_constants():
    # Their gains are 1e-9.
    design = DESIGNS[-1]
    s = np.linspace(1e-6, 1, 100_001)
    left = (1 - 0.7 * s) ** 25
    expected = ((1 - left) / np.sqrt(s)).max(), (1 - left).max()
    np.testing.assert_allclose(of_monotone(1.0, *design), expected, rtol=5e-3)
    assert (np.array(of_monotone(1.0, *design)) >= expected).all()


@pytest.mark.parametrize("of_image", [0, 1])
def test_linear_regularisers_come_within_five_percent_of_the_constants(of_image):
    design = ([1.9, 1.9], [1.0, 1.0, 1.0], 2)
    a = operator(1, rows=2, columns=3, smallest=0.8)
    constant = of_monotone(1.0, *design)[of_image]
    found = max(worst_found(a, design, of_image, seed, trials=400) for seed in range(3))
    assert 0.95 * constant <= found <= constant


@every_design
def test_the_chosen_numbers_are_the_best(design):
    steps, s = _Steps(*design), np.array([0.02, 0.6])
    best = steps.best(s)
    assert not best[-1].any()
    for place in range(2):

        def total(numbers, here=s[place : place + 1]):
            return float(steps.total(here, np.append(numbers, 0)[:, None])[0])

        least = minimize(total, best[:-1, place] + 0.1, method="BFGS", options={"gtol": 1e-9})
        assert total(best[:-1, place]) <= least.fun + 1e-9 * abs(least.fun)


@every_design
def test_the_constants_bound_what_lies_between_the_edges_of_the_parts(design):
    s = np.random.default_rng(0).uniform(0, 1, 20_000) ** 2
    steps = _Steps(*design)
    totals = steps.total(s, steps.best(s))
    constant, of_image = of_monotone(1.0, *design)
    assert totals.max() <= constant**2 <= 1.01 * totals.max()
    assert (s * totals).max() <= of_image**2 <= 1.01 * (s * totals).max()


def test_fewer_than_two_is_demanded_of_regularisers_and_steps():
    assert of_monotone(1.0, [2.0], [1.0, 1.0], 1) == (np.inf, np.inf)
    assert of_monotone(1.0, [0.5], [1.0, 2.0], 1) == (np.inf, np.inf)
    assert of_monotone(1.21, [0.5], [1.0, 1.7], 1) == (np.inf, np.inf)
    assert of_monotone(1.0, [0.5], [1.0, 0.0], 1) == (np.inf, np.inf)
    assert of_monotone(1.0, [np.nan], [1.0, 1.0], 1) == (np.inf, np.inf)
    assert max(of_monotone(1.1, [0.5], [1.0, 1.7], 1)) < np.inf


@every_design
def test_the_constants_grow_with_the_norm_and_with_the_gains(design):
    gains, weights, steps = design
    powers = [of_monotone(power, *design) for power in (0.5, 0.9, 1.0)]
    assert (np.diff(powers, axis=0) >= -1e-3).all()
    smaller = of_monotone(1.0, np.array(gains) / 2, weights, steps)
    assert (np.array(smaller) <= np.array(powers[-1]) * (1 + 1e-3)).all()


@pytest.mark.parametrize("mu", [1e-4, 0.1, 1.0, 5.0])
@pytest.mark.parametrize("size", [1.0, 0.7])
def test_the_constants_of_linear_models_are_their_singular_values(mu, size):
    a = operator(0, smallest=np.sqrt(min(mu, 1.0))) * size
    normal = a.T @ a
    a_power = size**2
    regularised = np.linalg.solve(normal + a_power * mu * np.eye(6), a.T)
    found = np.linalg.norm(regularised, 2), np.linalg.norm(regularised @ a, 2)
    np.testing.assert_allclose(of_regularised(a_power, a_power * mu), found, rtol=1e-9)
    found = np.linalg.norm(a.T, 2), np.linalg.norm(normal, 2)
    np.testing.assert_allclose(of_zero_filled(a_power), found, rtol=1e-9)


def statistics(operator_norm, largest_norm=(10.0, 20.0)):
    return Statistics(None, None, np.array(largest_norm), operator_norm)


def test_every_image_has_the_constants_of_its_own_maps():
    certificate = Lipschitz(of_zero_filled)
    seen = statistics(np.array([1.0, 0.5], np.float32))
    np.testing.assert_allclose(certificate.constants(seen), [[1, 0.5], [1, 0.25]])
    np.testing.assert_allclose(certificate.bound(seen, 3.0), [3, 1.5])
    np.testing.assert_allclose(certificate.image_bound(seen, np.array([3.0, 4.0])), [3, 1])
    np.testing.assert_allclose(certificate.certified_distance(seen, 3.0), [3, 6])


def test_a_solver_that_is_off_adds_to_the_bound():
    exact = Lipschitz(partial(of_regularised, mu=0.01))
    off = Lipschitz(partial(of_regularised, mu=0.01), lambda power: 1e-3 * power)
    seen = statistics(np.array([1.0, 1.0]))
    expected = 1.001 * exact.bound(seen, 2.0) + 2e-3 / 0.999 * np.array([10, 20])
    np.testing.assert_allclose(off.bound(seen, 2.0), expected)
    assert (exact.bound(seen, 2.0) == 10).all()
    distance = off.certified_distance(seen, 5.0)
    np.testing.assert_allclose([off.bound(seen, d)[i] for i, d in enumerate(distance)], 5.0)
    lost = Lipschitz(of_zero_filled, lambda power: 1.0)
    assert (lost.bound(seen, 1.0) == np.inf).all()
    assert not lost.certified_distance(seen, 1.0).any()


def test_statistics_without_a_norm_are_refused():
    text = "statistics must hold operator_norm.*Received: operator_norm=None"
    with pytest.raises(ValueError, match=text):
        Lipschitz(of_zero_filled).bound(statistics(None), 1.0)
