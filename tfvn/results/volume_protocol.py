"""The protocol of fastMRI: errors of volumes, beside those of slices in normalised units.

Images and references are magnitudes in the scanner's units, cut to their centre of 320 x 320. What
is compared is a volume: its maximum is the data range of all of its slices. The structural
similarity has a uniform window of 7 x 7 pixels, and is the mean over slices.

Source: Zbontar et al., arXiv:1811.08839, section 5.2, and the published code (`fastmri.evaluate`).
"""

from typing import NamedTuple

import h5py
import numpy as np
import scipy.ndimage

from tfvn.data.recognise import reading
from tfvn.tables import Table, digits

__all__ = ["CROP", "Scores", "measured", "rows_of", "scores", "table_of"]

CROP = 320
# Of the structural similarity (Wang et al., 2004).
_WINDOW = 7
_K1, _K2 = 0.01, 0.03


class Scores(NamedTuple):
    """The errors of a volume.

    nmse: ||image - reference||^2 / ||reference||^2.
    psnr: in dB, of the maximum of the volume.
    ssim: the mean over its slices.
    """

    nmse: float
    psnr: float
    ssim: float


def measured(path, crop=CROP):
    """The errors of all volumes that an evaluation has reconstructed.

    A volume is made of the slices whose names agree up to the slash. Slices without a reference are
    left out.

    Args:
        path: `reconstructions.h5` of the evaluation.
        crop: side of the centre that is compared.

    Returns:
        A list of (model, volume, answer, number of slices, `Scores`), an answer being 'clean' or
        the name of an attack and its size.

    Raises:
        ValueError: naming the file, if it cannot be read or holds no such images.
    """
    with reading(path, "an HDF5 file"), h5py.File(path, "r") as file:
        found = []
        for model, slices in file["models"].items():
            for key, pairs in _by_volume(slices, file["slices"]).items():
                images, references = (np.stack(side) for side in zip(*pairs))
                found.append((model, *key, len(pairs), scores(images, references, crop)))
        return found


def rows_of(found):
    """The rows of `volumes.csv`: of what `measured` found, a dict for each volume and answer."""
    rows = []
    for model, volume, answer, slices, errors in found:
        rows.append(
            dict(model=model, volume=volume, answer=answer, slices=slices, **errors._asdict())
        )
    return rows


def table_of(found):
    """The means over volumes for every model and answer, a `Table`."""
    means = {}
    for model, _, answer, _, errors in found:
        means.setdefault((model, answer), []).append(errors)
    lines = [["model", "image", "volumes", "NMSE", "PSNR in dB", "SSIM"]]
    for (model, answer), errors in means.items():
        numbers = [digits(float(number)) for number in np.mean(errors, 0)]
        lines.append([model, answer, str(len(errors)), *numbers])
    note = (
        f"Of magnitudes in the scanner's units on their central {CROP} x {CROP} pixels. All slices "
        "of a volume have one data range. Volumes one by one are in volumes.csv."
    )
    best = ("", "", "", "lowest", "highest", "highest")
    return Table("Errors of volumes, as fastMRI tells them", lines, best, note)


def _by_volume(slices, references):
    """Pairs of image and reference, of each volume and answer."""
    pairs = {}
    for name, group in slices.items():
        if "reference" not in references[name]:
            continue
        scale = group.attrs["scale"]
        reference = scale * references[name]["reference"][()]
        volume = str(group.attrs["name"]).split("/")[0]
        for answer in group:
            pair = scale * group[answer][()], reference
            pairs.setdefault((volume, answer), []).append(pair)
    return pairs


def scores(images, references, crop=CROP):
    """The `Scores` of a volume.

    Args:
        images, references: magnitudes of one shape (slices, height, width).
        crop: side of the centre that is compared; an axis that is shorter is taken whole.

    Raises:
        ValueError: for other shapes, or images smaller than the window.
    """
    images, references = (_centre(np.asarray(x, np.float64), crop) for x in (images, references))
    if images.shape != references.shape or images.ndim != 3:
        raise ValueError(
            "images and references must have one shape (slices, height, width). Received: "
            f"{images.shape} and {references.shape}"
        )
    if min(images.shape[1:]) < _WINDOW:
        raise ValueError(
            f"images must have at least {_WINDOW} x {_WINDOW} pixels. Received: {images.shape[1:]}"
        )
    error = np.mean((images - references) ** 2)
    largest = references.max()
    similarities = [_ssim(*pair, largest) for pair in zip(images, references)]
    with np.errstate(divide="ignore"):
        psnr = 10 * np.log10(largest**2 / error)
    nmse = error / np.mean(references**2)
    return Scores(float(nmse), float(psnr), float(np.mean(similarities)))


def _centre(images, crop):
    index = [...]
    for size in images.shape[-2:]:
        first = max(size - crop, 0) // 2
        index.append(slice(first, first + min(crop, size)))
    return images[tuple(index)]


def _ssim(image, reference, data_range):
    """Structural similarity of two images, over windows that lie inside."""
    count = _WINDOW**2

    def mean(values):
        return scipy.ndimage.uniform_filter(values, _WINDOW)

    def covariance(x, y):
        return count / (count - 1) * (mean(x * y) - mean(x) * mean(y))

    first, second = mean(image), mean(reference)
    c1, c2 = ((k * data_range) ** 2 for k in (_K1, _K2))
    brightness = (2 * first * second + c1) / (first**2 + second**2 + c1)
    spread = covariance(image, image) + covariance(reference, reference)
    structure = (2 * covariance(image, reference) + c2) / (spread + c2)
    edge = _WINDOW // 2
    return (brightness * structure)[edge:-edge, edge:-edge].mean()
