"""Volumes of fastMRI: what is read of them, and the ways they can be wrong."""

import re
import warnings
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from volumes import HEADER, SCALE, knees, write_volume

from tfvn import config, data
from tfvn.data import DataWarning, FastMRIFormat, PreparedSlices, header, mask_choice
from tfvn.data.fastmri import FastMRIVolume
from tfvn.data.sample import ifft2c, image_rows
from tfvn.physics import masks

COILS, HEIGHT, WIDTH = 3, 48, 32
FULL = mask_choice.Measured()
DRAWN = mask_choice.FastMRI("equispaced-fraction", (2.5,), (0.2,))


@pytest.fixture(scope="module")
def kspace():
    return knees(2, COILS, HEIGHT, WIDTH)


@pytest.fixture
def folder(tmp_path, kspace):
    """Two volumes to train on and one to test on, of other sizes."""
    write_volume(tmp_path / "multicoil_train/b.h5", kspace)
    write_volume(tmp_path / "multicoil_train/a.h5", knees(3, 2, 64, 40, 1))
    write_volume(tmp_path / "multicoil_val/c.h5", knees(1, COILS, HEIGHT, WIDTH, 2), (3, 4))
    return tmp_path


def read(path, mask=FULL, **keys):
    """The source of a single volume."""
    return FastMRIFormat(path.parent, "", "", mask=mask, **keys).source("test")


def test_slices_come_in_the_order_of_the_names_of_their_files(folder, kspace):
    source = FastMRIFormat(folder, mask=DRAWN).source("train")
    names = [source.name(index) for index in range(len(source))]
    assert names == ["a/slice0", "a/slice1", "a/slice2", "b/slice0", "b/slice1"]
    assert {source.shape(index) for index in range(5)} == {(2, 64, 40), (COILS, HEIGHT, WIDTH)}
    assert source.mask_height == 1 and "centre lines" in source.maps_origin
    sample = source[4]
    line = masks.fastmri(WIDTH, "equispaced-fraction", (2.5,), (0.2,), "b.h5")
    np.testing.assert_array_equal(sample.mask, line[None, None])
    np.testing.assert_array_equal(sample.kspace, kspace[1] * line)
    assert sample.kspace.dtype == np.complex64 and sample.reference.shape == (HEIGHT, WIDTH)


def test_volumes_and_slices_are_chosen_by_number(folder):
    chosen = FastMRIFormat(folder, train_volumes="1", train_slices="1-9", mask=FULL)
    source = chosen.source("train")
    assert [source.name(index) for index in range(len(source))] == ["b/slice1"]
    assert chosen.identities("train") == [(str(folder / "multicoil_train/b.h5"), "slice", 1)]
    assert chosen.shared() == []
    with pytest.raises(ValueError, match="which holds 2, counted from 0. .*train_volumes='2'"):
        FastMRIFormat(folder, train_volumes="2").source("train")
    with pytest.raises(ValueError, match="slices that none of the 2 volumes has"):
        FastMRIFormat(folder, train_slices="7").source("train")
    with pytest.raises(ValueError, match="no such folder.*multicoil_test"):
        FastMRIFormat(folder, test_folder="multicoil_test").source("test")


def test_volumes_of_one_contrast_are_counted_alone(folder):
    with h5py.File(folder / "multicoil_train/a.h5", "r+") as file:
        file.attrs["acquisition"] = "AXT2"
    for contrast, number in (("AXT2", 3), ("CORPD_FBK", 2), ("", 5)):
        chosen = FastMRIFormat(folder, acquisition=contrast, train_volumes="", mask=FULL)
        assert len(chosen.source("train")) == number
    chosen = FastMRIFormat(folder, acquisition="CORPD_FBK", train_volumes="0", mask=FULL)
    assert chosen.source("train").name(0) == "b/slice0"
    with pytest.raises(ValueError, match="data.acquisition='AXT1' must be .* 2 volumes of others"):
        FastMRIFormat(folder, acquisition="AXT1").source("train")


