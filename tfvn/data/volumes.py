"""Volumes: files that hold a scan of many slices each, read slice by slice.

What kind of file it is only a `Volume` knows, which opens one. Here slices are chosen, undersampled
and given coil maps and references. Maps are estimated from each slice's own k-space.
"""

import numpy as np

from tfvn.data import agreement
from tfvn.data.compression import compressed, compression
from tfvn.data.sample import (
    Sample,
    check_finite,
    check_not_zero,
    combine,
    ifft2c,
    image_rows,
    mask_array,
    mask_digest,
    mask_height,
    zeros,
)
from tfvn.data.sampling import doubt_of_points, is_fully_sampled, undersampling
from tfvn.data.source import Source
from tfvn.files import state

__all__ = ["Volume", "VolumeSlices"]

# Of the norm of a reconstruction in the file, how far it may be from that of its k-space. Both are
# of single precision.
_SAME_IMAGE = 0.01


class Volume:
    """A file that holds a scan of several slices: the base class.

    A volume reads its header when it is made, and a slice when it is asked for one.

    Attributes:
        path: the file, a `Path`.
        shape: (slices, coils, height, width).
        mask: 0/1 array (width,) of an undersampled scan, None if the file holds none.
        measured: the lines that its header calls measured, a slice of the width.
        rows: the samples of each line that were taken, a slice of the height.
        settings: what a slice depends on but its file, a dict of plain values.
        patient: what tells its patient from others, a text; '' if only the file does.
    """

    path = None
    shape = ()
    mask = None
    measured = slice(None)
    rows = slice(None)
    settings = {}
    patient = ""

    def kspace(self, number):
        """K-space of a slice, complex64 (coils, height, width).

        Raises:
            ValueError: naming the file, if it cannot be read.
        """
        raise NotImplementedError

    def image(self, number):
        """The reconstruction of a slice that the file holds, a magnitude; None if there is none."""
        del number

    def calibration(self, number):
        """K-space of a calibration scan apart, complex64 (coils, height, width); None without."""
        del number


class VolumeSlices(Source):
    """The slices of volumes, one volume after the other.

    Args:
        volumes: a list of `Volume`s.
        masks: of each volume what undersamples it, as for `tfvn.data.sample.mask_array`; None: what
            was measured. A volume with a mask of its own keeps that.
        numbers: of the slices of each volume, from 0; None takes all. Those that a volume does not
            have are left out.
        calibration: a `tfvn.data.calibration.Calibration`.
        target: the reference: 'combined', coil images combined by maps of the whole scan, or 'rss',
            the root of the sum of their squares.
        readout_oversampling: images are the central half of the height.
        coils: k-space and maps are compressed to so many, see `tfvn.data.compression`; 0: to none.
            Scans of fewer keep theirs. The reference is that of all coils.

    Raises:
        ValueError: at construction if no slice is left; when one is read, if it is damaged or its
            header says otherwise.

    Warns:
        DataWarning: for arrays that probably do not belong together, see `tfvn.data.agreement`,
            and lines and images that the file says otherwise of.
    """

    def __init__(
        self, volumes, masks, numbers, calibration, target, readout_oversampling=False, coils=0
    ):
        self._slices = []
        for volume, mask in zip(volumes, masks):
            count = volume.shape[0]
            chosen = range(count) if numbers is None else [n for n in numbers if n < count]
            self._slices += [(volume, mask, number) for number in chosen]
        if not self._slices:
            raise ValueError(
                "at least one slice must be chosen. Received: slices that none of the"
                f" {len(volumes)} volumes has, such as {volumes[0].path}, which holds"
                f" {volumes[0].shape[0]}. They are counted from 0."
            )
        self._calibration = calibration
        self._target = target
        self._coils = coils
        self.readout_oversampling = readout_oversampling
        self.mask_height = _common_height(self._slices)
        self._doubts = {}

    def __len__(self):
        return len(self._slices)

    def name(self, index):
        volume, _, number = self._slices[index]
        return f"{volume.path.stem}/slice{number}"

    def patient(self, index):
        """What tells the patient of a slice from others: what the file says, or else its name."""
        volume = self._slices[index][0]
        return volume.patient or str(volume.path)

    def shape(self, index):
        """(coils, height, width) of a slice, from the header of its file."""
        coils, height, width = self._slices[index][0].shape[1:]
        if self._coils:
            coils = min(coils, self._coils)
        return coils, height, width

    @property
    def maps_origin(self):
        """Where the coil maps come from, in words."""
        made = self._calibration.method.words
        if self._calibration.maps_from == "measured":
            return f"{made} from each slice's centre lines, all measured"
        return f"{made} from each slice's centre lines of the full scan, before the mask"

    def fingerprint(self, index):
        """What a slice is made of: settings, and the state of its file."""
        volume, mask, number = self._slices[index]
        settings = dict(
            volume.settings,
            slice=number,
            mask=mask_digest(mask),
            calibration=self._calibration.settings,
            target=self._target,
            coils=self._coils,
            readout_oversampling=self.readout_oversampling,
        )
        return settings, [state(volume.path)]

    def doubts(self, index):
        """The texts of the warnings of a slice that was read."""
        return self._doubts.get(index, [])

    def __getitem__(self, index):
        volume = self._slices[index][0]
        try:
            return self._read(index)
        except ValueError as error:
            if str(volume.path) in str(error):
                raise
            raise ValueError(f"{volume.path}: {error} ({self.name(index)})") from error

    def _read(self, index):
        volume, asked, number = self._slices[index]
        kspace = volume.kspace(number)
        check_finite(kspace, "kspace")
        check_not_zero(kspace, "kspace")
        found = zeros(kspace)
        is_full = is_fully_sampled(found.mask)
        mask, texts = _sampling(volume, asked, found)
        images = ifft2c(kspace)
        root = np.sqrt((images.real**2 + images.imag**2).sum(0))
        texts += _image_doubts(volume, number, root)
        texts += agreement.mask_doubts(kspace, mask)
        told = self._tell(index, texts, asked) + self._compare(index, kspace)
        reference = self._reference(kspace, images, root, found.mask, is_full)
        given, maps, doubts = self._seen(volume.calibration(number), kspace, found.mask, mask)
        self._doubts[index] = told + self._tell(index, doubts, [asked, self._calibration.settings])
        return Sample(given * mask, maps, mask, reference)

    def _seen(self, apart, kspace, measured, mask):
        """K-space and coil maps of a slice, and what is doubtful of the maps.

        They are of as many coils as were asked for. Both come from a calibration scan apart where
        there is one.
        """
        is_full = is_fully_sampled(measured)
        calibrated = kspace
        if apart is not None:
            calibrated = apart
            measured = mask = zeros(apart).mask
        if self._coils:
            seen = self._calibration.seen(measured, mask, is_full)
            matrix = compression(calibrated * seen, self._coils)
            calibrated = compressed(calibrated, matrix)
            kspace = compressed(kspace, matrix)
        found = self._calibration.maps(calibrated, measured, mask, is_full)
        return kspace, found.sensitivity_maps, found.doubts

    def _tell(self, index, texts, settings):
        """Warns of what is doubtful, once in this process for each slice and settings.

        Returns:
            The texts of the warnings.
        """
        texts = [f"{self.name(index)}: {text}" for text in texts]
        agreement.tell(texts, repr([*self._read_from(index), settings, "volume"]))
        return texts

    def _compare(self, index, kspace):
        """Compares k-space with the conventions, see `tfvn.data.agreement.check`."""
        key = repr(self._read_from(index))
        oversampling = self.readout_oversampling
        return agreement.check(kspace, self.name(index), None, None, oversampling, key)

    def _read_from(self, index):
        volume, _, number = self._slices[index]
        return [state(volume.path), volume.settings, number, self.readout_oversampling]

    def _reference(self, kspace, images, root, measured, is_full):
        rows = image_rows(kspace.shape[1], self.readout_oversampling)
        if not is_full:
            return np.full(root[rows].shape, np.nan, np.complex64)
        if self._target == "rss":
            return root[rows].astype(np.complex64)
        maps = self._calibration.maps_of_reference(kspace, measured)
        return combine(images, maps, self.readout_oversampling)


