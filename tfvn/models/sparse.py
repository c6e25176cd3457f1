"""Images that are sparse after a linear transform D:

    min_u  1/2 || A u - k ||^2 + weight * sum_p | (D u)_p |

where | (D u)_p | is the norm of a group of coefficients at the pixel p. The image and its
coefficients are complex.

The method of Loris and Verhoeven goes down the data term and keeps a dual image q of D's shape:

    v = u - t A^H (A u - k)
    q <- P( q + s D (v - t D^H q) )
    u <- v - t D^H q

P projects each group on the ball of radius `weight`. The iterations converge for t < 2 / || A ||^2
and t s || D ||^2 <= 1. Here t = 1.5 / L, where

    L = max |mask|^2 * max_p sum_c |S_c(p)|^2  >=  || A ||^2,

as the Fourier transform is orthonormal. With a full mask they are equal.

Source: Loris and Verhoeven, Inverse Problems 27, 2011, 125007, Eq. 3; for the range of the steps
Chen, Huang and Zhang, Inverse Problems 29, 2013, 025011, Theorem 3.4.
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvn.certificates.lipschitz import of_monotone
from tfvn.models.repeat import repeat

__all__ = ["MOST_PROVED", "Differences", "Haar", "constants", "minimise", "objective"]

# Times 1 / L: any below 2 converges. On the built-in knees and on a brain this one was fast for all
# weights from 3e-4 to 1e-2.
_STEP = 1.5
# The constants of more iterations would take minutes, and be above 27.
MOST_PROVED = 1000


class Differences:
    """The differences of neighbouring pixels: of total variation.

    Along both axes of an image, forward, and 0 at the last row and column, where there is no next
    pixel (Chambolle, JMIV 20, 2004, section 2). The group of a pixel is both of its differences:
    the total variation is isotropic.
    """

    # A bound of || D ||^2.
    squared_norm = 8.0

    def analyse(self, image):
        """D u, (batch, 2, rows, width), of an image (batch, rows, width)."""
        down = tf.pad(image[:, 1:] - image[:, :-1], [[0, 0], [0, 1], [0, 0]])
        right = tf.pad(image[:, :, 1:] - image[:, :, :-1], [[0, 0], [0, 0], [0, 1]])
        return tf.stack([down, right], 1)

    def synthesise(self, coefficients):
        """D^H of coefficients."""
        down = coefficients[:, 0, :-1]
        right = coefficients[:, 1, :, :-1]
        down = tf.pad(down, [[0, 0], [1, 0], [0, 0]]) - tf.pad(down, [[0, 0], [0, 1], [0, 0]])
        right = tf.pad(right, [[0, 0], [0, 0], [1, 0]]) - tf.pad(right, [[0, 0], [0, 0], [0, 1]])
        return down + right

    def squared_magnitudes(self, coefficients):
        """The square of the norm of each group, real (batch, 1, rows, width)."""
        return tf.reduce_sum(_squared(coefficients), 1, keepdims=True)


class Haar(NamedTuple):
    """The details of Haar wavelets at all shifts, over so many levels: a group is one coefficient.

    The transform without decimation is the mean over those of the shifted images, as cycle spinning
    has it (Coifman and Donoho, 1995). It is periodic, and its norm is 1: with the last averages,
    which are not among the details, || D u || = || u ||.

    Attributes:
        levels: distances 1, 2, 4, ... of the pixels that are compared.
    """

    levels: int

    @property
    def squared_norm(self):
        """|| D ||^2 at most."""
        return 1.0

    def analyse(self, image):
        """D u, (batch, 3 levels, rows, width), of an image (batch, rows, width)."""
        details = []
        for level in range(self.levels):
            upper, lower = _halves(image, 2**level, 1)
            image, right = _halves(upper, 2**level, 2)
            details += [right, *_halves(lower, 2**level, 2)]
        return tf.stack(details, 1)

    def synthesise(self, coefficients):
        """D^H of coefficients."""
        image = tf.zeros_like(coefficients[:, 0])
        for level in reversed(range(self.levels)):
            right, left_lower, right_lower = tf.unstack(
                coefficients[:, 3 * level : 3 * level + 3], axis=1
            )
            upper = _from_halves(image, right, 2**level, 2)
            lower = _from_halves(left_lower, right_lower, 2**level, 2)
            image = _from_halves(upper, lower, 2**level, 1)
        return image

    def squared_magnitudes(self, coefficients):
        """The square of each coefficient."""
        return _squared(coefficients)


def _halves(image, distance, axis):
    """Half of the sum, and half of the difference, of pixels at a distance along an axis."""
    other = tf.roll(image, -distance, axis)
    return (image + other) / 2, (image - other) / 2


def _from_halves(total, difference, distance, axis):
    """The adjoint of `_halves`."""
    return (total + difference + tf.roll(total - difference, distance, axis)) / 2


def _squared(x):
    return tf.square(tf.math.real(x)) + tf.square(tf.math.imag(x))


def minimise(sense, inputs, transform, weight, iterations):
    """The image after so many iterations from A^H k on, differentiable in A^H k.

    Args:
        sense: the `Sense` of A.
        inputs: `zero_filled`, `sensitivity_maps` and `mask`.
        transform: D, such as `Differences`.
        weight: of the sparsity, > 0.
        iterations: of them all.
    """
    zero_filled = inputs["zero_filled"]
    maps, mask = inputs["sensitivity_maps"], inputs["mask"]
    primal_step = _STEP / _squared_norm(maps, mask)
    dual_step = 1 / (primal_step[:, None] * transform.squared_norm)
    primal_step, dual_step = (tf.cast(x, zero_filled.dtype) for x in (primal_step, dual_step))

    def step(image, dual, zero_filled):
        lower = image - primal_step * (sense.normal(image, maps, mask) - zero_filled)
        guess = lower - primal_step * transform.synthesise(dual)
        dual = _projected(dual + dual_step * transform.analyse(guess), transform, weight)
        return lower - primal_step * transform.synthesise(dual), dual

    start = (zero_filled, tf.zeros_like(transform.analyse(zero_filled)))
    image, _ = repeat(step, iterations, start, (zero_filled,))
    return image


@functools.lru_cache(maxsize=256)
def constants(power, iterations):
    """(L_k, L_r) of what `minimise` computes, for || A ||^2 <= a = `power`.

    docs/theorem.md proves that an iteration changes as a step on the data and a regulariser of gain
    1 do in a monotone network, whatever D and the weight are. The start A^H k is a step of weight 1
    from u = 0. Behind the last step, a regulariser adds nothing.
    """
    gains = np.ones(iterations)
    gains[0] = 0
    weights = np.full(iterations + 1, _STEP / power)
    weights[0] = 1
    return of_monotone(power, gains, weights, 1)


def _squared_norm(maps, mask):
    """A bound of || A ||^2 for each sample, (batch, 1, 1)."""
    brightest = tf.reduce_max(tf.reduce_sum(_squared(maps), 1), [1, 2], keepdims=True)
    heaviest = tf.reduce_max(tf.square(mask), [2, 3])[:, :, None]
    return brightest * tf.cast(heaviest, brightest.dtype)


def _projected(dual, transform, weight):
    """P: each group on the ball of radius `weight`."""
    energy = transform.squared_magnitudes(dual)
    # Inside the ball the factor is 1, and no root of 0 is differentiated.
    factor = weight * tf.math.rsqrt(tf.maximum(energy, weight**2))
    # `tf.cast` does the same. TensorFlow warns where that is differentiated.
    return tf.complex(factor, tf.zeros_like(factor)) * dual


def objective(sense, inputs, transform, weight, image):
    """1/2 || A u - k ||^2 + weight * sum_p | (D u)_p | of every sample, (batch,).

    Args:
        inputs: `kspace`, `sensitivity_maps` and `mask`.
        image: u.
    """
    kspace = sense.forward(image, inputs["sensitivity_maps"], inputs["mask"])
    misfit = tf.reduce_sum(_squared(kspace - inputs["kspace"]), [1, 2, 3]) / 2
    magnitudes = tf.sqrt(transform.squared_magnitudes(transform.analyse(image)))
    return misfit + weight * tf.reduce_sum(magnitudes, [1, 2, 3])
