"""The knee .mat folder: real files of both MATLAB versions, written and read back, and the ways
they can be wrong.
"""

import h5py
import numpy as np
import pytest
import scipy.io

from tfvn import config, data
from tfvn.data import DataWarning, SyntheticKnee, VLOKnee, normalise
from tfvn.data.mat_files import read_mat, write_mat
from tfvn.data.sample import ifft2c
from tfvn.data.vlo_folder import mask_path, write_folder
from tfvn.physics import masks
from tfvn.physics.sense import Sense

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
    assert [source.patient(index) for index in range(4)] == ["1", "1", "2", "2"]
    assert source.shape(1) == (COILS, HEIGHT, WIDTH) and source.mask_height == 1
    for index in range(4):
        sample, written = source[index], slices[index]
        np.testing.assert_array_equal(sample.kspace, written.kspace * MASK)
        np.testing.assert_array_equal(sample.sensitivity_maps, written.sensitivity_maps)
        np.testing.assert_array_equal(sample.mask, MASK[None, None])
        np.testing.assert_array_equal(sample.reference, written.reference)
        assert [array.dtype for array in sample] == [
            "complex64",
            "complex64",
            "float32",
            "complex64",
        ]
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
    assert (
        head.startswith(b"MATLAB 7.3 MAT-file")
        and head[124:128] == b"\x00\x02IM"
        and head[512:516] == b"\x89HDF"
    )
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
    adjoint = Sense(True).adjoint(
        sample.kspace[None], sample.sensitivity_maps[None], sample.mask[None]
    )[0]
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
    with pytest.raises(
        ValueError, match=r"(?s)2 of 8 files are missing.*1/espirit12.mat.*2/rawdata11.mat"
    ):
        folder(tmp_path)
    with pytest.raises(ValueError, match=r"(?s)80 of 80 files .*rawdata5.mat\n.*\.\.\.$"):
        VLOKnee(tmp_path, "other", range(1, 5), range(1, 11), MASK)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_truncated_file_is_named(tmp_path, version, share):
    write(tmp_path, version)
    path = tmp_path / "pd/1/rawdata11.mat"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(
        ValueError, match="rawdata11.mat cannot be read as a MATLAB file.*Copy it again"
    ):
        folder(tmp_path)[0]


def test_file_that_is_not_matlabs_is_named(tmp_path):
    write(tmp_path)
    (tmp_path / "pd/1/espirit11.mat").write_text("<html>404</html>" * 100)
    with pytest.raises(ValueError, match="espirit11.mat cannot be read"):
        folder(tmp_path)[0]
    with pytest.raises(ValueError, match="no such file: .*nothing.mat"):
        read_mat(tmp_path / "nothing.mat")


