import numpy as np
import pytest
import tensorflow as tf

from tfvn.physics.fourier import fft2c, ifft2c

SHAPES = [(8, 6), (7, 5), (8, 5), (7, 6), (1, 9), (1, 1)]


def random_image(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, *shape)) + 1j * rng.standard_normal((2, *shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_transform_is_unitary(shape):
    x, y = random_image(shape), random_image(shape, 1)
    assert np.vdot(fft2c(x), fft2c(y)) == pytest.approx(np.vdot(x, y), rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_inverse_are_adjoint(shape):
    x, y = random_image(shape), random_image(shape, 1)
    assert np.vdot(fft2c(x), y) == pytest.approx(np.vdot(x, ifft2c(y)), rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_inverse_undoes_the_transform(shape):
    x = random_image(shape)
    np.testing.assert_allclose(ifft2c(fft2c(x)), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_equals_shifted_numpy(shape):
    x, axes = random_image(shape), (-2, -1)
    expected = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(x, axes), norm="ortho"), axes)
    np.testing.assert_allclose(fft2c(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_equals_the_definition(shape, fourier_matrix):
    x = random_image(shape)
    np.testing.assert_allclose(
        fft2c(x), fourier_matrix(shape[0]) @ x @ fourier_matrix(shape[1]).T, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("shape", [(8, 6), (7, 5)])
def test_a_point_in_the_centre_has_a_flat_real_spectrum(shape):
    point = np.zeros(shape, complex)
    point[shape[0] // 2, shape[1] // 2] = 1
    np.testing.assert_allclose(fft2c(point), np.full(shape, 1 / np.sqrt(point.size)), atol=1e-15)


def test_single_precision_stays_single():
    x = random_image((24, 20)).astype(np.complex64)
    assert fft2c(x).dtype == ifft2c(x).dtype == tf.complex64
    np.testing.assert_allclose(ifft2c(fft2c(x)), x, rtol=0, atol=1e-5)


def test_sizes_may_be_unknown_while_tracing():
    traced = tf.function(fft2c, input_signature=[tf.TensorSpec([None, None, None], tf.complex128)])
    x = random_image((7, 6))
    np.testing.assert_allclose(traced(x), fft2c(x), atol=1e-14)


@pytest.mark.parametrize("transform", [fft2c, ifft2c])
@pytest.mark.parametrize(
    "x",
    [np.ones((4, 4)), np.ones((4, 4), int), np.ones(4, complex), np.ones((0, 4), complex)],
    ids=repr,
)
def test_what_is_no_complex_image_is_refused(transform, x):
    with pytest.raises(
        ValueError, match=r"x must be complex of shape \(..., height, width\). Received: x="
    ):
        transform(x)
