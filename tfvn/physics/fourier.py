"""Centred, orthonormal discrete Fourier transforms over the last two axes.

The origin of image and k-space sits at index `size // 2` of both axes, for odd sizes too:

    fft2c = fftshift . F . ifftshift / sqrt(height * width),    ifft2c = fft2c^H = fft2c^-1
"""

import tensorflow as tf

from tfvn.checks import shown

__all__ = ["fft2c", "ifft2c"]

_AXES = (-2, -1)


def _checked(x):
    x = tf.convert_to_tensor(x)
    rank = x.shape.rank
    if not x.dtype.is_complex or rank is not None and (rank < 2 or 0 in x.shape[-2:].as_list()):
        raise ValueError(
            f"x must be complex of shape (..., height, width). Received: x={shown(x)}. "
            "Convert real numbers with tf.cast(x, 'complex64')."
        )
    return x


def _root_size(x):
    shape = tf.shape(x)
    return tf.cast(tf.sqrt(tf.cast(shape[-2] * shape[-1], x.dtype.real_dtype)), x.dtype)


def fft2c(x):
    """Image to k-space. `x` is complex of shape (..., height, width), else a ValueError; so is the
    result."""
    x = _checked(x)
    spectrum = tf.signal.fft2d(tf.signal.ifftshift(x, axes=_AXES))
    return tf.signal.fftshift(spectrum, axes=_AXES) / _root_size(x)


def ifft2c(x):
    """k-space to image: inverse and adjoint of `fft2c`, same shapes."""
    x = _checked(x)
    image = tf.signal.ifft2d(tf.signal.ifftshift(x, axes=_AXES))
    return tf.signal.fftshift(image, axes=_AXES) * _root_size(x)
