"""Learned activations: weighted sums of Gaussians on a fixed grid, one set of weights a channel.

    phi(x) = scale * sum_j w_j exp(-(x - c_j)^2 / (2 bandwidth^2))

The n centres c_j are equispaced on [-grid_limit, grid_limit]. Three conventions are in use. All of
them are settings of the one layer:

    PyTorch port       bandwidth = range / (n - 1), scale = 1    the default
    optox              bandwidth = range / (n - 1), scale = 0.4
    tensorflow-icg     bandwidth = range / n,       scale = 1

How it is evaluated. Let q = (x - c) / bandwidth about a centre c, d the grid spacing in bandwidths
and i the number of steps from c to another centre. Then

    exp(-(q - i d)^2 / 2) = exp(-q^2 / 2) exp(q d)^i exp(-(i d)^2 / 2).

So phi is a Gaussian times a polynomial in exp(q d), whose coefficients are the weights times
constants. Powers of exp(q d) leave float32 where i is large. The grid is therefore split into
blocks, each with a centre c of its own. The blocks share exp(q d) and exp(-q d) up to a factor. A
value costs these two exponentials, one more for each block, and a multiply-add for each centre. All
of it is one fused kernel, and no tensor of (pixels x centres) exists.

Value and derivative are two kernels, because XLA's CPU compiler does not fuse two outputs. Measured
together they are slower than one after the other.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.device import on_accelerator
from tfvn.shapes import static_or_dynamic_shape
from tfvn.surroundings import start_xla

__all__ = ["RBFActivation"]

# |q| where exp(-q^2 / 2) leaves float32.
_CLIP = 13.5
# The largest i d of a block. exp(_CLIP * _HALF_WIDTH) still fits, with room for the weights.
_HALF_WIDTH = 5.5
# The largest exponent that the blocks' common exponentials may have in float32. On a grid that
# needs more, each block computes its own.
_LARGEST_POWER = 80.0
# The least range of a grid, and the least bandwidth.
_SMALLEST = 1e-9
# Channels are tiled to a multiple of the vector width before the fused kernels see them.
_LANES = 16
# Pixels in one step of the weight gradient's loop: few enough for its sums (centres x pixels x
# channels) to stay in cache.
_ROW = 48
_ACCELERATOR_ROW = 1 << 14


_SETTINGS = ("num_centers", "grid_limit", "bandwidth", "scale", "initializer", "initial_scale")


class _Block(NamedTuple):
    """The centres from number `first` to before `end`. Their q is measured from `middle`."""

    first: int
    end: int
    middle: int


class _Term(NamedTuple):
    """What a block needs to know of x: q, exp(-q^2 / 2), exp(q d) and exp(-q d)."""

    block: _Block
    q: tf.Tensor
    gauss: tf.Tensor
    up: tf.Tensor
    down: tf.Tensor


class _Kernels:
    """The fused kernels of one grid. Pixels come as (pixels, lanes), weights as tables of (centres,
    lanes).
    """

    def __init__(self, num_centers, grid_limit, bandwidth):
        self.centers = np.linspace(-grid_limit, grid_limit, num_centers)
        # Multiplied, not divided by: a division costs as much as half an exponential.
        self._inverse = 1 / bandwidth
        self.spacing = (self.centers[1] - self.centers[0]) / bandwidth
        self.blocks = self._make_blocks()
        # |x| / bandwidth beyond which every block's own clip holds.
        furthest = max(abs(self.centers[block.middle]) for block in self.blocks)
        self._reach = _CLIP + furthest * self._inverse
        steps = [np.arange(block.first, block.end) - block.middle for block in self.blocks]
        offsets = np.concatenate(steps) * self.spacing
        self._value_factor = np.exp(-(offsets**2) / 2)[:, None]
        self._derivative_factor = (np.exp(-(offsets**2) / 2) * offsets)[:, None]

        start_xla()
        self.value = _fused(self._value)
        self.derivative_product = _fused(self._derivative_product)
        self.weight_gradient = _fused(self._weight_gradient)
        self.value_and_derivative = _fused(self._value_and_derivative)

    def _make_blocks(self):
        half = int(_HALF_WIDTH / self.spacing)
        count = math.ceil(len(self.centers) / (2 * half + 1))
        edges = np.round(np.linspace(0, len(self.centers), count + 1)).astype(int)
        blocks = []
        for first, end in zip(edges, edges[1:]):
            blocks.append(_Block(int(first), int(end), int(first + end - 1) // 2))
        return blocks

    def tables(self, rbf_weights, tile):
        """Coefficients of value and derivative, each (centres, tile * channels).

        They are made outside the fused kernels: reading transposed weights inside them defeats
        vectorisation.
        """
        weights = tf.tile(tf.transpose(rbf_weights), [1, tile])
        value = weights * tf.cast(self._value_factor, weights.dtype)
        derivative = weights * tf.cast(self._derivative_factor, weights.dtype)
        return value, derivative

    def _terms(self, x):
        """A `_Term` for every block."""
        scaled = x * self._inverse
        # The largest |x d / bandwidth| before every block's own clip holds.
        limit = self._reach * self.spacing
        shared = limit < _LARGEST_POWER
        if shared:
            power = tf.clip_by_value(scaled * self.spacing, -limit, limit)
            up, down = tf.exp(power), tf.exp(-power)
        for block in self.blocks:
            center = self.centers[block.middle] * self._inverse
            q = scaled - center
            # The Gaussian is not clipped: it is exactly 0 far outside and carries NaN.
            gauss = tf.exp(-q * q / 2)
            if shared:
                factor, bound = math.exp(-center * self.spacing), math.exp(_CLIP * self.spacing)
                own_up = tf.clip_by_value(up * factor, 1 / bound, bound)
                own_down = tf.clip_by_value(down / factor, 1 / bound, bound)
            else:
                clipped = tf.clip_by_value(q, -_CLIP, _CLIP) * self.spacing
                own_up, own_down = tf.exp(clipped), tf.exp(-clipped)
            yield _Term(block, q, gauss, own_up, own_down)

    @staticmethod
    def _polynomial(rows, term):
        """The polynomial of a block with coefficients from the rows of a table, by Horner's rule
        from both ends towards the middle.
        """
        first, end, middle = term.block
        positive = tf.zeros_like(term.up)
        for j in range(end - 1, middle, -1):
            positive = (positive + rows[j]) * term.up
        negative = tf.zeros_like(term.up)
        for j in range(first, middle):
            negative = (negative + rows[j]) * term.down
        return positive + negative + rows[middle]

    def _value(self, x, value_table):
        rows = tf.unstack(value_table)
        result = 0
        for term in self._terms(x):
            result += term.gauss * self._polynomial(rows, term)
        return result

    def _derivative(self, x, value_table, derivative_table):
        value_rows, derivative_rows = tf.unstack(value_table), tf.unstack(derivative_table)
        result = 0.0
        for term in self._terms(x):
            inner = tf.clip_by_value(term.q, -1e6, 1e6) * self._polynomial(value_rows, term)
            result += term.gauss * (self._polynomial(derivative_rows, term) - inner)
        return result * self._inverse

    def _derivative_product(self, x, cotangent, value_table, derivative_table):
        return cotangent * self._derivative(x, value_table, derivative_table)

    def _value_and_derivative(self, x, value_table, derivative_table):
        return self._value(x, value_table), self._derivative(x, value_table, derivative_table)

    def _weight_gradient(self, x, cotangent):
        """The sum over rows of cotangent * exp(...), from (rows, lanes) to (centres, lanes).

        It goes row by row with one accumulator.
        """
        centers = tf.constant(self.centers[:, None] * self._inverse, x.dtype)

        def body(row, total):
            gauss = tf.exp(-tf.square(x[row] * self._inverse - centers) / 2)
            return row + 1, total + cotangent[row] * gauss

        start = tf.zeros([len(self.centers), x.shape[1]], x.dtype)
        return tf.while_loop(lambda row, _: row < tf.shape(x)[0], body, (0, start))[1]


def _fused(function):
    return tf.function(function, jit_compile=True, autograph=False)


_kernels = functools.lru_cache(maxsize=None)(_Kernels)


@keras.utils.register_keras_serializable(package="tfvn")
class RBFActivation(keras.layers.Layer):
    """Pointwise learned activation phi, with its own weights for every channel (last axis).

    Args:
        num_centers: number of Gaussians, at least 2.
        grid_limit: their centres lie on [-grid_limit, grid_limit].
        bandwidth: standard deviation of each; None means 2 grid_limit / (num_centers - 1), one grid
            step.
        scale: factor before the sum.
        initializer: "linear" (w_j = initial_scale * c_j) or "zeros".
        initial_scale: slope of the linear initialisation's weights over their centres. phi itself
            is steeper, by the Gaussians' area over the grid spacing: sqrt(2 pi) at the default
            bandwidth.

    Call arguments:
        x: real tensor (..., channels).

    Raises:
        ValueError: for settings outside these ranges, numbers that are not finite or of 2^31 and
            more, and half precision.

    Reference: Hammernik et al., MRM 79(6), 2018, Eq. 14.
    """

    def __init__(
        self,
        num_centers=31,
        grid_limit=1.0,
        bandwidth=None,
        scale=1.0,
        initializer="linear",
        initial_scale=0.04,
        **kwargs,
    ):
        super().__init__(**{**kwargs, "dtype": checks.precision(kwargs.get("dtype"))})
        self.num_centers = checks.whole("num_centers", num_centers, 2)
        self.grid_limit = checks.number("grid_limit", grid_limit, above=0, limit=checks.LIMIT)
        if bandwidth is None:
            bandwidth = 2 * self.grid_limit / (self.num_centers - 1)
        self.bandwidth = checks.number(
            "bandwidth", bandwidth, above=0, limit=checks.LIMIT, alternative="None or "
        )
        for name, value in (("grid_limit", self.grid_limit), ("bandwidth", self.bandwidth)):
            # Its inverse must be finite in single precision.
            if value < _SMALLEST:
                raise ValueError(f"{name} must be at least {_SMALLEST}. Received: {name}={value}")
        self.scale = checks.number("scale", scale, above=0, limit=checks.LIMIT)
        self.initializer = checks.choice("initializer", initializer, ("linear", "zeros"))
        self.initial_scale = checks.number("initial_scale", initial_scale, limit=checks.LIMIT)

    def __repr__(self):
        return checks.described(self, ("num_centers", "grid_limit", "bandwidth", "scale"))

    def get_config(self):
        config = super().get_config()
        for name in _SETTINGS:
            config[name] = getattr(self, name)
        return config

    def build(self, input_shape):
        self.rbf_weights = self.add_weight(
            name="rbf_weights",
            shape=(input_shape[-1], self.num_centers),
            initializer=self._weights_at_start,
        )
        self.built = True

    # Keras 2 has an attribute `_initial_weights` of its own.
    def _weights_at_start(self, shape, dtype=None):
        slope = 0.0
        if self.initializer == "linear":
            slope = self.initial_scale
        row = slope * np.linspace(-self.grid_limit, self.grid_limit, self.num_centers)
        return tf.cast(tf.broadcast_to(row, shape), dtype or "float32")

    def call(self, x):
        channels = self.rbf_weights.shape[0]
        if not x.dtype.is_floating or not len(x.shape) or x.shape[-1] != channels:
            raise ValueError(
                f"x must be real of shape (..., {channels}), the activation's channels. "
                f"Received: x={checks.shown(x)}"
            )

        @tf.custom_gradient
        def phi(x, rbf_weights):
            def gradient(cotangent):
                d_x = self.derivative_product(x, cotangent, rbf_weights)
                return d_x, self.weight_gradient(x, cotangent)

            return self.value(x, rbf_weights), gradient

        return phi(x, tf.convert_to_tensor(self.rbf_weights))

    def value(self, x, rbf_weights):
        """phi(x) for given weights (channels, num_centers). It is not differentiable."""
        kernels, tile = self._prepared(x)
        table, _ = kernels.tables(self.scale * rbf_weights, tile)
        return tf.reshape(kernels.value(_flat(x, tile), table), tf.shape(x))

    def derivative_product(self, x, cotangent, rbf_weights):
        """The gradient in the input: cotangent * phi'(x)."""
        kernels, tile = self._prepared(x)
        tables = kernels.tables(self.scale * rbf_weights, tile)
        product = kernels.derivative_product(_flat(x, tile), _flat(cotangent, tile), *tables)
        return tf.reshape(product, tf.shape(x))

    def weight_gradient(self, x, cotangent):
        """The gradient in the weights, (channels, num_centers): the sum over pixels of cotangent *
        d phi / d w.
        """
        kernel = _kernels(self.num_centers, self.grid_limit, self.bandwidth).weight_gradient
        channels = x.shape[-1]
        row = _ROW
        if on_accelerator():
            row = _ACCELERATOR_ROW
        x, cotangent = tf.reshape(x, [-1, channels]), tf.reshape(cotangent, [-1, channels])
        # Two halves, as a fused kernel runs on one thread of a CPU. They leave up to two rows.
        half = (static_or_dynamic_shape(x)[0] - 1) // (2 * row) * row

        def halves():
            total = 0
            for start in (0, half):
                part = slice(start, start + half)
                total += self._weight_sums(kernel, x[part], cotangent[part], row)
            return total

        total = self._weight_sums(kernel, x[2 * half :], cotangent[2 * half :], 1)
        if not isinstance(half, int):
            total += tf.cond(half > 0, halves, lambda: tf.zeros_like(total))
        elif half:
            total += halves()
        return self.scale * tf.transpose(total)

    def _weight_sums(self, kernel, x, cotangent, row):
        """The sums of `kernel` over pixels (pixels, channels), `row` of them at a time: (centres,
        channels).
        """
        lanes = row * x.shape[-1]
        sums = kernel(tf.reshape(x, [-1, lanes]), tf.reshape(cotangent, [-1, lanes]))
        return tf.reduce_sum(tf.reshape(sums, [self.num_centers, row, x.shape[-1]]), 1)

    def value_and_derivative(self, x, rbf_weights=None):
        """phi(x) and its derivative phi'(x), each of the shape of x. For plots and checks.

        Args:
            x: real tensor (..., channels).
            rbf_weights: (channels, num_centers); None stands for the layer's own.
        """
        if rbf_weights is None:
            rbf_weights = tf.convert_to_tensor(self.rbf_weights)
        kernels, tile = self._prepared(x)
        tables = kernels.tables(self.scale * rbf_weights, tile)
        value, derivative = kernels.value_and_derivative(_flat(x, tile), *tables)
        return tf.reshape(value, tf.shape(x)), tf.reshape(derivative, tf.shape(x))

    def _prepared(self, x):
        # The inner axes must hold a whole number of tiles; an unknown size takes no tiling.
        pixels = 1
        if len(x.shape) > 1 and x.shape[-2]:
            pixels = x.shape[-2]
        tile = math.gcd(_LANES // math.gcd(_LANES, x.shape[-1]), pixels)
        return _kernels(self.num_centers, self.grid_limit, self.bandwidth), tile


def _flat(x, tile):
    return tf.reshape(x, [-1, tile * x.shape[-1]])
