"""What is configured of one scan of one's own: its file, and how the file is to be read."""

import functools
import os

from tfvn import checks
from tfvn.data import axes
from tfvn.data.calibration import Calibration
from tfvn.data.format import Format, OneSlice
from tfvn.data.maps import LOW_RESOLUTION
from tfvn.data.measurement import Measurement, check_settings
from tfvn.data.scan_file import scan_shape

__all__ = ["MeasurementFormat"]


class MeasurementFormat(Format):
    """One scan in one file. Training and test share it.

    Args:
        path: file of the k-space (.mat, .h5, .npy).
        array: name of the k-space in its file; empty: kspace, rawdata, raw or the only one.
        sensitivity_path: file of coil maps; empty: estimated from the k-space centre.
        sensitivity_array: name of the maps in their file; empty: sensitivity_maps, sensitivities,
            maps or the only one.
        calibration_lines: centre lines of the estimate of the maps; 0: as many as are measured, 24
            at most.
        maps_from: k-space of that estimate: measured (what the mask leaves) | fully-sampled (all
            of the scan).
        coil_axis: axis of the coils in the file; -1: the rule of docs/howto/data.md; -2: none.
        transpose: exchange height and width (undersampling is along the width).
        slice_index: which slice of a file of several.
        readout_oversampling: the image is the central half of the readout (height).
        mask: a `tfvn.data.mask_choice.Mask`; None: what was measured.
        maps: a `tfvn.data.maps.MapMethod`.

    Raises:
        ValueError: for values outside their limits, and for two origins of the maps.
    """

    splits_share = True
    estimates_maps = True

    def __init__(
        self,
        path="",
        array="",
        sensitivity_path="",
        sensitivity_array="",
        calibration_lines=0,
        maps_from="measured",
        coil_axis=axes.BY_RULE,
        transpose=False,
        slice_index=0,
        readout_oversampling=False,
        mask=None,
        maps=LOW_RESOLUTION,
    ):
        super().__init__(readout_oversampling, mask)
        self.path = path
        self.array = array
        self.sensitivity_path = sensitivity_path
        self.sensitivity_array = sensitivity_array
        self.calibration_lines = checks.whole("calibration_lines", calibration_lines, 0)
        self.maps_from = maps_from
        self.coil_axis = checks.whole("coil_axis", coil_axis)
        self.transpose = checks.flag("transpose", transpose)
        self.slice_index = checks.whole("slice_index", slice_index, 0)
        self.maps = maps
        calibration = Calibration(calibration_lines, maps_from, maps)
        check_settings(coil_axis, slice_index, calibration, sensitivity_path)

    def source(self, split):
        """The scan, the same for both splits, see `tfvn.data.format.Format.source`."""
        del split
        return Measurement(
            self._needed_path(),
            sensitivity_path=self.sensitivity_path,
            array=self.array,
            sensitivity_array=self.sensitivity_array,
            mask=self.read_mask(),
            coil_axis=self.coil_axis,
            slice_index=self.slice_index,
            calibration_lines=self.calibration_lines,
            maps_from=self.maps_from,
            maps=self.maps,
            mask_name=self.mask_file(),
            readout_oversampling=self.readout_oversampling,
            transpose=self.transpose,
        )

    def _needed_path(self):
        return checks.needed("data.format measurement", "data.path", self.path, "the k-space file")

    def parts(self, split):
        """The one slice, see `tfvn.data.format.Format.parts`."""
        files = [self._needed_path()]
        if self.sensitivity_path:
            files.append(self.sensitivity_path)
        return [OneSlice(functools.partial(self.source, split), 0, tuple(files))]

    def identities(self, split):
        """What names the slice, see `tfvn.data.format.Format.identities`."""
        del split
        return [(os.path.realpath(self.path), "slice", self.slice_index)]

    def shared(self):
        """Training and test share the scan, see `tfvn.data.format.Format.shared`."""
        count = scan_shape(self.path, self.coil_axis, self.array)[0]
        return [
            f"slice {self.slice_index} of {count} of {self.path} both trains and validates: its"
            " errors say nothing about other data. Write the slices of several scans as a folder"
            " (data.format: vlo) to test on others."
        ]
