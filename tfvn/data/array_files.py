"""Arrays in `.mat`, `.h5` and `.npy` files: found by name, and read with errors that name the file.

The axes are those that the file's own language shows. For MATLAB files of both formats these are
those of MATLAB's `size()`; for other HDF5 files and for `.npy` those of NumPy's `shape`. (MATLAB
v7.3 files are HDF5 with the axes reversed; they are turned back here.) What a file is, its content
says, not its name.
"""

import contextlib
import math
import os
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from tfvn.checks import DataWarning
from tfvn.data import hdf5, matlab5, recognise

__all__ = [
    "FileFormat",
    "find_format",
    "is_matlab",
    "open_array",
    "open_arrays",
    "opened",
    "read_array",
    "read_arrays",
    "variable",
    "warn_of_order",
]

# Bytes that all arrays of a file may take together, see `recognise.check_size`.
_ALWAYS_OF_ALL = 2**30
# A list of names in a message is no longer than this.
_LONGEST_LIST = 300
_LONGEST_SHAPES = 200


class FileFormat(NamedTuple):
    """What a file is by its content.

    Args:
        kind: what `tfvn.data.recognise.format_of` says.
        matlab: whether its axes are those of MATLAB.
    """

    kind: str
    matlab: bool


def find_format(path):
    """The `FileFormat` of a file that holds arrays.

    Raises:
        ValueError: naming the file, if it cannot be read or holds none.
    """
    kind = recognise.format_of(path)
    if kind == "zip":
        raise ValueError(recognise.cannot_read(path, _archive(path)))
    if kind == "hdf5":
        with recognise.reading(path, "an HDF5 file"), h5py.File(path, "r") as file:
            return FileFormat(kind, hdf5.is_matlab(file))
    return FileFormat(kind, kind.startswith("matlab"))


def _archive(path):
    with recognise.reading(path, "an archive"), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if any(member.flag_bits & 1 for member in members):
        return "it is an encrypted zip archive. Decrypt and unpack it first."
    names = [member.filename for member in members]
    if names and all(name.endswith(".npy") for name in names):
        return (
            f"it is an .npz archive of {_cut(names)}. Write the one array that is meant by np.save."
        )
    return f"it is a zip archive of {_cut(names) or 'nothing'}. Unpack it first."


def is_matlab(path):
    """Whether MATLAB wrote a file, or a program that writes as MATLAB does.

    The axes are then those that `size()` shows. The content says it (the header of the file, the
    class of its variables), not the name.

    Raises:
        ValueError: naming the file, if it cannot be read.
    """
    return find_format(path).matlab


def read_arrays(path, names=None):
    """Numeric arrays of a file, a dict; the one array of a `.npy` file is named ''.

    Args:
        path: a `.mat`, `.h5`, `.hdf5` or `.npy` file. Its content decides how it is read, whatever
            it is called.
        names: those to read, nothing else of the file is; the ones that are not there are left out.
            None: all of them. An array in a group of HDF5 is called 'group/array'.

    Raises:
        ValueError: naming the file, if it is missing, cannot be read or is of another kind, or if
            what it holds lies in other files.
    """
    with opened(path, find_format(path)) as content:
        if names is None:
            arrays = _all_arrays(content, path)
        else:
            arrays = {name: content.named(name) for name in names}
        return {name: stored[...] for name, stored in arrays.items() if stored is not None}


def _all_arrays(content, path):
    """All arrays of an open file, not read yet, if they are whole and not too large."""
    arrays, others = content.all()
    _raise_if_unreadable(arrays, others)
    needed = 0
    for stored in arrays.values():
        needed += math.prod(stored.shape) * stored.dtype.itemsize
    recognise.check_size("the file", needed, os.path.getsize(path), _ALWAYS_OF_ALL)
    return arrays


def open_arrays(path, names):
    """The arrays of these names that a file holds, a dict, as `open_array` gives them.

    Raises:
        ValueError: as `read_arrays`.
    """
    with opened(path, find_format(path)) as content:
        arrays = {name: content.named(name) for name in names}
        return {name: stored for name, stored in arrays.items() if stored is not None}


