"""What draws prove: indices are those of SciPy, and claims hold as often as they say, on maps whose
quantiles are known.
"""

import contextlib
import math
import tracemalloc
import warnings
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr

from tfvn.certificates import (
    FROM_DRAWS,
    Center,
    Covariance,
    Draws,
    ExpectedError,
    FromDraws,
    Median,
    NextPatient,
    Trace,
    counts,
)
from tfvn.certificates.bets import fewest, largest_mean
from tfvn.certificates.local import local_bound
from tfvn.certificates.total_variation import global_bound, range_diameter

REPEATS = 1000
SLICE = 640 * 368


@contextlib.contextmanager
def drawn(images, **settings):
    """`Draws` that hold images, as a context."""
    with Draws(images.shape[1:], **settings) as draws:
        for image in images:
            draws.append(image)
        yield draws


# Counts

CASES = [(10, 0.3, 0.2), (116, 0.16, 1e-3), (2000, 0.075, 1e-5), (5000, 0.5, 1e-9), (7, 0.01, 0.9)]


@pytest.mark.parametrize("n, p, level", CASES)
def test_the_indices_are_those_of_an_independent_computation(n, p, level):
    places = np.arange(1, n + 1)
    fits = places[stats.binom.cdf(places - 1, n, p) <= level]
    assert counts.below(n, p, level) == max(fits, default=0)
    # From above: fewer than n + 1 - q draws are at least the quantile.
    fits = places[stats.binom.sf(places - 1, n, 1 - p) <= level]
    assert counts.above(n, 1 - p, level) == min(fits, default=0)


def test_the_indices_are_those_of_exact_fractions():
    n, p, level = 40, Fraction(1, 7), Fraction(1, 100)
    chances = [math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(n + 1)]
    exact = max(q for q in range(n + 1) if sum(chances[:q]) <= level)
    assert exact > 0 and counts.below(n, float(p), float(level)) == exact


@pytest.mark.parametrize("p, level", [(0.3, 0.2), (0.16, 1e-9), (1e-3, 1e-12), (0.5, 0.5)])
def test_one_draw_less_than_the_fewest_has_no_index(p, level):
    fewest = counts.fewest(p, level)
    assert counts.below(fewest, p, level) == 1 and counts.below(fewest - 1, p, level) == 0


def test_where_no_number_of_draws_does_it_is_infinite():
    assert counts.fewest(0.0, 0.1) == math.inf and counts.fewest(1e-12, 0.1) == math.inf


# The ratio of radius and noise, the draws for one pixel, and those for a slice of 640 x 368.
@pytest.mark.parametrize(
    "ratio, one, slice_", [(0.25, 15, 39), (0.5, 21, 55), (1, 44, 116), (2, 331, 868)]
)
def test_the_draws_that_a_slice_needs(ratio, one, slice_):
    median = Median(alpha=1e-3)
    assert median.needed(1, ratio) == one and median.needed(SLICE, ratio) == slice_
    assert median.places(slice_, SLICE, ratio) == (1, slice_)
    assert median.places(slice_ - 1, SLICE, ratio) is None
    # SciPy's own: all draws are on one side of the quantile.
    level = 1e-3 / (2 * SLICE)
    assert stats.binom.cdf(0, slice_, ndtr(-ratio)) <= level
    assert stats.binom.cdf(0, slice_ - 1, ndtr(-ratio)) > level


def test_the_places_of_a_median_are_those_of_scipy():
    # 2000 draws at sigma 0.25 and radius 0.36, each side with a confidence of 0.99999.
    assert Median(alpha=2e-5).places(2000, 1, 0.36 / 0.25) == (102, 1899)


# Draws


def test_draws_are_read_as_images_and_as_blocks_of_pixels():
    images = np.random.default_rng(0).standard_normal((5, 3, 4)).astype("f4")
    with drawn(images, at_once=17) as draws:
        np.testing.assert_array_equal(list(draws.images()), images)
        np.testing.assert_array_equal(list(draws.images(1, 3)), images[1:3])
        blocks = list(draws.blocks())
        assert [values.shape for _, values in blocks] == [(5, 3)] * 4
        np.testing.assert_array_equal(
            np.concatenate([values for _, values in blocks], 1), images.reshape(5, 12)
        )


