"""What a recipe of a training is: it makes what the network is trained on, and the loss.

    network    the model that is trained
    inputs     the measurements of a batch as the network reads them, see `Reconstructor.measured`
    reference  complex (batch, rows, width)
    keys       int32 (batch, 2), of the random numbers of each image

It is called inside a graph, once in each step of the training and in each batch of the validation.
What it gives the loss beside the measurement lies under other names in the inputs, an entry for
each image. A function `recipe(network, inputs, reference, keys)` that returns inputs is one as
well, with the loss of all others.
"""

import tensorflow as tf

from tfvn.models.base import magnitude

__all__ = ["MEASURED_MASK", "Recipe", "each_slice", "recipe_of", "slice_of", "squared_error"]

# Where the inputs that a recipe is given hold `tfvn.physics.measurement.without_padding`: what an
# adversary may change.
MEASURED_MASK = "measured_mask"


def squared_error(image, reference):
    """1/2 || |u| - |y| ||_2^2 of complex images, summed over all of them."""
    return tf.reduce_sum(tf.square(magnitude(image) - magnitude(reference))) / 2


class Recipe:
    """The measurements as they are, and the squared error of the magnitude.

    Attributes:
        parameter_blocks: weights that are trained beside the network's, as lists by name. The loss
            has gradients in them that lower what they are trained for.
        validates_as_trained: whether a validation is of what the recipe makes of a measurement,
            with random numbers of the slice. If not, it is of the measurement as it is.
        gradients_before: gradients that are taken of each slice to make its inputs.
        gradients_of_loss: how many the gradient of the loss counts for: one for each answer.
    """

    parameter_blocks = {}
    validates_as_trained = False
    gradients_before = 0
    gradients_of_loss = 1

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

    validates_as_trained = True

    def __init__(self, function):
        self._function = function

    def __call__(self, network, inputs, reference, keys):
        return self._function(network, inputs, reference, keys)


def slice_of(inputs, index):
    """The inputs of one slice of a batch, as a batch of one.

    What all slices share has a batch of one already.
    """
    taken = {}
    for key, array in inputs.items():
        own = index
        if array.shape[0] is None:
            own = tf.minimum(index, tf.shape(array)[0] - 1)
        elif array.shape[0] == 1:
            own = tf.constant(0)
        taken[key] = tf.gather(array, own[None])
    return taken


def each_slice(function, inputs, reference, keys):
    """What a function makes of each slice, one after the other: memory does not grow with them.

    Args:
        function: `function(inputs, reference, key)` of a batch of one, and of the slice's key (2,),
            to a tensor (1, rows, width), of which nothing is differentiated.
        inputs, reference, keys: of the batch.

    Returns:
        a tensor (batch, rows, width) of the type of the reference.
    """

    def one(index):
        return function(slice_of(inputs, index), reference[index][None], keys[index])[0]

    numbers = tf.range(tf.shape(reference)[0])
    signature = tf.TensorSpec(reference.shape[1:], reference.dtype)
    return tf.map_fn(one, numbers, fn_output_signature=signature, parallel_iterations=1)


def recipe_of(recipe):
    """A recipe as a `Recipe`; None stands for the plainest one."""
    if recipe is None:
        return Recipe()
    if isinstance(recipe, Recipe):
        return recipe
    return _Function(recipe)
