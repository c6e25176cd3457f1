"""How coil maps are estimated where the data have none: `data.maps` names one of these classes.

The keywords of a constructor are its keys in a configuration.
"""

from tfvn import checks, choices
from tfvn.data import espirit
from tfvn.data.sensitivity import low_resolution_maps

__all__ = ["LOW_RESOLUTION", "MAPS", "Espirit", "LowResolution", "MapMethod"]

# Energy of the centre that a second set of maps explains and the first does not: up to 0.0001 in
# three brains, with noise of 3 % too, and above 0.014 where they are folded to half of the width.
_FOLDED = 0.005
# Energy outside of the range of right maps: up to 0.008, and 0.027 with noise of 3 %.
_LOST = 0.1


class MapMethod:
    """A way to estimate maps: the base class.

    Attributes:
        words: how maps are made, for tables.
    """

    words = "estimated"

    def estimate(self, kspace, lines, mask):
        """Maps of one slice.

        Args:
            kspace: complex (coils, height, width).
            lines: how many centre lines; 0: as many as are measured, 24 at most.
            mask: 0/1 (1, 1 or height, width), where k-space is used.

        Returns:
            complex64 (coils, height, width), and sentences on what is doubtful, a list.

        Raises:
            ValueError: if fewer lines are measured than it needs.
        """
        raise NotImplementedError

    @property
    def settings(self):
        """What maps depend on, a dict of plain values."""
        return {"method": type(self).__name__, **vars(self)}


class LowResolution(MapMethod):
    """Images of the centre lines, divided by their root-sum-of-squares.

    See `tfvn.data.sensitivity`.
    """

    def estimate(self, kspace, lines, mask):
        return low_resolution_maps(kspace, lines, mask), []


class Espirit(MapMethod):
    """ESPIRiT (Uecker et al., MRM 71(3), 2014), one set of maps, see `tfvn.data.espirit`.

    Args:
        kernel_size: side of the windows of k-space; a third of the centre lines where that is less.
        threshold: windows with a smaller part of the largest energy are noise.
        crop: maps are 0 where the eigenvalue is below; 0: nowhere.

    Raises:
        ValueError: for values outside their limits.
    """

    words = "estimated by ESPIRiT"

    def __init__(self, kernel_size=6, threshold=0.001, crop=0.8):
        self.kernel_size = checks.whole(
            "kernel_size", kernel_size, espirit.LEAST_KERNEL, most=espirit.LARGEST_KERNEL
        )
        self.threshold = checks.number("threshold", threshold, above=0, below=1)
        self.crop = checks.number("crop", crop, least=0, below=1)

    def estimate(self, kspace, lines, mask):
        kernel = espirit.kernel_of(kspace, lines, mask, self.kernel_size, self.threshold)
        maps = espirit.maps_of(kernel, kspace, self.crop).sensitivity_maps[0]
        return maps, list(_doubts(*espirit.unexplained(kernel, kspace, self.crop)))


def _doubts(one, two):
    """Yields sentences on the energy that one and two sets of maps leave unexplained."""
    if one - two >= _FOLDED:
        yield (
            f"one set of coil maps leaves {one:.1%} of the energy of the centre of k-space "
            f"unexplained, and two sets {two:.1%}: parts of the object are folded onto others. "
            "Networks take one set. Is the field of view smaller than the object?"
        )
    elif one >= _LOST:
        yield (
            f"the coil maps leave {one:.1%} of the energy of the centre of k-space unexplained. "
            "Set data.maps.crop or data.maps.kernel_size to less, data.maps to low_resolution, or "
            "measure more centre lines."
        )


# Where nothing else is said.
LOW_RESOLUTION = LowResolution()
# What `maps` of the section `data` may be, the default first.
MAPS = dict(zip(choices.MAPS, (LowResolution, Espirit)))
