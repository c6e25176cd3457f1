"""Fewer coils: combinations that hold the energy, and leave white noise white."""

import numpy as np
import pytest
from volumes import knees, write_volume

from tfvn import config
from tfvn.data.compression import compressed, compression
from tfvn.data.sample import combine, ifft2c

COILS, HEIGHT, WIDTH = 8, 48, 40


@pytest.fixture(scope="module")
def kspace():
    return knees(1, COILS, HEIGHT, WIDTH)


def test_combinations_are_orthonormal_and_hold_the_most_energy(kspace):
    matrix = compression(kspace[0], 5)
    np.testing.assert_allclose(matrix @ matrix.conj().T, np.eye(5), atol=1e-5)
    flat = kspace[0].reshape(COILS, -1)
    energies = np.linalg.svd(flat, compute_uv=False) ** 2
    held = np.linalg.norm(compressed(kspace[0], matrix)) ** 2
    assert held == pytest.approx(energies[:5].sum(), rel=1e-4)
    assert held > 0.97 * energies.sum()


def test_all_combinations_change_no_image(kspace):
    images = ifft2c(compressed(kspace[0], compression(kspace[0], 99)))
    assert images.shape == kspace[0].shape
    roots = [np.linalg.norm(x, axis=0) for x in (images, ifft2c(kspace[0]))]
    np.testing.assert_allclose(*roots, rtol=1e-3, atol=1e-9)


@pytest.fixture
def settings(tmp_path, kspace):
    for folder in ("multicoil_train", "multicoil_val"):
        write_volume(tmp_path / folder / "a.h5", kspace)
    return {
        "data": dict(format="fastmri", path=str(tmp_path), compressed_coils=5),
        "sampling": dict(mask="equispaced", acceleration=2, center_fraction=0.3),
    }


def test_the_scan_of_fewer_coils_has_the_reference_of_all(settings, kspace):
    source = config.load(settings=settings).dataset.source("test")
    sample = source[0]
    assert source.shape(0) == sample.kspace.shape == (5, HEIGHT, WIDTH)
    settings["data"]["compressed_coils"] = 0
    full = config.load(settings=settings).dataset.source("test")
    np.testing.assert_array_equal(sample.reference, full[0].reference)
    assert source.fingerprint(0)[0] != full.fingerprint(0)[0]
    images = [combine(ifft2c(each.kspace), each.sensitivity_maps) for each in (sample, full[0])]
    assert np.linalg.norm(np.abs(images[0]) - np.abs(images[1])) < 0.05 * np.linalg.norm(images[1])


def test_what_the_mask_removes_is_in_no_combination(settings, kspace, tmp_path):
    first = config.load(settings=settings).dataset.source("test")[0]
    changed = kspace * (1 + (1 - first.mask[0]))
    write_volume(tmp_path / "multicoil_val" / "a.h5", changed)
    again = config.load(settings=settings).dataset.source("test")[0]
    assert again.kspace.tobytes() == first.kspace.tobytes()
    assert again.sensitivity_maps.tobytes() == first.sensitivity_maps.tobytes()


def test_a_scan_of_fewer_coils_keeps_its_own(settings):
    settings["data"]["compressed_coils"] = 20
    settings["data"]["maps"] = "espirit"
    source = config.load(settings=settings).dataset.source("test")
    assert source.shape(0) == source[0].kspace.shape == (COILS, HEIGHT, WIDTH)
    assert source.maps_origin == "estimated by ESPIRiT from each slice's centre lines, all measured"