@pytest.mark.parametrize("readout_oversampling", [False, True])
def test_the_reference_is_combined_or_the_root_of_the_sum_of_squares(
    tmp_path, kspace, readout_oversampling
):
    path = tmp_path / "a.h5"
    write_volume(path, kspace)
    root = np.sqrt((np.abs(ifft2c(kspace[0])) ** 2).sum(0))
    rows = image_rows(HEIGHT, readout_oversampling)
    keys = dict(readout_oversampling=readout_oversampling)
    exact = read(path, DRAWN, target="rss", **keys)[0].reference
    np.testing.assert_allclose(exact, root[rows], rtol=1e-5)
    combined = read(path, DRAWN, **keys)[0].reference
    assert np.linalg.norm(np.abs(combined) - root[rows]) < 0.1 * np.linalg.norm(root[rows])


def test_the_stored_reconstruction_is_the_centre_of_the_root_of_the_sum_of_squares(
    tmp_path, kspace
):
    path = tmp_path / "a.h5"
    write_volume(path, kspace)
    reference = read(path, target="rss")[1].reference.real
    first = HEIGHT // 4
    stored = FastMRIVolume(path).image(1)
    np.testing.assert_allclose(reference[first : first + HEIGHT // 2], stored, rtol=1e-5)


def test_small_values_lose_no_precision(tmp_path, kspace):
    factor = np.float32(2.0**-17)
    for name, array in (("a", kspace / SCALE), ("b", kspace / SCALE * factor)):
        write_volume(tmp_path / name / "a.h5", array.astype(np.complex64))
    (large, scale), (small, other) = (
        PreparedSlices(read(tmp_path / name / "a.h5", DRAWN))[0] for name in "ab"
    )
    assert np.abs(small.reference).max() > 0.5 and other == scale * factor
    for one, two in zip(large, small):
        np.testing.assert_array_equal(one, two)


def test_lines_that_the_header_calls_padding_are_not_in_the_mask(folder):
    source = FastMRIFormat(folder, mask=mask_choice.Equispaced(1, 1.0)).source("test")
    expected = np.ones(WIDTH)
    expected[:3] = expected[WIDTH - 4 :] = 0
    np.testing.assert_array_equal(source[0].mask[0, 0], expected)
    assert np.isfinite(source[0].reference).all()


@pytest.mark.parametrize("kind", [np.float32, bool])
def test_an_undersampled_volume_keeps_its_own_mask_and_has_no_reference(tmp_path, kspace, kind):
    mask = masks.equispaced(WIDTH, 3, 0.3).astype(kind)
    # Lines of the padding count as little as in other masks.
    write_volume(tmp_path / "a.h5", kspace, (3, 4), mask)
    expected = mask.copy()
    expected[:3] = expected[WIDTH - 4 :] = 0
    for asked in (FULL, DRAWN):
        sample = read(tmp_path / "a.h5", asked)[0]
        np.testing.assert_array_equal(sample.mask[0, 0], expected)
        assert np.isnan(sample.reference).all()


def test_volumes_of_a_single_coil_have_no_axis_for_it(tmp_path, kspace):
    single = kspace[:, 0]
    write_volume(tmp_path / "a.h5", single)
    source = read(tmp_path / "a.h5")
    assert source.shape(0) == (1, HEIGHT, WIDTH) and len(source) == 2
    sample = source[1]
    np.testing.assert_array_equal(sample.kspace[0], single[1])
    np.testing.assert_allclose(np.abs(sample.reference), np.abs(ifft2c(single[1])), rtol=1e-3)


def test_a_cached_slice_is_the_same_and_belongs_to_its_settings(folder, tmp_path):
    format_ = FastMRIFormat(folder, mask=DRAWN)
    cache = str(tmp_path / "cache")
    first = PreparedSlices(format_.source("train"), cache)[3]
    again = PreparedSlices(format_.source("train"), cache)[3]
    other = PreparedSlices(FastMRIFormat(folder, target="rss", mask=DRAWN).source("train"), cache)[
        3
    ]
    for one, two in zip(first[0], again[0]):
        assert one.tobytes() == two.tobytes()
    assert (first[0].reference != other[0].reference).any()


def settings(folder, **changes):
    values = dict(format="fastmri", path=str(folder), train_slices="0", **changes)
    words = [f"data.{key}={value}" for key, value in values.items()]
    return config.load(None, [*words, "sampling.mask=measured"])


def bytes_of(sample):
    arrays = (sample.kspace, sample.sensitivity_maps, sample.mask, sample.reference)
    return [np.asarray(array).tobytes() for array in arrays]


@pytest.mark.slow_cases
@pytest.mark.parametrize("maps", ["low_resolution", "espirit"])
def test_several_readers_read_the_bytes_of_one(folder, maps):
    keys = {"data.maps": maps, "sampling.mask": "equispaced", "sampling.acceleration": 2}
    words = [f"{key}={value}" for key, value in keys.items()]
    source = config.load(
        None, [f"data.path={folder}", "data.format=fastmri", *words, "sampling.center_fraction=0.3"]
    ).dataset.source("train")
    alone = [bytes_of(source[number]) for number in range(len(source))]
    order = [*range(len(source))] * 4
    with ThreadPoolExecutor(4) as readers:
        together = list(readers.map(lambda number: bytes_of(source[number]), order))
    assert together == alone * 4
    assert len({tuple(each) for each in alone}) == len(source)


def test_a_volume_that_is_cut_short_is_named_before_a_training(folder):
    assert data.check(settings(folder)) == 3
    path = folder / "multicoil_train/b.h5"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError) as caught:
        data.check(settings(folder))
    lines = str(caught.value).splitlines()
    assert len(lines) == 2 and "1 of 3 slices cannot be used" in lines[0]
    assert str(path) in lines[1] and "cut short" in lines[1]


def test_a_volume_that_is_cut_short_meanwhile_is_named(folder):
    batches = data.Batches(PreparedSlices(FastMRIFormat(folder).source("train")), range(3, 5), 1)
    path = folder / "multicoil_train/b.h5"
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(ValueError, match=f"{path} .*cut short"):
        list(batches)


def test_a_volume_that_was_compressed_by_what_is_not_installed_is_named(folder):
    path = folder / "multicoil_val/c.h5"
    with h5py.File(path, "r+") as file:
        kspace = file["kspace"][...]
        del file["kspace"]
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((1, *kspace.shape[1:]))
        # Blosc. It is optional for what is written, and the bytes below say that it was used.
        plan.set_filter(32001, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple(kspace.shape)
        kind = h5py.h5t.py_create(kspace.dtype)
        stored = h5py.h5d.create(file.id, b"kspace", kind, space, plan)
        stored.write_direct_chunk((0, 0, 0, 0), kspace.tobytes())
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*filter") as caught:
        data.check(settings(folder))
    assert "1 of 3 slices cannot be used" in str(caught.value)


def test_slices_of_one_volume_are_told_apart_and_may_not_be_in_both(folder):
    both = settings(folder, test_folder="multicoil_train", test_slices="1")
    with pytest.warns(DataWarning, match="2 of 2 volumes to test on are trained on too"):
        assert data.check(both) == 4
    both = settings(folder, test_folder="multicoil_train", test_slices="0-1")
    with pytest.raises(ValueError, match="2 in both, the first one .*a.h5. Change data.train_fold"):
        data.check(both)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(kspace=None), "expected a variable named kspace. Received: reconstruction_rss"),
        (dict(kspace=np.ones((2, HEIGHT))), "kspace must be complex .*float64 array of shape"),
        (
            dict(reconstruction_rss=np.ones((3, 24, 32))),
            "the same slices. Received: 2 of kspace and 3 of /reconstruction_rss",
        ),
    ],
)
def test_files_that_are_no_volumes_are_refused(tmp_path, kspace, changes, message):
    path = tmp_path / "a.h5"
    write_volume(path, kspace, changes=changes)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: .*{message}"):
        read(path)


