"""What every format of data has: slices, and what is known of them before they are read."""

import functools
from typing import NamedTuple

import numpy as np

from tfvn.data.array_files import read_array
from tfvn.data.sample import check_mask
from tfvn.physics import masks

__all__ = ["Part", "Source", "needed"]


class Part(NamedTuple):
    """One slice as `tfvn.data.check` reads it, so that a missing file hides no other slice.

    Args:
        config: a configuration whose source holds the slice.
        index: of the slice in that source.
        files: the paths that it is read from, a tuple; () if there are none.
    """

    config: object
    index: int
    files: tuple


class Source:
    """A source of multi-coil slices: the base class of the formats.

    A format defines `from_config`, `len(source)`, `source.name(index)`, `source.shape(index)`,
    (coils, height, width), `source.fingerprint(index)`, see `tfvn.data.prepared`, and
    `source[index]`, a `tfvn.data.sample.Sample` that is not normalised. It may define the rest.

    Attributes:
        readout_oversampling: whether images are the central half of the height.
        mask_height: 1 where all masks are constant along the height, None if that is not known.
        maps_origin: where the coil maps come from, in words.
        splits_share: whether training and test may hold the same slice.
    """

    readout_oversampling = False
    mask_height = None
    maps_origin = "from the data"
    splits_share = False

    @classmethod
    def from_config(cls, config, split):
        """The source that a configuration describes.

        Args:
            config: a `tfvn.config.Config`.
            split: 'train' or 'test'.

        Raises:
            ValueError: for missing files or values that make no data.
        """
        raise NotImplementedError

    def doubts(self, index):
        """The texts of the warnings of a slice that was read."""
        del index  # There are none.
        return []

    @classmethod
    def mask_of(cls, config):
        """The mask that a configuration asks for.

        Returns:
            A function of the width, an array, or None for what was measured.

        Raises:
            ValueError: naming the mask's file, if it cannot be read or holds no mask.
        """
        if config.mask == "measured":
            return None
        if config.mask == "file":
            return _mask_of_file(cls.mask_file(config), config.mask_array)
        if config.mask == "constant":
            return functools.partial(masks.constant, fraction=config.mask_fraction)
        options = dict(acceleration=config.acceleration, center_fraction=config.center_fraction)
        if config.mask == "equispaced":
            return functools.partial(masks.equispaced, **options)
        return functools.partial(masks.random, **options, seed=config.mask_seed)

    @classmethod
    def mask_file(cls, config):
        """The path of the mask's file, '' if the mask comes from none.

        Raises:
            ValueError: if the configuration does not name it.
        """
        if config.mask != "file":
            return ""
        return needed(config, "mask_path", "the mask's file (vlo: its name)")

    @classmethod
    def parts(cls, config, split):
        """The slices of a split one by one, a list of `Part`, for `tfvn.data.check`."""
        return [Part(config, index, ()) for index in range(len(cls.from_config(config, split)))]

    @classmethod
    def identities(cls, config, split):
        """What names each slice in its files, a list of tuples; [] if slices have no files."""
        del config, split
        return []

    @classmethod
    def in_both(cls, config, count, first):
        """The sentence for slices that are both trained on and tested on.

        Args:
            config: a `tfvn.config.Config`.
            count: how many there are.
            first: a file of the first one.
        """
        del config
        return (
            f"slices to test on must not be trained on. Received: {count} in both, the first one "
            f"{first}."
        )

    @classmethod
    def shared(cls, config):
        """Sentences on what training and test share, and may, a list."""
        del config
        return []


def needed(config, key, meaning):
    """The value of a setting that must be given.

    Raises:
        ValueError: if it is empty.
    """
    value = getattr(config, key)
    if not value:
        raise ValueError(f"dataset {config.dataset} needs {key}, {meaning}. Received: {key}=''")
    return value


def _mask_of_file(path, array):
    """The mask of a file; an error names it, and not the scan that it is for."""
    mask = np.squeeze(read_array(path, ("mask",), array, "mask_array (--mask-array)"))
    try:
        if mask.ndim not in (1, 2):
            raise ValueError(
                "the mask must have shape (width,) or (height, width). Received:"
                f" mask.shape={mask.shape}"
            )
        check_mask(mask)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return mask
