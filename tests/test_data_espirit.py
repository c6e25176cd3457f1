"""Coil maps by ESPIRiT: eigenvectors of their matrices, those of BART, and of the measured lines
alone.
"""

import shutil
import subprocess

import h5py
import numpy as np
import pytest
import scipy.io

from tfvn.data import Measurement, SyntheticKnee, espirit, low_resolution_maps
from tfvn.data.calibration import Calibration
from tfvn.data.maps import Espirit, LowResolution
from tfvn.data.sample import combine, ifft2c
from tfvn.physics import masks

HEIGHT, WIDTH, COILS = 48, 40, 4


@pytest.fixture(scope="module")
def scan():
    return SyntheticKnee(2, HEIGHT, WIDTH, COILS, None, 0.001, 0)[0]


@pytest.fixture(scope="module")
def folded(scan):
    """The same knee in half of the field of view."""
    return np.ascontiguousarray(scan.kspace[:, :, ::2])


def found(kspace, crop=0.8, sets=1, **options):
    return espirit.maps_of(espirit.kernel_of(kspace, **options), kspace, crop, sets)


def matrices(kernel, height, width):
    """G at every pixel by its definition, (height, width, coils, coils)."""
    rows, columns, coils, _ = kernel.convolution.shape
    padded = np.zeros((height, width, coils, coils), complex)
    down, along = (size // 2 - count // 2 for size, count in ((height, rows), (width, columns)))
    padded[down : down + rows, along : along + columns] = kernel.convolution
    planes = np.moveaxis(padded, (0, 1), (2, 3))
    return np.moveaxis(ifft2c(planes), (2, 3), (0, 1)) * np.sqrt(height * width)


def distance(maps, others):
    """How far the lines through two maps are apart where both are defined, the mean of sines."""
    norms = [np.linalg.norm(side, axis=0) for side in (maps, others)]
    both = (norms[0] > 0) & (norms[1] > 0)
    cosine = np.abs((maps.conj() * others).sum(0))[both] / (norms[0] * norms[1])[both]
    return np.sqrt(1 - cosine.clip(0, 1) ** 2).mean()


def test_matrices_are_hermitian_with_eigenvalues_from_0_to_1(scan):
    planes = matrices(espirit.kernel_of(scan.kspace), HEIGHT, WIDTH)
    np.testing.assert_allclose(planes, np.conj(np.swapaxes(planes, -1, -2)), atol=1e-5)
    values = np.linalg.eigvalsh(planes)
    assert values.min() > -1e-4 and values.max() < 1 + 1e-4


def test_maps_are_the_eigenvectors_of_the_largest_eigenvalues(scan):
    kernel = espirit.kernel_of(scan.kspace)
    maps, values = espirit.maps_of(kernel, scan.kspace, crop=0, sets=2)
    exact, vectors = np.linalg.eigh(matrices(kernel, HEIGHT, WIDTH))
    inside = exact[..., -1] > 0.8
    for number in range(2):
        gap = exact[..., -1 - number] - exact[..., -2 - number]
        clear = inside & (gap > 0.2) & (exact[..., -1] - exact[..., -2] > 0.2)
        assert clear.sum() > 100
        expected = np.moveaxis(vectors[..., -1 - number], -1, 0)
        assert distance(maps[number] * clear, expected) < 2e-3
        np.testing.assert_allclose(values[number][clear], exact[..., -1 - number][clear], atol=1e-3)


def test_maps_have_unit_norm_or_are_zero_and_combined_coils_are_nearly_positive(scan):
    (maps,), (values,) = found(scan.kspace)
    norm = np.linalg.norm(maps, axis=0)
    np.testing.assert_allclose(norm, values >= 0.8, atol=1e-5)
    combined = combine(ifft2c(scan.kspace), maps)
    bright = np.abs(combined) > 0.3 * np.abs(combined).max()
    assert np.median(combined[bright].real / np.abs(combined[bright])) > 0.98
    agreement = np.abs((maps.conj() * scan.sensitivity_maps).sum(0))
    assert np.median(agreement[bright]) > 0.999


def test_they_explain_the_coil_images_better_than_low_resolution_maps(scan):
    images = ifft2c(scan.kspace)
    left = []
    for maps in (found(scan.kspace, 0).sensitivity_maps[0], low_resolution_maps(scan.kspace)):
        explained = np.linalg.norm(combine(images, maps)) ** 2
        left.append(1 - explained / np.linalg.norm(images) ** 2)
    assert left[0] < 0.8 * left[1]


@pytest.mark.parametrize("scale", [1e-25, 1e-5, 1e15])
def test_units_change_nothing(scan, scale):
    expected = found(scan.kspace).sensitivity_maps
    maps = found((scale * scan.kspace).astype(np.complex64)).sensitivity_maps
    assert distance(maps[0], expected[0]) < 1e-2
    assert ((maps != 0) == (expected != 0)).mean() > 0.999


def test_they_do_not_depend_on_what_the_mask_removes_and_are_the_same_again(scan):
    mask = masks.equispaced(WIDTH, 4, 0.4)
    expected = found(scan.kspace, mask=mask).sensitivity_maps
    assert found(scan.kspace * mask).sensitivity_maps.tobytes() == expected.tobytes()
    changed = scan.kspace + 3 * (1 - mask)
    assert found(changed, mask=mask).sensitivity_maps.tobytes() == expected.tobytes()


@pytest.mark.parametrize("lines", [4, 7, 12])
def test_few_lines_take_narrow_windows_and_keep_the_object(scan, lines):
    kernel = espirit.kernel_of(scan.kspace, lines)
    rows, columns = (side // 2 + 1 for side in kernel.convolution.shape[:2])
    assert (rows, columns) == (6, max(2, lines // 3))
    maps = espirit.maps_of(kernel, scan.kspace).sensitivity_maps[0]
    images = ifft2c(scan.kspace)
    kept = np.linalg.norm(combine(images, maps)) ** 2 / np.linalg.norm(images) ** 2
    assert kept > 0.9


def test_a_mask_of_points_gives_a_block_of_both_axes(scan):
    mask = np.zeros((HEIGHT, WIDTH))
    mask[HEIGHT // 2 - 8 : HEIGHT // 2 + 8, WIDTH // 2 - 8 : WIDTH // 2 + 8] = 1
    kernel = espirit.kernel_of(scan.kspace, mask=mask)
    assert scan.kspace[kernel.block].shape == (COILS, 16, 16)


def test_a_second_set_explains_what_is_folded_and_it_is_told(scan, folded):
    shares = espirit.unexplained(espirit.kernel_of(scan.kspace), scan.kspace)
    assert shares[0] < 0.02 and shares[0] - shares[1] < 0.002
    one, two = espirit.unexplained(espirit.kernel_of(folded), folded)
    assert one - two > 0.005
    measured = np.ones((1, 1, WIDTH // 2))
    maps, _, doubts = Calibration(method=Espirit()).maps(folded, measured, measured, True)
    assert maps.shape == folded.shape
    assert f"leaves {one:.1%} of the energy" in doubts[0] and f"two sets {two:.1%}" in doubts[0]
    measured = np.ones((1, 1, WIDTH))
    assert Calibration(method=Espirit()).maps(scan.kspace, measured, measured, True).doubts == []


def test_a_crop_that_removes_the_object_is_told_with_the_energy(scan):
    _, doubts = Espirit(crop=0.9999).estimate(scan.kspace, 0, np.ones(WIDTH))
    assert len(doubts) == 1 and "of the energy of the centre of k-space unexplained" in doubts[0]
    assert "data.maps.crop" in doubts[0]


def test_the_setting_reaches_the_maps_of_a_scan_and_its_reference(tmp_path, scan):
    np.save(tmp_path / "scan.npy", scan.kspace)
    source = Measurement(tmp_path / "scan.npy", maps=Espirit(crop=0.7))
    expected = found(scan.kspace, 0.7).sensitivity_maps[0]
    np.testing.assert_array_equal(source[0].sensitivity_maps, expected)
    np.testing.assert_array_equal(source[0].reference, combine(ifft2c(scan.kspace), expected))
    assert source.maps_origin == "estimated by ESPIRiT from 24 centre lines, all measured"
    other = Measurement(tmp_path / "scan.npy", maps=LowResolution())
    assert other.fingerprint(0) != source.fingerprint(0)


def test_maps_of_a_file_are_not_estimated_too(tmp_path, scan):
    np.save(tmp_path / "scan.npy", scan.kspace)
    text = "not both. Received: sensitivity_path='maps.npy' and maps that are estimated by ESPIRiT"
    with pytest.raises(ValueError, match=text):
        Measurement(tmp_path / "scan.npy", "maps.npy", maps=Espirit())


BRAINS = {
    "brain_8ch_clean.npy": lambda path: np.load(path),
    "brain_16ch_raw.mat": lambda path: _of_16_coils(path),
    "brain_4ch_mprage.mat": lambda path: np.moveaxis(scipy.io.loadmat(path)["kData"], -1, 0),
}


def _of_16_coils(path):
    with h5py.File(path) as file:
        raw = file["raw"][()]
    return (raw["real"] + 1j * raw["imag"])[:, 0]


@pytest.mark.slow_cases
@pytest.mark.skipif(shutil.which("bart") is None, reason="needs BART")
@pytest.mark.parametrize("name", BRAINS)
def test_maps_of_brains_are_those_of_bart(name, shared_data, tmp_path):
    kspace = BRAINS[name](shared_data(name)).astype(np.complex64)
    coils, height, width = kspace.shape
    (tmp_path / "kspace.hdr").write_text(f"# Dimensions\n{height} {width} 1 {coils}\n")
    np.moveaxis(kspace, 0, -1).ravel(order="F").tofile(tmp_path / "kspace.cfl")
    command = ["bart", "ecalib", "-m", "1", "kspace", "maps"]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    maps = np.fromfile(tmp_path / "maps.cfl", np.complex64)
    expected = np.moveaxis(maps.reshape(height, width, coils, order="F"), -1, 0)
    ours = found(kspace).sensitivity_maps[0]
    assert distance(ours, expected) < 0.02
    both = (ours != 0).any(0) == (expected != 0).any(0)
    assert both.mean() > 0.95
