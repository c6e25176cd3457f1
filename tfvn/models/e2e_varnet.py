"""The end-to-end variational network: gradient steps on k-space with a U-Net in each.

    k_{t+1} = k_t - w_t M (k_t - k) - F S R_t(S^H F^H k_t),    k_0 = k

for t = 0..num_cascades-1, with S u = (S_c u)_c and S^H z = sum_c conj(S_c) z_c. R_t is a U-Net of
its own on the two channels of an image. Each channel is standardised before it and put back
afterwards. The image lies among zeros that make its sizes multiples of 16.

Here the steps are taken in the image domain, with z = F^H k and the projection P = F^H M F:

    z_{t+1} = z_t - w_t (P z_t - z_0) - S R_t(S^H z_t),        z_0 = F^H k

These are the same numbers. For a mask of whole lines P needs a transform along the lines alone.

Sriram et al., End-to-End Variational Networks for Accelerated MRI Reconstruction, MICCAI 2020,
equations 7 to 9; sizes and normalisation as in fastMRI.

The maps S are given, or found by the network from the centre lines C k of the same data:

    z = F^H C k,    S_c = R(z_c) / sqrt(sum_c |R(z_c)|^2)

Then whatever changes the data changes the maps. The maps of the inputs only say where a change of
the image goes: of k + A r the A has those.

With given maps the answer is S^H z_T. Maps that were found have phases of their own, so then it is
the root of the sum of squares sqrt(sum_c |z_c|^2), which is real, as in fastMRI. Both are compared
with the magnitude of the reference, S^H F^H k of all lines. The root of the sum of squares is equal
to it where the coils see S_c u and the maps have unit root-sum-of-squares, and otherwise larger: in
the background it keeps the noise of all coils.
"""

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.models.base import EPSILON, Reconstructor
from tfvn.models.features import as_channels, as_complex, as_image
from tfvn.models.unet_layers import TINY, UNetLayers, check_size, count_weights, standardised
from tfvn.physics.fourier import ifft2c
from tfvn.physics.sense import unshifted
from tfvn.shapes import static_or_dynamic_shape

__all__ = ["E2EVarNet", "NormUNet", "centre_lines", "sampled_only"]

# Where more cascades are asked for, a digit has slipped in.
_MOST_CASCADES = 256
# Images are padded to multiples of it.
_MULTIPLE = 16


