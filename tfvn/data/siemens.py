"""Raw scans of Siemens' scanners, `.dat` or "twix": Cartesian, two-dimensional, many slices a file.

They are read by the package twixtools, which is optional. See `tfvn.data.raw_volume` for what is
made of their lines.
"""

from tfvn import checks
from tfvn.data.acquisitions import COUNTERS
from tfvn.data.calibration import Calibration
from tfvn.data.maps import LOW_RESOLUTION
from tfvn.data.raw_volume import RawVolume, counters_of
from tfvn.data.twix import TwixScan
from tfvn.data.volume_format import Chosen, VolumeFormat

__all__ = ["SiemensFormat", "SiemensVolume"]


class SiemensFormat(VolumeFormat):
    """Folders of raw scans of Siemens' scanners.

    Args:
        path: the root folder of the data.
        train_folder: the folder below the root to train on; empty: the root.
        test_folder: the folder below the root to attack and evaluate; empty: the root.
        train_volumes: which files of its folder, in the order of names, from 0; empty: all.
        test_volumes: the same of the test.
        train_slices: which slices of each volume, from 0; empty: all.
        test_slices: the same of the test.
        average: which average: a number, or mean.
        contrast: which contrast (echo), a number; empty: the only one.
        phase: which phase of the heart cycle, a number; empty: the only one.
        repetition: which repetition: a number, or mean; empty: the only one.
        set: which set, a number; empty: the only one.
        prewhiten: whether noise scans in the file make the noise of the coils white.
        target: the reference: combined (by the maps of the full scan) | rss (root-sum-of-squares).
        calibration_lines: centre lines of the estimate of the maps; 0: as many as are measured, 24
            at most.
        maps_from: k-space of that estimate: measured (what the mask leaves) | fully-sampled (all
            of the scan).
        compressed_coils: so many combinations of coils take the place of the coils; 0: none.
        readout_oversampling: the image is the central half of the readout (height).
        mask: a `tfvn.data.mask_choice.Mask`; None: what was measured.
        maps: a `tfvn.data.maps.MapMethod`.

    Raises:
        ValueError: for values outside their limits.
    """

    key = "siemens"
    endings = (".dat",)
    holds_arrays = False
    training_keys = (*VolumeFormat.training_keys, *COUNTERS[:-1])

    def __init__(
        self,
        path="",
        train_folder="",
        test_folder="",
        train_volumes="",
        test_volumes="",
        train_slices="",
        test_slices="",
        average="mean",
        contrast="",
        phase="",
        repetition="",
        set="",
        prewhiten=True,
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
        self.prewhiten = checks.flag("prewhiten", prewhiten)
        # The last of all counters is the encoding, of which there is one.
        self._counters = counters_of(average, contrast, phase, repetition, set)

    def volume(self, path):
        return SiemensVolume(path, self._counters, self.prewhiten)


class SiemensVolume(RawVolume):
    """A file of Siemens.

    Args:
        path: the file.
        counters, prewhiten: as for `tfvn.data.raw_volume.RawVolume`.

    Raises:
        ValueError: naming the file, if it is damaged, and as `RawVolume`; and if twixtools is not
            installed.
    """

    def __init__(self, path, counters=(), prewhiten=True):
        super().__init__(path, TwixScan(path), counters, prewhiten, dict(source="siemens"))
