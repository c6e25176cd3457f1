"""Do the arrays of a slice belong together, and are they in the convention that is assumed?

Shapes and NaN say little. What is compared here shows in the data of every scan: see
`tfvn.data.conventions` for k-space alone and `tfvn.data.belonging` for its maps and reference.

What is certainly wrong is refused; what probably is makes a `DataWarning`.
"""

import warnings

import numpy as np

from tfvn.checks import DataWarning
from tfvn.data import belonging, centre, conventions
from tfvn.data.sample import combine, ifft2c

__all__ = ["check", "forget", "mask_doubts", "tell"]

# Real part of the object's m: 0.03 or more for objects that fill the field of view, down to -0.7
# for shifted ones. The second is for images from a centre of which points are missing.
_EDGES, _EDGES_IN_PART = -0.15, -0.25
# Side of the central block of k-space from which images of low resolution are made, and the least
# one.
_LINES, _FEWEST_LINES = 32, 8
# Energy that a mask samples, as a part of that of as many random points; of right ones 1 or more.
_LEAST_SHARE = 0.5
# Of a block that was measured, the part that may be missing as single entries; of a whole scan.
_MEASURED, _MEASURED_OF_ALL = 0.95, 0.9

# Of what was checked or told in this process: the texts of its warnings.
_checked = {}


def check(
    kspace, name, sensitivity_maps=None, reference=None, readout_oversampling=False, key=None
):
    """Compares the arrays of a slice with each other and with the package's conventions.

    Args:
        kspace: complex (coils, height, width), as measured: before any mask is applied to it.
        name: the slice or its file, for the messages.
        sensitivity_maps: complex (coils, height, width); None compares none, as for those that
            were estimated from this k-space.
        reference: (rows, width), compared where k-space is fully sampled; None compares none.
        readout_oversampling: the image is the central half of the height.
        key: what the arrays were read from, hashable: what passed once is not checked again in
            this process.

    Returns:
        The texts of the warnings, a list.

    Raises:
        ValueError: where it is certain that results would be wrong.

    Warns:
        DataWarning: where it is likely.
    """
    if key is not None and key in _checked:
        return _checked[key]
    try:
        found = _doubts(kspace, sensitivity_maps, reference, readout_oversampling)
        texts = [f"{name}: {doubt}" for doubt in found]
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    tell(texts, key)
    return texts


def mask_doubts(kspace, mask):
    """Does a mask sample the centre of k-space?

    Args:
        kspace: complex (coils, height, width), as measured.
        mask: 0/1 (1, 1 or height, width).

    Returns:
        Texts for warnings, a list.
    """
    largest = np.abs(kspace).max()
    if not 0 < largest < np.inf:
        return []
    energy = (np.abs(kspace / largest) ** 2).sum(0, dtype=np.float64)
    moments = [conventions.moment(energy.sum(axis)) for axis in (1, 0)]
    points = np.broadcast_to(mask[0] > 0, energy.shape)
    share = energy[points].sum() / energy.sum()
    sampled = points.mean()
    is_clear = conventions.is_clear(moments, conventions.noise_moment(kspace))
    if not is_clear or share >= _LEAST_SHARE * sampled:
        return []
    return [
        f"the mask samples {sampled:.0%} of k-space and {share:.1%} of its energy, which lies in "
        "the centre. Is it inverted (1 - mask), or made for a zero frequency in the corner "
        "(np.fft.fftshift(mask))?"
    ]


def tell(texts, key=None):
    """Warns of what an earlier check found, once in this process for every key."""
    if key is not None and key in _checked:
        return
    for text in texts:
        warnings.warn(text, DataWarning, stacklevel=3)
    if key is not None:
        _checked[key] = list(texts)


def forget():
    """What was checked is checked again, and what was told is told again."""
    _checked.clear()


def _doubts(kspace, maps, reference, readout_oversampling):
    """Yields the texts of the warnings; raises ValueError for what is certain."""
    # `tfvn.data.sample.check` speaks of shapes, of NaN and of zeros.
    if kspace.ndim != 3 or not _has_numbers(kspace):
        return
    conventions.check_complex(kspace)
    scale = np.abs(kspace).max()
    kspace = kspace / scale
    images = ifft2c(kspace)
    energies = [conventions.energy_of_lines(kspace, axis) for axis in (1, 2)]
    moments = [conventions.moment(energy) for energy in energies]
    noise = conventions.noise_moment(kspace)
    yield from conventions.coil_doubts(kspace)
    image = conventions.transformed(moments, images)
    yield from conventions.image_doubts(image)
    yield from conventions.centre_doubts(energies, moments, image, noise)
    measured = (kspace != 0).any(0)
    lines = _centre_lines(measured)
    low = _low_resolution(kspace, _LINES)
    clear = conventions.is_clear(moments, noise) and not image
    if clear:
        edges = _EDGES
        if lines < _FEWEST_LINES:
            edges = _EDGES_IN_PART
        yield from conventions.object_doubts(low, edges, readout_oversampling)
    if maps is None or maps.shape != kspace.shape or not _has_numbers(maps):
        return
    yield from belonging.norm_doubts(low, maps)
    if clear and lines >= _FEWEST_LINES:
        yield from belonging.maps_doubts(_low_resolution(kspace, lines), maps)
    if reference is not None and _is_full(measured):
        combined = combine(images, maps, readout_oversampling)
        yield from belonging.reference_doubts(np.abs(combined), np.abs(reference) / scale, clear)


def _has_numbers(array):
    return np.isfinite(array).all() and array.any()


def _block(size, lines):
    """The central lines of an axis; of a small axis its half, as the outer one is mostly noise."""
    most = max(size // 2, min(size, _FEWEST_LINES))
    return centre.lines_of(size, min(lines, most))


def _low_resolution(kspace, lines):
    """Images of the central block, weighted by a Hann window, on as many pixels as it has lines."""
    rows, columns = (_block(size, lines) for size in kspace.shape[1:])
    block = kspace[:, rows, columns]
    return ifft2c(block * centre.hann_window(block.shape[1:]))


def _centre_lines(measured):
    """Side of the largest central block that was measured but for single entries."""
    for lines in range(_LINES, 0, -1):
        rows, columns = (_block(size, lines) for size in measured.shape)
        if measured[rows, columns].mean() > _MEASURED:
            return lines
    return 0


def _is_full(measured):
    """All was measured but lines at the ends, half of an axis at most, and single entries."""
    if not measured.any():
        return False
    extents = []
    for axis in (1, 0):
        lines = np.flatnonzero(measured.any(axis))
        extents.append(slice(lines[0], lines[-1] + 1))
    inside = measured[tuple(extents)]
    share = min(np.divide(inside.shape, measured.shape))
    return inside.mean() > _MEASURED_OF_ALL and share >= 0.5
