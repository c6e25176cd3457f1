"""What is configured of the knee data: a root folder, a protocol, patients and slices."""

import functools
import itertools
import os
from typing import NamedTuple

from tfvn import checks, ranges
from tfvn.choices import PADDING_LINES
from tfvn.data.format import Format, OneSlice
from tfvn.data.vlo import VLOKnee
from tfvn.data.vlo_folder import mask_path, slice_paths

__all__ = ["VLOFormat"]

# What a message calls the texts that name them.
_PATIENTS = "patients such as '1-10' or '1,3,7'"
_SLICES = "slices such as '11-30' or '22'"
# Patients that a message names.
_MOST_PATIENTS = 5


class VLOFormat(Format):
    """The knee data of Hammernik et al. (2018), a folder of .mat files.

    Args:
        path: the root folder of the data.
        protocol: the protocol's folder below the root.
        train_patients: patients to train on.
        train_slices: slices of each patient to train on.
        test_patients: patients to attack and evaluate.
        test_slices: slices of each patient to attack and evaluate.
        padding_lines: what lines that were never measured count as: measured (zeros, as in the
            original code) | unmeasured.
        readout_oversampling: the image is the central half of the readout (height).
        mask: a `tfvn.data.mask_choice.Mask`; None: wherever k-space is not zero.

    Raises:
        ValueError: for values outside their limits.
    """

    training_keys = ("train_patients", "train_slices")

    def __init__(
        self,
        path="",
        protocol="coronal_pd_fs",
        train_patients="1-10",
        train_slices="11-30",
        test_patients="11-20",
        test_slices="22",
        padding_lines="measured",
        readout_oversampling=False,
        mask=None,
    ):
        super().__init__(readout_oversampling, mask)
        self.path = path
        self.protocol = protocol
        self.padding_lines = checks.choice("padding_lines", padding_lines, PADDING_LINES)
        self._chosen = {
            "train": _Chosen(train_patients, train_slices),
            "test": _Chosen(test_patients, test_slices),
        }
        for split, chosen in self._chosen.items():
            chosen.check(split)

    def source(self, split):
        """The slices of a split, see `tfvn.data.format.Format.source`."""
        chosen = self._chosen[split]
        return self._source_of(ranges.numbers(chosen.patients), ranges.numbers(chosen.slices))

    def _source_of(self, patients, slices):
        mask = self.read_mask()
        return VLOKnee(
            self._root(),
            self.protocol,
            patients,
            slices,
            mask,
            padding_lines=self.padding_lines,
            readout_oversampling=self.readout_oversampling,
            mask_name=self.mask_file(),
        )

    def _root(self):
        return checks.needed(
            "data.format vlo", "data.path", self.path, "the folder of the knee data"
        )

    def locate_mask(self, path):
        """The mask's file, of which a configuration names the stem."""
        return mask_path(self._root(), self.protocol, path)

    def parts(self, split):
        """The slices of a split one by one, see `tfvn.data.format.Format.parts`.

        Each has a source of its own: that of all refuses the folder for a single missing file.
        """
        root = self._root()
        if not os.path.isdir(root):
            raise ValueError(f"no such folder: {root}. Set data.path to the root of the knee data.")
        parts = []
        for patient, number in self._chosen[split].numbers():
            read = functools.partial(self._source_of, [patient], [number])
            parts.append(OneSlice(read, 0, slice_paths(root, self.protocol, patient, number)))
        return parts

    def identities(self, split):
        """What names each slice, see `tfvn.data.format.Format.identities`."""
        root = os.path.realpath(self.path)
        return [(root, self.protocol, *key) for key in self._chosen[split].numbers()]

    def in_both(self, count, first):
        """The sentence for slices that are both trained on and tested on."""
        train = self._chosen["train"]
        test = self._chosen["test"]
        return (
            f"{super().in_both(count, first)} Change "
            f"data.train_patients={train.patients!r}, data.train_slices={train.slices!r}, "
            f"data.test_patients={test.patients!r} or data.test_slices={test.slices!r}."
        )

    def shared(self):
        """Sentences on what training and test share, see `tfvn.data.format.Format.shared`."""
        tested = set(ranges.numbers(self._chosen["test"].patients))
        patients = sorted(tested & set(ranges.numbers(self._chosen["train"].patients)))
        if not patients:
            return []
        shown = [str(patient) for patient in patients[:_MOST_PATIENTS]]
        if len(patients) > _MOST_PATIENTS:
            shown.append(f"... and {len(patients) - _MOST_PATIENTS} more")
        return [
            f"{len(patients)} of {len(tested)} patients to test on are trained on too, in other "
            f"slices ({', '.join(shown)}). Slices of one patient are alike: errors on others will "
            "be larger."
        ]


class _Chosen(NamedTuple):
    """What is chosen for a split, in texts such as '1-10'. Every patient has every slice."""

    patients: str
    slices: str

    def check(self, split):
        """Checks both texts, and that patients times slices are not too many."""
        patients = ranges.check(f"{split}_patients", self.patients, _PATIENTS)
        slices = ranges.check(f"{split}_slices", self.slices, _SLICES)
        if patients.count() * slices.count() > ranges.MOST:
            raise ValueError(
                f"{split}_slices must name at most {ranges.MOST} slices of all patients together."
                f" Received: {split}_patients={checks.shown(self.patients)},"
                f" {split}_slices={checks.shown(self.slices)}"
            )

    def numbers(self):
        """(patient, slice) of each slice."""
        return itertools.product(ranges.numbers(self.patients), ranges.numbers(self.slices))
