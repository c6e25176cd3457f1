"""Real magnitude images, simulated coils: keyed and reproducible, from every kind of file."""

import re
import sys

import numpy as np
import pytest

from tfvn import config, data
from tfvn.checks import DataWarning
from tfvn.data import ImagesFormat, image_files
from tfvn.data.sample import combine, ifft2c

HEIGHT, WIDTH = 32, 24


@pytest.fixture(scope="module")
def volume():
    """Magnitudes of another maximum in every slice, uint16 (slices, height, width)."""
    rng = np.random.default_rng(0)
    images = 100 + np.cumsum(rng.standard_normal((5, HEIGHT, WIDTH)), 2) ** 2
    return (images * np.arange(1, 6)[:, None, None]).astype(np.uint16)


@pytest.fixture
def path(tmp_path, volume):
    path = tmp_path / "heads.npz"
    np.savez(path, volume=volume)
    return path


def source(path, split="train", **options):
    return ImagesFormat(path, **options).source(split)


def test_the_combined_image_is_the_magnitude_and_the_maps_have_unit_norm(path, volume):
    found = source(path, num_coils=5, receiver_noise=0.0)
    assert len(found) == 5 and found.name(2) == "heads/slice2"
    sample = found[2]
    np.testing.assert_allclose((np.abs(sample.sensitivity_maps) ** 2).sum(0), 1, atol=1e-5)
    expected = volume[2] / volume[2].max()
    np.testing.assert_allclose(np.abs(sample.reference), expected, atol=1e-4)
    assert sample.kspace.shape == found.shape(2) == (5, HEIGHT, WIDTH)
    np.testing.assert_allclose(
        combine(ifft2c(sample.kspace), sample.sensitivity_maps), sample.reference, atol=1e-5
    )


def test_the_phase_is_smooth_and_another_in_every_slice(path):
    phases = [sample.reference / np.abs(sample.reference) for sample in source(path)]
    steps = np.abs(np.diff(phases[0], axis=1))
    assert np.median(steps) < 0.2 and phases[0].std() > 0.05
    assert np.abs(phases[0] - phases[1]).mean() > 0.1


def test_noise_has_the_deviation_that_was_asked_for(path):
    plain, noisy = (source(path, receiver_noise=value)[0].kspace for value in (0.0, 0.05))
    assert np.std((noisy - plain).real) == pytest.approx(0.05, rel=0.05)


def test_a_slice_is_keyed_by_the_seed_and_its_number_alone(path):
    first = source(path)[3]
    alone = source(path, "test", test_slices="3")[0]
    other = source(path, seed=1)[3]
    for one, two, changed in zip(first[:2], alone, other):
        assert one.tobytes() == two.tobytes() != changed.tobytes()


def test_images_are_cut_and_filled_to_a_size_and_the_readout_may_be_twice_as_long(path):
    sample = source(path, height=20, width=30, readout_oversampling=True, receiver_noise=0.0)[0]
    assert sample.kspace.shape == (8, 40, 30) and sample.reference.shape == (20, 30)
    assert np.abs(sample.reference[:, :3]).max() < 1e-5 < np.abs(sample.reference[:, 3]).max()


def test_given_maps_take_the_place_of_simulated_ones(path, tmp_path):
    maps = source(path, num_coils=3)[0].sensitivity_maps
    maps[:, :4] = 0
    np.save(tmp_path / "maps.npy", 2 * maps)
    given = source(path, sensitivity_path=str(tmp_path / "maps.npy"))
    sample = given[1]
    np.testing.assert_allclose(sample.sensitivity_maps, maps, atol=1e-6)
    assert given.shape(1) == (3, HEIGHT, WIDTH) and not sample.reference[:4].any()
    assert given.maps_origin == "from maps.npy (real magnitude images, given coils)"
    text = f"maps.npy: coil maps must have the size of k-space, {HEIGHT} x 20. Received: 32 x 24"
    with pytest.raises(ValueError, match=text):
        source(path, sensitivity_path=str(tmp_path / "maps.npy"), width=20)[0]


def test_it_says_what_it_is(path):
    settings = {"data": {"format": "images", "path": str(path)}}
    words = "simulated (real magnitude images, simulated coils)"
    assert data.maps_origin(config.load(settings=settings)) == words


def test_slices_are_chosen_and_those_that_train_do_not_test(path):
    chosen = {"data": dict(format="images", path=str(path), train_slices="0-2", test_slices="4")}
    assert data.check(config.load(settings=chosen)) == 4
    chosen["data"]["test_slices"] = "2,4"
    with pytest.raises(ValueError, match="Received: 1 in both.* Change data.train_slices or data"):
        data.check(config.load(settings=chosen))
    chosen["data"]["test_slices"] = "3"
    with pytest.warns(DataWarning, match="1 slices to test on lie beside .*heads/slice3"):
        data.check(config.load(settings=chosen))
    chosen["data"]["test_slices"] = "7"
    with pytest.raises(ValueError, match="data.test_slices must name slices of .* which holds 5"):
        data.check(config.load(settings=chosen))


def test_a_folder_of_files_is_counted_through_in_the_order_of_names(path, volume, tmp_path):
    np.save(tmp_path / "early.npy", volume[0])
    names = [source(tmp_path).name(number) for number in range(6)]
    assert names[:2] == ["early/slice0", "heads/slice0"] and names[-1] == "heads/slice4"


