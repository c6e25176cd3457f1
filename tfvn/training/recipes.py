"""What networks are trained on: the recipes, see `tfvn.training.recipe`."""

import tensorflow as tf

from tfvn import checks
from tfvn.physics import measurement
from tfvn.physics.noise import LAWS
from tfvn.training.recipe import Recipe

__all__ = ["RECIPES", "Clean", "Noise"]


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

    def __init__(self, sigma, law="gaussian"):
        self.sigma = checks.number("sigma", sigma, 0)
        self.law = checks.choice("law", law, LAWS)

    def __call__(self, network, inputs, reference, keys):
        if not self.sigma:
            return inputs
        sigma = tf.constant(self.sigma, network.dtype)
        return measurement.noisy(network.sense, inputs, sigma, keys, self.law)


# Recipes by the names that a configuration has for them.
RECIPES = {"clean": Clean, "noise": Noise}
