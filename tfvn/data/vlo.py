"""The knee data of Hammernik et al. (2018), in the folder of `tfvn.data.vlo_folder`.

Both MATLAB v5 and v7.3 occur. Phase encoding runs along the width. Padding lines at the left and
right of k-space were never measured and are zero. The original code counts them as measured zeros
(mask 1): an encoding operator with that mask sees lines that the scanner never saw. 'unmeasured'
gives them mask 0.
"""

from pathlib import Path

import numpy as np

from tfvn.choices import PADDING_LINES
from tfvn.data import agreement
from tfvn.data.array_files import variable
from tfvn.data.mat_files import mat_shape, read_mat
from tfvn.data.sample import (
    Sample,
    image_rows,
    mask_array,
    mask_digest,
    mask_height,
    measured_mask,
    unmeasured,
    zeros,
)
from tfvn.data.sampling import of_mask
from tfvn.data.source import Source
from tfvn.data.vlo_folder import is_padding, slice_paths
from tfvn.files import state

_RAW = ("rawdata", "padlength_left", "padlength_right")
_MAPS = ("sensitivities", "reference")
# Part of a mask's lines that may be zero in rawdata: single ones get lost, more were not measured.
_LOST_LINES = 0.05
# Of points: of an asymmetric echo a quarter of the readout is missing.
_LOST_POINTS = 0.25
# Missing files that a message names.
_MOST_MISSING = 10

__all__ = ["VLOKnee"]


class VLOKnee(Source):
    """A source of knee slices, patient by patient.

    Args:
        root, protocol: the folder of the data and the protocol's name in it, such as
            'coronal_pd_fs'.
        patients, slices: numbers; every patient has every slice.
        mask: 0/1 array (width,) or (height, width), or a function of the width; None where k-space
            is not zero.
        padding_lines: 'measured' (original code: mask 1) or 'unmeasured' (mask 0).
        readout_oversampling: references are cropped to the central half of the height.
        mask_name: the file of the mask, for messages.

    Raises:
        ValueError: at construction if files are missing, listing them; when a slice is read, if its
            files are damaged, lack a variable or do not fit together.

    Warns:
        DataWarning: once for each slice whose arrays probably do not belong together, see
            `tfvn.data.agreement`.
    """

    maps_origin = "from the files, which may know what the mask removes"

    def __init__(
        self,
        root,
        protocol,
        patients,
        slices,
        mask,
        padding_lines="measured",
        readout_oversampling=False,
        mask_name="",
    ):
        if padding_lines not in PADDING_LINES:
            raise ValueError(
                "padding_lines must be measured or unmeasured. Received:"
                f" padding_lines={padding_lines!r}"
            )
        self._mask_name = mask_name
        self._slices = [(patient, number) for patient in patients for number in slices]
        self._paths = [slice_paths(root, protocol, *key) for key in self._slices]
        paths = [path for pair in self._paths for path in pair]
        missing = [str(path) for path in paths if not path.is_file()]
        if missing or not paths:
            shown = missing[:_MOST_MISSING]
            if len(missing) > _MOST_MISSING:
                shown.append("...")
            listed = "\n  ".join(shown)
            raise ValueError(
                f"{len(missing)} of {len(paths)} files are missing below"
                f" {Path(root) / protocol}. Check data.path, data.protocol, patients and slices.\n "
                f" {listed}"
            )
        self._mask = mask
        self._padding_lines = padding_lines
        self.readout_oversampling = readout_oversampling
        self.mask_height = mask_height(mask)
        self._doubts = {}

    def __len__(self):
        return len(self._slices)

    def name(self, index):
        return "patient{}/slice{}".format(*self._slices[index])

    def patient(self, index):
        """The number of the patient of a slice, as text."""
        return str(self._slices[index][0])

    def shape(self, index):
        """(coils, height, width) of a slice, from the header of its file."""
        height, width, *coils = mat_shape(self._paths[index][0], "rawdata")
        return (*(coils or (1,)), height, width)

    def fingerprint(self, index):
        """What a slice is made of, see `tfvn.data.prepared`: settings, and states of files."""
        settings = dict(
            source="vlo",
            mask=mask_digest(self._mask),
            padding_lines=self._padding_lines,
            readout_oversampling=self.readout_oversampling,
        )
        return settings, [state(path) for path in self._paths[index]]

    def doubts(self, index):
        """The texts of the warnings of a slice that was read."""
        return self._doubts.get(index, [])

    def __getitem__(self, index):
        raw_path, maps_path = self._paths[index]
        raw, espirit = read_mat(raw_path, _RAW), read_mat(maps_path, _MAPS)
        kspace = _coils_first(variable(raw, "rawdata", raw_path), "rawdata", raw_path)
        maps = _coils_first(
            variable(espirit, "sensitivities", maps_path), "sensitivities", maps_path
        )
        mask, padding = self._sampling(kspace, raw, raw_path)
        reference = self._reference(
            variable(espirit, "reference", maps_path), kspace.shape[1:], maps_path
        )
        key = repr([self.readout_oversampling, *map(state, self._paths[index])])
        lines = _line_doubts(kspace, mask, padding, raw_path)
        lines += [f"{self.name(index)}: {text}" for text in agreement.mask_doubts(kspace, mask)]
        agreement.tell(lines, (key, "lines"))
        arrays = kspace, self.name(index), maps, reference
        others = agreement.check(*arrays, self.readout_oversampling, key)
        self._doubts[index] = [*lines, *others]
        mask = np.where(padding, np.float32(self._padding_lines == "measured"), mask)
        return Sample(kspace * mask, maps, mask, reference)

    def _sampling(self, kspace, raw, path):
        """The mask, and which lines are padding, bool (width,)."""
        height, width = kspace.shape[1:]
        try:
            if self._mask is None:
                mask = measured_mask(kspace)
            else:
                mask = mask_array(self._mask, height, width)
        except ValueError as error:
            text = f"{path}: {error}"
            if self._mask_name:
                text = of_mask(error, self._mask_name, path)
            raise ValueError(text) from error
        left, right = _padding(raw, width, path)
        padding = (np.arange(width) < left) | (np.arange(width) >= width - right)
        return mask, padding

    def _reference(self, reference, size, path):
        rows = image_rows(size[0], self.readout_oversampling)
        if reference.shape == size:
            reference = reference[rows]
        if reference.shape != (rows.stop - rows.start, size[1]):
            raise ValueError(
                f"{path}: reference must have the size {size} of rawdata. Received:"
                f" {reference.shape}"
            )
        if not np.isfinite(reference).all():
            raise ValueError(f"{path}: reference holds NaN or infinite values.")
        return reference.astype(np.complex64)