def test_what_is_no_draw_is_refused():
    with Draws((2, 3)) as draws:
        with pytest.raises(ValueError, match=r"shape \(2, 3\).*Received: image.shape=\(3,\)"):
            draws.append(np.zeros(3))
        with pytest.raises(ValueError, match="a draw must be finite.*lower learning rate"):
            draws.append(np.full((2, 3), np.nan))
        assert len(draws) == 0


def peak_of(count):
    """The largest memory of all certificates from so many draws, in bytes."""
    rng = np.random.default_rng(0)
    reference = np.ones((10, 10), "f4")
    made = [Median(), Center(0.1, 5, 0.3), ExpectedError(), Covariance(most=20)]
    made.append(Trace())
    tracemalloc.start()
    with Draws(reference.shape, at_once=2**14) as draws:
        for _ in range(count):
            draws.append(reference + rng.random(reference.shape, "f4"))
        for certificate in made:
            certificate.claims(draws, 1.0, [0.1, 0.2], reference)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_number_of_draws():
    few, many = peak_of(160), peak_of(1500)
    # All of 1500 draws are 600 kB. What is kept of each is a distance or an error.
    assert many < few + 2**16


# Median

SIGMA = 0.5
# Of pixel i, f(x) is an increasing function of x_i. Its median at x + d is that function of
# x_i + d_i, so its bounds are those of a whole line, and cannot be smaller.
MAPS = (np.tanh, np.exp, np.cbrt, lambda x: np.floor(4 * x))


def median_coverage(ratio, count, alpha):
    """How often all pixels' quantiles are inside, and how often one side is, of REPEATS."""
    rng = np.random.default_rng(1)
    median, inside, sides = Median(alpha), 0, 0
    for _ in range(REPEATS):
        noise = SIGMA * rng.standard_normal((count, len(MAPS)))
        images = np.stack([f(noise[:, i]) for i, f in enumerate(MAPS)], 1)
        with drawn(images) as draws:
            found = median.intervals(draws, SIGMA, [ratio * SIGMA])
        lower = np.array([f(-ratio * SIGMA) for f in MAPS])
        upper = np.array([f(ratio * SIGMA) for f in MAPS])
        holds = np.stack([found.lower[0] <= lower, upper <= found.upper[0]])
        inside += holds.all()
        sides += holds[:, :3].mean()
    return inside / REPEATS, sides / REPEATS


@pytest.mark.slow_cases
@pytest.mark.parametrize("ratio, count", [(0.5, 61), (1, 101)])
def test_the_median_of_all_pixels_is_inside_as_often_as_claimed(ratio, count):
    alpha = 0.2
    inside, sides = median_coverage(ratio, count, alpha)
    assert inside >= 1 - alpha
    # And not more than the next order statistic would make it: a side fails as often as its level
    # allows, up to the steps of the binomial law.
    place, _ = Median(alpha).places(count, len(MAPS), ratio)
    expected = stats.binom.cdf(place - 1, count, ndtr(-ratio))
    assert 1 - sides == pytest.approx(expected, abs=0.01)
    assert expected > alpha / (4 * len(MAPS))


def test_a_median_is_no_further_than_its_bound_at_any_change():
    rng = np.random.default_rng(2)
    matrix, radius = rng.standard_normal((6, 4)), 0.3

    def median_at(x):
        # Of a linear map.
        return np.abs(matrix @ x + 20)

    noise = SIGMA * rng.standard_normal((400, 4))
    with drawn(np.abs(noise @ matrix.T + 20)) as draws:
        found = Median().intervals(draws, SIGMA, [radius])
        (claim,) = Median().claims(draws, SIGMA, [radius])
    for direction in rng.standard_normal((100, 4)):
        moved = median_at(radius * direction / np.linalg.norm(direction))
        assert (found.lower[0] <= moved).all() and (moved <= found.upper[0]).all()
        assert np.linalg.norm(moved - found.image) <= claim.bound
        assert np.linalg.norm(moved - median_at(np.zeros(4))) <= found.change()[0]
    assert claim.bound <= found.change()[0] <= 2 * claim.bound
    assert claim.confidence == 0.999 and claim.draws == 400 and not claim.abstains


