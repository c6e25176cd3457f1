"""Axes that could be others: what an HDF5 file says of itself decides, or the scan is refused, or a
word is said.
"""

import h5py
import numpy as np
import pytest

from tfvn.data import DataWarning, Measurement, SyntheticKnee
from tfvn.data.scan_file import scan_shape

HEIGHT, WIDTH = 40, 32
IMAGES = (5, 5)


@pytest.fixture(scope="module")
def kspace():
    """(slices, coils, height, width): 3 slices of 2 coils."""
    source = SyntheticKnee(3, HEIGHT, WIDTH, 2, None, 0.001, 0)
    return np.stack([source[index].kspace for index in range(3)])


@pytest.fixture(scope="module")
def slices():
    """(6, height, width): slices of one coil."""
    source = SyntheticKnee(6, HEIGHT, WIDTH, 1, None, 0.001, 0)
    return np.stack([source[index].kspace[0] for index in range(6)])


@pytest.fixture(scope="module")
def coils():
    """(6, height, width): coils of one slice."""
    return SyntheticKnee(1, HEIGHT, WIDTH, 6, None, 0.001, 0)[0].kspace


def header(channels=None, slices=None):
    text = '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
    if channels is not None:
        receivers = f"<receiverChannels>{channels}</receiverChannels>"
        text += f"<acquisitionSystemInformation>{receivers}</acquisitionSystemInformation>"
    if slices is not None:
        limits = (
            f"<slice><minimum>0</minimum><maximum>{slices - 1}</maximum><center>0</center></slice>"
        )
        text += f"<encoding><encodingLimits>{limits}</encodingLimits></encoding>"
    return text + "</ismrmrdHeader>"


def write(path, kspace, attributes=None, group="", **arrays):
    with h5py.File(path, "w") as file:
        folder = file.require_group(group or "/")
        for name, array in {"kspace": kspace, **arrays}.items():
            folder[name] = array
        folder.attrs.update(attributes or {})
    return path


# What says of (6, height, width) that these are slices of one coil.
SLICES = {
    "fastMRI, training": dict(
        reconstruction_esc=np.ones((6, *IMAGES)),
        reconstruction_rss=np.ones((6, *IMAGES)),
        ismrmrd_header=header(15, 36),
        attributes=dict(acquisition="CORPD_FBK", max=1.0, norm=2.0, patient_id="0"),
    ),
    "fastMRI, test": dict(
        ismrmrd_header=header(1, 6), mask=np.ones(WIDTH), attributes=dict(acquisition="CORPD_FBK")
    ),
    "reconstruction_esc": dict(reconstruction_esc=np.ones((6, *IMAGES)), ismrmrd_header="<xml/>"),
    "reconstruction_esc and a header of as many channels": dict(
        reconstruction_esc=np.ones((6, *IMAGES)), ismrmrd_header=header(6)
    ),
    "reconstruction_rss": dict(reconstruction_rss=np.ones((6, *IMAGES))),
    "reference": dict(reference=np.ones((6, HEIGHT, WIDTH))),
    "one channel": dict(ismrmrd_header=header(1)),
    "acquisition": dict(attributes=dict(acquisition="CORPD_FBK")),
    "max and norm": dict(attributes=dict(max=1.0, norm=2.0)),
    "acquisition and another number of channels": dict(
        ismrmrd_header=header(15), attributes=dict(acquisition="CORPD_FBK")
    ),
    "slices of the header": dict(ismrmrd_header=header(15, 6)),
    "in a group": dict(group="scan", reconstruction_esc=np.ones((6, *IMAGES))),
}


@pytest.mark.parametrize("said", SLICES.values(), ids=SLICES)
def test_slices_of_one_coil_are_read_as_such_where_the_file_says_so(tmp_path, slices, said):
    path = write(tmp_path / "scan.h5", slices, **said)
    assert scan_shape(path) == (6, 1, HEIGHT, WIDTH)
    for index in (0, 5):
        np.testing.assert_array_equal(
            Measurement(path, slice_index=index)[0].kspace, slices[index : index + 1]
        )


