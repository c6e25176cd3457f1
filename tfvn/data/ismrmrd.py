"""Raw scans in the format of ISMRMRD: Cartesian, two-dimensional, many slices in a file.

The counters of each acquisition say where its line lies. The sizes and the place of the zero
frequency come from the header. See `tfvn.data.raw_volume` for what is made of them.

The file is read by h5py alone: heads are tables with named columns, which need no package.
"""

from tfvn import checks
from tfvn.data.acquisitions import COUNTERS, Acquisitions
from tfvn.data.calibration import Calibration
from tfvn.data.maps import LOW_RESOLUTION
from tfvn.data.raw_volume import RawVolume, counters_of
from tfvn.data.volume_format import Chosen, VolumeFormat

__all__ = ["ISMRMRDFormat", "ISMRMRDVolume"]


class ISMRMRDFormat(VolumeFormat):
    """Folders of raw scans in the format of ISMRMRD.

    Args:
        path: the root folder of the data.
        train_folder: the folder below the root to train on; empty: the root.
        test_folder: the folder below the root to attack and evaluate; empty: the root.
        train_volumes: which files of its folder, in the order of names, from 0; empty: all.
        test_volumes: the same of the test.
        train_slices: which slices of each volume, from 0; empty: all.
        test_slices: the same of the test.
        group: the group of a file that holds the scan; empty: the only one.
        average: which average: a number, or mean.
        contrast: which contrast, a number; empty: the only one.
        phase: which phase of the heart cycle, a number; empty: the only one.
        repetition: which repetition: a number, or mean; empty: the only one.
        set: which set, a number; empty: the only one.
        encoding: which encoding of the header, a number; empty: the only one.
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

    key = "ismrmrd"
    training_keys = (*VolumeFormat.training_keys, "group", *COUNTERS)

    def __init__(
        self,
        path="",
        train_folder="",
        test_folder="",
        train_volumes="",
        test_volumes="",
        train_slices="",
        test_slices="",
        group="",
        average="mean",
        contrast="",
        phase="",
        repetition="",
        set="",
        encoding="",
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
        self.group = group
        self.prewhiten = checks.flag("prewhiten", prewhiten)
        self._counters = counters_of(average, contrast, phase, repetition, set, encoding)

    def volume(self, path):
        return ISMRMRDVolume(path, self.group, self._counters, self.prewhiten)


class ISMRMRDVolume(RawVolume):
    """A file of ISMRMRD.

    Args:
        path: the file.
        group: of the scan in it; '' takes the only one.
        counters, prewhiten: as for `tfvn.data.raw_volume.RawVolume`.

    Raises:
        ValueError: naming the file, if it is damaged, and as `RawVolume`.
    """

    def __init__(self, path, group="", counters=(), prewhiten=True):
        settings = dict(source="ismrmrd", group=group)
        super().__init__(path, Acquisitions(path, group), counters, prewhiten, settings)
