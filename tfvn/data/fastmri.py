"""Volumes of fastMRI (Zbontar et al., arXiv:1811.08839), of the knee and of the brain.

A file `.h5` holds a volume:

    kspace                  complex64 (slices, coils, height, width), of one coil
                            (slices, height, width); the readout runs along the height
    reconstruction_rss      float32 (slices, rows, columns), the centre of the root-sum-of-squares;
    reconstruction_esc      of one coil its magnitude; test files have none
    mask                    (width,), of undersampled files alone
    ismrmrd_header          text: the sizes, and which lines were measured

Lines beyond the header's limits were never measured and are zero: the mask leaves them out, as that
of fastMRI does.
"""

from pathlib import Path

import h5py
import numpy as np

from tfvn import checks
from tfvn.data import header, recognise
from tfvn.data.array_files import open_array, open_arrays
from tfvn.data.calibration import Calibration
from tfvn.data.maps import LOW_RESOLUTION
from tfvn.data.volume_format import Chosen, VolumeFormat
from tfvn.data.volumes import Volume

__all__ = ["FastMRIFormat", "FastMRIVolume"]

# Of a patient and a contrast, texts that may have any size.
_LONGEST_NAME = 200
_IMAGES = ("reconstruction_rss", "reconstruction_esc")


class FastMRIFormat(VolumeFormat):
    """Folders of fastMRI volumes, of several coils or of one.

    Args:
        path: the root folder of the data.
        train_folder: the folder below the root to train on.
        test_folder: the folder below the root to attack and evaluate.
        train_volumes: which files of its folder, in the order of names, from 0; empty: all.
        test_volumes: the same of the test.
        train_slices: which slices of each volume, from 0; empty: all.
        test_slices: the same of the test.
        acquisition: only volumes of this contrast, such as CORPD_FBK or AXT2; empty: of all.
        target: the reference: combined (by the maps of the full scan) | rss (root-sum-of-squares).
        calibration_lines: centre lines of the estimate of the maps; 0: as many as are measured, 24
            at most.
        maps_from: k-space of that estimate: measured (what the mask leaves) | fully-sampled (all
            of the scan).
        compressed_coils: so many combinations of coils take the place of the coils; 0: none.
        readout_oversampling: the image is the central half of the readout (height).
        mask: a `tfvn.data.mask_choice.Mask`; None: what was measured. Volumes with a mask of their
            own keep it.

    Raises:
        ValueError: for values outside their limits.
    """

    key = "fastmri"
    training_keys = (*VolumeFormat.training_keys, "acquisition")

    def __init__(
        self,
        path="",
        train_folder="multicoil_train",
        test_folder="multicoil_val",
        train_volumes="",
        test_volumes="",
        train_slices="",
        test_slices="",
        acquisition="",
        target="combined",
        calibration_lines=0,
        maps_from="measured",
        compressed_coils=0,
        readout_oversampling=False,
        mask=None,
        maps=LOW_RESOLUTION,
    ):
        train = Chosen(train_folder, train_volumes, train_slices)
        test = Chosen(test_folder, test_volumes, test_slices)
        calibration = Calibration(calibration_lines, maps_from, maps)
        choices = target, readout_oversampling, mask, compressed_coils
        super().__init__(path, train, test, calibration, *choices)

        self.acquisition = acquisition
        self.meaning = f"data.acquisition={checks.shown(acquisition)}"

    def volume(self, path):
        return FastMRIVolume(path)

    def is_meant(self, path):
        """Whether a file has the acquisition; one that cannot be read is named later."""
        if not self.acquisition:
            return True
        try:
            return FastMRIVolume(path).acquisition == self.acquisition
        except ValueError:
            return True


class FastMRIVolume(Volume):
    """A file of fastMRI, see `tfvn.data.volumes.Volume`.

    Args:
        path: the file.

    Raises:
        ValueError: naming the file, if it is missing, damaged or cut short, holds no k-space of
            volumes, or contradicts its header.
    """

    settings = {"source": "fastmri"}

    def __init__(self, path):
        self.path = Path(path)
        self._kspace = open_array(path, ("kspace",), "kspace")
        found = open_arrays(path, ("mask", *_IMAGES))
        self._image = found.get(_IMAGES[0], found.get(_IMAGES[1]))
        text, self.patient, self.acquisition = _head(path)
        try:
            self.shape = _shape(self._kspace)
            self.measured = _measured(text, *self.shape[2:])
            self._check_images()
        except ValueError as error:
            if str(path) in str(error):
                raise
            raise ValueError(f"{path}: {error}") from error
        if "mask" in found:
            self.mask = np.squeeze(found["mask"][...])

    def _check_images(self):
        if self._image is not None and self._image.shape[0] != self.shape[0]:
            raise ValueError(
                "kspace and reconstruction must hold the same slices. Received: "
                f"{self.shape[0]} of kspace and {self._image.shape[0]} of {self._image.name}."
            )

    def kspace(self, number):
        part = self._kspace[(number, *[slice(None)] * (self._kspace.ndim - 1))]
        return part.reshape(self.shape[1:]).astype(np.complex64)

    def image(self, number):
        if self._image is None:
            return None
        return self._image[(number, *[slice(None)] * (self._image.ndim - 1))]


def _head(path):
    """The header of a file, and what it calls its patient and its contrast."""
    with recognise.reading(path, "an HDF5 file"), h5py.File(path, "r") as file:
        names = [str(file.attrs.get(key, "")) for key in ("patient_id", "acquisition")]
        return header.text_of(file), *(name[:_LONGEST_NAME] for name in names)


def _measured(text, height, width):
    """The lines of k-space that a header calls measured, a slice of the width."""
    encodings = header.encodings(text)
    if not encodings or encodings[0].measured_lines() is None:
        return slice(None)
    rows, columns = encodings[0].encoded[:2]
    lines = encodings[0].measured_lines()
    if (rows, columns) == (width, height) != (height, width):
        raise ValueError(
            "the readout must run along the height, the first image axis. Received: a header of "
            f"{rows} samples of {columns} lines, and kspace of {height} x {width}. Exchange the "
            "last two axes of kspace."
        )
    if (rows, columns) != (height, width):
        raise ValueError(
            f"the header and kspace must agree. Received: a header of {rows} x {columns} "
            f"samples, and kspace of {height} x {width}. Is it the header of this scan?"
        )
    if not 0 <= lines.start < lines.stop <= width:
        raise ValueError(
            "the header must tell which lines of kspace were measured. Received: lines "
            f"{lines.start} to {lines.stop - 1} of {width}. Is it the header of this scan?"
        )
    return lines


def _shape(kspace):
    """(slices, coils, height, width) of the array in the file."""
    if kspace.dtype.kind != "c" or kspace.ndim not in (3, 4):
        raise ValueError(
            "kspace must be complex (slices, coils, height, width), or (slices, height, width) of "
            f"one coil. Received: {kspace.dtype} array of shape {kspace.shape}"
        )
    if kspace.ndim == 3:
        return (kspace.shape[0], 1, *kspace.shape[1:])
    return tuple(kspace.shape)