def _common_height(slices):
    """1 where all masks are constant along the height, None if that is not known."""
    heights = set()
    for volume, mask, _ in slices:
        heights.add(mask_height(mask if volume.mask is None else volume.mask))
    if len(heights) == 1:
        return heights.pop()
    return None


def _sampling(volume, asked, found):
    """The mask of a slice, 0/1 (1, 1 or height, width), and texts of warnings."""
    height, width = volume.shape[2:]
    inside = np.zeros(width, np.float32)
    inside[volume.measured] = 1
    texts = []
    outside = np.count_nonzero(found.points.any(0) & (inside == 0))
    if outside:
        texts.append(
            f"{outside} lines that the header calls padding are not zero in kspace. They are left "
            "out of the mask. Is it the header of this scan?"
        )
    if volume.mask is not None:
        asked = mask_array(volume.mask, height, width)[0] * inside
    if asked is None:
        doubt = ""
        # Of an asymmetric echo the file says why points are missing.
        if len(range(*volume.rows.indices(height))) == height:
            doubt = doubt_of_points(found)
        return found.mask * inside, [*texts, *filter(None, [doubt])]
    mask, doubt = undersampling(asked, found)
    return mask * inside, [*texts, *filter(None, [doubt])]


def _image_doubts(volume, number, root):
    """Is the reconstruction in the file that of its k-space? The texts of warnings.

    Args:
        volume, number: the slice.
        root: root-sum-of-squares of its coil images, (height, width).
    """
    image = volume.image(number)
    if image is None:
        return []
    if image.ndim != 2 or np.any(np.greater(image.shape, root.shape)):
        raise ValueError(
            "a reconstruction in the file must be no larger than the images of its k-space. "
            f"Received: a reconstruction of shape {image.shape} and k-space of shape {root.shape}."
        )
    first = [(full - part) // 2 for full, part in zip(root.shape, image.shape)]
    rows, columns = (slice(start, start + size) for start, size in zip(first, image.shape))
    part = root[rows, columns].astype(np.float64)
    distance = np.linalg.norm(part - image) / np.linalg.norm(part)
    if distance <= _SAME_IMAGE:
        return []
    return [
        f"the reconstruction in the file is not that of its kspace: they differ by {distance:.0%} "
        "of the norm. The reference is made of kspace."
    ]
