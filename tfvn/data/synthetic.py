"""Synthetic multi-coil knee slices: an anatomy seen by receiver loops, with receiver noise.

The anatomy is that of `tfvn.data.anatomy`.

A coil is a circular current loop on a ring round the leg. Its sensitivity is the field transverse
to the main field, which runs along the rows as in a supine knee: B_x - i B_depth, by Biot-Savart
B(r) = sum dl x (r - p) / |r - p|^3 over the loop's segments dl at p. With u the anatomy, B_c the
fields and R = sqrt(sum_c |B_c|^2), coil c sees S_c (R u) with the maps S_c = B_c / R of unit
root-sum-of-squares: R u is the image to be reconstructed, R its receive shading.
"""

import functools

import numpy as np
from scipy.interpolate import make_interp_spline

from tfvn import ranges
from tfvn.checks import number, whole
from tfvn.data.anatomy import knee_slice
from tfvn.data.drawing import axes
from tfvn.data.format import Format
from tfvn.data.sample import Sample, combine, fft2c, image_rows, mask_array, mask_digest
from tfvn.data.source import Source

__all__ = ["SyntheticFormat", "SyntheticKnee", "coil_maps"]

# The synthetic sets are fixed: runs with different seeds train and are compared on the same slices.
_SEEDS = {"train": 0, "test": 1}
# Larger ones are slips.
_MOST_PIXELS, _MOST_COILS = 2**14, 1024
_LOOP_SEGMENTS = 16
# The fields are smooth inside the rings: cubic splines on a coarse grid give them to 0.2 % of their
# maximum.
_COARSE_NODES = 32


@functools.lru_cache(maxsize=16)
def _spline(size):
    """A matrix (size, _COARSE_NODES), from values on coarse nodes to their interpolation."""
    nodes = np.linspace(0, size - 1, _COARSE_NODES)
    spline = make_interp_spline(nodes, np.eye(_COARSE_NODES), k=3)
    return spline(np.arange(size)).astype(np.float32)


def coil_maps(num_coils, height, width, seed):
    """Receive fields of loops round the object, outside the field of view.

    Args:
        num_coils: loops, on one ring (up to 5 coils) or more.
        height, width: pixels, at least 16 each.
        seed: a whole number >= 0 or a sequence of them: small differences of position and a phase
            for each coil.

    Returns:
        complex64 (num_coils, height, width), scaled to a mean root-sum-of-squares of 1; not
        normalised pixel by pixel.

    Raises:
        ValueError: for less than one coil or a side below 16 pixels.
    """
    num_coils = whole("num_coils", num_coils, least=1)
    y, x, _ = axes(height, width)
    rng = np.random.default_rng([1, *np.atleast_1d(seed).tolist()])
    points, lengths = _loops(num_coils, max(-x[0], -y[0] / 2), rng)
    # Axes of the sums: coil, segment, coarse row, coarse column. The image plane has depth 0.
    px, depth, pz = (p[..., None, None] for p in np.moveaxis(points, -1, 0))
    lx, ld, lz = (p[..., None, None] for p in np.moveaxis(lengths, -1, 0))
    rx = np.linspace(x[0], x[-1], _COARSE_NODES) - px
    rz = np.linspace(y[0], y[-1], _COARSE_NODES)[:, None] - pz
    inverse_cube = (rx**2 + depth**2 + rz**2) ** -1.5
    in_plane = ((ld * rz + lz * depth) * inverse_cube).sum(1)
    in_depth = ((lz * rx - lx * rz) * inverse_cube).sum(1)
    field = in_plane - 1j * in_depth
    field *= np.exp(1j * rng.uniform(0, 2 * np.pi, (num_coils, 1, 1)))
    field /= np.sqrt((np.abs(field) ** 2).sum(0)).mean()
    rows, columns = _spline(height), _spline(width)
    return rows @ field.astype(np.complex64) @ columns.T


def _loops(num_coils, extent, rng):
    """The segments of the loops.

    Returns:
        Their centres and the segments themselves, (coils, segments, 3) each, in (x, depth, z).
    """
    num_rings = max(1, round(np.sqrt(num_coils / 2)))
    rings = np.array_split(np.arange(num_coils), num_rings)
    sizes = [len(ring) for ring in rings]
    # Every other ring is turned by half of the distance of two coils.
    index = np.concatenate([np.arange(size) + 0.5 * (n % 2) for n, size in enumerate(sizes)])
    per_ring = np.repeat(sizes, sizes)
    angle = 2 * np.pi * (index + rng.uniform(-0.08, 0.08, num_coils)) / per_ring
    angle = angle + rng.uniform(0, 2 * np.pi)
    level = (np.repeat(np.arange(num_rings), sizes) - (num_rings - 1) / 2) * 1.5 / num_rings
    level = extent * (level + rng.uniform(-0.04, 0.04, num_coils))
    distance = extent * rng.uniform(1.30, 1.40, num_coils)
    radius = extent * min(0.7, 1.2 * np.pi / per_ring.max())
    outward = np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)
    tangent = np.stack([-np.sin(angle), np.cos(angle), 0 * angle], -1)
    centre = distance[:, None] * outward + level[:, None] * [0, 0, 1]
    turn = 2 * np.pi * np.arange(_LOOP_SEGMENTS) / _LOOP_SEGMENTS
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    along = tangent[:, None]
    up = np.array([0.0, 0.0, 1.0])
    points = centre[:, None] + radius * (cos * along + sin * up)
    return points, radius * (cos * up - sin * along)


