"""Centred, orthonormal discrete Fourier transforms over the last two axes.

The origin of image and k-space sits at index `size // 2` of both axes, for odd sizes too:

    fft2c = fftshift . F . ifftshift / sqrt(height * width),    ifft2c = fft2c^H = fft2c^-1
"""

import tensorflow as tf

from tfvn.checks import shown
from tfvn.shapes import static_or_dynamic_shape

__all__ = ["fft2c", "ifft2c", "ifftshift"]

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
    height, width = static_or_dynamic_shape(x)[-2:]
    return tf.cast(tf.sqrt(tf.cast(height * width, x.dtype.real_dtype)), x.dtype)


def _fftshift(x, axes=_AXES):
    """As `tf.signal.fftshift`, in a fifth of its operations where the sizes are known."""
    return _rolled(x, axes, [size // 2 for size in _sizes(x, axes)])


def ifftshift(x, axes=_AXES):
    """As `tf.signal.ifftshift`, in a fifth of its operations where the sizes are known."""
    return _rolled(x, axes, [-(size // 2) for size in _sizes(x, axes)])


def _sizes(x, axes):
    return [x.shape[axis] or tf.shape(x)[axis] for axis in axes]


def _rolled(x, axes, shifts):
    return tf.roll(x, tf.stack(shifts), list(axes))


def fft2c(x):
    """Image to k-space. `x` is complex of shape (..., height, width), else a ValueError; so is the
    result."""
    x = _checked(x)
    spectrum = tf.signal.fft2d(ifftshift(x))
    return _fftshift(spectrum) / _root_size(x)


def ifft2c(x):
    """k-space to image: inverse and adjoint of `fft2c`, same shapes."""
    x = _checked(x)
    image = tf.signal.ifft2d(ifftshift(x))
    return _fftshift(image) * _root_size(x)
