"""What was measured, told from zeros: of rounded data, of lost numbers, and of masks of lines and
of points.
"""

import numpy as np
import pytest

from tfvn.data import SyntheticKnee
from tfvn.data.array_files import read_array
from tfvn.data.sample import measured_mask, zeros
from tfvn.physics import masks

HEIGHT, WIDTH = 96, 72


@pytest.fixture(scope="module")
def knee():
    """A function of the number of coils: k-space."""
    return lambda coils: SyntheticKnee(1, HEIGHT, WIDTH, coils, None, 0.0005, 2)[0].kspace


def rounded(kspace, bits):
    """As a file of integers holds it; None: as it is."""
    if bits is None:
        return kspace
    parts = np.stack([kspace.real, kspace.imag])
    parts = np.round(parts * ((2 ** (bits - 1) - 1) / np.abs(parts).max()))
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def points(height, width, acceleration, side, seed=0):
    """A mask of single points, with a full centre."""
    mask = np.random.default_rng(seed).random((height, width)) < 1 / acceleration
    mask[height // 2 - side // 2 :][:side, width // 2 - side // 2 :][:, :side] = True
    return mask


BITS = [None, 16, 14, 12, 10]


def check_lines_and_points(kspace):
    height, width = kspace.shape[1:]
    assert measured_mask(kspace).tolist() == np.ones((1, 1, width)).tolist()
    for mask in (
        masks.equispaced(width, 2, 0.1),
        masks.random(width, 3, 0.1),
        masks.constant(width, 0.3),
    ):
        np.testing.assert_array_equal(measured_mask(kspace * mask)[0, 0], mask)
    for acceleration in (2, 4):
        mask = points(height, width, acceleration, 16)
        np.testing.assert_array_equal(measured_mask(kspace * mask)[0], (kspace * mask).any(0))


@pytest.mark.parametrize("coils", [1, 2, 8])
@pytest.mark.parametrize("bits", BITS)
def test_rounding_makes_no_line_a_line_of_points(knee, coils, bits):
    check_lines_and_points(rounded(knee(coils), bits))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("coils", [1, 4])
def test_rounding_of_measured_scans(shared_data, coils, bits):
    raw = read_array(shared_data("brain_16ch_raw.mat"), ("raw",))
    check_lines_and_points(rounded(np.moveaxis(raw[:, :, 0], -1, 0)[:coils], bits))


@pytest.mark.slow_cases
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("name", ["kMaskPFACS7", "kMaskRand7", "kMaskRandACS7", "kMaskUnACS7"])
def test_masks_of_points_of_measured_scans_stay_masks_of_points(shared_data, name, coils, bits):
    import scipy.io

    arrays = scipy.io.loadmat(shared_data("brain_4ch_mprage.mat"))
    kspace = rounded(np.moveaxis(arrays["kData"], -1, 0)[:coils], bits) * arrays[name]
    np.testing.assert_array_equal(measured_mask(kspace)[0], kspace.any(0))


@pytest.mark.parametrize("name", ["kMaskPFACS2", "kMaskRand2", "kMaskRandACS2", "kMaskUnACS2"])
@pytest.mark.parametrize("bits", BITS)
def test_masks_of_lines_of_a_measured_scan_stay_masks_of_lines(shared_data, name, bits):
    import scipy.io

    arrays = scipy.io.loadmat(shared_data("brain_1ch_t2.mat"))
    kspace = rounded(arrays["kData"][None], bits) * arrays[name]
    np.testing.assert_array_equal(measured_mask(kspace)[0, 0], arrays[name].any(0))


def test_single_zeros_make_no_mask_of_points(knee):
    kspace = knee(8).copy()
    kspace[:, 0, 0] = 0
    kspace[:, 5:9, 30] = 0
    kspace[:, np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.003] = 0
    assert measured_mask(kspace).tolist() == np.ones((1, 1, WIDTH)).tolist()


@pytest.mark.parametrize(
    "hole",
    [
        (slice(47, 50), slice(35, 38)),  # the energy
        (slice(0, 48), slice(10, 11)),  # half of a line
        (slice(0, 20), slice(None)),  # rows, as of an asymmetric echo
    ],
)
def test_zeros_that_change_the_image_are_not_taken_for_measured(knee, hole):
    kspace = knee(4).copy()
    kspace[(slice(None), *hole)] = 0
    np.testing.assert_array_equal(measured_mask(kspace)[0], kspace.any(0))


def test_numbers_that_no_receiver_gives_are_no_samples(knee):
    kspace = knee(4) * masks.equispaced(WIDTH, 2, 0.2)
    expected = measured_mask(kspace)
    kspace[1, 3, 1] = 1e-42
    kspace[2, :, 5] = 1e-15 * np.abs(kspace).max()
    np.testing.assert_array_equal(measured_mask(kspace), expected)


@pytest.mark.parametrize("scale", [1e-20, 1e-5, 1, 1e5, 1e15])
def test_units_do_not_matter(knee, scale):
    kspace = rounded(knee(1), 12) * points(HEIGHT, WIDTH, 2, 16)
    found, expected = zeros(kspace * np.float32(scale)), zeros(kspace)
    np.testing.assert_array_equal(found.mask, expected.mask)
    assert found.share == pytest.approx(expected.share, rel=1e-3)
