"""Dropout at test time: the mean of an unrolled model's answers with parts of it left out.

    z_t = u_t + b_t (D_t(u_t) - u_t) / (1 - p),    u_(t+1) = the data step of z_t

b_t is 0 with the chance p and 1 otherwise, others in every stage and draw. So the mean of what a
stage's denoiser does to its image is left as it is. What is left out together is a pixel of
the image, or the denoiser of the stage as a whole, which is stochastic depth.

Nothing is certified. The networks here are not trained with it, as those of the sources are.

Source: Srivastava et al., Dropout, JMLR 15, 2014; at test time Gal and Ghahramani, ICML 2016; of
whole stages Huang et al., Deep networks with stochastic depth, ECCV 2016.
"""

import functools

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.defences.drawn import Drawn
from tfvn.models.base import magnitude
from tfvn.models.features import as_complex
from tfvn.models.unrolled import OTHERWISE, check_unrolled
from tfvn.physics import noise
from tfvn.shapes import static_or_dynamic_shape

__all__ = ["PARTS", "Dropout"]

# What is left out together.
PARTS = ("pixel", "stage")


@keras.utils.register_keras_serializable(package="tfvn")
class Dropout(Drawn):
    """The mean of an unrolled model's answers, each with parts of its denoisers left out.

    Args:
        model: an `Unrolled` model, such as `MoDL`, `Cascade` or `VariationalNetwork`.
        rate: p, the share that is left out. 0 stands for the model itself.
        part: what is left out together, a "pixel" of the image or a "stage".
        num_samples: K, draws of one answer.
        chunk_size: draws processed at once, see `Smoothed`.
        seed: of the draws.

    `num_samples` and `seed` may be set later; nothing is compiled again.

    Raises:
        ValueError: for a model without stages, a rate outside 0 <= p < 1, another part,
            num_samples < 1 or chunk_size < 0.
    """

    def __init__(self, model, rate=0.1, part="pixel", num_samples=8, chunk_size=0, seed=0):
        super().__init__(model, num_samples, chunk_size, seed)
        check_unrolled(model, "dropout", OTHERWISE)
        self.rate = checks.number("rate", rate, 0, below=1)
        self.part = checks.choice("part", part, PARTS)

    @property
    def draws(self):
        return self.num_samples if self.rate else 0

    @property
    def identity(self):
        # Where nothing is left out it is the model inside.
        return super().identity if self.rate else self.model.identity

    def varies(self):
        return tf.constant(self.rate > 0)

    def one(self, inputs, keys, answer):
        if not self.rate:
            return answer(inputs, None)
        return magnitude(self.model.unrolled(inputs, functools.partial(self._dropped, keys)))

    def _dropped(self, keys, stage, denoiser, image):
        """A stage's denoiser with parts of what it changes left out."""
        keys = noise.fold_in_all(keys, stage)
        kept = self._kept(image, keys)
        return image + as_complex(kept / (1 - self.rate)) * (denoiser(image) - image)

    def _kept(self, image, keys):
        """1 for what is kept and 0 for what is left out, real (batch, rows, width) or broadcast to
        it.
        """
        real = image.dtype.real_dtype
        shape = [1, 1]
        if self.part == "pixel":
            shape = static_or_dynamic_shape(image)[1:]

        def of_image(key):
            return tf.random.stateless_uniform(shape, key, dtype=real)

        chances = tf.map_fn(of_image, keys, fn_output_signature=real)
        return tf.cast(chances >= self.rate, real)
