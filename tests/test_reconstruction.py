"""What `reconstruct` says of its input: where maps come from, and whether scan and network belong
together.
"""

import h5py
import numpy as np
import pytest

from tfvn.config import load
from tfvn.data import DataWarning, SyntheticKnee
from tfvn.models.variational import VariationalNetwork
from tfvn.physics import masks
from tfvn.runs import trained_on
from tfvn.tools import reconstruction

HEIGHT, WIDTH = 32, 24
MASK = masks.equispaced(WIDTH, 4, 0.25)


@pytest.fixture
def scan(tmp_path, monkeypatch):
    """A fully sampled scan `scan.h5`, `mask.npy`, and `run` with a network that was trained on such
    a mask.
    """
    monkeypatch.chdir(tmp_path)
    with h5py.File("scan.h5", "w") as file:
        file["kspace"] = SyntheticKnee(1, HEIGHT, WIDTH, 3, None, 0.001, 7)[0].kspace
    np.save("mask.npy", MASK)
    (tmp_path / "run").mkdir()
    VariationalNetwork(1, 3, 3, 5).save("run/model.keras")
    trained_on.write(
        "run",
        load(
            settings={
                "data.height": HEIGHT,
                "data.width": WIDTH,
                "data.num_coils": 3,
                "data.num_train": 3,
                "sampling.mask": "equispaced",
                "sampling.center_fraction": 0.25,
            }
        ),
    )
    return load(
        settings={
            "data.format": "measurement",
            "data.path": "scan.h5",
            "sampling.mask": "file",
            "sampling.path": "mask.npy",
        }
    )


def attributes():
    with h5py.File("out.h5") as file:
        return dict(file.attrs)


@pytest.mark.slow_cases
@pytest.mark.parametrize("model", ["run", "run/model.keras"])
def test_a_scan_that_does_not_fit_the_network_is_told_with_numbers(scan, model):
    with pytest.warns(
        DataWarning,
        match="scan.h5, slice 0: the network was trained with 46% .* of the scan 100% is",
    ):
        reconstruction.write(model, scan.changed({"sampling.mask": "measured"}), "all", ["out.h5"])
    # One that does is no reason for words: warnings are errors here.
    reconstruction.write(model, scan, "all", ["out.h5"], overwrite=True)


def test_of_several_slices_the_middle_one_is_compared(scan):
    source = SyntheticKnee(3, HEIGHT, WIDTH, 3, None, 0.001, 7)
    with h5py.File("slices.h5", "w") as file:
        file["kspace"] = np.stack([source[index].kspace for index in range(3)])
    several = scan.changed({"data.path": "slices.h5", "sampling.mask": "measured"})
    with pytest.warns(DataWarning) as told:
        reconstruction.write("run", several, "all", ["out.h5"])
    assert ["slices.h5, slice 1: " in str(item.message) for item in told] == [True]


MAPS = {
    "measured": (dict(), "measured", "estimated from 6 centre lines, all measured"),
    "lines": (
        {"data.calibration_lines": 5},
        "measured",
        "estimated from 5 centre lines, all measured",
    ),
    "fully sampled": (
        {"data.maps_from": "fully-sampled"},
        "fully-sampled",
        "estimated from 24 centre lines of the fully sampled scan, before the mask",
    ),
    "ESPIRiT": (
        {"data.maps": "espirit", "data.maps_from": "fully-sampled"},
        "fully-sampled",
        "estimated by ESPIRiT from 24 centre lines of the fully sampled scan, before the mask",
    ),
    "file": (
        {"data.sensitivity_path": "maps.npy"},
        "file",
        "from maps.npy, which may know what the mask removes",
    ),
}


@pytest.mark.slow_cases
@pytest.mark.parametrize("change, key, words", MAPS.values(), ids=MAPS)
def test_where_maps_come_from_is_printed_and_kept(scan, capsys, change, key, words):
    np.save("maps.npy", SyntheticKnee(1, HEIGHT, WIDTH, 3, None, 0.001, 7)[0].sensitivity_maps)
    reconstruction.write("run", scan.changed(change), "all", ["out.h5"])
    assert f"coil maps: {words}" in capsys.readouterr().out
    found = attributes()
    assert (found["maps_from"], found["sensitivity_maps"]) == (key, words)


@pytest.mark.parametrize(
    "shape, words",
    [
        ((1, 3), "1 slice of 3 coils"),
        ((3, 1), "3 slices of 1 coil"),
        ((1, 1), "1 slice of 1 coil,"),
    ],
)
def test_one_is_not_several(scan, capsys, shape, words):
    kspace = SyntheticKnee(1, HEIGHT, WIDTH, 3, None, 0.001, 7)[0].kspace
    with h5py.File("scan.h5", "w") as file:
        file["kspace"] = kspace[: np.prod(shape)].reshape(*shape, HEIGHT, WIDTH)
    reconstruction.write("run", scan, "0", ["out.h5"])
    assert words in capsys.readouterr().out


def test_what_the_mask_removes_is_not_in_the_images(scan):
    images = []
    for factor in (1, 5):
        kspace = SyntheticKnee(1, HEIGHT, WIDTH, 3, None, 0.001, 7)[0].kspace
        with h5py.File("scan.h5", "w") as file:
            file["kspace"] = np.where(MASK > 0, kspace, factor * kspace)
        reconstruction.write("run", scan, "all", ["out.h5"], overwrite=True)
        with h5py.File("out.h5") as file:
            images.append(file["reconstruction"][()])
    np.testing.assert_array_equal(*images)
