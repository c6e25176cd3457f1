"""A layer of a convolutional network: the cross-correlation with zeros outside the image, whose
result has the size of the image.

    y_o = sum_c k_{.,.,c,o} * x_c

The gradient in x is a correlation as well: of the cotangent, with the kernel rotated by half a turn
and its channels exchanged. TensorFlow computes it by another operation, which takes on a CPU 2 to 5
times as long for images of 320 x 184 and 18 to 64 channels. An attack takes little else.
"""

import math

import tensorflow as tf

from tfvn.device import on_accelerator

__all__ = ["correlate_same"]

# TensorFlow's own gradient is faster into fewer channels than this, ...
_FEWEST_CHANNELS = 8
# ... and where there are fewer pixels than this for each channel of the cotangent: to rotate the
# kernel takes longer then.
_FEWEST_PIXELS = 40


def correlate_same(features, kernel):
    """y of x and k.

    Args:
        features: x, real (batch, rows, width, inputs).
        kernel: k, (size, size, inputs, outputs), a tensor; `size` is odd.

    Returns:
        (batch, rows, width, outputs).
    """
    if not _rotation_is_faster(features.shape, kernel.shape):
        return tf.nn.conv2d(features, kernel, 1, "SAME")

    @tf.custom_gradient
    def apply(features, kernel):
        def gradient(cotangent):
            rotated = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
            in_kernel = tf.raw_ops.Conv2DBackpropFilter(
                input=features,
                filter_sizes=kernel.shape,
                out_backprop=cotangent,
                strides=[1, 1, 1, 1],
                padding="SAME",
            )
            return correlate_same(cotangent, rotated), in_kernel

        return tf.nn.conv2d(features, kernel, 1, "SAME"), gradient

    return apply(features, kernel)


def _rotation_is_faster(features, kernel):
    """Whether the gradient by a correlation takes less time, from the shapes of x and k."""
    size, _, inputs, outputs = kernel
    # The border of an even kernel is not that of its rotation.
    if on_accelerator() or size % 2 == 0 or inputs < _FEWEST_CHANNELS:
        return False
    known = [count for count in features[:3] if count is not None]
    return len(known) < 3 or math.prod(known) >= _FEWEST_PIXELS * outputs
