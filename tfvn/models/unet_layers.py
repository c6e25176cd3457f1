"""The U-Net on real features, with the layers and the sizes that fastMRI gives it.

    block:  x <- a(C_2 a(C_1 x))
    down:   x_0 = block(x),  x_l = block(pool x_{l-1})        l = 1..pools
    up:     y = x_pools,     y <- block([a(T y), x_l])        l = pools-1..0
    out:    B y + b

C are cross-correlations of 3 x 3, with zeros outside the image. Level l has channels * 2^l of them.
The pool is the mean of 2 x 2 pixels. T makes 2 x 2 pixels of one, and where a size was odd its last
row or column is followed by the one before it. B mixes channels. After each C and T comes

    a(x) = leaky((x - mean) / sqrt(var + 1e-5)),    leaky(x) = max(x, x / 5)

with the mean and the variance of each channel over the pixels of one image. So an image does not
depend on its batch mates. Both are differentiated through.

Ronneberger, Fischer and Brox, U-Net (2015); with instance normalisation in fastMRI, Zbontar et al.,
arXiv 1811.08839.
"""

import math

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.models.same_size import correlate_same
from tfvn.network_size import LARGEST_FILE
from tfvn.shapes import static_or_dynamic_shape

__all__ = [
    "TINY",
    "ConvBlock",
    "FanIn",
    "UNetLayers",
    "UpBlock",
    "activated",
    "check_size",
    "count_weights",
    "leaky",
    "standardised",
]

# Under the root of the deviation of an image, so that it is differentiable at 0. Raw images are as
# small as 1e-6.
TINY = 1e-30

# Under the root of the deviation of features, as in PyTorch.
_EPSILON = 1e-5
_SLOPE = 0.2
# Levels that an image can be halved to.
_MOST_POOLS = 16
# A weight takes four bytes.
_MOST_WEIGHTS = LARGEST_FILE // 4


class FanIn(keras.initializers.Initializer):
    """Uniform weights in +- 1 / sqrt(inputs of a neuron), what PyTorch begins with.

    Args:
        seed, number: they are keyed by both.
        fan_in: inputs of a neuron.
    """

    def __init__(self, seed, number, fan_in):
        self.seed = seed
        self.number = number
        self.fan_in = fan_in

    def __call__(self, shape, dtype=None, **_):
        limit = 1 / math.sqrt(self.fan_in)
        dtype = tf.as_dtype(dtype or "float32")
        key = [self.seed, self.number]
        return tf.random.stateless_uniform(shape, key, -limit, limit, dtype)

    def get_config(self):
        return {"seed": self.seed, "number": self.number, "fan_in": self.fan_in}


def count_weights(inputs, outputs, channels, pools):
    """How many weights `UNetLayers` of these settings has."""
    count = 9 * (inputs + channels) * channels + (channels + 1) * outputs
    for level in range(pools):
        fine = channels * 2**level
        coarse = 2 * fine
        count += 9 * (fine + coarse) * coarse + 4 * coarse * fine + 9 * (coarse + fine) * fine
    return count


def check_size(count, **settings):
    """Checks that a network's weights fit a file, before there are any.

    Args:
        count: of its weights.
        settings: that they depend on, for the message.

    Raises:
        ValueError: for more than `tfvn.network_size.LARGEST_FILE` allows.
    """
    if count > _MOST_WEIGHTS:
        received = ", ".join(f"{name}={value}" for name, value in settings.items())
        raise ValueError(
            f"A network has at most {_MOST_WEIGHTS} weights, and this one would have {count:.4g}. "
            f"Received: {received}. Make one of them smaller."
        )


def _mean(pixels):
    """The mean over the pixels of real (batch, pixels, channels), (batch, 1, channels)."""
    batch, count, _ = static_or_dynamic_shape(pixels)
    # A product adds up a long column faster than a sum does.
    ones = tf.ones([batch, 1, count], pixels.dtype)
    return tf.matmul(ones, pixels) / tf.cast(count, pixels.dtype)


def leaky(features, slope):
    """max(x, slope x) of every feature x.

    Args:
        features: real, of any shape.
        slope: a number between 0 and 1.
    """
    if features.dtype == tf.float32:
        return tf.nn.leaky_relu(features, slope)
    # Of TensorFlow's own, the slope has single precision whatever the features have.
    return tf.maximum(features, slope * features)


