"""Raw scans of ISMRMRD: what is sorted, chosen and refused."""

import re

import h5py
import numpy as np
import pytest
from volumes import HEADER, knees

from tfvn import config, data
from tfvn.data import ISMRMRDFormat, mask_choice
from tfvn.data.acquisitions import COUNTERS
from tfvn.data.fastmri import FastMRIVolume
from tfvn.data.ismrmrd import ISMRMRDVolume
from tfvn.data.sample import ifft2c
from tfvn.data.whitening import whitening

COILS, HEIGHT, WIDTH = 3, 48, 32
NOISE, CALIBRATION, BOTH, REVERSED, NAVIGATION = 19, 20, 21, 22, 23
COUNTED = ["kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast"]
COUNTED += ["phase", "repetition", "set", "segment"]
HEAD = np.dtype(
    [("version", "u2"), ("flags", "u8"), ("scan_counter", "u4"), ("number_of_samples", "u2")]
    + [("active_channels", "u2"), ("discard_pre", "u2"), ("discard_post", "u2")]
    + [("center_sample", "u2"), ("encoding_space_ref", "u2"), ("trajectory_dimensions", "u2")]
    + [("idx", [(name, "u2") for name in COUNTED])]
)
SAMPLES = h5py.vlen_dtype(np.float32)


@pytest.fixture(scope="module")
def kspace():
    return knees(2, COILS, HEIGHT, WIDTH)


def line(samples, flags=(), center=None, before=0, after=0, encoding=0, **counters):
    """One acquisition of complex samples (coils, samples)."""
    head = np.zeros((), HEAD)
    head["flags"] = sum(1 << (flag - 1) for flag in flags)
    head["active_channels"], head["number_of_samples"] = samples.shape
    head["center_sample"] = samples.shape[1] // 2 if center is None else center
    head["discard_pre"], head["discard_post"] = before, after
    head["encoding_space_ref"] = encoding
    for name, value in counters.items():
        head["idx"][name] = value
    return head, samples


def lines_of(kspace, **options):
    """The acquisitions of all lines of all slices."""
    found = []
    for number, image in enumerate(kspace):
        for column in range(image.shape[-1]):
            counters = dict(slice=number, kspace_encode_step_1=column)
            found.append(line(image[:, :, column], **{**counters, **options}))
    return found


def write(path, acquisitions, trajectory="cartesian", depth=1, group="dataset", mode="w"):
    text = HEADER.format(
        height=HEIGHT, width=WIDTH, rows=HEIGHT // 2, last=WIDTH - 1, center=WIDTH // 2
    )
    text = text.replace("cartesian", trajectory).replace("<z>1", f"<z>{depth}")
    table = np.empty(len(acquisitions), [("head", HEAD), ("traj", SAMPLES), ("data", SAMPLES)])
    for number, (head, samples) in enumerate(acquisitions):
        pairs = np.ascontiguousarray(samples, np.complex64).view(np.float32)
        table[number] = (head, np.zeros(0, np.float32), pairs.ravel())
    with h5py.File(path, mode) as file:
        file[f"{group}/data"] = table
        file.create_dataset(f"{group}/xml", data=[text], dtype=h5py.string_dtype())
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scan.h5"


def test_lines_in_any_order_are_sorted_by_their_counters(path, kspace):
    acquisitions = lines_of(kspace)
    order = np.random.default_rng(0).permutation(len(acquisitions))
    write(path, [acquisitions[number] for number in order])
    volume = ISMRMRDVolume(path)
    assert volume.shape == kspace.shape and volume.mask is None
    for number in range(2):
        assert volume.kspace(number).tobytes() == kspace[number].tobytes()


