"""Is a k-space in the package's conventions? What its energy and its image tell.

    m(w) = sum_n w_n exp(2 pi i (n - N // 2) / N) / sum_n w_n

is the mean place on a circle of weights w along an axis. Its angle is where they lie, 0 for the
centre and pi for both ends; its modulus is how closely they lie. Of the energy of k-space m tells
where the zero frequency is, of the magnitude of the image where the object is. White noise has
m = 0 and tells nothing.

The thresholds lie between what right and wrong data gave, of measured scans (1 to 16 coils) and of
synthetic ones with noise up to a tenth of their maximum.
"""

import numpy as np

__all__ = [
    "centre_doubts",
    "check_complex",
    "coil_doubts",
    "energy_of_lines",
    "image_doubts",
    "is_clear",
    "magnitude",
    "moment",
    "noise_moment",
    "object_doubts",
    "transformed",
]

# Moduli of m. Noise of a fifth of the largest value leaves 0.1 of the energy's, right scans have
# 0.8 and more.
_LEAST_CONCENTRATION = 0.1
_CLEAR_CONCENTRATION = 0.2
# The zero frequency may lie so far from the centre, as a part of the axis; beyond the second it is
# in the corner.
_LARGEST_OFFSET, _CORNER = 0.08, 0.4
# Lines above half of the largest, as a part of all: up to 0.12 of scans, 0.3 and more of noise at
# the ends.
_PEAK = 0.2
# Similarity of two coils: those of one scan differ by their noise at least.
_SAME = 0.99999
# The modulus of m is above the first for the transforms of images, below the second for images.
_IMAGE, _NO_KSPACE = 0.75, 0.55
# Energy outside of the central half of an oversampled readout.
_CUT = 0.3


