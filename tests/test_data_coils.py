"""Coils and slices told apart by their data alone, in files that say nothing of themselves."""

import warnings

import numpy as np
import pytest

from tfvn.data import DataWarning, Measurement, SyntheticKnee
from tfvn.data.array_files import read_array
from tfvn.data.coils import COILS, SLICES, variation
from tfvn.data.sample import fft2c, ifft2c


def noisy(kspace, level):
    """With noise of a deviation that is a part of the largest pixel."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, *kspace.shape)).astype(np.float32)
    return kspace + level * np.abs(ifft2c(kspace)).max() * (noise[0] + 1j * noise[1])


def measured(shared_data, name):
    array = read_array(shared_data(name), ("kspace", "raw", "kData"))
    if name.startswith("brain_16ch"):
        return np.moveaxis(array[:, :, 0], -1, 0)
    return (
        np.moveaxis(array, -1, 0) if name.endswith(".mat") else array.reshape(-1, *array.shape[-2:])
    )


@pytest.mark.parametrize("level", [0, 0.003, 0.01, 0.03, 0.1])
@pytest.mark.parametrize(
    "name",
    [
        "brain_16ch_raw.mat",
        "brain_8ch_clean.npy",
        "phantom_2ch_gre_fastmri.h5",
        "brain_4ch_mprage.mat",
    ],
)
def test_no_coils_are_called_slices(shared_data, name, level):
    found = variation(noisy(measured(shared_data, name), level))
    assert found is None or found < COILS


@pytest.mark.parametrize("level", [0, 0.01, 0.03])
def test_no_generated_coils_are_called_slices(level):
    for seed, (height, width, number) in enumerate(
        [(96, 72, 8), (160, 120, 15), (64, 48, 2), (49, 51, 4)]
    ):
        kspace = SyntheticKnee(1, height, width, number, None, 0.0005, seed)[0].kspace
        found = variation(noisy(kspace, level))
        assert found is None or found < SLICES


def hearts(shared_data):
    file = np.load(shared_data("cardiac_slices.npz"))
    return fft2c((file["images"][:12] / file["peak"][:12, None, None]).astype(np.complex64))


@pytest.mark.parametrize("level", [0, 0.003, 0.01, 0.03])
def test_no_slices_are_called_coils(shared_data, level):
    source = SyntheticKnee(6, 96, 72, 1, None, 0.0005, 2)
    for kspace in (hearts(shared_data), np.stack([source[index].kspace[0] for index in range(6)])):
        assert variation(noisy(kspace, level)) > SLICES


def test_where_nothing_can_be_told_nothing_is():
    kspace = SyntheticKnee(1, 96, 72, 4, None, 0.001, 0)[0].kspace
    lines = np.zeros(72)
    lines[20:52] = 1
    for array in (kspace[:1], kspace[..., :40], kspace * lines, np.stack([kspace[0]] * 3)):
        assert variation(array) is None


@pytest.mark.parametrize("suffix", [".npy", ".mat"])
def test_slices_that_the_rule_takes_for_coils_are_refused_and_the_ways_out_work(
    tmp_path, shared_data, suffix
):
    from tfvn.data.mat_files import write_mat

    volume, path = hearts(shared_data), tmp_path / f"volume{suffix}"
    if suffix == ".npy":
        np.save(path, volume)
    else:
        write_mat(path, {"kspace": np.moveaxis(volume, 0, -1)})
    words = r"volume\S*: axis \d of shape .* taken for the coils.* as slices do: 0.93 .* to -2 if"
    with pytest.raises(ValueError, match=words):
        Measurement(path)[0]
    given = 0 if suffix == ".npy" else 2
    with pytest.warns(DataWarning, match=words):
        assert len(Measurement(path, coil_axis=given)[0].kspace) == len(volume)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Measurement(path, coil_axis=-2, slice_index=3)[0].kspace.shape == (1, 256, 256)


def test_coils_that_the_rule_takes_for_slices_are_told_and_the_way_out_works(tmp_path, shared_data):
    kspace = measured(shared_data, "brain_8ch_clean.npy")
    np.save(tmp_path / "scan.npy", kspace[:, None])
    words = "scan.npy: axis 0 of shape .* taken for slices of one coil.* as coils do: 0.0.* to 0"
    with pytest.warns(DataWarning, match=words):
        Measurement(tmp_path / "scan.npy")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(
            Measurement(tmp_path / "scan.npy", coil_axis=0)[0].kspace, kspace
        )


@pytest.mark.parametrize("number", [0, 3])
def test_exchanged_coils_and_slices_are_refused_whichever_slice_is_read(tmp_path, number):
    source = SyntheticKnee(6, 96, 72, 8, None, 0.0005, 0)
    volume = np.stack([source[index].kspace for index in range(6)], 1)
    np.save(tmp_path / "volume.npy", volume)
    with pytest.raises(ValueError, match="axis 1 of shape .* taken for the coils.* as slices do"):
        Measurement(tmp_path / "volume.npy", slice_index=number)[0]


@pytest.mark.parametrize(
    "shape, coil_axis, words", [((8, 230, 180), -2, "to 0"), ((8, 1, 230, 180), 1, "to 0")]
)
def test_a_given_axis_is_compared_with_the_data_too(tmp_path, shared_data, shape, coil_axis, words):
    np.save(tmp_path / "scan.npy", measured(shared_data, "brain_8ch_clean.npy").reshape(shape))
    with pytest.warns(DataWarning, match=f"axis 0 of shape .* as coils do: 0.0.* {words}"):
        Measurement(tmp_path / "scan.npy", coil_axis=coil_axis)[0]


def test_slices_of_one_coil_with_an_axis_for_it_are_no_reason_for_words(tmp_path, shared_data):
    np.save(tmp_path / "volume.npy", hearts(shared_data)[:, None])
    assert Measurement(tmp_path / "volume.npy", slice_index=0)[0].kspace.shape == (1, 256, 256)
