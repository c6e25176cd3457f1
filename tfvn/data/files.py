"""Arrays in `.mat`, `.h5` and `.npy` files, as (name, array) pairs, with errors that name the file.

Axes are those that the file's own language shows: for `.mat` of both formats MATLAB's `size()`, for `.h5` and `.npy`
NumPy's `shape`. (MATLAB v7.3 files are HDF5 with the axes reversed; they are turned back here.)
"""
import contextlib
import os
import platform
import re
import shutil
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import scipy.io

# In the names of temporary files, as folders may be shared between machines.
_NODE = re.sub(r"\W", "", platform.node()) or "here"
_NUMERIC = "biufc"  # kinds of NumPy's types
_USERBLOCK = 512  # bytes before the HDF5 part of a MATLAB v7.3 file


@contextlib.contextmanager
def replacing(path):
    """A temporary path beside `path` that replaces it when the block ends well, and vanishes when it does not.

    Processes and threads that write the same path at once have different ones; the last to end wins. The block may make a
    folder of the temporary path; it replaces no folder but an empty one.

    Raises:
        ValueError: if the file cannot be written (full disk, quota, permission). What was there is left as it was.
    """
    # Without it, the temporary path of a folder's name that ends in a slash would lie inside that folder.
    path = os.path.normpath(os.fspath(path))
    stem, suffix = os.path.splitext(path)
    temporary = f"{stem}.partial-{_NODE}-{os.getpid()}-{threading.get_ident()}{suffix}"
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(
            f"cannot write {path}: {error.strerror or error}. What was there is left as it was. "
            "Make room or give permission there, or name another place."
        ) from error
    finally:
        if os.path.isdir(temporary):
            shutil.rmtree(temporary)
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


@contextlib.contextmanager
def writing_hdf5(path, **options):
    """An open HDF5 file that replaces `path` when the block ends well, see `replacing`.

    Args:
        path: the file.
        options: of `h5py.File`, such as `track_order`.

    Raises:
        ValueError: as `replacing`.
    """
    with replacing(path) as temporary, _new_hdf5(temporary, **options) as file:
        yield file


@contextlib.contextmanager
def _new_hdf5(path, **options):
    with open(path, "w+b") as opened:
        sink = _Sink(opened)
        try:
            with h5py.File(sink, "w", **options) as file:
                yield file
        finally:
            # The first cause of whatever went wrong after it.
            if sink.error:
                raise sink.error


class _Sink:
    """A file for HDF5, which crashes the process where a disk that is full refuses what it writes: the first error is kept,
    and what comes after it is dropped."""

    def __init__(self, file):
        self._file, self.error = file, None

    def _attempt(self, work, otherwise):
        if self.error is None:
            try:
                return work()
            except OSError as error:
                self.error = error
        return otherwise

    def write(self, data):
        # A buffer's error may come late, where nobody looks for it.
        self._attempt(lambda: (self._file.write(data), self._file.flush()), None)
        return len(data)

    def truncate(self, size=None):
        return self._attempt(lambda: self._file.truncate(size), size)

    def flush(self):
        self._attempt(self._file.flush, None)

    def __getattr__(self, name):
        return getattr(self._file, name)


def remove_stale(folder):
    """Removes what processes of this machine that were killed inside `replacing` left anywhere below `folder`."""
    for path in Path(folder).rglob(f"*.partial-{_NODE}-*"):
        match = re.search(rf"\.partial-{_NODE}-(\d+)-\d+", path.name)
        if match and not _is_alive(int(match[1])):
            # Tidying only: nothing fails where it may not write.
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):
                path.unlink()


def _is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is another user's
    return True


def state(path):
    """[absolute path, size in bytes, time of the last modification in ns] of a file: another after every change.

    (But for one that keeps size and time, as a copying tool may.) A file that is not there has None for size and time.
    """
    try:
        status = os.stat(path)
    except OSError:
        return [os.path.abspath(path), None, None]
    return [os.path.abspath(path), status.st_size, status.st_mtime_ns]


