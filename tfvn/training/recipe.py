"""What a recipe of a training is: it makes what the network is trained on, and the loss.

    network    the model that is trained
    inputs     the measurements of a batch as the network reads them, see `Reconstructor.measured`
    reference  complex (batch, rows, width)
    keys       int32 (batch, 2), of the random numbers of each image

It is called inside a graph, once in each step of the training and in each batch of the validation.
A function `recipe(network, inputs, reference, keys)` that returns inputs is one as well, with the
loss of all others.
"""

import tensorflow as tf

from tfvn.models.base import magnitude

__all__ = ["Recipe", "recipe_of", "squared_error"]


def squared_error(image, reference):
    """1/2 || |u| - |y| ||_2^2 of complex images, summed over all of them."""
    return tf.reduce_sum(tf.square(magnitude(image) - magnitude(reference))) / 2


class Recipe:
    """The measurements as they are, and the squared error of the magnitude.

    Attributes:
        parameter_blocks: weights that are trained beside the network's, as lists by name. The loss
            has gradients in them that lower what they are trained for.
    """

    parameter_blocks = {}

    def build(self, network, seed):
        """Makes such weights, if the recipe has any. Called once, by the trainer.

        Args:
            network: the model.
            seed: of the training.
        """

    def __call__(self, network, inputs, reference, keys):
        """The inputs that the loss is taken of, in the form of those that it is given."""
        del network, reference, keys
        return inputs

    def loss(self, network, inputs, reference, wanted):
        """The loss of one slice, a scalar.

        It is the mean of the `squared_error`s of the network's `training_images`.

        Args:
            network: the model.
            inputs: what the recipe has made of the slice.
            reference: complex (1, rows, width).
            wanted: names of the parameter blocks whose gradients are going to be asked for.
        """
        images = network.training_images(inputs, wanted)
        return tf.add_n([share * squared_error(image, reference) for share, image in images])


class _Function(Recipe):
    """A function as a recipe."""

    def __init__(self, function):
        self._function = function

    def __call__(self, network, inputs, reference, keys):
        return self._function(network, inputs, reference, keys)


def recipe_of(recipe):
    """A recipe as a `Recipe`; None stands for the plainest one."""
    if recipe is None:
        return Recipe()
    if isinstance(recipe, Recipe):
        return recipe
    return _Function(recipe)
