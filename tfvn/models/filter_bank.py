"""A bank of filters K with its exact transpose and a true bound of its norm.

    (K u)_f = sum_c k_{.,.,c,f} * u_c

The product is the cross-correlation; outside the image u is 0, and K^T cuts what lies there. So
<K u, v> = <u, K^T v> holds exactly for every image.

The norm, for images of every size. K is a part of the same product on the whole plane, so || K ||
is at most the largest singular value of its transfer function k^(w), a matrix of filters x 2, over
all frequencies w. For a unit vector v the function f(w) = || k^(w) v ||^2 is a trigonometric
polynomial, of degree n = k - 1 along both axes, and not negative. Let M be its largest value along
an axis, at w0. By the inequality of Bernstein and Szegő for f - M / 2, whose modulus is M / 2 at
most,

    f(w) >= M / 2 + M / 2 cos(n (w - w0)) = M cos^2(n (w - w0) / 2)    for n |w - w0| <= pi.

Of N points equally far apart one is nearer to w0 than pi / N. So the largest value on a grid of N
points along each axis is at least M cos^4(n pi / (2 N)), for both axes in turn, and

    || K ||^2 <= max_grid lambda_max(k^(w)^H k^(w)) / cos^4(n pi / (2 N)).

N is n times a number of points for each degree: 10 in the network, where the bound is 5 % above the
grid's, and 20 where it is certified, 1.2 %.

Source of the inequality: Szegő, Schriften der Königsberger Gelehrten Gesellschaft 5, 1928; it is
van der Corput and Schaake, Compositio Mathematica 2, 1935, in the form that is used here.
"""

import math

import numpy as np
import tensorflow as tf

from tfvn.models.convolutions import correlate, correlate_transpose, kernel_gradient, phases
from tfvn.shapes import static_or_dynamic_shape

__all__ = ["analyse", "norm_bound", "synthesise"]

# Points of the grid for each degree of the polynomial.
POINTS, FINE_POINTS = 10, 20
# Under the root, so that it is differentiable at 0. It makes the bound larger.
_EPSILON = 1e-20


def analyse(image, kernel):
    """K image, differentiable once in both.

    Args:
        image: real (batch, rows, width, 2).
        kernel: (k, k, 2, filters), k odd.

    Returns:
        Features of every pixel and of those that fill the image up to whole phases of the
        convolutions.
    """
    border = kernel.shape[0] // 2
    _, rows, width, _ = static_or_dynamic_shape(image)
    height, across = phases(kernel.shape[0])
    image = tf.pad(image, [[0, 0], [0, -rows % height], [0, -width % across], [0, 0]])

    @tf.custom_gradient
    def apply(image, kernel):
        def gradient(cotangent):
            back = correlate_transpose(cotangent, kernel, border)
            return back, kernel_gradient(image, cotangent, kernel.shape[0], border)

        return correlate(image, kernel, border), gradient

    return apply(image, kernel)


def synthesise(features, kernel, like):
    """K^T features, differentiable once in both.

    Args:
        features: as `analyse` returns them.
        kernel: that of K.
        like: an image; the result has its rows and columns.
    """
    border = kernel.shape[0] // 2

    @tf.custom_gradient
    def apply(features, kernel):
        def gradient(cotangent):
            back = correlate(cotangent, kernel, border)
            return back, kernel_gradient(cotangent, features, kernel.shape[0], border)

        return correlate_transpose(features, kernel, border), gradient

    _, rows, width, _ = static_or_dynamic_shape(like)
    return apply(features, kernel)[:, :rows, :width]


def norm_bound(kernel, points=POINTS):
    """An upper bound of || K ||^2 for images of every size, a scalar, differentiable.

    Args:
        kernel: (k, k, 2, filters), k > 1.
        points: of the grid for each degree, more than 1: the more, the nearer is the bound.
    """
    degree = kernel.shape[0] - 1
    transfer = _transfer(kernel, points * degree)
    first, second = transfer[..., 0, :], transfer[..., 1, :]
    # The larger eigenvalue of a Hermitian 2 x 2 matrix.
    powers = [tf.reduce_sum(_square(x), -1) for x in (first, second)]
    mixed = _square(tf.reduce_sum(tf.math.conj(first) * second, -1))
    half = (powers[0] - powers[1]) / 2
    largest = (powers[0] + powers[1]) / 2 + tf.sqrt(tf.square(half) + mixed + _EPSILON)
    return tf.reduce_max(largest) / math.cos(math.pi / (2 * points)) ** 4


def _transfer(kernel, size):
    """k^ on a grid of frequencies, complex (size, size // 2 + 1, 2, filters).

    The other half of the plane has the conjugate values, as kernels are real.
    """
    waves = np.exp(-2j * np.pi * np.outer(np.arange(size), np.arange(kernel.shape[0])) / size)
    kernel = tf.complex(kernel, tf.zeros_like(kernel))
    waves = tf.constant(waves, kernel.dtype)
    along = tf.tensordot(waves, kernel, [[1], [0]])
    found = tf.tensordot(waves[: size // 2 + 1], along, [[1], [1]])
    return tf.transpose(found, [1, 0, 2, 3])


def _square(x):
    """|x|^2 of complex numbers."""
    return tf.square(tf.math.real(x)) + tf.square(tf.math.imag(x))