def moment(weights):
    """m(w) of the module's text."""
    size = len(weights)
    circle = np.exp(2j * np.pi * (np.arange(size) - size // 2) / size)
    total = weights.sum(dtype=np.float64)
    if not total:
        return 0j
    return (weights * circle).sum() / total


def _place(value):
    """Where a moment lies, as a part of the axis: 0 for the centre, up to 1/2."""
    return abs(np.angle(value)) / (2 * np.pi)


def noise_moment(kspace):
    """More than the modulus of m for white noise, 1 over the root of the number of entries."""
    return 6 / np.sqrt(kspace[0].size)


def is_clear(moments, noise):
    """Whether the energy of k-space is so well in the centre that more can be said.

    Args:
        moments: m of the energy along both axes.
        noise: what `noise_moment` gives.
    """
    concentrated = min(np.abs(moments)) > max(_CLEAR_CONCENTRATION, noise)
    return concentrated and max(map(_place, moments)) <= _LARGEST_OFFSET


def energy_of_lines(array, axis):
    """The energy of each line along an axis of (coils, height, width), for each measured entry.

    So masks of lines do not move it.
    """
    others = tuple({0, 1, 2} - {axis})
    count = np.count_nonzero(array, axis=others)
    return (np.abs(array) ** 2).sum(others, dtype=np.float64) / np.maximum(count, 1)


def magnitude(images):
    """The root of the sum of squares over the coils, in double precision."""
    return np.sqrt((np.abs(images.astype(np.complex128)) ** 2).sum(0))


def check_complex(kspace):
    """Checks that a k-space has a real and an imaginary part.

    Raises:
        ValueError: if one of them is zero everywhere.
    """
    for part, values in (("real", kspace.real), ("imaginary", kspace.imag)):
        if not values.any():
            raise ValueError(
                f"kspace must be complex, as it was measured. Received: numbers whose {part} part "
                "is zero everywhere. Are they magnitudes? Give real and imaginary part."
            )


def centre_doubts(energies, moments, image, noise):
    """Is the zero frequency at index N // 2 of both axes? Yields the texts of warnings.

    Args:
        energies, moments: of the lines along the height and the width.
        image: what `transformed` found.
        noise: what `noise_moment` gives.

    Raises:
        ValueError: if the zero frequency is in the corner.
    """
    least = max(_LEAST_CONCENTRATION, noise)
    found = {}
    for axis, energy, value in zip(("height", "width"), energies, moments):
        # The energy of an image lies anywhere.
        if axis not in image and abs(value) > least and _is_peak(energy, value):
            found[axis] = energy, value
    corner = []
    for axis, (energy, value) in found.items():
        if _place(value) > _CORNER:
            corner.append(f"{_outer_share(energy):.0%} along the {axis}")
    if corner:
        raise ValueError(
            "the zero frequency of kspace must be in its centre. Received: the outer half of its "
            f"lines holds {', '.join(corner)} of the energy, as np.fft.fft2 leaves it. Move it: "
            "np.fft.fftshift(kspace, axes=(-2, -1)) for (coils, height, width), along the named "
            "axes."
        )
    for axis, (_, value) in found.items():
        if _place(value) > _LARGEST_OFFSET and abs(value) > 2 * least:
            yield (
                f"the energy of kspace lies {_place(value):.0%} of the {axis} away from its "
                "centre, where the zero frequency is expected (index size // 2). Shift it there "
                "with np.roll; of a partial measurement, fill the missing lines with zeros."
            )


def _is_peak(energy, value):
    """Has a zero frequency made the moment? It stands out by few lines, noise by many."""
    size = len(energy)
    place = size // 2 + round(np.angle(value) / (2 * np.pi) * size)
    reach = max(1, size // 32)
    top = energy[np.arange(place - reach, place + reach + 1) % size].max()
    return np.count_nonzero(energy > top / 2) <= _PEAK * size


def _outer_share(energy):
    size = len(energy)
    inner = energy[size // 4 : size // 4 + (size + 1) // 2].sum()
    return 1 - inner / energy.sum()


def coil_doubts(kspace):
    """Do two coils hold the same numbers, but for a factor? Yields the text of a warning."""
    flat = kspace.reshape(len(kspace), -1)
    flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    similarity = np.triu(np.abs(flat @ flat.conj().T), 1)
    first, second = np.unravel_index(similarity.argmax(), similarity.shape)
    if similarity[first, second] > _SAME:
        count = np.count_nonzero(similarity > _SAME)
        yield (
            f"coils {first} and {second} of {len(kspace)} hold the same numbers but for a factor "
            f"({count} such pairs). Is the axis of the coils the right one?"
        )


def transformed(moments, images):
    """The axes along which k-space is an image already.

    There the transform has its energy in the centre.

    Args:
        moments: of the energy of k-space, along both axes.
        images: the transform of k-space, (coils, height, width).

    Returns:
        A dict of the axis' name to the moduli of m of k-space and of its transform.
    """
    axes = {}
    for axis, name, value in zip((1, 2), ("height", "width"), moments):
        transform = moment(energy_of_lines(images, axis)).real
        if transform > _IMAGE and abs(value) < _NO_KSPACE:
            axes[name] = abs(value), transform
    return axes


def image_doubts(axes):
    """Yields the text of a warning for each axis that `transformed` found."""
    for name, (own, transform) in axes.items():
        yield (
            f"kspace looks like an image along the {name}: its inverse transform is more "
            f"concentrated in the centre ({transform:.2f}, of at most 1) than it is itself "
            f"({own:.2f}). Give the measured k-space, or the image's centred transform."
        )


def object_doubts(images, edges, readout_oversampling):
    """Is the object in the centre of the field of view, or in its corners?

    Args:
        images: coil images of low resolution.
        edges: the real part of the object's m below which it lies at the edges.
        readout_oversampling: the image is the central half of the height.

    Yields:
        The text of a warning.
    """
    size_of_object = magnitude(images)
    parts = [moment(size_of_object.sum(axis)).real for axis in (1, 0)]
    axes = [axis for axis, part in zip(("height", "width"), parts) if part < edges]
    if not axes and sum(parts) < edges:
        axes = ["height", "width"]
    if axes:
        number = min(min(parts), sum(parts) / 2)
        yield (
            f"the object lies at the edges of the field of view along the {' and '.join(axes)} "
            f"({number:.2f} on a scale from 1, the centre, to -1, the edge), as where the image "
            "was not shifted before its transform: neighbouring samples alternate in sign. K-space "
            "is np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image))); multiplying every other row "
            "and column by -1 moves the object by half of the field of view."
        )
    elif readout_oversampling:
        yield from _cut_doubts(size_of_object)


def _cut_doubts(size_of_object):
    """Is much of the object outside of the central half of the height?"""
    energy = (size_of_object**2).sum(1)
    size = len(energy)
    outside = 1 - energy[size // 4 : size - size // 4].sum() / energy.sum()
    if outside > _CUT:
        yield (
            f"data.readout_oversampling keeps the central half of the height, and {outside:.0%} of "
            "the energy lies outside of it. Was the readout oversampled, and is it the height "
            "(data.transpose)?"
        )
