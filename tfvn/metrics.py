"""Image errors. Inputs are (batch, height, width) arrays or tensors; all but `rmse` return one value an image.

`rmse` and `nrmse` are two different numbers (docs/mathematics.md): the paper's is an absolute L2 norm over the
image in normalised units, the original network code's is relative.
"""
import tensorflow as tf

_AXES = (-2, -1)


def _norm(x):
    return tf.sqrt(tf.reduce_sum(tf.square(tf.abs(x)), _AXES))


def error_norm(image, reference):
    """|| |image| - |reference| ||_2 of each image, not divided by the number of pixels. Shape (batch,)."""
    return _norm(tf.abs(image) - tf.abs(reference))


def rmse(image, reference):
    """The paper's RMSE: sqrt(mean_i || |image_i| - |reference_i| ||_2^2) over the batch. A scalar."""
    return tf.sqrt(tf.reduce_mean(tf.square(error_norm(image, reference))))


def nrmse(image, reference):
    """Relative error ||image - reference|| / ||reference|| of each (complex) image. Shape (batch,)."""
    return _norm(tf.subtract(image, reference)) / _norm(reference)


def psnr(image, reference):
    """10 log10(max |reference|^2 / mean squared error) in dB, of magnitudes. Shape (batch,)."""
    image, reference = tf.abs(image), tf.abs(reference)
    mean_squared_error = tf.reduce_mean(tf.square(image - reference), _AXES)
    ratio = tf.square(tf.reduce_max(reference, _AXES)) / mean_squared_error
    return 10 * tf.math.log(ratio) / tf.math.log(tf.constant(10, ratio.dtype))


def ssim(image, reference):
    """Structural similarity of magnitudes: Gaussian window of 11 (sigma 1.5), data range = max - min of each reference.

    Equal to scikit-image's `structural_similarity(gaussian_weights=True, use_sample_covariance=False)`. Shape (batch,).

    Raises:
        ValueError: if an axis is shorter than the window.
    """
    image, reference = tf.abs(image), tf.abs(reference)
    if any(size is not None and size < 11 for size in reference.shape[-2:]):
        raise ValueError(f"ssim needs images of at least 11 x 11 pixels. Received: shape={tuple(reference.shape)}")
    data_range = (tf.reduce_max(reference, _AXES) - tf.reduce_min(reference, _AXES))[..., None, None]
    scaled = [(x / data_range)[..., None] for x in (image, reference)]
    return tf.image.ssim(*scaled, max_val=1.0, filter_size=11, filter_sigma=1.5, k1=0.01, k2=0.03)