class SyntheticKnee(Source):
    """A source of `num_slices` synthetic slices; slice i depends on (seed, i) and the sizes only.

    Args:
        num_slices: length of the source.
        height, width, num_coils: of the k-space; with readout oversampling the anatomy fills the
            central half of the height.
        mask: 0/1 array (width,) or (height, width), or a function of the width; None for all
            samples.
        receiver_noise: standard deviation of each real component of the k-space noise, relative to
            the largest value of the coil-combined image.
        seed: a whole number >= 0.
        readout_oversampling: see `tfvn.physics.sense.Sense`.
        blur, detail: see `tfvn.data.anatomy.knee_slice`.

    Raises:
        ValueError: for sizes or a mask that make no slice.
    """

    maps_origin = "those that the slices were made with"

    def __init__(
        self,
        num_slices,
        height,
        width,
        num_coils,
        mask,
        receiver_noise,
        seed,
        readout_oversampling=False,
        blur=0.0,
        detail=1.0,
    ):
        self._num_slices = whole("num_slices", num_slices, 1)
        num_coils = whole("num_coils", num_coils, 1)
        self._receiver_noise = number("receiver_noise", receiver_noise, 0)
        self._seed = whole("seed", seed, 0)
        self._blur = number("blur", blur, 0)
        self._detail = number("detail", detail, 0)
        height = whole("height", height, 16)
        width = whole("width", width, 16)
        self._shape = (num_coils, height, width)
        self.readout_oversampling = readout_oversampling
        self._rows = image_rows(height, readout_oversampling)
        axes(self._rows.stop - self._rows.start, width)
        if mask is None:
            mask = np.ones(width)
        self._mask = mask_array(mask, height, width)
        self.mask_height = self._mask.shape[1]

    def __len__(self):
        return self._num_slices

    def name(self, index):
        return f"synthetic-{index:04d}"

    def patient(self, index):
        """What tells the patient of a slice from others: each slice is of another knee."""
        return self.name(index)

    def shape(self, index):
        """(coils, height, width) of a slice, known without making it."""
        del index  # all are equal
        return self._shape

    def fingerprint(self, index):
        """What a slice is made of: settings and no files, see `tfvn.data.prepared`."""
        settings = dict(
            source="synthetic",
            shape=self._shape,
            mask=mask_digest(self._mask),
            receiver_noise=self._receiver_noise,
            seed=self._seed,
            index=index,
            blur=self._blur,
            detail=self._detail,
            readout_oversampling=self.readout_oversampling,
        )
        return settings, []

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(
                f"the source holds slices 0 to {len(self) - 1}. Received: index={index}"
            )
        num_coils, height, width = self._shape
        rows, key = self._rows, (self._seed, index)
        fields = coil_maps(num_coils, height, width, key)
        shading = np.sqrt((fields.real**2 + fields.imag**2).sum(0))
        image = np.zeros((height, width), np.complex64)
        knee = knee_slice(rows.stop - rows.start, width, key, self._blur, self._detail)
        image[rows] = knee * shading[rows]
        maps = fields / shading
        deviation = np.float32(self._receiver_noise * np.abs(image).max())
        noise = np.random.default_rng([2, *key]).standard_normal(
            (num_coils, height, 2 * width), np.float32
        )
        # F is unitary: white noise in k-space is white noise in the coil images, which saves a
        # transform.
        coil_images = maps * image + deviation * noise.view(np.complex64)
        reference = combine(coil_images, maps, self.readout_oversampling)
        return Sample(fft2c(coil_images) * self._mask, maps, self._mask, reference)


class SyntheticFormat(Format):
    """Synthetic knee slices, the same ones in every run.

    Args:
        height: rows of the slice.
        width: columns of the slice.
        num_coils: receiver coils.
        receiver_noise: deviation of the k-space noise, relative to the largest image value.
        num_train: training slices.
        num_test: test slices.
        readout_oversampling: the image is the central half of the readout (height).
        blur: deviation of a Gaussian that smooths the anatomy, in pixels; 0: none does.
        detail: strength of the fine random texture in the tissues; 0: they have none.
        mask: a `tfvn.data.mask_choice.Mask`; None: all samples.

    Raises:
        ValueError: for values outside their limits.
    """

    has_files = False
    training_keys = ("num_train",)

    def __init__(
        self,
        height=640,
        width=368,
        num_coils=15,
        receiver_noise=0.002,
        num_train=200,
        num_test=10,
        readout_oversampling=False,
        blur=0.0,
        detail=1.0,
        mask=None,
    ):
        super().__init__(readout_oversampling, mask)
        self.height = whole("height", height, 16, most=_MOST_PIXELS)
        self.width = whole("width", width, 16, most=_MOST_PIXELS)
        self.num_coils = whole("num_coils", num_coils, 1, most=_MOST_COILS)
        self.receiver_noise = number("receiver_noise", receiver_noise, 0)
        self.blur = number("blur", blur, 0)
        self.detail = number("detail", detail, 0)
        self._counts = {
            "train": whole("num_train", num_train, 1, most=ranges.MOST),
            "test": whole("num_test", num_test, 1, most=ranges.MOST),
        }

    def kspace_size(self):
        """(height, width) of every k-space."""
        return self.height, self.width

    def source(self, split):
        """The slices of a split, see `tfvn.data.format.Format.source`."""
        mask = self.read_mask()
        path = self.mask_file()
        if path:
            try:
                mask_array(mask, self.height, self.width)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
        return SyntheticKnee(
            self._counts[split],
            self.height,
            self.width,
            self.num_coils,
            mask,
            self.receiver_noise,
            _SEEDS[split],
            readout_oversampling=self.readout_oversampling,
            blur=self.blur,
            detail=self.detail,
        )
