"""The layer of convolutional networks against TensorFlow's own, in value and in all gradients."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tfvn.models import same_size
from tfvn.models.same_size import correlate_same

# Those whose gradient is a correlation, and one of few channels.
CASES = [(3, 9, 2), (5, 8, 3), (1, 8, 4), (3, 2, 8)]


def arrays(size, inputs, outputs, pixels=(2, 12, 14)):
    rng = np.random.default_rng(1)
    features = rng.standard_normal((*pixels, inputs))
    kernel = rng.standard_normal((size, size, inputs, outputs))
    return tf.constant(features), tf.constant(kernel)


def plain(features, kernel):
    return tf.nn.conv2d(features, kernel, 1, "SAME")


def energy(image):
    """A real function of the result that is not even: its gradient is another at each pixel."""
    return tf.reduce_sum(tf.abs(image + 0.5) ** 3)


def derivatives(function, features, kernel):
    """The value, both gradients, and those of the sum of their cubes."""
    sources = (features, kernel)
    with tf.GradientTape() as outer:
        outer.watch(sources)
        with tf.GradientTape() as inner:
            inner.watch(sources)
            value = function(features, kernel)
            loss = energy(value)
        first = inner.gradient(loss, sources)
        total = sum(energy(gradient) for gradient in first)
    return [value, *first, *outer.gradient(total, sources)]


@pytest.mark.parametrize("size, inputs, outputs", CASES)
def test_value_and_derivatives_are_those_of_tensorflow(size, inputs, outputs):
    sources = arrays(size, inputs, outputs)
    assert same_size._rotation_is_faster(*(x.shape for x in sources)) == (inputs >= 8)
    for found, expected in zip(derivatives(correlate_same, *sources), derivatives(plain, *sources)):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def gradient_in_features(kernel, features):
    """What an attack computes."""
    with tf.GradientTape() as tape:
        tape.watch(features)
        loss = energy(correlate_same(features, kernel))
    return tape.gradient(loss, features)


def test_unknown_sizes_take_the_same_gradient(operations):
    features, kernel = arrays(3, 9, 2)

    gradient = functools.partial(gradient_in_features, kernel)
    unknown = tf.function(
        gradient, autograph=False, input_signature=[tf.TensorSpec((None, None, None, 9), "float64")]
    )
    np.testing.assert_allclose(unknown(features), gradient(features), rtol=1e-12, atol=1e-10)
    assert "Conv2DBackpropInput" not in operations(gradient, features)


def test_few_pixels_of_many_channels_take_tensorflows_own_gradient(operations):
    features, kernel = arrays(3, 16, 16, pixels=(1, 4, 4))

    gradient = functools.partial(gradient_in_features, kernel)
    assert "Conv2DBackpropInput" in operations(gradient, features)
