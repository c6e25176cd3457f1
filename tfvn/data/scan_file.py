"""A scan in one file: its arrays in the order (coils, height, width).

The order of axes in the file, for MATLAB files (v5 and v7.3) as `size()` shows them and else as
NumPy's `shape` does:

    .mat          (height, width, coils)    or (height, width, slices, coils)
    .h5, .npy     (coils, height, width)    or (slices, coils, height, width)

and (height, width) for a single coil. The rule is applied only if the axis that it takes for the
coils is the shortest of coils, height and width; else `coil_axis` must say which axis of the file
it is. The other axes keep their order: with four of them, the slices are the last (.mat) or the
first (.h5, .npy) of the rest. Real arrays end in an axis of (real, imaginary). What an `.h5` file
says of itself goes before the rule, see `tfvn.data.axes`: so the single-coil volumes of fastMRI,
(slices, height, width), are read as such.
"""

import numpy as np

from tfvn.data import axes, centre, coils, recognise
from tfvn.data.array_files import open_array

__all__ = [
    "arrange",
    "coils_as_slices",
    "open_kspace",
    "open_maps",
    "scan_shape",
    "slices_as_coils",
]

_KSPACE_NAMES = ("kspace", "rawdata", "raw")
_MAPS_NAMES = ("sensitivity_maps", "sensitivities", "maps")


def open_kspace(path, name=""):
    """The k-space of a file, see `tfvn.data.array_files.open_array`; '' is the only one it can be.

    Raises:
        ValueError: as `open_array`.
    """
    return open_array(path, _KSPACE_NAMES, name, "data.array (--array)", least_axes=2)


def open_maps(path, name=""):
    """As `open_kspace`, of coil maps."""
    setting = "data.sensitivity_array (--maps-array)"
    return open_array(path, _MAPS_NAMES, name, setting, least_axes=2)


def scan_shape(path, coil_axis=axes.BY_RULE, array=""):
    """(slices, coils, height, width) of the scan in a file, as `Measurement` reads it.

    No k-space is read.

    Raises:
        ValueError: as `tfvn.data.measurement.Measurement`.
    """
    recognise.head(path)
    array = open_kspace(path, array)
    found = axes.find(array, path, coil_axis)
    height, width = (array.shape[axis] for axis in _image_axes(array, found))
    return _size(array, found.slices), _size(array, found.coils), height, width


def _size(array, axis):
    """The size of an axis, 1 where there is no such axis."""
    if axis is None:
        return 1
    return array.shape[axis]


def _image_axes(array, found):
    """The axes of height and width."""
    return [axis for axis in range(len(array.shape)) if axis not in found][:2]


def arrange(array, path, coil_axis, slice_index, transpose):
    """One slice of an array of a file, complex64 (coils, height, width).

    Args:
        array: of the file.
        path: the file, for messages.
        coil_axis: axis of the coils in the file, see `tfvn.data.axes.find`.
        slice_index: which slice.
        transpose: whether height and width are exchanged.

    Raises:
        ValueError: naming the file, for a slice that it does not hold and for other arrays.
    """
    found = axes.find(array, path, coil_axis)
    count = _size(array, found.slices)
    if slice_index >= count:
        raise ValueError(
            f"{path}: the file holds {count} slices. Received: data.slice_index={slice_index}"
        )
    index = [slice(None)] * array.ndim
    if found.slices is not None:
        # A part of length 1 keeps the other axes where they are.
        index[found.slices] = slice(slice_index, slice_index + 1)
    # A copy: what is mapped would change with its file.
    array = np.array(array[tuple(index)])
    if array.dtype.kind != "c":
        array = _paired(array, path)
    array = _coils_first(array, found)
    if transpose:
        array = np.swapaxes(array, 1, 2)
    return np.ascontiguousarray(array, np.complex64)


def _coils_first(array, found):
    """(coils, height, width) of an array whose axis of slices has length 1."""
    if found.coils is None:
        if found.slices is not None:
            array = array.squeeze(found.slices)
        return array[None]
    if found.slices is None:
        return np.moveaxis(array, found.coils, 0)
    axis = found.coils
    if found.slices < found.coils:
        axis -= 1
    return np.moveaxis(array.squeeze(found.slices), axis, 0)


def _paired(array, path):
    """Complex of real numbers whose last axis is (real, imaginary)."""
    if array.any() and not (array < 0).any():
        raise ValueError(
            f"{path}: of real arrays the last axis, of length 2, is taken for (real, imaginary). "
            f"Received: no negative number in an array of {array.dtype}. Are these magnitudes? "
            "K-space and maps are complex."
        )
    return array[..., 0] + 1j * array[..., 1]


def slices_as_coils(kspace, array, found):
    """A sentence where what is taken for coils differs from one to the next as slices do, else ''.

    Args:
        kspace: complex (coils, height, width).
        array: of the file.
        found: its `tfvn.data.axes.Axes`.
    """
    variation = coils.variation(kspace)
    if variation is None or variation <= coils.SLICES:
        return ""
    return (
        f"axis {found.coils} of shape {array.shape} is taken for the coils, and differs "
        f"from one to the next as slices do: {variation:.2f} where coils give up to 0.2 "
        "and slices 0.7 or more. Set data.coil_axis (--coil-axis) to the axis of the coils, "
        "or to -2 if there is one coil."
    )


def coils_as_slices(kspace, array, found):
    """A sentence where what is taken for slices of one coil differs as coils do, else ''.

    Args:
        kspace, array, found: as for `slices_as_coils`.
    """
    if len(kspace) > 1 or found.slices is None:
        return ""
    variation = coils.variation(_centre_of_slices(array, found), coils.noise_power(kspace))
    if variation is None or variation >= coils.COILS:
        return ""
    return (
        f"axis {found.slices} of shape {array.shape} is taken for slices of one coil, and "
        f"differs from one to the next as coils do: {variation:.2f} where coils give up to 0.2 "
        "and slices 0.7 or more. If it is the axis of the coils, set data.coil_axis (--coil-axis)"
        f" to {found.slices}."
    )


def _centre_of_slices(array, found):
    """Of all slices of one coil the part that `tfvn.data.coils` needs, (slices, height, width)."""
    index = [slice(None)] * array.ndim
    for axis in _image_axes(array, found):
        index[axis] = centre.lines_of(array.shape[axis], coils.LINES)
    part = np.array(array[tuple(index)])
    if part.dtype.kind != "c":
        part = part[..., 0] + 1j * part[..., 1]
    part = np.moveaxis(part, found.slices, 0)
    if found.coils is not None:
        axis = found.coils
        if found.coils < found.slices:
            axis += 1
        part = part.squeeze(axis)
    return part.astype(np.complex64)
