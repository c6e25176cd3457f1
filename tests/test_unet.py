"""The U-Net alone: its normalisation, its odd sizes and its limits."""

import numpy as np
import pytest
import tensorflow as tf

from tfvn.models import UNet
from tfvn.models.unet_layers import (
    UNetLayers,
    activated,
    count_weights,
    leaky,
    standardised,
)


def test_features_are_normalised_channel_by_channel_of_each_image():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, 5, 4, 3)) * [1, 10, 100] + [5, 0, -50]
    centred = features - features.mean((1, 2), keepdims=True)
    expected = centred / np.sqrt(features.var((1, 2), keepdims=True) + 1e-5)
    expected = np.where(expected > 0, expected, 0.2 * expected)
    np.testing.assert_allclose(activated(tf.constant(features)), expected, atol=1e-12)


def test_single_precision_keeps_the_digits_of_features_far_from_zero():
    rng = np.random.default_rng(0)
    features = (30 + rng.standard_normal((1, 64, 64, 2))).astype(np.float32)
    expected = activated(tf.constant(features, tf.float64))
    np.testing.assert_allclose(activated(tf.constant(features)), expected, rtol=0, atol=2e-5)


def test_the_slope_has_the_precision_of_the_features():
    for dtype in ("float32", "float64"):
        features = tf.constant([-3.0, 0, 2], dtype)
        expected = np.array([-3 * np.array(0.2, dtype), 0, 2], dtype)
        np.testing.assert_array_equal(leaky(features, 0.2), expected)


def test_the_gradient_of_the_normalisation_matches_central_differences():
    rng = np.random.default_rng(0)
    features = tf.constant(rng.standard_normal((2, 3, 4, 2)))
    theoretical, numerical = tf.test.compute_gradient(activated, [features], 1e-6)
    np.testing.assert_allclose(theoretical[0], numerical[0], atol=1e-8)


def test_an_image_is_standardised_as_pytorch_does_it():
    rng = np.random.default_rng(0)
    features = 3 + rng.standard_normal((2, 5, 4, 2))
    result, mean, deviation = standardised(tf.constant(features))
    np.testing.assert_allclose(deviation[:, 0, 0], features.std((1, 2), ddof=1))
    np.testing.assert_allclose(mean + deviation * result, features)
    zeros, _, _ = standardised(tf.zeros([1, 4, 4, 2]))
    assert not zeros.numpy().any()


@pytest.mark.parametrize("settings", [(1, 1, 32, 4), (2, 2, 16, 4), (2, 3, 5, 1)])
def test_the_weights_are_counted_before_they_are_made(settings):
    layers = UNetLayers(*settings)
    assert layers.count_params() == count_weights(*settings)


def test_the_published_network_has_its_published_number_of_weights():
    assert count_weights(1, 1, 32, 4) == 7_756_097
    assert 12 * (count_weights(2, 2, 18, 4) + 1) + count_weights(2, 2, 8, 4) == 29_936_966


def test_an_image_of_twice_the_strength_gives_twice_the_result(case):
    inputs = case(1, height=17, width=22)
    stronger = {**inputs, "kspace": 3 * inputs["kspace"]}
    for image in ("complex", "magnitude"):
        network = UNet(2, 2, image)
        np.testing.assert_allclose(network(stronger), 3 * network(inputs), atol=1e-5)


def test_what_is_beyond_the_clamp_does_not_matter(case):
    inputs = {"zero_filled": np.ones((1, 16, 16), np.complex64), **case(1, height=16, width=16)}
    inputs["zero_filled"][0, 3, 4] = 9
    network, other = UNet(2, 1, "magnitude", clamp=1.0), UNet(2, 1, "magnitude")
    other.set_weights(network.get_weights())
    assert np.abs(network(inputs) - other(inputs)).max() > 1e-3
    wide = UNet(2, 1, "magnitude", clamp=100.0)
    wide.set_weights(network.get_weights())
    np.testing.assert_array_equal(wide(inputs), other(inputs))


def test_equal_seeds_give_equal_weights_and_others_do_not():
    one, same, other = UNet(2, 1, seed=5), UNet(2, 1, seed=5), UNet(2, 1, seed=6)
    for weight, equal, different in zip(*(net.get_weights() for net in (one, same, other))):
        np.testing.assert_array_equal(weight, equal)
        assert (weight != different).any()
        assert 0.5 < np.abs(weight).max() * np.sqrt(fan_in(weight)) <= 1 or weight.size < 10


def fan_in(weight):
    """Inputs of a neuron; of a transposed convolution 4 times its outputs, as PyTorch counts."""
    if weight.ndim == 1:
        return 2
    if weight.shape[1] == 2:
        return 4 * weight.shape[-1]
    return np.prod(weight.shape[:3])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"channels": 0}, "channels must be a whole number >= 1. Received: channels=0"),
        ({"pools": 0}, "pools must be a whole number >= 1"),
        ({"pools": 17}, "pools must be .* Received: pools=17"),
        (
            {"channels": 100_000},
            "at most 67108864 weights, and this .* 7.574e.13.* Received",
        ),
        ({"image": "real"}, r"image must be one of \('complex', 'magnitude'\)"),
        ({"clamp": -1.0}, "clamp must be a number >= 0. Received: clamp=-1.0"),
    ],
)
def test_settings_outside_their_ranges_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        UNet(**settings)


def test_an_image_that_is_too_small_is_refused(case):
    with pytest.raises(
        ValueError, match=r"at least 2\^pools = 16 rows.*Received: 24 x 12, pools=4"
    ):
        UNet(2)(case(1, height=24, width=12))
