"""One scan of one's own: k-space in a file, coil maps from a file or from its centre.

For the order of axes in the file see `tfvn.data.scan_file`. Phase encoding, where a mask of lines
leaves gaps, runs along the width.

Coil maps that are not given are estimated from the lines that the mask leaves, as a scanner has no
others. Maps from all of a fully sampled scan, such as the paper's data set has them, know what the
mask removes: a setting of its own.
"""

import functools
import os
import warnings
from pathlib import Path

import numpy as np

from tfvn import checks
from tfvn.checks import DataWarning
from tfvn.data import agreement, axes, recognise
from tfvn.data.calibration import Calibration
from tfvn.data.maps import LOW_RESOLUTION, LowResolution
from tfvn.data.sample import (
    Sample,
    check_finite,
    check_not_zero,
    combine,
    ifft2c,
    mask_digest,
    zeros,
)
from tfvn.data.sampling import doubt_of_points, is_fully_sampled, of_mask, undersampling
from tfvn.data.scan_file import (
    arrange,
    coils_as_slices,
    open_kspace,
    open_maps,
    slices_as_coils,
)
from tfvn.data.source import Source
from tfvn.files import state

__all__ = ["Measurement", "check_settings"]

# Files whose order of axes was compared with their numbers.
_axes_asked = set()


