"""What an attack makes large: the change of a model's answer.

    E(r) = 1/2 || f(k + A r) - p ||_2^2

of every image of a batch. p is the model's own answer f(k), or another image.

A model may draw random numbers for each answer. An adversary who cannot foresee them maximises the
expectation of E over all draws. Its estimate takes a few sets of draws of the attack's own, and
each step of an attack takes the next of them: the momentum averages over about as many steps. The
answers to k and to k + A r see the same draws. Independent ones would add the variance of the draws
to E, and the attack would go after that.
"""

import tensorflow as tf

from tfvn import checks
from tfvn.choices import GRADIENTS, NOISES
from tfvn.device import one_graph
from tfvn.models.contract import check_gradient
from tfvn.physics import measurement, noise

__all__ = [
    "GRADIENTS",
    "NOISES",
    "NUM_SETS",
    "Objective",
    "check_gradient_exists",
    "numbered_keys",
    "takes_fresh_draws",
]

# Sets of fresh draws.
NUM_SETS = 10


def numbered_keys(seed, stream, number, index):
    """The keys of a number of draws of each image, int32 (batch, 2).

    Args:
        seed: a whole number.
        stream: one of the streams of `tfvn.physics.noise`.
        number: which one of the draws of a stream.
        index: numbers that name the images, (batch,).
    """
    key = noise.fold_in([seed, stream], number)
    return noise.fold_in_each(tf.broadcast_to(key, [tf.shape(index)[0], 2]), index)


def takes_fresh_draws(model, noises):
    """Whether an attack on the model takes draws of its own.

    Args:
        model: a model. One without draws answers the same every time.
        noises: one of `NOISES`.
    """
    # The number of draws is asked for outside of any graph.
    with tf.init_scope():
        return noises == "fresh" and model.draws > 0


def check_gradient_exists(model, gradient):
    """Checks that a model has a gradient of this kind.

    Raises:
        ValueError: if it has not.
    """
    if gradient == "initial-image" and not model.reads_initial_image:
        raise ValueError(
            "gradient='initial-image' needs a model that reads `initial_image`. Received: "
            f"{checks.shown(model)}"
        )


class Objective:
    """E of a batch, to be built inside a graph.

    Args:
        model: a `Reconstructor`.
        inputs: the measurement, as `tfvn.attacks.base.measured` gives it.
        index: int32 (batch,), the numbers that name the images.
        gradient: one of `GRADIENTS`.
        sets: the number of sets of fresh draws; None for the draws of the model's own.
        seed: the seed of fresh draws.
        reference: p, real (batch, rows, width); None for the model's answer f(k).

    Attributes:
        like: A^H k, a tensor of the shape of r.
        reference: p; the model's answer f(k) to its own draws where none is given.
    """

    def __init__(self, model, inputs, index, gradient="full", sets=None, seed=0, reference=None):
        self._model = model
        self._inputs = inputs
        self._gradient = gradient
        self._own_keys = model.keys(index)
        # Where no gradient is asked for, one graph serves all answers.
        self._answer_alone = one_graph(self._answer)
        self.like = measurement.zero_filled(model.sense, inputs)
        self.reference = reference
        if reference is None:
            self.reference = self._clean(self._own_keys)
        self._sets = sets
        if sets is None:
            return
        self._keys = tf.map_fn(
            lambda number: numbered_keys(seed, noise.ATTACK, number, index), tf.range(sets)
        )
        self._references = None
        if reference is None:
            self._references = tf.map_fn(
                self._clean,
                self._keys,
                fn_output_signature=tf.TensorSpec(self.reference.shape, self.reference.dtype),
                parallel_iterations=1,
            )

    def value(self, r, step):
        """E(r) on the draws of a step, (batch,)."""
        return self._value(self._answer_alone, r, step)

    def value_and_gradient(self, r, step):
        """The same, and its gradient, of the shape of r."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(r)
            value = self._value(self._answer, r, step)
        gradient = tape.gradient(value, r)
        key = "initial_image" if self._gradient == "initial-image" else self._model.reads
        check_gradient(self._model, gradient, key)
        return value, gradient

    def answer(self, r):
        """The model's answer f(k + A r) to its own draws, and E of it."""
        image = self._answer_alone(r, self._own_keys)
        return image, _half_squared_distance(image, self.reference)

    def _value(self, answer, r, step):
        if self._sets is None:
            return _half_squared_distance(answer(r, self._own_keys), self.reference)
        number = step % tf.shape(self._keys)[0]
        reference = self.reference
        if self._references is not None:
            reference = self._references[number]
        return _half_squared_distance(answer(r, self._keys[number]), reference)

    def _clean(self, keys):
        """The answer f(k)."""
        return self._answer_alone(tf.zeros_like(self.like), keys)

    def _answer(self, r, keys):
        inputs = measurement.perturbed(self._model.sense, self._inputs, r)
        if self._gradient == "initial-image":
            first = measurement.zero_filled(self._model.sense, inputs)
            for key in measurement.measured_keys(inputs):
                inputs[key] = tf.stop_gradient(inputs[key])
            inputs["initial_image"] = first
        return self._model.answer(inputs, keys)


def _half_squared_distance(image, reference):
    return tf.reduce_sum(tf.square(image - reference), [1, 2]) / 2
