"""From what of a scan its coil maps are estimated.

A scanner has the lines that the mask leaves, and no others. Maps from all of a fully sampled scan,
such as the paper's data set has them, know what the mask removes: a setting of its own.
"""

from typing import NamedTuple

from tfvn import checks
from tfvn.choices import MAPS_FROM
from tfvn.data.sensitivity import LEAST_LINES, centre_lines, low_resolution_maps

__all__ = ["Calibration"]


class Calibration(NamedTuple):
    """The settings of the estimate of coil maps, see `tfvn.data.sensitivity`.

    Args:
        lines: how many centre lines; 0: as many as there are, 24 at most.
        maps_from: 'measured', what the mask leaves, so that neither maps nor k-space depend on what
            it removes; 'fully-sampled', the scan before the mask.
    """

    lines: int = 0
    maps_from: str = "measured"

    def check(self):
        """Checks both settings.

        Raises:
            ValueError: for values outside their limits, naming the keys of a configuration.
        """
        checks.whole("calibration_lines", self.lines, 0)
        if self.lines and self.lines < LEAST_LINES:
            raise ValueError(
                f"calibration_lines must be {LEAST_LINES} or more, or 0 for as many as are "
                f"measured. Received: calibration_lines={self.lines}"
            )
        checks.choice("maps_from", self.maps_from, MAPS_FROM)
        return self

    def maps(self, kspace, measured, mask, is_full):
        """Maps for a reconstruction.

        Args:
            kspace: complex (coils, height, width), before the mask.
            measured: 0/1 (1, 1 or height, width), where it was measured.
            mask: 0/1 of the same kind, what is left of that.
            is_full: whether the scan is fully sampled.

        Returns:
            Maps, complex64 (coils, height, width), and the number of centre lines that they are
            made of.

        Raises:
            ValueError: if too few lines were measured, or a fully sampled scan is asked for and
                this is none.
        """
        height, width = kspace.shape[1:]
        if self.maps_from == "fully-sampled":
            if not is_full:
                raise ValueError(
                    "maps from a fully sampled scan need one. Received: k-space of which "
                    f"{measured.mean():.0%} was measured. Set data.maps_from (--maps-from) to"
                    " measured."
                )
            mask = measured
        lines = centre_lines(mask, height, width, self.lines)
        return low_resolution_maps(kspace, lines, mask), min(lines, width)

    def maps_of_reference(self, kspace, measured):
        """Maps for the reference, from the whole scan in either case.

        The truth is one of the scan, the same under every mask. With the maps that few lines give,
        the combined image itself loses signal: were the reference made with them, no error would
        show it.

        Args:
            kspace, measured: as for `maps`.
        """
        return low_resolution_maps(kspace, self.lines, measured)
