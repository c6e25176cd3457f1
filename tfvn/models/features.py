"""Complex images as the two real channels that networks work on, and back.

    as_channels(u) = (re u, im u),    as_image(v) = v_1 + i v_2

They are each other's inverse, and both keep norms.
"""

import tensorflow as tf

__all__ = ["as_channels", "as_complex", "as_image"]


def as_channels(image):
    """(re, im) of a complex image.

    Args:
        image: complex (batch, rows, width).

    Returns:
        real (batch, rows, width, 2).
    """
    return tf.stack([tf.math.real(image), tf.math.imag(image)], -1)


def as_complex(x):
    """A real tensor as a complex one.

    `tf.cast` does the same. TensorFlow warns where that is differentiated.
    """
    return tf.complex(x, tf.zeros_like(x))


def as_image(features):
    """The complex image of two channels.

    Args:
        features: real (batch, rows, width, 2), re and im.

    Returns:
        complex (batch, rows, width).
    """
    return tf.complex(features[..., 0], features[..., 1])
