"""Lipschitz constants: nothing breaks them, and what is linear reaches them."""

from functools import partial

import numpy as np
import pytest
from scipy.optimize import minimize

from tfvn.attacks import PowerIteration
from tfvn.certificates import Lipschitz
from tfvn.certificates.lipschitz import (
    _Steps,
    of_convex,
    of_monotone,
    of_regularised,
    of_zero_filled,
)
from tfvn.models import TotalVariation, Wavelet, sparse
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


@pytest.mark.slow_cases
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


@every_design
def test_the_chosen_numbers_are_no_worse_than_none(design):
    _, weights, steps = design
    closed = np.sqrt(steps * sum(w / (2 - w) for w in weights))
    assert of_monotone(1.0, *design)[0] <= closed * (1 + 1e-6)
    # Before a regulariser of gain 2 no number is worth anything.
    assert of_monotone(1.0, [1.999] * 4, [1.0] * 5, 1)[0] == pytest.approx(5**0.5, rel=1e-3)
    assert of_monotone(1.0, [0.1] * 8, [1.0] * 9, 1)[0] == pytest.approx(2.0, abs=0.05)


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


# The minimum of a convex function

CONVEX = [(1.0, 0.007, 1.65), (1.0, 0.5, 0.3), (0.8, 0.02, 10.0), (1.0, 2.0, 1.0)]


@pytest.mark.slow
@pytest.mark.parametrize("power, mu, strength", CONVEX)
def test_the_minimum_of_a_convex_function_reaches_its_constants_and_passes_none(
    power, mu, strength
):
    constants = of_convex(power, mu, strength)
    # Two pixels, of which A sees one, or one fully and one as the worst data need it.
    normals = [np.diag([0.0, power]), np.diag([min(mu, power), power])]
    largest = np.zeros(2)
    for normal in normals:
        for angle in np.linspace(0, np.pi, 1001):
            unit = np.array([np.cos(angle), np.sin(angle)])
            for size in (0.0, strength):
                hessian = normal + mu * np.eye(2) + size * np.outer(unit, unit)
                solved = np.linalg.inv(hessian)
                reached = [np.linalg.norm(solved @ x, 2) for x in (np.sqrt(normal), normal)]
                largest = np.maximum(largest, reached)
    assert (largest <= np.array(constants) * (1 + 1e-12)).all()
    np.testing.assert_allclose(largest, constants, rtol=1e-3)


@pytest.mark.parametrize("seed", range(10))
def test_no_convex_regulariser_passes_the_constants(seed):
    rng = np.random.default_rng(seed)
    a, mu, strength = operator(seed), 10 ** rng.uniform(-3, 0), 10 ** rng.uniform(-1, 1)
    constants = of_convex(1.0, mu, strength)
    for rank in range(1, 6):
        basis = np.linalg.qr(rng.standard_normal((6, 6)))[0][:, :rank]
        hessian = a.T @ a + mu * np.eye(6) + strength * basis * rng.uniform(0, 1, rank) @ basis.T
        solved = np.linalg.inv(hessian)
        for matrix, constant in ((a.T, constants[0]), (a.T @ a, constants[1])):
            assert np.linalg.norm(solved @ matrix, 2) <= constant


def test_without_a_regulariser_the_constants_are_those_of_cg_sense():
    assert of_convex(0.9, 0.1, 0.0) == of_regularised(0.9, 0.1)
    np.testing.assert_allclose(of_convex(0.9, 0.1, 1e-9), of_regularised(0.9, 0.1), rtol=1e-6)


# Total variation and wavelets


def box(radius):
    """The projection on a box."""
    return lambda q: np.clip(q, -radius, radius)


def line(vector):
    """The projection on a line through 0: a convex set too, and linear."""
    unit = vector / np.linalg.norm(vector)
    return lambda q: unit * (unit @ q)


def sparse_map(a, differences, iterations, project, step=1.5):
    """The function from data to the image after so many iterations of `tfvn.models.sparse`."""
    dual_step = 1 / (step * np.linalg.norm(differences, 2) ** 2)

    def image_of(k):
        image, dual = a.T @ k, np.zeros(len(differences))
        for _ in range(iterations):
            lower = image - step * (a.T @ (a @ image - k))
            guess = lower - step * differences.T @ dual
            dual = project(dual + dual_step * differences @ guess)
            image = lower - step * differences.T @ dual
        return image

    return image_of


@pytest.mark.parametrize("iterations", [1, 4, 15])
def test_the_iterations_of_a_sparse_image_do_not_pass_their_constants(iterations):
    of_data, of_image = sparse.constants(1.0, iterations)
    largest = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        a = operator(seed, smallest=10.0 ** -(seed % 4))
        radius = 10.0 ** rng.uniform(-3, 0)
        image_of = sparse_map(a, rng.standard_normal((9, 6)), iterations, box(radius))
        for _ in range(20):
            k, d, r = rng.standard_normal(5), rng.standard_normal(5), rng.standard_normal(6)
            for change, size, constant in ((d, d, of_data), (a @ r, r, of_image)):
                change, size = 0.1 * change, 0.1 * np.linalg.norm(size)
                reached = np.linalg.norm(image_of(k + change) - image_of(k)) / size
                assert reached <= constant * (1 + 1e-9)
                largest = max(largest, reached / constant)
    assert largest > 0.5


@pytest.mark.parametrize("seed", range(3))
def test_linear_projections_of_the_dual_image_do_not_pass_the_constants(seed):
    rng = np.random.default_rng(seed)
    a = operator(seed, smallest=0.1)
    largest = 0
    for _ in range(200):
        set_ = line(rng.standard_normal(4))
        image_of = sparse_map(a, rng.standard_normal((4, 6)), 6, set_)
        columns = [image_of(k) for k in np.eye(5)]
        largest = max(largest, np.linalg.norm(columns, 2))
    constant = sparse.constants(1.0, 6)[0]
    assert 0.4 * constant < largest <= constant


def test_the_constants_are_of_the_norm_and_the_iterations_of_the_model():
    (certificate,) = TotalVariation(iterations=4).certificates
    found = certificate.constants(statistics(0.5))
    np.testing.assert_allclose(np.ravel(found), sparse.constants(0.25, 4))
    (other,) = Wavelet(iterations=5).certificates
    assert other.lipschitz(statistics(0.5)) > certificate.lipschitz(statistics(0.5))
    assert TotalVariation(iterations=sparse.MOST_PROVED + 1).certificates == ()


@pytest.mark.slow_cases
@pytest.mark.parametrize("model", [TotalVariation(0.02, 4), Wavelet(0.02, 2, 4)])
def test_no_attack_passes_the_constants_of_a_sparse_image(case, model):
    inputs = case(2, coils=3, height=16, width=12)
    (certificate,) = model.certificates
    constant = float(certificate.lipschitz(model.statistics(inputs)).max())
    clean = model.reconstruct(inputs).numpy()
    result = PowerIteration(threat="kspace", steps=5).run(model, inputs, 0.5)
    moved = np.linalg.norm((result.reconstruction.numpy() - clean).reshape(2, -1), axis=1)
    assert (moved <= 0.5 * constant * (1 + 1e-4)).all() and (moved > 0.1).all()
