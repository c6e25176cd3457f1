"""Learned activations: weighted sums of Gaussians on a fixed grid, one set of weights a channel.

    phi(x) = scale * sum_j w_j exp(-(x - c_j)^2 / (2 bandwidth^2)),    c_j equispaced on [-grid_limit, grid_limit]

Three conventions are in use; all are settings of the one layer: bandwidth = range / (n - 1) and
scale 1 (PyTorch port, the default), the same bandwidth and scale 0.4 (optox), bandwidth = range / n
and scale 1 (tensorflow-icg).

Evaluation. With q = (x - c) / bandwidth about a centre c, d the grid spacing in bandwidths and i =
j - index of c,

    exp(-(q - i d)^2 / 2) = exp(-q^2 / 2) exp(q d)^i exp(-(i d)^2 / 2):

a polynomial in exp(q d) whose coefficients are the weights times constants. The grid is split into
blocks narrow enough for float32, which share exp(q d) and exp(-q d) up to a factor: a value costs
two exponentials, one more a block and a multiply-add a centre, in one fused kernel, and no tensor
of (pixels x centres) exists. Value and derivative come as two kernels because XLA's CPU compiler
does not fuse two outputs (measured: the pair together is slower than both apart).
"""

import functools
import math

import numpy as np
import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.device import on_accelerator
from tfvn.shapes import static_or_dynamic_shape
from tfvn.surroundings import start_xla

__all__ = ["RBFActivation"]

# |q| where exp(-q^2/2) leaves float32, and the largest i d: exp(13.5 * 5.5) still fits with room
# for the weights.
_CLIP, _HALF_WIDTH = 13.5, 5.5
# Powers beyond it are not taken in float32: a grid that needs them computes each block's
# exponentials by themselves.
_LARGEST_POWER = 80.0
# Of a grid's range and a bandwidth.
_SMALLEST = 1e-9
# Channels are tiled to a multiple of the vector width before the fused kernels see them.
_LANES = 16
# Pixels in one step of the weight gradient's loop: few enough for its sums (centres x pixels x
# channels) to stay in cache.
_ROW, _ACCELERATOR_ROW = 48, 1 << 14


