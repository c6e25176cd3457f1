"""The masks that a configuration chooses from by name: its section `sampling` makes one of them.

The masks themselves are those of `tfvn.physics.masks`, or an array in a file.
"""

import functools

import numpy as np

from tfvn import checks
from tfvn.data.array_files import read_array
from tfvn.data.sample import check_mask
from tfvn.physics import masks

__all__ = ["MASKS", "Constant", "Equispaced", "FastMRI", "Mask", "MaskFile", "Measured", "Random"]


class Mask:
    """A choice of the mask: the base class. The keywords of a constructor are its keys."""

    def read(self, locate):
        """The mask itself.

        Args:
            locate: a function from the path that a configuration names to that of the mask's file.

        Returns:
            A function of the width, an array, or None for what was measured.

        Raises:
            ValueError: naming the mask's file, if it cannot be read or holds no mask.
        """
        raise NotImplementedError

    def of_volume(self, locate, name):
        """The mask of a volume, as `read` returns it; the same for all volumes but of `FastMRI`.

        Args:
            locate: as for `read`.
            name: of the volume's file, with its ending.
        """
        del name
        return self.read(locate)

    def file(self, locate):
        """The path of the mask's file, '' if the mask comes from none.

        Args:
            locate: as for `read`.

        Raises:
            ValueError: if the configuration does not name it.
        """
        del locate
        return ""


class Constant(Mask):
    """The paper's mask: a block in the centre, and equispaced lines on both sides of it.

    Args:
        fraction: share of the lines that is sampled.

    Raises:
        ValueError: for a share outside (0, 1].
    """

    def __init__(self, fraction=0.15):
        self.fraction = checks.number("fraction", fraction, above=0, most=1)

    def read(self, locate):
        del locate
        return functools.partial(masks.constant, fraction=self.fraction)


class Equispaced(Mask):
    """Lines at equal distances, and all lines of the centre.

    Args:
        acceleration: distance of two lines outside the centre.
        center_fraction: share of the width that the sampled centre has.

    Raises:
        ValueError: for an acceleration below 1 or a share outside [0, 1].
    """

    def __init__(self, acceleration=4.0, center_fraction=0.08):
        self.acceleration = checks.number("acceleration", acceleration, least=1)
        self.center_fraction = checks.number("center_fraction", center_fraction, least=0, most=1)

    def read(self, locate):
        del locate
        return functools.partial(
            masks.equispaced,
            acceleration=self.acceleration,
            center_fraction=self.center_fraction,
        )


class Random(Mask):
    """Lines drawn at random, and all lines of the centre.

    Args:
        acceleration: number of all lines, divided by the number of those that are sampled.
        center_fraction: share of the width that the sampled centre has.
        seed: seed of the draw.

    Raises:
        ValueError: for an acceleration below 1, a share outside [0, 1] or a seed below 0.
    """

    def __init__(self, acceleration=4.0, center_fraction=0.08, seed=0):
        self.acceleration = checks.number("acceleration", acceleration, least=1)
        self.center_fraction = checks.number("center_fraction", center_fraction, least=0, most=1)
        self.seed = checks.whole("seed", seed, least=0)

    def read(self, locate):
        del locate
        return functools.partial(
            masks.random,
            acceleration=self.acceleration,
            center_fraction=self.center_fraction,
            seed=self.seed,
        )


class FastMRI(Mask):
    """A mask of the fastMRI challenges: each volume has its own, drawn by the name of its file.

    Args:
        kind: random | equispaced | equispaced-fraction | magic, see docs/howto/data.md.
        accelerations: for each volume one is drawn.
        center_fractions: shares of the width that the sampled centre has, one per acceleration.

    Raises:
        ValueError: for another kind, lists of two lengths, and values outside their limits.
    """

    def __init__(self, kind="random", accelerations=(4.0,), center_fractions=(0.08,)):
        self.kind = checks.choice("kind", kind, tuple(masks.FASTMRI))
        self.accelerations = tuple(accelerations)
        self.center_fractions = tuple(center_fractions)
        if not 0 < len(self.accelerations) == len(self.center_fractions):
            raise ValueError(
                "accelerations must be a list as long as center_fractions. Received:"
                f" accelerations={list(accelerations)}, center_fractions={list(center_fractions)}"
            )
        for value in self.accelerations:
            checks.number("accelerations", value, least=1)
        for value in self.center_fractions:
            checks.number("center_fractions", value, least=0, most=1)

    def read(self, locate):
        """Of a scan that is no volume of a folder: the mask of the name ''."""
        return self.of_volume(locate, "")

    def of_volume(self, locate, name):
        del locate
        return functools.partial(
            masks.fastmri,
            kind=self.kind,
            accelerations=self.accelerations,
            center_fractions=self.center_fractions,
            name=name,
        )


class MaskFile(Mask):
    """A mask in a file.

    Args:
        path: file of the mask (.mat, .h5, .npy); of a vlo folder its name below <protocol>/masks.
        array: name of the mask in its file; empty: mask, or the only array.
    """

    def __init__(self, path="", array=""):
        self.path = path
        self.array = array

    def read(self, locate):
        return _mask_of_file(self.file(locate), self.array)

    def file(self, locate):
        meaning = "the mask's file (vlo: its name)"
        return locate(checks.needed("sampling.mask file", "sampling.path", self.path, meaning))


class Measured(Mask):
    """What was measured: wherever the k-space is not zero."""

    def read(self, locate):
        """None, as the k-space itself tells it."""
        del locate


# What `mask` of the section `sampling` may be.
MASKS = {
    "constant": Constant,
    "equispaced": Equispaced,
    "random": Random,
    "fastmri": FastMRI,
    "file": MaskFile,
    "measured": Measured,
}


def _mask_of_file(path, array):
    """The mask of a file; an error names it, and not the scan that it is for."""
    mask = np.squeeze(read_array(path, ("mask",), array, "sampling.array (--mask-array)"))
    try:
        if mask.ndim not in (1, 2):
            raise ValueError(
                "the mask must have shape (width,) or (height, width). Received:"
                f" mask.shape={mask.shape}"
            )
        check_mask(mask)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return mask
