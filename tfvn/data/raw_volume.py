"""Raw volumes: the lines of many slices in a file, each with a head that says which line it is.

Where a scan holds several contrasts, sets and the like, one of each is chosen by name: nothing is
mixed in silence. Samples that were not taken, of a partial Fourier scan and of an asymmetric echo,
are zero.
"""

import math
import os
import re
from pathlib import Path

import numpy as np

from tfvn import checks
from tfvn.data import recognise
from tfvn.data.acquisitions import COUNTERS, flagged
from tfvn.data.volumes import Volume
from tfvn.data.whitening import whitening

__all__ = ["MEAN", "REPEATED", "RawVolume", "counters_of"]

MEAN = "mean"
# Counters over which a mean makes sense: the same line was measured again.
REPEATED = ("average", "repetition")
# Part of the lines between the first and the last that may be missing by a fault; undersampling
# leaves out more.
_LOST_LINES = 0.05
# Numbers that a message names.
_MOST = 5


class RawVolume(Volume):
    """A file of raw lines, see `tfvn.data.volumes.Volume`.

    Args:
        path: the file.
        scan: its acquisitions: an object with the attributes and functions of
            `tfvn.data.acquisitions.Acquisitions`.
        counters: of each of `tfvn.data.acquisitions.COUNTERS` what is chosen: a number as a text,
            'mean', or '' for the only one there is.
        prewhiten: whether noise scans in the file make the noise of the coils white.
        settings: what a slice depends on beside these, a dict of plain values.

    Raises:
        ValueError: naming the file, if it is not Cartesian or has three encoded dimensions,
            contradicts its header, lacks lines or holds one twice, or holds several of what is not
            chosen.
    """

    def __init__(self, path, scan, counters=(), prewhiten=True, settings=()):
        self.path = Path(path)
        counters = {name: str(dict(counters).get(name, "")) for name in COUNTERS}
        self.settings = dict(counters, **dict(settings), prewhiten=prewhiten)
        self._scan = scan
        heads = self._scan.heads
        is_noise = flagged(heads, "noise")
        try:
            chosen = _chosen(self._scan, counters, np.flatnonzero(~is_noise))
            encoding = _encoding(self._scan, chosen)
            self._taken, self.rows = _samples(heads[chosen], encoding)
            self._places = dict(zip(chosen, _lines(heads[chosen], encoding)))
            self._apart, self._image = _apart(heads, chosen)
            self.shape = _shape(heads[chosen], heads[self._image], encoding)
            # Sizes in a header cost a file a few bytes.
            needed = np.dtype(np.complex64).itemsize * math.prod(self.shape[1:])
            recognise.check_size("a slice", needed, os.path.getsize(path))
            lines = [self._places[place] for place in self._image]
            _check_lines(heads["idx"][self._image], lines)
            self._whitening = None
            if prewhiten and is_noise.any():
                noise = np.concatenate(self._scan.read(np.flatnonzero(is_noise)), 1)
                self._whitening = whitening(noise)
        except ValueError as error:
            if str(path) in str(error):
                raise
            raise ValueError(f"{path}: {error}") from error

    def kspace(self, number):
        return self._sorted(self._image, number)

    def calibration(self, number):
        if not len(self._apart):
            return None
        return self._sorted(self._apart, number)

    def _sorted(self, places, number):
        """The lines of a slice, complex64 (coils, height, width); a mean where one came again."""
        places = places[self._scan.heads["idx"]["slice"][places] == number]
        lines = np.array([self._places[place] for place in places])
        kspace = np.zeros(self.shape[1:], np.complex64)
        seen = set()
        for line, samples in zip(lines, self._scan.read(places)):
            part = samples[:, self._taken]
            if line in seen:
                part = part + kspace[:, self.rows, line]
            seen.add(line)
            kspace[:, self.rows, line] = part
        columns, counts = np.unique(lines, return_counts=True)
        again = counts > 1
        kspace[..., columns[again]] /= counts[again].astype(np.float32)
        if self._whitening is None:
            return kspace
        return np.einsum("ij,jhw->ihw", self._whitening, kspace).astype(np.complex64)


def counters_of(*values):
    """What is chosen of each counter, a dict.

    Args:
        values: of `tfvn.data.acquisitions.COUNTERS`, in their order. The last may be missing.

    Raises:
        ValueError: for one that is not empty, a number, or where it makes sense mean.
    """
    found = dict(zip(COUNTERS, values))
    for name, value in found.items():
        _check_counter(name, value)
    return found


def _check_counter(name, value):
    text = str(value)
    words = ("", MEAN) if name in REPEATED else ("",)
    if text not in words and not re.fullmatch("[0-9]{1,5}", text):
        expected = "a number such as 0, or mean" if name in REPEATED else "a number such as 0"
        raise ValueError(f"{name} must be {expected}. Received: {name}={checks.shown(value)}")


def _chosen(scan, counters, places):
    """Those of some places whose counters are the chosen ones."""
    for name, asked in counters.items():
        values = scan.counter(name)[places]
        present = np.unique(values)
        told = ", ".join(map(str, present[:_MOST]))
        if asked == MEAN:
            continue
        if asked:
            places = places[values == int(asked)]
            if not len(places):
                raise ValueError(
                    f"data.{name} must be one that the scan holds: {told}. Received: "
                    f"data.{name}={asked}"
                )
        elif len(present) > 1:
            raise ValueError(
                f"the scan holds several values of {name}, which are not mixed: {told}. Choose one "
                f"by data.{name}."
            )
    return places