class _Kernels:
    """The fused kernels of one grid. Pixels come as (pixels, lanes), weights as tables (centres,
    lanes).
    """

    def __init__(self, num_centers, grid_limit, bandwidth):
        self.centers = np.linspace(-grid_limit, grid_limit, num_centers)
        # Multiplied, not divided by: a division costs as much as half an exponential.
        self._inverse = 1 / bandwidth
        self.spacing = (self.centers[1] - self.centers[0]) / bandwidth
        half = int(_HALF_WIDTH / self.spacing)
        count = math.ceil(num_centers / (2 * half + 1))
        edges = np.round(np.linspace(0, num_centers, count + 1)).astype(int)
        self.blocks = [(int(a), int(b), int(a + b - 1) // 2) for a, b in zip(edges, edges[1:])]
        # |x| / bandwidth beyond which every block's own clip holds.
        self._reach = (
            _CLIP + max(abs(self.centers[middle]) for _, _, middle in self.blocks) * self._inverse
        )
        offsets = (
            np.concatenate([np.arange(a, b) - middle for a, b, middle in self.blocks])
            * self.spacing
        )
        self._value_factor = np.exp(-(offsets**2) / 2)[:, None]
        self._derivative_factor = (np.exp(-(offsets**2) / 2) * offsets)[:, None]

        start_xla()
        self.value = tf.function(self._value, jit_compile=True, autograph=False)
        self.derivative_product = tf.function(
            self._derivative_product, jit_compile=True, autograph=False
        )
        self.weight_gradient = tf.function(self._weight_gradient, jit_compile=True, autograph=False)
        self.value_and_derivative = tf.function(
            self._value_and_derivative, jit_compile=True, autograph=False
        )

    def tables(self, rbf_weights, tile):
        """Coefficients of value and derivative, (centres, tile * channels). Built outside the fused
        kernels: reading transposed weights inside them defeats vectorisation."""
        weights = tf.tile(tf.transpose(rbf_weights), [1, tile])
        return tuple(
            weights * tf.cast(f, weights.dtype)
            for f in (self._value_factor, self._derivative_factor)
        )

    def _terms(self, x):
        """For every block: itself, q about its centre, exp(-q^2/2), exp(q d) and exp(-q d)."""
        scaled = x * self._inverse
        # The largest |x d / bandwidth| before every block's own clip holds.
        limit = self._reach * self.spacing
        if limit < _LARGEST_POWER:
            power = tf.clip_by_value(scaled * self.spacing, -limit, limit)
            up, down = tf.exp(power), tf.exp(-power)
        for block in self.blocks:
            center = self.centers[block[2]] * self._inverse
            q = scaled - center
            # The Gaussian is not clipped: it is exactly 0 far outside and carries NaN.
            gauss = tf.exp(-q * q / 2)
            if limit < _LARGEST_POWER:
                factor, bound = math.exp(-center * self.spacing), math.exp(_CLIP * self.spacing)
                yield (
                    block,
                    q,
                    gauss,
                    *(tf.clip_by_value(e, 1 / bound, bound) for e in (up * factor, down / factor)),
                )
            else:
                clipped = tf.clip_by_value(q, -_CLIP, _CLIP) * self.spacing
                yield block, q, gauss, tf.exp(clipped), tf.exp(-clipped)

    @staticmethod
    def _polynomial(table, block, up, down):
        first, end, middle = block
        positive = tf.zeros_like(up)
        for j in range(end - 1, middle, -1):
            positive = (positive + table[j]) * up
        negative = tf.zeros_like(up)
        for j in range(first, middle):
            negative = (negative + table[j]) * down
        return positive + negative + table[middle]

    def _value(self, x, value_table):
        return sum(
            gauss * self._polynomial(value_table, block, *powers)
            for block, _, gauss, *powers in self._terms(x)
        )

    def _derivative(self, x, value_table, derivative_table):
        result = 0.0
        for block, q, gauss, *powers in self._terms(x):
            inner = tf.clip_by_value(q, -1e6, 1e6) * self._polynomial(value_table, block, *powers)
            result += gauss * (self._polynomial(derivative_table, block, *powers) - inner)
        return result * self._inverse

    def _derivative_product(self, x, cotangent, value_table, derivative_table):
        return cotangent * self._derivative(x, value_table, derivative_table)

    def _value_and_derivative(self, x, value_table, derivative_table):
        return self._value(x, value_table), self._derivative(x, value_table, derivative_table)

    def _weight_gradient(self, x, cotangent):
        """sum over rows of cotangent * exp(...): (rows, lanes) -> (centres, lanes), row by row with
        one accumulator.
        """
        centers = tf.constant(self.centers[:, None] * self._inverse, x.dtype)

        def body(row, total):
            return row + 1, total + cotangent[row] * tf.exp(
                -tf.square(x[row] * self._inverse - centers) / 2
            )

        start = tf.zeros([len(self.centers), x.shape[1]], x.dtype)
        return tf.while_loop(lambda row, _: row < tf.shape(x)[0], body, (0, start))[1]


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
        initial_scale: slope of the linear initialisation's weights over their centres (phi itself
            is steeper, by the Gaussians'
            area over the grid spacing: sqrt(2 pi) at the default bandwidth).

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
        self.scale = checks.number("scale", scale, limit=checks.LIMIT)
        self.initializer = checks.choice("initializer", initializer, ("linear", "zeros"))
        self.initial_scale = checks.number("initial_scale", initial_scale, limit=checks.LIMIT)

    def __repr__(self):
        return checks.described(self, ("num_centers", "grid_limit", "bandwidth", "scale"))

    def get_config(self):
        names = ("num_centers", "grid_limit", "bandwidth", "scale", "initializer", "initial_scale")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, input_shape):
        slope = self.initial_scale if self.initializer == "linear" else 0.0
        row = slope * np.linspace(-self.grid_limit, self.grid_limit, self.num_centers)
        self.rbf_weights = self.add_weight(
            name="rbf_weights",
            shape=(input_shape[-1], self.num_centers),
            initializer=lambda shape, dtype=None: tf.cast(
                tf.broadcast_to(row, shape), dtype or "float32"
            ),
        )
        self.built = True

    def call(self, x):
        if not x.dtype.is_floating or not len(x.shape) or x.shape[-1] != self.rbf_weights.shape[0]:
            raise ValueError(
                f"x must be real of shape (..., {self.rbf_weights.shape[0]}), the activation's "
                f"channels. Received: x={checks.shown(x)}"
            )

        @tf.custom_gradient
        def phi(x, rbf_weights):
            def gradient(cotangent):
                return self.derivative_product(x, cotangent, rbf_weights), self.weight_gradient(
                    x, cotangent
                )

            return self.value(x, rbf_weights), gradient

        return phi(x, tf.convert_to_tensor(self.rbf_weights))

    def value(self, x, rbf_weights):
        """phi(x) for given weights (channels, num_centers); not differentiable."""
        kernels, tile = self._prepared(x)
        table, _ = kernels.tables(self.scale * rbf_weights, tile)
        return tf.reshape(kernels.value(_flat(x, tile), table), tf.shape(x))

    def derivative_product(self, x, cotangent, rbf_weights):
        """cotangent * phi'(x): the gradient in the input."""
        kernels, tile = self._prepared(x)
        tables = kernels.tables(self.scale * rbf_weights, tile)
        return tf.reshape(
            kernels.derivative_product(_flat(x, tile), _flat(cotangent, tile), *tables), tf.shape(x)
        )

    def weight_gradient(self, x, cotangent):
        """sum over pixels of cotangent * d phi / d w: the gradient in the weights, (channels,
        num_centers).
        """
        kernel = _kernels(self.num_centers, self.grid_limit, self.bandwidth).weight_gradient
        channels, row = x.shape[-1], _ACCELERATOR_ROW if on_accelerator() else _ROW
        x, cotangent = tf.reshape(x, [-1, channels]), tf.reshape(cotangent, [-1, channels])
        # Two halves, as a fused kernel runs on one thread of a CPU, and what they leave, up to two
        # rows.
        half = (static_or_dynamic_shape(x)[0] - 1) // (2 * row) * row

        def halves():
            return sum(
                self._weight_sums(kernel, x[i : i + half], cotangent[i : i + half], row)
                for i in (0, half)
            )

        total = self._weight_sums(kernel, x[2 * half :], cotangent[2 * half :], 1)
        if not isinstance(half, int):
            total += tf.cond(half > 0, halves, lambda: tf.zeros_like(total))
        elif half:
            total += halves()
        return self.scale * tf.transpose(total)

    def _weight_sums(self, kernel, x, cotangent, row):
        """(pixels, channels) twice, `row` pixels at a time -> (centres, channels)."""
        channels = x.shape[-1]
        sums = kernel(
            tf.reshape(x, [-1, row * channels]), tf.reshape(cotangent, [-1, row * channels])
        )
        return tf.reduce_sum(tf.reshape(sums, [self.num_centers, row, channels]), 1)

    def value_and_derivative(self, x, rbf_weights=None):
        """phi(x) and phi'(x) of one pass over x, both of its shape. For plots and checks."""
        rbf_weights = tf.convert_to_tensor(self.rbf_weights) if rbf_weights is None else rbf_weights
        kernels, tile = self._prepared(x)
        pair = kernels.value_and_derivative(
            _flat(x, tile), *kernels.tables(self.scale * rbf_weights, tile)
        )
        return tuple(tf.reshape(y, tf.shape(x)) for y in pair)

    def _prepared(self, x):
        # The inner axes must hold a whole number of tiles; an unknown size takes no tiling.
        pixels = x.shape[-2] if len(x.shape) > 1 and x.shape[-2] else 1
        tile = math.gcd(_LANES // math.gcd(_LANES, x.shape[-1]), pixels)
        return _kernels(self.num_centers, self.grid_limit, self.bandwidth), tile


def _flat(x, tile):
    return tf.reshape(x, [-1, tile * x.shape[-1]])
