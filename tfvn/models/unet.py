"""The U-Net as a reconstruction: an image network that corrects the zero-filled image and knows
neither coils nor k-space.

    f(k) = u + s N((u - m) / s),    u = A^H k

N is the U-Net of `tfvn.models.unet_layers` on the two channels of the complex image, m is the mean
of u over its pixels, and s^2 the mean of |u - m|^2 / 2: one deviation for both channels, so that
phases are kept. A measurement t times as strong gives an image t times as strong.

With `image="magnitude"` it is the U-Net of fastMRI (Zbontar et al., arXiv 1811.08839), in which N
has one channel and no residual:

    f(k) = m + s N(clip((v - m) / s)),    v = |A^H k|

Here m and s are the mean and the deviation of v, the latter with one pixel less in its divisor, and
`clip` cuts what is beyond `clamp`. The image is real. Where it is negative, its magnitude is taken
like that of any image.
"""

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.models.base import Reconstructor, magnitude
from tfvn.models.features import as_channels, as_complex, as_image
from tfvn.models.unet_layers import TINY, UNetLayers, standardised

__all__ = ["UNet"]

_IMAGES = ("complex", "magnitude")


@keras.utils.register_keras_serializable(package="tfvn")
class UNet(Reconstructor):
    """The U-Net between the zero-filled image and the reconstruction.

    Args:
        channels: of the first level; each next one has twice as many.
        pools: how often the image is halved.
        image: what the network sees, "complex" or, as in fastMRI, "magnitude".
        clamp: of a magnitude image, in deviations: what is beyond is cut; 0: nothing is cut.
        readout_oversampling: the image is the central half of the readout (height).
        seed: of the initial weights.

    Raises:
        ValueError: for settings outside their ranges, and for an image that cannot be halved so
            often.
    """

    _NOT_OF_ARCHITECTURE = ("name", "seed")

    def __init__(
        self,
        channels=16,
        pools=4,
        image="complex",
        clamp=0.0,
        readout_oversampling=False,
        seed=0,
        **kwargs,
    ):
        super().__init__(readout_oversampling, **kwargs)
        self.image = checks.choice("image", image, _IMAGES)
        self.clamp = checks.number("clamp", clamp, 0, limit=checks.LIMIT)
        self.seed = checks.whole("seed", seed)
        size = 1 + (self.image == "complex")
        self.network = UNetLayers(
            size, size, channels, pools, self.seed * 1000, name="unet", dtype=self.dtype
        )
        self.built = True

    @property
    def has_phase(self):
        return self.image == "complex"

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.network.channels,
            "pools": self.network.pools,
            "image": self.image,
            "clamp": self.clamp,
            "seed": self.seed,
        }

    def call(self, inputs):
        image = inputs["zero_filled"]
        if self.image == "complex":
            return image + as_image(self._correction(as_channels(image)))
        result = self._magnitude(magnitude(image)[..., None])[..., 0]
        return as_complex(result)

    def memory_per_image(self, shape):
        """About the bytes that an image of (batch, coils, height, width) takes in a gradient pass:
        what the network keeps, and an array of coils.
        """
        _, coils, height, width = shape
        numbers = self.network.numbers_kept(1) + 2 * coils
        return tf.as_dtype(self.dtype).size * height * width * numbers

    def _correction(self, features):
        features = features - tf.reduce_mean(features, [1, 2], keepdims=True)
        variance = tf.reduce_mean(tf.square(features), [1, 2, 3], keepdims=True)
        deviation = tf.sqrt(variance + TINY)
        return deviation * self.network(features / deviation)

    def _magnitude(self, features):
        features, mean, deviation = standardised(features)
        if self.clamp:
            features = tf.clip_by_value(features, -self.clamp, self.clamp)
        return mean + deviation * self.network(features)
