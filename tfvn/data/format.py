"""A format of data: what the section `data` of a configuration makes. It gives the sources."""

import functools
from typing import NamedTuple

from tfvn import checks
from tfvn.data.maps import MAPS
from tfvn.data.mask_choice import Measured

__all__ = ["Format", "OneSlice"]


class OneSlice(NamedTuple):
    """One slice as `tfvn.data.check` reads it, so that a missing file hides no other slice.

    Args:
        open: a function without arguments that returns a source which holds the slice.
        index: of the slice in that source.
        files: the paths that it is read from, a tuple; () if there are none. A slice of the same
            files and the same index is the same one.
        holds_arrays: whether the files can be read as arrays, one by one.
    """

    open: object
    index: int
    files: tuple
    holds_arrays: bool = True


class Format:
    """What a configuration says of the data: the base class of the formats.

    The keywords of a constructor are the keys of the section `data`. It checks their values, and
    reads no file. A format defines `source(split)`. It may define the rest.

    Args:
        readout_oversampling: the image is the central half of the readout (height).
        mask: a `tfvn.data.mask_choice.Mask`; None: what was measured.

    Attributes:
        has_files: whether the slices lie in files, which are checked before a training.
        splits_share: whether training and test may hold the same slice.
        holds_volumes: whether slices are those of volumes, of which errors are told too.
        estimates_maps: whether coil maps are estimated, so that there is a choice of how.
        training_keys: the keywords that decide what is trained on, and nothing else.
    """

    has_files = True
    splits_share = False
    holds_volumes = False
    estimates_maps = False
    training_keys = ()

    def __init__(self, readout_oversampling=False, mask=None):
        self.readout_oversampling = checks.flag("readout_oversampling", readout_oversampling)
        self.mask = mask or Measured()

    def check_maps(self, name):
        """Checks the name of the way in which coil maps are estimated, of `tfvn.data.maps.MAPS`.

        Raises:
            ValueError: if maps are estimated in no way, and it is not the default.
        """
        default = next(iter(MAPS))
        if not self.estimates_maps and name != default:
            raise ValueError(
                f"data.maps must be {default}, as data of this format have maps and none are "
                f"estimated. Received: data.maps={name}"
            )

    def source(self, split):
        """The source of the slices of a split.

        Args:
            split: 'train' or 'test'.

        Returns:
            A `tfvn.data.source.Source`.

        Raises:
            ValueError: for missing files or values that make no data.
        """
        raise NotImplementedError

    def kspace_size(self):
        """(height, width) of every k-space; None where only the files tell it."""

    def locate_mask(self, path):
        """The path of the mask's file where a configuration names it as `path`."""
        return path

    def read_mask(self):
        """The mask, see `tfvn.data.mask_choice.Mask.read`."""
        return self.mask.read(self.locate_mask)

    def mask_file(self):
        """The path of the mask's file, '' if the mask comes from none."""
        return self.mask.file(self.locate_mask)

    def parts(self, split):
        """The slices of a split one by one, a list of `OneSlice`, for `tfvn.data.check`."""
        count = len(self.source(split))
        read = functools.partial(self.source, split)
        return [OneSlice(read, index, ()) for index in range(count)]

    def identities(self, split):
        """What names each slice in its files, a list of tuples; [] if slices have no files."""
        del split
        return []

    def in_both(self, count, first):
        """The sentence for slices that are both trained on and tested on.

        Args:
            count: how many there are.
            first: a file of the first one.
        """
        return (
            f"slices to test on must not be trained on. Received: {count} in both, the first one "
            f"{first}."
        )

    def shared(self):
        """Sentences on what training and test share, and may, a list."""
        return []
