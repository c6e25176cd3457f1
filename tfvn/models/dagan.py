"""The generator of DAGAN, a de-aliasing network that is trained against a discriminator.

    m = 2 |A^H k| / peak - 1,    f(k) = peak / 2 (1 + clip(m + tanh(G m), -1, 1))

It sees and returns magnitudes alone. G is a U-Net of convolutions of 4 x 4 with a stride of two,
transposed on the way up, each of which is followed by a norm and a leaky slope, 0.2 down and 0 up.
The first has neither of them, and the deepest no norm. Skips are concatenated, and the last layer
mixes channels. Images are padded to the next size that the levels halve, with zeros before m.

    norm(x) = scale (x - mean) / sqrt(variance + 1e-5) + offset

The published network has batch normalisation. Here mean and variance are those of each channel of
one image, in training and after it: batch statistics would make an answer depend on its batch
mates, and frozen ones would be of a network that was trained with others. They are differentiated
through.

The clip has no gradient outside of its range: where m + tanh(G m) leaves [-1, 1], an attack sees no
way on though there may be one. The paper's network has it too, so it stays, and `peak` says where
the range ends. An effect that stops to grow with the radius is to be doubted.

Yang et al., IEEE TMI 37(6), 2018; sizes as in their code, which has 64 filters and 8 levels, 256 x
256 pixels and images scaled to [-1, 1] by themselves. Its losses are in `tfvn.training.gan`.
"""

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.compat import initial_seed
from tfvn.models.base import Reconstructor, magnitude
from tfvn.models.same_size import correlate_same
from tfvn.models.unet_layers import check_size, leaky
from tfvn.shapes import static_or_dynamic_shape

__all__ = ["DAGAN", "StridedBlock", "count_weights", "widths"]

_SIDE = 4
_EPSILON = 1e-5
_SLOPE = 0.2
_DEVIATION = 0.02
_MOST_LEVELS = 10
# On the way down channels double up to this many times the first, on the way up they may have
# twice that.
_WIDEST = 8


def widths(filters, levels):
    """The channels of all blocks.

    Returns:
        those after each block down, and those after each block up, from the deepest on.
    """
    down = [filters * min(2**level, _WIDEST) for level in range(levels)]
    skips = down[-2::-1]
    up = []
    for number, width in enumerate(skips):
        # The deepest block up has a single input, and all others a skip besides.
        if number > 0 and width == _WIDEST * filters:
            width *= 2
        up.append(width)
    return down, [*up, filters]


def count_weights(filters, levels):
    """How many weights a `DAGAN` of these settings has."""
    count = filters + 1
    for block in _blocks(filters, levels):
        count += _SIDE**2 * block["inputs"] * block["outputs"]
        # A scale and an offset, or a bias.
        count += block["outputs"] * (1 + block["normalised"])
    return count


def _blocks(filters, levels):
    """The settings of all `StridedBlock`s, in the order of their calls."""
    down, up = widths(filters, levels)
    found = []
    for level, pair in enumerate(zip([1, *down], down)):
        settings = {"up": False, "normalised": level not in (0, levels - 1), "slope": _SLOPE}
        if level == 0:
            settings["slope"] = 1.0
        found.append({"inputs": pair[0], "outputs": pair[1], **settings})
    skips = [0, *down[-2::-1]]
    for before, skip, outputs in zip([down[-1], *up], skips, up):
        settings = {"up": True, "normalised": True, "slope": 0.0}
        found.append({"inputs": before + skip, "outputs": outputs, **settings})
    return found


