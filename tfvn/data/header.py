"""The header of ISMRMRD, an XML text: the sizes and limits of a scan. fastMRI's volumes carry it.

It is searched and not parsed, as it may be damaged or hostile. What it does not say is None.

Source: Inati et al., MRM 77(1), 2017, and the schema ismrmrd.xsd.
"""

import re
from typing import NamedTuple, Optional

from tfvn.data.hdf5 import member

__all__ = ["Encoding", "Limits", "element", "encodings", "number", "text_of"]

# The text may have any size, and so may what stands in an element.
_LONGEST_HEADER = 2**20
_LONGEST_ELEMENT = 1000
_LONGEST_ENCODING = 20_000
_AXES = ("x", "y", "z")


class Limits(NamedTuple):
    """The counters of an encoding step: the first, the last, and that of the zero frequency."""

    minimum: int
    maximum: int
    center: int


class Encoding(NamedTuple):
    """One encoding of a scan.

    Args:
        encoded: (x, y, z), the size of k-space: readout, phase encoding, slice encoding.
        image: (x, y, z), the size of the image.
        lines: the `Limits` of the phase encoding.
        partitions: the `Limits` of the slice encoding.
        trajectory: such as 'cartesian', '' if it is not told.
    """

    encoded: Optional[tuple]
    image: Optional[tuple]
    lines: Optional[Limits]
    partitions: Optional[Limits]
    trajectory: str

    def measured_lines(self):
        """The lines that were measured, a slice; None if the header does not tell.

        K-space has `encoded[1]` lines. The zero frequency is the one in their middle. Lines beyond
        the limits were never measured and are filled with zeros.
        """
        if self.encoded is None or self.lines is None:
            return None
        first = self.encoded[1] // 2 - self.lines.center
        return slice(first, first + self.lines.maximum + 1)


def text_of(group, name="ismrmrd_header"):
    """The header in an open group of HDF5, '' if there is none that is a text."""
    try:
        text = member(group, name)
        if text.size != 1 or text.dtype.itemsize > _LONGEST_HEADER:
            return ""
        text = text[()]
    # It may be anything: a broken header is no reason not to read a scan.
    except Exception:
        return ""
    text = getattr(text, "flat", [text])[0]
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    return str(text)[:_LONGEST_HEADER]


def encodings(text):
    """The `Encoding`s of a header, a list."""
    return [_encoding(part) for part in _elements("encoding", text, _LONGEST_ENCODING)]


def element(name, text, longest=_LONGEST_ELEMENT):
    """What stands in the first element of this name, '' if there is none."""
    return next(iter(_elements(name, text, longest)), "")


def number(name, text):
    """The whole number in the first element of this name, None if there is none."""
    text = element(name, text).strip()
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII):
        return None
    return int(text)


def _elements(name, text, longest):
    pattern = rf"<(?:\w+:)?{name}>(.{{0,{longest}}}?)</(?:\w+:)?{name}>"
    return re.findall(pattern, text, re.DOTALL)


def _encoding(text):
    limits = element("encodingLimits", text, _LONGEST_ENCODING)
    return Encoding(
        _size(element("encodedSpace", text)),
        _size(element("reconSpace", text)),
        _limits(element("kspace_encoding_step_1", limits)),
        _limits(element("kspace_encoding_step_2", limits)),
        element("trajectory", text).strip(),
    )


def _size(space):
    matrix = element("matrixSize", space)
    return _all([number(axis, matrix) for axis in _AXES])


def _limits(step):
    found = _all([number(name, step) for name in Limits._fields])
    if found is None:
        return None
    return Limits(*found)


def _all(numbers):
    """A tuple of numbers, None if one of them is missing."""
    if None in numbers:
        return None
    return tuple(numbers)