def test_a_folder_of_scans_gives_slices_with_maps_and_reference(path, kspace):
    write(path, lines_of(kspace))
    mask = mask_choice.FastMRI("equispaced", (3.0,), (0.2,))
    source = ISMRMRDFormat(path.parent, mask=mask, readout_oversampling=True).source("test")
    assert [source.name(index) for index in range(2)] == ["scan/slice0", "scan/slice1"]
    sample = source[1]
    assert sample.reference.shape == (HEIGHT // 2, WIDTH) and np.isfinite(sample.reference).all()
    np.testing.assert_array_equal(sample.kspace, kspace[1] * sample.mask)


def test_the_ismrmrd_and_the_fastmri_phantom_are_one_scan_bit_for_bit(shared_data):
    raw = ISMRMRDVolume(shared_data("phantom_2ch_gre_ismrmrd.h5"))
    volume = FastMRIVolume(shared_data("phantom_2ch_gre_fastmri.h5"))
    assert raw.shape == volume.shape
    assert raw.kspace(0).tobytes() == volume.kspace(0).tobytes()


@pytest.mark.parametrize("name", ["contrast", "phase", "repetition", "set", "encoding"])
def test_what_is_there_twice_is_chosen_and_never_mixed(path, kspace, name):
    option = dict(encoding=1) if name == "encoding" else {name: 1}
    acquisitions = lines_of(kspace[:1]) + lines_of(2 * kspace[1:], **{"slice": 0, **option})
    text = f"the scan holds several values of {name}, which are not mixed: 0, 1. Choose one by"
    write(path, acquisitions)
    with pytest.raises(ValueError, match=f"{text} data.{name}."):
        ISMRMRDVolume(path)
    first = ISMRMRDVolume(path, counters={name: "0"})
    np.testing.assert_array_equal(first.kspace(0), kspace[0])
    if name != "encoding":
        second = ISMRMRDVolume(path, counters={name: "1"})
        np.testing.assert_array_equal(second.kspace(0), 2 * kspace[1])
        assert first.settings != second.settings
    with pytest.raises(ValueError, match=f"one that the scan holds: 0, 1. Received: data.{name}=7"):
        ISMRMRDVolume(path, counters={name: "7"})


@pytest.mark.parametrize("name", ["average", "repetition"])
def test_repeated_lines_are_averaged_where_it_is_asked(path, kspace, name):
    acquisitions = lines_of(kspace[:1]) + lines_of(kspace[1:], **{"slice": 0, name: 1})
    write(path, acquisitions)
    volume = ISMRMRDVolume(path, counters={name: "mean"})
    np.testing.assert_allclose(volume.kspace(0), kspace.mean(0), atol=1e-12)


def test_an_asymmetric_echo_and_discarded_samples_are_put_in_their_place(path, kspace):
    image = kspace[:1]
    write(path, lines_of(image[:, :, 8:], center=HEIGHT // 2 - 8, before=2, after=1))
    sorted_ = ISMRMRDVolume(path).kspace(0)
    np.testing.assert_array_equal(sorted_[:, 10:-1], image[0, :, 10:-1])
    assert not sorted_[:, :10].any() and not sorted_[:, -1].any()


def test_a_scan_that_lacks_outer_lines_or_samples_is_the_full_one_without_them(path, kspace):
    write(path, lines_of(kspace[:1, :, 8:], center=HEIGHT // 2 - 8)[6:])
    sample = ISMRMRDFormat(path.parent).source("test")[0]
    cut = np.zeros((1, HEIGHT, WIDTH))
    cut[:, 8:, 6:] = 1
    np.testing.assert_array_equal(sample.mask, cut)
    np.testing.assert_array_equal(sample.kspace, kspace[0] * cut)
    images = ifft2c(kspace[0] * cut)
    explained = (sample.sensitivity_maps.conj() * images).sum(0)
    np.testing.assert_allclose(sample.reference, explained, atol=1e-9)
    full = np.linalg.norm(ifft2c(kspace[0]), axis=0)
    assert np.linalg.norm(np.abs(sample.reference) - full) < 0.2 * np.linalg.norm(full)
    undersampled = ISMRMRDFormat(path.parent, mask=mask_choice.Equispaced(2, 0.3)).source("test")[0]
    assert undersampled.mask.sum() < 0.7 * cut.sum() and (undersampled.mask <= cut).all()
    np.testing.assert_array_equal(undersampled.reference, sample.reference)


def test_a_scan_that_lacks_a_third_of_its_samples_has_no_reference(path, kspace):
    write(path, lines_of(kspace[:1, :, 16:], center=HEIGHT // 2 - 16))
    sample = ISMRMRDFormat(path.parent).source("test")[0]
    assert sample.mask.shape == (1, HEIGHT, WIDTH) and not sample.mask[0, :16].any()
    assert np.isnan(sample.reference).all()


def test_the_phantom_with_an_asymmetric_echo_is_the_full_one_without_its_first_samples(
    path, shared_data
):
    """No such scan is at hand: it is made of the full one."""
    full = shared_data("phantom_2ch_gre_ismrmrd.h5")
    with h5py.File(full, "r") as file:
        table, text = file["dataset/data"][()], file["dataset/xml"][()]
    for row in table:
        samples = row["data"].reshape(2, 320, 2)[:, 60:]
        row["data"] = np.ascontiguousarray(samples).ravel()
        row["head"]["number_of_samples"] = 260
        row["head"]["center_sample"] -= 60
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset/data", data=table)
        file.create_dataset("dataset/xml", data=text, dtype=h5py.string_dtype())
    expected = ISMRMRDVolume(full).kspace(0)
    expected[:, :60] = 0
    assert ISMRMRDVolume(path).kspace(0).tobytes() == expected.tobytes()
    source = ISMRMRDFormat(path.parent, readout_oversampling=True).source("test")
    cut = source[0].reference
    whole = ISMRMRDVolume(full)
    images = np.linalg.norm(ifft2c(whole.kspace(0)), axis=0)[81:241]
    assert np.linalg.norm(np.abs(cut) - images) < 0.15 * np.linalg.norm(images)


def test_lines_of_no_image_are_left_out(path, kspace):
    aside = line(np.ones((COILS, 7), np.complex64), [NAVIGATION], kspace_encode_step_1=3)
    write(path, [aside, *lines_of(kspace)])
    np.testing.assert_array_equal(ISMRMRDVolume(path).kspace(0), kspace[0])


def noise_scan(rng, mixing, samples=4000):
    real, imaginary = rng.standard_normal((2, COILS, samples))
    return (mixing @ (real + 1j * imaginary)).astype(np.complex64)


def test_a_noise_scan_makes_the_noise_of_the_coils_white(path, kspace):
    rng = np.random.default_rng(1)
    mixing = np.eye(COILS) + 0.5 * rng.standard_normal((COILS, COILS))
    noise = line(noise_scan(rng, mixing), [NOISE])
    write(path, [noise, *lines_of(kspace)])
    volume = ISMRMRDVolume(path)
    matrix = whitening(noise[1])
    np.testing.assert_allclose(
        volume.kspace(1), np.einsum("ij,jhw->ihw", matrix, kspace[1]), rtol=1e-4, atol=1e-9
    )
    covariance = np.cov(matrix @ noise_scan(rng, mixing, 40_000))
    mean = np.trace(covariance).real / COILS
    np.testing.assert_allclose(covariance / mean, np.eye(COILS), atol=0.1)
    assert mean == pytest.approx(np.trace(np.cov(noise[1])).real / COILS, rel=0.1)
    plain = ISMRMRDVolume(path, prewhiten=False)
    np.testing.assert_array_equal(plain.kspace(1), kspace[1])


@pytest.mark.parametrize("samples, message", [(3, "at least 6 samples"), (50, "independent")])
def test_a_noise_scan_that_says_too_little_is_refused(path, kspace, samples, message):
    write(path, [line(np.ones((COILS, samples)), [NOISE]), *lines_of(kspace)])
    with pytest.raises(ValueError, match=f"scan.h5: .*{message}.* data.prewhiten to false"):
        ISMRMRDVolume(path)


def accelerated(kspace, flags):
    """Every third line, and the lines 12 to 19 with these flags for those that are others."""
    found = []
    for head, samples in lines_of(kspace):
        column = head["idx"]["kspace_encode_step_1"]
        if column % 3 == 1:
            found.append((head, samples))
        elif 12 <= column < 20:
            head["flags"] = sum(1 << (flag - 1) for flag in flags)
            found.append((head, samples))
    return found


def test_calibration_lines_in_the_gaps_belong_to_the_image(path, kspace):
    write(path, accelerated(kspace[:1], [CALIBRATION]))
    volume = ISMRMRDVolume(path)
    assert volume.calibration(0) is None
    columns = np.flatnonzero(volume.kspace(0).any((0, 1)))
    assert set(columns) == set(range(1, WIDTH, 3)) | set(range(12, 20))


def test_calibration_lines_of_their_own_give_the_maps_alone(path, kspace):
    apart = lines_of(3 * kspace[:1], flags=[CALIBRATION])[8:24]
    image = lines_of(kspace[:1])[1::3]
    write(path, [*apart, *image])
    volume = ISMRMRDVolume(path)
    np.testing.assert_array_equal(volume.kspace(0)[..., 1::3], kspace[0][..., 1::3])
    np.testing.assert_array_equal(volume.calibration(0)[..., 8:24], 3 * kspace[0][..., 8:24])
    sample = ISMRMRDFormat(path.parent).source("test")[0]
    assert sample.mask.sum() == len(image) and np.isnan(sample.reference).all()
    images = ifft2c(kspace[0])
    combined = (sample.sensitivity_maps.conj() * images).sum(0)
    share = np.linalg.norm(images - sample.sensitivity_maps * combined) / np.linalg.norm(images)
    assert share < 0.2


def without(acquisitions, number):
    return acquisitions[:number] + acquisitions[number + 1 :]


def changed(acquisitions, number, **values):
    """One acquisition with another head."""
    head, samples = acquisitions[number]
    head = head.copy()
    for name, value in values.items():
        head[name] = value
    return [*acquisitions[:number], (head, samples), *acquisitions[number + 1 :]]


def shortened(acquisitions, number):
    """One acquisition with fewer samples than its head says."""
    head, samples = acquisitions[number]
    return [*acquisitions[:number], (head, samples[:, :40]), *acquisitions[number + 1 :]]


FAULTS = [
    (lambda found: without(found, 17), "slice 0 without 1 of 32: 17. Copy the file again"),
    (lambda found: found + found[5:6], "line 5 of slice 0 2 times, with the same counters"),
    (lambda found: found[:0], "no acquisition of an image"),
    (lambda found: found[32:], "no line of slice 0, and 2 slices in all"),
    (lambda found: changed(found, 3, active_channels=2), "the same coils. .* of 2 and of 3 coils"),
    (lambda found: shortened(found, 3), "240 numbers in acquisition 3 of 3 coils and 48 complex"),
    (lambda found: changed(found, 3, center_sample=20), "all lines must have the same samples"),
    (lambda found: changed(found, 3, flags=1 << 21), "must all be read in one direction"),
    (lambda found: changed(found, 3, flags=1 << 52), "its acquisitions are compressed"),
]


@pytest.mark.parametrize("fault, message", FAULTS)
def test_acquisitions_that_make_no_image_are_refused(path, kspace, fault, message):
    write(path, fault(lines_of(kspace)))
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: .*{message}"):
        ISMRMRDVolume(path).kspace(0)


def test_a_line_that_the_header_does_not_have_is_refused(path, kspace):
    found = lines_of(kspace)
    found[4][0]["idx"]["kspace_encode_step_1"] = 40
    write(path, found)
    with pytest.raises(ValueError, match="32 lines with their centre at 16 .* of line 40"):
        ISMRMRDVolume(path)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(trajectory="spiral"), "only Cartesian scans are read. Received: the trajectory spir"),
        (dict(depth=8), "only two-dimensional scans are read. Received: a third encoded dimension"),
        (dict(trajectory="<x/>"), "the header must tell|the trajectory"),
    ],
)
def test_other_kinds_of_scans_are_refused_by_name(path, kspace, options, message):
    write(path, lines_of(kspace), **options)
    with pytest.raises(ValueError, match=message):
        ISMRMRDVolume(path)


def test_a_header_of_a_size_that_no_file_holds_is_refused(path, kspace):
    write(path, lines_of(kspace[:1]))
    with h5py.File(path, "r+") as file:
        text = file["dataset/xml"][0].decode()
        file["dataset/xml"][0] = text.replace("<y>32", "<y>999999")
    with pytest.raises(ValueError, match="scan.h5: .*a slice"):
        ISMRMRDVolume(path)


def test_a_file_of_several_scans_asks_for_the_group(path, kspace):
    write(path, lines_of(kspace), group="first")
    write(path, lines_of(2 * kspace), group="second", mode="a")
    with pytest.raises(ValueError, match="Received: first, second. Name the one .* data.group"):
        ISMRMRDVolume(path)
    np.testing.assert_array_equal(ISMRMRDVolume(path, "second").kspace(0), 2 * kspace[0])


def test_a_file_that_holds_no_acquisitions_or_is_cut_short_is_named(path, kspace):
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
    with pytest.raises(ValueError, match=f"{path}: expected one group with a table of acquisition"):
        ISMRMRDVolume(path)
    write(path, lines_of(kspace))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=f"{path} .*cut short"):
        ISMRMRDVolume(path)


def test_damaged_scans_are_named_before_a_training(path, kspace):
    for number in range(3):
        scan = knees(1, COILS, HEIGHT, WIDTH, number)
        write(path.parent / f"{number}.h5", lines_of(scan))
    words = f"data.format=ismrmrd data.path={path.parent} data.train_volumes=0-1"
    words += " data.test_volumes=2 sampling.mask=measured"
    configured = config.load(None, words.split())
    assert data.check(configured) == 3
    write(path.parent / "1.h5", lines_of(kspace[:1])[:20] + lines_of(kspace[:1])[21:])
    with pytest.raises(ValueError) as caught:
        data.check(configured)
    told = str(caught.value).splitlines()
    assert len(told) == 2 and "1.h5: a scan must hold all its lines" in told[1]


def test_every_counter_is_a_key_that_takes_a_number(tmp_path):
    for name in COUNTERS:
        assert ISMRMRDFormat(tmp_path, **{name: "3"}).training_keys.count(name) == 1
        with pytest.raises(ValueError, match=f"{name} must be a number such as 0"):
            ISMRMRDFormat(tmp_path, **{name: "all"})
    assert data.FORMATS["ismrmrd"] is ISMRMRDFormat