# What says that they are coils, and what says nothing.
COILS = {
    "nothing": {},
    "a single image": dict(reconstruction_rss=np.ones((1, *IMAGES))),
    "an image": dict(reconstruction=np.ones(IMAGES)),
    "maps": dict(sensitivity_maps=np.ones((6, HEIGHT, WIDTH), complex)),
    "channels": dict(ismrmrd_header=header(6)),
    "channels, one of many slices": dict(ismrmrd_header=header(6, 36)),
    "a broken header": dict(ismrmrd_header="<receiverChannels>1</receiver"),
    "a header of numbers": dict(ismrmrd_header=np.arange(3)),
    "an empty header": dict(ismrmrd_header=h5py.Empty("f8")),
    "entities": dict(
        ismrmrd_header='<!DOCTYPE x [<!ENTITY a "1">]><receiverChannels>&a;</receiverChannels>'
    ),
    "a huge number": dict(ismrmrd_header=header("9" * 5000)),
    "other arrays": dict(mask=np.ones(6), phase=np.ones((6, 3))),
    "other attributes": dict(attributes=dict(max=1.0, date="2026-11-25")),
}


@pytest.mark.parametrize("said", COILS.values(), ids=COILS)
def test_coils_stay_coils_where_the_file_says_so_or_nothing(tmp_path, coils, said):
    path = write(tmp_path / "scan.h5", coils, **said)
    assert scan_shape(path) == (1, 6, HEIGHT, WIDTH)
    np.testing.assert_array_equal(Measurement(path)[0].kspace, coils)


REFUSED = {
    "another number of channels": dict(ismrmrd_header=header(15)),
    "channels and acquisition": dict(ismrmrd_header=header(6), attributes=dict(acquisition="AXT2")),
    "maps and a reconstruction of each": dict(
        sensitivity_maps=np.ones((6, HEIGHT, WIDTH), complex),
        reconstruction_rss=np.ones((6, *IMAGES)),
    ),
}


@pytest.mark.parametrize("said", REFUSED.values(), ids=REFUSED)
def test_a_file_that_contradicts_itself_is_refused_until_the_axis_is_given(tmp_path, coils, said):
    path = write(tmp_path / "scan.h5", coils, **said)
    with pytest.raises(
        ValueError,
        match=r"scan.h5: .* ambiguous.*axis 0 of shape \(6, 40, 32\); but .*coil_axis.* or to -2",
    ):
        Measurement(path)[0]
    with pytest.raises(ValueError, match="ambiguous"):
        scan_shape(path)


def test_an_axis_that_is_given_wins_with_a_word_where_the_file_says_otherwise(tmp_path, slices):
    path = write(tmp_path / "scan.h5", slices, **SLICES["reconstruction_esc"])
    with pytest.warns(
        DataWarning, match="scan.h5: axis 0 of shape .* as data.coil_axis says; but recon"
    ):
        assert scan_shape(path, coil_axis=0) == (1, 6, HEIGHT, WIDTH)
    assert scan_shape(path, coil_axis=-2) == (6, 1, HEIGHT, WIDTH)
    path = write(tmp_path / "coils.h5", slices, **COILS["maps"])
    with pytest.warns(
        DataWarning, match="no axis of shape .* but sensitivity_maps beside it holds 6 coils"
    ):
        assert scan_shape(path, coil_axis=-2) == (6, 1, HEIGHT, WIDTH)
    assert scan_shape(path, coil_axis=0) == (1, 6, HEIGHT, WIDTH)


def test_more_coils_than_lines_are_told(tmp_path, coils):
    np.save(tmp_path / "scan.npy", np.concatenate([coils, coils], 0))
    with pytest.warns(
        DataWarning,
        match=r"axis 2 of shape \(12, 40, 32\) .* says: 32 coils, and images of 12 x 40",
    ):
        scan_shape(tmp_path / "scan.npy", coil_axis=2)
    assert scan_shape(tmp_path / "scan.npy", coil_axis=0) == (1, 12, HEIGHT, WIDTH)


def test_more_slices_than_lines_are_slices_where_the_file_says_so(tmp_path):
    volume = np.ones((50, HEIGHT, WIDTH), complex)
    assert scan_shape(write(tmp_path / "a.h5", volume, **SLICES["acquisition"])) == (
        50,
        1,
        HEIGHT,
        WIDTH,
    )
    with pytest.raises(ValueError, match="ambiguous"):
        scan_shape(write(tmp_path / "b.h5", volume))


