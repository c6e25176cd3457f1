"""Which axis of k-space or maps is which: by the rule of `tfvn.data.measurement`, and by the file.

An `.h5` file often tells of itself: by arrays beside the k-space (a reconstruction of each slice),
by the header of the scanner (`ismrmrd_header`), by attributes. Of three axes, which may be (coils,
height, width) or the (slices, height, width) of one coil, this decides; four that contradict the
rule are refused, and so is a file that contradicts itself. What can be misleading, such as the
number of channels of a scanner whose coils were combined, counts only where nothing certain is
there. An axis that is given always wins, with a warning if the file says otherwise.
"""

import warnings
from pathlib import Path
from typing import NamedTuple, Optional

import h5py

from tfvn.checks import DataWarning
from tfvn.data import header
from tfvn.data.array_files import is_matlab
from tfvn.data.hdf5 import member

__all__ = ["Axes", "BY_RULE", "NO_AXIS", "SHORTEST", "find", "is_told"]

# Values of `coil_axis` that are no axis.
BY_RULE, NO_AXIS = -1, -2
# Shorter axes belong to no image.
SHORTEST = 8
_MAPS = ("sensitivity_maps", "sensitivities", "maps")
_IMAGES = ("reconstruction", "target", "reference")


class Axes(NamedTuple):
    """The axes of the coils and of the slices in a file, None where there is no such axis."""

    coils: Optional[int]
    slices: Optional[int]


class _Evidence(NamedTuple):
    """A sentence on what the axes are; `axes` None: on what they are not alone."""

    axes: Optional[Axes]
    certain: bool
    sentence: str


def find(array, path, coil_axis=BY_RULE):
    """The `Axes` of an array.

    Args:
        array: has `shape` and `dtype`.
        path: the file that it is read from.
        coil_axis: axis of the coils in the file; -1: by the rule; -2: there is none, the
            scan has one coil.

    Raises:
        ValueError: where the axes are ambiguous, or are none of a scan.

    Warns:
        DataWarning: if the file says otherwise than `coil_axis`, or this makes more coils than
            lines.
    """
    shape = _complex_shape(array, path)
    ndim = len(shape)
    if not _fits(ndim, coil_axis):
        raise ValueError(
            f"{path}: expected axes coils, height, width and perhaps slices. "
            f"Received: shape={shape}, data.coil_axis={coil_axis}"
        )
    matlab = is_matlab(path)
    evidence = _told_of(array, path, shape)
    if coil_axis == BY_RULE:
        axes = _by_rule(shape, path, matlab, evidence)
    else:
        axes = _given(ndim, coil_axis, matlab)
        _compare(axes, shape, path, evidence)
        _compare_sizes(axes, shape, path)
    short = min(size for axis, size in enumerate(shape) if axis not in axes)
    if short < SHORTEST:
        raise ValueError(
            f"{path}: height and width of an image are {SHORTEST} or more. Received: {short}, of "
            f"shape {shape}. {_remedy(ndim)}"
        )
    return axes


def _fits(ndim, coil_axis):
    """Whether an array of so many axes can have this axis of the coils."""
    if coil_axis == NO_AXIS:
        return ndim in (2, 3)
    if coil_axis == BY_RULE and ndim == 2:
        return True
    return ndim in (3, 4) and coil_axis < ndim


def is_told(array, path):
    """Whether the file itself says which axes an array of it has."""
    return bool(_told_of(array, path, _complex_shape(array, path)))


def _told_of(array, path, shape):
    """The evidence that counts, of what the file says; MATLAB files say nothing."""
    if is_matlab(path):
        return []
    # An array of a `.npy` file has no name.
    return _weighed(_evidence(path, getattr(array, "name", ""), shape))


def _complex_shape(array, path):
    """The shape without a last axis of (real, imaginary)."""
    if array.dtype.kind == "c":
        return tuple(array.shape)
    if array.ndim == 0 or array.shape[-1] != 2:
        raise ValueError(
            f"{path}: k-space and maps are complex, or real with a last axis of (real, imaginary). "
            f"Received: {array.dtype} array of shape {array.shape}"
        )
    return tuple(array.shape[:-1])


