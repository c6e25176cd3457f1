"""Median smoothing: the median of the draws of a smoothed model, pixel by pixel.

    g(k) = median of f(k + e_j), j = 1..K

Of an even K it is the mean of both draws in the middle. A median is moved by few draws as little as
by none, and that is proved of it: `tfvn.certificates.Median` has the bound, from many draws, and
`python -m tfvn certify` writes it.

All K images are in memory at once, without what the model needs to make them. The gradient is exact
where no two draws agree: that of a pixel is of the draw, or the two, that it came from.

Source: Chiang et al., Detection as Regression: Certified Object Detection by Median Smoothing,
NeurIPS 2020.
"""

import tensorflow as tf
from tensorflow import keras

from tfvn.defences.smoothing import Smoothed
from tfvn.models.contract import check_gradient
from tfvn.physics import measurement

__all__ = ["MedianSmoothed"]


@keras.utils.register_keras_serializable(package="tfvn")
class MedianSmoothed(Smoothed):
    """The median of a model's answers under noise, pixel by pixel.

    Args:
        model: a `Reconstructor`. One that reads `zero_filled` sees the noise as A^H e, one that
            reads `kspace` sees k + e.
        sigma: standard deviation of each real component of the noise. 0 makes one plain prediction.
        num_samples: K, draws of one prediction.
        chunk_size: draws processed at once, see `Smoothed`.
        seed: of the noise.
        law: the distribution of the noise, "gaussian", "uniform" or "laplace".

    Raises:
        ValueError: as `Smoothed`.
    """

    def __init__(self, model, sigma, num_samples=9, chunk_size=0, seed=0, law="gaussian"):
        super().__init__(model, sigma, num_samples, chunk_size, seed, law)

    @property
    def certificates(self):
        # That of the mean is none of the median. `certify` makes the median's, from its draws.
        return () if self.sigma else self.model.certificates

    def measure(self, inputs, key=None):
        """The median, the deviation of single draws about their mean, and their largest norm."""
        return super().measure(inputs, key)._replace(mean=self.answer(inputs, key))

    def _combined(self, inputs, draws):
        names = measurement.measured_keys(inputs)
        middle = {}

        def median():
            images = _all_of(draws)
            order = tf.argsort(images, axis=0, stable=True)
            places = (draws.count - 1) // 2, draws.count // 2
            middle["numbers"] = [order[place] for place in places]
            found = [tf.gather(tf.sort(images, axis=0), place) for place in places]
            return tf.ensure_shape((found[0] + found[1]) / 2, draws.zero.shape)

        def pulled_back(measured, cotangent, start, stop):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(measured)
                images = draws.chunk(measured, start, stop)
            numbers = tf.reshape(tf.range(start, stop), [-1, 1, 1, 1])
            chosen = [tf.cast(numbers == one, images.dtype) for one in middle["numbers"]]
            # The mean over the draws is taken of what is returned here.
            share = (chosen[0] + chosen[1]) / 2 * tf.cast(draws.count, images.dtype)
            found = tape.gradient(images, measured, output_gradients=share * cotangent)
            for name, one in zip(names, found):
                check_gradient(self.model, one, name)
            return found

        return draws.differentiable(median, pulled_back)


def _all_of(draws):
    """The images of all draws, real (draws, batch, rows, width)."""

    def add(total, start, stop):
        images = draws.chunk(draws.measured, start, stop)
        return [total[0].scatter(tf.range(start, stop), images)]

    shape = draws.zero.shape
    every = tf.TensorArray(draws.zero.dtype, size=draws.count, element_shape=shape)
    return draws.stream(add, [every])[0].stack()
