"""MATLAB files of both formats, v5 and v7.3: read and written."""

import time
from pathlib import Path

import numpy as np
import scipy.io

from tfvn.data import recognise
from tfvn.data.array_files import find_format, opened, read_arrays, variable, warn_of_order
from tfvn.files import new_hdf5, replacing

__all__ = ["mat_shape", "read_mat", "write_mat"]

_USERBLOCK = 512  # bytes before the HDF5 part of a MATLAB v7.3 file
# MATLAB's names for NumPy's types; all others are written as double.
_CLASSES = {"f4": "single", "f8": "double", "c8": "single", "c16": "double"}


def read_mat(path, names=None):
    """Numeric arrays of a MATLAB file, a dict of name to array, with the axes that MATLAB shows.

    Args:
        path: the file; one of HDF5 that is none of MATLAB's is read too, with a warning, in NumPy's
            order of axes.
        names: those to read, nothing else of the file is; the ones that are not there are left out.
            None: all of them.

    Raises:
        ValueError: naming the file, if it is missing, cannot be read or is no such file.
    """
    found = find_format(path)
    if found.kind == "npy":
        reason = "it is a NumPy array. Write it as a MATLAB file (write_mat)."
        raise ValueError(recognise.cannot_read(path, reason, "a MATLAB file"))
    arrays = read_arrays(path, names)
    if not found.matlab and Path(path).suffix.lower() == ".mat":
        warn_of_order(path, {name: array.shape for name, array in arrays.items()})
    return arrays


def mat_shape(path, name):
    """The shape of one array of a MATLAB file as MATLAB shows it, without reading the array.

    Raises:
        ValueError: as `read_mat`; also if the array is not there.
    """
    with opened(path, find_format(path)) as content:
        stored = content.named(name) or variable({}, name, path)
        return stored.shape


def write_mat(path, arrays, version=5):
    """Writes a dict of arrays as MATLAB would. A file of that name appears whole or not.

    Args:
        path: the file; its folder is made if need be.
        arrays: name to array.
        version: 5, or '7.3' (HDF5).

    Raises:
        ValueError: for another version, or if the file cannot be written.
    """
    if version not in (5, "7.3"):
        raise ValueError(f"version must be 5 or '7.3'. Received: version={version!r}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        if version == 5:
            with open(temporary, "wb") as file:
                scipy.io.savemat(file, arrays, oned_as="row")
        else:
            _write_mat73(temporary, arrays)


def _write_mat73(path, arrays):
    with new_hdf5(path, userblock_size=_USERBLOCK) as file:
        for name, array in arrays.items():
            array = np.atleast_2d(array)
            kind = _CLASSES.get(array.dtype.str[1:])
            if kind is None:
                array = array.astype(np.float64)
                kind = "double"
            file[name] = _as_stored(array)
            file[name].attrs["MATLAB_class"] = np.bytes_(kind)
    text = (
        f"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: {time.asctime()} HDF5 schema 1.00 ."
    )
    with open(path, "r+b") as file:
        # 116 bytes of text, 8 of no subsystem offset, the version and the mark of the byte order.
        file.write(text.ljust(116).encode() + bytes(8) + b"\x00\x02IM")


def _as_stored(array):
    """An array as MATLAB stores it: axes reversed, complex numbers as pairs called real and imag.

    (The pairs of h5py are called r and i.)
    """
    if array.dtype.kind != "c":
        return array.T
    part = array.real.dtype
    return np.ascontiguousarray(array.T).view([("real", part), ("imag", part)])
