"""Arrays of numbers in MATLAB files of version 5, as the published format lays them out.

MATLAB writes them by `save -v6` and `-v7`; Octave and SciPy write them too.

    file          128 bytes of header, then elements
    element       its type and its number of bytes (4 bytes each), data, zeros up to a multiple of
                  8; a small one has both in one word and up to 4 bytes of data in the next
    variable      an element of elements: flags with the class, sizes, name, real part, imaginary
                  part
    compressed    an element whose data are a variable, packed by zlib

Nothing is read before its size was compared with what is there: a reader that follows such a file
wherever it points can be led out of its memory. Texts, cells, structures, sparse matrices and
objects are told, not read.
"""

import collections
import math
import zlib
from typing import NamedTuple, Optional

import numpy as np

from tfvn.data.recognise import check_size

__all__ = ["Damaged", "Variable", "read", "variables"]

_HEADER = 128
_TAG = 8
# Unpacked bytes that hold flags, sizes and name of a variable.
_BEGINNING = 2**14
_MATRIX, _COMPRESSED = 14, 15
_COMPLEX = 0x800
_STRUCTURE, _OBJECT = 2, 17
# Types of elements that hold numbers, and classes of variables that are arrays of them.
_TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_CLASSES = {
    6: "f8",
    7: "f4",
    8: "i1",
    9: "u1",
    10: "i2",
    11: "u2",
    12: "i4",
    13: "u4",
    14: "i8",
    15: "u8",
}
_OTHERS = {
    1: "cell array",
    2: "structure",
    3: "object",
    4: "text",
    5: "sparse matrix",
    16: "function",
    17: "object",
}
# NumPy's marks of the byte orders.
_MARKS = {"little": "<", "big": ">"}
_MOST_AXES = 32
_MOST_VARIABLES = 10_000
_LONGEST_NAME = 1024


class Damaged(Exception):
    """The file does not keep the format."""


class Variable(NamedTuple):
    """What a file says of a variable, its numbers not read.

    Args:
        name: '' if it has none.
        shape: as MATLAB's `size()`.
        dtype: of its numbers; None if it is no array of numbers.
        meaning: what it is in that case.
        position: of its element in the file.
    """

    name: str
    shape: tuple
    dtype: Optional[np.dtype]
    meaning: str
    position: int


class _Elements:
    """Bytes that are taken as one element after the other.

    What is asked beyond their end is damage.
    """

    def __init__(self, content, order):
        self._content = memoryview(content)
        self._order = order
        self._position = 0

    def take(self, count):
        left = len(self._content) - self._position
        if count > left:
            raise Damaged(f"{count} bytes are announced where {left} are left")
        self._position += count
        return self._content[self._position - count : self._position]

    def word(self):
        return int.from_bytes(self.take(4), self._order)

    def tag(self):
        """(type, number of bytes, whether it is a small one) of the element that begins here."""
        word = self.word()
        if word >> 16:
            return word & 0xFFFF, word >> 16, True
        return word, self.word(), False

    def element(self):
        """(type, data) of the next element."""
        kind, count, small = self.tag()
        if small and count > 4:
            raise Damaged(f"a small element of {count} bytes")
        data = self.take(count)
        padding = -count % 8
        if small:
            padding = 4 - count
        # The last element of a variable may end before the multiple of 8.
        self._position = min(self._position + padding, len(self._content))
        return kind, data

    def numbers(self, most=None):
        """The data of the next element as an array, of no more than `most` numbers."""
        kind, data = self.element()
        if kind not in _TYPES:
            raise Damaged(f"an element of type {kind} in place of numbers")
        dtype = np.dtype(_TYPES[kind]).newbyteorder(_MARKS[self._order])
        count, rest = divmod(len(data), dtype.itemsize)
        if rest or (most is not None and count > most):
            raise Damaged(f"{len(data)} bytes of numbers of {dtype.itemsize} bytes")
        return np.frombuffer(data, dtype)


def variables(path):
    """All variables of a file, in its order.

    Raises:
        Damaged: if the file does not keep the format.
        OSError, zlib.error: if it cannot be read or unpacked.
    """
    found = []
    with open(path, "rb") as file:
        order, end = _order(file)
        position = _HEADER
        while position < end:
            _, count = _top(file, position, order, end)
            beginning = _Elements(_content(file, position, order, end, _BEGINNING), order)
            found.append(_variable(beginning, position))
            position += _TAG + count
            if len(found) > _MOST_VARIABLES:
                raise Damaged(f"it holds more than {_MOST_VARIABLES} variables")
    names = collections.Counter(variable.name for variable in found if variable.name)
    for name, count in names.items():
        if count > 1:
            raise Damaged(f"{count} variables are called {name[:100]}")
    return found


