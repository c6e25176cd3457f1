"""Synthetic slices: reproducible, in range, consistent with the SENSE operator, fast enough to feed
a training.
"""

import numpy as np
import pytest

from tfvn.data import SyntheticKnee, normalise
from tfvn.data.anatomy import knee_slice
from tfvn.data.sample import fft2c, ifft2c, mask_array
from tfvn.data.synthetic import coil_maps
from tfvn.physics import masks
from tfvn.physics.fourier import fft2c as tf_fft2c
from tfvn.physics.fourier import ifft2c as tf_ifft2c
from tfvn.physics.sense import Sense


def make(
    num_slices=3,
    height=48,
    width=40,
    num_coils=4,
    mask=None,
    receiver_noise=0.01,
    seed=0,
    **options,
):
    return SyntheticKnee(
        num_slices, height, width, num_coils, mask, receiver_noise, seed, **options
    )


@pytest.mark.parametrize("size", [(16, 18), (17, 20), (19, 21)])
def test_numpy_transforms_equal_those_of_the_operators(size):
    x = np.random.default_rng(0).standard_normal((2, *size)) + 1j
    np.testing.assert_allclose(fft2c(x), tf_fft2c(x), atol=1e-12)
    np.testing.assert_allclose(ifft2c(x), tf_ifft2c(x), atol=1e-12)
    assert fft2c(x.astype(np.complex64)).dtype == np.complex64


def test_same_seed_gives_the_same_bytes_and_another_index_another_image():
    for first, second in zip(make()[1], make(num_slices=9)[1]):
        assert first.tobytes() == second.tobytes()
    assert np.abs(make()[0].reference - make()[1].reference).max() > 0.1
    assert np.abs(make()[0].reference - make(seed=1)[0].reference).max() > 0.1


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()
    make()[0]
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("size", [(16, 16), (33, 47), (96, 72), (20, 200)])
def test_knee_is_finite_bright_and_dark_within_range_at_any_size(size):
    image = knee_slice(*size, seed=5)
    assert image.shape == size and image.dtype == np.complex64
    magnitude = np.abs(image)
    assert np.isfinite(image).all() and magnitude.max() <= 1 + 1e-6
    assert magnitude.max() > 0.5 and magnitude.min() < 0.02


def test_a_subject_is_the_same_at_every_size():
    small, large = np.abs(knee_slice(64, 64, 3)), np.abs(knee_slice(192, 192, 3))
    # Pixel (i, j) of the small image is the middle one of a block of 3 x 3 of the large one.
    blocks = np.pad(large, ((1, 0), (1, 0)))[:192, :192].reshape(64, 3, 64, 3).mean((1, 3))
    assert np.corrcoef(small.ravel(), blocks.ravel())[0, 1] > 0.97


def test_coil_fields_are_smooth_different_and_of_order_one():
    fields = coil_maps(8, 64, 48, seed=0)
    root = np.sqrt((np.abs(fields) ** 2).sum(0))
    assert (
        fields.dtype == np.complex64
        and root.mean() == pytest.approx(1, rel=1e-2)
        and root.min() > 0.05
    )
    assert (
        max(np.abs(np.diff(fields, axis=axis)).max() for axis in (1, 2))
        < 0.1 * np.abs(fields).max()
    )
    flat = fields.reshape(8, -1)
    similarity = np.abs(np.corrcoef(flat)) - np.eye(8)
    assert similarity.max() < 0.95
    assert coil_maps(1, 32, 32, 0).shape == (1, 32, 32) and coil_maps(32, 16, 16, 0).shape == (
        32,
        16,
        16,
    )


def differences(image):
    """The mean of all differences between two pixels beside each other."""
    return np.abs(np.diff(image, axis=0)).mean() + np.abs(np.diff(image, axis=1)).mean()


def test_blur_smooths_the_anatomy_and_keeps_its_brightness():
    sharp, blurred = (knee_slice(64, 48, seed=3, blur=blur) for blur in (0, 1.5))
    assert blurred.dtype == sharp.dtype
    assert differences(blurred) < 0.6 * differences(sharp)
    inner = slice(8, -8), slice(8, -8)
    assert blurred[inner].mean() == pytest.approx(sharp[inner].mean(), rel=0.05)
    plain, smooth = make()[1], make(blur=1.5)[1]
    assert differences(smooth.reference) < differences(plain.reference)


def test_without_detail_edges_stay_and_tissues_are_smooth():
    full, half, none = (np.abs(knee_slice(96, 72, 3, detail=detail)) for detail in (1, 0.5, 0))
    # The marrow of the femur is flat, and the joint is as bright as before.
    marrow = slice(15, 25), slice(34, 40)
    assert differences(none[marrow]) < 0.7 * differences(half[marrow])
    assert differences(half[marrow]) < 0.7 * differences(full[marrow])
    assert np.abs(none - full).mean() < 0.05
    largest = [np.abs(np.diff(image, axis=0)).max() for image in (full, none)]
    assert largest[1] == pytest.approx(largest[0], rel=0.2)
    assert np.abs(make()[0].reference - make(detail=0.5)[0].reference).max() > 0.01