@pytest.mark.parametrize("share, refused", [(0.2, False), (0.6, True)])
def test_points_that_hold_nothing_are_told(tmp_path, share, refused):
    source = SyntheticKnee(1, 32, 24, 4, None, 0.0005, 0)
    write_folder(tmp_path, "p", [1], [1], source)
    path = tmp_path / "p/1/rawdata1.mat"
    kept = np.random.default_rng(0).random((32, 24)) >= share
    kept[12:20, 8:16] = True
    write_mat(path, {"rawdata": read_mat(path)["rawdata"] * kept[..., None]})
    words = "the mask must sample what was measured. Received: .*% of its positions are zero"
    told = (
        pytest.raises(ValueError, match=words)
        if refused
        else pytest.warns(DataWarning, match=words)
    )
    with told:
        VLOKnee(tmp_path, "p", [1], [1], np.ones(24))[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_missing_variable_is_named_with_those_present(tmp_path, version):
    write(tmp_path, version)
    write_mat(tmp_path / "pd/1/rawdata11.mat", {"data": np.ones((2, 2))}, version)
    with pytest.raises(
        ValueError,
        match=r"rawdata11.mat: expected a variable named rawdata. Received: data float64 \(2, 2\)",
    ):
        folder(tmp_path)[0]


def test_mask_of_another_width_is_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(
        ValueError, match=r"rawdata11.mat: the mask must .*mask.shape=\(20,\), height=32, width=24"
    ):
        folder(tmp_path, mask=np.ones(20))[0]


def test_damaged_values_are_refused_by_name(tmp_path):
    slices = write(tmp_path)
    raw = np.moveaxis(slices[0].kspace, 0, -1).copy()
    for array, message in (
        (raw[..., :2], "same shape"),
        (0 * raw, "zero everywhere"),
        (raw * np.nan, "finite"),
    ):
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


def rewrite(root, name="rawdata11", patient=1, version=5, **arrays):
    """Changes variables of one file of the folder; a function gets what is there."""
    path = root / f"pd/{patient}/{name}.mat"
    before = read_mat(path)
    for key, value in arrays.items():
        arrays[key] = value(before[key]) if callable(value) else value
    write_mat(path, {**before, **arrays}, version)


def as_integers(array):
    return (100 * array.real / np.abs(array).max()).astype(np.int16)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("change", [np.abs, np.real, as_integers])
@pytest.mark.parametrize("file, name", [("rawdata11", "rawdata"), ("espirit11", "sensitivities")])
def test_numbers_that_are_not_complex_are_refused(tmp_path, version, change, file, name):
    write(tmp_path, version)
    rewrite(tmp_path, file, version=version, **{name: change})
    message = rf"{file}.mat: {name} must be complex. Received: (float|int)"
    with pytest.raises(ValueError, match=message):
        folder(tmp_path)[0]


def test_magnitudes_of_a_complex_type_are_refused(tmp_path):
    write(tmp_path, "7.3")
    rewrite(tmp_path, version="7.3", rawdata=lambda array: np.abs(array).astype(np.complex64))
    message = "^patient1/slice11: kspace must be complex.* imaginary part is zero"
    with pytest.raises(ValueError, match=message):
        folder(tmp_path)[0]


def test_the_map_of_a_single_coil_may_be_real(tmp_path):
    slices = []
    for sample in SyntheticKnee(4, HEIGHT, WIDTH, 1, None, 0.01, 0):
        maps, reference = np.ones_like(sample.kspace), ifft2c(sample.kspace)[0]
        slices.append(sample._replace(sensitivity_maps=maps, reference=reference))
    write_folder(tmp_path, "pd", [1, 2], [11, 12], slices)
    rewrite(tmp_path, "espirit11", sensitivities=np.abs)
    np.testing.assert_array_equal(folder(tmp_path)[0].sensitivity_maps, np.ones((1, HEIGHT, WIDTH)))


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("rawdata", lambda array: np.fft.ifftshift(array, (0, 1)), "the zero frequency of kspace"),
        ("sensitivities", lambda array: array[:, ::-1], "of the signal is outside"),
        ("sensitivities", lambda array: np.roll(array, 1, 2), "of the signal is outside"),
        ("sensitivities", lambda array: 1000 * array, "root-sum-of-squares"),
        ("reference", lambda array: 0 * array, "zeros everywhere"),
        ("reference", lambda array: 1e6 * array, r"1e\+06 times as large"),
        ("reference", lambda array: array[::-1], "correlate with the combined image"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(tmp_path, name, change, message):
    write(tmp_path)
    rewrite(tmp_path, "rawdata11" if name == "rawdata" else "espirit11", **{name: change})
    source = folder(tmp_path)
    for _ in range(2):
        with pytest.raises(ValueError, match=f"^patient1/slice11: .*{message}"):
            source[0]
    assert np.isfinite(source[1].reference).all()


def test_arrays_that_probably_do_not_are_told_once_with_the_slice(tmp_path):
    write(tmp_path)
    rewrite(tmp_path, "espirit11", patient=2, reference=lambda array: 3 * array)
    source = folder(tmp_path)
    with pytest.warns(DataWarning, match="^patient2/slice11: reference .* 3 times as large"):
        source[2]
    assert source[2].reference.any() and folder(tmp_path)[2].reference.any()
    assert len(source.doubts(2)) == 1 and source.doubts(0) == []


@pytest.mark.parametrize("value", [2.5, -1, np.nan, np.inf, 2 + 1j, [1, 2], WIDTH, "two"])
def test_padding_that_is_no_number_of_lines_is_refused(tmp_path, value):
    write(tmp_path)
    rewrite(tmp_path, padlength_left=value)
    with pytest.raises(ValueError, match="rawdata11.mat.*padlength_left"):
        folder(tmp_path)[0]


def test_padding_that_was_measured_is_told(tmp_path):
    write(tmp_path)
    rewrite(tmp_path, padlength_left=3, padlength_right=2)
    with pytest.warns(DataWarning, match="rawdata11.mat: 5 of the 5 lines .* not zero"):
        folder(tmp_path)[0]


def lost(array, lines):
    return array * (1 - np.isin(np.arange(WIDTH), lines))[:, None].astype(np.float32)


def test_a_mask_of_lines_that_were_not_measured_is_refused(tmp_path):
    write(tmp_path)
    rewrite(tmp_path, rawdata=lambda array: lost(array, np.arange(1, WIDTH - 1, 3)))
    message = "rawdata11.mat: the mask must sample .* Received: 8 of its 24 lines are zero"
    with pytest.raises(ValueError, match=message):
        folder(tmp_path, mask=np.ones(WIDTH))[0]
    assert folder(tmp_path, mask=None)[0].mask.sum() == WIDTH - 8


def test_a_single_lost_line_is_told_and_lines_left_out_at_the_ends_are_not(tmp_path):
    write(tmp_path)
    rewrite(tmp_path, rawdata=lambda array: lost(array, [5]))
    with pytest.warns(DataWarning, match="rawdata11.mat: .* Received: 1 of its 24 lines"):
        folder(tmp_path, mask=np.ones(WIDTH))[0]
    rewrite(tmp_path, patient=2, rawdata=lambda array: lost(array, [0, 1, 2, 22, 23]))
    assert folder(tmp_path, mask=np.ones(WIDTH))[2].mask.all()


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(patients=["file1000"]), "patients must be different whole .*patients=.'file1000'"),
        (dict(patients=["1"]), "patients must be"),
        (dict(patients=[-1]), "patients must be"),
        (dict(patients=[1.5]), "patients must be"),
        (dict(patients=[1, 1]), "patients must be different"),
        (dict(patients=[]), "patients must be"),
        (dict(patients="12"), "patients must be"),
        (dict(slices=["a/b"]), "slices must be"),
        (dict(slices=[True]), "slices must be"),
        (dict(slices=[3, 3]), "slices must be different"),
        (dict(protocol="a/b"), "protocol must be the name of one folder"),
        (dict(protocol=".."), "protocol must be"),
        (dict(protocol=""), "protocol must be"),
        (dict(mask_name="../mask"), "mask_name must be"),
        (dict(mask=np.ones(WIDTH + 1)), "the mask must have shape"),
        (dict(padding=(1.5, 0)), "padding must be two whole numbers"),
        (dict(padding=(20, 4)), "padding must be two whole numbers"),
        (dict(padding=(-1, 0)), "padding must be two whole numbers"),
        (dict(version=6), "version must be 5, '7.3' or 'mixed'"),
        (dict(slices=range(5)), "the source must hold 5 slices"),
    ],
)
def test_what_no_configuration_could_read_is_not_written(tmp_path, changes, message):
    slices = SyntheticKnee(4, HEIGHT, WIDTH, COILS, None, 0.01, 0)
    options = dict(protocol="pd", patients=[1], slices=[11], source=slices)
    with pytest.raises(ValueError, match=message):
        write_folder(tmp_path / "knees", **{**options, **changes})
    assert not list(tmp_path.rglob("*.mat"))


