"""One scan of one's own: k-space in a `.mat`, `.h5` or `.npy` file, maps from a file or from its centre.

The order of axes in the file, for MATLAB files (v5 and v7.3) as `size()` shows them and else as NumPy's `shape` does:

    .mat          (height, width, coils)    or (height, width, slices, coils)
    .h5, .npy     (coils, height, width)    or (slices, coils, height, width)

and (height, width) for a single coil. Phase encoding, where a mask of lines leaves gaps, runs along the width.
The rule is applied only if the axis that it takes for the coils is the shortest of coils, height and width; else
`coil_axis` must say which axis of the file it is. The other axes keep their order: with four of them, the slices are
the last (.mat) or the first (.h5, .npy) of the rest. Real arrays end in an axis of (real, imaginary).
"""
import functools
from pathlib import Path

import numpy as np

from tfvn.data.files import open_array, state
from tfvn.data.sample import Sample, combine, ifft2c, mask_array, mask_digest, measured_mask
from tfvn.data.sensitivity import low_resolution_maps

_KSPACE_NAMES = ("kspace", "rawdata", "raw")
_MAPS_NAMES = ("sensitivity_maps", "sensitivities", "maps")
# Scanners leave lines at the ends out and write zeros (partial resolution); a scan with more than this is undersampled.
_LARGEST_PADDING = 0.25


class Measurement:
    """A source of length 1.

    Args:
        path: the k-space. Of several arrays in a file the one named kspace, rawdata or raw.
        sensitivity_path: coil maps, with the axes of the same rule or those of `coil_axis`; '' estimates them from the
            centre of the scan as it is in the file, before `mask`, as from a separate calibration scan.
        mask: undersamples a fully sampled scan: 0/1 array (width,) or (height, width), or a function of the width.
            None: what was measured, that is where any coil is not zero.
        coil_axis: axis of the coils in the file; -1 applies the rule above.
        slice_index: which slice of a file of several.
        calibration_lines: centre lines for the estimate of the maps.
        readout_oversampling: images are the central half of the height.
        transpose: swap height and width, for a file whose phase encoding runs along its first image axis.

    The reference is the coil-combined image if the file holds a fully sampled scan (but for lines of zeros at the two
    ends, a quarter at most, which scanners leave out), else NaN.

    Raises:
        ValueError: at construction if a file is missing; when the scan is read, if it is damaged or ambiguous.
    """

    def __init__(
        self,
        path,
        sensitivity_path="",
        mask=None,
        coil_axis=-1,
        slice_index=0,
        calibration_lines=24,
        readout_oversampling=False,
        transpose=False,
    ):
        if coil_axis < -1 or slice_index < 0:
            raise ValueError(
                "coil_axis must be -1 or an axis of the file, slice_index >= 0. "
                f"Received: coil_axis={coil_axis}, slice_index={slice_index}"
            )
        for file in filter(None, (path, sensitivity_path)):
            if not Path(file).is_file():
                raise ValueError(f"no such file: {file}. Check data_path and sensitivity_path.")
        # Of now, as the scan is read once: a file that changes later is another scan to the next process.
        self._states = [state(file) for file in (path, sensitivity_path) if file]
        self._path, self._sensitivity_path, self._mask = Path(path), sensitivity_path, mask
        self._axes = dict(coil_axis=coil_axis, slice_index=slice_index, transpose=transpose)
        self._calibration_lines, self.readout_oversampling = calibration_lines, readout_oversampling

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

    def __getitem__(self, index):
        if index != 0:
            raise IndexError(f"a measurement holds slice 0 alone. Received: index={index}")
        return self._sample

    def fingerprint(self, index):
        """What the slice is made of: settings and the state of its files, see `tfvn.data.prepared`."""
        settings = dict(
            self._axes,
            source="measurement",
            mask=mask_digest(self._mask),
            calibration_lines=self._calibration_lines,
            readout_oversampling=self.readout_oversampling,
        )
        return settings, self._states

    @functools.cached_property
    def _sample(self):
        try:
            return self._read()
        except ValueError as error:
            if str(self._path) in str(error):
                raise
            raise ValueError(f"{self._path}: {error}") from error

    def _read(self):
        kspace = _arrange(open_array(self._path, _KSPACE_NAMES), self._path, **self._axes)
        if not np.isfinite(kspace).all():
            count = np.count_nonzero(~np.isfinite(kspace))
            raise ValueError(f"kspace must be finite. Received: {count} NaN or infinite of {kspace.size} entries")
        if not kspace.any():
            raise ValueError("kspace is zero everywhere. Is it the right file and slice?")
        if self._sensitivity_path:
            maps = _arrange(open_array(self._sensitivity_path, _MAPS_NAMES), self._sensitivity_path, **self._axes)
        else:
            maps = low_resolution_maps(kspace, self._calibration_lines)
        if maps.shape != kspace.shape:
            raise ValueError(
                f"sensitivity_maps and kspace must have the same shape (coils, height, width). "
                f"Received: sensitivity_maps.shape={maps.shape}, kspace.shape={kspace.shape}. "
                "Use the maps of this scan."
            )
        measured = measured_mask(kspace)
        mask = measured if self._mask is None else self._undersampled(measured, *kspace.shape[1:])
        if _is_fully_sampled(measured):
            reference = combine(ifft2c(kspace), maps, self.readout_oversampling)
        else:
            reference = np.full_like(combine(kspace, maps, self.readout_oversampling), np.nan)
        return Sample(kspace * mask, maps, mask, reference)

    def _undersampled(self, measured, height, width):
        mask = mask_array(self._mask, height, width)
        if not _is_fully_sampled(measured) and (mask > measured).any():
            raise ValueError(
                "a mask can only undersample a fully sampled scan. "
                f"Received: k-space of which {measured.mean():.0%} was measured. Use mask: measured."
            )
        # Lines that the scanner left out at the ends were not measured, whatever the mask says.
        return mask * measured