@pytest.mark.parametrize(
    "before, after, message",
    [
        ("<y>32", "<y>36", "a header of 48 x 36 samples, and kspace of 48 x 32"),
        ("<center>16", "<center>17", "Received: lines -1 to 30 of 32"),
        ("<maximum>31", "<maximum>40", "Received: lines 0 to 40 of 32"),
    ],
)
def test_a_header_that_contradicts_the_data_is_refused(tmp_path, kspace, before, after, message):
    path = tmp_path / "a.h5"
    write_volume(path, kspace)
    with h5py.File(path, "r+") as file:
        text = file["ismrmrd_header"][()].decode().replace(before, after)
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = text
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: .*{message}"):
        read(path)


def test_a_readout_along_the_width_is_refused(tmp_path, kspace):
    path = tmp_path / "a.h5"
    turned = np.ascontiguousarray(np.swapaxes(kspace, -1, -2))
    write_volume(path, kspace, changes={"kspace": turned})
    text = "a header of 48 samples of 32 lines, and kspace of 32 x 48. Exchange the last two axes"
    with pytest.raises(ValueError, match=f"a.h5: the readout must run along the height.*{text}"):
        read(path)


def test_a_volume_without_a_header_is_read(tmp_path, kspace):
    write_volume(tmp_path / "a.h5", kspace, changes={"ismrmrd_header": None})
    assert read(tmp_path / "a.h5")[0].mask.all()


