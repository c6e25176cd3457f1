"""Arrays in HDF5 files: found in groups, read within limits, never taken from another file.

MATLAB v7.3 files are HDF5 with the axes reversed; here they are as MATLAB shows them. Complex
numbers are compounds of two numbers. A link can name any other HDF5 file of the machine, and a
dataset any file at all to take its numbers from: a scan from elsewhere must not bring a file of the
reader's into its results. What is not read may lie where it likes.
"""

import contextlib
import itertools
import math
import zlib

import h5py
import numpy as np

from tfvn.data.recognise import NoNumbersError, RefusedError, check_size, missing_filter, reading

__all__ = [
    "ElsewhereError",
    "NUMERIC",
    "Stored",
    "is_matlab",
    "member",
    "number_of",
    "plain",
    "search",
]

NUMERIC = "biufc"  # kinds of NumPy's types
_PAIRS = (("real", "imag"), ("r", "i"), ("re", "im"), ("Re", "Im"))
# Links that lead to links, and virtual datasets made of virtual ones, may run in a circle.
_MOST_STEPS = 20
# Objects that are looked at in search of arrays.
_MOST_OBJECTS = 10_000
# The filters of data packed by deflate, with or without shuffled bytes.
_DEFLATE = ([h5py.h5z.FILTER_DEFLATE], [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE])
# MATLAB's own, where cells keep what they hold.
_MATLABS_OWN = ("#refs#", "#subsystem#")
_MATLAB_NUMBERS = ("double", "single", "logical", "int8", "int16", "int32", "int64")
_MATLAB_NUMBERS += ("uint8", "uint16", "uint32", "uint64")
# What `_meaning` calls those that are searched too.
_GROUPS = ("a group", "a structure")


class ElsewhereError(RefusedError):
    """What an HDF5 file holds lies in another file."""


def member(group, path):
    """`group[path]` of an open HDF5 file, if all of it lies in this file.

    Links inside the file are followed.

    Raises:
        ValueError: if it lies elsewhere.
        KeyError: if it is not there.
    """
    return _member(group, path, _MOST_STEPS)


def _member(group, path, steps):
    place, rest = _start(group, path)
    while rest:
        name = rest.pop()
        link = None
        if isinstance(place, h5py.Group):
            link = place.get(name, getlink=True)
        if link is None:
            raise KeyError(f"{name} is not there")
        if isinstance(link, h5py.HardLink):
            place = _opened(place, name)
            continue
        if not isinstance(link, h5py.SoftLink):
            raise ElsewhereError(
                f"{name} is a link to another file. Replace it by a copy of what it stands for."
            )
        steps -= 1
        if not steps:
            raise RefusedError(
                f"{path} is a link that leads in a circle. Replace it by a copy of what it stands"
                " for."
            )
        target, more = _start(place, link.path)
        try:
            place = _member(target, "/".join(reversed(more)), steps)
        except KeyError as error:
            raise KeyError(f"{name} is a link to {link.path}, where nothing is") from error
    _check_source(place, steps)
    return place


def _opened(group, name):
    try:
        return group[name]
    # The KeyError of h5py, which is not that nothing is there.
    except Exception as error:
        raise OSError(f"{name} cannot be opened: {error}") from error