@tf.custom_gradient
def _normalised(pixels):
    """a(pixels), real (batch, pixels, channels).

    The gradient needs the result and the deviation alone. What TensorFlow would keep takes four
    times the memory.
    """
    centred = pixels - _mean(pixels)
    scale = tf.math.rsqrt(_mean(tf.square(centred)) + _EPSILON)
    result = leaky(centred * scale, _SLOPE)

    def gradient(cotangent):
        # What the slope was applied to.
        standard = tf.minimum(result, result / _SLOPE)
        inner = tf.where(result > 0, cotangent, _SLOPE * cotangent)
        along = _mean(inner * standard)
        return scale * (inner - _mean(inner) - standard * along)

    return result, gradient


def activated(features):
    """a(features) of real (batch, rows, width, channels): normalised, then the leaky slope."""
    batch, rows, width, channels = static_or_dynamic_shape(features)
    pixels = tf.reshape(features, [batch, rows * width, channels])
    return tf.reshape(_normalised(pixels), [batch, rows, width, channels])


@keras.utils.register_keras_serializable(package="tfvn")
class ConvBlock(keras.layers.Layer):
    """a(C_2 a(C_1 x)) of real features.

    Args:
        inputs, outputs: channels.
        seed: of the initial kernels.

    Call arguments:
        features: (batch, rows, width, inputs). Returns (batch, rows, width, outputs).
    """

    def __init__(self, inputs, outputs, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.inputs, self.outputs, self.seed = inputs, outputs, seed
        self.kernels = []
        for number, size in enumerate((inputs, outputs)):
            kernel = self.add_weight(
                name=f"kernel_{number}",
                shape=(3, 3, size, outputs),
                initializer=FanIn(seed, number, 9 * size),
            )
            self.kernels.append(kernel)
        self.built = True

    def get_config(self):
        own = {"inputs": self.inputs, "outputs": self.outputs, "seed": self.seed}
        return {**super().get_config(), **own}

    def call(self, features):
        for kernel in self.kernels:
            kernel = tf.convert_to_tensor(kernel)
            features = activated(correlate_same(features, kernel))
        return features


@keras.utils.register_keras_serializable(package="tfvn")
class UpBlock(keras.layers.Layer):
    """a(T y): twice the rows and columns, half of the channels.

    Args:
        outputs: channels of the result.
        seed: of the initial kernel.

    Call arguments:
        features: (batch, rows, width, 2 outputs). Returns (batch, 2 rows, 2 width, outputs).
    """

    def __init__(self, outputs, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.outputs, self.seed = outputs, seed
        self.kernel = self.add_weight(
            name="kernel",
            shape=(2 * outputs, 2, 2, outputs),
            initializer=FanIn(seed, 0, 4 * outputs),
        )
        self.built = True

    def get_config(self):
        return {**super().get_config(), "outputs": self.outputs, "seed": self.seed}

    def call(self, features):
        batch, rows, width, _ = static_or_dynamic_shape(features)
        outputs = self.outputs
        kernel = tf.reshape(tf.convert_to_tensor(self.kernel), [2 * outputs, 4 * outputs])
        features = tf.matmul(features, kernel)
        # The four new pixels of one are parts of one channel, which is normalised as a whole.
        pixels = tf.reshape(features, [batch, 4 * rows * width, outputs])
        features = tf.reshape(_normalised(pixels), [batch, rows, width, 2, 2 * outputs])
        features = tf.transpose(features, [0, 1, 3, 2, 4])
        return tf.reshape(features, [batch, 2 * rows, 2 * width, outputs])


def standardised(features):
    """What fastMRI gives to a U-Net: every channel of every image with mean 0 and deviation 1.

    Args:
        features: real (batch, rows, width, channels).

    Returns:
        the result, the means and the deviations, such that features = mean + deviation * result.
        The variance has one pixel less in its divisor.
    """
    _, rows, width, _ = static_or_dynamic_shape(features)
    mean = tf.reduce_mean(features, [1, 2], keepdims=True)
    features = features - mean
    squares = tf.reduce_sum(tf.square(features), [1, 2], keepdims=True)
    deviation = tf.sqrt(squares / tf.cast(rows * width - 1, features.dtype) + TINY)
    return features / deviation, mean, deviation


def _grown(features, like):
    """Features with the rows and columns of `like`, one more where they are fewer.

    The last is followed by the one before it.
    """
    _, rows, width, _ = static_or_dynamic_shape(features)
    _, all_rows, all_columns, _ = static_or_dynamic_shape(like)
    sizes = rows, width, all_rows, all_columns
    # Unknown sizes are tensors, which have no truth while they are traced.
    are_known = all(isinstance(size, int) for size in sizes)
    if are_known and (rows, width) == (all_rows, all_columns):
        return features
    missing = [[0, 0], [0, all_rows - rows], [0, all_columns - width], [0, 0]]
    return tf.pad(features, missing, "REFLECT")


@keras.utils.register_keras_serializable(package="tfvn")
class UNetLayers(keras.layers.Layer):
    """The U-Net from real features to real features.

    Args:
        inputs, outputs: channels of the images.
        channels: of the first level; each next one has twice as many.
        pools: how often the image is halved.
        seed: of the initial weights.

    Call arguments:
        features: (batch, rows, width, inputs). Returns (batch, rows, width, outputs).

    Raises:
        ValueError: for settings outside their ranges, and for an image that cannot be halved so
            often.
    """

    def __init__(self, inputs=2, outputs=2, channels=16, pools=4, seed=0, **kwargs):
        super().__init__(**{**kwargs, "dtype": checks.precision(kwargs.get("dtype"))})
        self.inputs = checks.whole("inputs", inputs, 1)
        self.outputs = checks.whole("outputs", outputs, 1)
        self.channels = checks.whole("channels", channels, 1)
        self.pools = checks.whole("pools", pools, 1, most=_MOST_POOLS)
        # Those of a model's networks are a thousand times its own.
        self.seed = checks.whole("seed", seed, limit=2**63)
        sizes = (self.inputs, self.outputs, self.channels, self.pools)
        check_size(count_weights(*sizes), channels=channels, pools=pools)
        self.down = []
        self.up = []
        self.merge = []
        self._make_blocks()
        self.kernel = self.add_weight(
            name="kernel",
            shape=(1, 1, self.channels, self.outputs),
            initializer=FanIn(self.seed, 2, self.channels),
        )
        self.bias = self.add_weight(
            name="bias",
            shape=(self.outputs,),
            initializer=FanIn(self.seed, 3, self.channels),
        )
        self.built = True

    def _make_blocks(self):
        sizes = [self.channels * 2**level for level in range(self.pools + 1)]
        seeds = iter(range(self.seed, self.seed + 3 * self.pools + 1))

        def made(kind, *size):
            return kind(*size, seed=next(seeds), dtype=self.dtype)

        for size, before in zip(sizes, [self.inputs, *sizes]):
            self.down.append(made(ConvBlock, before, size))
        for size in reversed(sizes[:-1]):
            self.up.append(made(UpBlock, size))
            self.merge.append(made(ConvBlock, 2 * size, size))

    def get_config(self):
        names = ("inputs", "outputs", "channels", "pools", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def numbers_kept(self, calls):
        """About how many numbers a pixel so many calls take in a gradient pass: six arrays of a
        level, half as much of each next one, and eight arrays of the first on the way.
        """
        return self.channels * (12 * calls + 8)

    def call(self, features):
        self._check_image(features)
        *down, lowest = self.down
        levels = []
        for block in down:
            features = block(features)
            levels.append(features)
            features = tf.nn.avg_pool2d(features, 2, 2, "VALID")
        features = lowest(features)
        for up, merge, level in zip(self.up, self.merge, reversed(levels)):
            features = _grown(up(features), level)
            features = merge(tf.concat([features, level], -1))
        kernel = tf.convert_to_tensor(self.kernel)
        return tf.nn.conv2d(features, kernel, 1, "VALID") + self.bias

    def _check_image(self, features):
        least = 2**self.pools
        _, rows, width, _ = features.shape
        for size in (rows, width):
            if size is not None and size < least:
                raise ValueError(
                    f"An image must have at least 2^pools = {least} rows and columns to be halved "
                    f"so often. Received: {rows} x {width}, pools={self.pools}"
                )
