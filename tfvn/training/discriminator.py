"""The two networks that DAGAN's losses look through: one that is trained, and one that is not.

The discriminator D tells references from answers by one number. Four convolutions of 4 x 4 with a
stride of two double the channels each. A residual block of 1 x 1, 3 x 3 and 3 x 3 follows, then the
mean of a weighted sum of its channels over all places. Any size of image will do. All slopes are
leaky, 0.2.

It is smaller than that of DAGAN, which has six such convolutions, two of 1 x 1 and a dense layer
for images of 256 x 256. It has no batch normalisation, because a loss is that of one slice; one of
single images would hide their contrast.

The fixed features are those of a random network: three convolutions of 3 x 3 with the deviations of
He et al., each with a ramp, and means of 2 x 2 between them. They stand where DAGAN has the
convolutions of a VGG16 that was trained on photographs, which no package here brings along. Random
features compare edges and textures in a coarse way, and know nothing of what images show.
"""

import math

import tensorflow as tf
from tensorflow import keras

from tfvn.compat import initial_seed
from tfvn.models.same_size import correlate_same
from tfvn.models.unet_layers import leaky

__all__ = ["Discriminator", "fixed_features"]

_SLOPE = 0.2
_FEATURES = (16, 32, 64)


def _he_normal(shape, key, dtype):
    """Kernels (row, column, input, output) whose outputs are as large as their inputs."""
    deviation = math.sqrt(2 / math.prod(shape[:-1]))
    return deviation * tf.random.stateless_normal(shape, key, dtype=dtype)


def fixed_features(image, seed):
    """Random features of real images (batch, rows, width): the same ones for the same seed."""
    features = image[..., None]
    for number, outputs in enumerate(_FEATURES):
        if number:
            features = tf.nn.avg_pool2d(features, 2, 2, "SAME")
        kernel = _he_normal((3, 3, features.shape[-1], outputs), [seed, number], image.dtype)
        features = tf.nn.relu(correlate_same(features, kernel))
    return features


@keras.utils.register_keras_serializable(package="tfvn")
class Discriminator(keras.layers.Layer):
    """How much images look like references.

    Args:
        filters: channels of its first convolution.
        seed: of the initial kernels.

    Call arguments:
        image: real (batch, rows, width). Returns (batch,), the logarithm of the odds.
        held: whether the weights are constants to gradients.
    """

    def __init__(self, filters=16, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.seed = filters, seed
        self.kernels = []
        self.biases = []
        for number, shape in enumerate(self._shapes()):
            kernel = self.add_weight(
                name=f"kernel_{number}",
                shape=shape,
                initializer=keras.initializers.HeNormal(initial_seed(seed * 1000 + number)),
            )
            bias = self.add_weight(name=f"bias_{number}", shape=shape[-1:], initializer="zeros")
            self.kernels.append(kernel)
            self.biases.append(bias)
        self.built = True

    def _shapes(self):
        one, two, four, eight = (self.filters * 2**number for number in range(4))
        down = [(4, 4, 1, one), (4, 4, one, two), (4, 4, two, four), (4, 4, four, eight)]
        block = [(1, 1, eight, two), (3, 3, two, two), (3, 3, two, eight)]
        return [*down, *block, (1, 1, eight, 1)]

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "seed": self.seed}

    def call(self, image, held=False):
        pairs = []
        for pair in zip(self.kernels, self.biases):
            pair = [tf.convert_to_tensor(weight) for weight in pair]
            if held:
                pair = [tf.stop_gradient(weight) for weight in pair]
            pairs.append(pair)
        features = image[..., None]
        for pair in pairs[:4]:
            features = _leaky(_convolved(features, pair, 2))
        change = _leaky(_convolved(features, pairs[4]))
        change = _leaky(_convolved(change, pairs[5]))
        features = _leaky(features + _convolved(change, pairs[6]))
        return tf.reduce_mean(_convolved(features, pairs[7]), [1, 2, 3])


def _convolved(features, pair, stride=1):
    kernel, bias = pair
    return tf.nn.conv2d(features, kernel, stride, "SAME") + bias


def _leaky(features):
    return leaky(features, _SLOPE)
