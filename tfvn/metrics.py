"""Image errors. All but `rmse` return one value an image.

`rmse` and `nrmse` are two different numbers (docs/mathematics.md): the paper's is an absolute L2
norm over the image in normalised units, the original network code's is relative.

Images are arrays or tensors of one shape (batch, height, width), real or complex; anything else is
a ValueError, and nothing is broadcast. Of two precisions the higher one counts; whole numbers are
taken in double precision. An image that holds NaN has the error NaN, and leaves its batch mates
alone.
"""

import numpy as np
import tensorflow as tf

from tfvn import checks

__all__ = ["error_norm", "nrmse", "psnr", "rmse", "ssim"]

_AXES = (-2, -1)


def _image(name, value):
    """A tensor of floating or complex numbers, single or double, of rank 3."""
    try:
        image = value if tf.is_tensor(value) else tf.convert_to_tensor(np.asarray(value))
    except (TypeError, ValueError, tf.errors.OpError):
        image = None
    kinds = () if image is None else ("is_integer", "is_floating", "is_complex")
    if not any(getattr(image.dtype, kind) for kind in kinds):
        raise ValueError(f"{name} must hold numbers. Received: {name}={checks.shown(value)}")
    shape = image.shape
    if shape.rank not in (3, None) or shape.rank == 3 and shape[2] == 1:
        advice = "Add an axis for the batch: image[None]." if shape.rank == 2 else ""
        if shape[-1:] == [1]:
            advice = "The last axis looks like one of channels: take image[..., 0]."
        raise ValueError(
            f"{name} must have shape (batch, height, width). Received: "
            f"{name}.shape={tuple(shape)}. {advice}"
        )
    if 0 in shape.as_list():
        raise ValueError(
            f"{name} must hold at least one image. Received: {name}.shape={tuple(shape)}"
        )
    if image.dtype.is_integer:
        return tf.cast(image, tf.float64)
    return tf.cast(image, tf.float32) if image.dtype.size < 4 else image


def _pair(image, reference):
    """Both, of one precision and one shape."""
    image, reference = _image("image", image), _image("reference", reference)
    if not image.shape.is_compatible_with(reference.shape):
        raise ValueError(
            "image and reference must have the same shape (batch, height, width). "
            f"Received: image.shape={tuple(image.shape)}, reference.shape={tuple(reference.shape)}"
        )
    double = tf.float64 in (image.dtype.real_dtype, reference.dtype.real_dtype)
    return tuple(_in_precision(x, double) for x in (image, reference))


def _in_precision(x, double):
    if x.dtype.is_complex:
        return tf.cast(x, tf.complex128 if double else tf.complex64)
    return tf.cast(x, tf.float64 if double else tf.float32)


def _magnitudes(image, reference):
    return tuple(tf.abs(x) for x in _pair(image, reference))


def _norm(x):
    return tf.sqrt(tf.reduce_sum(tf.square(tf.abs(x)), _AXES))


def error_norm(image, reference):
    """|| |image| - |reference| ||_2 of each image, not divided by the number of pixels. Shape
    (batch,).
    """
    image, reference = _magnitudes(image, reference)
    return _norm(image - reference)


def rmse(image, reference):
    """The paper's RMSE: sqrt(mean_i || |image_i| - |reference_i| ||_2^2) over the batch. A
    scalar.
    """
    return tf.sqrt(tf.reduce_mean(tf.square(error_norm(image, reference))))


def nrmse(image, reference):
    """Relative error ||image - reference|| / ||reference|| of each (complex) image. Shape
    (batch,).
    """
    image, reference = _pair(image, reference)
    if image.dtype != reference.dtype:
        # One of them is complex.
        complex_type = image.dtype if image.dtype.is_complex else reference.dtype
        image, reference = tf.cast(image, complex_type), tf.cast(reference, complex_type)
    return _norm(tf.subtract(image, reference)) / _norm(reference)


def psnr(image, reference):
    """10 log10(max |reference|^2 / mean squared error) in dB, of magnitudes; infinite for equal
    images. Shape (batch,)."""
    image, reference = _magnitudes(image, reference)
    mean_squared_error = tf.reduce_mean(tf.square(image - reference), _AXES)
    ratio = tf.square(tf.reduce_max(reference, _AXES)) / mean_squared_error
    return 10 * tf.math.log(ratio) / tf.math.log(tf.constant(10, ratio.dtype))


def ssim(image, reference):
    """Structural similarity of magnitudes: Gaussian window of 11 (sigma 1.5), data range = max -
    min of each reference.

    Equal to scikit-image's `structural_similarity(gaussian_weights=True,
    use_sample_covariance=False)`. Shape (batch,).
    NaN where the reference is constant: it has no range. Computed in single precision.

    Raises:
        ValueError: if an axis is shorter than the window.
    """
    image, reference = _magnitudes(image, reference)
    if any(size is not None and size < 11 for size in reference.shape[-2:]):
        raise ValueError(
            "ssim needs images of at least 11 x 11 pixels. Received:"
            f" shape={tuple(reference.shape)}"
        )
    data_range = (tf.reduce_max(reference, _AXES) - tf.reduce_min(reference, _AXES))[
        ..., None, None
    ]
    scaled = [(x / data_range)[..., None] for x in (image, reference)]
    return tf.image.ssim(*scaled, max_val=1.0, filter_size=11, filter_sigma=1.5, k1=0.01, k2=0.03)