def _is_fully_sampled(measured):
    """All lines, or all but some at the two ends."""
    lines = np.flatnonzero(measured[0, 0])
    contiguous = measured.shape[1] == 1 and len(lines) == lines[-1] - lines[0] + 1
    return contiguous and len(lines) >= (1 - _LARGEST_PADDING) * measured.shape[2]


def scan_shape(path, coil_axis=-1):
    """(slices, coils, height, width) of the scan in a file, as the rule reads it, see `Measurement`; reads no k-space.

    Raises:
        ValueError: as `Measurement`.
    """
    if not Path(path).is_file():
        raise ValueError(f"no such file: {path}.")
    array = open_array(path, _KSPACE_NAMES)
    coil_axis, slice_axis = _axes(array, path, coil_axis)
    slices, coils = (1 if axis is None else array.shape[axis] for axis in (slice_axis, coil_axis))
    height, width, *_ = (size for axis, size in enumerate(array.shape) if axis not in (coil_axis, slice_axis))
    return slices, coils, height, width


def _axes(array, path, coil_axis):
    """The axes of coils and of slices in the file, None where there is no such axis."""
    matlab = Path(path).suffix.lower() == ".mat"
    if array.dtype.kind != "c" and (array.ndim == 0 or array.shape[-1] != 2):
        raise ValueError(
            f"{path}: k-space and maps are complex, or real with a last axis of (real, imaginary). "
            f"Received: {array.dtype} array of shape {array.shape}"
        )
    shape = array.shape if array.dtype.kind == "c" else array.shape[:-1]
    ndim = len(shape)
    if ndim == 2 and coil_axis == -1:
        return None, None
    if ndim not in (3, 4) or coil_axis >= ndim:
        raise ValueError(
            f"{path}: expected axes coils, height, width and perhaps slices. "
            f"Received: shape={shape}, coil_axis={coil_axis}"
        )
    taken = coil_axis if coil_axis >= 0 else ndim - 1 if matlab else ndim - 3
    rest = [axis for axis in range(ndim) if axis != taken]
    slice_axis = rest.pop(-1 if matlab else 0) if ndim == 4 else None
    if coil_axis == -1 and shape[taken] >= min(shape[axis] for axis in rest):
        raise ValueError(
            f"{path}: which axis holds the coils is ambiguous. By the rule for {Path(path).suffix} files it is "
            f"axis {taken} of shape {shape}, but another is as short. Set coil_axis to the axis of the coils "
            f"(0 to {ndim - 1})."
        )
    return taken, slice_axis


def _arrange(array, path, coil_axis, slice_index, transpose):
    """(coils, height, width), complex64, by the rule of this file."""
    taken, slice_axis = _axes(array, path, coil_axis)
    count = 1 if slice_axis is None else array.shape[slice_axis]
    if slice_index >= count:
        raise ValueError(f"{path}: the file holds {count} slices. Received: slice_index={slice_index}")
    index = [slice(None)] * array.ndim
    if slice_axis is not None:
        # A part of length 1 keeps the other axes where they are.
        index[slice_axis] = slice(slice_index, slice_index + 1)
    # A copy: what is mapped would change with its file.
    array = np.array(array[tuple(index)])
    if array.dtype.kind != "c":
        array = array[..., 0] + 1j * array[..., 1]
    array = array[None] if taken is None else np.moveaxis(array, taken, 0)
    if slice_axis is not None:
        array = array.squeeze(slice_axis + (slice_axis < taken))
    return np.ascontiguousarray(np.swapaxes(array, 1, 2) if transpose else array, np.complex64)
