"""Arrays in `.mat`, `.h5` and `.npy` files, as (name, array) pairs, with errors that name the file;
files that appear whole.

Axes are those that the file's own language shows: for MATLAB files of both formats MATLAB's
`size()`, for other HDF5 files and `.npy` NumPy's `shape`. (MATLAB v7.3 files are HDF5 with the axes
reversed; they are turned back here.) What a file is, its content says, not its name.
"""

import contextlib
import hashlib
import math
import os
import platform
import re
import shutil
import threading
import time
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from tfvn.checks import DataWarning
from tfvn.data import hdf5, matlab5, recognise

__all__ = [
    "is_matlab",
    "mat_shape",
    "open_array",
    "read_array",
    "read_arrays",
    "read_mat",
    "remove_stale",
    "replacing",
    "state",
    "variable",
    "write_mat",
    "writing_hdf5",
]

# In the names of temporary files, as folders may be shared between machines.
_NODE = re.sub(r"\W", "", platform.node())[:64] or "here"
_LONGEST_NAME = 255  # bytes of a file's name
_ALWAYS_OF_ALL = (
    2**30
)  # bytes that all arrays of a file may take together, see `recognise.check_size`
_USERBLOCK = 512  # bytes before the HDF5 part of a MATLAB v7.3 file


@contextlib.contextmanager
def replacing(path):
    """A temporary path beside `path` that replaces it when the block ends well, and vanishes when
    it does not.

    Processes and threads that write the same path at once have different ones; the last to end
    wins. The block may make a folder of the temporary path; it replaces no folder but an empty one.
    Where `path` is a link, the link is replaced and what it leads to stays as it is.

    Raises:
        ValueError: if the file cannot be written (full disk, quota, permission). What was there is
            left as it was.
    """
    # Without it, the temporary path of a folder's name that ends in a slash would lie inside that
    # folder.
    path = os.path.normpath(os.fspath(path))
    temporary = _temporary(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        # The block may read other files; what is wrong with them is another error.
        if error.filename is not None and not str(error.filename).startswith(temporary):
            raise
        raise ValueError(
            f"cannot write {path}: {error.strerror or error}. What was there is left as it was. "
            "Make room or give permission there, or name another place."
        ) from error
    finally:
        # Nothing that fails here may take the place of the first error.
        if os.path.isdir(temporary):
            shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.remove(temporary)


def _temporary(path):
    folder, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    mark = f".partial-{_NODE}-{os.getpid()}-{threading.get_ident()}{suffix}"
    # A name that is just short enough would be too long with the mark.
    if len(os.fsencode(stem + mark)) > _LONGEST_NAME:
        stem = hashlib.sha256(os.fsencode(stem)).hexdigest()[:16]
    return os.path.join(folder, stem + mark)


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
    # Without a buffer: what it could not write would be tried again, and fail, wherever the file is
    # looked at.
    with open(path, "w+b", buffering=0) as opened:
        sink = _Sink(opened)
        try:
            with h5py.File(sink, "w", **options) as file:
                yield file
        finally:
            # The first cause of whatever went wrong after it.
            if sink.error:
                raise sink.error


class _Sink:
    """A file for HDF5, which crashes the process where a disk that is full refuses what it writes:
    the first error is kept, and what comes after it is dropped."""

    def __init__(self, file):
        self._file, self.error = file, None

    def _attempt(self, work, otherwise):
        if self.error is None:
            try:
                return work()
            except OSError as error:
                self.error = error
            # HDF5 would turn Ctrl-C into an error of its own.
            except BaseException as error:
                self.error = error
                raise
        return otherwise

    def write(self, data):
        self._attempt(lambda: self._write_all(memoryview(data)), None)
        return len(data)

    def _write_all(self, data):
        while len(data):
            data = data[self._file.write(data) :]

    def truncate(self, size=None):
        return self._attempt(lambda: self._file.truncate(size), size)

    def flush(self):
        self._attempt(self._file.flush, None)

    def __getattr__(self, name):
        return getattr(self._file, name)


def remove_stale(folder):
    """Removes what processes of this machine that were killed inside `replacing` left anywhere
    below `folder`.
    """
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
    """[absolute path, size in bytes, time of the last modification in ns] of a file: another after
    every change.

    (But for one that keeps size and time, as a copying tool may.) A file that is not there has None
    for size and time.
    """
    try:
        status = os.stat(path)
    except OSError:
        return [os.path.abspath(path), None, None]
    return [os.path.abspath(path), status.st_size, status.st_mtime_ns]


def is_matlab(path):
    """Whether MATLAB wrote a file, or a program that writes as MATLAB does: the axes are those that
    `size()` shows.

    The content says it (the header of the file, the class of its variables), not the name.

    Raises:
        ValueError: naming the file, if it cannot be read.
    """
    return _format(path)[1]


def read_mat(path, names=None):
    """Numeric arrays of a MATLAB file, v5 or v7.3: a dict of name to array, axes as MATLAB shows
    them.

    Args:
        path: the file; one of HDF5 that is none of MATLAB's is read too, with a warning, in NumPy's
            order of axes.
        names: those to read, nothing else of the file is; the ones that are not there are left out.
            None: all of them.

    Raises:
        ValueError: naming the file, if it is missing, cannot be read or is no such file.
    """
    kind, matlab = _format(path)
    if kind == "npy":
        raise ValueError(
            f"{path} cannot be read as a MATLAB file: it is a NumPy array. Write it as a MATLAB"
            " file (write_mat)."
        )
    arrays = read_arrays(path, names)
    if not matlab and Path(path).suffix.lower() == ".mat":
        _warn_of_order(path, {name: array.shape for name, array in arrays.items()})
    return arrays


def mat_shape(path, name):
    """The shape of one array of a MATLAB file as MATLAB shows it, without reading the array.

    Raises:
        ValueError: as `read_mat`; also if the array is not there.
    """
    kind, matlab = _format(path)
    with _opened(path, kind, matlab) as content:
        stored = content.named(name)
        return (stored or variable({}, name, path)).shape


def read_arrays(path, names=None):
    """Numeric arrays of a `.mat`, `.h5`, `.hdf5` or `.npy` file: a dict; the array of `.npy` is
    named ''.

    Args:
        path: the file. Its content decides how it is read, whatever it is called.
        names: as for `read_mat`. An array in a group of HDF5 is called 'group/array'.

    Raises:
        ValueError: naming the file, if it is missing, cannot be read or is of another kind, or if
            what it holds lies in other files.
    """
    kind, matlab = _format(path)
    with _opened(path, kind, matlab) as content:
        if names is None:
            arrays, others = content.all()
            _raise_if_unreadable(arrays, others)
            needed = sum(
                math.prod(stored.shape) * stored.dtype.itemsize for stored in arrays.values()
            )
            recognise.check_size("the file", needed, os.path.getsize(path), _ALWAYS_OF_ALL)
        else:
            arrays = {name: content.named(name) for name in names}
        return {name: stored[...] for name, stored in arrays.items() if stored is not None}


def read_array(path, names, array="", setting=""):
    """One array of a file: the first of `names` that is there, else the only one it can be.

    Args:
        path, names, array, setting: as for `open_array`.

    Raises:
        ValueError: as `open_array`.
    """
    return open_array(path, names, array, setting)[...]


def open_array(path, names, array="", setting="", least_axes=1):
    """The same array, with `shape`, `ndim`, `dtype` and indices, one for every axis; only what is
    indexed is read, but of MATLAB files before v7.3 all.

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
    kind, matlab = _format(path)
    with _opened(path, kind, matlab) as content:
        stored = _chosen(
            content, (array,) if array else names, path, setting, 0 if array else least_axes
        )
        # Of a file that is read whole, here and once.
        stored = stored if isinstance(stored, hdf5.Stored) else stored[...]
    if kind == "hdf5" and not matlab and Path(path).suffix.lower() == ".mat":
        _warn_of_order(path, {"the array": stored.shape})
    return stored


def _format(path):
    """(what `recognise.format_of` says, whether the axes are MATLAB's)."""
    kind = recognise.format_of(path)
    if kind == "zip":
        raise ValueError(f"{path} cannot be read as {recognise.kind_of(path)}: {_archive(path)}")
    if kind == "hdf5":
        with recognise.reading(path, "an HDF5 file"), h5py.File(path, "r") as file:
            return kind, hdf5.is_matlab(file)
    return kind, kind.startswith("matlab")


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


def _warn_of_order(path, shapes):
    told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    warnings.warn(
        f"{path} is called .mat, but is HDF5 that MATLAB did not write: axes are taken in NumPy's"
        f" order, {told[:200]}. If the file has MATLAB's, reversed, write it by MATLAB or by"
        " scipy.io.savemat.",
        DataWarning,
        stacklevel=3,
    )


@contextlib.contextmanager
def _opened(path, kind, matlab):
    """The content of a file of some format: `all()` gives (arrays, what else there is) by name,
    `named(name)` one or None.
    """
    if kind == "npy":
        with recognise.reading(path, "a NumPy file"):
            yield _NumPy(path)
    elif kind == "matlab 5":
        with recognise.reading(path, "a MATLAB file"):
            yield _Matlab5(path)
    else:
        with (
            recognise.reading(path, "a MATLAB file" if matlab else "an HDF5 file"),
            h5py.File(path, "r") as file,
        ):
            yield _HDF5(path, file, matlab)


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
        return None if name else self._array


class _Matlab5:
    def __init__(self, path):
        self._path, self._variables = (
            path,
            [found for found in matlab5.variables(path) if found.name],
        )

    def all(self):
        arrays = {
            found.name: _Variable(self._path, found)
            for found in self._variables
            if found.dtype is not None
        }
        others = {
            found.name: f"a {found.meaning}" for found in self._variables if found.dtype is None
        }
        return arrays, others

    def named(self, name):
        arrays, others = self.all()
        if name in others:
            raise recognise.NoNumbersError(f"{name} is no array of numbers but {others[name]}.")
        return arrays.get(name)


class _Variable:
    """An array of a MATLAB v5 file, not read yet."""

    def __init__(self, path, found):
        self._path, self._found = path, found
        self.shape, self.ndim, self.dtype = found.shape, len(found.shape), found.dtype

    def __getitem__(self, index):
        return matlab5.read(self._path, self._found)[index]


class _HDF5:
    def __init__(self, path, file, matlab):
        self._path, self._file, self._matlab = path, file, matlab

    def all(self):
        return hdf5.search(self._path, self._file, self._matlab)

    def named(self, name):
        with contextlib.suppress(KeyError):
            return hdf5.number_of(self._path, self._file, name, self._matlab)
        return None


def _chosen(content, names, path, setting, least_axes):
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
        sizes = {name: sum(size > 1 for size in stored.shape) for name, stored in arrays.items()}
        for least in (0, 1, least_axes):
            left = [name for name, count in sizes.items() if count >= least]
            if len(left) == 1:
                return arrays[left[0]]
    raise recognise.RefusedError(_nothing_of(names, arrays, others, setting))


def _raise_if_unreadable(arrays, others):
    """Raises what is wrong with an object: with a damaged one in any case, with one in another file
    if there are no arrays.
    """
    for meaning in others.values():
        if isinstance(meaning, Exception) and not (
            arrays and isinstance(meaning, hdf5.ElsewhereError)
        ):
            raise meaning


def _nothing_of(names, arrays, others, setting):
    """The sentences for a file without the array that was asked for: what it holds, and what to
    do.
    """
    text = f"expected a variable named {' or '.join(names)}. Received: {_told(arrays, others)}."
    if any("ISMRMRD" in str(meaning) for meaning in others.values()):
        return (
            f"{text} Such acquisitions, a line each, are not sorted here. Sort them into an array"
            " (coils, height, width) with the ismrmrd package and write that as .npy or .h5."
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
    told = [
        f"{name} {stored.dtype} {tuple(stored.shape)}".strip() for name, stored in arrays.items()
    ]
    for name, meaning in others.items():
        meaning = "in another file" if isinstance(meaning, hdf5.ElsewhereError) else meaning
        told.append(f"{name} ({meaning})")
    return _cut(told) or "no arrays"


def _cut(texts, most=300):
    """A list for a message, as long as it may be."""
    kept = []
    for number, text in enumerate(texts):
        if sum(map(len, kept)) + len(text) > most:
            return ", ".join([*(kept or [text[:most]]), f"and {len(texts) - max(number, 1)} more"])
        kept.append(text)
    return ", ".join(kept)


def variable(arrays, name, path):
    """`arrays[name]` of what was read from a file, or a ValueError that names the file, the
    variable and what the file holds.
    """
    if name not in arrays:
        kind, matlab = _format(path)
        with _opened(path, kind, matlab) as content:
            raise recognise.RefusedError(_nothing_of((name,), *content.all(), ""))
    return arrays[name]


def write_mat(path, arrays, version=5):
    """Writes a dict of arrays as MATLAB would: `version` 5, or '7.3' (HDF5). A file of that name
    appears whole or not.

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
                array = np.ascontiguousarray(array.T).view(
                    [("real", array.real.dtype), ("imag", array.real.dtype)]
                )
            else:
                array = array.T
            file[name] = array
            file[name].attrs["MATLAB_class"] = np.bytes_(kind)
    text = (
        f"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: {time.asctime()} HDF5 schema 1.00 ."
    )
    with open(path, "r+b") as file:
        # 116 bytes of text, 8 of no subsystem offset, the version and the mark of the byte order.
        file.write(text.ljust(116).encode() + bytes(8) + b"\x00\x02IM")
