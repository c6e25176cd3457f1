"""The residual convolutional network that MoDL and D5-C5 have between their data steps.

    D(u) = u + C_L r C_(L-1) r ... r C_1 u,    r(x) = max(x, 0)

C_1 takes the two channels of a complex image, C_L gives two, and those between have `filters`. They
are cross-correlations with kernels of 3 x 3, with a bias or without one. Outside the image there
are zeros.
"""

import math

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.compat import initial_seed
from tfvn.models.features import as_channels, as_image
from tfvn.models.same_size import correlate_same
from tfvn.network_size import LARGEST_FILE

__all__ = ["INITIALIZERS", "KERNEL_SIZE", "ResidualNetwork", "check_size", "kernel_shapes"]

KERNEL_SIZE = 3
# Of the kernels, by the names of those who proposed them.
INITIALIZERS = {"glorot": keras.initializers.GlorotUniform, "he": keras.initializers.HeNormal}


def kernel_shapes(num_layers, filters):
    """The shapes of the kernels (row, column, input, output) of all layers."""
    channels = [2, *[filters] * (num_layers - 1), 2]
    return [(KERNEL_SIZE, KERNEL_SIZE, *pair) for pair in zip(channels, channels[1:])]


# More would take longer to trace than anyone waits.
_MOST_LAYERS = 256


def check_size(num_networks, num_layers, filters):
    """Checks that the weights of so many networks fit a file, before there are any.

    Raises:
        ValueError: for no numbers of layers or filters, and for more weights than
            `tfvn.network_size.LARGEST_FILE` allows.
    """
    num_layers = checks.whole("num_layers", num_layers, 1, most=_MOST_LAYERS)
    filters = checks.whole("filters", filters, 1)
    # A file may hold each weight in double precision, twice more for an optimizer, and once more.
    most = LARGEST_FILE // 32
    middle = max(num_layers - 2, 0) * math.prod((KERNEL_SIZE, KERNEL_SIZE, filters, filters))
    if num_networks * middle > most or num_networks * num_layers * filters > most:
        raise ValueError(
            f"A network has at most {most} weights. Received: filters={filters}, "
            f"num_layers={num_layers}, of {num_networks} networks. Make one of them smaller."
        )


@keras.utils.register_keras_serializable(package="tfvn")
class ResidualNetwork(keras.layers.Layer):
    """D(u) = u + C_L r ... r C_1 u of a complex image.

    Args:
        num_layers: convolutions, L.
        filters: channels between them.
        bias: whether a convolution adds a number to each channel.
        initializer: of the kernels, a name in `INITIALIZERS`.
        seed: of the initial kernels.

    Call arguments:
        image: complex (batch, rows, width). Returns an image of this shape.

    Raises:
        ValueError: for settings outside their ranges.
    """

    def __init__(self, num_layers=5, filters=32, bias=True, initializer="glorot", seed=0, **kwargs):
        super().__init__(**{**kwargs, "dtype": checks.precision(kwargs.get("dtype"))})
        check_size(1, num_layers, filters)
        self.num_layers = int(num_layers)
        self.filters = int(filters)
        self.bias = checks.flag("bias", bias)
        self.initializer = checks.choice("initializer", initializer, tuple(INITIALIZERS))
        # Those of a model's networks are a thousand times its own.
        self.seed = checks.whole("seed", seed, limit=2**63)
        self.kernels = []
        self.biases = []
        for number, shape in enumerate(kernel_shapes(self.num_layers, self.filters)):
            start = INITIALIZERS[self.initializer](initial_seed(self.seed + number))
            kernel = self.add_weight(name=f"kernel_{number}", shape=shape, initializer=start)
            self.kernels.append(kernel)
            if self.bias:
                bias = self.add_weight(name=f"bias_{number}", shape=shape[-1:], initializer="zeros")
                self.biases.append(bias)
        self.built = True

    def get_config(self):
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "filters": self.filters,
            "bias": self.bias,
            "initializer": self.initializer,
            "seed": self.seed,
        }

    def numbers_kept(self, calls):
        """About how many numbers a pixel so many calls take in a gradient pass: the features behind
        all convolutions but the last, and four arrays of them on the way.
        """
        return self.filters * (calls * (self.num_layers - 1) + 4)

    def call(self, image):
        features = as_channels(image)
        for number, kernel in enumerate(self.kernels):
            if number:
                features = tf.nn.relu(features)
            features = correlate_same(features, tf.convert_to_tensor(kernel))
            if self.bias:
                features += self.biases[number]
        return image + as_image(features)
