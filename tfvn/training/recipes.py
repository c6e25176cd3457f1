"""What a network is trained on: recipes, each of which makes training inputs of a measurement.

A recipe is a function `recipe(network, inputs, reference, keys)`. It returns the inputs that the
loss is taken of, in the form of those that it is given.

    network    the model that is trained
    inputs     the measurements of a batch as the network reads them, see `Reconstructor.measured`
    reference  complex (batch, rows, width)
    keys       int32 (batch, 2), of the random numbers of each image

It is called inside a graph, once in each step of the training and in each batch of the validation.
"""

import tensorflow as tf

from tfvn import checks
from tfvn.physics import measurement
from tfvn.physics.noise import LAWS

__all__ = ["RECIPES", "Clean", "Noise"]


class Clean:
    """The measurements as they are."""

    def __call__(self, network, inputs, reference, keys):
        return inputs


class Noise:
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
