"""What the numbers of a measurement must be, where they are known."""

import warnings

import numpy as np
import tensorflow as tf

from tfvn import checks
from tfvn.physics.measurement import RANKS

__all__ = ["check_values"]

# An image of maximum 1 may be this many times smaller or larger before it is warned of.
_SCALES = 10


def check_values(inputs, image, unit=1.0, stacklevel=3):
    """Looks at the numbers of a measurement, where they are known: eagerly, not while a graph is
    traced.

    Args:
        inputs: a dict that `tfvn.physics.measurement.check` has passed.
        image: complex (batch, rows, width), A^H kspace.
        unit: the maximum that images should have.
        stacklevel: of the warning, as `warnings.warn` has it.

    Raises:
        ValueError: for numbers that are not finite, an image of zeros, no image, or a mask outside
            [0, 1].

    Warns:
        DataWarning: for an image ten times smaller or larger than `unit`.
    """
    if not tf.executing_eagerly():
        return
    if 0 in image.shape:
        raise ValueError(
            f"inputs must hold at least one image. Received: a batch of shape {tuple(image.shape)}"
        )
    mask = np.asarray(inputs["mask"]).astype(float)
    if not (mask.min() >= 0 and mask.max() <= 1):
        raise ValueError(
            "mask must hold zeros and ones, 1 where sampled. "
            f"Received: values from {mask.min():g} to {mask.max():g}"
        )
    magnitudes = tf.abs(image)
    _check_finite(inputs, image, tf.reduce_sum(magnitudes))
    peaks = tf.reduce_max(magnitudes, [1, 2]).numpy()
    if not peaks.all():
        raise ValueError(
            f"A^H kspace is zero everywhere in image {np.argmin(peaks)} of the batch: there is "
            "nothing to reconstruct. Does the mask sample any of the k-space? Do the maps belong "
            "to it?"
        )
    peak = peaks[np.argmax(np.abs(np.log(peaks / unit)))]
    if not unit / _SCALES <= peak <= unit * _SCALES:
        warnings.warn(
            f"The largest magnitude of A^H kspace is {peak:.3g}, where about {unit:g} is expected: "
            "networks, radius and sigma are made for normalised images. Divide the k-space by it; "
            "tfvn.data.prepare does that for raw arrays.",
            checks.DataWarning,
            stacklevel=stacklevel,
        )


def _check_finite(inputs, image, total):
    # A sum is finite only if all terms are.
    sums = [total]
    if "zero_filled" in inputs:
        # These do not show in an image A^H kspace that came with them.
        unseen = ("sensitivity_maps", "initial_image")
        sums += [tf.reduce_sum(inputs[key]) for key in unseen if key in inputs]
    if all(np.isfinite(x) for x in sums):
        return
    known = {key: inputs[key] for key in RANKS if key in inputs}
    known["A^H kspace"] = image
    for name, array in known.items():
        array = np.asarray(array)
        wrong = ~np.isfinite(array)
        if wrong.any():
            first = np.argwhere(wrong)[0][0]
            raise ValueError(
                f"{name} must be finite. Received: {np.count_nonzero(wrong)} NaN or infinite of "
                f"{array.size} entries, the first in image {first} of the batch."
            )
