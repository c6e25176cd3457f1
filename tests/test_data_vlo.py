"""The knee .mat folder: real files of both MATLAB versions, written and read back, and the ways they can be wrong."""
import h5py
import numpy as np
import pytest
import scipy.io

from tfvn import masks
from tfvn.data import SyntheticKnee, VLOKnee, normalise
from tfvn.data.vlo import mask_path, read_mat, write_folder, write_mat
from tfvn.operators import Sense

VERSIONS = [5, "7.3"]
HEIGHT, WIDTH, COILS = 32, 24, 3
MASK = masks.constant(WIDTH, 0.5)


def write(root, version=5, readout_oversampling=False, **options):
    slices = SyntheticKnee(4, HEIGHT, WIDTH, COILS, None, 0.01, 0, readout_oversampling)
    write_folder(root, "pd", [1, 2], [11, 12], slices, version, **options)
    return slices


def folder(root, mask=MASK, **options):
    return VLOKnee(root, "pd", [1, 2], [11, 12], mask, **options)


@pytest.mark.parametrize("version", VERSIONS)
def test_written_slices_come_back(tmp_path, version):
    slices = write(tmp_path, version, mask=MASK)
    source = folder(tmp_path, mask=read_mat(mask_path(tmp_path, "pd", "mask"))["mask"])
    assert len(source) == 4 and source.name(2) == "patient2/slice11"
    assert source.shape(1) == (COILS, HEIGHT, WIDTH) and source.mask_height == 1
    for index in range(4):
        sample, written = source[index], slices[index]
        np.testing.assert_array_equal(sample.kspace, written.kspace * MASK)
        np.testing.assert_array_equal(sample.sensitivity_maps, written.sensitivity_maps)
        np.testing.assert_array_equal(sample.mask, MASK[None, None])
        np.testing.assert_array_equal(sample.reference, written.reference)
        assert [array.dtype for array in sample] == ["complex64", "complex64", "float32", "complex64"]
    assert not list(tmp_path.rglob("*partial*"))


@pytest.mark.parametrize("version", VERSIONS)
def test_arrays_of_every_kind_come_back_in_matlab_order(tmp_path, version):
    rng = np.random.default_rng(0)
    arrays = {
        "complex_double": rng.standard_normal((4, 3, 2)) + 1j,
        "single": rng.standard_normal((2, 5)).astype(np.float32),
        "scalar": np.float64(7),
        "row": np.arange(3.0),
    }
    write_mat(tmp_path / "a.mat", arrays, version)
    read = read_mat(tmp_path / "a.mat")
    assert sorted(read) == sorted(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], np.atleast_2d(array))


def test_hdf5_file_looks_like_matlabs_own(tmp_path):
    write_mat(tmp_path / "a.mat", {"x": np.ones((4, 3, 2), np.complex64)}, "7.3")
    head = (tmp_path / "a.mat").read_bytes()[:520]
    assert head.startswith(b"MATLAB 7.3 MAT-file") and head[124:128] == b"\x00\x02IM" and head[512:516] == b"\x89HDF"
    assert scipy.io.matlab.matfile_version(str(tmp_path / "a.mat"))[0] == 2
    with h5py.File(tmp_path / "a.mat") as file:
        assert file["x"].shape == (2, 3, 4) and file["x"].dtype.names == ("real", "imag")
        assert file["x"].attrs["MATLAB_class"] == b"single"


@pytest.mark.parametrize("padding_lines, value", [("measured", 1), ("unmeasured", 0)])
def test_padding_lines_are_zeros_that_count_as_asked(tmp_path, padding_lines, value):
    write(tmp_path, padding=(2, 3))
    sample = folder(tmp_path, padding_lines=padding_lines)[0]
    padding = [0, 1, WIDTH - 3, WIDTH - 2, WIDTH - 1]
    assert (sample.mask[0, 0, padding] == value).all() and (sample.kspace[..., padding] == 0).all()
    inside = slice(2, WIDTH - 3)
    np.testing.assert_array_equal(sample.mask[0, 0, inside], MASK[inside])