def _start(group, path):
    """(where a path begins, its parts with the first at the end)."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/"):
        group = group.file
    return group, parts[::-1]


def _check_source(item, steps):
    """That a dataset takes its numbers from this file."""
    if not isinstance(item, h5py.Dataset):
        return
    elsewhere = ElsewhereError(
        f"{item.name[1:]} takes its numbers from other files. Replace it by a copy of them."
    )
    if item.external:
        raise elsewhere
    if item.is_virtual:
        sources = {(source.file_name, source.dset_name) for source in item.virtual_sources()}
        for file, name in sources:
            # A percent sign stands for the numbers of many.
            if file != "." or "%" in name:
                raise elsewhere
            if steps <= 1:
                raise RefusedError(
                    f"{item.name[1:]} is made of itself. Replace it by a copy of its numbers."
                )
            with contextlib.suppress(KeyError):  # it is filled with zeros
                _member(item.file, "/" + name, steps - 1)


def plain(array):
    """Compound (real, imaginary) to complex; other arrays as they are."""
    pair = _pair(array.dtype)
    if not pair:
        return array
    real, imaginary = pair
    return array[real] + 1j * array[imaginary]


def _pair(dtype):
    """The names of the real and the imaginary part of a compound type; None for other types."""
    for pair in _PAIRS:
        if dtype.names and set(dtype.names) == set(pair):
            (real, first), (imaginary, second) = (dtype.fields[name][:2] for name in pair)
            # Parts that overlap, which only a damaged file has, would crash HDF5.
            apart = abs(first - second) >= real.itemsize
            if apart and real == imaginary and real.kind in "iuf":
                return pair
            return None
    return None


def is_matlab(file):
    """Whether an open file holds variables of MATLAB's, whose axes are reversed."""
    for name in list(file)[:_MOST_OBJECTS]:
        # What cannot be opened says nothing.
        with contextlib.suppress(Exception):
            link = file.get(name, getlink=True)
            if isinstance(link, h5py.HardLink) and "MATLAB_class" in file[name].attrs:
                return True
    return False


class Stored:
    """An array of numbers of a file, which is opened for each index.

    An index is a tuple with one for every axis, or `...`. `shape`, `ndim` and `dtype` are those of
    what is read.

    Args:
        path: the file.
        item: its open dataset.
        matlab: whether axes are reversed.
    """

    def __init__(self, path, item, matlab):
        self._path = path
        self._name = item.name
        self._matlab = matlab
        self.shape = item.shape
        if matlab:
            self.shape = item.shape[::-1]
        self.ndim = item.ndim
        self.dtype = plain(np.empty(0, item.dtype)).dtype

    @property
    def name(self):
        """Of the array in its file, with its groups."""
        return self._name

    def __getitem__(self, index):
        with reading(self._path, "an HDF5 file"), h5py.File(self._path, "r") as file:
            item = member(file, self._name)
            if index is Ellipsis:
                index = (slice(None),) * self.ndim
            if not self._matlab:
                return _read(item, index)
            return _read(item, index[::-1]).T


def _read(item, index):
    """A part of a dataset, with an index for every axis."""
    _check_memory(item, index)
    _check_packed(item, index)
    try:
        return plain(item[index])
    except Exception:
        # Asked only now: without its filter, what was stored uncompressed can be read.
        reason = missing_filter(item)
        if reason:
            raise RefusedError(reason) from None
        # The filter may have been found just now.
        return plain(item[index])


def _check_memory(item, index):
    needed = item.dtype.itemsize
    for part, size in zip(index, item.shape):
        if isinstance(part, slice):
            needed *= len(range(*part.indices(size)))
    stored = item.id.get_storage_size()
    if item.is_virtual:
        stored = item.file.id.get_filesize()
    name = item.name.strip("/")
    check_size(name, needed, stored)
    if item.chunks and needed:
        # It is unpacked whole.
        check_size(f"a chunk of {name}", math.prod(item.chunks) * item.dtype.itemsize, stored)


def _check_packed(item, index):
    """Checks that what deflate packed has the size of its chunk.

    HDF5 reads beyond the end of what is shorter, and may crash.
    """
    filters = item.id.get_create_plist()
    codes = [filters.get_filter(number)[0] for number in range(filters.get_nfilters())]
    if codes not in _DEFLATE:
        return
    size = math.prod(item.chunks) * item.id.get_type().get_size()
    # By their places: to look for each by its number takes HDF5 all of them, every time.
    for place in _places(item.chunks, index, item.shape):
        try:
            skipped, packed = item.id.read_direct_chunk(place)
        except (OSError, RuntimeError):
            # It was never written; or HDF5 itself will tell, as nothing has been unpacked.
            continue
        # The last bit is that of the last filter.
        is_packed = not skipped >> (len(codes) - 1) & 1
        if is_packed:
            packed = zlib.decompressobj().decompress(packed, size + 1)
        if len(packed) != size:
            raise OSError(f"a chunk of {item.name[1:]} has {len(packed)} bytes of {size}")


