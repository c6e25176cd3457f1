"""Lists of arrays as BART writes them: NAME.hdr, a text, and NAME.cfl, complex numbers in single
precision, the first axis fastest.

The header of several arrays has the number of axes of each below `# SizesDimensions`, and their
sizes below `# MultiDimensions`, one line an array.
"""

import math
import os

import numpy as np

from tfvn.models.imported import readable
from tfvn.network_size import LARGEST_FILE

__all__ = ["ENDINGS", "read_arrays"]

ENDINGS = (".cfl", ".hdr")
_LARGEST_HEADER = 2**20


def read_arrays(path):
    """The arrays of a file of several.

    Args:
        path: NAME, NAME.hdr or NAME.cfl.

    Raises:
        ValueError: if it is not such a file, or longer or shorter than its header says.
    """
    name = os.fsdecode(path)
    if name.endswith(ENDINGS):
        name = name[:-4]
    with open(readable(name + ".hdr"), encoding="utf-8") as file:
        shapes = _shapes(file.read(_LARGEST_HEADER))
    sizes = [math.prod(shape) for shape in shapes]
    expected = sum(sizes) * np.dtype("<c8").itemsize
    length = os.path.getsize(readable(name + ".cfl"))
    if expected > LARGEST_FILE:
        raise ValueError(
            f"{name}.cfl must have at most {LARGEST_FILE} bytes. Received: {expected} bytes"
        )
    if length != expected:
        raise ValueError(f"{name}.cfl must have {expected} bytes. Received: {length} bytes")
    numbers = np.fromfile(name + ".cfl", "<c8")
    arrays = []
    for shape, part in zip(shapes, np.split(numbers, np.cumsum(sizes)[:-1])):
        arrays.append(part.reshape(shape, order="F"))
    return arrays


def _shapes(header):
    """The shapes of all arrays."""
    lines = header.splitlines()
    if "# SizesDimensions" not in lines or "# MultiDimensions" not in lines:
        raise ValueError("expected the header of several arrays, such as BART's weights have")
    ranks = _numbers(lines[lines.index("# SizesDimensions") + 1])
    start = lines.index("# MultiDimensions") + 1
    shapes = [tuple(_numbers(line)) for line in lines[start : start + len(ranks)]]
    if [len(shape) for shape in shapes] != ranks or not all(map(all, shapes)):
        raise ValueError(f"expected arrays of {ranks} axes. Received: {shapes}")
    return shapes


def _numbers(line):
    found = [int(word) for word in line.split()]
    if not found or min(found) < 0:
        raise ValueError(f"expected whole numbers >= 0. Received: {line[:100]}")
    return found
