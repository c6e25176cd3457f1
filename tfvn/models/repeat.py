"""A step that is repeated many times, differentiated with little memory.

Of N steps x <- step(x), the gradient needs the x of every step, in reverse order. Kept are those of
every n-th step alone, n = sqrt(N). The steps from one of them to the next are made again when the
gradient comes to them. So about 2 sqrt(N) states are in memory instead of N, and every step is made
twice.

Source: Griewank and Walther, ACM TOMS 26(1), 2000, for the principle (their schedule keeps fewer
states still).
"""

import math

import tensorflow as tf

__all__ = ["repeat"]


def repeat(step, count, state, operands=()):
    """The state after `count` steps.

    Differentiable once, in the `state` and in the `operands`; in nothing else that the step uses.

    Args:
        step: a function; step(*state, *operands) returns the next state.
        count: of the steps, a whole number >= 1.
        state: a tuple of tensors.
        operands: a tuple of tensors.
    """
    length = math.isqrt(count - 1) + 1
    segments = math.ceil(count / length)
    size = len(state)

    def steps(number, state, operands):
        """The state at the end of a segment."""
        most = tf.minimum(length, count - number * length)

        def one(*now):
            return tuple(step(*now, *operands))

        return tf.while_loop(lambda *_: True, one, state, maximum_iterations=most)

    @tf.custom_gradient
    def repeated(*tensors):
        state, operands = tensors[:size], tensors[size:]
        found, begun = _over_segments(steps, segments, state, operands)

        def gradient(*cotangents):
            return _backwards(steps, begun, cotangents, operands)

        return found, gradient

    return repeated(*state, *operands)


def _over_segments(steps, segments, state, operands):
    """The last state, and the states that the segments begin with."""

    def segment(number, state, begun):
        begun = tuple(array.write(number, x) for array, x in zip(begun, state))
        return number + 1, steps(number, state, operands), begun

    arrays = []
    for x in state:
        arrays.append(tf.TensorArray(x.dtype, segments, element_shape=x.shape))
    start = (tf.constant(0), state, tuple(arrays))
    _, found, begun = tf.while_loop(lambda number, *_: number < segments, segment, start)
    return found, [array.stack() for array in begun]


def _backwards(steps, begun, cotangents, operands):
    """The gradients with respect to the first state and to the operands, from those of the last
    state on.
    """

    def segment(number, cotangents, totals):
        state = tuple(x[number] for x in begun)
        with tf.GradientTape() as tape:
            tape.watch((state, operands))
            found = steps(number, state, operands)
        gradients = tape.gradient(
            found, (state, operands), cotangents, tf.UnconnectedGradients.ZERO
        )
        totals = tuple(total + own for total, own in zip(totals, gradients[1]))
        return number - 1, gradients[0], totals

    zeros = tuple(tf.zeros_like(x) for x in operands)
    start = (tf.shape(begun[0])[0] - 1, tuple(cotangents), zeros)
    # Of several segments at a time, each would keep its states.
    _, cotangents, totals = tf.while_loop(
        lambda number, *_: number >= 0, segment, start, parallel_iterations=1
    )
    return (*cotangents, *totals)