class Measurement(Source):
    """A source of length 1.

    Args:
        path: the k-space. Of several arrays in a file the one named kspace, rawdata or raw.
        sensitivity_path: coil maps, with the axes of the same rule or those of `coil_axis`; ''
            estimates them.
        mask: undersamples a fully sampled scan: 0/1 array (width,) or (height, width), or a
            function of the width. None: what was measured, see `tfvn.data.sample.measured_mask`.
            Of a scan that is not fully sampled an array says what was measured, where zeros do not
            tell it.
        coil_axis: axis of the coils in the file; -1 applies the rule above; -2: there is none, the
            scan has one coil.
        slice_index: which slice of a file of several.
        calibration_lines: centre lines for the estimate of the maps; 0: as many as there are, 24
            at most.
        readout_oversampling: images are the central half of the height.
        transpose: swap height and width, for a file whose phase encoding runs along its first
            image axis.
        maps_from: what the maps are estimated from: 'measured', what the mask leaves, so that
            neither maps nor k-space depend on what it removes; 'fully-sampled', the scan before
            the mask.
        mask_name: the file of the mask, for messages.
        array, sensitivity_array: names of the k-space and of the maps in their files, such as
            'scan/kspace'; '' takes those named above, or the only ones that they can be, see
            `tfvn.data.array_files.open_array`.
        maps: the `tfvn.data.maps.MapMethod` of an estimate.

    The reference is the coil-combined image if the file holds a fully sampled scan (but for lines
    of zeros at the two ends, a quarter at most, which scanners leave out), else NaN. Its maps are
    those of the file, or else estimated from the whole scan, in either case of `maps_from`: the
    truth is one of the scan, the same under every mask. With the maps that few lines give, the
    combined image itself loses signal (of a 16-coil brain 6 % of its norm with 8 lines): were the
    reference made with them, no error would show it.

    Raises:
        ValueError: at construction if a file is missing; when the scan is read, if it is damaged
            or ambiguous.

    Warns:
        DataWarning: where zeros leave open what was measured, or the file speaks against
            `coil_axis`; and where the arrays probably do not belong together, see
            `tfvn.data.agreement`.
    """

    def __init__(
        self,
        path,
        sensitivity_path="",
        mask=None,
        coil_axis=axes.BY_RULE,
        slice_index=0,
        calibration_lines=0,
        readout_oversampling=False,
        transpose=False,
        maps_from="measured",
        mask_name="",
        array="",
        sensitivity_array="",
        maps=LOW_RESOLUTION,
    ):
        calibration = Calibration(calibration_lines, maps_from, maps)
        check_settings(coil_axis, slice_index, calibration, sensitivity_path)
        for file in filter(None, (path, sensitivity_path)):
            recognise.head(file)
        # Of now, as the scan is read once: a file that changes later is another scan to the next
        # process.
        self._states = [state(file) for file in (path, sensitivity_path) if file]
        self._path, self._sensitivity_path = Path(path), sensitivity_path
        self._mask, self._mask_name = mask, str(mask_name)
        self._axes = dict(coil_axis=coil_axis, slice_index=slice_index, transpose=transpose)
        self._calibration = calibration
        self.readout_oversampling = readout_oversampling
        self._arrays = dict(array=array, sensitivity_array=sensitivity_array)
        self._doubts = []

    def __len__(self):
        return 1

    def name(self, index):
        del index  # there is one
        return self._path.stem

    def shape(self, index):
        """(coils, height, width) of the scan; reads it."""
        return self[index].kspace.shape

    @property
    def mask_height(self):
        """1 where the mask is constant along the height; reads the scan."""
        return self._sample.mask.shape[1]

    @property
    def maps_origin(self):
        """Where the coil maps come from, in words; reads the scan if they are estimated."""
        if self._sensitivity_path:
            return (
                f"from {os.path.basename(self._sensitivity_path)}, which may know what the mask"
                " removes"
            )
        lines = self._read_once[1]
        made = self._calibration.method.words
        if self._calibration.maps_from == "measured":
            return f"{made} from {lines} centre lines, all measured"
        return f"{made} from {lines} centre lines of the fully sampled scan, before the mask"

    def doubts(self, index):
        """The texts of the warnings of the slice, if it was read."""
        del index  # there is one
        return self._doubts

    def __getitem__(self, index):
        if index != 0:
            raise IndexError(f"a measurement holds slice 0 alone. Received: index={index}")
        return self._sample

    def fingerprint(self, index):
        """What the slice is made of: settings and the state of its files."""
        settings = dict(
            self._axes,
            **self._arrays,
            source="measurement",
            mask=mask_digest(self._mask),
            calibration=self._calibration.settings,
            readout_oversampling=self.readout_oversampling,
        )
        return settings, self._states

    @property
    def _sample(self):
        return self._read_once[0]

    @functools.cached_property
    def _read_once(self):
        try:
            return self._read()
        except ValueError as error:
            if str(self._path) in str(error):
                raise
            raise ValueError(f"{self._path}: {error}") from error

    def _read(self):
        """The `Sample`, and how many centre lines its maps were estimated from, if they were."""
        array = open_kspace(self._path, self._arrays["array"])
        kspace = arrange(array, self._path, **self._axes)
        _check_numbers(kspace, "kspace")
        stored = None
        if self._sensitivity_path:
            stored = self._maps_of_file(kspace.shape)
        self._compare(kspace, stored)
        self._doubt_axes(array, kspace)
        found = zeros(kspace)
        is_full = is_fully_sampled(found.mask)
        if self._mask is not None:
            mask = self._undersampled(found)
        else:
            mask = found.mask
            doubt = doubt_of_points(found)
            if doubt:
                self._tell(f"{self._path}: {doubt}")
        for text in agreement.mask_doubts(kspace, mask):
            self._tell(f"{self._path}: {text}")
        if stored is not None:
            maps, lines = stored, 0
        else:
            maps, lines, doubts = self._calibration.maps(kspace, found.mask, mask, is_full)
            for text in doubts:
                self._tell(f"{self._path}: {text}")
        reference = self._reference(kspace, maps, found.mask, is_full)
        return Sample(kspace * mask, maps, mask, reference), lines

    def _compare(self, kspace, maps):
        """With the conventions, and with the maps of a file: estimated ones belong."""
        name = str(self._path)
        if self._axes["slice_index"]:
            name += f", slice {self._axes['slice_index']}"
        if maps is not None:
            name += f", with the maps of {self._sensitivity_path}"
        key = repr([self._states, self._axes, self._arrays, self.readout_oversampling])
        self._doubts = agreement.check(kspace, name, maps, None, self.readout_oversampling, key)

    def _doubt_axes(self, array, kspace):
        """Whether what is taken for coils differs as slices do, or slices as coils.

        The first is refused if the rule alone has chosen the axis. Asked once a file and process:
        all slices of a file have one order of axes.
        """
        key = repr([self._states, self._axes["coil_axis"], self._arrays])
        if key in _axes_asked:
            return
        found = axes.find(array, self._path, self._axes["coil_axis"])
        text = slices_as_coils(kspace, array, found)
        if text:
            is_guess = self._axes["coil_axis"] == axes.BY_RULE
            if is_guess and not axes.is_told(array, self._path):
                raise ValueError(f"{self._path}: {text}")
            self._tell(f"{self._path}: {text}")
        text = coils_as_slices(kspace, array, found)
        if text:
            self._tell(f"{self._path}: {text}")
        _axes_asked.add(key)

    def _tell(self, text):
        self._doubts = [*self._doubts, text]
        warnings.warn(text, DataWarning, stacklevel=2)

    def _undersampled(self, found):
        """The mask that was asked for."""
        name, path = self._mask_name, self._path
        try:
            mask, doubt = undersampling(self._mask, found)
        except ValueError as error:
            raise ValueError(of_mask(error, name, path)) from error
        if doubt:
            self._tell(of_mask(doubt, name, path))
        return mask

    def _maps_of_file(self, shape):
        path = self._sensitivity_path
        array = open_maps(path, self._arrays["sensitivity_array"])
        maps = arrange(array, path, **self._axes)
        if maps.shape != shape:
            raise ValueError(
                f"{path}: sensitivity_maps and kspace must have the same shape (coils, height, "
                f"width). Received: sensitivity_maps.shape={maps.shape}, kspace.shape={shape} of "
                f"{self._path}. Use the maps of this scan."
            )
        try:
            _check_numbers(maps, "sensitivity_maps")
        except ValueError as error:
            raise ValueError(f"{path}: {error} (the maps of {self._path})") from error
        return maps

    def _reference(self, kspace, maps, measured, is_full):
        if not is_full:
            return np.full_like(combine(kspace, maps, self.readout_oversampling), np.nan)
        if not self._sensitivity_path:
            maps = self._calibration.maps_of_reference(kspace, measured)
        return combine(ifft2c(kspace), maps, self.readout_oversampling)


