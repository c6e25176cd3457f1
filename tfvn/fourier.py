"""Centred, orthonormal discrete Fourier transforms over the last two axes.

The origin of image and k-space sits at index `size // 2` of both axes, for odd sizes too:

    fft2c = fftshift . F . ifftshift / sqrt(height * width),    ifft2c = fft2c^H = fft2c^-1
"""
import tensorflow as tf

_AXES = (-2, -1)


def _root_size(x):
    shape = tf.shape(x)
    return tf.cast(tf.sqrt(tf.cast(shape[-2] * shape[-1], x.dtype.real_dtype)), x.dtype)


def fft2c(x):
    """Image to k-space. `x` is complex of shape (..., height, width); so is the result."""
    x = tf.convert_to_tensor(x)
    spectrum = tf.signal.fft2d(tf.signal.ifftshift(x, axes=_AXES))
    return tf.signal.fftshift(spectrum, axes=_AXES) / _root_size(x)


def ifft2c(x):
    """k-space to image: inverse and adjoint of `fft2c`, same shapes."""
    x = tf.convert_to_tensor(x)
    image = tf.signal.ifft2d(tf.signal.ifftshift(x, axes=_AXES))
    return tf.signal.fftshift(image, axes=_AXES) * _root_size(x)
