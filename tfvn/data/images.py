"""Real magnitude images, simulated coils: multi-coil k-space where only images are at hand.

With m a magnitude image, p a smooth phase, S_c coil maps and n_c white noise, coil c measures

    k_c = F (S_c m exp(i p) + n_c).

Maps have unit root-sum-of-squares. Phase, maps and noise are keyed by a seed and the number of the
slice. No such data are measured: an error on them says little about a scanner. The shading of coils
and the phase of the magnitude itself are not undone.
"""

import functools
import os
from typing import NamedTuple

import numpy as np

from tfvn import checks, ranges
from tfvn.data import image_files
from tfvn.data.anatomy import smooth_phase
from tfvn.data.axes import BY_RULE
from tfvn.data.format import Format, OneSlice
from tfvn.data.sample import (
    Sample,
    combine,
    fft2c,
    image_rows,
    mask_array,
    mask_digest,
    mask_height,
)
from tfvn.data.scan_file import arrange, open_maps
from tfvn.data.source import Source
from tfvn.data.synthetic import coil_maps
from tfvn.files import state

__all__ = ["Coils", "ImageSlices", "ImagesFormat"]

_MOST_COILS, _MOST_PIXELS = 1024, 2**14
_EXAMPLES = "numbers such as '0-79' or '0,3', or '' for all"


class Coils(NamedTuple):
    """What sees the images.

    Args:
        number: of simulated coils.
        path: a file of coil maps that take the place of simulated ones; '': none.
        array: their name in that file; '' for the only one.
        noise: standard deviation of each real component of the k-space noise, relative to the
            largest value of the image.
        seed: of phases, simulated coils and noise.
    """

    number: int = 8
    path: str = ""
    array: str = ""
    noise: float = 0.002
    seed: int = 0


class ImagesFormat(Format):
    """Real magnitude images, simulated coils: .npz, .npy, NIfTI or DICOM.

    Args:
        path: a file of images, or a folder of files.
        array: name of the images in a .npz file; empty: images, volume or the only one.
        slice_axis: axis that counts the slices; -1: the last of NIfTI, the first of others.
        train_slices: which slices to train on, from 0, counted through all files; empty: all.
        test_slices: which slices to attack and evaluate.
        height: rows; images are cut or filled with zeros to so many; 0: as they are.
        width: the same of columns.
        num_coils: simulated receiver coils.
        sensitivity_path: file of coil maps in place of simulated ones; empty: none.
        sensitivity_array: name of the maps in their file; empty: the only one.
        receiver_noise: deviation of the k-space noise, relative to the largest image value.
        seed: of the phases, the simulated coils and the noise.
        readout_oversampling: the image is the central half of the readout (height).
        mask: a `tfvn.data.mask_choice.Mask`; None: all samples.

    Raises:
        ValueError: for values outside their limits.
    """

    training_keys = ("train_slices",)

    def __init__(
        self,
        path="",
        array="",
        slice_axis=-1,
        train_slices="",
        test_slices="",
        height=0,
        width=0,
        num_coils=8,
        sensitivity_path="",
        sensitivity_array="",
        receiver_noise=0.002,
        seed=0,
        readout_oversampling=False,
        mask=None,
    ):
        super().__init__(readout_oversampling, mask)
        self.path = path
        self.array = array
        self.slice_axis = checks.whole("slice_axis", slice_axis, -1, most=2)
        self.size = (
            checks.whole("height", height, 0, most=_MOST_PIXELS),
            checks.whole("width", width, 0, most=_MOST_PIXELS),
        )
        self.coils = Coils(
            checks.whole("num_coils", num_coils, 1, most=_MOST_COILS),
            sensitivity_path,
            sensitivity_array,
            checks.number("receiver_noise", receiver_noise, 0),
            checks.whole("seed", seed, 0),
        )
        self._chosen = {"train": train_slices, "test": test_slices}
        for split, text in self._chosen.items():
            if text != "":
                ranges.check(f"{split}_slices", text, _EXAMPLES)

    def source(self, split):
        """The slices of a split, see `tfvn.data.format.Format.source`."""
        return self._source_of(self._slices(split))

    def _source_of(self, slices):
        return ImageSlices(
            slices, self.size, self.coils, self.read_mask(), self.readout_oversampling
        )

    def _slices(self, split):
        """(stack, number in it, number of all) of each slice of a split."""
        path = checks.needed("data.format images", "data.path", self.path, "the images")
        found = []
        for stack in image_files.stacks(path, self.array, self.slice_axis):
            found += [(stack, number) for number in range(len(stack))]
        numbers = range(len(found))
        if self._chosen[split] != "":
            numbers = ranges.numbers(self._chosen[split])
        if max(numbers) >= len(found):
            raise ValueError(
                f"data.{split}_slices must name slices of {path}, which holds {len(found)}, "
                f"counted from 0. Received: data.{split}_slices={checks.shown(self._chosen[split])}"
            )
        return [(*found[number], number) for number in numbers]

    def parts(self, split):
        """The slices of a split one by one, see `tfvn.data.format.Format.parts`."""
        parts = []
        for stack, number, of_all in self._slices(split):
            all_of_it = [(stack, n, of_all - number + n) for n in range(len(stack))]
            read = functools.partial(self._source_of, all_of_it)
            files = tuple(map(str, stack.paths))
            parts.append(OneSlice(read, number, files, holds_arrays=False))
        return parts

    def identities(self, split):
        """What names each slice, see `tfvn.data.format.Format.identities`."""
        try:
            places = self._slices(split)
        except ValueError:
            # A training elsewhere: its images are not here.
            return []
        return [(os.path.realpath(stack.paths[0]), "slice", n) for stack, n, _ in places]

    def in_both(self, count, first):
        """The sentence for slices that are both trained on and tested on."""
        return f"{super().in_both(count, first)} Change data.train_slices or data.test_slices."

    def shared(self):
        """Sentences on what training and test share, see `tfvn.data.format.Format.shared`."""
        trained = {place[2]: place[0] for place in self._slices("train")}
        beside = []
        for stack, _, number in self._slices("test"):
            around = [trained.get(number + step) for step in (-1, 1)]
            if any(other is not None and other.paths == stack.paths for other in around):
                beside.append(f"{stack.name}/slice{number}")
        if not beside:
            return []
        return [
            f"{len(beside)} slices to test on lie beside slices that are trained on, in one file "
            f"({beside[0]} is the first). Neighbours of one volume are alike: errors on others will"
            " be larger."
        ]


