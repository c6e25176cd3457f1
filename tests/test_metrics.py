import numpy as np
import pytest
import tensorflow as tf
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tfvn import metrics

SHAPES = [(24, 20), (33, 27), (11, 11), (64, 48)]


def pair(shape=(24, 20), seed=0, batch=3, scale=1.0, noise=0.2):
    """A complex image and its reference; complex128."""
    rng = np.random.default_rng(seed)

    def random():
        return rng.standard_normal((batch, *shape)) + 1j * rng.standard_normal((batch, *shape))

    reference = np.cumsum(random(), 2) / np.sqrt(shape[1])
    return scale * (reference + noise * random()), scale * reference


@pytest.mark.parametrize("metric", [metrics.error_norm, metrics.nrmse, metrics.rmse])
def test_an_error_of_equal_images_is_zero(metric):
    image, _ = pair()
    np.testing.assert_array_equal(metric(image, image), np.zeros(metric(image, image).shape))


def test_ssim_of_equal_images_is_one():
    image, _ = pair()
    np.testing.assert_allclose(metrics.ssim(image, image), 1, rtol=1e-6)


def test_rmse_is_the_papers_root_of_the_mean_squared_norm():
    image, reference = pair()
    squares = [(np.abs(np.abs(a) - np.abs(b)) ** 2).sum() for a, b in zip(image, reference)]
    assert float(metrics.rmse(image, reference)) == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-12)


def test_rmse_of_one_image_is_its_error_norm():
    image, reference = pair(batch=1)
    assert float(metrics.rmse(image, reference)) == pytest.approx(float(metrics.error_norm(image, reference)[0]), rel=1e-12)


def test_rmse_sees_magnitudes_alone():
    image, reference = pair()
    turned = image * np.exp(1j * np.random.default_rng(1).uniform(0, 6, image.shape))
    assert float(metrics.rmse(turned, reference)) == pytest.approx(float(metrics.rmse(image, reference)), rel=1e-12)


def test_rmse_takes_magnitude_images_and_complex_references():
    image, reference = pair()
    assert float(metrics.rmse(np.abs(image), reference)) == pytest.approx(float(metrics.rmse(image, reference)), rel=1e-12)


def test_nrmse_is_relative_and_complex():
    image, reference = pair()
    expected = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(image, reference)]
    np.testing.assert_allclose(metrics.nrmse(image, reference), expected, rtol=1e-12)


@pytest.mark.parametrize("metric", [metrics.nrmse, metrics.ssim, metrics.psnr])
def test_relative_measures_do_not_see_the_units(metric):
    image, reference = pair()
    np.testing.assert_allclose(metric(1000 * image, 1000 * reference), metric(image, reference), rtol=1e-5)


def test_psnr_equals_scikit_image():
    image, reference = (np.abs(x) for x in pair())
    expected = [peak_signal_noise_ratio(b, a, data_range=b.max()) for a, b in zip(image, reference)]
    np.testing.assert_allclose(metrics.psnr(image, reference), expected, rtol=1e-12)


@pytest.mark.parametrize("noise", [0.01, 0.2, 2.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("shape", SHAPES)
def test_ssim_equals_scikit_image(shape, scale, noise):
    image, reference = (np.abs(x) for x in pair(shape, scale=scale, noise=noise))
    settings = dict(gaussian_weights=True, use_sample_covariance=False)
    expected = [structural_similarity(a, b, data_range=b.max() - b.min(), **settings) for a, b in zip(image, reference)]
    np.testing.assert_allclose(metrics.ssim(image, reference), expected, rtol=0, atol=1e-5)


def test_ssim_equals_scikit_image_on_an_offset():
    # A small range on a large mean is where single precision would lose the variances.
    image, reference = (3 + np.abs(x) for x in pair())
    settings = dict(gaussian_weights=True, use_sample_covariance=False)
    expected = [structural_similarity(a, b, data_range=b.max() - b.min(), **settings) for a, b in zip(image, reference)]
    np.testing.assert_allclose(metrics.ssim(image, reference), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("metric", [metrics.error_norm, metrics.nrmse, metrics.ssim, metrics.psnr])
def test_each_image_is_measured_on_its_own(metric):
    image, reference = (tf.cast(x, tf.complex64) for x in pair())
    alone = tf.concat([metric(image[i : i + 1], reference[i : i + 1]) for i in range(3)], 0)
    np.testing.assert_allclose(metric(image, reference), alone, rtol=1e-5)


@pytest.mark.parametrize("shape", [(10, 20), (20, 10)])
def test_ssim_refuses_images_below_its_window(shape):
    with pytest.raises(ValueError, match=r"at least 11 x 11 pixels. Received: shape=\(1, "):
        metrics.ssim(*pair(shape, batch=1))
