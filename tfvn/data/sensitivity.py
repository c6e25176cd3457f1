"""Coil maps from the centre of a scan's own k-space.

With W a Hann window over the centre block of calibration lines on both axes, x_c = F^H W k_c are images of low
resolution, and S_c = x_c / sqrt(sum_c |x_c|^2): unit root-sum-of-squares. Phase convention: S_c keeps the whole phase
of x_c, so that the coil-combined image is nearly real and positive. No coil serves as the reference, as every coil is
dark somewhere. The maps are right where object and coils have a phase that is smooth on the scale of width / lines.
"""
import numpy as np

from tfvn.data.sample import ifft2c

# Below this part of the largest root-sum-of-squares a pixel holds rounding errors: its map is 0.
_FLOOR = 1e-6


def _block(size, lines):
    lines = min(size, lines)
    return slice(size // 2 - lines // 2, size // 2 - lines // 2 + lines)


def low_resolution_maps(kspace, calibration_lines=24):
    """Sensitivity maps of unit root-sum-of-squares.

    Args:
        kspace: complex (coils, height, width); its centre block must be fully sampled (some coil not zero).
        calibration_lines: side of the block; an axis that is shorter is used whole.

    Returns:
        complex64 (coils, height, width).

    Raises:
        ValueError: if fewer centre lines are sampled; the message says how many there are.
    """
    if kspace.ndim != 3:
        raise ValueError(f"kspace must have shape (coils, height, width). Received: kspace.shape={kspace.shape}")
    height, width = kspace.shape[1:]
    measured = (kspace != 0).any(0)

    def is_sampled(lines):
        return measured[_block(height, lines), _block(width, lines)].all()

    if calibration_lines < 1 or not is_sampled(calibration_lines):
        lines = 0
        while lines < calibration_lines and is_sampled(lines + 1):
            lines += 1
        raise ValueError(
            f"calibration_lines={calibration_lines} must be between 1 and the number of fully sampled centre lines. "
            f"Received: k-space with {lines} of them. "
            + (f"Set calibration_lines (--calibration-lines) to {lines} or less, or give" if lines else "Give")
            + " the maps in a file."
        )
    block = _block(height, calibration_lines), _block(width, calibration_lines)
    windows = [np.hanning(part.stop - part.start + 2)[1:-1] for part in block]
    centre = np.zeros_like(kspace, np.complex64)
    centre[(slice(None), *block)] = kspace[(slice(None), *block)] * (windows[0][:, None] * windows[1])
    images = ifft2c(centre)
    root = np.sqrt((images.real**2 + images.imag**2).sum(0))
    inside = root > _FLOOR * root.max()
    return np.where(inside, images / np.where(inside, root, 1), 0).astype(np.complex64)
