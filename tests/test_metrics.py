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
    assert float(metrics.rmse(image, reference)) == pytest.approx(
        np.sqrt(np.mean(squares)), rel=1e-12
    )


def test_rmse_of_one_image_is_its_error_norm():
    image, reference = pair(batch=1)
    assert float(metrics.rmse(image, reference)) == pytest.approx(
        float(metrics.error_norm(image, reference)[0]), rel=1e-12
    )


def test_rmse_sees_magnitudes_alone():
    image, reference = pair()
    turned = image * np.exp(1j * np.random.default_rng(1).uniform(0, 6, image.shape))
    assert float(metrics.rmse(turned, reference)) == pytest.approx(
        float(metrics.rmse(image, reference)), rel=1e-12
    )


def test_rmse_takes_magnitude_images_and_complex_references():
    image, reference = pair()
    assert float(metrics.rmse(np.abs(image), reference)) == pytest.approx(
        float(metrics.rmse(image, reference)), rel=1e-12
    )


def test_nrmse_is_relative_and_complex():
    image, reference = pair()
    expected = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(image, reference)]
    np.testing.assert_allclose(metrics.nrmse(image, reference), expected, rtol=1e-12)


@pytest.mark.parametrize("metric", [metrics.nrmse, metrics.ssim, metrics.psnr])
def test_relative_measures_do_not_see_the_units(metric):
    image, reference = pair()
    np.testing.assert_allclose(
        metric(1000 * image, 1000 * reference), metric(image, reference), rtol=1e-5
    )


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
    expected = [
        structural_similarity(a, b, data_range=b.max() - b.min(), **settings)
        for a, b in zip(image, reference)
    ]
    np.testing.assert_allclose(metrics.ssim(image, reference), expected, rtol=0, atol=1e-5)


def test_ssim_equals_scikit_image_on_an_offset():
    # A small range on a large mean is where single precision would lose the variances.
    image, reference = (3 + np.abs(x) for x in pair())
    settings = dict(gaussian_weights=True, use_sample_covariance=False)
    expected = [
        structural_similarity(a, b, data_range=b.max() - b.min(), **settings)
        for a, b in zip(image, reference)
    ]
    np.testing.assert_allclose(metrics.ssim(image, reference), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("metric", [metrics.error_norm, metrics.nrmse, metrics.ssim, metrics.psnr])
def test_each_image_is_measured_on_its_own(metric):
    image, reference = (tf.cast(x, tf.complex64) for x in pair())
    alone = tf.concat([metric(image[i : i + 1], reference[i : i + 1]) for i in range(3)], 0)
    np.testing.assert_allclose(metric(image, reference), alone, rtol=1e-5)


# What is given

METRICS = [metrics.error_norm, metrics.rmse, metrics.nrmse, metrics.psnr, metrics.ssim]
each_metric = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.__name__)
PRECISIONS = ["float16", "float32", "float64", "complex64", "complex128", "int16", "uint8", "int64"]


@pytest.mark.slow_cases
@each_metric
@pytest.mark.parametrize("first", PRECISIONS)
@pytest.mark.parametrize("second", PRECISIONS)
def test_numbers_of_all_types_are_measured_as_in_double_precision(metric, first, second):
    image, reference = (np.round(100 * np.abs(x)) % 200 for x in pair(batch=2))
    expected = metric(image, reference)
    found = metric(image.astype(first), reference.astype(second))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    higher = {"float16": "float32", "int16": "float64", "uint8": "float64", "int64": "float64"}
    names = [tf.as_dtype(higher.get(name, name)).real_dtype.name for name in (first, second)]
    # TensorFlow's SSIM computes in single precision, whatever it is given.
    assert found.dtype.name == ("float32" if metric is metrics.ssim else max(names))


@each_metric
def test_single_precision_stays_as_it_is(metric):
    image, reference = (np.abs(x).astype(np.float32) for x in pair())
    assert metric(image, reference).dtype == tf.float32
    np.testing.assert_array_equal(
        metric(image, reference), metric(tf.constant(image), tf.constant(reference))
    )


@each_metric
@pytest.mark.parametrize(
    "cut, told",
    [
        (
            lambda x: x[0],
            (
                r"shape \(batch, height, width\). Received: image.shape=\(24, 20\). Add an axis for"
                r" the batch"
            ),
        ),
        (
            lambda x: x[..., None],
            r"Received: image.shape=\(3, 24, 20, 1\).*like one of channels: take image",
        ),
        (lambda x: x[0, ..., None], r"Received: image.shape=\(24, 20, 1\).*like one of channels"),
        (lambda x: x[:, None], r"Received: image.shape=\(3, 1, 24, 20\)"),
        (lambda x: x[:0], "at least one image"),
        (lambda x: x > 0, "must hold numbers. Received: image=ndarray of bool"),
        (lambda x: x.astype(str), "must hold numbers"),
        (lambda x: x.astype(object), "must hold numbers"),
        (lambda x: None, "must hold numbers. Received: image=None"),
        (lambda x: "image.png", "must hold numbers. Received: image='image.png'"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(metric, cut, told):
    image = np.abs(pair()[0])
    with pytest.raises(ValueError, match=f"^image .*{told}"):
        metric(cut(image), cut(image))


@each_metric
@pytest.mark.parametrize(
    "part", [np.s_[:1], np.s_[:2], np.s_[:, 1:], np.s_[:, :, 2:], np.s_[:, ::-1, :12]]
)
def test_nothing_is_broadcast(metric, part):
    image, reference = pair()
    for pair_of_two in ((image[part], reference), (image, reference[part])):
        with pytest.raises(
            ValueError,
            match=r"must have the same shape .*Received: image.shape=\(., .*reference.shape=",
        ):
            metric(*pair_of_two)


@pytest.mark.parametrize("metric", [metrics.error_norm, metrics.nrmse, metrics.psnr, metrics.ssim])
def test_nan_stays_with_its_image(metric):
    image, reference = (np.abs(x) for x in pair())
    spoilt = image * np.array([1, np.nan, 1])[:, None, None]
    found, expected = metric(spoilt, reference).numpy(), metric(image, reference).numpy()
    assert np.isnan(found[1])
    np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])


def test_sizes_may_be_unknown_in_a_graph():
    image, reference = (np.abs(x) for x in pair())
    for metric in METRICS:
        traced = tf.function(
            metric, input_signature=[tf.TensorSpec([None, None, None], tf.float64)] * 2
        )
        np.testing.assert_allclose(traced(image, reference), metric(image, reference), rtol=1e-5)


@pytest.mark.parametrize("shape", [(10, 20), (20, 10)])
def test_ssim_refuses_images_below_its_window(shape):
    with pytest.raises(ValueError, match=r"at least 11 x 11 pixels. Received: shape=\(1, "):
        metrics.ssim(*pair(shape, batch=1))
