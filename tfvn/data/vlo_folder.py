"""The folder of the knee data of Hammernik et al. (2018): where files lie, and how to write them.

A slice is two files, and a mask is one:

    <root>/<protocol>/<patient>/rawdata<slice>.mat    rawdata (height, width, coils);
                                                      optional padlength_left, padlength_right
    <root>/<protocol>/<patient>/espirit<slice>.mat    sensitivities (height, width, coils),
                                                      reference (height, width)
    <root>/<protocol>/masks/<name>.mat                mask (height, width)
"""

from pathlib import Path

import numpy as np

from tfvn.data.mat_files import write_mat
from tfvn.data.sample import image_rows, mask_array

__all__ = ["is_padding", "mask_path", "slice_paths", "write_folder"]

_VERSIONS = (5, "7.3")


def slice_paths(root, protocol, patient, number):
    """The two files of a slice: rawdata and espirit."""
    folder = Path(root) / protocol / str(patient)
    return folder / f"rawdata{number}.mat", folder / f"espirit{number}.mat"


def mask_path(root, protocol, name):
    """The file of the mask called `name`."""
    return Path(root) / protocol / "masks" / f"{name}.mat"


def is_padding(left, right, width):
    """Whether two numbers of lines are whole and leave some of the width."""
    if left % 1 or right % 1:
        return False
    return min(left, right) >= 0 and left + right < width


def write_folder(
    root, protocol, patients, slices, source, version=5, mask=None, mask_name="mask", padding=(0, 0)
):
    """Writes fully sampled slices in the layout above.

    Args:
        root, protocol, patients, slices: as for `tfvn.data.vlo.VLOKnee`; slice n of `source`
            becomes the n-th pair of them.
        source: a source of fully sampled slices, such as `SyntheticKnee(..., mask=None, ...)`.
        version: 5 or '7.3', see `tfvn.data.mat_files.write_mat`; or 'mixed', patient by patient in
            turn.
        mask: 0/1 array (width,) or (height, width), written as masks/<mask_name>.mat; None writes
            none.
        padding: numbers of lines at the left and right to set to zero and to declare as padding.

    Raises:
        ValueError: if the source holds too few slices, or one without a reference, or if no
            configuration could read what would be written: names that are no whole numbers >= 0, or
            the same one twice.
    """
    patients = _numbers(patients, "patients")
    slices = _numbers(slices, "slices")
    _check_name("protocol", protocol)
    _check_name("mask_name", mask_name)
    if version not in (*_VERSIONS, "mixed"):
        raise ValueError(f"version must be 5, '7.3' or 'mixed'. Received: version={version!r}")
    keys = [(patient, number) for patient in patients for number in slices]
    if len(source) < len(keys):
        raise ValueError(
            f"the source must hold {len(keys)} slices. Received: len(source)={len(source)}"
        )
    versions = [version]
    if version == "mixed":
        versions = _VERSIONS
    for index, (patient, number) in enumerate(keys):
        sample = source[index]
        size = sample.kspace.shape[1:]
        _check_sample(sample, index, padding)
        if mask is not None:
            full = np.broadcast_to(mask_array(mask, *size)[0], size)
        kind = versions[patients.index(patient) % len(versions)]
        raw_path, maps_path = slice_paths(root, protocol, patient, number)
        write_mat(raw_path, _raw(sample, *padding), kind)
        write_mat(maps_path, _espirit(sample), kind)
    if mask is not None:
        path = mask_path(root, protocol, mask_name)
        write_mat(path, {"mask": full.astype(np.float64)}, versions[0])


def _raw(sample, left, right):
    """The variables of a rawdata file."""
    kspace = sample.kspace.copy()
    kspace[..., :left] = 0
    kspace[..., kspace.shape[-1] - right :] = 0
    raw = {"rawdata": np.moveaxis(kspace, 0, -1)}
    if left or right:
        raw.update(padlength_left=np.float64(left), padlength_right=np.float64(right))
    return raw


def _espirit(sample):
    """The variables of an espirit file."""
    height, width = sample.kspace.shape[1:]
    rows = image_rows(height, sample.reference.shape[0] != height)
    reference = np.zeros((height, width), np.complex64)
    reference[rows] = sample.reference
    maps = np.moveaxis(sample.sensitivity_maps, 0, -1)
    return {"sensitivities": maps, "reference": reference}


def _check_sample(sample, index, padding):
    width = sample.kspace.shape[-1]
    if not np.isfinite(sample.reference).all():
        raise ValueError(
            "every slice needs its fully sampled reference. Received: NaN in that of slice "
            f"{index} of the source. Is it undersampled?"
        )
    if not is_padding(*padding, width):
        raise ValueError(
            f"padding must be two whole numbers that leave some of {width} lines. "
            f"Received: padding={padding}"
        )


def _check_name(name, text):
    if str(text) in ("", ".", "..") or any(mark in str(text) for mark in "/\\\0"):
        raise ValueError(
            f"{name} must be the name of one folder or file. Received: {name}={text!r}"
        )


def _numbers(values, name):
    """A list of different whole numbers >= 0, as configurations name patients and slices."""
    if isinstance(values, (str, bytes)):
        values = [values]
    values = list(values)
    whole = [value for value in values if _is_number(value)]
    if not values or len(whole) < len(values) or len(set(values)) < len(values):
        raise ValueError(
            f"{name} must be different whole numbers >= 0: configurations name them so, as in "
            f"1-3,7. Received: {name}={str(values)[:200]}"
        )
    return values


def _is_number(value):
    # True is an int to Python.
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 0