def test_slices_without_a_reference_are_not_written(tmp_path):
    sample = SyntheticKnee(1, HEIGHT, WIDTH, COILS, None, 0.01, 0)[0]
    sample = sample._replace(reference=sample.reference * np.nan)
    with pytest.raises(
        ValueError, match="needs its .* reference. Received: NaN in that of slice 0"
    ):
        write_folder(tmp_path, "pd", [1], [11], [sample])
    assert not list(tmp_path.rglob("*.mat"))


@pytest.mark.parametrize("version", [*VERSIONS, "mixed"])
def test_whatever_is_written_a_configuration_reads(tmp_path, version):
    slices = SyntheticKnee(4, HEIGHT, WIDTH, COILS, None, 0.01, 0)
    patients, numbers = np.array([0, 1000]), (7, 12345)
    write_folder(tmp_path, "p d=[1]", patients, numbers, slices, version)
    values = ["data.format=vlo", f"data.path={tmp_path}", "data.protocol=p d=[1]"]
    values += ["data.test_patients=0,1000", "data.test_slices=7,12345"]
    source = data.source(config.load(None, values), "test")
    for index, sample in enumerate(source):
        np.testing.assert_array_equal(sample.reference, slices[index].reference)


def test_a_mask_that_leaves_the_centre_out_is_told(tmp_path):
    write(tmp_path)
    message = r"^patient1/slice11: the mask samples 75% .* inverted \(1 - mask\)"
    with pytest.warns(DataWarning, match=message):
        folder(tmp_path, mask=1 - masks.constant(WIDTH, 0.25))[0]