@pytest.mark.parametrize("count", [4, 5])
def test_the_image_of_a_median_is_that_of_numpy(count):
    images = np.random.default_rng(3).standard_normal((count, 3, 2)).astype("f4")
    with drawn(images, at_once=7) as draws:
        found = Median().intervals(draws, SIGMA, [])
    np.testing.assert_allclose(found.image, np.median(images, 0), rtol=1e-6)


# Center


@pytest.mark.slow
def test_a_ball_around_the_centre_holds_what_it_must_as_often_as_claimed():
    # f(k + e) is one number, e itself: what a ball holds is known.
    rng = np.random.default_rng(4)
    center, ratio = Center(alpha=0.2, candidates=5, excess=0.2), 0.7
    count = center.needed(1, ratio) + 30
    share, failures = ndtr(stats.norm.ppf(0.7) + ratio), 0
    for images in rng.standard_normal((REPEATS, count, 1)).astype("f4"):
        with drawn(images) as draws:
            found = center.found(draws)
        middle, radius = float(found.image[0]), center.bounds_of(found, 1.0, [ratio])[0] / 3
        failures += ndtr(middle + radius) - ndtr(middle - radius) < share
    assert 0 < failures / REPEATS <= center.alpha / 2


def test_a_choice_fails_as_seldom_as_claimed():
    rng = np.random.default_rng(5)
    center = Center(alpha=0.3, candidates=3, excess=0.25)
    too_wide = too_narrow = 0
    # What a ball of 3/4 around 0 is at k + d.
    ball = stats.norm.ppf((1 + 0.75) / 2)
    count = center.candidates + center.judges + 1
    for images in rng.standard_normal((REPEATS, count, 1)).astype("f4"):
        with drawn(images) as draws:
            found = center.found(draws)
        middle, spread = float(found.image[0]), found.spread
        too_wide += spread > 2 * ball
        too_narrow += ndtr(middle + spread) - ndtr(middle - spread) <= 0.25
    assert too_wide + too_narrow <= center.alpha / 2 * REPEATS


@pytest.mark.slow
def test_two_centres_are_no_further_apart_than_the_bound():
    rng = np.random.default_rng(6)
    matrix, center, radius = rng.standard_normal((6, 4)), Center(0.01), 0.4
    shift = radius * np.linalg.svd(matrix)[2][0]

    def answers(x):
        return np.abs((x + SIGMA * rng.standard_normal((600, 4))) @ matrix.T + 10)

    for _ in range(8):
        with drawn(answers(0)) as clean, drawn(answers(shift)) as changed:
            (claim,) = center.claims(clean, SIGMA, [radius])
            images = [center.found(draws).image for draws in (clean, changed)]
        assert 0.1 < np.linalg.norm(images[1] - images[0]) <= claim.bound


def test_the_mean_of_the_candidates_is_the_centre_in_many_dimensions():
    images = np.random.default_rng(7).standard_normal((500, 200)).astype("f4")
    center = Center()
    with drawn(images) as draws:
        found = center.found(draws)
    np.testing.assert_allclose(found.image, images[:30].mean(0), atol=1e-6)
    # Of a single draw it would be sqrt(400).
    assert found.spread == pytest.approx(math.sqrt(200 * (1 + 1 / 30)), rel=0.02)


def test_the_draws_of_a_centre_are_known_before():
    center = Center()
    needed = center.needed(SLICE, 1.0)
    assert center.failure(center.judges) <= 0.0005 < center.failure(center.judges - 2)
    assert needed == center.candidates + center.judges + 69
    images = np.random.default_rng(8).standard_normal((needed, 2))
    with drawn(images) as enough, drawn(images[1:]) as few, drawn(images[:40]) as fewer:
        assert not center.claims(enough, 1.0, [1.0])[0].abstains
        assert center.claims(few, 1.0, [1.0])[0].abstains
        assert center.claims(fewer, 1.0, [1.0])[0].abstains


@pytest.mark.parametrize("settings", [{"candidates": 2}, {"alpha": 1e-12}])
def test_a_choice_that_no_number_of_draws_makes_sure_is_not_made(settings):
    center = Center(**settings)
    assert center.needed(9, 1.0) == math.inf
    with drawn(np.ones((50, 2))) as draws:
        assert center.claims(draws, 1.0, [1.0])[0].abstains


# Expected error

