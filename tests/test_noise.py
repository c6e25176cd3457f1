"""Noise: one draw in two views."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from test_sense import MASKS, OPERATORS, problem

from tfvn.physics.fourier import fft2c
from tfvn.physics.noise import LAWS, image_noise, kspace_noise
from tfvn.physics.sense import Sense


def draws(sense, fixed, count, first=0):
    """`count` draws of A^H e for the first sample of a case, (count, rows, width)."""
    maps, mask = (tf.repeat(x[:1], count, 0) for x in fixed)
    seeds = np.stack([np.arange(first, first + count), np.full(count, 7)], 1).astype(np.int32)
    return tf.function(partial(image_noise, sense))(maps, mask, tf.constant(seeds)).numpy()


@pytest.mark.slow_cases
@OPERATORS
@pytest.mark.parametrize("mask", MASKS)
def test_image_noise_has_the_covariance_of_the_adjoint_of_white_kspace_noise(
    case, mask, readout_oversampling
):
    # E |<A^H e, v>|^2 = 2 <v, A^H A v> and E <A^H e, v>^2 = 0, for several v; 6 standard errors of
    # a mean of 2000.
    sense, fixed, _, _ = problem(case, (2, 8, 6), mask, readout_oversampling)
    noise = draws(sense, fixed, 2000)
    rng = np.random.default_rng(3)
    one = tuple(x[:1] for x in fixed)
    for _ in range(5):
        v = rng.standard_normal((1, *noise.shape[1:])) + 1j * rng.standard_normal(
            (1, *noise.shape[1:])
        )
        products = (np.conj(noise) * v).sum((1, 2))
        expected = 2 * np.vdot(v, sense.normal(tf.constant(v), *one)).real
        assert np.mean(np.abs(products) ** 2) == pytest.approx(expected, rel=6 / np.sqrt(2000))
        assert abs(np.mean(products**2)) < 6 / np.sqrt(2000) * expected
        assert abs(np.mean(products)) < 6 / np.sqrt(2000) * np.sqrt(expected)


@pytest.mark.slow
def test_image_noise_correlates_pixels_as_explicit_kspace_noise_does(case):
    # The whole covariance matrix, against A^H A column by column.
    sense, fixed, _, _ = problem(case, (2, 4, 5), "columns")
    noise = draws(sense, fixed, 5000).reshape(5000, 20)
    basis = np.eye(20, dtype=complex).reshape(20, 4, 5)
    normal = (
        sense.normal(tf.constant(basis), *(tf.repeat(x[:1], 20, 0) for x in fixed))
        .numpy()
        .reshape(20, 20)
        .T
    )
    covariance = np.einsum("na,nb->ab", noise, np.conj(noise)) / len(noise)
    np.testing.assert_allclose(covariance, 2 * normal, atol=6 * 2 / np.sqrt(5000))


@pytest.mark.slow_cases
@pytest.mark.parametrize("mask", ["columns", "points"])
def test_a_samples_noise_depends_on_its_own_seed_alone(case, mask):
    sense, (maps, mask), _, _ = problem(case, (2, 8, 6), mask, batch=3)
    seeds = np.array([[5, 0], [6, 0], [5, 1]], np.int32)
    together = image_noise(sense, maps, mask, tf.constant(seeds))
    for i in range(3):
        alone = image_noise(sense, maps[i : i + 1], mask[i : i + 1], tf.constant(seeds[i : i + 1]))
        np.testing.assert_allclose(alone[0], together[i], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "noise, law",
    [
        ("gaussian", stats.norm()),
        ("uniform", stats.uniform(-(3**0.5), 12**0.5)),
        ("laplace", stats.laplace(0, 0.5**0.5)),
    ],
)
def test_kspace_noise_has_its_distribution_on_sampled_entries_and_is_nowhere_else(noise, law):
    # One coil with a map of 1: F A^H e is e.
    mask = np.zeros((1, 1, 1, 40))
    mask[..., ::3] = 1
    image = image_noise(
        Sense(dtype="float64"),
        np.ones((1, 1, 200, 40), complex),
        mask,
        tf.constant([[3, 1]]),
        noise,
    )
    kspace = fft2c(image)[0].numpy()
    sampled = kspace[:, mask[0, 0, 0] > 0]
    assert np.abs(kspace[:, mask[0, 0, 0] == 0]).max() < 1e-12
    parts = np.concatenate([sampled.real.ravel(), sampled.imag.ravel()])
    assert stats.kstest(parts, law.cdf).pvalue > 1e-3
    assert parts.std() == pytest.approx(1, abs=0.05)
    # Neighbours, and real and imaginary part, know nothing of each other.
    for pair in ((sampled.real, sampled.imag), (sampled.real[1:], sampled.real[:-1])):
        assert abs(np.corrcoef(*(x.ravel() for x in pair))[0, 1]) < 0.06


def test_different_seeds_give_independent_noise(case):
    sense, fixed, _, _ = problem(case, (2, 16, 12))
    a, b = draws(sense, fixed, 200), draws(sense, fixed, 200, first=200)
    correlation = np.abs(np.vdot(a, b)) / np.vdot(a, a).real
    assert correlation < 0.05


def test_the_same_seeds_give_the_same_noise(case):
    sense, fixed, _, _ = problem(case, (2, 8, 6))
    np.testing.assert_array_equal(draws(sense, fixed, 3), draws(sense, fixed, 3))


@pytest.mark.slow_cases
@OPERATORS
@pytest.mark.parametrize("noise", LAWS)
@pytest.mark.parametrize("mask, shape", list(zip(MASKS, [(2, 8, 6), (3, 9, 7), (1, 12, 5)])))
def test_one_draw_has_two_views(case, shape, mask, noise, readout_oversampling):
    # The noise in k-space is 0 where nothing is sampled, and its adjoint is the noise of the image.
    sense, (maps, mask), _, _ = problem(case, shape, mask, readout_oversampling, batch=3)
    seeds = tf.constant([[5, 0], [6, 0], [5, 1]])
    kspace = kspace_noise(sense, maps, mask, seeds, noise)
    assert kspace.shape == maps.shape and kspace.dtype == maps.dtype
    assert not np.any(kspace.numpy()[np.broadcast_to(mask == 0, maps.shape)])
    image = image_noise(sense, maps, mask, seeds, noise)
    np.testing.assert_allclose(sense.adjoint(kspace, maps, mask), image, rtol=0, atol=1e-12)


@pytest.mark.slow_cases
@OPERATORS
@pytest.mark.parametrize(
    "noise, law",
    [
        ("gaussian", stats.norm()),
        ("uniform", stats.uniform(-(3**0.5), 12**0.5)),
        ("laplace", stats.laplace(0, 0.5**0.5)),
    ],
)
def test_noise_in_kspace_is_white_and_of_its_law_on_every_sampled_entry(
    noise, law, readout_oversampling
):
    mask = np.zeros((1, 1, 1, 40))
    mask[..., ::3] = 1
    sense = Sense(readout_oversampling, dtype="float64")
    kspace = kspace_noise(
        sense, np.ones((1, 2, 200, 40), complex), mask, tf.constant([[3, 1]]), noise
    ).numpy()
    sampled = kspace[0][..., mask[0, 0, 0] > 0]
    parts = np.concatenate([sampled.real.ravel(), sampled.imag.ravel()])
    assert stats.kstest(parts, law.cdf).pvalue > 1e-3
    assert parts.std() == pytest.approx(1, abs=0.05)
    pairs = [
        (sampled.real, sampled.imag),
        (sampled.real[:, 1:], sampled.real[:, :-1]),
        (sampled.real[0], sampled.real[1]),
    ]
    for pair in pairs:
        assert abs(np.corrcoef(*(x.ravel() for x in pair))[0, 1]) < 0.06


def test_noise_in_kspace_is_a_constant_to_gradients_and_compiles(case):
    sense, (maps, mask), _, _ = problem(case, (2, 8, 6))
    seeds = tf.constant([[5, 0], [6, 0]])
    traced = tf.function(partial(kspace_noise, sense))(maps, mask, seeds)
    np.testing.assert_allclose(traced, kspace_noise(sense, maps, mask, seeds), rtol=0, atol=1e-12)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        value = tf.reduce_sum(tf.abs(kspace_noise(sense, maps, mask, seeds)))
    assert tape.gradient(value, maps) is None


@pytest.mark.parametrize("noise", ["pink", None, 3, ["gaussian"]])
def test_noise_of_another_law_is_refused(case, noise):
    sense, (maps, mask), _, _ = problem(case, (2, 8, 6))
    for view in (image_noise, kspace_noise):
        with pytest.raises(ValueError, match="law must be one of .*Received: law="):
            view(sense, maps, mask, tf.constant([[5, 0], [6, 0]]), noise)
