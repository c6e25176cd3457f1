"""One slice as NumPy arrays, with the checks and the scaling that every slice passes.

The conventions are those of `tfvn.physics.fourier` and `tfvn.physics.sense.Sense`. The transforms
are centred and orthonormal, over the last two axes. With readout oversampling the image is the
central half of the height. Normalised data have max |A^H k| = 1.
"""

import hashlib
import pickle
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.ndimage

__all__ = [
    "Sample",
    "Zeros",
    "check",
    "check_finite",
    "check_mask",
    "check_not_zero",
    "combine",
    "fft2c",
    "ifft2c",
    "image_rows",
    "mask_array",
    "mask_digest",
    "mask_height",
    "measured_mask",
    "normalise",
    "unmeasured",
    "zeros",
]

_AXES = (-2, -1)
# Part of the largest number of a k-space below which one is no measurement.
_SMALLEST = 1e-12
# Of `zeros`: a Gaussian of 4 steps rounds to 0 in both parts once in a hundred times.
_CLEARLY = 4
# Side of the square of positions that surround one.
_NEAR = 5
# Lines are measured as a whole if at most these parts of their clear positions are zero: of all, of
# one line (which counts as no shorter than the few), and of the energy.
_LOST_OF_ALL, _LOST_OF_LINE, _FEW, _LOST_ENERGY = 0.05, 0.25, 16, 0.02


class Sample(NamedTuple):
    """One slice, not normalised.

    Args:
        kspace: complex64 (coils, height, width), 0 where `mask` is 0.
        sensitivity_maps: complex64 (coils, height, width).
        mask: float32 (1, 1, width) where it is constant along the readout (height), else (1,
            height, width).
        reference: complex64 (rows, width), rows = height, or height // 2 with readout oversampling;
            all NaN where no fully sampled reference exists.
    """

    kspace: np.ndarray
    sensitivity_maps: np.ndarray
    mask: np.ndarray
    reference: np.ndarray


def fft2c(x):
    """Image to k-space, equal to `tfvn.physics.fourier.fft2c`; complex64 stays complex64."""
    return scipy.fft.fftshift(scipy.fft.fft2(scipy.fft.ifftshift(x, _AXES), norm="ortho"), _AXES)


def ifft2c(x):
    """k-space to image, equal to `tfvn.physics.fourier.ifft2c`."""
    return scipy.fft.fftshift(scipy.fft.ifft2(scipy.fft.ifftshift(x, _AXES), norm="ortho"), _AXES)