@pytest.mark.parametrize("version", VERSIONS)
def test_readout_oversampling_crops_the_reference_as_the_operator_does(tmp_path, version):
    write(tmp_path, version, readout_oversampling=True)
    sample = folder(tmp_path, mask=np.ones(WIDTH), readout_oversampling=True)[3]
    adjoint = Sense(True).adjoint(sample.kspace[None], sample.sensitivity_maps[None], sample.mask[None])[0]
    assert sample.reference.shape == (HEIGHT // 2, WIDTH)
    np.testing.assert_allclose(adjoint, sample.reference, atol=1e-5)


def test_without_a_mask_what_is_not_zero_was_measured(tmp_path):
    slices = SyntheticKnee(4, HEIGHT, WIDTH, COILS, MASK, 0.01, 0)
    write_folder(tmp_path, "pd", [1, 2], [11, 12], slices)
    np.testing.assert_array_equal(folder(tmp_path, mask=None)[0].mask, MASK[None, None])


def test_missing_slices_are_all_named(tmp_path):
    write(tmp_path)
    (tmp_path / "pd/1/espirit12.mat").unlink()
    (tmp_path / "pd/2/rawdata11.mat").unlink()
    with pytest.raises(ValueError, match=r"(?s)2 of 8 files are missing.*1/espirit12.mat.*2/rawdata11.mat"):
        folder(tmp_path)
    with pytest.raises(ValueError, match=r"(?s)80 of 80 files .*rawdata5.mat\n.*\.\.\.$"):
        VLOKnee(tmp_path, "other", range(1, 5), range(1, 11), MASK)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_truncated_file_is_named(tmp_path, version, share):
    write(tmp_path, version)
    path = tmp_path / "pd/1/rawdata11.mat"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match="rawdata11.mat cannot be read as a MATLAB file.*Copy it again"):
        folder(tmp_path)[0]


def test_file_that_is_not_matlabs_is_named(tmp_path):
    write(tmp_path)
    (tmp_path / "pd/1/espirit11.mat").write_text("<html>404</html>" * 100)
    with pytest.raises(ValueError, match="espirit11.mat cannot be read"):
        folder(tmp_path)[0]
    with pytest.raises(ValueError, match="no such file: .*nothing.mat"):
        read_mat(tmp_path / "nothing.mat")


@pytest.mark.parametrize("version", VERSIONS)
def test_missing_variable_is_named_with_those_present(tmp_path, version):
    write(tmp_path, version)
    write_mat(tmp_path / "pd/1/rawdata11.mat", {"data": np.ones((2, 2))}, version)
    with pytest.raises(ValueError, match=r"rawdata11.mat: expected a variable named rawdata. Received: \['data'\]"):
        folder(tmp_path)[0]


def test_mask_of_another_width_is_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(ValueError, match=r"rawdata11.mat: the mask must .*mask.shape=\(20,\), height=32, width=24"):
        folder(tmp_path, mask=np.ones(20))[0]


def test_damaged_values_are_refused_by_name(tmp_path):
    slices = write(tmp_path)
    raw = np.moveaxis(slices[0].kspace, 0, -1).copy()
    for array, message in ((raw[..., :2], "same shape"), (0 * raw, "zero everywhere"), (raw * np.nan, "finite")):
        write_mat(tmp_path / "pd/1/rawdata11.mat", {"rawdata": array})
        with pytest.raises(ValueError, match=f"^patient1/slice11: .*{message}"):
            source = folder(tmp_path, mask=np.ones(WIDTH))
            normalise(source[0], source.name(0))


@pytest.mark.parametrize("padding", [(-1, 0), (20, 10)])
def test_impossible_padding_is_refused(tmp_path, padding):
    slices = write(tmp_path)
    raw = np.moveaxis(slices[0].kspace, 0, -1)
    arrays = {"rawdata": raw, "padlength_left": padding[0], "padlength_right": padding[1]}
    write_mat(tmp_path / "pd/1/rawdata11.mat", arrays)
    with pytest.raises(ValueError, match=f"padlength_left={padding[0]}"):
        folder(tmp_path)[0]