def read(path, variable):
    """The array of one of `variables(path)`.

    Raises:
        RefusedError: if it would take much more memory than the file has bytes for it.
        Damaged, OSError, zlib.error: as `variables`.
    """
    needed = math.prod(variable.shape) * variable.dtype.itemsize
    with open(path, "rb") as file:
        order, end = _order(file)
        _, stored = _top(file, variable.position, order, end)
        check_size(variable.name, needed, stored)
        # Numbers are never stored larger than they are; flags, sizes and name come to them.
        content = _content(file, variable.position, order, end, needed + _BEGINNING)
    elements = _Elements(content, order)
    flags = _beginning(elements)[0]
    parts = [elements.numbers()]
    if flags & _COMPLEX:
        parts.append(elements.numbers())
    if {len(part) for part in parts} != {math.prod(variable.shape)}:
        counts = " and ".join(str(len(part)) for part in parts)
        raise Damaged(f"{variable.name} of shape {variable.shape} has {counts} numbers")
    array = np.empty(math.prod(variable.shape), variable.dtype)
    if flags & _COMPLEX:
        array.real, array.imag = parts
    else:
        # MATLAB stores numbers in the smallest type that holds them all.
        array[:] = parts[0]
    return array.reshape(variable.shape, order="F")


def _order(file):
    """(byte order, size) of a file."""
    header = file.read(_HEADER)
    if len(header) < _HEADER:
        raise Damaged("it ends within its header")
    order = "big"
    if header[126:128] == b"IM":
        order = "little"
    return order, file.seek(0, 2)


def _top(file, position, order, end):
    """(type, number of bytes) of an element of the file itself; its data come next."""
    file.seek(position)
    if position + _TAG > end:
        raise Damaged(f"{end - position} bytes are left over at its end")
    kind, count, small = _Elements(file.read(_TAG), order).tag()
    if small or kind not in (_MATRIX, _COMPRESSED):
        raise Damaged(f"an element of type {kind} at byte {position} in place of a variable")
    if position + _TAG + count > end:
        raise Damaged(f"a variable is cut short at byte {end} of {position + _TAG + count}")
    return kind, count


def _content(file, position, order, end, most):
    """What a variable's element holds, unpacked, up to `most` bytes."""
    kind, count = _top(file, position, order, end)
    if kind == _MATRIX:
        return file.read(min(count, most))
    whole = most > _BEGINNING
    if not whole:
        count = min(count, most)
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(file.read(count), _TAG + most)
    if whole and not unpacker.eof and len(content) < _TAG + most:
        raise Damaged("a compressed variable is cut short")
    kind, count, small = _Elements(content, order).tag()
    if small or kind != _MATRIX:
        raise Damaged(f"an element of type {kind} was compressed in place of a variable")
    return memoryview(content)[_TAG : _TAG + count]


def _variable(elements, position):
    flags, kind, shape, name = _beginning(elements)
    if kind in _CLASSES:
        dtype = np.dtype(_CLASSES[kind])
        if flags & _COMPLEX:
            dtype = np.result_type(dtype, np.complex64)
        return Variable(name, shape, dtype, "", position)
    if kind not in _OTHERS:
        raise Damaged(f"a variable of class {kind}")
    meaning = _OTHERS[kind]
    if kind == _STRUCTURE:
        meaning += f" of {', '.join(_fields(elements))}"
    return Variable(name, shape, None, meaning, position)


def _beginning(elements):
    """(flags, class, shape, name) of the variable that begins here."""
    flags = elements.numbers(most=2)
    if len(flags) != 2:
        raise Damaged("a variable without flags")
    flags = int(flags[0])
    kind = flags & 0xFF
    if kind == _OBJECT:
        # It has no sizes, but three names.
        return flags, kind, (), bytes(elements.element()[1][:_LONGEST_NAME]).decode("latin-1")
    shape = tuple(int(size) for size in elements.numbers(most=_MOST_AXES))
    if len(shape) < 2 or min(shape) < 0:
        raise Damaged(f"a variable of shape {shape}")
    _, name = elements.element()
    if len(name) > _LONGEST_NAME:
        raise Damaged(f"a name of {len(name)} bytes")
    return flags, kind, shape, bytes(name).decode("latin-1")


def _fields(elements):
    """The names of a structure's fields, as far as they are at hand."""
    try:
        length = int(elements.numbers(most=1)[0])
        _, names = elements.element()
    except (Damaged, IndexError):
        return ["fields"]
    parts = [bytes(names[start : start + length]) for start in range(0, len(names), max(length, 1))]
    return [part.split(b"\0")[0].decode("latin-1") for part in parts[:10]]
