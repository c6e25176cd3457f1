"""Coil maps by ESPIRiT: from what the samples of all coils have in common in the centre of k-space.

Every window of k-space, K x K samples of all coils, lies in one subspace: that of the windows of
the centre. P projects on it, windows R_r are taken at all places r, and

    G = 1 / K^2 sum_r R_r^H P R_r

leaves k-space of the scan as it is. G is a convolution, so in the image it is a matrix (coils,
coils) at every pixel: Hermitian, with eigenvalues from 0 to 1. The vector S of a pixel's coil
images is an eigenvector of the eigenvalue 1. Where the object is folded, two of them are.

Of each pixel the largest eigenvalue is found by Chebyshev's polynomials, which grow above an
interval and nowhere else. They begin with the image of low resolution. So the map keeps its phase,
as in `tfvn.data.sensitivity`, and combined coils are nearly real and positive. A second set is
found in the same way in G - lambda S S^H. It begins with the combination of coils that holds most
of the energy.

Source: Uecker et al., MRM 71(3), 2014.
"""

from typing import NamedTuple

import numpy as np

from tfvn.data import centre
from tfvn.data.sample import ifft2c, mask_array, measured_mask
from tfvn.data.sensitivity import MOST_LINES, calibration_block, low_resolution_images

__all__ = [
    "LARGEST_KERNEL",
    "LEAST_KERNEL",
    "Kernel",
    "Maps",
    "kernel_of",
    "maps_of",
    "unexplained",
]

LEAST_KERNEL, LARGEST_KERNEL = 2, 12

# Steps of the iteration: 30 more turn the maps of three brains by 0.001 in the mean at most.
_STEPS = 10
# Upper end of the interval in which polynomials stay small: a part of what the first image gives,
# and the least one, of which powers do not overflow.
_PART, _LEAST = 0.8, 0.1
_TINY = np.float32(1e-30)


class Kernel(NamedTuple):
    """What the centre of k-space tells of the coils.

    convolution: G in k-space, complex64 (2 rows - 1, 2 columns - 1, coils, coils), of windows of
        so many rows and columns.
    block: the centre, an index of the last two axes of k-space.
    strongest: the combination of coils that holds most of the energy, (coils,).
    """

    convolution: np.ndarray
    block: tuple
    strongest: np.ndarray


class Maps(NamedTuple):
    """What ESPIRiT finds.

    sensitivity_maps: complex64 (sets, coils, height, width), of unit root-sum-of-squares in every
        set, and 0 where the eigenvalue is below the crop.
    eigenvalues: float32 (sets, height, width), the larger set first.
    """

    sensitivity_maps: np.ndarray
    eigenvalues: np.ndarray