def _kind(path, matlab):
    if matlab:
        return "MATLAB"
    return Path(path).suffix


def _given(ndim, coil_axis, matlab):
    """The axes where that of the coils is given."""
    coils = coil_axis
    if coil_axis == NO_AXIS:
        coils = None
    rest = [axis for axis in range(ndim) if axis != coils]
    if len(rest) < 3:
        return Axes(coils, None)
    if matlab:
        return Axes(coils, rest[-1])
    return Axes(coils, rest[0])


def _by_rule(shape, path, matlab, evidence):
    ndim = len(shape)
    if ndim == 2:
        return Axes(None, None)
    coil_axis = ndim - 3
    if matlab:
        coil_axis = ndim - 1
    axes = _given(ndim, coil_axis, matlab)
    said = {item.axes for item in evidence}
    if len(said) == 1 and said <= {axes, Axes(None, axes.coils)}:
        return said.pop()
    if said:
        raise ValueError(
            f"{path}: which axis holds the coils is ambiguous. By the rule for "
            f"{_kind(path, matlab)} files it is axis {axes.coils} of shape {shape}; but "
            f"{_sentences(evidence)}. {_remedy(ndim)}"
        )
    others = [size for axis, size in enumerate(shape) if axis not in axes]
    if shape[axes.coils] >= min(others):
        raise ValueError(
            f"{path}: which axis holds the coils is ambiguous. By the rule for "
            f"{_kind(path, matlab)} files it is axis {axes.coils} of shape {shape}, but another is "
            f"as short or shorter. {_remedy(ndim)}"
        )
    return axes


def _compare(axes, shape, path, evidence):
    """Warns where an axis that is given is not the one that the file speaks of."""
    if evidence and axes not in [item.axes for item in evidence]:
        coils = f"axis {axes.coils}"
        if axes.coils is None:
            coils = "no axis"
        warnings.warn(
            f"{path}: {coils} of shape {shape} is taken for the coils, as data.coil_axis says;"
            f" but {_sentences(evidence)}.",
            DataWarning,
            stacklevel=2,
        )


def _compare_sizes(axes, shape, path):
    """Warns of more coils than the image has lines: far more often a slip than a receiver."""
    image = [size for axis, size in enumerate(shape) if axis not in axes]
    if axes.coils is not None and shape[axes.coils] > min(image):
        warnings.warn(
            f"{path}: axis {axes.coils} of shape {shape} is taken for the coils, as data.coil_axis"
            f" says: {shape[axes.coils]} coils, and images of {image[0]} x {image[1]}.",
            DataWarning,
            stacklevel=2,
        )


def _sentences(evidence):
    return "; ".join(item.sentence for item in evidence)


def _remedy(ndim):
    if ndim == 2:
        return "Two axes are the height and width of one coil."
    text = f"Set data.coil_axis (--coil-axis) to the axis of the coils (0 to {ndim - 1})"
    if ndim == 3:
        text += ", or to -2 if the axes are the slices, height and width of one coil"
    return f"{text}."


def _weighed(evidence):
    """What counts: beside what is certain nothing else, and doubts where nothing else is there."""
    certain = [item for item in evidence if item.certain]
    positive = [item for item in evidence if item.axes is not None]
    return certain or positive or evidence


def _evidence(path, name, shape):
    """All that an HDF5 file says of the axes of the array `name`, in the order of NumPy."""
    if len(shape) == 2 or (len(shape) == 3 and shape[0] == 1) or not h5py.is_hdf5(path):
        return []
    try:
        with h5py.File(path, "r") as file:
            told = _Told(file, name)
    # Reading the array itself comes later, and says what is wrong with a file.
    except Exception:
        return []
    if len(shape) == 3:
        return _of_slices(told, shape)
    return _of_order(told, shape)