LAWS = [stats.bernoulli(0.1), stats.beta(2, 6), stats.uniform(0.3, 0.01), stats.bernoulli(0.97)]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("count", [30, 300])
def test_a_mean_is_below_its_bound_as_often_as_claimed(law, count):
    scores = law.rvs((REPEATS, count), random_state=np.random.default_rng(9))
    bounds = largest_mean(scores, alpha=0.1)
    assert (bounds >= law.mean()).mean() >= 0.9
    # Below that of Hoeffding, which does not see how little the draws vary.
    if count == 300 and law.std() < 0.3:
        assert bounds.mean() < law.mean() + math.sqrt(math.log(10) / (2 * count))


def test_scores_that_do_not_vary_bound_a_mean_closely():
    assert 0.3 < largest_mean(np.full(1000, 0.3), 0.001) < 0.31
    assert largest_mean(np.ones(1000), 0.001) == largest_mean([], 0.001) == 1


def test_an_expected_error_rises_no_more_than_claimed():
    # f(x) = x + 1, the truth 1: the error is |x|, and at most ||y|| = 1.
    def expected(x):
        nodes = np.linspace(-8, 8, 20001)
        error = np.minimum(np.abs(x + SIGMA * nodes), 1)
        return (error * stats.norm.pdf(nodes)).sum() * (nodes[1] - nodes[0])

    noise = SIGMA * np.random.default_rng(10).standard_normal((3000, 1))
    with drawn(noise + 1) as draws:
        claims = ExpectedError().claims(draws, SIGMA, [0.1, 0.5, 1.0], np.ones(1))
    for claim in claims:
        assert expected(claim.radius) <= claim.bound <= 1
    assert claims[0].bound < expected(0) + 0.1


def test_without_errors_so_many_draws_end_the_bet():
    certificate, truth = ExpectedError(), np.ones(2)
    needed = certificate.needed(2, 1.0)
    with drawn(np.ones((needed, 2))) as enough, drawn(np.ones((needed - 1, 2))) as few:
        assert not certificate.claims(enough, 1.0, [1.0], truth)[0].abstains
        assert certificate.claims(few, 1.0, [1.0], truth)[0].abstains


@pytest.mark.parametrize("reference", [None, np.zeros(2)])
def test_without_a_truth_nothing_is_said_of_errors(reference):
    with drawn(np.ones((50, 2))) as draws:
        assert ExpectedError().claims(draws, 1.0, [1.0], reference)[0].abstains
        with pytest.raises(ValueError, match="the norm of the reference must be a number >= 0"):
            ExpectedError().claims(draws, 1.0, [1.0], np.array([1, np.nan]))


def test_what_holds_of_every_error_is_no_claim():
    with drawn(np.ones((50, 2))) as draws:
        claims = ExpectedError().claims(draws, 0.1, [0.1, 2.0], np.ones(2))
    assert [claim.abstains for claim in claims] == [False, True]


# Covariance


def test_the_spectrum_is_that_of_numpy():
    images = np.random.default_rng(11).standard_normal((50, 4, 3)).astype("f4")
    with drawn(images, at_once=100) as draws:
        found = Covariance(most=40).spectrum(draws)
    lines = images[:40].reshape(40, 12).astype(float)
    values = np.linalg.eigvalsh(np.cov(lines.T))
    assert found.largest == pytest.approx(values[-1]) and found.trace == pytest.approx(values.sum())
    vector = np.linalg.eigh(np.cov(lines[:20].T))[1][:, -1]
    assert found.seen == pytest.approx((lines[20:] @ vector).var(ddof=1))


def test_the_largest_eigenvalue_is_between_both_estimates_in_the_mean():
    deviations = np.array([1.0, 0.9, 0.8, 0.1, 0.1, 0.1])
    rng, found = np.random.default_rng(12), []
    for _ in range(300):
        with drawn(deviations * rng.standard_normal((12, 6))) as draws:
            found.append(Covariance().spectrum(draws))
    assert np.mean([one.seen for one in found]) < 1 < np.mean([one.largest for one in found])