@pytest.mark.parametrize("suffix", [".npy", ".mat"])
def test_that_there_is_no_axis_of_coils_can_be_said_of_any_file(tmp_path, slices, suffix):
    from tfvn.data.mat_files import write_mat

    path = tmp_path / f"scan{suffix}"
    if suffix == ".npy":
        np.save(path, slices)
    else:
        write_mat(path, {"kspace": np.moveaxis(slices, 0, -1)})
    assert scan_shape(path, coil_axis=-2) == (6, 1, HEIGHT, WIDTH)
    sample = Measurement(path, coil_axis=-2, slice_index=4)[0]
    np.testing.assert_array_equal(sample.kspace, slices[4:5])


ORDERED = {
    "nothing": {},
    "images": dict(reconstruction_rss=np.ones((3, *IMAGES))),
    "channels": dict(ismrmrd_header=header(2)),
    "combined coils": dict(ismrmrd_header=header(15)),
    "a single coil's channel": dict(ismrmrd_header=header(1)),
    "fastMRI": dict(
        ismrmrd_header=header(2, 3),
        reconstruction_rss=np.ones((3, *IMAGES)),
        attributes=dict(acquisition="AXT2"),
    ),
}
EXCHANGED = {
    "images": dict(reconstruction_rss=np.ones((3, *IMAGES))),
    "images and a header of as many": dict(
        reconstruction_rss=np.ones((3, *IMAGES)), ismrmrd_header=header(3)
    ),
    "channels": dict(ismrmrd_header=header(2)),
    "slices": dict(ismrmrd_header=header(15, 3)),
    "maps": dict(sensitivity_maps=np.ones((2, HEIGHT, WIDTH), complex)),
}


@pytest.mark.parametrize("said", ORDERED.values(), ids=ORDERED)
def test_four_axes_follow_the_rule_where_nothing_speaks_against_it(tmp_path, kspace, said):
    path = write(tmp_path / "scan.h5", kspace, **said)
    assert scan_shape(path) == (3, 2, HEIGHT, WIDTH)


@pytest.mark.parametrize("said", EXCHANGED.values(), ids=EXCHANGED)
def test_coils_before_slices_are_refused_where_the_file_tells(tmp_path, kspace, said):
    path = write(tmp_path / "scan.h5", kspace.swapaxes(0, 1), **said)
    with pytest.raises(
        ValueError, match=r"scan.h5: .*ambiguous.*axis 1 of shape \(2, 3, 40, 32\); but .*coil_axis"
    ):
        scan_shape(path)
    assert scan_shape(path, coil_axis=0) == (3, 2, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    "array, message",
    [
        (
            np.ones((2, 320), complex),
            "height and width of an image are 8 or more. Received: 2, of shape",
        ),
        (
            np.ones((320, 2), complex),
            "height and width of an image are 8 or more. Received: 2, of shape",
        ),
        (
            np.ones((3, 320, 4), complex),
            "height and width of an image are 8 or more. Received: 4, of shape",
        ),
        (np.ones((40, 32, 2)), "no negative number in an array of float64. Are these magnitudes"),
        (
            np.ones((40, 32, 2), np.uint16),
            "no negative number in an array of uint16. Are these magnitudes",
        ),
        (
            np.ones((2, 40, 32)),
            (
                r"real with a last axis of \(real, imaginary\). Received: float64 array of shape"
                r" \(2, 40, 32\)"
            ),
        ),
    ],
)
def test_arrays_of_two_are_not_guessed(tmp_path, array, message):
    np.save(tmp_path / "scan.npy", array)
    with pytest.raises(ValueError, match=f"scan.npy: .*{message}"):
        Measurement(tmp_path / "scan.npy")[0]


def test_the_phantom_in_fastmri_layout_is_one_slice_of_two_coils(shared_data):
    path = shared_data("phantom_2ch_gre_fastmri.h5")
    assert scan_shape(path) == (1, 2, 320, 160)
    assert Measurement(path, readout_oversampling=True)[0].reference.shape == (160, 160)