class _ElsewhereError(ValueError):
    """What an HDF5 file holds lies in another file."""


@contextlib.contextmanager
def _readable(path, kind):
    """Turns whatever a reader raises on a missing or damaged file into one clear ValueError."""
    if not Path(path).is_file():
        raise ValueError(f"no such file: {path}. Check the path in the configuration.")
    try:
        yield
    except _ElsewhereError as error:
        raise ValueError(f"{path}: {error}") from error
    # Readers of damaged files raise nearly anything: OSError, KeyError, TypeError, zlib.error, MatReadError, ...
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as {kind}: {type(error).__name__}: {error}. "
            "It is damaged, cut short or of another format. Copy it again from its origin."
        ) from error


def _complex(array):
    """Compound (real, imag) to complex."""
    if array.dtype.names and set(array.dtype.names) in ({"real", "imag"}, {"r", "i"}):
        real, imaginary = (array[name] for name in sorted(array.dtype.names, reverse=True))
        return real + 1j * imaginary
    return array


def read_mat(path):
    """All numeric arrays of a MATLAB file, v5 or v7.3: a dict of name to array, axes as MATLAB shows them.

    Raises:
        ValueError: naming the file, if it is missing, damaged or no MATLAB file.
    """
    with _readable(path, "a MATLAB file"):
        if h5py.is_hdf5(path):
            return {name: array.T for name, array in _hdf5_arrays(path).items()}
        variables = scipy.io.loadmat(path)
    return _numeric(variables)


def mat_shape(path, name):
    """The shape of one array of a MATLAB file as MATLAB shows it, without reading the array.

    Raises:
        ValueError: as `read_mat`; also if the array is not there.
    """
    with _readable(path, "a MATLAB file"):
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                shapes = {key: item.shape[::-1] for key, item in _datasets(file).items()}
        else:
            shapes = {key: shape for key, shape, _ in scipy.io.whosmat(path)}
    return variable(shapes, name, path)


def member(group, name):
    """`group[name]` of an open HDF5 file, if all of it lies in this file.

    A link can name any other HDF5 file of the machine, a dataset any file at all to take its numbers from: a scan from
    elsewhere must not bring a file of the reader's into its results.

    Raises:
        ValueError: if it lies elsewhere.
        KeyError: if it is not there.
    """
    link = group.get(name, getlink=True)
    if link is None:
        raise KeyError(f"{name} is not there")
    if not isinstance(link, h5py.HardLink):
        raise _ElsewhereError(f"{name} is a link, which may lead to another file. Replace it by a copy of what it stands for.")
    item = group[name]
    if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
        raise _ElsewhereError(f"{name} takes its numbers from other files. Replace it by a copy of them.")
    return item


def _datasets(file):
    items = {name: member(file, name) for name in file}
    return {name: item for name, item in items.items() if isinstance(item, h5py.Dataset)}


def _numbers(file):
    # Files hold texts too, such as fastMRI's header. MATLAB keeps them as numbers of class char.
    items = {name: item for name, item in _datasets(file).items() if item.attrs.get("MATLAB_class") != b"char"}
    return {name: item for name, item in items.items() if _dtype(item).kind in _NUMERIC}


def _dtype(item):
    """Of what is read from a dataset."""
    return _complex(np.empty(0, item.dtype)).dtype


def _hdf5_arrays(path):
    with h5py.File(path, "r") as file:
        return _numeric({name: _complex(item[()]) for name, item in _numbers(file).items()})


def _numeric(variables):
    arrays = {name: value for name, value in variables.items() if isinstance(value, np.ndarray)}
    return {name: array for name, array in arrays.items() if array.dtype.kind in _NUMERIC}


