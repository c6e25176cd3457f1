"""Do the arrays of a slice belong together, and are they in the convention that is assumed?

Shapes and NaN say little. What is compared here shows in the data of every scan:

    m(w) = sum_n w_n exp(2 pi i (n - N // 2) / N) / sum_n w_n

is the mean place on a circle of weights w along an axis: its angle is where they lie, 0 for the
centre and pi for both ends, its modulus how closely. Of the energy of k-space it tells where the
zero frequency is, of the magnitude of the image where the object is. White noise has m = 0 and
tells nothing.

With x_c the coil images of low resolution and S_c the maps, norm(x - S S^H x / |S|^2)^2 / norm(x)^2
is the share of the signal that no image seen through these maps explains; where all maps are 0
nothing is explained. The magnitude of the coil-combined image is compared with that of the
reference: phases may follow another convention.

What is certainly wrong is refused; what probably is makes a `DataWarning`. The thresholds lie
between what right and wrong pairs gave, of measured scans (1 to 16 coils) and of synthetic ones
with noise up to a tenth of their maximum."""

import warnings

import numpy as np

from tfvn.checks import DataWarning
from tfvn.data.sample import combine, ifft2c

__all__ = ["check", "forget", "mask_doubts", "tell"]

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
# Real part of the object's m: 0.03 or more for objects that fill the field of view, down to -0.7
# for shifted ones. The second is for images from a centre of which points are missing.
_EDGES, _EDGES_IN_PART = -0.15, -0.25
# Side of the central block of k-space from which images of low resolution are made, and the least
# one.
_LINES, _FEWEST_LINES = 32, 8
# Share of the signal outside of the maps' range: up to 0.02 for right maps, above 0.45 for those of
# other scans.
_DOUBTFUL_SHARE, _WRONG_SHARE = 0.2, 0.4
# Correlation of magnitudes: above 0.94 for right references, 0.5 to 0.9 for neighbouring or turned
# ones.
_DOUBTFUL_CORRELATION, _WRONG_CORRELATION = 0.9, 0.5
# Factors between scales, either way.
_DOUBTFUL_FACTOR, _WRONG_FACTOR = 2, 10
# Similarity of two coils: those of one scan differ by their noise at least.
_SAME = 0.99999
# The modulus of m is above the first for the transforms of images, below the second for images.
_IMAGE, _NO_KSPACE = 0.75, 0.55
# Energy outside of the central half of an oversampled readout.
_CUT = 0.3
# Magnitudes are compared as sums over blocks, at most so many along an axis.
_BLOCKS = 64
# Energy that a mask samples, as a part of that of as many random points; of right ones 1 or more.
_LEAST_SHARE = 0.5
# Contrast of an image, as a part of its norm, that rounding leaves.
_FLAT = 1e-3

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
    moments = [_moment(energy.sum(axis)) for axis in (1, 0)]
    points = np.broadcast_to(mask[0] > 0, energy.shape)
    share, sampled = energy[points].sum() / energy.sum(), points.mean()
    if not _is_clear(moments, _of_noise(kspace)) or share >= _LEAST_SHARE * sampled:
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
    """The texts of the warnings; raises ValueError for what is certain."""
    # `tfvn.data.sample.check` speaks of shapes, of NaN and of zeros.
    if kspace.ndim != 3 or not np.isfinite(kspace).all() or not kspace.any():
        return
    _check_complex(kspace)
    scale = np.abs(kspace).max()
    kspace = kspace / scale
    energies = [_energy(kspace, axis) for axis in (1, 2)]
    moments = [_moment(energy) for energy in energies]
    images = ifft2c(kspace)
    yield from _coil_doubts(kspace)
    image = _transformed(moments, images)
    yield from _image_doubts(image)
    yield from _centre_doubts(energies, moments, image, _of_noise(kspace))
    low = _low_resolution(kspace, _LINES)
    measured = (kspace != 0).any(0)
    lines = _centre_lines(measured)
    clear = _is_clear(moments, _of_noise(kspace)) and not image
    if clear:
        edges = _EDGES if lines >= _FEWEST_LINES else _EDGES_IN_PART
        yield from _object_doubts(low, edges, readout_oversampling)
    if maps is None or maps.shape != kspace.shape or not np.isfinite(maps).all() or not maps.any():
        return
    yield from _norm_doubts(low, maps)
    if clear and lines >= _FEWEST_LINES:
        yield from _maps_doubts(_low_resolution(kspace, lines), maps)
    if reference is not None and _is_full(measured):
        combined = combine(images, maps, readout_oversampling)
        yield from _reference_doubts(np.abs(combined), np.abs(reference) / scale, clear)


