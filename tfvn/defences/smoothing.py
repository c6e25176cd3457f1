"""Randomised smoothing of a reconstruction map by noise on the measured k-space.

    g(k) = E f(k + e)

Real and imaginary part of every sampled entry of e are independent, of standard deviation sigma;
normal in the paper, and uniform or Laplace noise have certificates in l1. The mean is estimated
from `num_samples` draws. One draw is a network with noise on its input at test time.
"""

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.certificates import TotalVariation
from tfvn.defences.drawn import Drawn
from tfvn.physics import measurement, noise

__all__ = ["Smoothed"]


@keras.utils.register_keras_serializable(package="tfvn")
class Smoothed(Drawn):
    """The smoothed map of a model. It is a model itself, and attacked by the same code.

    Args:
        model: a `Reconstructor`. One that reads `zero_filled` sees the noise as A^H e, one that
            reads `kspace` sees k + e.
        sigma: standard deviation of each real component of the noise. 0 makes one plain prediction.
        num_samples: K, draws of one prediction.
        chunk_size: draws processed at once. 0 stands for one on a CPU, where more are faster for
            small images alone. On an accelerator it stands for as many as its free memory holds, if
            the model tells what one takes (`memory_per_image`).
        seed: of the noise.
        law: the distribution of the noise, "gaussian" (the paper's), "uniform" or "laplace".
        strategy: a `tf.distribute` strategy over whose replicas the draws are split, or None. A
            model with weights must have been made or loaded inside its scope.

    `sigma`, `num_samples` and `seed` may be set later; nothing is compiled again.

    Call arguments:
        inputs: the measurement. Returns the mean magnitude as a complex image of phase 0.

    Raises:
        ValueError: for a negative sigma, num_samples < 1, chunk_size < 0, an unknown law, a model
            of another strategy or something that is no model; and, when it reconstructs, for inputs
            that do not fit.
    """

    def __init__(
        self,
        model,
        sigma,
        num_samples=9,
        chunk_size=0,
        seed=0,
        law="gaussian",
        strategy=None,
    ):
        super().__init__(model, num_samples, chunk_size, seed, strategy)
        self.law = checks.choice("law", law, noise.LAWS)
        self._sigma = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self.sigma = sigma

    def __repr__(self):
        names = ("model", "sigma", "num_samples", "chunk_size", "seed", "law")
        return checks.described(self, names)

    @property
    def sigma(self):
        # As `num_samples`.
        with tf.init_scope():
            return float(self._sigma)

    @sigma.setter
    def sigma(self, value):
        self._sigma.assign(self._checked_sigma(value))

    def _checked_sigma(self, value):
        return checks.number("sigma", value, 0)

    @property
    def draws(self):
        if not self.sigma:
            return self.model.draws
        return self.num_samples

    @property
    def certificates(self):
        if not self.sigma:
            return self.model.certificates
        return (TotalVariation(self.sigma, self.law),)

    @property
    def proves_from_draws(self):
        """Whether there is noise, and of the law that those certificates are for."""
        return self.sigma > 0 and self.law == "gaussian"

    @property
    def identity(self):
        # Without noise it is the model inside; a random one has other draws here.
        is_inside = not self.sigma and not self.model.draws
        return self.model.identity if is_inside else super().identity

    def varies(self):
        return self._sigma > 0

    def one(self, inputs, keys, answer):
        noisy = measurement.noisy(self.sense, inputs, self._sigma, keys, self.law)
        return answer(noisy, self._inner_keys(keys))

    @property
    def architecture(self):
        inner = self.model.architecture
        # Of a subclass nothing is known of its further settings.
        known = type(self) is Smoothed
        if not known or inner is None or self.strategy is not None:
            return None
        return type(self), inner, self.law, self.chunk_size

    def twin(self):
        return self._around(self.model.twin(), self.num_samples)

    def lent(self):
        return [*super().lent(), self._sigma]