class ImageSlices(Source):
    """Slices of real magnitude images, simulated coils.

    Args:
        slices: a list of (`tfvn.data.image_files.Stack`, number in it, number of all).
        size: (height, width) that images are cut or filled with zeros to; 0: as they are.
        coils: the `Coils`.
        mask: as for `tfvn.data.sample.mask_array`; None: all samples.
        readout_oversampling: k-space is twice as high as the image.

    Raises:
        ValueError: when a slice is read, naming its file, if it holds no magnitudes or the maps of
            a file do not fit.
    """

    def __init__(self, slices, size, coils, mask, readout_oversampling=False):
        self._slices = list(slices)
        self._size, self._coils, self._mask = size, coils, mask
        self.readout_oversampling = readout_oversampling
        self.mask_height = 1 if mask is None else mask_height(mask)

    @property
    def maps_origin(self):
        """Where the coil maps come from, in words."""
        if self._coils.path:
            return f"from {os.path.basename(self._coils.path)} (real magnitude images, given coils)"
        return "simulated (real magnitude images, simulated coils)"

    def __len__(self):
        return len(self._slices)

    def name(self, index):
        stack, number, _ = self._slices[index]
        return f"{stack.name}/slice{number}"

    def patient(self, index):
        """What tells the patient of a slice from others: its file."""
        return str(self._slices[index][0].paths[0])

    def shape(self, index):
        """(coils, height, width) of a slice, from the header of its file."""
        stack = self._slices[index][0]
        height, width = (wanted or own for wanted, own in zip(self._size, stack.shape[1:]))
        if self.readout_oversampling:
            height *= 2
        coils = self._coils.number
        if self._coils.path:
            coils = len(self._given)
        return coils, height, width

    def fingerprint(self, index):
        """What a slice is made of: settings, and the state of its files."""
        stack, number, of_all = self._slices[index]
        # Wherever a file of maps is: its state is among those of the files.
        coils = self._coils._replace(path="")
        settings = dict(
            source="images",
            stack=stack.settings,
            number=number,
            of_all=of_all,
            size=list(self._size),
            coils=list(coils),
            mask=mask_digest(self._mask),
            readout_oversampling=self.readout_oversampling,
        )
        files = [*stack.paths, self._coils.path]
        return settings, [state(path) for path in files if path]

    def __getitem__(self, index):
        stack, number, of_all = self._slices[index]
        magnitude = _fitted(stack.image(number), self._size)
        height, width = magnitude.shape
        key = (self._coils.seed, of_all)
        image = magnitude * np.exp(1j * smooth_phase(height, width, key))
        if self.readout_oversampling:
            height *= 2
        full = np.zeros((height, width), np.complex64)
        full[image_rows(height, self.readout_oversampling)] = image
        maps = self._maps(height, width, key)
        shape = (len(maps), height, 2 * width)
        noise = np.random.default_rng([2, *key]).standard_normal(shape, np.float32)
        # F is unitary: white noise in the images is white noise in k-space.
        seen = maps * full + np.float32(self._coils.noise) * noise.view(np.complex64)
        mask = mask_array(np.ones(width) if self._mask is None else self._mask, height, width)
        reference = combine(seen, maps, self.readout_oversampling)
        return Sample(fft2c(seen) * mask, maps, mask, reference)

    @functools.cached_property
    def _given(self):
        """The maps of a file, of all slices."""
        array = open_maps(self._coils.path, self._coils.array)
        return arrange(array, self._coils.path, BY_RULE, 0, False)

    def _maps(self, height, width, key):
        """Coil maps of unit root-sum-of-squares; 0 where those of a file are 0."""
        coils = self._coils
        if not coils.path:
            maps = coil_maps(coils.number, height, width, key)
        else:
            maps = self._given
            if maps.shape[1:] != (height, width):
                raise ValueError(
                    f"{coils.path}: coil maps must have the size of k-space, {height} x {width}. "
                    f"Received: {maps.shape[1]} x {maps.shape[2]}. Set data.height and data.width."
                )
        root = np.sqrt((maps.real**2 + maps.imag**2).sum(0))
        return np.where(root > 0, maps / np.where(root > 0, root, 1), 0).astype(np.complex64)


def _fitted(image, size):
    """An image cut at its edges, or filled with zeros there; of a maximum of 1."""
    for axis, wanted in enumerate(size):
        own = image.shape[axis]
        wanted = wanted or own
        if own > wanted:
            first = own // 2 - wanted // 2
            image = image.take(range(first, first + wanted), axis)
        before = wanted // 2 - own // 2
        if own < wanted:
            around = [(0, 0), (0, 0)]
            around[axis] = (before, wanted - own - before)
            image = np.pad(image, around)
    return image / max(image.max(), np.finfo(np.float32).tiny)