def _places(chunks, index, shape):
    """Where the chunks begin that have a part in what an index of slices takes."""
    starts = []
    for length, part, size in zip(chunks, index, shape):
        if isinstance(part, slice):
            first, last, _ = part.indices(size)
        else:
            first, last = part, part + 1
        starts.append(range(first // length * length, last, length))
    return itertools.product(*starts)


def number_of(path, file, name, matlab):
    """The `Stored` array of this name.

    Raises:
        RefusedError: if there is something else, or it lies in another file.
        KeyError: if nothing is there.
    """
    item = member(file, name)
    meaning = _meaning(item)
    if meaning:
        raise NoNumbersError(f"{name} is no array of numbers but {meaning}.")
    return Stored(path, item, matlab)


def search(path, file, matlab):
    """All that a file holds, in its groups too.

    Returns:
        The arrays of numbers, a dict of name to `Stored`; and what else there is, a dict of name to
        what it is, or to the error of opening it.
    """
    found = _Search(path, matlab)
    found.go_through(file)
    return dict(sorted(found.arrays.items())), dict(sorted(found.others.items()))


class _Search:
    """What a file holds, group by group: `arrays` and `others`, as `search` returns them."""

    def __init__(self, path, matlab):
        self._path = path
        self._matlab = matlab
        self._waiting = []
        self._seen = set()
        self.arrays = {}
        self.others = {}

    def go_through(self, file):
        self._waiting.append(("", file))
        while self._waiting:
            prefix, group = self._waiting.pop()
            # Names that are no text are bytes.
            for name in sorted(group, key=str):
                if len(self.arrays) + len(self.others) + len(self._waiting) > _MOST_OBJECTS:
                    self.others["..."] = "more objects"
                    return
                if prefix or name not in _MATLABS_OWN:
                    self._look_at(group, name, f"{prefix}{name}")

    def _look_at(self, group, name, full):
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.SoftLink):
            self.others[full] = f"a link to {link.path}"
            return
        try:
            item = member(group, name)
            meaning = _meaning(item)
            address = h5py.h5o.get_info(item.id).addr
        except Exception as error:
            self.others[full] = error
            return
        if address in self._seen:
            return
        self._seen.add(address)
        if not meaning:
            self.arrays[full] = Stored(self._path, item, self._matlab)
            return
        self.others[full] = meaning
        if isinstance(item, h5py.Group) and meaning in _GROUPS:
            self._waiting.append((f"{full}/", item))


def _meaning(item):
    """What an object is that is no array of numbers; '' if it is one."""
    kind = item.attrs.get("MATLAB_class", b"")
    if isinstance(kind, bytes):
        kind = kind.decode("latin-1")
    kind = str(kind)
    if isinstance(item, h5py.Group):
        return _meaning_of_group(item, kind)
    if not isinstance(item, h5py.Dataset):
        return "a named type"
    if kind == "char":
        return "text"
    if kind and kind not in _MATLAB_NUMBERS:
        return f"MATLAB's {kind[:50]}"
    if item.shape is None or "MATLAB_empty" in item.attrs:
        return "empty"
    return _meaning_of_type(item)


def _meaning_of_group(group, kind):
    if "MATLAB_sparse" in group.attrs:
        return "a sparse matrix"
    if kind == "struct":
        return "a structure"
    return "a group"


def _meaning_of_type(item):
    """What a dataset holds by its type; '' for numbers."""
    try:
        dtype = item.dtype
    except TypeError:
        return "of a type that NumPy does not have"
    # A type larger than its numbers, which only a damaged file has, would crash HDF5.
    if (dtype.kind in NUMERIC or _pair(dtype)) and item.id.get_type().get_size() <= dtype.itemsize:
        return ""
    if dtype.names and {"head", "data"} <= set(dtype.names):
        return "raw acquisitions in the format of ISMRMRD"
    if dtype.names:
        return f"records of {', '.join(dtype.names)}"
    if h5py.check_string_dtype(dtype):
        return "text"
    if h5py.check_ref_dtype(dtype):
        return "references"
    return f"of type {dtype}"
