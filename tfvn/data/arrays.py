"""Arrays of one's own as networks and attacks take them: shapes, scale and mask put right.

    inputs, scale = tfvn.data.prepare(kspace)
    network.reconstruct(inputs) * scale[:, None, None]    # in the units of k-space

Radii and sigmas are in units of max |A^H k| = 1: of arrays that are not normalised they mean
something else.
"""

import warnings

import numpy as np

from tfvn.checks import DataWarning
from tfvn.data import agreement
from tfvn.data.axes import SHORTEST
from tfvn.data.sample import (
    Sample,
    check_finite,
    check_not_zero,
    mask_array,
    normalise,
    unmeasured,
    zeros,
)
from tfvn.data.sensitivity import low_resolution_maps

__all__ = ["prepare"]

# Of the positions of a mask that hold nothing: more were certainly not measured.
_LARGEST_SHARE = 0.25


def prepare(kspace, sensitivity_maps=None, mask=None, readout_oversampling=False):
    """Inputs of a model from plain arrays.

    Args:
        kspace: complex (coils, height, width), or a batch of them; centred, in any units.
        sensitivity_maps: of the same shape, or of (coils, height, width) for all of a batch. None:
            estimated, slice by slice, from the centre lines that are measured and that the mask
            leaves.
        mask: 0/1 numbers or bool, (width,) or (height, width), with axes of length 1 before it or
            one mask a slice before it. It is applied to k-space. None: what was measured, see
            `tfvn.data.sample.measured_mask`.
        readout_oversampling: the image is the central half of the height.

    Returns:
        The inputs, a dict of `kspace` and `sensitivity_maps`, complex64 (batch, coils, height,
        width), with max |A^H k| = 1 in every slice, `mask`, float32 (batch, 1, 1 or height,
        width), and `sample_index`, int32 (batch,), by which noise and attacks draw; and the scale,
        float32 (batch,), by which k-space was divided: images times this are in its units.

    Raises:
        ValueError: for other shapes and types, for NaN and infinite numbers, and for what cannot
            belong together.

    Warns:
        DataWarning: see `tfvn.data.agreement.check`.
    """
    kspace = _batch(kspace, "kspace")
    count, coils, height, width = kspace.shape
    if coils >= max(height, width) or min(height, width) < SHORTEST:
        raise ValueError(
            "kspace must have axes (coils, height, width) or (batch, coils, height, width). "
            f"Received: kspace.shape={kspace.shape[1:]} of each slice, which are {coils} coils of "
            f"{height} x {width}. Coils that are the last axis move by np.moveaxis(kspace, -1, -3)."
        )
    maps = _maps(sensitivity_maps, kspace.shape)
    masks = _masks(mask, count, height, width)
    samples, scales = [], []
    for number, arrays in enumerate(zip(kspace, maps, masks)):
        sample, scale = _slice(f"slice {number}", *arrays, readout_oversampling)
        samples.append(sample)
        scales.append(scale)
    rows = max(sample.mask.shape[1] for sample in samples)
    inputs = {
        "kspace": np.stack([sample.kspace for sample in samples]),
        "sensitivity_maps": np.stack([sample.sensitivity_maps for sample in samples]),
        "mask": np.stack([np.broadcast_to(sample.mask, (1, rows, width)) for sample in samples]),
        "sample_index": np.arange(count, dtype=np.int32),
    }
    return inputs, np.float32(scales)


def _maps(maps, shape):
    """The maps of each slice of k-space of this shape; None where they are to be estimated."""
    if maps is None:
        return [None] * shape[0]
    found = _batch(maps, "sensitivity_maps")
    if found.shape[1:] != shape[1:] or len(found) not in (1, shape[0]):
        raise ValueError(
            "sensitivity_maps and kspace must have the same shape (coils, height, width). "
            f"Received: sensitivity_maps.shape={np.shape(maps)}, kspace.shape={shape}. Use the "
            "maps of this scan."
        )
    return np.broadcast_to(found, shape)


def _batch(array, name):
    array = np.asarray(array)
    expected = f"{name} must be complex, (coils, height, width) or (batch, coils, height, width)."
    if array.dtype.kind != "c":
        raise ValueError(
            f"{expected} Received: {array.dtype} array of shape {array.shape}. "
            "A pair of real numbers becomes complex by x[..., 0] + 1j * x[..., 1]."
        )
    if array.ndim not in (3, 4) or not array.size:
        raise ValueError(
            f"{expected} Received: {name}.shape={array.shape}. One coil is an axis of length 1."
        )
    if array.ndim == 3:
        array = array[None]
    return np.ascontiguousarray(array, np.complex64)


def _masks(mask, count, height, width):
    """One mask a slice; (batch, width) and (height, width) are told apart by their sizes."""
    if mask is None:
        return [None] * count
    mask = np.asarray(mask)
    if mask.ndim == 2 and mask.shape == (count, width) and count == height > 1:
        raise ValueError(
            f"a mask of shape {mask.shape} may be one of (height, width), or one of (width,) for "
            f"each of {count} slices. Give it as (1, height, width) or (batch, 1, width)."
        )
    is_batch = mask.ndim > 2 and len(mask) == count > 1
    if mask.ndim == 2 and mask.shape == (count, width) and count not in (1, height):
        is_batch = True
    if not is_batch:
        mask = [mask] * count
    return [mask_array(part, height, width) for part in mask]


def _slice(name, kspace, maps, mask, readout_oversampling):
    check_finite(kspace, f"{name}: kspace")
    check_not_zero(kspace, f"{name}: kspace")
    agreement.check(kspace, name, maps, readout_oversampling=readout_oversampling)
    found = zeros(kspace)
    if mask is None:
        mask = found.mask
    else:
        _compare(name, mask, found)
    if maps is None:
        try:
            maps = low_resolution_maps(kspace, 0, mask * found.mask)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    reference = np.empty((0, 0), np.complex64)  # there is none
    return normalise(Sample(kspace * mask, maps, mask, reference), name, readout_oversampling)


def _compare(name, mask, found):
    """Tells positions of the mask that hold nothing: to a network these are measured zeros."""
    lacking = np.count_nonzero(unmeasured(mask, found))
    share = lacking / np.count_nonzero(np.broadcast_to(mask[0], found.points.shape))
    text = (
        f"{name}: {share:.1%} of the positions that the mask samples are zero in all coils of "
        "kspace. Is it the mask of this scan?"
    )
    if share > _LARGEST_SHARE:
        raise ValueError(text)
    if lacking:
        warnings.warn(text, DataWarning, stacklevel=2)