def _coils_first(array, name, path):
    if array.ndim == 2:
        array = array[..., None]  # MATLAB drops the last axis of a single coil
    if array.ndim != 3:
        raise ValueError(
            f"{path}: {name} must have shape (height, width, coils). Received: shape={array.shape}"
        )
    # The phase of a single coil belongs to the image: its map may be real.
    if array.dtype.kind != "c" and not (name == "sensitivities" and array.shape[-1] == 1):
        raise ValueError(
            f"{path}: {name} must be complex. Received: {array.dtype} array of shape "
            f"{array.shape}. Are these magnitudes? Write real and imaginary part."
        )
    return np.ascontiguousarray(np.moveaxis(array, -1, 0), np.complex64)


def _padding(raw, width, path):
    """The numbers of padding lines at the left and at the right."""
    numbers = []
    for side in ("left", "right"):
        value = np.asarray(raw.get(f"padlength_{side}", 0))
        is_one = value.size == 1 and np.isreal(value.ravel()[0])
        numbers.append(float(value.ravel()[0].real) if is_one else np.nan)
    left, right = numbers
    if not is_padding(left, right, width):
        raise ValueError(
            f"{path}: padding must be two whole numbers of lines that leave some of {width}. "
            f"Received: padlength_left={left:g}, padlength_right={right:g}"
        )
    return int(left), int(right)


def _line_doubts(kspace, mask, padding, path):
    """Texts of warnings: are the lines of the mask measured, and those of the padding zero?"""
    # Of what is zero everywhere or not finite `tfvn.data.sample.check` tells.
    if not kspace.any() or not np.isfinite(kspace.sum()):
        return []
    found = zeros(kspace)
    measured = found.points.any(0)
    doubts = []
    filled = np.count_nonzero(padding & measured)
    if filled:
        doubts.append(
            f"{path}: {filled} of the {np.count_nonzero(padding)} lines that padlength_left and "
            "padlength_right call padding are not zero. Padding was never measured: correct the "
            "numbers."
        )
    # Lines of zeros at the two ends are padding, told or not.
    first, last = np.flatnonzero(measured)[[0, -1]]
    number = np.arange(len(measured))
    sampled = mask.any((0, 1)) & (number >= first) & (number <= last) & ~padding
    if found.mask.shape[1] > 1:
        return doubts + _point_doubts(found, mask, sampled, path)
    empty = np.count_nonzero(sampled & ~measured)
    lines = np.count_nonzero(sampled)
    text = (
        f"{path}: the mask must sample lines that were measured. Received: {empty} of its {lines} "
        "lines are zero in rawdata. Give fully sampled rawdata, or sampling.mask: measured."
    )
    if empty > _LOST_LINES * lines:
        raise ValueError(text)
    if empty:
        doubts.append(text)
    return doubts


def _point_doubts(found, mask, lines, path):
    """The same of k-space that lacks points: are those of the mask measured, in these lines?"""
    sampled = np.broadcast_to((mask[0] > 0) & lines, found.points.shape)
    lacking = np.count_nonzero(unmeasured(mask, found) & lines)
    share = lacking / max(np.count_nonzero(sampled), 1)
    text = (
        f"{path}: the mask must sample what was measured. Received: {share:.0%} of its positions "
        "are zero in all coils of rawdata. Give fully sampled rawdata, or sampling.mask: measured."
    )
    if share > _LOST_POINTS:
        raise ValueError(text)
    if not lacking:
        return []
    return [text]