def read_array(path, names, array="", setting=""):
    """One array of a file: the first of `names` that is there, else the only one it can be.

    Args:
        path, names, array, setting: as for `open_array`.

    Raises:
        ValueError: as `open_array`.
    """
    return open_array(path, names, array, setting)[...]


def open_array(path, names, array="", setting="", least_axes=1):
    """The array that `read_array` reads, of which only what is indexed is read.

    It has `shape`, `ndim` and `dtype`, and takes an index for every axis. MATLAB files before v7.3
    are read whole.

    The first of `names` is taken that is there: outside of groups, or in a single one. Without any
    of them it is the only array, the only one of more than one number, or the only one of
    `least_axes` axes longer than 1.

    Args:
        path: the file. Its content decides how it is read, whatever it is called.
        names: of the array.
        array: its name if that is known, such as 'scan/kspace'; '' follows the rule above.
        setting: what sets `array`, for the message.
        least_axes: see above.

    Raises:
        ValueError: as `read_arrays`; also if no array is the one that is meant: naming what was
            expected and what is present; on indexing, if the file is damaged.
    """
    if array:
        names, least_axes = (array,), 0
    found = find_format(path)
    with opened(path, found) as content:
        stored = _chosen(content, names, setting, least_axes)
        if not isinstance(stored, hdf5.Stored):
            # Of a file that is read whole, here and once.
            stored = stored[...]
    if found.kind == "hdf5" and not found.matlab and Path(path).suffix.lower() == ".mat":
        warn_of_order(path, {"the array": stored.shape})
    return stored


def warn_of_order(path, shapes):
    """Warns that a file called `.mat` has the axes of NumPy.

    Args:
        path: the file.
        shapes: of its arrays, a dict of name to shape.
    """
    told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    warnings.warn(
        f"{path} is called .mat, but is HDF5 that MATLAB did not write: axes are taken in NumPy's"
        f" order, {told[:_LONGEST_SHAPES]}. If the file has MATLAB's, reversed, write it by MATLAB"
        " or by scipy.io.savemat.",
        DataWarning,
        stacklevel=3,
    )


@contextlib.contextmanager
def opened(path, found):
    """The content of a file, open.

    `content.all()` gives two dicts by name: the arrays, and what else there is. `content.named`
    gives the array of a name, or None.

    Args:
        path: the file.
        found: its `FileFormat`.
    """
    if found.kind == "npy":
        with recognise.reading(path, "a NumPy file"):
            yield _NumPy(path)
    elif found.kind == "matlab 5":
        with recognise.reading(path, "a MATLAB file"):
            yield _Matlab5(path)
    else:
        kind = "a MATLAB file" if found.matlab else "an HDF5 file"
        with recognise.reading(path, kind), h5py.File(path, "r") as file:
            yield _HDF5(path, file, found.matlab)


class _NumPy:
    """The one array of a `.npy` file, without a name."""

    def __init__(self, path):
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            if "Python objects" not in str(error):
                raise
            raise recognise.RefusedError(
                "its array holds Python objects, which are never opened, as they may run code."
                " Expected numbers: write them by np.save(name, np.asarray(array, complex))."
            ) from error
        array = hdf5.plain(array)
        if array.dtype.kind not in hdf5.NUMERIC:
            raise recognise.RefusedError(
                f"expected an array of numbers. Received: {str(array.dtype)[:100]} {array.shape}"
            )
        self._array = array

    def all(self):
        return {"": self._array}, {}

    def named(self, name):
        if name:
            return None
        return self._array


class _Matlab5:
    """The variables of a MATLAB v5 file that have names."""

    def __init__(self, path):
        self._path = path
        self._variables = [found for found in matlab5.variables(path) if found.name]

    def all(self):
        arrays, others = {}, {}
        for found in self._variables:
            if found.dtype is None:
                others[found.name] = f"a {found.meaning}"
            else:
                arrays[found.name] = _Variable(self._path, found)
        return arrays, others

    def named(self, name):
        arrays, others = self.all()
        if name in others:
            raise recognise.NoNumbersError(f"{name} is no array of numbers but {others[name]}.")
        return arrays.get(name)