def _encoding(scan, places):
    """The `tfvn.data.header.Encoding` of the chosen acquisitions, if it can be read."""
    heads = scan.heads[places]
    number = int(heads["encoding_space_ref"][0])
    encodings = scan.encodings()
    if number >= len(encodings) or encodings[number].encoded is None:
        raise ValueError(
            f"the header must tell the size of k-space. Received: a header without encodedSpace of "
            f"encoding {number}."
        )
    encoding = encodings[number]
    trajectory = encoding.trajectory.lower()
    if trajectory not in ("", "cartesian"):
        raise ValueError(
            f"only Cartesian scans are read. Received: the trajectory {trajectory}. Grid it first."
        )
    if not trajectory and heads["trajectory_dimensions"].any():
        raise ValueError("only Cartesian scans are read. Received: acquisitions with a trajectory.")
    if flagged(heads, "reversed").any():
        raise ValueError(
            "lines must all be read in one direction. Received: reversed ones, of an echo-planar "
            "scan. Correct their phase first."
        )
    if encoding.encoded[2] > 1 or heads["idx"]["kspace_encode_step_2"].any():
        raise ValueError(
            "only two-dimensional scans are read. Received: a third encoded dimension of "
            f"{encoding.encoded[2]}. Transform it first, and write its slices."
        )
    return encoding


def _samples(heads, encoding):
    """Which samples of a line are taken, and the rows that they go to: two slices.

    The sample `center_sample` is the zero frequency, which lies in row height // 2.
    """
    names = ["number_of_samples", "center_sample", "discard_pre", "discard_post"]
    kinds = np.unique(heads[names])
    if len(kinds) > 1:
        raise ValueError(
            "all lines must have the same samples. Received: lines of "
            f"{checks.shown(kinds[0].tolist())} and {checks.shown(kinds[1].tolist())} "
            f"({', '.join(names)})."
        )
    count, center, before, after = map(int, kinds[0].tolist())
    height = encoding.encoded[0]
    first = height // 2 - center + before
    last = first + count - before - after
    if not 0 <= first < last <= height:
        raise ValueError(
            f"the header must agree with the acquisitions. Received: a readout of {height} in the "
            f"header, and {count} samples with their centre at {center}."
        )
    return slice(before, count - after), slice(first, last)


def _lines(heads, encoding):
    """The column of k-space of each acquisition; the zero frequency lies in width // 2."""
    width = encoding.encoded[1]
    center = width // 2
    if encoding.lines is not None:
        center = encoding.lines.center
    columns = heads["idx"]["kspace_encode_step_1"].astype(int) + width // 2 - center
    if columns.min() < 0 or columns.max() >= width:
        raise ValueError(
            f"the header must agree with the acquisitions. Received: {width} lines with their "
            f"centre at {center} in the header, and an acquisition of line "
            f"{int(heads['idx']['kspace_encode_step_1'].max())}."
        )
    return columns.tolist()


def _apart(heads, places):
    """Acquisitions of a calibration scan apart from the image, and those of the image.

    Calibration lines that fill gaps of the image belong to it. Where one of them is a line of the
    image too, they are a scan of their own.
    """
    own = flagged(heads[places], "calibration")
    own &= ~flagged(heads[places], "calibration and imaging")
    keys = heads["idx"][places][["slice", "kspace_encode_step_1"]]
    if own.any() and not own.all() and np.isin(keys[own], keys[~own]).any():
        return places[own], places[~own]
    return places[:0], places


def _shape(heads, image, encoding):
    """(slices, coils, height, width) of the chosen acquisitions."""
    coils = np.unique(heads["active_channels"])
    if len(coils) > 1:
        raise ValueError(
            "all lines must have the same coils. Received: lines of "
            f"{coils[0]} and of {coils[1]} coils."
        )
    numbers = np.unique(image["idx"]["slice"])
    count = int(numbers[-1]) + 1
    if len(numbers) < count:
        missing = np.setdiff1d(np.arange(count), numbers)
        raise ValueError(
            f"a scan must hold all its slices. Received: no line of slice {missing[0]}, and "
            f"{count} slices in all."
        )
    height, width, _ = encoding.encoded
    return count, int(coils[0]), height, width


def _check_lines(counters, lines):
    """Checks that no line came twice with the same counters, and that none is missing by a fault.

    Args:
        counters: those of each acquisition.
        lines: the column of each.
    """
    lines = np.asarray(lines)
    for number in np.unique(counters["slice"]):
        inside = counters["slice"] == number
        columns = lines[inside]
        repeated = [counters[name][inside] for name in REPEATED]
        keys, counts = np.unique([columns, *repeated], axis=1, return_counts=True)
        if counts.max() > 1:
            raise ValueError(
                f"a line must come once. Received: line {keys[0, counts.argmax()]} of slice "
                f"{number} {counts.max()} times, with the same counters."
            )
        between = np.arange(columns.min(), columns.max() + 1)
        missing = np.setdiff1d(between, columns)
        if 0 < len(missing) <= _LOST_LINES * len(between):
            told = ", ".join(map(str, missing[:_MOST]))
            raise ValueError(
                f"a scan must hold all its lines. Received: slice {number} without {len(missing)} "
                f"of {len(between)}: {told}. Copy the file again, or export the scan again."
            )
