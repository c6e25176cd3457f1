"""Smoothing of the denoiser in every stage of an unrolled model (SMUG).

    z_t = (1 / K) sum_j D_t(u_t + sigma n_(t,j)),    u_(t+1) = the data step of z_t

The n are white noise of the image, normal, of variance 1 in each real component, and others in
every stage and draw. The data steps see no noise. Draws are streamed: memory grows with the stages
as that of the model does, and not with K.

A model with a weigher w has a weighted mean (Weighted SMUG):

    z_t = sum_j w(v_j) D_t(v_j) / sum_j w(v_j),    v_j = u_t + sigma n_(t,j)

The published code clips u_t + sigma n to [-1, 1], which ours does not: images have a maximum of
about 1, and a clipped one has no gradient.

Its authors prove a bound of the change. With their own settings it is 10^27 times the change of the
data, so nothing is certified here.

Source: Li et al., SMUG: towards robust MRI reconstruction by smoothed unrolling, ICASSP 2023; and
IEEE JSTSP 19(7), 2025, Eq. 9 and 10.
"""

import functools

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.defences.randomised import Randomised
from tfvn.defences.streamed import Draws
from tfvn.models.base import magnitude
from tfvn.models.features import as_complex
from tfvn.models.unrolled import OTHERWISE, check_unrolled
from tfvn.physics import noise
from tfvn.shapes import static_or_dynamic_shape

__all__ = ["Stagewise", "noisy_copies", "weighted_mean", "with_weights"]

# Of the mean of all draws, so that no image is divided by 0. Single precision ends at 1e-38.
_LEAST_WEIGHT = 1e-30


@keras.utils.register_keras_serializable(package="tfvn")
class Stagewise(Randomised):
    """SMUG: an unrolled model whose denoisers are smoothed, stage by stage.

    Args:
        model: an `Unrolled` model, such as `MoDL`, `Cascade` or `VariationalNetwork`.
        sigma: standard deviation of each real component of the noise on the image. 0 stands for
            the model itself.
        num_samples: K, draws of each stage.
        chunk_size: draws that a stage computes at once.
        seed: of the noise.

    `num_samples` and `seed` may be set later; nothing is compiled again.

    Raises:
        ValueError: for a model without stages, a negative sigma, num_samples < 1 or
            chunk_size < 1.
    """

    def __init__(self, model, sigma, num_samples=8, chunk_size=1, seed=0):
        super().__init__(model, num_samples, chunk_size, seed)
        check_unrolled(model, "stagewise smoothing", OTHERWISE)
        self.sigma = checks.number("sigma", sigma, 0)

    @property
    def draws(self):
        return self.num_samples if self.sigma else 0

    @property
    def identity(self):
        # Without noise it is the model inside.
        if not self.sigma:
            return self.model.identity
        return {**super().identity, "law": "gaussian"}

    def answer(self, inputs, key=None):
        """The magnitude of the last stage's image, real (batch, rows, width)."""
        if not self.sigma:
            return self.model.answer(inputs)
        key = self.own_key(inputs, key)
        return magnitude(self.model.unrolled(inputs, functools.partial(self._smoothed, key)))

    def _smoothed(self, key, stage, denoiser, image):
        """The mean of a stage's denoiser under noise, differentiable in the image."""
        key = noise.fold_in_all(key, stage)
        weigher = self.model.weigher
        zero = tf.zeros_like(image)
        if weigher is not None:
            zero = with_weights(zero, tf.zeros_like(tf.math.real(image[:, 0, 0])))

        def chunk(measured, start, stop):
            copies = noisy_copies(measured[0], self.sigma, key, start, stop)
            copies = tf.ensure_shape(copies, [None, *image.shape[1:]])
            images = denoiser(copies)
            if weigher is not None:
                images = with_weights(images, weigher(copies))
            return tf.reshape(images, tf.concat([[stop - start], tf.shape(zero)], 0))

        draws = Draws(chunk, [image], zero, tf.identity(self._num_samples), self.chunk_size)
        mean = draws.mean(self.model, ["zero_filled"])
        return mean if weigher is None else weighted_mean(mean, image)


def noisy_copies(image, sigma, key, start, stop):
    """The images that a stage's denoiser sees, u_t + sigma n_(t,j) for j from start to stop - 1.

    Args:
        image: u_t, complex (batch, rows, width).
        sigma: standard deviation of each real component.
        key: int32 (batch, 2), of the draws of each image in this stage.
        start, stop: which draws.

    Returns:
        draw-major, every image with one draw and then every image with the next: complex
        ((stop - start) batch, rows, width).
    """
    batch = tf.shape(image)[0]
    times = stop - start
    keys = tf.tile(key, [times, 1])
    keys = noise.fold_in_each(keys, tf.repeat(tf.range(start, stop), batch))
    copies = tf.tile(image, [times, 1, 1])
    return copies + tf.cast(sigma, image.dtype) * noise.white_image(copies, keys)


def with_weights(images, weights):
    """Images times their weights, and the weights behind: what a weighted mean is made of.

    Args:
        images: complex (batch, rows, width).
        weights: real (batch,).

    Returns:
        complex (batch, rows width + 1).
    """
    weights = as_complex(weights)[:, None]
    batch, rows, width = static_or_dynamic_shape(images)
    return tf.concat([weights * tf.reshape(images, [batch, rows * width]), weights], 1)


def weighted_mean(mean, like):
    """The weighted mean of images, of the mean of what `with_weights` makes of them.

    Args:
        mean: complex (batch, rows width + 1).
        like: complex (batch, rows, width), of the shape that is returned.
    """
    total = tf.math.real(mean[:, -1:])
    total = as_complex(tf.maximum(total, _LEAST_WEIGHT))
    return tf.reshape(mean[:, :-1] / total, tf.shape(like))