def image_rows(height, readout_oversampling):
    """The rows of the full height that belong to the image, a slice: those that `Sense` keeps."""
    if not readout_oversampling:
        return slice(0, height)
    first = height // 4 + 1
    return slice(first, first + height // 2)


def combine(coil_images, sensitivity_maps, readout_oversampling=False):
    """sum_coils conj(S) x over the image's rows: (coils, height, width) to (rows, width)."""
    rows = image_rows(coil_images.shape[-2], readout_oversampling)
    return np.einsum("chw,chw->hw", np.conj(sensitivity_maps[:, rows]), coil_images[:, rows])


def mask_array(mask, height, width):
    """A mask as `Sample` holds it.

    Args:
        mask: 0/1 array (width,) or (height, width), of any type of numbers or bool, leading axes of
            length 1 before it or, of (width, 1), after it; or a function of the width that returns
            (width,).

    Returns:
        float32 (1, 1, width) where it is constant along the height, else (1, height, width).

    Raises:
        ValueError: for another shape, other values than 0 and 1, or a mask without samples.
    """
    if callable(mask):
        mask = mask(width)
    mask = np.asarray(mask)
    while mask.ndim > 2 and mask.shape[0] == 1:
        mask = mask[0]
    if mask.shape == (width, 1) and height != width:
        mask = mask[:, 0]
    if mask.shape not in ((width,), (1, width), (height, width)):
        raise ValueError(
            "the mask must have shape (width,) or (height, width) of the k-space. Received:"
            f" mask.shape={mask.shape}, height={height}, width={width}."
            f" {_advice(mask.shape, height, width)}"
        )
    check_mask(mask)
    mask = np.atleast_2d(mask.astype(bool)).astype(np.float32)
    if _is_constant(mask):
        mask = mask[:1]
    return mask[None]


def _is_constant(mask):
    """Whether all rows of a mask are equal."""
    return (mask == mask[:1]).all()


def check_mask(mask):
    """Checks the values of a mask, an array: numbers 0 and 1, or bool.

    Raises:
        ValueError: for others, or if there is no 1.
    """
    if mask.dtype.kind not in "biufc" or not np.isin(mask, (0, 1)).all() or not mask.any():
        raise ValueError(
            f"a mask holds zeros and at least one 1. Received: {mask.dtype} mask with values"
            f" {_values(mask)}"
        )


def _advice(shape, height, width):
    if shape == (width, height):
        return (
            "These are height and width exchanged: transpose the mask, or set data.transpose"
            " (--transpose) for the scan."
        )
    if shape in ((height,), (height, 1), (1, height)):
        return (
            "This is a line for each row, and phase encoding runs along the width: "
            "if it is the height in this file, set data.transpose (--transpose)."
        )
    return "Use a mask made for this width."


def _values(mask):
    """The first different values of an array, for a message."""
    return " ".join(str(np.unique(mask)[:5]).split())[:200]


def mask_height(mask):
    """The height of what `mask_array` will give; None if that depends on the data.

    It is 1 where the mask is constant along the height.
    """
    if mask is None:
        return None
    if callable(mask):
        return 1
    rows = np.atleast_2d(mask)
    if _is_constant(rows):
        return 1
    return len(rows)


def mask_digest(mask):
    """A text for the fingerprint of a source, another for every other mask.

    A function counts by its name and its arguments: its result depends on a width, to know which
    may mean to read a scan.

    Args:
        mask: an array, None, or a function that is known by a name (no lambda), alone or in a
            `functools.partial`.

    Raises:
        ValueError: for another function.
    """
    try:
        return hashlib.sha256(pickle.dumps(mask, protocol=4)).hexdigest()
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise ValueError(
            "with a cache_dir the mask must be an array or a function that is defined by a name in"
            f" a module. Received: mask={mask!r}"
        ) from error


def measured_mask(kspace):
    """Where k-space was measured, as far as its zeros tell.

    What was not measured is zero in all coils. The reverse fails in two ways: data rounded to few
    bits hold zeros too, where the signal is of the size of a step, and single numbers get lost. So
    a line, a column, is either measured or empty if its zeros mean nothing, see `Zeros`. Else the
    mask is one of points: wherever any coil is not zero.

    Args:
        kspace: complex (coils, height, width).

    Returns:
        float32, (1, 1, width) or (1, height, width).

    Raises:
        ValueError: if all is zero.
    """
    return zeros(kspace).mask


class Zeros(NamedTuple):
    """What the zeros of a k-space tell.

    mask: float32, (1, 1, width) or (1, height, width), see `measured_mask`.
    points: bool (height, width), where any coil is not zero.
    share: of the positions where numbers are expected, those that are zero in all coils.

    Numbers are expected in lines that are not empty, where the surroundings are clearly larger than
    the smallest number of their coil. Of lines rounded to 10 to 16 bits the share is below 2 %
    (four brains and a phantom, one coil to 16), of masks of points at acceleration 2 above 23 %.
    """

    mask: np.ndarray
    points: np.ndarray
    share: float


def zeros(kspace):
    """The `Zeros` of a k-space, complex (coils, height, width)."""
    size = np.abs(kspace)
    # Smaller numbers are left by arithmetic, such as denormal ones: no receiver has this range.
    size[size <= _SMALLEST * size.max()] = 0
    points = size.any(0)
    lines = points.any(0)
    gaps = ~points & lines
    if not gaps.any():
        return Zeros(mask_array(lines, *points.shape), points, 0.0)
    clear, around = _surroundings(size)
    clear &= lines
    lost = gaps & clear
    share = lost.sum() / max(clear.sum(), 1)
    by_line = lost.sum(0) / np.maximum(clear.sum(0), _FEW)
    energy = (around[lost] ** 2).sum() / (size.astype(np.float64) ** 2).sum()
    is_lines = share <= _LOST_OF_ALL and (by_line <= _LOST_OF_LINE).all() and energy <= _LOST_ENERGY
    measured = points
    if is_lines:
        measured = lines
    return Zeros(mask_array(measured, *points.shape), points, float(share))


def unmeasured(mask, found):
    """Of the positions that a mask samples those that were not measured, as far as zeros tell.

    Args:
        mask: 0/1 (1, 1 or height, width).
        found: the `Zeros` of the k-space.

    Returns:
        bool (height, width).
    """
    asked = (mask[0] > 0) & ~(found.mask[0] > 0)
    return np.broadcast_to(asked, found.points.shape)


def _surroundings(size):
    """What surrounds each position of k-space: means of squares over 5 x 5 positions.

    Args:
        size: magnitudes of k-space, (coils, height, width).

    Returns:
        Where the root of that mean is clearly larger than the smallest number of the same coil, in
        any coil, bool (height, width); and the root of the sum over all coils, float (height,
        width).
    """
    clear = np.zeros(size.shape[1:], bool)
    energy = np.zeros(size.shape[1:])
    for coil in size:
        if coil.any():
            square = coil.astype(np.float64) ** 2
            local = scipy.ndimage.uniform_filter(square, _NEAR, mode="nearest").clip(0)
            clear |= np.sqrt(local) > _CLEARLY * coil[coil > 0].min()
            energy += local
    if not energy.all():
        # In the midst of zeros, as at their edge.
        nearest = scipy.ndimage.distance_transform_edt(
            energy == 0, return_distances=False, return_indices=True
        )
        clear = clear[tuple(nearest)]
        energy = energy[tuple(nearest)]
    return clear, np.sqrt(energy)


def check(sample, name):
    """Checks that the arrays of a sample belong together and can be reconstructed.

    Raises:
        ValueError: naming the slice `name`, what came and what was expected.
    """
    kspace, maps, mask, _ = sample
    if kspace.ndim != 3:
        raise ValueError(
            f"{name}: kspace must have shape (coils, height, width). Received:"
            f" kspace.shape={kspace.shape}"
        )
    if maps.shape != kspace.shape:
        raise ValueError(
            f"{name}: sensitivity_maps and kspace must have the same shape (coils, height, width)."
            f" Received: sensitivity_maps.shape={maps.shape}, kspace.shape={kspace.shape}. Use the"
            " maps of this scan."
        )
    height, width = kspace.shape[1:]
    if mask.shape not in ((1, 1, width), (1, height, width)):
        raise ValueError(
            f"{name}: the mask must have shape (1, 1, width) or (1, height, width). Received:"
            f" mask.shape={mask.shape}, kspace.shape={kspace.shape}. Use a mask made for this"
            " width."
        )
    check_finite(kspace, f"{name}: kspace")
    check_finite(maps, f"{name}: sensitivity_maps")
    check_not_zero(
        kspace, f"{name}: kspace", " Is it the right file? Does the mask sample any of it?"
    )


def check_finite(array, name):
    """Checks that an array holds neither NaN nor infinite numbers.

    Raises:
        ValueError: with the name and their number.
    """
    # A sum is finite only if all terms are: one pass, no temporary of the array's size.
    with np.errstate(over="ignore", invalid="ignore"):
        total = array.sum()
    if np.isfinite(total):
        return
    count = np.count_nonzero(~np.isfinite(array))
    if count:
        raise ValueError(
            f"{name} must be finite. Received: {count} NaN or infinite of {array.size} entries"
        )


def check_not_zero(array, name, advice=""):
    """Checks that an array is not zero everywhere.

    Raises:
        ValueError: with the name, and the advice at the end.
    """
    if not array.any():
        raise ValueError(f"{name} is zero everywhere.{advice}")


def normalise(sample, name, readout_oversampling=False):
    """Divides kspace and reference by scale = max |A^H kspace|, after `check`.

    Args:
        sample: a `Sample`.
        name: the slice's name for error messages.
        readout_oversampling: the image is the central half of the height.

    Returns:
        The normalised `Sample` and `scale`, float32.

    Raises:
        ValueError: see `check`; also if A^H kspace is zero, so that nothing can be divided by.
    """
    check(sample, name)
    scale = np.abs(
        combine(ifft2c(sample.kspace), sample.sensitivity_maps, readout_oversampling)
    ).max()
    if not scale > 0 or not np.isfinite(scale):
        raise ValueError(
            f"{name}: the zero-filled image A^H kspace must have a finite maximum > 0. Received:"
            f" max={scale}. Do the sensitivity maps belong to this scan?"
        )
    # +0 where the mask is 0: a masked negative number is -0, which equals it in all but its bits.
    kspace = np.divide(
        sample.kspace, scale, out=np.zeros_like(sample.kspace), where=sample.mask > 0
    )
    return sample._replace(kspace=kspace, reference=sample.reference / scale), np.float32(scale)
