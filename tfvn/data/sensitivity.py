"""Coil maps from the centre of a scan's own k-space, of the lines that a mask leaves of it.

With W a Hann window over the centre block of calibration lines on both axes, x_c = F^H W k_c are
images of low resolution, and S_c = x_c / sqrt(sum_c |x_c|^2): unit root-sum-of-squares. Phase
convention: S_c keeps the whole phase of x_c, so that the coil-combined image is nearly real and
positive. No coil serves as the reference, as every coil is dark somewhere. The maps are right
where object and coils have a phase that is smooth on the scale of width / lines.
"""

import numpy as np

from tfvn.data import centre
from tfvn.data.sample import ifft2c, mask_array, measured_mask

__all__ = [
    "LEAST_LINES",
    "MOST_LINES",
    "calibration_block",
    "centre_lines",
    "low_resolution_images",
    "low_resolution_maps",
]

# Below this part of the largest root-sum-of-squares a pixel holds rounding errors: its map is 0.
_FLOOR = 1e-6
# The number of centre lines that is chosen if none is given: of more, the images hold more noise
# and the maps more of the object's phase; of fewer than the least, they lose a fifth of the image
# (16 coils, 96 x 96).
MOST_LINES, LEAST_LINES = 24, 4


def centre_lines(mask, height, width, lines=0):
    """How many centre lines serve for the estimate of maps.

    Args:
        mask: 0/1 array, see `tfvn.data.sample.mask_array`: what may be used.
        height, width: of k-space.
        lines: so many; 0: as many as are measured without a gap, 24 at most.

    Returns:
        The side of the block in the centre of k-space, measured on both axes. An axis that is
        shorter is used whole.

    Raises:
        ValueError: if not so many are measured, or, if none are asked for, fewer than 4.
    """
    measured = np.broadcast_to(mask_array(mask, height, width)[0] > 0, (height, width))
    longest = min(MOST_LINES, max(height, width))
    found = 0
    while found < (lines or longest) and _is_measured(measured, found + 1):
        found += 1
    if lines < 0 or found < lines:
        advice = "Give"
        if found:
            advice = (
                f"Set data.calibration_lines (--calibration-lines) to {found} or less, or 0 for as"
                " many as there are, or give"
            )
        raise ValueError(
            f"data.calibration_lines={lines} must be 0 or at most the number of centre lines that"
            f" are measured. Received: k-space with {found} of them. {advice} the maps in a file."
        )
    if not lines and found < LEAST_LINES:
        raise ValueError(
            f"an estimate of coil maps needs {LEAST_LINES} centre lines that are measured. "
            f"Received: k-space with {found} of them. Measure more, use a mask with a wider "
            "centre, or give the maps in a file: data.sensitivity_path (--maps). If k-space before"
            " the mask is fully sampled, maps may be taken from all of it by data.maps_from"
            " (--maps-from) fully-sampled: results then know what the mask removes."
        )
    return found


def _is_measured(measured, lines):
    return measured[centre.block(measured.shape, lines)].all()


def low_resolution_maps(kspace, calibration_lines=0, mask=None):
    """Sensitivity maps of unit root-sum-of-squares.

    Args:
        kspace: complex (coils, height, width).
        calibration_lines: side of the block; 0: as many as are measured, see `centre_lines`.
        mask: 0/1 array, see `tfvn.data.sample.mask_array`: where k-space is used. None: wherever
            it was measured.

    Returns:
        complex64 (coils, height, width). It does not depend on k-space where the mask is 0.

    Raises:
        ValueError: if fewer centre lines are measured; the message says how many there are.
    """
    images = low_resolution_images(kspace, calibration_block(kspace, calibration_lines, mask))
    root = np.sqrt((images.real**2 + images.imag**2).sum(0))
    inside = root > _FLOOR * root.max()
    return np.where(inside, images / np.where(inside, root, 1), 0).astype(np.complex64)


def calibration_block(kspace, calibration_lines=0, mask=None):
    """The centre of k-space that maps are made of, an index of the last two axes.

    Args:
        kspace, calibration_lines, mask: as for `low_resolution_maps`.

    Raises:
        ValueError: as `low_resolution_maps`.
    """
    if kspace.ndim != 3:
        raise ValueError(
            f"kspace must have shape (coils, height, width). Received: kspace.shape={kspace.shape}"
        )
    height, width = kspace.shape[1:]
    if mask is None:
        mask = measured_mask(kspace)
    lines = centre_lines(mask, height, width, calibration_lines)
    return centre.block((height, width), lines)


def low_resolution_images(kspace, block):
    """Images of a block of k-space through a Hann window, complex64 (coils, height, width).

    They are in units in which squares neither vanish nor overflow: a power of two changes no digit.

    Args:
        kspace: complex (coils, height, width).
        block: an index of its last two axes.
    """
    part = kspace[block]
    part = part * centre.hann_window(part.shape[1:])
    exponent = np.frexp(np.abs(part).max())[1]
    low = np.zeros_like(kspace, np.complex64)
    low[block] = part / 2.0**exponent
    return ifft2c(low)
