"""Nondecreasing activations: odd linear splines, one for every channel, with slopes in (0, 1).

    phi(x) = sign(x) (b_i + s_i (|x| - t_i)),    t_i <= |x| < t_(i+1)
    b_i = sum_(m < i) s_m (t_(m+1) - t_m)

The knots t_i = reach (i / (n - 1))^2, i = 0..n-1, lie denser near 0, where most filter responses
are. The last piece has no end. The slopes s_i are a sigmoid of the weights, so that every optimizer
keeps them in (0, 1), and with them the change of phi:

    0 <= (phi(x) - phi(y)) / (x - y) <= 1    for all x != y.

Of every value only its piece is computed: two numbers are looked up. So the cost does not grow with
the number of pieces.
"""

import numpy as np
import tensorflow as tf
from tensorflow import keras

from tfvn import checks

__all__ = ["RATE", "MonotoneSpline"]

# Weights inside a sigmoid, an exponential or a softmax count so many times. The step of an
# optimizer that suits filters would hardly move them.
RATE = 5.0
# More would be tables that no cache holds.
_MOST_PIECES = 1024


@keras.utils.register_keras_serializable(package="tfvn")
class MonotoneSpline(keras.layers.Layer):
    """Pointwise learned activation phi, nondecreasing, of its own for every channel (last axis).

    Args:
        channels: the channels.
        num_pieces: n, the linear pieces of |x|.
        reach: where the last piece begins, before the training.
        first_slope, last_slope: of the first and the last piece, before the training. In between
            slopes fall from the one to the other.

    Call arguments:
        x: real tensor (..., channels).

    Raises:
        ValueError: for settings outside their ranges, and for another x.
    """

    def __init__(
        self,
        channels,
        num_pieces=9,
        reach=0.03,
        first_slope=0.95,
        last_slope=0.0025,
        **kwargs,
    ):
        super().__init__(**{**kwargs, "dtype": checks.precision(kwargs.get("dtype"))})
        self.channels = checks.whole("channels", channels, 1)
        self.num_pieces = checks.whole("num_pieces", num_pieces, 1, most=_MOST_PIECES)
        self.reach = checks.number("reach", reach, above=0, limit=checks.LIMIT)
        self.first_slope = checks.number("first_slope", first_slope, above=0, below=1)
        self.last_slope = checks.number("last_slope", last_slope, above=0, below=1)
        self.raw_slopes = self.add_weight(
            name="raw_slopes", shape=(self.channels, self.num_pieces), initializer=self._falling
        )
        self.raw_reach = self.add_weight(
            name="raw_reach", shape=(self.channels,), initializer="zeros"
        )
        self.built = True

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "num_pieces": self.num_pieces,
            "reach": self.reach,
            "first_slope": self.first_slope,
            "last_slope": self.last_slope,
        }

    def _falling(self, shape, dtype=None):
        """Weights whose sigmoids are the slopes at the start, of the shape of `raw_slopes`."""
        ends = [np.log(slope / (1 - slope)) for slope in (self.first_slope, self.last_slope)]
        row = np.linspace(*ends, shape[-1]) / RATE
        return tf.cast(tf.broadcast_to(row, shape), dtype or "float32")

    def slopes(self):
        """s, in (0, 1), (channels, num_pieces)."""
        return tf.sigmoid(RATE * tf.convert_to_tensor(self.raw_slopes))

    def reaches(self):
        """Where the last piece of each channel begins, (channels,): at `reach` times or divided by
        exp(RATE) at most.
        """
        raw = tf.clip_by_value(tf.convert_to_tensor(self.raw_reach), -1, 1)
        return self.reach * tf.exp(RATE * raw)

    def knots(self):
        """t, (channels, num_pieces)."""
        return self.reaches()[:, None] * tf.constant(self._places(), self.dtype)

    def _places(self):
        """The knots as shares of the reach, (num_pieces,)."""
        return (np.arange(self.num_pieces) / max(self.num_pieces - 1, 1)) ** 2

    def call(self, x):
        if not x.dtype.is_floating or not len(x.shape) or x.shape[-1] != self.channels:
            raise ValueError(
                f"x must be real of shape (..., {self.channels}), the activation's channels. "
                f"Received: x={checks.shown(x)}"
            )
        slopes, reaches = self.slopes(), self.reaches()
        places = tf.constant(self._places(), self.dtype)
        ends = tf.cumsum(slopes[:, :-1] * (places[1:] - places[:-1]), 1)
        starts = tf.pad(ends, [[0, 0], [1, 0]])
        # phi(x) = sign(x) offset + slope x.
        offsets = reaches[:, None] * (starts - slopes * places)
        pieces = self._pieces(x, reaches)
        offset = tf.gather(tf.reshape(offsets, [-1]), pieces)
        slope = tf.gather(tf.reshape(slopes, [-1]), pieces)
        return tf.sign(x) * offset + slope * x

    def derivative(self, x):
        """phi'(x), of the shape of x, that is (..., channels)."""
        slopes, pieces = self.slopes(), self._pieces(x, self.reaches())
        return tf.gather(tf.reshape(slopes, [-1]), pieces)

    def _pieces(self, x, reaches):
        """Which entry of the tables every x needs, int32 of its shape."""
        last = self.num_pieces - 1
        place = last * tf.sqrt(tf.abs(tf.stop_gradient(x)) / tf.stop_gradient(reaches))
        # NaN becomes a negative number here, and is NaN again in the product.
        piece = tf.maximum(tf.cast(tf.minimum(place, float(last)), tf.int32), 0)
        return piece + self.num_pieces * tf.range(self.channels)

    def measured_slopes(self):
        """The slopes of what `call` computes, between every two neighbours of all knots, their
        middles, and points beyond, of both signs: a NumPy array (points, channels).
        """
        knots = self.knots().numpy().T
        beyond = self.reaches().numpy()[None] * np.array([[2.0], [4.0]])
        points = np.concatenate([knots, (knots[1:] + knots[:-1]) / 2, beyond])
        points = np.sort(np.concatenate([-points[1:], points]), 0).astype(self.dtype)
        values = self(tf.constant(points)).numpy().astype(float)
        return np.diff(values, axis=0) / np.diff(points.astype(float), axis=0)