def test_nifti_counts_its_slices_along_the_last_axis(volume, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / "head.nii.gz"
    turned = np.moveaxis(volume, 0, 2)[..., None]
    nibabel.save(nibabel.Nifti1Image(turned.astype(np.int16), np.eye(4)), path)
    (stack,) = image_files.stacks(path)
    assert stack.shape == volume.shape and stack.name == "head"
    np.testing.assert_allclose(stack.image(3), volume[3] / volume[3].max(), atol=1e-6)


def write_dicom(path, image, number, series="1.2.3"):
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
    meta.MediaStorageSOPInstanceUID = f"{series}.{number}"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    found = pydicom.dataset.FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    found.Rows, found.Columns = image.shape
    found.BitsAllocated = found.BitsStored = 16
    found.HighBit, found.PixelRepresentation, found.SamplesPerPixel = 15, 0, 1
    found.PhotometricInterpretation = "MONOCHROME2"
    found.InstanceNumber, found.SeriesInstanceUID = number, series
    found.PixelData = image.tobytes()
    found.save_as(path, enforce_file_format=True)


def test_dicom_files_of_a_series_are_sorted_by_their_numbers(volume, tmp_path):
    pytest.importorskip("pydicom")
    folder = tmp_path / "series"
    folder.mkdir()
    for name, number in (("a", 2), ("b", 0), ("c", 1)):
        write_dicom(folder / f"{name}.dcm", volume[number], number + 1)
    (stack,) = image_files.stacks(folder)
    assert stack.shape == (3, HEIGHT, WIDTH) and stack.name == "series"
    for number in range(3):
        expected = volume[number] / volume[number].max()
        np.testing.assert_allclose(stack.image(number), expected, atol=1e-6)
    write_dicom(folder / "d.dcm", volume[3], 4, "1.2.4")
    with pytest.raises(ValueError, match="DICOM files of one series. Received: 2 in .*series"):
        image_files.stacks(folder)


def test_compressed_dicom_without_its_library_is_told(volume, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    path = tmp_path / "packed.dcm"
    write_dicom(path, volume[0], 1)
    found = pydicom.dcmread(path)
    found.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLSLossless
    found.PixelData = pydicom.encaps.encapsulate([b"packed"])
    found["PixelData"].is_undefined_length = True
    found.save_as(path)
    with pytest.raises(ValueError, match="packed.dcm: its images are compressed .JPEG-LS"):
        image_files.stacks(path)[0].image(0)


@pytest.mark.parametrize("name, package", [("a.nii", "nibabel"), ("a.dcm", "pydicom")])
def test_a_missing_package_is_named_with_another_way(tmp_path, monkeypatch, name, package):
    (tmp_path / name).write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=f"need the package {package}, .* to a .npz file"):
        len(image_files.stacks(tmp_path / name)[0])


@pytest.mark.parametrize(
    "images, message",
    [
        (np.full((2, 20, 20), 1j), "Received: complex128 array .* write the absolute values"),
        (-np.ones((2, 20, 20)), "Received: NaN, infinite or negative numbers in slice 0"),
        (np.full((2, 20, 20), np.nan), "Received: NaN, infinite or negative numbers in slice 0"),
        (np.zeros((2, 20, 20)), "slice 0 is zero everywhere"),
        (np.ones((2, 2, 20, 20)), "three axes, .* Received: an array of shape .2, 2, 20, 20."),
    ],
)
def test_what_is_no_magnitude_is_refused(tmp_path, images, message):
    np.save(tmp_path / "bad.npy", images)
    with pytest.raises(ValueError, match=f"bad.npy: .*{message}"):
        source(tmp_path / "bad.npy")[0]


def test_files_that_hold_no_images_are_named(tmp_path, volume):
    with pytest.raises(ValueError, match="files that end in .npz.* a folder without any"):
        source(tmp_path)
    (tmp_path / "image.png").write_bytes(b"png")
    with pytest.raises(ValueError, match="files that end in .* Received: .*image.png"):
        source(tmp_path / "image.png")
    cut = tmp_path / "cut.npz"
    np.savez(cut, volume=volume)
    cut.write_bytes(cut.read_bytes()[:300])
    with pytest.raises(ValueError, match=re.escape(str(cut))):
        source(cut)
    np.savez(tmp_path / "two.npz", a=volume, b=volume)
    with pytest.raises(ValueError, match="two.npz: expected an array named images or volume or"):
        source(tmp_path / "two.npz")
    assert len(source(tmp_path / "two.npz", array="b")) == 5


def test_a_damaged_file_is_named_by_the_check_before_a_training(path, tmp_path):
    np.save(tmp_path / "late.npy", np.full((2, HEIGHT, WIDTH), -1.0))
    settings = {"data": dict(format="images", path=str(tmp_path), train_slices="0-3,6")}
    settings["data"]["test_slices"] = "4"
    with pytest.raises(
        ValueError, match="(?s)1 of 6 slices cannot be used:.*late.npy: images must be"
    ):
        data.check(config.load(settings=settings))


def test_the_real_images_of_hearts_and_heads_are_read(shared_data):
    hearts = source(shared_data("cardiac_slices.npz"), train_slices="0-79", height=128, width=128)
    assert len(hearts) == 80 and hearts[79].kspace.shape == (8, 128, 128)
    heads = source(shared_data("brain_t1_volume.npz"), slice_axis=2, train_slices="90")
    assert heads[0].kspace.shape == (8, 181, 217) and heads.name(0) == "brain_t1_volume/slice90"
