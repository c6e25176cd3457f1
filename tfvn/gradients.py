"""Gradients that are given by formulas."""

import tensorflow as tf

__all__ = ["with_gradient"]


def with_gradient(value, sources, gradient):
    """`value`, as a function of `sources` whose gradient is given.

    A sum of values may have a gradient for each of its parts. One that nobody asks for is never
    called, and so neither traced nor computed.

    Args:
        value: a tensor that TensorFlow knows no gradient of: made of `tf.stop_gradient(source)`.
        sources: a list of tensors.
        gradient: a function of the gradient in `value`; returns those in the sources, a list.
    """

    @tf.custom_gradient
    def given(*_):
        return tf.identity(value), gradient

    return given(*sources)
