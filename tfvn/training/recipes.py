"""What networks are trained on: the recipes, see `tfvn.training.recipe`."""

import tensorflow as tf

from tfvn import checks
from tfvn.physics import measurement
from tfvn.physics.noise import LAWS
from tfvn.training.attacked import Adversarial, EffectPenalty, OneStep
from tfvn.training.features import Features
from tfvn.training.gan import GAN
from tfvn.training.generator import Generator
from tfvn.training.jitter import Jitter
from tfvn.training.recipe import Recipe
from tfvn.training.smug import SMUG

__all__ = ["RECIPES", "Clean", "Noise", "Scaled"]


class Clean(Recipe):
    """The measurements as they are."""


class Noise(Recipe):
    """The measurements with fresh noise on every sampled entry of k-space.

    Args:
        sigma: k-space noise of the training, the deviation of a real component.
        law: distribution of that noise, gaussian (the paper's) | uniform | laplace.

    Raises:
        ValueError: for a negative sigma or another law.
    """

    validates_as_trained = True

    def __init__(self, sigma, law="gaussian"):
        self.sigma = checks.number("sigma", sigma, 0)
        self.law = checks.choice("law", law, LAWS)

    def __call__(self, network, inputs, reference, keys):
        if not self.sigma:
            return inputs
        sigma = tf.constant(self.sigma, network.dtype)
        return measurement.noisy(network.sense, inputs, sigma, keys, self.law)


class Scaled(Recipe):
    """The measurements with every real and imaginary part of k-space multiplied by a fresh random
    number near 1, for a network that reads k-space.

    Args:
        spread: these numbers are uniform in [1 - spread, 1 + spread] (AUTOMAP: 0.01).

    Raises:
        ValueError: for a spread below 0.
    """

    validates_as_trained = True

    def __init__(self, spread=0.01):
        self.spread = checks.number("spread", spread, 0)

    def build(self, network, seed):
        if network.reads != "kspace":
            raise ValueError(
                "The recipe scaled changes entries of k-space and needs a network that reads it."
                f" Received: {type(network).__name__}, which reads {network.reads}. Use noise."
            )

    def __call__(self, network, inputs, reference, keys):
        kspace = inputs["kspace"]
        parts = tf.stack([tf.math.real(kspace), tf.math.imag(kspace)], -1)
        factors = tf.map_fn(
            lambda key: self._factors(tf.shape(parts)[1:], key, parts.dtype),
            keys,
            fn_output_signature=tf.TensorSpec(parts.shape[1:], parts.dtype),
        )
        parts *= factors
        scaled = tf.complex(parts[..., 0], parts[..., 1])
        return measurement.with_data(inputs, "kspace", scaled)

    def _factors(self, shape, key, dtype):
        spread = tf.cast(self.spread, dtype)
        return 1 + spread * tf.random.stateless_uniform(shape, key, -1, 1, dtype)


# Recipes by the names that a configuration has for them.
RECIPES = {
    "clean": Clean,
    "noise": Noise,
    "jitter": Jitter,
    "adversarial": Adversarial,
    "one-step": OneStep,
    "effect-penalty": EffectPenalty,
    "features": Features,
    "generator": Generator,
    "smug": SMUG,
    "scaled": Scaled,
    "gan": GAN,
}
