"""What of a scan was measured, and what a mask may leave of it."""

import numpy as np

from tfvn.data.sample import mask_array, unmeasured

__all__ = ["doubt_of_points", "is_fully_sampled", "of_mask", "undersampling"]

# Scanners leave lines at the ends out and write zeros (partial resolution); a scan with more than
# this is undersampled.
_LARGEST_PADDING = 0.25
# A mask in a file says what was measured, and may call zeros measured: not as many as this part of
# its positions.
_LARGEST_CLAIM = 0.25
# The zeros of a mask of points that may have been of lines after all are told.
_DOUBTFUL_SHARE = 0.25


def is_fully_sampled(measured):
    """Whether all lines were measured, or all but some at the two ends; and of each all samples, or
    all but the same ones at its ends, as those of an asymmetric echo.

    Args:
        measured: 0/1 (1, 1 or height, width).
    """
    points = measured[0] > 0
    lines, samples = points.any(0), points.any(1)
    is_block = (points == (samples[:, None] & lines)).all()
    return bool(is_block and _is_nearly_full(lines) and _is_nearly_full(samples))


def _is_nearly_full(sampled):
    """Whether an axis lacks nothing but a few places at its ends."""
    places = np.flatnonzero(sampled)
    contiguous = len(places) == places[-1] - places[0] + 1
    return contiguous and len(places) >= (1 - _LARGEST_PADDING) * len(sampled)


def undersampling(mask, found):
    """The mask that was asked for, where there is anything for it.

    Args:
        mask: as for `tfvn.data.sample.mask_array`. Of a scan that is not fully sampled an array
            says what was measured.
        found: the `tfvn.data.sample.Zeros` of the k-space.

    Returns:
        0/1 (1, 1 or height, width), and a sentence on what is doubtful, '' if nothing is.

    Raises:
        ValueError: for no mask, or one that calls measured what is not.
    """
    claim = mask
    mask = mask_array(claim, *found.points.shape)
    if is_fully_sampled(found.mask):
        # Lines that the scanner left out at the ends were not measured, whatever the mask says.
        return mask * found.mask, ""
    claimed = unmeasured(mask, found)
    if not claimed.any():
        return mask, ""
    sampled = np.broadcast_to(mask[0] > 0, claimed.shape)
    # Lines and rows of zeros were not measured; of those with other numbers this is less
    # certain.
    empty = np.count_nonzero(sampled.any(0) & ~found.points.any(0))
    empty += np.count_nonzero(sampled.any(1) & ~found.points.any(1))
    share = claimed.sum() / sampled.sum()
    if callable(claim) or share > _LARGEST_CLAIM or empty:
        raise ValueError(
            "a mask can only undersample a fully sampled scan, or say where one was "
            f"measured. Received: k-space of which {found.mask.mean():.0%} was measured, "
            f"and a mask that samples {empty} empty lines or rows and is 1 at "
            f"{share:.0%} zeros. Use sampling.mask: measured (leave --mask out), or a mask of what "
            "was measured."
        )
    return mask, (
        f"the mask calls {share:.1%} of its positions measured where k-space is zero "
        "in all coils: to a network these are measured zeros. Is it the mask of this "
        "scan?"
    )


def doubt_of_points(found):
    """A sentence where points may have been lines after all, '' if nothing is doubtful.

    Args:
        found: the `tfvn.data.sample.Zeros` of a k-space that is not fully sampled.
    """
    if found.mask.shape[1] == 1 or is_fully_sampled(found.mask):
        return ""
    if found.share > _DOUBTFUL_SHARE:
        return ""
    return (
        f"{found.share:.1%} of the positions in its lines are zero in all "
        "coils, so it is taken for a scan that samples points, not lines. If all of these "
        "lines were measured, say so: sampling.mask: file, and a sampling.path (--mask) that is"
        " 1 at each measured line."
    )


def of_mask(text, mask_name, path):
    """A sentence on a mask that begins with the file of the mask, and names that of the scan.

    Args:
        text: the sentence, or an error.
        mask_name: the file of the mask; '' if it has none.
        path: the file of the scan.
    """
    if not mask_name:
        return str(text)
    return f"{mask_name}: {text} (the mask of {path})"
