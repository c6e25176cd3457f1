"""Models that are broken on purpose, each in a way that makes an attack look weak or an answer
look robust. `tests/test_flags.py` shows that each is found.
"""

import tensorflow as tf

from tfvn.models.base import Reconstructor
from tfvn.models.conjugate_gradient import solve_regularised
from tfvn.models.features import as_complex


class Bent(Reconstructor):
    """A smooth nonlinear function of A^H k: what most of the others are made of."""

    def call(self, inputs):
        return bent(inputs["zero_filled"])


def bent(image):
    """The image with each pixel scaled by 1.5 - |.|^2 / (2 + |.|^2)."""
    square = tf.square(tf.math.real(image)) + tf.square(tf.math.imag(image))
    return as_complex(1.5 - square / (2 + square)) * image


class ZeroBackward(Bent):
    """Its backward pass returns zeros."""

    def call(self, inputs):
        @tf.custom_gradient
        def silent(image):
            return bent(image), tf.zeros_like

        return silent(inputs["zero_filled"])


class NoisyBackward(Bent):
    """Its backward pass returns numbers that have nothing to do with the image."""

    def call(self, inputs):
        @tf.custom_gradient
        def noisy(image):
            def gradient(cotangent):
                return tf.roll(cotangent, [5, 3], [1, 2])

            return bent(image), gradient

        return noisy(inputs["zero_filled"])


class Detached(Bent):
    """Three stages of a data term, and the gradient sees the last one's alone."""

    def call(self, inputs):
        maps, mask, data = inputs["sensitivity_maps"], inputs["mask"], inputs["zero_filled"]
        image = data
        for _ in range(3):
            image = tf.stop_gradient(image)
            residual = self.sense.adjoint(self.sense.forward(image, maps, mask), maps, mask) - data
            image = bent(image - 0.3 * residual)
        return image


class DataDropped(Bent):
    """Conjugate gradients whose backward pass returns nothing for the data, as in
    SMUG's `networks.CG`: the gradient sees the first iterate alone.
    """

    def call(self, inputs):
        maps, mask, data = inputs["sensitivity_maps"], inputs["mask"], inputs["zero_filled"]

        @tf.custom_gradient
        def solved(data, prior):
            def gradient(cotangent):
                found = solve_regularised(self.sense, cotangent, maps, mask, 0.5)
                return tf.zeros_like(cotangent), 0.5 * found

            return solve_regularised(self.sense, data + 0.5 * prior, maps, mask, 0.5), gradient

        return solved(data, bent(data))


class Quantised(Bent):
    """Its answer has 8 bits: tf.round has no gradient."""

    def answer(self, inputs, key=None):
        return tf.round(255 * super().answer(inputs, key)) / 255


class StraightThrough(Bent):
    """Its answer has 8 bits, and the gradient knows nothing of that."""

    def answer(self, inputs, key=None):
        image = super().answer(inputs, key)
        return image + tf.stop_gradient(tf.round(255 * image) / 255 - image)


class Clipped(Bent):
    """Its answer lies in [0, 1], and the images are twice as bright."""

    def answer(self, inputs, key=None):
        return tf.clip_by_value(2 * super().answer(inputs, key), 0, 1)


class FreshNoise(Bent):
    """It adds new noise in every call."""

    def call(self, inputs):
        image = inputs["zero_filled"]
        noise = tf.random.normal(tf.shape(image), stddev=0.05, dtype=image.dtype.real_dtype)
        return bent(image + as_complex(noise))


class TwoNetworks(Bent):
    """It draws one of two networks in every call."""

    def call(self, inputs):
        image = inputs["zero_filled"]
        first = tf.random.uniform([]) < 0.5
        return tf.where(first, bent(image), tf.roll(image, 1, 1))


class OfKeys(Bent):
    """It draws noise by the key that it is given, and declares no draws."""

    def answer(self, inputs, key=None):
        image = super().answer(inputs, key)
        draw = tf.random.stateless_normal(tf.shape(image), key[0], dtype=image.dtype)
        return image + 0.05 * draw


class BatchStatistics(Bent):
    """It normalises by the mean and deviation of the batch, as a network left in training mode."""

    def call(self, inputs):
        image = inputs["zero_filled"]
        mean = tf.reduce_mean(image)
        deviation = tf.sqrt(tf.reduce_mean(tf.square(tf.abs(image - mean))))
        return bent((image - mean) / as_complex(3 * deviation))


class Constant(Bent):
    """It always answers with nearly the same image.

    share: of what it would answer, 0 for exactly the same one.
    """

    share = 1e-3

    def call(self, inputs):
        return 0.3 + self.share * bent(inputs["zero_filled"])


class ExactlyConstant(Constant):
    share = 0.0


class Masked(Bent):
    """Its gradient is right near one measurement, and that of another image elsewhere.

    Args:
        inputs: the measurement.
        reach: how near the data must be, as a share of them.
    """

    def __init__(self, inputs, reach):
        super().__init__()
        self.reach = reach
        self.known = self.zero_filled(inputs)

    def call(self, inputs):
        @tf.custom_gradient
        def masked(image):
            away = tf.norm(tf.abs(image - self.known)) > self.reach * tf.norm(tf.abs(self.known))

            def gradient(cotangent):
                return tf.where(away, tf.roll(cotangent, [12, 10], [1, 2]), cotangent)

            return tf.identity(image), gradient

        return bent(masked(inputs["zero_filled"]))


class Infinite(Bent):
    """A pixel of its answer is NaN."""

    def call(self, inputs):
        image = bent(inputs["zero_filled"])
        return image / tf.cast(tf.abs(image) - tf.reduce_max(tf.abs(image)), image.dtype) * 0


class Failing(Bent):
    """It raises an error."""

    def call(self, inputs):
        raise RuntimeError("the weights are on another machine")