@pytest.mark.parametrize("readout_oversampling", [False, True])
def test_reference_is_the_adjoint_of_the_fully_sampled_data(readout_oversampling):
    sample = make(readout_oversampling=readout_oversampling)[2]
    sense = Sense(readout_oversampling)
    adjoint = sense.adjoint(sample.kspace[None], sample.sensitivity_maps[None], sample.mask[None])[
        0
    ]
    np.testing.assert_allclose(adjoint, sample.reference, atol=1e-5)
    assert sample.reference.shape == ((24, 40) if readout_oversampling else (48, 40))
    np.testing.assert_allclose((np.abs(sample.sensitivity_maps) ** 2).sum(0), 1, atol=1e-5)


def test_with_readout_oversampling_nothing_but_noise_lies_outside_the_image():
    sample = make(readout_oversampling=True, receiver_noise=0)[0]
    coil_images = ifft2c(sample.kspace)
    assert (
        np.abs(coil_images[:, :13]).max() < 1e-5 and np.abs(coil_images[:, 13 + 24 :]).max() < 1e-5
    )


def test_kspace_is_zero_where_the_mask_is_and_equal_elsewhere():
    mask = masks.constant(40, 0.4)
    full, sampled = make()[0], make(mask=mask)[0]
    assert sampled.mask.shape == (1, 1, 40) and sampled.mask.dtype == np.float32
    np.testing.assert_array_equal(sampled.kspace, full.kspace * mask)
    np.testing.assert_array_equal(sampled.reference, full.reference)
    columns = np.broadcast_to(mask, (48, 40))
    assert make(mask=columns).mask_height == 1
    points = columns * (np.arange(48) % 2)[:, None]
    assert make(mask=points)[0].mask.shape == (1, 48, 40)


def test_receiver_noise_has_the_asked_deviation():
    clean, noisy = make(receiver_noise=0)[0], make(receiver_noise=0.1)[0]
    noise = (noisy.kspace - clean.kspace) / np.abs(clean.reference).max()
    assert noise.real.std() == pytest.approx(0.1, rel=0.03) and noise.imag.std() == pytest.approx(
        0.1, rel=0.03
    )


def test_normalised_zero_filled_image_has_maximum_one():
    sample = make(mask=masks.constant(40, 0.4))[0]
    normal, scale = normalise(sample, "a slice")
    zero_filled = Sense().adjoint(
        normal.kspace[None], normal.sensitivity_maps[None], normal.mask[None]
    )
    assert np.abs(zero_filled).max() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(normal.reference * scale, sample.reference, rtol=1e-5, atol=1e-6)


def _broken(**arrays):
    return make(num_slices=1)[0]._replace(
        **{key: np.asarray(value) for key, value in arrays.items()}
    )


ZEROS = np.zeros((4, 48, 40), np.complex64)


@pytest.mark.parametrize(
    "sample, message",
    [
        (_broken(kspace=ZEROS[0]), r"Received: kspace.shape=\(48, 40\)"),
        (
            _broken(sensitivity_maps=ZEROS[:3]),
            r"sensitivity_maps.shape=\(3, 48, 40\), kspace.shape=\(4, 48, 40\)",
        ),
        (_broken(mask=np.ones((1, 1, 38), np.float32)), r"Received: mask.shape=\(1, 1, 38\)"),
        (_broken(kspace=ZEROS + np.nan), "kspace must be finite. Received: 7680 NaN"),
        (_broken(sensitivity_maps=ZEROS + np.inf), "sensitivity_maps must be finite"),
        (_broken(kspace=ZEROS), "kspace is zero everywhere"),
        (_broken(sensitivity_maps=ZEROS), "finite maximum > 0. Received: max=0"),
    ],
)
def test_a_slice_that_cannot_be_reconstructed_is_refused_by_name(sample, message):
    with pytest.raises(ValueError, match=rf"^patient7/slice3: .*{message}"):
        normalise(sample, "patient7/slice3")


@pytest.mark.parametrize(
    "mask, message",
    [
        (np.ones(39), r"Received: mask.shape=\(39,\), height=48, width=40"),
        (np.ones((2, 48, 40)), r"mask.shape=\(2, 48, 40\)"),
        (np.full(40, 0.5), "zeros and at least one 1"),
        (np.zeros(40), "zeros and at least one 1"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        mask_array(mask, 48, 40)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(height=15), "Received: height=15"),
        (dict(height=30, readout_oversampling=True), "Received: height=15"),
        (dict(num_slices=0), "num_slices=0"),
        (dict(receiver_noise=-1), "receiver_noise=-1"),
        (dict(receiver_noise=np.inf), "receiver_noise=inf"),
        (dict(receiver_noise=np.nan), "receiver_noise=nan"),
        (dict(num_slices=2.5), "num_slices=2.5"),
        (dict(num_coils="4"), "num_coils='4'"),
        (dict(width=40.5), "width=40.5"),
        (dict(height=None), "height=None"),
        (dict(blur=-1), "blur=-1"),
        (dict(detail=-0.5), "detail=-0.5"),
        (dict(seed=-1), "seed=-1"),
        (dict(seed=0.5), "seed=0.5"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
