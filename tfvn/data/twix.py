"""Acquisitions of Siemens' raw files, as those of ISMRMRD are.

The package twixtools finds the lines and the protocol in a file. Here their heads become those of
`tfvn.data.acquisitions`. Of a file of several measurements the last one is the scan; those before
it adjust the scanner.

Source: the conversion to ISMRMRD, Inati et al., MRM 77(1), 2017 (siemens_to_ismrmrd).
"""

import contextlib
import importlib
import io
import os

import numpy as np

from tfvn.data import recognise
from tfvn.data.acquisitions import FLAGS
from tfvn.data.header import Encoding, Limits

__all__ = ["TwixScan"]

_KIND = "a raw file of Siemens"
# A table of measurements begins with numbers below these; else it is the length of a header.
_LARGEST_ID, _MOST_SCANS = 10_000, 64
# What lines of no image and of no noise are called there.
_ASIDE = {
    "ACQEND",
    "SYNCDATA",
    "RTFEEDBACK",
    "HPFEEDBACK",
    "PHASCOR",
    "REFPHASESTABSCAN",
    "PHASESTABSCAN",
    "SLICE_ACCEL_PHASCOR",
}
# Flags of heads, by their names here and there.
_FLAGS = {
    "noise": "NOISEADJSCAN",
    "calibration": "PATREFSCAN",
    "calibration and imaging": "PATREFANDIMASCAN",
    "reversed": "REFLECT",
}
_COUNTERS = {
    "kspace_encode_step_1": "Lin",
    "kspace_encode_step_2": "Par",
    "average": "Ave",
    "slice": "Sli",
    "contrast": "Eco",
    "phase": "Phs",
    "repetition": "Rep",
    "set": "Set",
}
_TRAJECTORIES = {1: "cartesian", 2: "radial", 4: "spiral", 8: "propeller"}
_HEAD = np.dtype(
    [("flags", "u8"), ("number_of_samples", "u2"), ("active_channels", "u2")]
    + [("discard_pre", "u2"), ("discard_post", "u2"), ("center_sample", "u2")]
    + [("encoding_space_ref", "u2"), ("trajectory_dimensions", "u2")]
    + [("idx", [(name, "u2") for name in _COUNTERS])]
)


class TwixScan:
    """The lines of the last measurement in a file, see `tfvn.data.acquisitions.Acquisitions`.

    Args:
        path: the file.

    Attributes:
        heads: a table of the heads.

    Raises:
        ValueError: naming the file, if it is none of Siemens or cut short; and if twixtools is not
            installed.
    """

    def __init__(self, path):
        self._path = path
        recognise.head(path)
        twixtools = _twixtools()
        # It also tells of its progress.
        with recognise.reading(path, _KIND), contextlib.redirect_stdout(io.StringIO()):
            _check_length(path, twixtools)
            # The ending is no part of what it expects.
            found = twixtools.read_twix(
                os.fspath(path), [-1], parse_pmu=False, verbose=False, keep_acqend=True
            )[-1]
            lines = found["mdb"]
            if not lines or not lines[-1].is_flag_set("ACQEND"):
                raise recognise.RefusedError("it is cut short: the mark of its end is missing.")
            self._encoding = _encoding(found["hdr"], lines)
            self._lines = [line for line in lines if not _ASIDE & set(line.get_active_flags())]
            self.heads = np.array([_head(line) for line in self._lines], _HEAD)
        if not self._lines:
            raise recognise.FileError(f"{path} holds no line of an image.")

    def encodings(self):
        """The one `tfvn.data.header.Encoding` of the protocol, in a list."""
        return [self._encoding]

    def counter(self, name):
        """The values of a counter of all heads, an integer array."""
        if name == "encoding":
            return np.zeros(len(self.heads), int)
        return self.heads["idx"][name].astype(int)

    def read(self, places):
        """What lines hold, a list of complex64 (coils, samples)."""
        with recognise.reading(self._path, _KIND):
            return [np.asarray(self._lines[place].data, np.complex64) for place in places]


def _twixtools():
    try:
        return importlib.import_module("twixtools")
    except ImportError as error:
        raise ValueError(
            "data.format siemens needs the package twixtools, which is not installed. Install it: "
            "pip install twixtools. Or convert the files by siemens_to_ismrmrd, and set "
            "data.format to ismrmrd."
        ) from error


def _check_length(path, twixtools):
    """Checks that a file holds the measurements that its own table of them names.

    Older files have no table, and begin with the length of their header.
    """
    size = os.path.getsize(path)
    kind = twixtools.hdr_def.MultiRaidFileHeader
    with open(path, "rb") as file:
        content = file.read(kind.itemsize)
    first, count = np.frombuffer(content[:8].ljust(8, b"\xff"), "<u4").tolist()
    if not (first < _LARGEST_ID and 0 < count <= _MOST_SCANS):
        if not 0 < first < size:
            raise recognise.RefusedError(f"expected {_KIND}. Its first bytes are those of none.")
        return
    end = kind.itemsize
    if len(content) == end:
        (table,) = np.frombuffer(content, kind)
        last = table["entry"][count - 1]
        end = int(last["off_"]) + int(last["len_"])
    if end > size:
        raise recognise.RefusedError(f"it is cut short, {size} of {end} bytes. Copy it again.")


def _head(line):
    """The head of a line, a tuple for `_HEAD`."""
    mdh = line.mdh
    active = set(line.get_active_flags())
    flags = 0
    for name, theirs in _FLAGS.items():
        if theirs in active:
            flags |= 1 << (FLAGS[name] - 1)
    counters = tuple(getattr(mdh.Counter, theirs) for theirs in _COUNTERS.values())
    sizes = mdh.SamplesInScan, mdh.UsedChannels, mdh.CutOff.Pre, mdh.CutOff.Post, mdh.CenterCol
    return (flags, *sizes, 0, 0, counters)


def _encoding(protocol, lines):
    """The `Encoding` of a protocol.

    The readout is sampled more densely than the image, and the phase encoding has as many lines as
    a full k-space, of which fewer may have been measured.
    """
    kspace = protocol["MeasYaps"]["sKSpace"]
    columns = int(kspace["lBaseResolution"])
    oversampling = float(protocol["Meas"].get("flReadoutOSFactor") or 2)
    rows = int(kspace["lPhaseEncodingLines"])
    depth = 1
    if int(kspace["ucDimension"]) != 2:
        depth = int(kspace["lPartitions"])
    center = int(lines[0].mdh.CenterLin)
    number = int(kspace["ucTrajectory"])
    return Encoding(
        (round(columns * oversampling), rows, depth),
        (columns, rows, depth),
        Limits(0, rows - 1, center),
        None,
        _TRAJECTORIES.get(number, f"number {number}"),
    )
