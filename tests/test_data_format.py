"""What a configuration says of data and masks: limits, help, and that no file is read for it."""

import functools

import pytest

from tfvn import config, data
from tfvn.data import mask_choice
from tfvn.data.sample import mask_digest
from tfvn.physics import masks
from tfvn.settings import keys_of

REFUSED = [
    ("data", dict(height=15), "data.height must be a whole number >= 16 and <= 16384"),
    ("data", dict(width=2**15), "Received: data.width=32768"),
    ("data", dict(num_coils=0), "data.num_coils must be a whole number >= 1 and <= 1024"),
    ("data", dict(receiver_noise=-0.1), "data.receiver_noise must be a number >= 0"),
    ("data", dict(num_train=0), "data.num_train must be a whole number >= 1"),
    ("data", dict(num_test=10**7), "Received: data.num_test=10000000"),
    (
        "data",
        dict(format="vlo", train_patients="one"),
        "data.train_patients must be patients such as '1-10' or '1,3,7'",
    ),
    ("data", dict(format="vlo", test_slices="3,3"), "data.test_slices must be different numbers"),
    (
        "data",
        dict(format="vlo", train_patients="1-2000", train_slices="1-1000"),
        "data.train_slices must name at most 1000000 slices of all patients together",
    ),
    ("data", dict(format="vlo", padding_lines="none"), "Received: data.padding_lines='none'"),
    ("data", dict(format="measurement", coil_axis=-3), "data.coil_axis must be an axis"),
    ("data", dict(format="measurement", slice_index=-1), "Received: data.slice_index=-1"),
    (
        "data",
        dict(format="measurement", calibration_lines=3),
        "data.calibration_lines must be 4 or more, or 0",
    ),
    ("data", dict(format="measurement", maps_from="all"), "data.maps_from must be one of"),
    (
        "data",
        dict(format="measurement", maps_from="fully-sampled", sensitivity_path="maps.npy"),
        "Received: data.sensitivity_path='maps.npy' and data.maps_from='fully-sampled'",
    ),
    (
        "data",
        dict(format="measurement", maps=dict(method="espirit"), sensitivity_path="maps.npy"),
        "Received: data.sensitivity_path='maps.npy' and maps that are estimated by ESPIRiT",
    ),
    (
        "data",
        dict(format="vlo", maps=dict(method="espirit")),
        "data.maps must be low_resolution, as data of this format have maps and none are estimated",
    ),
    (
        "data",
        dict(format="fastmri", maps=dict(method="espirit", kernel_size=1)),
        "data.maps.kernel_size must be a whole number >= 2 and <= 12",
    ),
    (
        "data",
        dict(format="fastmri", maps=dict(method="espirit", threshold=0)),
        "data.maps.threshold must be a number > 0 and < 1",
    ),
    (
        "data",
        dict(format="fastmri", maps=dict(method="espirit", crop=1)),
        "data.maps.crop must be a number >= 0 and < 1",
    ),
    ("data", dict(format="fastmri", maps="sense"), "data.maps.method must be one of low_reso"),
    ("data", dict(format="fastmri", compressed_coils=-1), "data.compressed_coils must be a whole"),
    ("sampling", dict(fraction=0.0), "sampling.fraction must be a number > 0 and <= 1"),
    ("sampling", dict(mask="equispaced", acceleration=0.5), "sampling.acceleration must be a"),
    ("sampling", dict(mask="random", center_fraction=1.5), "Received: sampling.center_fraction"),
    ("sampling", dict(mask="fastmri", kind="radial"), "Received: sampling.kind='radial'"),
    (
        "sampling",
        dict(mask="fastmri", accelerations=[4, 8]),
        "sampling.accelerations must be a list as long as center_fractions",
    ),
    ("sampling", dict(mask="fastmri", accelerations=[0.5]), "must be a number >= 1"),
    ("sampling", dict(mask="random", seed=-1), "sampling.seed must be a whole number >= 0"),
]


@pytest.mark.parametrize("section, values, message", REFUSED)
def test_a_value_outside_its_limits_is_told_with_its_key(section, values, message):
    with pytest.raises(ValueError) as caught:
        config.load(settings={section: values})
    assert message in str(caught.value)


@pytest.mark.parametrize("name", data.FORMATS)
def test_a_format_reads_no_file_before_it_is_asked(name, monkeypatch):
    def read(*arguments):
        raise AssertionError(arguments)

    monkeypatch.setattr("builtins.open", read)
    made = data.FORMATS[name](mask=mask_choice.MaskFile("/nowhere/mask.npy"))
    assert made.has_files == (name != "synthetic")


@pytest.mark.parametrize(
    "maker", [*data.FORMATS.values(), *data.MASKS.values(), *data.MAPS.values()]
)
def test_every_key_has_its_help(maker):
    for key in keys_of(maker, without=("mask", "maps")).values():
        assert 0 < len(key.meaning) <= 160, key.name


def test_the_cache_knows_a_mask_by_its_function_and_settings():
    # As before configurations had sections: what is stored stays in use.
    known = {
        mask_choice.Constant(0.3): functools.partial(masks.constant, fraction=0.3),
        mask_choice.Equispaced(3, 0.1): functools.partial(
            masks.equispaced, acceleration=3.0, center_fraction=0.1
        ),
        mask_choice.Random(3, 0.1, 4): functools.partial(
            masks.random, acceleration=3.0, center_fraction=0.1, seed=4
        ),
        mask_choice.FastMRI("magic"): functools.partial(
            masks.fastmri, kind="magic", accelerations=(4.0,), center_fractions=(0.08,), name=""
        ),
        mask_choice.Measured(): None,
    }
    for choice, function in known.items():
        assert mask_digest(choice.read(str)) == mask_digest(function)


def test_only_the_synthetic_format_knows_its_size_without_reading():
    sizes = {name: maker().kspace_size() for name, maker in data.FORMATS.items()}
    assert sizes.pop("synthetic") == (640, 368)
    assert set(sizes.values()) == {None}


def test_slices_of_files_are_named_by_their_files(tmp_path):
    knees = data.VLOFormat(tmp_path, "pd", "1,3", "2", "4", "5-6")
    assert knees.identities("train") == [(str(tmp_path), "pd", 1, 2), (str(tmp_path), "pd", 3, 2)]
    assert [key[2:] for key in knees.identities("test")] == [(4, 5), (4, 6)]
    scan = data.MeasurementFormat(tmp_path / "scan.npy", slice_index=7)
    assert scan.identities("test") == [(str(tmp_path / "scan.npy"), "slice", 7)]
    assert data.SyntheticFormat().identities("train") == []
