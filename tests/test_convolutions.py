import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import convolve2d, correlate2d

from tfvn.models.convolutions import _SUMS, correlate, correlate_transpose, kernel_gradient, phases

SIZES = pytest.mark.parametrize("kernel_size", [2, 3, 5, 11])
PADDINGS = pytest.mark.parametrize("padding", ["none", "full"])


def arrays(kernel_size, channels, padding, filters=3, seed=0):
    """A random batch of images (2 channels) or features, a kernel and the padding, in double
    precision.

    Sizes are those that occur in a stage: whole phases of the image, which is padded before and
    cropped after.
    """
    rng = np.random.default_rng(seed)
    border = kernel_size - 1
    height, width = (8, 12) if padding == "full" and channels == 2 else (8 + border, 12 + border)
    image = rng.standard_normal((2, height, width, channels))
    kernel = rng.standard_normal((kernel_size, kernel_size, 2, filters))
    return tf.constant(image), tf.constant(kernel), 0 if padding == "none" else border


def explicit(function, images, kernel, padding, transpose=False):
    """The sum over channels of SciPy's plain 2-D operation, output channel by output channel."""
    kernel = kernel.numpy().transpose(0, 1, 3, 2) if transpose else kernel.numpy()
    images = np.pad(images, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    return np.stack(
        [
            [
                sum(function(x[..., i], kernel[..., i, o], "valid") for i in range(x.shape[-1]))
                for o in range(kernel.shape[-1])
            ]
            for x in images
        ]
    ).transpose(0, 2, 3, 1)


@PADDINGS
@SIZES
def test_correlate_equals_scipys_correlation(kernel_size, padding):
    image, kernel, padding = arrays(kernel_size, 2, padding)
    expected = explicit(correlate2d, image, kernel, padding)
    np.testing.assert_allclose(correlate(image, kernel, padding), expected, rtol=0, atol=1e-12)


@PADDINGS
@SIZES
def test_correlate_transpose_equals_scipys_convolution(kernel_size, padding):
    features, kernel, padding = arrays(kernel_size, 3, padding)
    expected = explicit(convolve2d, features, kernel, padding, transpose=True)
    np.testing.assert_allclose(
        correlate_transpose(features, kernel, padding), expected, rtol=0, atol=1e-12
    )


@SIZES
def test_correlate_equals_tensorflows_convolution(kernel_size):
    image, kernel, _ = arrays(kernel_size, 2, "none")
    np.testing.assert_allclose(
        correlate(image, kernel), tf.nn.conv2d(image, kernel, 1, "VALID"), rtol=0, atol=1e-12
    )


@SIZES
def test_the_two_are_adjoint(kernel_size):
    # <K u, z> over all positions that the fully padded image has equals <u, K^T z>.
    image, kernel, border = arrays(kernel_size, 2, "full")
    features = correlate(image, kernel, border)
    z = tf.constant(np.random.default_rng(1).standard_normal(features.shape))
    assert np.vdot(features, z) == pytest.approx(
        np.vdot(image, correlate_transpose(z, kernel)), rel=1e-12
    )


@PADDINGS
@SIZES
def test_the_kernel_gradient_is_that_of_the_inner_product(kernel_size, padding):
    image, kernel, padding = arrays(kernel_size, 2, padding)
    z = tf.constant(
        np.random.default_rng(1).standard_normal(correlate(image, kernel, padding).shape)
    )
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        padded = tf.pad(image, [[0, 0], [padding] * 2, [padding] * 2, [0, 0]])
        product = tf.reduce_sum(z * tf.nn.conv2d(padded, kernel, 1, "VALID"))
    expected = tape.gradient(product, kernel)
    np.testing.assert_allclose(
        kernel_gradient(image, z, kernel_size, padding), expected, rtol=1e-11, atol=1e-12
    )


# Around the number of parts of the sum: fewer rows than parts, as many, whole and broken multiples.
@pytest.mark.parametrize("known", [True, False], ids=["known size", "unknown size"])
@pytest.mark.parametrize("rows", [1, _SUMS - 1, _SUMS, _SUMS + 1, 2 * _SUMS, 3 * _SUMS - 1])
def test_the_kernel_gradient_holds_for_any_number_of_rows(rows, known):
    rng = np.random.default_rng(0)
    image, z = (
        tf.constant(rng.standard_normal((2, rows + 2, 8, 2))),
        tf.constant(rng.standard_normal((2, rows, 6, 3))),
    )
    with tf.GradientTape() as tape:
        kernel = tf.zeros([3, 3, 2, 3], tf.float64)
        tape.watch(kernel)
        product = tf.reduce_sum(z * tf.nn.conv2d(image, kernel, 1, "VALID"))

    def gradient(image, z):
        return kernel_gradient(image, z, 3)

    if not known:
        signature = [tf.TensorSpec([None, None, None, x.shape[-1]], tf.float64) for x in (image, z)]
        gradient = tf.function(gradient, input_signature=signature)
    np.testing.assert_allclose(
        gradient(image, z), tape.gradient(product, kernel), rtol=1e-11, atol=1e-12
    )


@pytest.mark.parametrize("kernel_size", [3, 11])
def test_single_precision_agrees_with_double(kernel_size):
    image, kernel, border = arrays(kernel_size, 2, "full")
    single, double = (
        correlate(tf.cast(image, "float32"), tf.cast(kernel, "float32"), border),
        correlate(image, kernel, border),
    )
    assert single.dtype == tf.float32
    np.testing.assert_allclose(single, double, rtol=0, atol=1e-5 * np.abs(double).max())


@SIZES
def test_sizes_may_be_unknown_while_tracing(kernel_size):
    image, kernel, border = arrays(kernel_size, 2, "full")

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 2], tf.float64)])
    def there_and_back(image):
        return correlate_transpose(correlate(image, kernel, border), kernel)

    expected = correlate_transpose(correlate(image, kernel, border), kernel)
    np.testing.assert_allclose(there_and_back(image), expected, rtol=0, atol=1e-12)


def test_even_kernels_ask_for_no_multiples():
    assert phases(2) == (1, 1)