def _moment(weights):
    """m(w) of the module's text."""
    size = len(weights)
    circle = np.exp(2j * np.pi * (np.arange(size) - size // 2) / size)
    total = weights.sum(dtype=np.float64)
    return (weights * circle).sum() / total if total else 0j


def _place(moment):
    """Where a moment lies, as a part of the axis: 0 for the centre, up to 1/2."""
    return abs(np.angle(moment)) / (2 * np.pi)


def _is_clear(moments, noise):
    """Is the energy of k-space so well in the centre that more can be said?"""
    concentrated = min(np.abs(moments)) > max(_CLEAR_CONCENTRATION, noise)
    return concentrated and max(map(_place, moments)) <= _LARGEST_OFFSET


def _energy(array, axis):
    """Of each line along an axis of (coils, height, width), and of an entry that was measured.

    So masks of lines do not move it.
    """
    others = tuple({0, 1, 2} - {axis})
    count = np.count_nonzero(array, axis=others)
    return (np.abs(array) ** 2).sum(others, dtype=np.float64) / np.maximum(count, 1)


def _check_complex(kspace):
    for part, values in (("real", kspace.real), ("imaginary", kspace.imag)):
        if not values.any():
            raise ValueError(
                f"kspace must be complex, as it was measured. Received: numbers whose {part} part "
                "is zero everywhere. Are they magnitudes? Give real and imaginary part."
            )


def _of_noise(kspace):
    """More than the modulus of m for white noise, 1 over the root of the number of entries."""
    return 6 / np.sqrt(kspace[0].size)


def _centre_doubts(energies, moments, image, noise):
    """Is the zero frequency at index N // 2 of both axes?"""
    least = max(_LEAST_CONCENTRATION, noise)
    found = {}
    for axis, energy, moment in zip(("height", "width"), energies, moments):
        # The energy of an image lies anywhere.
        if axis not in image and abs(moment) > least and _is_peak(energy, moment):
            found[axis] = energy, moment
    corner = [axis for axis, (_, moment) in found.items() if _place(moment) > _CORNER]
    if corner:
        told = [f"{_outer_share(found[axis][0]):.0%} along the {axis}" for axis in corner]
        raise ValueError(
            "the zero frequency of kspace must be in its centre. Received: the outer half of its "
            f"lines holds {', '.join(told)} of the energy, as np.fft.fft2 leaves it. Move it: "
            "np.fft.fftshift(kspace, axes=(-2, -1)) for (coils, height, width), along the named "
            "axes."
        )
    for axis, (_, moment) in found.items():
        if _place(moment) > _LARGEST_OFFSET and abs(moment) > 2 * least:
            yield (
                f"the energy of kspace lies {_place(moment):.0%} of the {axis} away from its "
                "centre, where the zero frequency is expected (index size // 2). Shift it there "
                "with np.roll; of a partial measurement, fill the missing lines with zeros."
            )


def _is_peak(energy, moment):
    """Has a zero frequency made the moment? It stands out by few lines, noise by many."""
    size = len(energy)
    place = size // 2 + round(np.angle(moment) / (2 * np.pi) * size)
    reach = max(1, size // 32)
    top = energy[np.arange(place - reach, place + reach + 1) % size].max()
    return np.count_nonzero(energy > top / 2) <= _PEAK * size


def _outer_share(energy):
    size = len(energy)
    inner = energy[size // 4 : size // 4 + (size + 1) // 2].sum()
    return 1 - inner / energy.sum()


def _coil_doubts(kspace):
    """Do two coils hold the same numbers, but for a factor?"""
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


def _transformed(moments, images):
    """Axes along which k-space is an image already: the transform has its energy in the centre."""
    axes = {}
    for axis, name, moment in zip((1, 2), ("height", "width"), moments):
        transform = _moment(_energy(images, axis)).real
        if transform > _IMAGE and abs(moment) < _NO_KSPACE:
            axes[name] = abs(moment), transform
    return axes


def _image_doubts(axes):
    for name, (own, transform) in axes.items():
        yield (
            f"kspace looks like an image along the {name}: its inverse transform is more "
            f"concentrated in the centre ({transform:.2f}, of at most 1) than it is itself "
            f"({own:.2f}). Give the measured k-space, or the image's centred transform."
        )


def _object_doubts(images, edges, readout_oversampling):
    """Is the object in the centre of the field of view, or in its corners?"""
    magnitude = _magnitude(images)
    moments = [_moment(magnitude.sum(axis)) for axis in (1, 0)]
    parts = [moment.real for moment in moments]
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
        energy = (magnitude**2).sum(1)
        size = len(energy)
        outside = 1 - energy[size // 4 : size - size // 4].sum() / energy.sum()
        if outside > _CUT:
            yield (
                f"readout_oversampling keeps the central half of the height, and {outside:.0%} of "
                "the energy lies outside of it. Was the readout oversampled, and is it the height "
                "(transpose)?"
            )


def _norm_doubts(images, maps):
    """Is sum_c |S_c|^2 about 1 where the object is?"""
    maps = _at(maps, images.shape[1:])
    weights = _magnitude(images) ** 2
    norm = np.sqrt((_magnitude(maps) ** 2 * weights).sum() / weights.sum())
    text = (
        "sensitivity_maps must have a root-sum-of-squares of about 1 on the object: radii and "
        f"sigmas are in these units. Received: {norm:.3g}. Divide them by it, and the reference "
        "too if it was made with them."
    )
    yield from _factor_doubts(norm, text)


def _factor_doubts(factor, text):
    factor = max(factor, 1 / factor) if factor else np.inf
    if factor > _WRONG_FACTOR:
        raise ValueError(text)
    if factor > _DOUBTFUL_FACTOR:
        yield text


def _maps_doubts(images, maps):
    """How much of the signal is outside of the range of the maps?"""
    maps = _at(maps, images.shape[1:])
    share = _outside(images, maps)
    if share <= _DOUBTFUL_SHARE:
        return
    turned = {"conjugated": maps.conj(), **_turned(maps)}
    found = min(turned, key=lambda change: _outside(images, turned[change]))
    least = _outside(images, turned[found])
    text = (
        f"the sensitivity_maps must belong to this scan. Received: {share:.0%} of the signal is "
        "outside of what they can explain (another scan, another order of coils or axes, maps of "
        "zeros in the object?). Use the maps of this scan."
    )
    if least < min(_DOUBTFUL_SHARE, share) / 3:
        raise ValueError(f"{text} {found.capitalize()} they fit: {least:.0%}.")
    if share > _WRONG_SHARE:
        raise ValueError(text)
    yield text


def _outside(images, maps):
    """norm(x - S S^H x / |S|^2)^2 / norm(x)^2."""
    power = (np.abs(maps) ** 2).sum(0)
    seen = power > 1e-6 * power.max()
    along = (maps.conj() * images).sum(0)
    inside = np.abs(along[seen]) ** 2 / power[seen]
    return max(0.0, 1 - inside.sum() / (np.abs(images) ** 2).sum())


def _reference_doubts(combined, reference, clear):
    """Has the reference the scale of the combined image, and does it show the same?"""
    if combined.shape != reference.shape or not np.isfinite(reference).all():
        return
    if not reference.any():
        raise ValueError(
            "reference must hold the fully sampled image. Received: zeros everywhere. "
            "Write it again."
        )
    norms = [np.linalg.norm(image.astype(np.float64)) for image in (reference, combined)]
    factor = norms[0] / norms[1] if norms[1] else np.inf
    yield from _factor_doubts(
        factor,
        "reference must have the units of sum_c conj(S_c) x_c of this k-space and its maps. "
        f"Received: one that is {factor:.3g} times as large. Divide it by that, or make it again "
        "from the k-space.",
    )
    correlation = _correlation(combined, reference)
    if correlation >= _DOUBTFUL_CORRELATION or not clear:
        return
    turned = _turned(reference)
    found = max(turned, key=lambda change: _correlation(combined, turned[change]))
    most = _correlation(combined, turned[found])
    text = (
        "reference must show what this k-space does. Received: magnitudes that correlate with the "
        f"combined image by {correlation:.2f} only, of 0.95 to 1 (another slice, other axes, "
        "another kind of image?). Use the reference of this slice."
    )
    if most > max(0.95, correlation + 0.1):
        raise ValueError(f"{text} {found.capitalize()} it fits: {most:.2f}.")
    if correlation < _WRONG_CORRELATION:
        raise ValueError(text)
    yield text


def _correlation(first, second):
    """Of two magnitudes after sums over blocks, which leave little noise; of flat ones 1 or 0."""
    images = [_pooled(image) for image in (first, second)]
    centred = [image - image.mean() for image in images]
    norms = [np.linalg.norm(image) for image in centred]
    flat = [norm <= _FLAT * np.linalg.norm(image) for norm, image in zip(norms, images)]
    if any(flat):
        return float(all(flat))
    return (centred[0] * centred[1]).sum() / (norms[0] * norms[1])


def _pooled(image):
    image = image.astype(np.float64)
    for axis, size in enumerate(image.shape):
        image = np.add.reduceat(image, np.arange(0, size, -(-size // _BLOCKS)), axis)
    return image


def _turned(array):
    """What is often done to the last two axes by mistake, undone: a dict of name to array."""
    changes = {
        "flipped along the height": array[..., ::-1, :],
        "flipped along the width": array[..., ::-1],
        "turned by 180 degrees": array[..., ::-1, ::-1],
        "shifted by half of both axes": np.fft.fftshift(array, axes=(-2, -1)),
    }
    if array.shape[-2] == array.shape[-1]:
        transposed = np.swapaxes(array, -2, -1)
        changes["with height and width exchanged"] = transposed
        changes["turned by 90 degrees"] = transposed[..., ::-1, :]
        changes["turned by -90 degrees"] = transposed[..., ::-1]
    return changes


def _magnitude(images):
    return np.sqrt((np.abs(images.astype(np.complex128)) ** 2).sum(0))


def _block(size, lines):
    # Of a small axis its half: the outer one is mostly noise.
    lines = min(lines, max(size // 2, min(size, _FEWEST_LINES)))
    return slice(size // 2 - lines // 2, size // 2 - lines // 2 + lines)


def _low_resolution(kspace, lines):
    """Images of the central block, weighted by a Hann window, on as many pixels as it has lines."""
    blocks = [_block(size, lines) for size in kspace.shape[1:]]
    centre = kspace[(slice(None), *blocks)]
    windows = [np.hanning(size + 2)[1:-1] for size in centre.shape[1:]]
    return ifft2c(centre * (windows[0][:, None] * windows[1]))


def _at(maps, size):
    """The maps at the pixels of images of low resolution."""
    rows, columns = (
        np.rint((np.arange(few) - few // 2) * full / few).astype(int).clip(-(full // 2)) + full // 2
        for full, few in zip(maps.shape[1:], size)
    )
    return maps[:, rows[:, None], columns].astype(np.complex128)


def _centre_lines(measured):
    """Side of the largest central block that was measured but for single entries."""
    for lines in range(_LINES, 0, -1):
        blocks = tuple(_block(size, lines) for size in measured.shape)
        if measured[blocks].mean() > 0.95:
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
    return inside.mean() > 0.9 and min(np.divide(inside.shape, measured.shape)) >= 0.5
