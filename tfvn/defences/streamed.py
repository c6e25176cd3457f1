"""Draws that are gone through in chunks, forward and in the gradient.

    mean = (1 / K) sum_k x_k(m)

x_k(m) is what draw k makes of measured tensors m. No more than a chunk of draws is in memory at
once, in the gradient too: it computes them again. The result does not depend on the chunk, up to
the order of a sum.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from tfvn import replicas
from tfvn.models.contract import check_gradient

__all__ = ["Draws", "replica_of"]


class Draws(NamedTuple):
    """The draws of one answer, and how they are gone through.

    chunk: a function (measured, start, stop) to the images of draws start..stop-1, (draws, batch,
        rows, width).
    measured: the tensors that the images are differentiable in.
    zero: an image of zeros, (batch, rows, width). What is no image has another shape, here and in
        the chunks.
    count: the number of draws, a tensor.
    at_once: how many draws are a chunk.
    strategy: over whose replicas they are split, or None.
    """

    chunk: Any
    measured: list
    zero: tf.Tensor
    count: tf.Tensor
    at_once: int = 1
    strategy: Any = None

    def stream(self, add, total):
        """Does total <- add(total, start, stop) for all chunks of this replica."""
        number, replicas_ = replica_of(self.strategy)

        def body(start, *total):
            stop = tf.minimum(start + self.at_once, self.count)
            return (start + replicas_ * self.at_once, *add(total, start, stop))

        _, *total = tf.while_loop(
            lambda start, *_: start < self.count,
            body,
            (tf.constant(self.at_once) * number, *total),
            parallel_iterations=1,
        )
        return total

    def mean(self, model=None, names=()):
        """The mean image of all draws, differentiable in what is measured.

        Args:
            model: the `Reconstructor` that an error about a missing gradient names.
            names: of the tensors that are measured, for that error.
        """

        def add(total, start, stop):
            return [total[0] + tf.reduce_sum(self.chunk(self.measured, start, stop), 0)]

        def pulled_back(measured, cotangent, start, stop):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(measured)
                image = tf.reduce_sum(self.chunk(measured, start, stop), 0)
            found = tape.gradient(image, measured, output_gradients=cotangent)
            for name, one in zip(names, found):
                check_gradient(model, one, name)
            return found

        return self.differentiable(lambda: self._averaged(add, [self.zero])[0], pulled_back)

    def differentiable(self, value, pulled_back):
        """A value of all draws, with the gradient that is the mean of those of chunks.

        Args:
            value: a function without arguments.
            pulled_back: a function (measured, cotangent, start, stop) to the gradients of draws
                start..stop-1 in what is measured, each the sum over these draws.
        """

        @tf.custom_gradient
        def given(*measured):
            def gradient(cotangent, variables=None):
                def add(total, start, stop):
                    found = pulled_back(measured, cotangent, start, stop)
                    # The loop must not lose the shape of what it adds to.
                    return [
                        sum_ + tf.ensure_shape(one, sum_.shape) for sum_, one in zip(total, found)
                    ]

                total = self._averaged(add, [tf.zeros_like(one) for one in measured])
                return total if variables is None else (total, [None] * len(variables))

            return value(), gradient

        return given(*self.measured)

    def _averaged(self, add, zeros):
        total = replicas.total(self.strategy, lambda: self.stream(add, zeros))
        return [part / tf.cast(self.count, part.dtype) for part in total]


def replica_of(strategy):
    """The number of this replica, and how many there are."""
    return (0, 1) if strategy is None else replicas.replica()
