"""Shapes of tensors, as far as they are known while a graph is traced."""

import tensorflow as tf

__all__ = ["static_or_dynamic_shape"]


def static_or_dynamic_shape(x):
    """The shape as a list of Python ints where known, else of scalar tensors."""
    dynamic = tf.shape(x)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(x.shape)]