class _Variable:
    """An array of a MATLAB v5 file, not read yet."""

    def __init__(self, path, found):
        self._path = path
        self._found = found
        self.shape = found.shape
        self.ndim = len(found.shape)
        self.dtype = found.dtype

    def __getitem__(self, index):
        return matlab5.read(self._path, self._found)[index]


class _HDF5:
    """The arrays of an open HDF5 file, in groups too."""

    def __init__(self, path, file, matlab):
        self._path = path
        self._file = file
        self._matlab = matlab

    def all(self):
        return hdf5.search(self._path, self._file, self._matlab)

    def named(self, name):
        with contextlib.suppress(KeyError):
            return hdf5.number_of(self._path, self._file, name, self._matlab)
        return None


def _chosen(content, names, setting, least_axes):
    """The array that is meant, by the rule of `open_array`."""
    for name in names:
        with contextlib.suppress(recognise.NoNumbersError):
            stored = content.named(name)
            if stored is not None:
                return stored
    arrays, others = content.all()
    _raise_if_unreadable(arrays, others)
    for name in names:
        inside = [full for full in arrays if full.rsplit("/", 1)[-1] == name]
        if len(inside) == 1:
            return arrays[inside[0]]
    if least_axes:
        for least in (0, 1, least_axes):
            left = [stored for stored in arrays.values() if _count_long_axes(stored) >= least]
            if len(left) == 1:
                return left[0]
    raise recognise.RefusedError(_nothing_of(names, arrays, others, setting))


def _count_long_axes(stored):
    return sum(size > 1 for size in stored.shape)


def _raise_if_unreadable(arrays, others):
    """Raises what is wrong with an object of a file.

    What is damaged is raised in any case; what lies in another file, if there are no arrays.
    """
    for meaning in others.values():
        if not isinstance(meaning, Exception):
            continue
        if not arrays or not isinstance(meaning, hdf5.ElsewhereError):
            raise meaning


def _nothing_of(names, arrays, others, setting):
    """The sentences for a file without the array that is asked for: what it holds, what to do."""
    text = f"expected a variable named {' or '.join(names)}. Received: {_told(arrays, others)}."
    if any("ISMRMRD" in str(meaning) for meaning in others.values()):
        return (
            f"{text} Such acquisitions, a line each, are sorted by data.format: ismrmrd. For one"
            " array of a scan, write what it gives, (coils, height, width), as .npy or .h5."
        )
    if arrays and setting:
        return f"{text} Say which one it is by {setting}."
    if not arrays and any("structure" in str(meaning) for meaning in others.values()):
        return (
            f"{text} In MATLAB, save the array itself: kspace = scan.kspace; save('scan.mat',"
            " 'kspace')."
        )
    return text


def _told(arrays, others):
    """What a file holds, for a message."""
    told = []
    for name, stored in arrays.items():
        told.append(f"{name} {stored.dtype} {tuple(stored.shape)}".strip())
    for name, meaning in others.items():
        if isinstance(meaning, hdf5.ElsewhereError):
            meaning = "in another file"
        told.append(f"{name} ({meaning})")
    return _cut(told) or "no arrays"


def _cut(texts):
    """A list for a message, as long as it may be."""
    kept = []
    length = 0
    for number, text in enumerate(texts):
        length += len(text)
        if length > _LONGEST_LIST:
            shown = kept or [text[:_LONGEST_LIST]]
            left = len(texts) - max(number, 1)
            return ", ".join([*shown, f"and {left} more"])
        kept.append(text)
    return ", ".join(kept)


def variable(arrays, name, path):
    """`arrays[name]` of what was read from a file.

    Raises:
        ValueError: if it is not there, naming the file, the variable and what the file holds.
    """
    if name not in arrays:
        with opened(path, find_format(path)) as content:
            raise recognise.RefusedError(_nothing_of((name,), *content.all(), ""))
    return arrays[name]