def test_the_bound_of_a_covariance_is_local_and_claims_nothing():
    rng, certificate = np.random.default_rng(13), Covariance()
    matrix = rng.standard_normal((5, 3))
    with drawn(SIGMA * rng.standard_normal((900, 3)) @ matrix.T) as draws:
        (claim,) = certificate.claims(draws, SIGMA, [0.1])
        spectrum = certificate.spectrum(draws)
    assert claim.bound == local_bound(0.1, SIGMA, spectrum.largest) and claim.confidence == 0
    # Of a linear map it is the change itself, for a small one.
    change = 0.1 * np.linalg.norm(matrix, 2)
    assert change <= claim.bound * 1.05 and claim.bound < 1.1 * change
    assert claim.bound < local_bound(0.1, SIGMA, spectrum.trace)


def test_a_line_of_draws_that_are_all_equal_has_no_spread():
    with drawn(np.ones((8, 3))) as draws:
        assert Covariance().spectrum(draws) == (0, 0, 0)


# Trace


def test_a_variance_is_below_its_bound_as_often_as_claimed():
    # One image of four at a time is not 0: the variance is far from what a normal law has.
    rng, certificate, held, bounds = np.random.default_rng(16), Trace(alpha=0.2), 0, []
    truth = 4 * 9 * 0.25 * 0.75
    for _ in range(300):
        images = 3.0 * (rng.random((40, 4)) < 0.25)
        images[0] = 3
        with drawn(images) as draws:
            variance = certificate.variance(draws).largest
        held += not variance < truth
        bounds.append(variance)
    assert held >= 0.8 * 300 and np.mean(bounds) < 4 * truth


def test_the_trace_of_many_draws_is_that_of_numpy():
    images = 10 + 0.3 * np.random.default_rng(17).standard_normal((4000, 2, 3)).astype("f4")
    with drawn(images) as draws:
        variance, norm, scaled = Trace().variance(draws)
        (claim,) = Trace().claims(draws, SIGMA, [0.1], np.full((2, 3), 10))
    assert norm == pytest.approx(1.1 * np.linalg.norm(images[0])) and scaled == 0
    assert claim.norm == norm and claim.scaled == 0
    assert images.var(0).sum() < variance < images.var(0).sum() + 4
    assert claim.bound == local_bound(0.1, SIGMA, variance) and claim.confidence == 0.999


def test_draws_larger_than_the_norm_are_scaled_back():
    images = np.ones((300, 2, 2))
    images[5:8] = 100
    with drawn(images) as draws, drawn(images[:299]) as fewer:
        found = Trace(alpha=0.5, room=2).variance(draws)
        assert found.norm == 4 and found.scaled == 0.01 and found.largest < 1
        (claim,) = Trace(alpha=0.5, room=2).claims(draws, 1.0, [1.0])
        assert claim.scaled == 0.01 and not claim.abstains
        # More than one of a hundred makes another map of it.
        (claim,) = Trace(alpha=0.5, room=2).claims(fewer, 1.0, [1.0])
        assert claim.scaled > 0.01 and claim.abstains


@pytest.mark.parametrize("ratio", [0.25, 1.0, 2.0])
def test_a_trace_says_less_than_what_holds_without_draws_or_nothing(ratio):
    certificate = Trace()
    needed = certificate.needed(4, ratio)
    images = np.ones((needed, 2, 2))
    with drawn(images) as enough, drawn(images[1:]) as few:
        (claim,) = certificate.claims(enough, 1.0, [ratio])
        assert certificate.claims(few, 1.0, [ratio])[0].abstains
    diameter = range_diameter(1.1 * 2, non_negative=True)
    assert claim.bound < global_bound(ratio, 1.0, diameter) < 1.1 * claim.bound
    assert certificate.needed(4, 30.0) == math.inf


def test_an_infinite_bound_is_none():
    with warnings.catch_warnings(), drawn(np.random.default_rng(18).random((50, 4))) as draws:
        warnings.simplefilter("error")
        for one in (Covariance(), Trace()):
            assert one.claims(draws, 0.001, [1.0])[0].abstains
        assert local_bound(1.0, 0.001, 2.0) == math.inf and local_bound(1.0, 0.001, 0.0) == 0


def test_a_draw_below_zero_is_no_magnitude():
    for images in (np.array([[1.0], [-1.0]]), np.array([[-1.0], [1.0]])):
        with drawn(images) as draws, pytest.raises(ValueError, match="magnitude images.*-1"):
            Trace().variance(draws)


# Next patient