@keras.utils.register_keras_serializable(package="tfvn")
class StridedBlock(keras.layers.Layer):
    """A convolution of 4 x 4 with a stride of two, a norm and a leaky slope.

    Args:
        inputs, outputs: channels.
        up: whether the convolution is a transposed one, which doubles rows and columns.
        normalised: whether there is a norm. A bias stands in its place where there is none.
        slope: what negative numbers are multiplied by.
        seed: of the initial kernel.

    Call arguments:
        features: (batch, rows, width, inputs). Returns twice or half the rows and columns.
    """

    def __init__(self, inputs, outputs, up=False, normalised=True, slope=_SLOPE, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.inputs, self.outputs = inputs, outputs
        self.up, self.normalised, self.slope = up, normalised, slope
        self.seed = seed
        channels = (inputs, outputs)
        if up:
            channels = (outputs, inputs)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(_SIDE, _SIDE, *channels),
            initializer=keras.initializers.TruncatedNormal(0.0, _DEVIATION, initial_seed(seed)),
        )
        self.offset = self.add_weight(name="offset", shape=(outputs,), initializer="zeros")
        if normalised:
            self.scale = self.add_weight(name="scale", shape=(outputs,), initializer="ones")
        self.built = True

    def get_config(self):
        names = ("inputs", "outputs", "up", "normalised", "slope", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def call(self, features):
        features = self._convolved(features)
        if self.normalised:
            mean, variance = tf.nn.moments(features, [1, 2], keepdims=True)
            features = self.scale * (features - mean) * tf.math.rsqrt(variance + _EPSILON)
        return leaky(features + self.offset, self.slope)

    def _convolved(self, features):
        kernel = tf.convert_to_tensor(self.kernel)
        if not self.up:
            return tf.nn.conv2d(features, kernel, 2, "SAME")
        batch, rows, width, _ = static_or_dynamic_shape(features)
        shape = [batch, 2 * rows, 2 * width, self.outputs]
        return tf.nn.conv2d_transpose(features, kernel, shape, 2, "SAME")


@keras.utils.register_keras_serializable(package="tfvn")
class DAGAN(Reconstructor):
    """DAGAN's generator, from a magnitude to a magnitude.

    Args:
        filters: channels of the first level.
        levels: how often the image is halved.
        peak: the largest magnitude that it can return.
        readout_oversampling: the image is the central half of the readout (height).
        seed: of the initial kernels.

    Call arguments:
        inputs: the measurement. Returns the image (batch, rows, width), complex without an
            imaginary part.

    Raises:
        ValueError: for settings outside their ranges.
    """

    has_phase = False
    _NOT_OF_ARCHITECTURE = ("name", "seed")

    def __init__(
        self, filters=16, levels=5, peak=2.0, readout_oversampling=False, seed=0, **kwargs
    ):
        super().__init__(readout_oversampling, **kwargs)
        self.filters = checks.whole("filters", filters, 1)
        self.levels = checks.whole("levels", levels, 2, most=_MOST_LEVELS)
        self.peak = checks.number("peak", peak, above=0, limit=checks.LIMIT)
        self.seed = checks.whole("seed", seed)
        check_size(count_weights(self.filters, self.levels), filters=filters, levels=levels)
        self.blocks = []
        for number, settings in enumerate(_blocks(self.filters, self.levels)):
            block = StridedBlock(
                **settings,
                seed=self.seed * 1000 + number,
                name=f"block_{number}",
                dtype=self.dtype,
            )
            self.blocks.append(block)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(1, 1, self.filters, 1),
            initializer=keras.initializers.TruncatedNormal(0.0, _DEVIATION, seed=self.seed),
        )
        self.bias = self.add_weight(name="bias", shape=(1,), initializer="zeros")
        self.built = True

    def get_config(self):
        names = ("filters", "levels", "peak", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def answer(self, inputs, key=None):
        del key
        shown = 2 / self.peak * magnitude(inputs["zero_filled"]) - 1
        image = tf.clip_by_value(shown + self._change(shown), -1.0, 1.0)
        return self.peak / 2 * (1 + image)

    def _change(self, image):
        """tanh(G m) of a real image m (batch, rows, width)."""
        _, rows, width = static_or_dynamic_shape(image)
        above, below = _sides(rows, 2**self.levels)
        left, right = _sides(width, 2**self.levels)
        sides = [[0, 0], [above, below], [left, right]]
        # Where there is no signal.
        padded = tf.pad(image, sides, constant_values=-1.0)
        change = tf.tanh(self._generated(padded[..., None])[..., 0])
        return change[:, above : above + rows, left : left + width]

    def _generated(self, features):
        """G of features (batch, rows, width, 1) whose sizes the levels halve."""
        down, up = self.blocks[: self.levels], self.blocks[self.levels :]
        skips = []
        for block in down:
            features = block(features)
            skips.append(features)
        features = skips.pop()
        for number, block in enumerate(up):
            if number:
                features = tf.concat([features, skips.pop()], -1)
            features = block(features)
        kernel = tf.convert_to_tensor(self.kernel)
        return correlate_same(features, kernel) + self.bias


def _sides(size, multiple):
    """How many pixels before and behind an axis fill it up to a multiple."""
    missing = -size % multiple
    return missing // 2, missing - missing // 2