def kernel_of(kspace, calibration_lines=0, mask=None, kernel_size=6, threshold=0.001):
    """What the centre of k-space tells of the coils.

    Args:
        kspace: complex (coils, height, width).
        calibration_lines: how many centre lines; 0: as many as are measured, 24 at most.
        mask: 0/1 array, see `tfvn.data.sample.mask_array`: where k-space is used. None: wherever it
            was measured.
        kernel_size: side of the windows, at most. It is a third of the centre where that is less.
        threshold: what of the windows has a smaller part of the largest energy is noise.

    Returns:
        A `Kernel`. It does not depend on k-space where the mask is 0.

    Raises:
        ValueError: if fewer centre lines are measured; the message says how many there are.
    """
    block = _block(kspace, calibration_lines, mask)
    part = kspace[block]
    # Windows of more than a third of the centre are too few to tell the signal from all else.
    sides = np.clip(np.array(part.shape[1:]) // 3, LEAST_KERNEL, kernel_size)
    # In units in which squares neither vanish nor overflow.
    part = (part / np.abs(part).max()).astype(np.complex64)
    flat = part.reshape(len(part), -1)
    strongest = np.linalg.eigh(flat @ flat.conj().T)[1][:, -1]
    return Kernel(_convolution(part, tuple(sides.tolist()), threshold), block, strongest)


def maps_of(kernel, kspace, crop=0.8, sets=1):
    """Sensitivity maps of all pixels.

    Args:
        kernel: the `Kernel` of the k-space.
        kspace: complex (coils, height, width).
        crop: maps are 0 where the eigenvalue is below. 0 keeps all.
        sets: how many maps; a second set explains what is folded.

    Returns:
        `Maps`.
    """
    images = low_resolution_images(kspace, kernel.block)
    vectors, eigenvalues = _eigenvectors(kernel, images, sets)
    vectors[eigenvalues < crop] = 0
    return Maps(np.moveaxis(vectors, -1, 1), eigenvalues)


def unexplained(kernel, kspace, crop=0.8):
    """The energy of the centre that is outside of what one set and two sets of maps can explain.

    Args:
        kernel, kspace, crop: as for `maps_of`.

    Returns:
        Two shares of the whole.
    """
    part = kspace[kernel.block]
    part = part / np.abs(part).max()
    windowed = part * centre.hann_window(part.shape[1:])
    vectors, eigenvalues = _eigenvectors(kernel, ifft2c(windowed.astype(np.complex64)), 2)
    along = np.einsum("shwc,chw->shw", vectors.conj(), ifft2c(part))
    explained = (np.abs(along) ** 2 * (eigenvalues >= crop)).sum((1, 2))
    left = 1 - np.cumsum(explained) / (np.abs(part) ** 2).sum()
    return tuple(left.clip(0).tolist())


def _block(kspace, lines, mask):
    """The centre, an index of the last two axes.

    Of lines that are measured as a whole at least 24 samples are used: few lines alone say little.
    """
    if mask is None:
        mask = measured_mask(kspace)
    block = calibration_block(kspace, lines, mask)
    height, width = kspace.shape[1:]
    if mask_array(mask, height, width).shape[1] > 1:
        return block
    side = len(range(*block[1].indices(height)))
    return ..., centre.lines_of(height, max(side, MOST_LINES)), block[2]


def _convolution(part, sides, threshold):
    """G in k-space, complex64 (2 rows - 1, 2 columns - 1, coils, coils).

    Args:
        part: the centre of k-space, complex64 (coils, height, width).
        sides: (rows, columns) of a window.
        threshold: as for `kernel_of`.
    """
    coils = len(part)
    rows, columns = sides
    windows = np.lib.stride_tricks.sliding_window_view(part, sides, (1, 2))
    windows = windows.transpose(0, 3, 4, 1, 2).reshape(coils * rows * columns, -1)
    basis = _subspace(windows, threshold)
    projection = (basis @ basis.conj().T).reshape(coils, *sides, coils, *sides)
    found = np.zeros((2 * rows - 1, 2 * columns - 1, coils, coils), np.complex64)
    for row, column in np.ndindex(sides):
        # From the sample (row, column) of a window to all others, by their distance.
        down = slice(rows - 1 - row, 2 * rows - 1 - row)
        along = slice(columns - 1 - column, 2 * columns - 1 - column)
        found[down, along] += projection[..., row, column].transpose(1, 2, 0, 3)
    return found / (rows * columns)


def _subspace(windows, threshold):
    """An orthonormal basis of what windows hold but noise, (samples, rank).

    Args:
        windows: complex64 (samples, number).
    """
    samples, number = windows.shape
    # Of the two products the smaller has all that is needed.
    if samples <= number:
        energies, basis = np.linalg.eigh(windows @ windows.conj().T)
        return basis[:, energies > threshold * energies[-1]]
    energies, weights = np.linalg.eigh(windows.conj().T @ windows)
    kept = energies > threshold * energies[-1]
    return windows @ (weights[:, kept] / np.sqrt(energies[kept]))


def _eigenvectors(kernel, images, sets):
    """Eigenvectors of the largest eigenvalues of G at every pixel.

    One row of pixels is looked at after the other, which keeps G in the processor's cache.

    Returns:
        complex64 (sets, height, width, coils), and the eigenvalues, float32 (sets, height, width).
    """
    coils, height, width = images.shape
    down, along = kernel.convolution.shape[:2]
    rows = _waves(height, down) @ kernel.convolution.reshape(down, -1)
    columns = _waves(width, along)
    vectors = np.empty((sets, height, width, coils), np.complex64)
    values = np.empty((sets, height, width), np.float32)
    for row in range(height):
        matrices = columns @ rows[row].reshape(along, -1)
        matrices = matrices.reshape(width, coils, coils)
        start = images[:, row].T
        for number in range(sets):
            found, value = _largest(matrices, start)
            vectors[number, row] = found
            values[number, row] = value
            if number + 1 < sets:
                # What is left holds the others, for which the image is no start.
                scaled = value[:, None] * found
                matrices = matrices - scaled[:, :, None] * found.conj()[:, None]
                start = np.broadcast_to(kernel.strongest, start.shape)
    return vectors, values


def _waves(size, count):
    """exp(2 pi i x d / size) of all pixels x and distances d in k-space, complex64 (size, count).

    Both are 0 in their middle.
    """
    turns = np.outer(np.arange(size) - size // 2, np.arange(count) - count // 2) / size
    return np.exp(2j * np.pi * turns).astype(np.complex64)


def _largest(matrices, start):
    """The eigenvector of the largest eigenvalue of each matrix, and that eigenvalue.

    With t the affine map of [0, b] to [-1, 1], Chebyshev's polynomials T_n(t(G)) stay in [-1, 1]
    below b, and grow like exp(n arccosh t) above. b is below the largest eigenvalue, as the
    quotient x^H G x / x^H x of the start is.

    Args:
        matrices: complex64 (pixels, coils, coils), Hermitian and not negative.
        start: complex64 (pixels, coils).

    Returns:
        complex64 (pixels, coils), of norm 1, or 0 where the start is 0; float32 (pixels,).
    """
    before = _normalised(start[..., None])
    product = matrices @ before
    quotient = (before.conj() * product).real.sum(1, keepdims=True)
    double = 2 / np.maximum(_PART * quotient, _LEAST)
    vector = double * product - before
    for _ in range(_STEPS):
        after = 2 * (double * (matrices @ vector) - vector) - before
        # Both by the same number: only their quotient matters.
        norm = np.maximum(np.linalg.norm(after, axis=1, keepdims=True), _TINY)
        before, vector = vector / norm, after / norm
    value = (vector.conj() * (matrices @ vector)).real.sum(1)
    return vector[..., 0], value[:, 0]


def _normalised(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _TINY)
