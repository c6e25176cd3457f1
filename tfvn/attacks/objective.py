"""What an attack makes large: what a goal says of a model's answer to a changed measurement.

The paper's threat is an image r, and its goal the change of the answer:

    E(r) = 1/2 || f(k + A r) - f(k) ||_2^2

of every image of a batch.

A model may draw random numbers for each answer. An adversary who cannot foresee them maximises the
expectation of E over all draws. Its estimate takes a few sets of draws of the attack's own, and
each step of an attack takes the next of them: the momentum averages over about as many steps. The
answers to k and to k + A r see the same draws. Independent ones would add the variance of the draws
to E, and the attack would go after that.
"""

import copy
import functools

import tensorflow as tf

from tfvn.attacks.goals import EFFECT, Counted
from tfvn.attacks.threats import IMAGE
from tfvn.choices import GRADIENTS, NOISES
from tfvn.device import one_graph
from tfvn.models.backward import answer_through, without_gradient
from tfvn.models.contract import check_gradient
from tfvn.physics import noise

__all__ = [
    "CHECK_DRAWS",
    "GRADIENTS",
    "NOISES",
    "NUM_SETS",
    "Objective",
    "numbered_keys",
    "takes_fresh_draws",
]

# Sets of fresh draws of the paper's attack and of that of Antun et al.
NUM_SETS = 10
# Of other draws, at least so many: a finished search is checked with them.
CHECK_DRAWS = 100


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


class Objective:
    """E of a batch, to be built inside a graph.

    Args:
        model: a `Reconstructor`.
        inputs: the measurement, as `tfvn.attacks.base.checked_measurement` gives it.
        index: int32 (batch,), the numbers that name the images.
        gradient: one of `GRADIENTS`, or `SURROGATE`: then all answers are the surrogate's.
        sets: the number of sets of fresh draws; None for the draws of the model's own.
        seed: the seed of fresh draws.
        threat: what a change is, see `tfvn.attacks.threats`.
        goal: what is made large, see `tfvn.attacks.goals`.
        reference: |y|, real (batch, rows, width), for goals that need it.
        support: where a change may differ from 0, as the threat's `support` gives it.
        known: what the threat's `known` gives of the measurement as it came; None: what it gives of
            the inputs.

    Attributes:
        like: zeros of the shape of a change r.
        compared_with: the image that the model's answer to its own draws is compared with.
    """

    def __init__(
        self,
        model,
        inputs,
        index,
        gradient="full",
        sets=None,
        seed=0,
        threat=IMAGE,
        goal=EFFECT,
        reference=None,
        support=None,
        known=None,
    ):
        self._model = model
        self._inputs = inputs
        self._gradient = gradient
        self._threat = threat
        self._goal = goal
        self._support = support
        self._known = threat.known(model.sense, inputs) if known is None else known
        self._seed = seed
        self._index = index
        self._truth = reference
        self._own_keys = model.keys(index)
        # Where no gradient is asked for, one graph serves all answers.
        through = without_gradient(gradient)
        self._answer_alone = one_graph(functools.partial(self._answer, through=through))
        self.like = threat.zero(model.sense, inputs)
        self._clean = None if goal.needs_reference else self._clean_answer(self._own_keys)
        self.compared_with = goal.compared_with(self._clean, reference)
        self._sets = sets
        if sets is None:
            return
        self._keys = tf.map_fn(
            lambda number: numbered_keys(seed, noise.ATTACK, number, index), tf.range(sets)
        )
        self._each_compared_with = None
        if not goal.needs_reference:
            shape, dtype = self.compared_with.shape, self.compared_with.dtype
            self._each_compared_with = tf.map_fn(
                lambda keys: goal.compared_with(self._clean_answer(keys), reference),
                self._keys,
                fn_output_signature=tf.TensorSpec(shape, dtype),
                parallel_iterations=1,
            )

    def counting(self, inside):
        """The same E, of a part of the image alone.

        Args:
            inside: which pixels count, bool (rows, width), known in the graph only.
        """
        other = copy.copy(self)
        other._goal = Counted(self._goal, inside)
        return other

    def value(self, r, step=None):
        """E(r) on the draws of a step, (batch,); without a step, the mean over all sets."""
        if step is None and self._sets is not None:
            return self._mean(lambda number: [self.value(r, number)])[0]
        return self._value(self._answer_alone, r, step)

    def value_and_gradient(self, r, step=None):
        """The same, and its gradient, of the shape of r."""
        if step is None and self._sets is not None:
            return self._mean(lambda number: self.value_and_gradient(r, number))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(r)
            answer = functools.partial(self._answer, through=self._gradient)
            value = self._value(answer, r, step)
        gradient = tape.gradient(value, r)
        if gradient is None and self._gradient == "last-steps":
            # A suite has other searches for a model that is led through no step at all.
            return value, tf.zeros_like(r)
        key = self._threat.changes or self._model.reads
        if self._gradient == "initial-image":
            key = "initial_image"
        check_gradient(self._model, gradient, key)
        return value, gradient

    def answer(self, r):
        """The model's answer f(k + A r) to its own draws, and E of it."""
        image = self._answer_alone(r, self._own_keys)
        return image, self._goal.value(image, self._followed(self.compared_with, r))

    def unseen(self, r, sets):
        """E(r) on draws that no step has seen, the mean over a number of sets, (batch,)."""

        def of_set(number):
            keys = numbered_keys(self._seed, noise.ATTACK_CHECK, number, self._index)
            other = self.compared_with
            if not self._goal.needs_reference:
                other = self._goal.compared_with(self._clean_answer(keys), self._truth)
            image = self._answer_alone(r, keys)
            return [self._goal.value(image, self._followed(other, r))]

        return _mean(of_set, sets)[0]

    def left(self, image, r):
        """What is left of the way of an answer to a target, (batch,); None without a target."""
        if self._clean is None:
            return None
        clean, target = (self._followed(x, r) for x in (self._clean, self.compared_with))
        return self._goal.left(image, clean, target)

    def _followed(self, other, r):
        """What the answer to a change r is compared with, where that to none is with `other`."""
        return self._threat.follow(other, r, self._known, self._goal.needs_reference)

    def _mean(self, function):
        """The mean of what a function of the number of a set returns, a list, over all sets."""
        return _mean(function, tf.shape(self._keys)[0])

    def _value(self, answer, r, step):
        if self._sets is None:
            image = answer(r, self._own_keys)
            return self._goal.value(image, self._followed(self.compared_with, r))
        number = step % tf.shape(self._keys)[0]
        other = self.compared_with
        if self._each_compared_with is not None:
            other = self._each_compared_with[number]
        return self._goal.value(answer(r, self._keys[number]), self._followed(other, r))

    def _clean_answer(self, keys):
        """The answer f(k) to draws of these keys."""
        return self._answer_alone(tf.zeros_like(self.like), keys)

    def _answer(self, r, keys, through):
        """The answer f(k + A r) to draws of these keys, with a gradient of the name `through`."""
        if self._support is not None:
            r *= self._support
        inputs = self._threat.enter(self._model.sense, self._inputs, r, self._known)
        return answer_through(through, self._model, inputs, keys)


def _mean(function, count):
    """The mean of what a function of a number returns, a list, over the first `count` numbers."""
    first = function(tf.constant(0))

    def add(number, *total):
        return (number + 1, *[one + more for one, more in zip(total, function(number))])

    begin = (tf.constant(1), *first)
    _, *total = tf.while_loop(lambda number, *_: number < count, add, begin, parallel_iterations=1)
    return [one / tf.cast(count, one.dtype) for one in total]
