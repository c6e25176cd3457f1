"""From what of a scan its coil maps are estimated.

A scanner has the lines that the mask leaves, and no others. Maps from all of a fully sampled scan,
such as the paper's data set has them, know what the mask removes: a setting of its own.
"""

from typing import NamedTuple

import numpy as np

from tfvn import checks
from tfvn.choices import MAPS_FROM
from tfvn.data.maps import LOW_RESOLUTION, MapMethod
from tfvn.data.sensitivity import LEAST_LINES, centre_lines

__all__ = ["Calibration", "Estimated"]


class Estimated(NamedTuple):
    """Maps that were estimated.

    sensitivity_maps: complex64 (coils, height, width).
    lines: the number of centre lines that they are made of.
    doubts: sentences on what is doubtful, a list.
    """

    sensitivity_maps: np.ndarray
    lines: int
    doubts: list


class Calibration(NamedTuple):
    """The settings of the estimate of coil maps, see `tfvn.data.sensitivity`.

    Args:
        lines: how many centre lines; 0: as many as there are, 24 at most.
        maps_from: 'measured', what the mask leaves, so that neither maps nor k-space depend on what
            it removes; 'fully-sampled', the scan before the mask.
        method: a `tfvn.data.maps.MapMethod`.
    """

    lines: int = 0
    maps_from: str = "measured"
    method: MapMethod = LOW_RESOLUTION

    @property
    def settings(self):
        """What maps depend on, a dict of plain values."""
        return dict(self.method.settings, lines=self.lines, maps_from=self.maps_from)

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
            `Estimated`.

        Raises:
            ValueError: if too few lines were measured, or a fully sampled scan is asked for and
                this is none.
        """
        height, width = kspace.shape[1:]
        mask = self.seen(measured, mask, is_full)
        lines = centre_lines(mask, height, width, self.lines)
        maps, doubts = self.method.estimate(kspace, lines, mask)
        return Estimated(maps, min(lines, width), doubts)

    def seen(self, measured, mask, is_full):
        """Where k-space is used, 0/1 (1, 1 or height, width).

        Args:
            measured, mask, is_full: as for `maps`.
        """
        if self.maps_from == "measured":
            return mask
        if not is_full:
            raise ValueError(
                "maps from a fully sampled scan need one. Received: k-space of which "
                f"{measured.mean():.0%} was measured. Set data.maps_from (--maps-from) to"
                " measured."
            )
        return measured

    def maps_of_reference(self, kspace, measured):
        """Maps for the reference, from the whole scan in either case.

        The truth is one of the scan, the same under every mask. With the maps that few lines give,
        the combined image itself loses signal: were the reference made with them, no error would
        show it.

        Args:
            kspace, measured: as for `maps`.
        """
        return self.method.estimate(kspace, self.lines, measured)[0]
