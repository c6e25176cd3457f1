"""Raw files of Siemens: the same k-space as in other formats, and what is refused."""

import re
import shutil
import sys

import numpy as np
import pytest

from tfvn.data import SiemensFormat
from tfvn.data.fastmri import FastMRIVolume
from tfvn.data.ismrmrd import ISMRMRDVolume
from tfvn.data.siemens import SiemensVolume


@pytest.fixture
def twixtools():
    return pytest.importorskip("twixtools")


@pytest.fixture
def path(shared_data):
    return shared_data("phantom_2ch_gre.dat")


def test_the_three_phantoms_are_one_scan_bit_for_bit(twixtools, path, shared_data):
    volume = SiemensVolume(path)
    others = [
        ISMRMRDVolume(shared_data("phantom_2ch_gre_ismrmrd.h5")),
        FastMRIVolume(shared_data("phantom_2ch_gre_fastmri.h5")),
    ]
    for other in others:
        assert volume.shape == other.shape
        assert volume.kspace(0).tobytes() == other.kspace(0).tobytes()


def test_a_folder_of_files_gives_slices_with_maps_and_reference(
    twixtools, path, tmp_path, shared_data
):
    shutil.copy(path, tmp_path)
    sample = SiemensFormat(tmp_path, readout_oversampling=True).source("test")[0]
    assert sample.reference.shape == (160, 160) and np.isfinite(sample.reference).all()
    assert sample.mask.all()
    volume = FastMRIVolume(shared_data("phantom_2ch_gre_fastmri.h5"))
    # The image begins one row later than that of fastMRI.
    difference = np.abs(sample.reference[:-1]) - volume.image(0)[1:]
    assert np.linalg.norm(difference) < 0.05 * np.linalg.norm(volume.image(0))


@pytest.mark.parametrize("bytes_kept", [200, 11_000, 300_000, 900_000])
def test_a_file_that_is_cut_short_is_named(twixtools, path, tmp_path, bytes_kept):
    cut = tmp_path / "cut.dat"
    cut.write_bytes(path.read_bytes()[:bytes_kept])
    with pytest.raises(ValueError, match=f"{re.escape(str(cut))}: it is cut short, {bytes_kept}"):
        SiemensVolume(cut)


def test_a_file_of_something_else_is_named(twixtools, tmp_path):
    other = tmp_path / "other.dat"
    other.write_bytes(b"no raw data of a scanner" * 1000)
    with pytest.raises(ValueError, match="other.dat: expected a raw file of Siemens. Its first"):
        SiemensVolume(other)


def test_another_trajectory_is_refused_by_name(twixtools, path, tmp_path):
    changed = tmp_path / "radial.dat"
    content = path.read_bytes()
    text = rb"sKSpace.ucTrajectory\s*=\s*"
    assert re.search(text, content)
    changed.write_bytes(re.sub(rb"(" + text + rb")1", rb"\g<1>2", content))
    with pytest.raises(ValueError, match="radial.dat: only Cartesian .* the trajectory radial"):
        SiemensVolume(changed)


def test_what_is_chosen_must_be_there(twixtools, path):
    with pytest.raises(ValueError, match="data.contrast must be one that the scan holds: 0. Rec"):
        SiemensVolume(path, {"contrast": "3"})


def test_without_the_package_two_ways_out_are_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "twixtools", None)
    with pytest.raises(ValueError, match="needs the package twixtools, .* pip install .* ismrmrd"):
        SiemensVolume(path)


def test_a_folder_without_raw_files_is_told(tmp_path):
    with pytest.raises(ValueError, match="no .dat files in"):
        SiemensFormat(tmp_path).source("test")
