"""Claims about smoothed maps, checked by numerical integration in one and two dimensions."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad, trapezoid
from scipy.special import erf
from scipy.stats import norm

from tfvn.certificates import (
    CERTIFICATES,
    Certificate,
    Lipschitz,
    Local,
    TotalVariation,
    local,
    total_variation,
)
from tfvn.certificates.lipschitz import of_zero_filled
from tfvn.models.base import Statistics

SIGMA = 0.3


def midpoints(count):
    return (np.arange(count) + 0.5) / count * 16 - 8


def smoothed(function, x, sigma=SIGMA):
    """g(x) = E f(x + e) for a map f of one or two variables, by a midpoint rule over +- 8 sigma."""
    x = np.atleast_1d(np.asarray(x, float))
    nodes = midpoints(500 if len(x) == 2 else 400000)
    weights = norm.pdf(nodes) * (nodes[1] - nodes[0])
    if len(x) == 1:
        return function(x[0] + sigma * nodes).T @ weights
    a, b = np.meshgrid(x[0] + sigma * nodes, x[1] + sigma * nodes, indexing="ij")
    return np.einsum("abo,a,b->o", function(a, b), weights, weights)


@pytest.mark.parametrize("distance", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_total_variation_is_half_the_integral_of_the_absolute_difference(distance, sigma):
    def difference(x):
        return abs(norm.pdf(x, 0, sigma) - norm.pdf(x, distance, sigma)) / 2

    expected, _ = quad(
        difference,
        -10 * sigma,
        distance + 10 * sigma,
        points=[0, distance / 2, distance],
        limit=200,
    )
    assert total_variation.total_variation(distance, sigma) == pytest.approx(expected, abs=1e-10)


def test_total_variation_takes_arrays():
    distances = np.linspace(0, 3, 5)
    expected = [total_variation.total_variation(d, SIGMA) for d in distances]
    np.testing.assert_array_equal(total_variation.total_variation(distances, SIGMA), expected)


def test_total_variation_grows_with_the_distance_and_stays_below_one():
    values = total_variation.total_variation(np.linspace(0, 2, 50), SIGMA)
    assert values[0] == 0 and (np.diff(values) > 0).all() and values[-1] < 1


def corner(x):
    """(1, 0) right of 0, (0, 1) left of it: outputs of norm 1, and 0 on a set that vanishes."""
    return np.stack([x > 0, x < 0], -1).astype(float)


@pytest.mark.parametrize("distance", [0.05, 0.3, 1.0])
def test_the_printed_constant_of_the_paper_is_exceeded(distance):
    # max ||f|| + min ||f|| = 1 + 0, yet the smoothed map changes by sqrt(2) erf(...).
    change = np.linalg.norm(smoothed(corner, distance / 2) - smoothed(corner, -distance / 2))
    assert change == pytest.approx(np.sqrt(2) * erf(distance / (2 * np.sqrt(2) * SIGMA)), rel=1e-3)
    assert change > 1.4 * total_variation.global_bound(distance, SIGMA, diameter=1.0)


@pytest.mark.parametrize("distance", [0.05, 0.3, 1.0])
def test_our_bound_holds_with_equality_for_the_papers_counter_example(distance):
    change = np.linalg.norm(smoothed(corner, distance / 2) - smoothed(corner, -distance / 2))
    diameter = total_variation.range_diameter(1.0, non_negative=True)
    assert change == pytest.approx(
        total_variation.global_bound(distance, SIGMA, diameter), rel=1e-3
    )


def random_map(seed, non_negative):
    """A discontinuous map into the ball of radius 1 with three outputs: one random value a cell."""
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((7, 11, 3))
    table = np.abs(table) if non_negative else table
    table /= np.linalg.norm(table, axis=-1, keepdims=True)

    def function(a, b=0.0):
        return table[np.floor(a * 4).astype(int) % 7, np.floor(b * 5 + 0 * a).astype(int) % 11]

    return function


@pytest.mark.slow_cases
@pytest.mark.parametrize("non_negative", [False, True])
@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_no_random_map_changes_more_than_the_bound(seed, dimensions, non_negative):
    function, rng = random_map(seed, non_negative), np.random.default_rng(seed + 100)
    diameter = total_variation.range_diameter(1.0, non_negative)
    for distance in (0.02, 0.2, 0.7):
        x, direction = rng.standard_normal((2, dimensions))
        shift = distance * direction / np.linalg.norm(direction)
        change = np.linalg.norm(smoothed(function, x + shift) - smoothed(function, x))
        assert change <= total_variation.global_bound(distance, SIGMA, diameter) + 5e-3


@pytest.mark.parametrize("non_negative", [False, True])
def test_no_range_is_wider_than_the_diameter(non_negative):
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (400, 2))
    points = points * 2.5 / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1)
    # Among them the pairs that are farthest apart.
    points = np.concatenate([points, [[2.5, 0], [0, 2.5], [-2.5, 0]]])
    points = np.abs(points) if non_negative else points
    widest = np.linalg.norm(points[:, None] - points[None], axis=-1).max()
    assert widest == pytest.approx(total_variation.range_diameter(2.5, non_negative), rel=1e-12)


def test_the_lipschitz_constant_is_above_every_secant_and_tangent_at_zero():
    distances = np.array([1e-6, 0.01, 0.1, 1.0, 10.0])
    secants = total_variation.global_bound(distances, SIGMA, 2.0) / distances
    lipschitz = total_variation.lipschitz_constant(SIGMA, 2.0)
    assert (secants <= lipschitz * (1 + 1e-12)).all()
    assert secants[0] == pytest.approx(lipschitz, rel=1e-6)


def test_more_noise_certifies_more():
    bounds = [total_variation.global_bound(0.5, sigma, 2.0) for sigma in (0.1, 0.2, 0.5)]
    assert bounds == sorted(bounds, reverse=True)


@pytest.mark.parametrize("sigma", [0.0, -0.1, float("nan")])
def test_without_noise_there_is_no_certificate(sigma):
    for claim in (
        lambda: total_variation.total_variation(0.1, sigma),
        lambda: total_variation.global_bound(0.1, sigma, 1.0),
        lambda: total_variation.lipschitz_constant(sigma, 1.0),
    ):
        with pytest.raises(ValueError, match=f"sigma must be > 0.*Received: sigma={sigma}"):
            claim()


@pytest.mark.parametrize("distance", [-0.1, float("nan")])
def test_a_negative_distance_is_refused(distance):
    with pytest.raises(ValueError, match=f"Received: distance={distance}"):
        total_variation.total_variation(distance, SIGMA)


@pytest.mark.parametrize("max_norm", [-1.0, float("nan")])
def test_a_negative_norm_is_refused(max_norm):
    with pytest.raises(ValueError, match=f"Received: max_norm={max_norm}"):
        total_variation.range_diameter(max_norm)


# Other noises

DENSITIES = {
    "gaussian": norm,
    "uniform": stats.uniform(-np.sqrt(3), 2 * np.sqrt(3)),
    "laplace": stats.laplace(0, 1 / np.sqrt(2)),
}
EVERY_NOISE = pytest.mark.parametrize("noise", DENSITIES)


def smoothed_by(noise, function, x, sigma):
    """E f(x + e) for components of that noise and standard deviation, by a midpoint rule."""
    nodes = midpoints(600 if len(x) == 2 else 400000) * 1.5
    weights = DENSITIES[noise].pdf(nodes) * (nodes[1] - nodes[0])
    weights /= weights.sum()
    if len(x) == 1:
        return function(x[0] + sigma * nodes).T @ weights
    a, b = np.meshgrid(x[0] + sigma * nodes, x[1] + sigma * nodes, indexing="ij")
    return np.einsum("abo,a,b->o", function(a, b), weights, weights)


@EVERY_NOISE
def test_noises_have_the_standard_deviation_they_are_named_by(noise):
    assert DENSITIES[noise].std() == pytest.approx(1, rel=1e-12) and DENSITIES[
        noise
    ].mean() == pytest.approx(0, abs=1e-12)


@pytest.mark.slow_cases
@EVERY_NOISE
@pytest.mark.parametrize("distance", [0.01, 0.3, 1.0])
def test_total_variation_of_one_component_is_half_the_integral_of_the_absolute_difference(
    noise, distance
):
    sigma, density = 0.5, DENSITIES[noise].pdf
    nodes = np.linspace(-8, 9, 2_000_001)
    expected = (
        trapezoid(
            np.abs(density(nodes / sigma) - density((nodes - distance) / sigma)) / sigma, nodes
        )
        / 2
    )
    assert total_variation.total_variation(distance, sigma, noise) == pytest.approx(
        expected, abs=2e-5
    )


def bound_at(noise, shift, sigma, diameter):
    order = 2 if total_variation.NORMS[noise] == "l2" else 1
    return total_variation.global_bound(np.linalg.norm(shift, order), sigma, diameter, noise)


@pytest.mark.slow_cases
@EVERY_NOISE
@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_no_random_map_changes_more_than_the_bound_of_its_noise(noise, dimensions, seed):
    function, rng = random_map(seed, False), np.random.default_rng(seed + 50)
    for distance in (0.02, 0.2, 0.7):
        x, direction = rng.standard_normal((2, dimensions))
        shift = distance * direction / np.linalg.norm(direction)
        change = np.linalg.norm(
            smoothed_by(noise, function, x + shift, SIGMA) - smoothed_by(noise, function, x, SIGMA)
        )
        assert change <= bound_at(noise, shift, SIGMA, 2.0) + 1e-2


@EVERY_NOISE
def test_the_bound_is_attained_by_a_step_and_broken_by_less_noise(noise):
    # A map with a known answer: a step of height 2. Were the noise smaller than claimed, it would
    # change by more.
    shift = np.array([0.4])

    def step(x):
        return np.where(x[..., None] > 0, [1.0, 0.0], [-1.0, 0.0])

    def change(sigma):
        return np.linalg.norm(
            smoothed_by(noise, step, shift / 2, sigma) - smoothed_by(noise, step, -shift / 2, sigma)
        )

    assert change(SIGMA) == pytest.approx(bound_at(noise, shift, SIGMA, 2.0), rel=2e-3)
    assert change(SIGMA / 2) > 1.2 * bound_at(noise, shift, SIGMA, 2.0)


@EVERY_NOISE
def test_the_certified_distance_is_where_the_bound_reaches_the_change(noise):
    distance = total_variation.certified_distance(0.3, SIGMA, 2.0, noise)
    assert total_variation.global_bound(distance, SIGMA, 2.0, noise) == pytest.approx(
        0.3, rel=1e-12
    )
    assert total_variation.certified_distance(2.0, SIGMA, 2.0, noise) == np.inf
    assert total_variation.certified_distance(0.0, SIGMA, 2.0, noise) == 0
    with pytest.raises(ValueError, match="Received: change=-1"):
        total_variation.certified_distance(-1, SIGMA, 2.0, noise)


@EVERY_NOISE
def test_the_lipschitz_constant_is_the_slope_at_zero(noise):
    slope = total_variation.global_bound(1e-7, SIGMA, 2.0, noise) / 1e-7
    assert total_variation.lipschitz_constant(SIGMA, 2.0, noise) == pytest.approx(slope, rel=1e-6)


def test_an_unknown_noise_is_refused():
    with pytest.raises(
        ValueError, match="law must be one of gaussian, uniform, laplace. Received: law='salt'"
    ):
        total_variation.total_variation(0.1, 1.0, "salt")


@pytest.mark.slow_cases
@pytest.mark.parametrize("distance", [0.02, 0.2, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_the_local_bound_holds_for_unbounded_maps(distance, seed):
    rng = np.random.default_rng(seed)
    matrix, weights = rng.standard_normal((3, 1)), rng.standard_normal(3)

    def function(x):
        return (
            matrix[:, 0] * x[..., None]
            + weights * np.sin(9 * x[..., None])
            + np.square(x[..., None])
        )

    x = rng.standard_normal(1)
    mean = smoothed(function, x)
    trace = smoothed(lambda y: np.square(function(y) - mean).sum(-1, keepdims=True), x)[0]
    change = np.linalg.norm(smoothed(function, x + distance) - mean)
    assert change <= local.local_bound(distance, SIGMA, trace)
    assert local.local_bound(0.0, SIGMA, trace) == 0


def test_the_local_bound_refuses_a_negative_variance():
    with pytest.raises(ValueError, match="variance must be >= 0"):
        local.local_bound(0.1, SIGMA, -1.0)


BOUNDS = {
    "total_variation": dict(distance=1.0, sigma=0.5),
    "global_bound": dict(distance=1.0, sigma=0.5, diameter=2.0),
    "lipschitz_constant": dict(sigma=0.5, diameter=2.0),
    "certified_distance": dict(change=1.0, sigma=0.5, diameter=2.0),
    "local_bound": dict(distance=1.0, sigma=0.5, variance=2.0),
    "range_diameter": dict(max_norm=1.0),
}


def bound(name):
    """The function of that name."""
    return getattr(local if name == "local_bound" else total_variation, name)


@pytest.mark.parametrize("value", ["1", None, True, float("nan"), -1, 1j, [[1], [2, 3]]], ids=repr)
@pytest.mark.parametrize(
    "function, name", [(f, name) for f, arguments in BOUNDS.items() for name in arguments]
)
def test_what_is_no_number_of_its_range_is_refused_by_name(function, name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .*Received: {name}="):
        bound(function)(**{**BOUNDS[function], name: value})


@pytest.mark.parametrize("function", ["total_variation", "global_bound", "local_bound"])
def test_numbers_that_do_not_belong_together_are_refused(function):
    arguments = {**BOUNDS[function], "distance": np.ones(2), "sigma": np.ones(3)}
    with pytest.raises(
        ValueError, match=r"of one shape, or one a number. Received: .*shape=\(2,\).*shape=\(3,\)"
    ):
        bound(function)(**arguments)


@pytest.mark.parametrize("noise", [None, 3, "pink", ["gaussian"]])
def test_an_unknown_law_has_no_certificate(noise):
    with pytest.raises(
        ValueError, match="law must be one of gaussian, uniform, laplace. Received: law="
    ):
        total_variation.total_variation(1.0, 1.0, noise)


# Certificates of models


STATISTICS = Statistics(
    mean=np.ones((2, 3, 4), np.float32),
    deviation=np.stack([np.full((3, 4), 0.1), np.zeros((3, 4))]).astype(np.float32),
    largest_norm=np.array([4.0, 5.0], np.float32),
    operator_norm=np.array([1.0, 0.5], np.float32),
)
MADE = {
    "total-variation": [TotalVariation(SIGMA, law) for law in total_variation.NORMS],
    "local": [Local(SIGMA)],
    "lipschitz": [Lipschitz(of_zero_filled)],
}
EVERY_CERTIFICATE = pytest.mark.parametrize(
    "certificate", [one for made in MADE.values() for one in made], ids=lambda one: one.name
)


def test_every_certificate_is_tested():
    assert set(MADE) == set(CERTIFICATES)
    for name, made in MADE.items():
        for certificate in made:
            assert isinstance(certificate, Certificate)
            assert type(certificate) is CERTIFICATES[name] and certificate.name == name


@EVERY_CERTIFICATE
def test_a_bound_is_one_number_an_image_and_grows_from_zero(certificate):
    bounds = [certificate.bound(STATISTICS, distance) for distance in (0.0, 0.1, 0.3)]
    assert all(np.shape(bound) == (2,) for bound in bounds)
    assert not bounds[0].any()
    assert (bounds[1] <= bounds[2]).all() and bounds[1][0] < bounds[2][0]


@EVERY_CERTIFICATE
def test_its_lipschitz_constant_is_the_slope_of_its_bound_at_zero(certificate):
    slope = certificate.bound(STATISTICS, 1e-6) / 1e-6
    np.testing.assert_allclose(certificate.lipschitz(STATISTICS), slope, rtol=1e-5)


@EVERY_CERTIFICATE
def test_what_is_known_of_image_changes_is_a_slope_or_nothing(certificate):
    bound = certificate.image_bound(STATISTICS, np.array([0.2]))
    slope = certificate.image_lipschitz(STATISTICS)
    if np.isnan(slope).all():
        assert bound == np.inf
    else:
        np.testing.assert_allclose(bound, 0.2 * slope)


@EVERY_CERTIFICATE
def test_its_certified_distance_is_where_its_bound_reaches_the_change(certificate):
    distances = certificate.certified_distance(STATISTICS, 0.2)
    assert distances.shape == (2,) and (distances > 0).all()
    for image, distance in enumerate(distances):
        if np.isfinite(distance):
            assert certificate.bound(STATISTICS, distance)[image] == pytest.approx(0.2, rel=1e-6)
        else:
            assert certificate.bound(STATISTICS, 10 * SIGMA)[image] <= 0.2


@pytest.mark.parametrize("cls", [TotalVariation, Local])
def test_a_certificate_without_noise_is_refused(cls):
    with pytest.raises(ValueError, match="sigma must be > 0.*Received: sigma=0"):
        cls(0)


@EVERY_CERTIFICATE
def test_a_negative_change_is_refused(certificate):
    with pytest.raises(ValueError, match="change must be a number >= 0. Received: change=-1"):
        certificate.certified_distance(STATISTICS, -1)


@EVERY_NOISE
def test_the_total_variation_is_that_of_the_diameter_of_the_largest_draw(noise):
    certificate = TotalVariation(SIGMA, noise)
    diameter = np.sqrt(2) * STATISTICS.largest_norm.astype(float)
    assert certificate.norm == total_variation.NORMS[noise] and certificate.confidence == 1
    np.testing.assert_array_equal(certificate.diameter(STATISTICS), diameter)
    expected = diameter * total_variation.total_variation(0.1, SIGMA, noise)
    np.testing.assert_array_equal(certificate.bound(STATISTICS, 0.1), expected)
    np.testing.assert_array_equal(certificate.share(0.1) * diameter, expected)


def test_the_local_certificate_is_that_of_the_trace_and_claims_no_level():
    certificate = Local(SIGMA)
    assert certificate.norm == "l2" and certificate.confidence == 0
    np.testing.assert_allclose(certificate.variance(STATISTICS), [0.12, 0], rtol=1e-6)
    expected = local.local_bound(0.1, SIGMA, certificate.variance(STATISTICS))
    np.testing.assert_array_equal(certificate.bound(STATISTICS, 0.1), expected)
    assert certificate.certified_distance(STATISTICS, 0.2)[1] == np.inf
