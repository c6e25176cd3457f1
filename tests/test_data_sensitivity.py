"""Coil maps from the centre of k-space: of unit norm, smooth, and of the lines that are there
alone.
"""

import numpy as np
import pytest

from tfvn.data import SyntheticKnee, low_resolution_maps
from tfvn.data.sensitivity import centre_lines
from tfvn.physics import masks

HEIGHT, WIDTH, COILS = 40, 32, 4


@pytest.fixture(scope="module")
def scan():
    return SyntheticKnee(2, HEIGHT, WIDTH, COILS, None, 0.001, 0)[0]


def test_estimated_maps_have_unit_root_sum_of_squares_and_match_the_true_ones(scan):
    maps = low_resolution_maps(scan.kspace, 16)
    np.testing.assert_allclose((np.abs(maps) ** 2).sum(0), 1, atol=1e-5)
    # Maps are determined up to a phase for each pixel.
    agreement = np.abs((np.conj(maps) * scan.sensitivity_maps).sum(0))
    assert np.median(agreement[np.abs(scan.reference) > 0.3]) > 0.995
    combined = (
        np.conj(maps) * np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(scan.kspace, (1, 2))), (1, 2))
    ).sum(0)
    inside = np.abs(scan.reference) > 0.3
    assert np.median(combined.real[inside] / np.abs(combined[inside])) > 0.98


def test_maps_are_zero_where_there_is_nothing_to_divide_by():
    # Windowed, the centre is (-1/2, 1, -1/2): an image 1 - cos that vanishes in the middle of the
    # width.
    kspace = np.zeros((2, 64, 64), complex)
    kspace[:, 31:34, 31:34] = 1e-30
    kspace[:, 32, 31:34] = [-1, 1, -1]
    maps = low_resolution_maps(kspace, 3)
    assert (maps[..., 32] == 0).all()
    np.testing.assert_allclose((np.abs(maps[..., 34:]) ** 2).sum(0), 1, rtol=1e-5)


def test_too_few_calibration_lines_are_counted(scan):
    kspace = scan.kspace * masks.equispaced(WIDTH, 4, 10 / 32)
    with pytest.raises(
        ValueError, match="lines=24 .* Received: k-space with 10 of them. Set .* to 10 or less"
    ):
        low_resolution_maps(kspace, 24)
    assert low_resolution_maps(kspace, 10).shape == kspace.shape


@pytest.mark.parametrize(
    "mask, lines",
    [
        (np.ones(WIDTH), 24),
        (masks.equispaced(WIDTH, 4, 10 / 32), 10),
        (masks.equispaced(WIDTH, 4, 0.25), 9),
        # A block on both axes.
        (
            np.abs(np.arange(HEIGHT)[:, None] - HEIGHT // 2 + 0.5)
            < np.where(np.arange(WIDTH) > 4, 3, 0),
            6,
        ),
    ],
)
def test_as_many_centre_lines_as_are_measured_are_taken(scan, mask, lines):
    assert centre_lines(mask, HEIGHT, WIDTH) == lines
    np.testing.assert_array_equal(
        low_resolution_maps(scan.kspace, 0, mask), low_resolution_maps(scan.kspace, lines)
    )


def test_maps_do_not_depend_on_what_the_mask_removes(scan):
    mask = masks.equispaced(WIDTH, 4, 0.25)
    expected = low_resolution_maps(scan.kspace, mask=mask)
    np.testing.assert_array_equal(low_resolution_maps(scan.kspace * mask), expected)
    np.testing.assert_array_equal(
        low_resolution_maps(scan.kspace + 3 * (1 - mask), mask=mask), expected
    )


@pytest.mark.parametrize("lines", [0, 1, 2, 3])
def test_fewer_than_4_centre_lines_are_refused_with_the_ways_out(scan, lines):
    mask = masks.equispaced(WIDTH, 8, 0, offset=3)
    mask[WIDTH // 2 - lines // 2 :][:lines] = 1
    words = (
        f"needs 4 centre lines .* with {lines} of them. .* wider centre.*--maps.*maps_from"
        " .--maps-from. fully-sampled"
    )
    with pytest.raises(ValueError, match=words):
        low_resolution_maps(scan.kspace * mask)


@pytest.mark.parametrize("size", [(20, 200), (200, 20), (16, 17), (33, 31)])
def test_a_short_axis_is_used_whole(size):
    kspace = np.random.default_rng(0).standard_normal((2, 3, *size)).astype(np.float32)
    maps = low_resolution_maps(kspace[0] + 1j * kspace[1])
    np.testing.assert_allclose((np.abs(maps) ** 2).sum(0), 1, atol=1e-5)
    assert centre_lines(np.ones(size), *size) == min(24, max(size))
