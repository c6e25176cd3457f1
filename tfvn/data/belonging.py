"""Do maps and reference belong to a k-space?

With x_c the coil images of low resolution and S_c the maps, norm(x - S S^H x / |S|^2)^2 / norm(x)^2
is the share of the signal that no image seen through these maps explains. Where all maps are 0
nothing is explained. The magnitude of the coil-combined image is compared with that of the
reference: phases may follow another convention.

The thresholds lie between what right and wrong pairs gave, as in `tfvn.data.conventions`.
"""

import numpy as np

from tfvn.data.conventions import magnitude

__all__ = ["maps_doubts", "norm_doubts", "reference_doubts"]

# Share of the signal outside of the maps' range: up to 0.02 for right maps, above 0.45 for those of
# other scans.
_DOUBTFUL_SHARE, _WRONG_SHARE = 0.2, 0.4
# Correlation of magnitudes: above 0.94 for right references, 0.5 to 0.9 for neighbouring or turned
# ones.
_DOUBTFUL_CORRELATION, _WRONG_CORRELATION = 0.9, 0.5
# Of a reference that is turned by mistake, after it was turned back.
_RIGHT_CORRELATION = 0.95
# Factors between scales, either way.
_DOUBTFUL_FACTOR, _WRONG_FACTOR = 2, 10
# Of the largest sum of squares of the maps: below it they are zero.
_FLOOR = 1e-6
# Magnitudes are compared as sums over blocks, at most so many along an axis.
_BLOCKS = 64
# Contrast of an image, as a part of its norm, that rounding leaves.
_FLAT = 1e-3


def norm_doubts(images, maps):
    """Is sum_c |S_c|^2 about 1 where the object is? Yields the text of a warning.

    Args:
        images: coil images of low resolution.
        maps: complex (coils, height, width).

    Raises:
        ValueError: if it is certainly not.
    """
    maps = _at(maps, images.shape[1:])
    weights = magnitude(images) ** 2
    norm = np.sqrt((magnitude(maps) ** 2 * weights).sum() / weights.sum())
    text = (
        "sensitivity_maps must have a root-sum-of-squares of about 1 on the object: radii and "
        f"sigmas are in these units. Received: {norm:.3g}. Divide them by it, and the reference "
        "too if it was made with them."
    )
    yield from _factor_doubts(norm, text)


def _factor_doubts(factor, text):
    """Yields or raises a text by how far a factor is from 1."""
    distance = np.inf
    if factor:
        distance = max(factor, 1 / factor)
    if distance > _WRONG_FACTOR:
        raise ValueError(text)
    if distance > _DOUBTFUL_FACTOR:
        yield text


def maps_doubts(images, maps):
    """How much of the signal is outside of the range of the maps? Yields the text of a warning.

    Args:
        images: coil images of low resolution.
        maps: complex (coils, height, width).

    Raises:
        ValueError: if the maps are certainly those of another scan.
    """
    maps = _at(maps, images.shape[1:])
    share = _outside(images, maps)
    if share <= _DOUBTFUL_SHARE:
        return
    turned = {"conjugated": maps.conj(), **_turned(maps)}
    shares = {change: _outside(images, other) for change, other in turned.items()}
    found = min(shares, key=shares.get)
    text = (
        f"the sensitivity_maps must belong to this scan. Received: {share:.0%} of the signal is "
        "outside of what they can explain (another scan, another order of coils or axes, maps of "
        "zeros in the object?). Use the maps of this scan."
    )
    if shares[found] < min(_DOUBTFUL_SHARE, share) / 3:
        raise ValueError(f"{text} {found.capitalize()} they fit: {shares[found]:.0%}.")
    if share > _WRONG_SHARE:
        raise ValueError(text)
    yield text


def _outside(images, maps):
    """norm(x - S S^H x / |S|^2)^2 / norm(x)^2."""
    power = (np.abs(maps) ** 2).sum(0)
    seen = power > _FLOOR * power.max()
    along = (maps.conj() * images).sum(0)
    inside = np.abs(along[seen]) ** 2 / power[seen]
    return max(0.0, 1 - inside.sum() / (np.abs(images) ** 2).sum())


def reference_doubts(combined, reference, clear):
    """Has the reference the scale of the combined image, and does it show the same?

    Args:
        combined: magnitude of the image that k-space and maps give, (rows, width).
        reference: magnitude of the reference.
        clear: whether the images can be compared, see `tfvn.data.conventions.is_clear`.

    Yields:
        The texts of warnings.

    Raises:
        ValueError: if the reference is certainly another one.
    """
    if combined.shape != reference.shape or not np.isfinite(reference).all():
        return
    if not reference.any():
        raise ValueError(
            "reference must hold the fully sampled image. Received: zeros everywhere. "
            "Write it again."
        )
    yield from _scale_doubts(combined, reference)
    correlation = _correlation(combined, reference)
    if correlation >= _DOUBTFUL_CORRELATION or not clear:
        return
    turned = _turned(reference)
    correlations = {change: _correlation(combined, other) for change, other in turned.items()}
    found = max(correlations, key=correlations.get)
    text = (
        "reference must show what this k-space does. Received: magnitudes that correlate with the "
        f"combined image by {correlation:.2f} only, of 0.95 to 1 (another slice, other axes, "
        "another kind of image?). Use the reference of this slice."
    )
    if correlations[found] > max(_RIGHT_CORRELATION, correlation + 0.1):
        raise ValueError(f"{text} {found.capitalize()} it fits: {correlations[found]:.2f}.")
    if correlation < _WRONG_CORRELATION:
        raise ValueError(text)
    yield text


def _scale_doubts(combined, reference):
    """Has the reference the scale of the combined image?"""
    own = np.linalg.norm(reference.astype(np.float64))
    expected = np.linalg.norm(combined.astype(np.float64))
    factor = np.inf
    if expected:
        factor = own / expected
    yield from _factor_doubts(
        factor,
        "reference must have the units of sum_c conj(S_c) x_c of this k-space and its maps. "
        f"Received: one that is {factor:.3g} times as large. Divide it by that, or make it again "
        "from the k-space.",
    )


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
        starts = np.arange(0, size, -(-size // _BLOCKS))
        image = np.add.reduceat(image, starts, axis)
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


def _at(maps, size):
    """The maps at the pixels of images of low resolution."""
    rows, columns = map(_places, maps.shape[1:], size)
    return maps[:, rows[:, None], columns].astype(np.complex128)


def _places(full, few):
    """The pixels of an axis of `full` that lie nearest to those of one of `few`."""
    steps = np.rint((np.arange(few) - few // 2) * full / few).astype(int)
    return steps.clip(-(full // 2)) + full // 2