class _Told:
    """What an open file tells: shapes of images and of maps, numbers of the header, a layout.

    images, maps: (name, shape) of the arrays beside the k-space; of a single image the first size
    is 1.
    channels, slices: of the header, None where it does not say.
    layout: whether it has the attributes of fastMRI's files: `acquisition`, or `max` and `norm`.
    """

    def __init__(self, file, name):
        self.images = []
        self.maps = []
        self.emulated = False
        self.layout = False
        text = ""
        folder = file
        if name:
            folder = member(file, name).parent
        for group in {file.name: file, folder.name: folder}.values():
            self._look_beside(group)
            self.emulated |= "reconstruction_esc" in group
            self.layout |= "acquisition" in group.attrs or {"max", "norm"} <= set(group.attrs)
            text = text or header.text_of(group)
        self.channels = header.number("receiverChannels", text)
        self.slices = header.number("maximum", header.element("slice", text))
        if self.slices is not None:
            self.slices += 1  # They are counted from 0.

    def _look_beside(self, group):
        for name in group:
            shape = _shape(group, name)
            if name.startswith(_IMAGES) and len(shape) == 3:
                self.images.append((name, shape))
            if name.startswith(_IMAGES) and len(shape) == 2:
                self.images.append((name, (1, *shape)))
            if name in _MAPS and len(shape) == 3:
                self.maps.append((name, shape))


def _shape(file, name):
    try:
        return getattr(member(file, name), "shape", None) or ()
    except (ValueError, KeyError):
        return ()


def _of_slices(told, shape):
    """Of (first, height, width): coils or slices?"""
    first = shape[0]
    coils, slices = Axes(0, None), Axes(None, 0)
    found = []
    if told.emulated:
        sentence = "reconstruction_esc beside it belongs to slices of one coil"
        found.append(_Evidence(slices, True, sentence))
    for name, (count, *_) in told.images:
        if count == first:
            found.append(_Evidence(slices, True, f"{name} beside it holds {count} slices"))
        elif count == 1:
            found.append(_Evidence(coils, True, f"{name} beside it is a single image"))
    for name, size in told.maps:
        if size[0] == first:
            found.append(_Evidence(coils, True, f"{name} beside it holds {first} coils"))
    found += _of_channels(told.channels, first)
    if told.slices == first and told.channels != first:
        found.append(_Evidence(slices, False, f"the header has {first} slices"))
    if told.layout:
        sentence = (
            "with the attributes of fastMRI's files (acquisition, or max and norm) three axes are "
            "slices of one coil"
        )
        found.append(_Evidence(slices, False, sentence))
    return found


def _of_channels(channels, first):
    """What the receiver channels of the header say of an axis of `first`: coils or slices?"""
    if channels == first:
        sentence = f"the header has {first} receiver channels"
        return [_Evidence(Axes(0, None), False, sentence)]
    if channels == 1:
        return [_Evidence(Axes(None, 0), True, "the header has one receiver channel")]
    if channels:
        sentence = f"the header has {channels} receiver channels, not {first}"
        return [_Evidence(None, False, sentence)]
    return []


def _of_order(told, shape):
    """Of (first, second, height, width): (slices, coils) or (coils, slices)?"""
    first, second = shape[:2]
    rule, exchanged = Axes(1, 0), Axes(0, 1)
    if first == second:
        return []
    found = []

    def count(size, place, certain, sentence):
        """`size` is that of the axis `place` by the rule, or of the other one."""
        if size == shape[place]:
            found.append(_Evidence(rule, certain, sentence))
        elif size == shape[1 - place]:
            found.append(_Evidence(exchanged, certain, sentence))

    for name, (slices, *_) in told.images:
        count(slices, 0, True, f"{name} beside it holds {slices} slices")
    for name, (coils, *_) in told.maps:
        count(coils, 1, True, f"{name} beside it holds {coils} coils")
    count(told.channels, 1, False, f"the header has {told.channels} receiver channels")
    if told.channels not in (first, second):
        count(told.slices, 0, False, f"the header has {told.slices} slices")
    return found
