"""AUTOMAP: dense layers from k-space to the image, and three convolutions behind them.

    q = tanh(W_1 [re k, im k] c sqrt(n m) + b_1)
    v = W_2 q + b_2
    f = T relu(C_2 tanh(C_1 (v - mean v))) + mean v

Nothing in it knows the Fourier transform: W_1 and W_2 have to learn it, for one size of n x m
pixels. Their number of weights grows with the square of the number of pixels. So the network is one
of small images, and of one coil. Entries of k-space that are not sampled come as zeros.

C_1 and C_2 have 5 x 5 taps and T, a transposed convolution, 7 x 7. Before them 4 pixels are added
to every side symmetrically, and after them they are cut off. The constant c = 0.00375 is that of
the attacked network, for a transform that is not orthonormal.

The published network makes one real image v, and the mean of all images is 0. Here v has a real and
an imaginary part of all pixels, because these images have phases, and its mean is added again at
the end. Its loss also has 0.0001 of the sum of the activations behind C_2, which is left out here.
Its noise in training is the recipe "scaled". The hidden layer has as many numbers as there are
pixels at 64 x 64, and 25000 as attacked at 128 x 128; here half of the first.

Zhu et al., Nature 555, 2018; as attacked by Antun et al., PNAS 117(48), 2020.
"""

import math

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.compat import initial_seed
from tfvn.models.base import Reconstructor
from tfvn.models.features import as_channels, as_image
from tfvn.models.same_size import correlate_same
from tfvn.models.unet_layers import FanIn, check_size
from tfvn.physics.sense import sizes_fit

__all__ = ["AUTOMAP"]

_BORDER = 4
_SCALE = 0.00375
# The sides of the kernels.
_FIRST, _SECOND, _LAST = 5, 5, 7


@keras.utils.register_keras_serializable(package="tfvn")
class AUTOMAP(Reconstructor):
    """AUTOMAP for one coil and one size of the image.

    Args:
        height: rows of the k-space and of the image.
        width: columns of both.
        hidden: numbers between the two dense layers.
        filters: channels of the two convolutions.
        readout_oversampling: of the data, which the network refuses.
        seed: of the initial weights.

    Call arguments:
        inputs: the measurement. Returns the complex image (batch, height, width).

    Raises:
        ValueError: for settings outside their ranges, and when it is called for several coils or
            another size.
    """

    reads = "kspace"
    _NOT_OF_ARCHITECTURE = ("name", "seed")

    def __init__(
        self,
        height=64,
        width=64,
        hidden=2048,
        filters=64,
        readout_oversampling=False,
        seed=0,
        **kwargs,
    ):
        super().__init__(readout_oversampling, **kwargs)
        self.height = checks.whole("height", height, 8)
        self.width = checks.whole("width", width, 8)
        self.hidden = checks.whole("hidden", hidden, 1)
        self.filters = checks.whole("filters", filters, 1)
        self.seed = checks.whole("seed", seed)
        count = _count_weights(self.height, self.width, self.hidden, self.filters)
        check_size(count, height=height, width=width, hidden=hidden, filters=filters)
        numbers = 2 * self.height * self.width
        start = FanIn(self.seed, 0, fan_in=numbers)
        self.first = self._weights("first", (numbers, self.hidden), start)
        start = FanIn(self.seed, 1, fan_in=self.hidden)
        self.second = self._weights("second", (self.hidden, numbers), start)
        self.kernels = []
        for number, shape in enumerate(_kernels(self.filters)):
            start = keras.initializers.GlorotUniform(initial_seed(self.seed * 1000 + number))
            self.kernels.append(self._weights(f"kernel_{number}", shape, start))
        number = self.seed * 1000 + len(self.kernels)
        start = keras.initializers.GlorotUniform(initial_seed(number))
        shape = (_LAST, _LAST, 2, self.filters)
        self.last = self.add_weight(name="last", shape=shape, initializer=start)
        self.last_bias = self.add_weight(name="last_bias", shape=(2,), initializer="zeros")
        self.built = True

    def _weights(self, name, shape, start):
        """A matrix or a kernel, and the bias behind it."""
        weights = self.add_weight(name=name, shape=shape, initializer=start)
        bias = self.add_weight(name=f"{name}_bias", shape=shape[-1:], initializer="zeros")
        return weights, bias

    def get_config(self):
        names = ("height", "width", "hidden", "filters", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def call(self, inputs):
        kspace = inputs["kspace"]
        self._check_kspace(kspace)
        # What is not sampled is not seen, as in all models.
        kspace = tf.cast(inputs["mask"] > 0, kspace.dtype) * kspace
        scale = _SCALE * math.sqrt(self.height * self.width)
        numbers = tf.reshape(scale * as_channels(kspace[:, 0]), [-1, self.first[0].shape[0]])
        hidden = tf.tanh(_dense(numbers, self.first))
        image = tf.reshape(_dense(hidden, self.second), [-1, self.height, self.width, 2])
        mean = tf.reduce_mean(image, [1, 2], keepdims=True)
        return as_image(self._refined(image - mean) + mean)

    def _refined(self, image):
        """T relu(C_2 tanh(C_1 v)) of an image v as two channels."""
        border = [[0, 0], [_BORDER, _BORDER], [_BORDER, _BORDER], [0, 0]]
        image = tf.pad(image, border, "SYMMETRIC")
        features = tf.tanh(_convolved(image, self.kernels[0]))
        features = tf.nn.relu(_convolved(features, self.kernels[1]))
        last = tf.convert_to_tensor(self.last)
        image = tf.nn.conv2d_transpose(features, last, tf.shape(image), 1, "SAME")
        image = image[:, _BORDER : _BORDER + self.height, _BORDER : _BORDER + self.width]
        return image + self.last_bias

    def _check_kspace(self, kspace):
        _, coils, height, width = kspace.shape
        expected = (1, self.height, self.width)
        oversampled = self.sense.readout_oversampling
        if oversampled or not all(map(sizes_fit, kspace.shape[1:], expected)):
            with_it = ""
            if oversampled:
                with_it = " with readout oversampling"
            raise ValueError(
                f"This AUTOMAP reads the k-space of one coil and {self.height} x {self.width} "
                f"samples, without readout oversampling. Received: {coils} coils of {height} x "
                f"{width}{with_it}"
            )


def _kernels(filters):
    """The shapes of the kernels of C_1 and C_2."""
    return [(_FIRST, _FIRST, 2, filters), (_SECOND, _SECOND, filters, filters)]


def _count_weights(height, width, hidden, filters):
    """How many weights there are, without biases."""
    dense = 4 * height * width * hidden
    return dense + filters * (2 * _FIRST**2 + filters * _SECOND**2 + 2 * _LAST**2)


def _dense(numbers, weights):
    matrix, bias = weights
    return tf.matmul(numbers, tf.convert_to_tensor(matrix)) + bias


def _convolved(features, weights):
    kernel, bias = weights
    return correlate_same(features, tf.convert_to_tensor(kernel)) + bias