def _around(size):
    """The zeros before and after a size that make it a multiple of 16."""
    missing = -size % _MULTIPLE
    return [missing // 2, missing - missing // 2]


@keras.utils.register_keras_serializable(package="tfvn")
class NormUNet(keras.layers.Layer):
    """R: the U-Net on a complex image, standardised and padded.

    Args:
        channels, pools, seed: of `UNetLayers`.

    Call arguments:
        image: complex (batch, rows, width). Returns an image of this shape.
    """

    def __init__(self, channels=8, pools=3, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.network = UNetLayers(2, 2, channels, pools, seed, name="unet", dtype=self.dtype)
        self.built = True

    def get_config(self):
        own = {name: getattr(self.network, name) for name in ("channels", "pools", "seed")}
        return {**super().get_config(), **own}

    def call(self, image):
        features, mean, deviation = standardised(as_channels(image))
        _, rows, width, _ = static_or_dynamic_shape(features)
        above, left = _around(rows), _around(width)
        features = self.network(tf.pad(features, [[0, 0], above, left, [0, 0]]))
        features = features[:, above[0] : above[0] + rows, left[0] : left[0] + width]
        return as_image(mean + deviation * features)


def sampled_only(coil_images, mask):
    """P coil_images = F^H M F coil_images, which is its own adjoint.

    Args:
        coil_images: complex (batch, coils, height, width).
        mask: real, broadcastable to them.
    """
    # A circular convolution: it commutes with the shifts of F, and the scalings cancel.
    transform, inverse, axes = tf.signal.fft2d, tf.signal.ifft2d, (-2, -1)
    if mask.shape[-2] == 1:
        transform, inverse, axes = tf.signal.fft, tf.signal.ifft, (-1,)
    weights = unshifted(mask, coil_images.dtype, axes)

    @tf.custom_gradient
    def projected(images):
        return inverse(weights * transform(images)), projected

    return projected(coil_images)


def centre_lines(mask, count=0):
    """Which lines the maps are found from, real (batch, 1, 1, width) of zeros and ones.

    Args:
        mask: real (batch, 1, 1, width) or (batch, 1, height, width). Of the latter those lines are
            sampled that are so in every row.
        count: of the lines; 0: as many as are sampled around the middle without a gap, as many on
            one side as on the other.
    """
    lines = tf.cast(tf.reduce_min(mask, -2, keepdims=True) > 0, mask.dtype)
    width = static_or_dynamic_shape(lines)[-1]
    middle = width // 2
    # The product ends at the first gap.
    before = tf.reduce_sum(tf.math.cumprod(lines[..., :middle][..., ::-1], -1), -1, keepdims=True)
    after = tf.reduce_sum(tf.math.cumprod(lines[..., middle:], -1), -1, keepdims=True)
    found = tf.cast(tf.maximum(2 * tf.minimum(before, after), 1), tf.int32)
    if count:
        found = tf.fill(tf.shape(found), count)
    first = (width - found + 1) // 2
    column = tf.range(width)
    return tf.cast((column >= first) & (column < first + found), mask.dtype)


@keras.utils.register_keras_serializable(package="tfvn")
class E2EVarNet(Reconstructor):
    """The end-to-end variational network.

    Args:
        num_cascades: steps, each with a U-Net of its own.
        channels: of the first level of such a U-Net; each next one has twice as many.
        pools: how often it halves the image.
        sensitivity_channels: as `channels`, of the U-Net that finds the maps; 0: maps are given.
        sensitivity_pools: as `pools`, of the U-Net that finds the maps.
        center_lines: lines that the maps are found from; 0: those sampled around the middle.
        readout_oversampling: the image is the central half of the readout (height).
        seed: of the initial weights.

    Raises:
        ValueError: for settings outside their ranges.
    """

    reads = "kspace"
    _NOT_OF_ARCHITECTURE = ("name", "seed")

    def __init__(
        self,
        num_cascades=6,
        channels=8,
        pools=3,
        sensitivity_channels=0,
        sensitivity_pools=4,
        center_lines=0,
        readout_oversampling=False,
        seed=0,
        **kwargs,
    ):
        super().__init__(readout_oversampling, **kwargs)
        num_cascades = checks.whole("num_cascades", num_cascades, 1, most=_MOST_CASCADES)
        self.channels = checks.whole("channels", channels, 1)
        self.pools = checks.whole("pools", pools, 1, most=4)
        self.sensitivity_channels = checks.whole("sensitivity_channels", sensitivity_channels, 0)
        self.sensitivity_pools = checks.whole("sensitivity_pools", sensitivity_pools, 1, most=4)
        self.center_lines = checks.whole("center_lines", center_lines, 0)
        self.seed = checks.whole("seed", seed)
        self._check_size(num_cascades)
        self.cascades = []
        self.data_weights = []
        for number in range(num_cascades):
            self.cascades.append(self._unet(self.channels, self.pools, number))
            weight = self.add_weight(name=f"data_weight_{number}", shape=(), initializer="ones")
            self.data_weights.append(weight)
        self.sensitivity_network = None
        if self.sensitivity_channels:
            sizes = (self.sensitivity_channels, self.sensitivity_pools)
            self.sensitivity_network = self._unet(*sizes, _MOST_CASCADES)
        self.built = True

    @property
    def has_phase(self):
        return self.sensitivity_network is None

    def _check_size(self, num_cascades):
        count = num_cascades * count_weights(2, 2, self.channels, self.pools)
        if self.sensitivity_channels:
            count += count_weights(2, 2, self.sensitivity_channels, self.sensitivity_pools)
        names = ("channels", "pools", "sensitivity_channels")
        settings = {name: getattr(self, name) for name in names}
        check_size(count, num_cascades=num_cascades, **settings)

    def _unet(self, channels, pools, number):
        # A U-Net has fewer than a hundred seeds of its own.
        seed = self.seed * 100_000 + 100 * number
        return NormUNet(channels, pools, seed, name=f"unet_{number}", dtype=self.dtype)

    def get_config(self):
        names = ("channels", "pools", "sensitivity_channels", "sensitivity_pools", "center_lines")
        return {
            **super().get_config(),
            "num_cascades": len(self.cascades),
            **{name: getattr(self, name) for name in names},
            "seed": self.seed,
        }

    def call(self, inputs):
        mask = inputs["mask"]
        sampled = tf.cast(mask > 0, inputs["kspace"].dtype)
        kspace = sampled * inputs["kspace"]
        maps = inputs["sensitivity_maps"]
        if self.sensitivity_network is not None:
            maps = self.found_maps(kspace, mask)
        measured = coil_images = ifft2c(kspace)
        for network, weight in zip(self.cascades, self.data_weights):
            weight = as_complex(tf.convert_to_tensor(weight))
            residual = sampled_only(coil_images, mask) - measured
            learned = self._expanded(network(self._combined(coil_images, maps)), maps)
            coil_images = coil_images - weight * residual - learned
        if self.sensitivity_network is not None:
            return self._root_sum_of_squares(coil_images)
        return self._combined(coil_images, maps)

    def memory_per_image(self, shape):
        """About the bytes that an image of (batch, coils, height, width) takes in a gradient pass:
        what the networks keep, and six arrays of coils. Where maps are found, their network keeps
        as much for each coil, and every cascade keeps two arrays of coils.
        """
        _, coils, height, width = shape
        count = len(self.cascades)
        numbers = self.cascades[0].network.numbers_kept(count) + 12 * coils
        if self.sensitivity_network is not None:
            numbers += coils * self.sensitivity_network.network.numbers_kept(1)
            numbers += 4 * coils * count
        return tf.as_dtype(self.dtype).size * height * width * numbers

    def found_maps(self, kspace, mask):
        """The maps that the network finds, complex (batch, coils, height, width).

        Args:
            kspace, mask: of the measurement.
        """
        lines = tf.cast(centre_lines(mask, self.center_lines), kspace.dtype)
        batch, coils, height, width = static_or_dynamic_shape(kspace)
        images = tf.reshape(ifft2c(lines * kspace), [batch * coils, height, width])
        maps = self.sensitivity_network(images)
        maps = tf.reshape(maps, [batch, coils, height, width])
        squares = tf.reduce_sum(tf.math.real(maps * tf.math.conj(maps)), 1, keepdims=True)
        return maps * as_complex(tf.math.rsqrt(squares + TINY))

    def _combined(self, coil_images, maps):
        return self.sense.crop_readout(tf.reduce_sum(tf.math.conj(maps) * coil_images, 1))

    def _expanded(self, image, maps):
        return maps * self.sense.pad_readout(image, maps)[:, None]

    def _root_sum_of_squares(self, coil_images):
        coil_images = self.sense.crop_readout(coil_images)
        squares = tf.square(tf.math.real(coil_images)) + tf.square(tf.math.imag(coil_images))
        image = tf.sqrt(tf.reduce_sum(squares, 1) + EPSILON)
        return as_complex(image)
