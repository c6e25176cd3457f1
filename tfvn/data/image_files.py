"""Stacks of magnitude images in files: `.npz`, `.npy`, NIfTI and DICOM.

NIfTI is read by the package nibabel and DICOM by pydicom, which are optional. A stack has as many
slices as its file holds. DICOM files of one slice each, in a folder, are one stack in the order of
their positions along the series.
"""

import functools
import importlib
from pathlib import Path

import numpy as np

from tfvn.data import recognise

__all__ = ["Stack", "stacks"]

# By the endings of names. The last one alone counts of `.nii.gz`.
_NUMPY, _NIFTI, _DICOM = (".npz", ".npy"), (".nii", ".nii.gz"), (".dcm", ".ima")
_ENDINGS = (*_NUMPY, *_NIFTI, *_DICOM)
_NAMES = ("images", "volume", "image")
# Of the axis of slices, where nothing is said.
_BY_FORMAT = -1


class Stack:
    """The slices of one file, or of the DICOM files of a folder.

    Args:
        paths: the files, a list.
        array: the name of the array in `.npz`; '' takes images, volume or the only one.
        axis: that of the slices; -1: the last of NIfTI and the first of others.

    Attributes:
        paths: as given.
    """

    def __init__(self, paths, array="", axis=_BY_FORMAT):
        self.paths = [Path(path) for path in paths]
        self._array, self._axis = array, axis

    @property
    def name(self):
        """Of its file without the ending, or of its folder."""
        path = self.paths[0]
        if len(self.paths) > 1:
            return path.parent.name
        return path.name[: -len(_ending(path))]

    @property
    def settings(self):
        """What its slices depend on beside its files, a list of plain values."""
        return [self._array, self._axis]

    def __len__(self):
        return self.shape[0]

    @functools.cached_property
    def shape(self):
        """(slices, height, width)."""
        if len(self.paths) > 1:
            return len(self.paths), *_dicom(self.paths[0]).shape
        return self._sliced().shape

    def image(self, number):
        """A slice, float32 (height, width), of a maximum of 1.

        Raises:
            ValueError: naming the file, if it cannot be read or holds no magnitudes.
        """
        if len(self.paths) > 1:
            path = self.paths[number]
            image = _dicom(path)
        else:
            path = self.paths[0]
            image = self._sliced()[number]
        _check(path, number, image)
        if image.shape != self.shape[1:]:
            raise ValueError(
                f"{path}: the images of a series must have one size. Received: {image.shape}, and "
                f"{self.shape[1:]} of the first one."
            )
        image = np.asarray(image, np.float64)
        return (image / image.max()).astype(np.float32)

    def _sliced(self):
        """The array with the axis of slices first; a single image is a stack of one."""
        path = self.paths[0]
        array = _opened(path, self._array)
        while array.ndim > 3 and array.shape[-1] == 1:
            array = array[..., 0]
        if array.ndim == 2:
            return array[None]
        if array.ndim != 3:
            raise recognise.FileError(
                f"{path}: images must have three axes, one of which counts the slices. Received: "
                f"an array of shape {array.shape}."
            )
        axis = self._axis
        if axis == _BY_FORMAT:
            axis = 2 if _ending(path) in _NIFTI else 0
        return np.moveaxis(array, axis, 0)


def stacks(path, array="", axis=_BY_FORMAT):
    """The stacks of a file or a folder, a list in the order of their names.

    Raises:
        ValueError: if there are none.
    """
    path = Path(path)
    if not path.is_dir():
        recognise.head(path)
        if _ending(path) not in _ENDINGS:
            raise ValueError(
                f"images are read from files that end in {', '.join(_ENDINGS)}. Received: {path}"
            )
        return [Stack([path], array, axis)]
    files = sorted(file for file in path.iterdir() if _ending(file) in _ENDINGS)
    if not files:
        raise ValueError(
            f"images are read from files that end in {', '.join(_ENDINGS)}. Received: {path}, a "
            "folder without any."
        )
    dicom = [file for file in files if _ending(file) in _DICOM]
    found = [Stack([file], array, axis) for file in files if file not in dicom]
    if len(dicom) == 1:
        return [*found, Stack(dicom, array, axis)]
    if dicom:
        found.append(Stack(_in_order(dicom), array, axis))
    return found


def _ending(path):
    name = path.name.lower()
    for ending in _ENDINGS:
        if name.endswith(ending):
            return ending
    return path.suffix.lower()


def _opened(path, name):
    """The array of a file."""
    ending = _ending(path)
    if ending in _DICOM:
        return _dicom(path)
    if ending in _NIFTI:
        nibabel = _package("nibabel", "NIfTI")
        with recognise.reading(path, "a NIfTI file"):
            return np.asanyarray(nibabel.load(path).dataobj)
    with recognise.reading(path, "a NumPy file"), open(path, "rb") as file:
        found = np.load(file, allow_pickle=False)
        if ending == ".npy":
            return found
        return found[_chosen(found.files, name)]


def _chosen(names, asked):
    """Which array of several is meant."""
    known = [name for name in _NAMES if name in names]
    if asked in names:
        return asked
    if not asked and (known or len(names) == 1):
        return [*known, *names][0]
    expected = asked or " or ".join(_NAMES)
    raise recognise.RefusedError(
        f"expected an array named {expected}. Received: {', '.join(names)}. Name the one that is "
        "meant by data.array."
    )


def _package(name, kind):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"{kind} files need the package {name}, which is not installed. Install it: pip install"
            f" {name}. Or write the images as an array to a .npz file."
        ) from error


def _dicom(path):
    pydicom = _package("pydicom", "DICOM")
    with recognise.reading(path, "a DICOM file"):
        found = pydicom.dcmread(path)
        syntax = found.file_meta.TransferSyntaxUID
        try:
            return found.pixel_array
        # It says so where it has no library that unpacks the numbers.
        except (RuntimeError, NotImplementedError) as error:
            if not syntax.is_compressed:
                raise
            raise recognise.RefusedError(
                f"its images are compressed ({syntax.name}), and the library that unpacks them is "
                "not installed. Write the file without compression."
            ) from error


def _in_order(paths):
    """DICOM files of one series, in the order of their numbers."""
    pydicom = _package("pydicom", "DICOM")
    numbers, series = {}, set()
    for path in paths:
        with recognise.reading(path, "a DICOM file"):
            head = pydicom.dcmread(path, stop_before_pixels=True)
            numbers[path] = int(head.InstanceNumber)
            series.add(str(head.SeriesInstanceUID))
    if len(series) > 1:
        raise ValueError(
            f"a folder must hold DICOM files of one series. Received: {len(series)} in "
            f"{paths[0].parent}. Give each a folder of its own."
        )
    return sorted(paths, key=numbers.get)


def _check(path, number, image):
    """Checks that an image is a magnitude."""
    image = np.asarray(image)
    text = f"{path}: images must be magnitudes, real numbers of at least 0. Received: "
    if image.dtype.kind not in "uif" or image.ndim != 2:
        raise ValueError(
            f"{text}{image.dtype} array of shape {image.shape} in slice {number}. Of complex images"
            " write the absolute values."
        )
    if not np.isfinite(image).all() or image.min() < 0:
        raise ValueError(f"{text}NaN, infinite or negative numbers in slice {number}.")
    if not image.any():
        raise ValueError(f"{path}: slice {number} is zero everywhere. Choose others.")
