"""What is configured of volumes: folders, which files in them, and which slices of each file."""

import functools
import os
from pathlib import Path
from typing import NamedTuple

from tfvn import checks, ranges
from tfvn.choices import TARGETS
from tfvn.data.format import Format, OneSlice
from tfvn.data.volumes import VolumeSlices

__all__ = ["Chosen", "VolumeFormat"]

_MOST_COILS = 1024
_EXAMPLES = "numbers such as '0-9' or '0,3', or '' for all"


class Chosen(NamedTuple):
    """What is chosen for a split.

    Args:
        folder: below the root.
        volumes: numbers of the folder's files in the order of their names, from 0; '' for all.
        slices: numbers of the slices of each volume, from 0; '' for all.
    """

    folder: str = ""
    volumes: str = ""
    slices: str = ""

    def check(self, split):
        """Checks both texts of numbers."""
        for name in ("volumes", "slices"):
            text = getattr(self, name)
            if text != "":
                ranges.check(f"{split}_{name}", text, _EXAMPLES)


class VolumeFormat(Format):
    """Volumes in folders: the base class of the formats that hold many slices in a file.

    A format defines `volume(path)`, which opens one.

    Args:
        path: the root folder.
        train, test: what is `Chosen` for each split.
        calibration: a `tfvn.data.calibration.Calibration`.
        target: what the reference is, of `tfvn.choices.TARGETS`.
        readout_oversampling, mask: as for `tfvn.data.format.Format`.
        coils: k-space is compressed to so many; 0: it is not.

    Raises:
        ValueError: for values outside their limits.
    """

    holds_volumes = True
    estimates_maps = True
    # In messages: the name of the format, and the setting that `is_meant` asks for.
    key = ""
    meaning = ""
    # Of the files of volumes: how their names end, and whether they can be read as arrays.
    endings = (".h5", ".hdf5")
    holds_arrays = True
    training_keys = ("train_folder", "train_volumes", "train_slices")

    def __init__(self, path, train, test, calibration, target, readout_oversampling, mask, coils=0):
        super().__init__(readout_oversampling, mask)
        self.path = path
        self.target = checks.choice("target", target, TARGETS)
        self.compressed_coils = checks.whole("compressed_coils", coils, 0, most=_MOST_COILS)
        self._calibration = calibration.check()
        self._chosen = {"train": train, "test": test}
        for split, chosen in self._chosen.items():
            chosen.check(split)

    def volume(self, path):
        """The `tfvn.data.volumes.Volume` of a file.

        Raises:
            ValueError: naming the file, if it is none.
        """
        raise NotImplementedError

    def is_meant(self, path):
        """Whether a file of a folder is one of those that are counted."""
        del path
        return True

    def source(self, split):
        """The slices of a split, see `tfvn.data.format.Format.source`."""
        return self._source_of(self._paths(split), self._numbers(split))

    def _source_of(self, paths, numbers):
        volumes = [self.volume(path) for path in paths]
        masks = [self.mask.of_volume(self.locate_mask, path.name) for path in paths]
        return VolumeSlices(
            volumes,
            masks,
            numbers,
            self._calibration,
            self.target,
            self.readout_oversampling,
            self.compressed_coils,
        )

    def _numbers(self, split):
        """The slices of each volume, None for all."""
        text = self._chosen[split].slices
        if text == "":
            return None
        return ranges.numbers(text)

    def _paths(self, split):
        """The files of a split, in the order of their names."""
        chosen = self._chosen[split]
        root = checks.needed(
            f"data.format {self.key}", "data.path", self.path, "the folder of the volumes"
        )
        folder = Path(root) / chosen.folder
        if not folder.is_dir():
            raise ValueError(
                f"no such folder: {folder}. Set data.path and data.{split}_folder to the folder of "
                "the volumes."
            )
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in self.endings)
        if not paths:
            raise ValueError(
                f"no {self.endings[0]} files in {folder}. Name the folder of the volumes."
            )
        count = len(paths)
        paths = [path for path in paths if self.is_meant(path)]
        if not paths:
            raise ValueError(
                f"{self.meaning} must be that of a volume. Received: {count} volumes of others in "
                f"{folder}. Leave it empty to take all."
            )
        if chosen.volumes == "":
            return paths
        numbers = ranges.numbers(chosen.volumes)
        beyond = [number for number in numbers if number >= len(paths)]
        if beyond:
            raise ValueError(
                f"data.{split}_volumes must name files of {folder}, which holds {len(paths)}, "
                f"counted from 0. Received: data.{split}_volumes={checks.shown(chosen.volumes)}"
            )
        return [paths[number] for number in numbers]

    def parts(self, split):
        """The slices of a split one by one, see `tfvn.data.format.Format.parts`.

        Each volume has a source of its own. One that cannot be opened stands for its slices.
        """
        parts = []
        for path, numbers in self._slices(split):
            read = functools.partial(self._source_of, [path], None)
            files = (str(path),)
            parts += [OneSlice(read, number, files, self.holds_arrays) for number in numbers]
        return parts

    def _slices(self, split):
        """Yields each file and the numbers of its slices; of a damaged one the first."""
        chosen = self._numbers(split)
        for path in self._paths(split):
            try:
                count = self.volume(path).shape[0]
            except ValueError:
                yield path, [0]
                continue
            numbers = range(count)
            if chosen is not None:
                numbers = [number for number in chosen if number < count]
            yield path, list(numbers)

    def identities(self, split):
        """What names each slice, see `tfvn.data.format.Format.identities`."""
        try:
            found = list(self._slices(split))
        except ValueError:
            # A training elsewhere: its folder is not here.
            return []
        names = []
        for path, numbers in found:
            names += [(os.path.realpath(path), "slice", number) for number in numbers]
        return names

    def in_both(self, count, first):
        """The sentence for slices that are both trained on and tested on."""
        return (
            f"{super().in_both(count, first)} Change data.train_folder, data.train_volumes or "
            "data.train_slices, or those of the test."
        )

    def shared(self):
        """Sentences on what training and test share, see `tfvn.data.format.Format.shared`."""
        trained = set(map(os.path.realpath, self._paths("train")))
        tested = list(map(os.path.realpath, self._paths("test")))
        both = [os.path.basename(path) for path in tested if path in trained]
        if not both:
            return []
        return [
            f"{len(both)} of {len(tested)} volumes to test on are trained on too, in other slices "
            f"({both[0]} is the first). Slices of one volume are alike: errors on others will be "
            "larger."
        ]