def test_padding_that_is_not_zero_and_another_reconstruction_are_told(tmp_path, kspace):
    path = tmp_path / "a.h5"
    write_volume(path, kspace, (3, 2), changes={"kspace": kspace})
    source = read(path)
    with pytest.warns(DataWarning) as caught:
        sample = source[0]
    texts = [str(warning.message) for warning in caught]
    assert texts == source.doubts(0) and sample.mask.sum() == WIDTH - 5
    assert "a/slice0: 5 lines that the header calls padding are not zero" in texts[0]
    assert "the reconstruction in the file is not that of its kspace: they differ by" in texts[1]


def test_a_doubt_is_told_once_however_often_a_slice_is_read(tmp_path, kspace):
    path = tmp_path / "a.h5"
    write_volume(path, kspace, (3, 2), changes={"kspace": kspace})
    source = read(path)
    with pytest.warns(DataWarning):
        first = source[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = source[0]
    for one, two in zip(first, again):
        assert one.tobytes() == two.tobytes()


def test_volumes_of_one_patient_are_known_as_such(folder):
    paths = sorted((folder / "multicoil_train").iterdir())
    source = FastMRIFormat(folder, mask=FULL).source("train")
    assert [source.patient(index) for index in (0, 3)] == list(map(str, paths))
    for path in paths:
        with h5py.File(path, "r+") as file:
            file.attrs["patient_id"] = "0f3a"
    source = FastMRIFormat(folder, mask=FULL).source("train")
    assert {source.patient(index) for index in range(5)} == {"0f3a"}


def test_numbers_that_are_none_are_named_with_their_slice(tmp_path, kspace):
    path = tmp_path / "a.h5"
    damaged = kspace.copy()
    damaged[1, 0, 3, 4] = np.nan
    write_volume(path, damaged)
    source = read(path)
    assert np.isfinite(source[0].kspace).all()
    with pytest.raises(ValueError, match=r"a.h5: kspace must be finite.*1 NaN.*\(a/slice1\)"):
        source[1]


def test_a_volume_without_calibration_lines_is_refused(tmp_path, kspace):
    write_volume(tmp_path / "a.h5", kspace, mask=masks.equispaced(WIDTH, 3, 0.0))
    with pytest.raises(ValueError, match="a.h5: an estimate of coil maps needs 4 centre lines"):
        read(tmp_path / "a.h5")[0]


def test_a_header_is_searched_for_its_encodings():
    text = HEADER.format(height=48, width=32, rows=24, last=28, center=15)
    first, second = header.encodings(text + text.replace(">32<", ">36<"))
    assert first.encoded == (48, 32, 1) and first.image == (24, 32, 1)
    assert first.lines == (0, 28, 15) and first.partitions is None
    assert first.measured_lines() == slice(1, 30) and second.measured_lines() == slice(3, 32)
    assert first.trajectory == "cartesian"
    assert header.encodings("<encoding></encoding>")[0].measured_lines() is None
    assert header.encodings("no text of a header") == []


def test_the_phantom_is_read(shared_data):
    path = shared_data("phantom_2ch_gre_fastmri.h5")
    volume = FastMRIVolume(path)
    assert volume.shape == (1, 2, 320, 160) and volume.measured == slice(0, 160)
    source = data.volumes.VolumeSlices(
        [volume], [None], None, data.calibration.Calibration(), "rss"
    )
    reference = source[0].reference.real
    assert source.doubts(0) == []
    np.testing.assert_allclose(reference[80:240], volume.image(0), rtol=1e-4, atol=1e-9)
    with h5py.File(path, "r") as file:
        np.testing.assert_array_equal(source[0].kspace, file["kspace"][0])