def check_settings(coil_axis, slice_index, calibration, sensitivity_path):
    """Checks arguments of `Measurement`, of which no file needs to be read.

    Args:
        coil_axis, slice_index, sensitivity_path: as for `Measurement`.
        calibration: the `tfvn.data.calibration.Calibration`.

    Raises:
        ValueError: for values outside their limits, and for two origins of the maps.
    """
    if coil_axis < axes.NO_AXIS:
        raise ValueError(
            "coil_axis must be an axis of the file, -1 (by the rule) or -2 (none). Received:"
            f" coil_axis={coil_axis}"
        )
    checks.whole("slice_index", slice_index, 0)
    calibration.check()
    if not sensitivity_path:
        return
    if calibration.maps_from != "measured":
        raise ValueError(
            "maps come from a file or are estimated, not both. Received: "
            f"sensitivity_path={str(sensitivity_path)!r} and maps_from={calibration.maps_from!r}. "
            "Set one of the two."
        )
    if not isinstance(calibration.method, LowResolution):
        raise ValueError(
            "maps come from a file or are estimated, not both. Received: "
            f"sensitivity_path={str(sensitivity_path)!r} and maps that are "
            f"{calibration.method.words}. Leave one of the two out."
        )


def _check_numbers(array, name):
    check_finite(array, name)
    check_not_zero(array, name, " Is it the right file and slice?")