def read_arrays(path):
    """All numeric arrays of a `.mat`, `.h5`, `.hdf5` or `.npy` file: a dict; the array of `.npy` is named ''.

    Raises:
        ValueError: naming the file, if it is missing, damaged or of another kind.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".mat":
        return read_mat(path)
    if suffix in (".h5", ".hdf5"):
        with _readable(path, "an HDF5 file"):
            return _hdf5_arrays(path)
    if suffix == ".npy":
        with _readable(path, "a NumPy file"):
            return {"": np.load(path, allow_pickle=False)}
    raise ValueError(f"arrays are read from .mat, .h5, .hdf5 and .npy files. Received: path={str(path)!r}")


def read_array(path, names):
    """One array of a file: the first of `names` that is there, else the only array of the file.

    Raises:
        ValueError: as `read_arrays`; also if neither is there: naming what was expected and what is present.
    """
    return _chosen(read_arrays(path), names, path)


def open_array(path, names):
    """The same array, with `shape`, `ndim`, `dtype` and indices, one for every axis; only what is indexed is read, but of MATLAB
    files before v7.3 all.

    Raises:
        ValueError: as `read_array`; on indexing, if the file is damaged.
    """
    suffix = Path(path).suffix.lower()
    if suffix in (".h5", ".hdf5") or (suffix == ".mat" and h5py.is_hdf5(path)):
        with _readable(path, "an HDF5 file"), h5py.File(path, "r") as file:
            arrays = {name: _Stored(path, item, suffix == ".mat") for name, item in _numbers(file).items()}
        return _chosen(arrays, names, path)
    if suffix == ".npy":
        with _readable(path, "a NumPy file"):
            return np.load(path, mmap_mode="r", allow_pickle=False)
    return read_array(path, names)


class _Stored:
    """An array of an HDF5 file, of MATLAB's with its axes as MATLAB shows them; opened for each index."""

    def __init__(self, path, item, matlab):
        self._path, self._name, self._matlab = path, item.name, matlab
        self.shape = item.shape[::-1] if matlab else item.shape
        self.ndim, self.dtype = item.ndim, _dtype(item)

    def __getitem__(self, index):
        with _readable(self._path, "an HDF5 file"), h5py.File(self._path, "r") as file:
            array = _complex(member(file, self._name)[index[::-1] if self._matlab else index])
        return array.T if self._matlab else array


def _chosen(arrays, names, path):
    for name in names:
        if name in arrays:
            return arrays[name]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    return variable(arrays, " or ".join(names), path)


def variable(arrays, name, path):
    """`arrays[name]`, or a ValueError that names the file, the variable and those present."""
    if name not in arrays:
        raise ValueError(f"{path}: expected a variable named {name}. Received: {sorted(arrays) or 'no arrays'}.")
    return arrays[name]


def write_mat(path, arrays, version=5):
    """Writes a dict of arrays as MATLAB would: `version` 5, or '7.3' (HDF5). A file of that name appears whole or not.

    Raises:
        ValueError: for another version.
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
    classes = {"f4": "single", "f8": "double", "c8": "single", "c16": "double"}
    with _new_hdf5(path, userblock_size=_USERBLOCK) as file:
        for name, array in arrays.items():
            array = np.atleast_2d(array)
            kind = classes.get(array.dtype.str[1:])
            if kind is None:
                array, kind = array.astype(np.float64), "double"
            if array.dtype.kind == "c":
                # MATLAB's complex numbers are pairs of these names; h5py's own are called r and i.
                array = np.ascontiguousarray(array.T).view([("real", array.real.dtype), ("imag", array.real.dtype)])
            else:
                array = array.T
            file[name] = array
            file[name].attrs["MATLAB_class"] = np.bytes_(kind)
    text = f"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: {time.asctime()} HDF5 schema 1.00 ."
    with open(path, "r+b") as file:
        # 116 bytes of text, 8 of no subsystem offset, the version and the mark of the byte order.
        file.write(text.ljust(116).encode() + bytes(8) + b"\x00\x02IM")