@pytest.mark.parametrize("miss, ratio, patients", [(0.1, 0.5, 26), (0.1, 1, 88), (0.05, 1, 244)])
def test_the_patients_that_are_needed(miss, ratio, patients):
    certificate = NextPatient(miss)
    assert certificate.needed(ratio) == patients
    share = ndtr(stats.norm.ppf(1 - miss) + ratio)
    assert share / (1 - share) <= patients < share / (1 - share) + 1
    scores = np.arange(patients) + 1.0
    (claim,) = certificate.claims(scores, 1.0, [ratio])
    assert claim.bound == patients and claim.confidence == 1 - miss
    assert certificate.claims(scores[1:], 1.0, [ratio])[0].abstains
    assert certificate.needed(60) == math.inf and certificate.claims(scores, 1, [60])[0].abstains


def test_the_next_patient_is_below_the_bound_as_often_as_claimed():
    rng, miss, ratio = np.random.default_rng(14), 0.2, 0.6
    certificate, rho = NextPatient(miss), ratio * SIGMA
    # The error of a patient is x + e, and the attack adds all it may.
    scores = rng.uniform(0, 0.1, (4 * REPEATS, 60)) + 20
    scores = scores + SIGMA * rng.standard_normal(scores.shape)
    bounds = [certificate.claims(line, SIGMA, [rho])[0].bound for line in scores[:, 1:]]
    held = scores[:, 0] + rho <= np.array(bounds)
    # A standard deviation of the mean is 0.006.
    assert 1 - miss - 0.02 < held.mean() < 1 - miss + 0.05


# All


@pytest.mark.parametrize("name", FROM_DRAWS)
def test_claims_grow_with_the_radius_and_say_what_was_needed(name):
    certificate = FROM_DRAWS[name]()
    assert isinstance(certificate, FromDraws) and certificate.name == name
    rng, truth = np.random.default_rng(15), np.full((2, 3), 2 + 0j)
    with drawn(1 + 0.03 * rng.standard_normal((700, 2, 3))) as draws:
        claims = certificate.claims(draws, 0.1, [0.02, 0.05, 0.1], truth)
        with pytest.raises(ValueError, match="radius must be a number > 0. Received: radius=0"):
            certificate.claims(draws, 0.1, [0], truth)
        with pytest.raises(ValueError, match="sigma must be > 0.*Received: sigma=0"):
            certificate.answer(draws, 0, [0.1], truth)
    bounds = [claim.bound for claim in claims]
    assert bounds == sorted(bounds) and bounds[0] < bounds[2]
    for claim in claims:
        assert claim.certificate == name and claim.about == certificate.about
        assert claim.needed == certificate.needed(6, claim.radius / 0.1) <= claim.draws == 700
        # All images are 1 in the mean, and the truth is 2.
        if name == "expected-error":
            assert claim.bound > math.sqrt(6)
        # Of what is bounded around the mean of all draws no image is known.
        if name not in ("median", "center"):
            assert math.isnan(claim.error)
        else:
            assert claim.error == pytest.approx(math.sqrt(6), rel=0.05)


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("name", FROM_DRAWS)
def test_three_draws_prove_nothing(name, count):
    with drawn(np.ones((count, 2, 3))) as draws:
        (claim,) = FROM_DRAWS[name]().claims(draws, 0.1, [0.1], np.ones((2, 3)))
        assert claim.abstains and claim.draws == count < claim.needed
        answer = FROM_DRAWS[name]().answer(draws, 0.1, [0.1])
    # Bounds that are not there make no images, and neither does no draw.
    assert set(answer.images(name, [0.1])) <= ({name} if count else set())


def test_images_of_radii_that_are_nearly_equal_have_names_of_their_own():
    radii = [0.1, 0.1000000001]
    with drawn(np.random.default_rng(19).random((60, 2))) as draws:
        found = Median(0.1).answer(draws, 0.1, radii).images("median", radii)
    assert len(found) == 5 and "median_upper_0.1" in found


@pytest.mark.parametrize("alpha", [0, 1, -0.1, float("nan"), "0.1", None])
def test_a_level_outside_of_0_and_1_is_refused(alpha):
    for make in (Median, Center, ExpectedError, Trace, fewest):
        with pytest.raises(ValueError, match="alpha must be a number .*Received: alpha="):
            make(alpha)
