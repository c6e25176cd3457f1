"""Acquisitions of ISMRMRD: a line of k-space each, with a head that says which line it is.

A group of the file holds `data`, a table of (head, traj, data), and `xml`, the header. Here the
heads are read and sorted, and those acquisitions chosen that are lines of one image. What they hold
is read when it is asked for.

Source: Inati et al., MRM 77(1), 2017; the flags of ismrmrd.h, in which bit n - 1 stands for flag n.
"""

import h5py
import numpy as np

from tfvn.data import hdf5, header, recognise

__all__ = ["COUNTERS", "FLAGS", "Acquisitions", "flagged"]

# What a head counts beside lines, partitions and slices; and which encoding it belongs to.
COUNTERS = ("average", "contrast", "phase", "repetition", "set", "encoding")
FLAGS = {
    "noise": 19,
    "calibration": 20,
    "calibration and imaging": 21,
    "reversed": 22,
    "navigation": 23,
    "phase correction": 24,
    "feedback": 26,
    "dummy": 27,
    "real-time feedback": 28,
    "surface coil correction": 29,
    "phase stabilisation reference": 30,
    "phase stabilisation": 31,
}
# Lines of no image.
_ASIDE = tuple(FLAGS)[4:]
# Of data that were packed by one of four methods.
_COMPRESSED = (53, 54, 55, 56)
_MOST = 10


class Acquisitions:
    """The acquisitions of a file.

    Args:
        path: the file.
        group: of the table and the header; '' takes the only one.

    Attributes:
        heads: a table of the heads, without those of no image and of no noise.
        rows: their rows in the file's table.
        header: the XML text.

    Raises:
        ValueError: naming the file, if it holds no such table or is damaged.
    """

    def __init__(self, path, group=""):
        self._path = path
        with recognise.reading(path, "an HDF5 file"), h5py.File(path, "r") as file:
            self._group = group or _only_group(file)
            folder = hdf5.member(file, self._group)
            self.header = header.text_of(folder, "xml")
            heads = _table(folder)["head"]
        aside = flagged(heads, *_ASIDE)
        self.rows = np.flatnonzero(~aside)
        self.heads = heads[self.rows]
        if not len(self.rows):
            raise ValueError(f"{path}: {self._group}/data holds no acquisition of an image.")
        if _has(self.heads, _COMPRESSED).any():
            raise ValueError(
                f"{path}: its acquisitions are compressed. Write them without compression."
            )

    def encodings(self):
        """The `tfvn.data.header.Encoding`s of the header, a list."""
        return header.encodings(self.header)

    def counter(self, name):
        """The values of a counter of all heads, an integer array."""
        if name == "encoding":
            return self.heads["encoding_space_ref"].astype(int)
        return self.heads["idx"][name].astype(int)

    def read(self, places):
        """What acquisitions hold, a list of complex64 (coils, samples).

        Args:
            places: of them in `heads`, increasing.

        Raises:
            ValueError: naming the file, if one holds another number of samples than its head says.
        """
        with recognise.reading(self._path, "an HDF5 file"), h5py.File(self._path, "r") as file:
            table = _table(hdf5.member(file, self._group))
            stored = table[self.rows[places]]["data"]
        found = []
        for place, numbers in zip(places, stored):
            head = self.heads[place]
            shape = int(head["active_channels"]), int(head["number_of_samples"])
            if numbers.size != 2 * shape[0] * shape[1]:
                raise ValueError(
                    f"{self._path}: an acquisition must hold the samples of its head. Received: "
                    f"{numbers.size} numbers in acquisition {self.rows[place]} of {shape[0]} coils "
                    f"and {shape[1]} complex samples."
                )
            pairs = np.ascontiguousarray(numbers, np.float32)
            found.append(pairs.view(np.complex64).reshape(shape))
        return found


def flagged(heads, *names):
    """Which heads have one of these flags, bool."""
    return _has(heads, [FLAGS[name] for name in names])


def _has(heads, flags):
    bits = np.uint64(0)
    for flag in flags:
        bits |= np.uint64(1 << (flag - 1))
    return (heads["flags"] & bits) != 0


def _only_group(file):
    """The name of the only group of acquisitions."""
    names = [name for name in list(file)[:_MOST] if _is_group(file, name)]
    if len(names) == 1:
        return names[0]
    received = ", ".join(names) or "none"
    raise recognise.RefusedError(
        "expected one group with a table of acquisitions (data) and its header (xml), as ISMRMRD "
        f"writes them. Received: {received}. Name the one that is meant by data.group."
    )


def _is_group(file, name):
    try:
        _table(hdf5.member(file, name))
    except (ValueError, KeyError):
        return False
    return True


def _table(folder):
    """The table of acquisitions of an open group."""
    if not isinstance(folder, h5py.Group):
        raise recognise.RefusedError(f"{folder.name[1:]} is no group of acquisitions.")
    table = hdf5.member(folder, "data")
    names = getattr(table, "dtype", np.dtype(float)).names or ()
    if not {"head", "data"} <= set(names):
        raise recognise.RefusedError(f"{folder.name[1:]}/data is no table of acquisitions.")
    return table
