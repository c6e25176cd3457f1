"""The network that says how much a noisy image counts among others (Weighted SMUG).

    w(u) = s(b + a . mean r C_5 r ... r C_1 u),    r(x) = max(x, 0),    s(x) = 1 / (1 + exp(-x))

The C are cross-correlations with kernels of 3 x 3 and a bias, the mean is that of each channel over
all pixels. The published network normalises its batches after each convolution. A weight would then
depend on the other images of the batch; see `tfvn.models.modl`.

Source: Li et al., IEEE JSTSP 19(7), 2025, section III; its layers are those of the published code.
"""

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.compat import initial_seed
from tfvn.models.features import as_channels
from tfvn.models.residual import KERNEL_SIZE
from tfvn.models.same_size import correlate_same

__all__ = ["MOST_CHANNELS", "Weigher"]

MOST_CHANNELS = 1024
_LAYERS = 5


@keras.utils.register_keras_serializable(package="tfvn")
class Weigher(keras.layers.Layer):
    """One weight between 0 and 1 for each complex image.

    Args:
        channels: of each convolution.
        seed: of the initial kernels.

    Call arguments:
        image: complex (batch, rows, width). Returns the weights, real (batch,).

    Raises:
        ValueError: for settings outside their ranges.
    """

    def __init__(self, channels=16, seed=0, **kwargs):
        super().__init__(**{**kwargs, "dtype": checks.precision(kwargs.get("dtype"))})
        self.channels = checks.whole("channels", channels, 1, most=MOST_CHANNELS)
        # Those of a model's networks are a thousand times its own.
        self.seed = checks.whole("seed", seed, limit=2**63)
        self.kernels = []
        self.biases = []
        for number in range(_LAYERS):
            shape = (KERNEL_SIZE, KERNEL_SIZE, self.channels if number else 2, self.channels)
            start = keras.initializers.HeNormal(initial_seed(self.seed + number))
            kernel = self.add_weight(name=f"kernel_{number}", shape=shape, initializer=start)
            self.kernels.append(kernel)
            bias = self.add_weight(name=f"bias_{number}", shape=shape[-1:], initializer="zeros")
            self.biases.append(bias)
        start = keras.initializers.GlorotUniform(initial_seed(self.seed + _LAYERS))
        self.slope = self.add_weight(name="slope", shape=(self.channels, 1), initializer=start)
        self.offset = self.add_weight(name="offset", shape=(1,), initializer="zeros")
        self.built = True

    def get_config(self):
        return {**super().get_config(), "channels": self.channels, "seed": self.seed}

    def call(self, image):
        features = as_channels(image)
        for kernel, bias in zip(self.kernels, self.biases):
            features = correlate_same(features, tf.convert_to_tensor(kernel))
            features = tf.nn.relu(features + tf.convert_to_tensor(bias))
        means = tf.reduce_mean(features, [1, 2])
        found = tf.matmul(means, tf.convert_to_tensor(self.slope))
        return tf.sigmoid(found + tf.convert_to_tensor(self.offset))[:, 0]
