"""The convex ridge regulariser: the image that minimises a convex function with learned filters.

    min_u  1/2 || A u - k ||^2 + mu / 2 || u ||^2 + b sum_p psi(K u)_p

    G(u) = A^H A u - A^H k + mu u + b K^T phi(K u) = 0,    psi' = phi

K^T phi(K u) is a `tfvn.models.regulariser`, and b > 0 is learned beside it. mu is a setting. It
makes the minimum one image, and the image a map of k that is Lipschitz with 1 / (2 sqrt(mu)),
whatever is learned: docs/theorem.md.

The minimum is found by accelerated gradient steps from u = 0 on, with L = a + mu + b >= the norm of
the Hessian, a >= || A ||^2, and q = sqrt(mu / L):

    u' = y - G(y) / L,    y <- u' + (1 - q) / (1 + q) (u' - u),    u <- u'.

A slice is done where || G(y) || <= tolerance || A^H k ||; then y is the answer, no further than
|| G(y) || / mu from the minimum. The certificate counts this. Batch mates do not matter.

The gradient is that of the minimum: from G(u) = 0 follows H du = -dG, H the Hessian, at what else
the image depends on. H^-1 is applied by conjugate gradients, and no iteration is kept in memory.

Source: Goujon et al., IEEE TCI 9, 2023, for the regulariser; Nesterov, Introductory Lectures on
Convex Optimization, 2004, scheme 2.2.11 and theorem 2.2.3, for the steps and for how fast they are.
"""

import functools
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.certificates.lipschitz import Lipschitz, of_convex
from tfvn.gradients import with_gradient
from tfvn.models.base import Reconstructor
from tfvn.models.conjugate_gradient import solve
from tfvn.models.features import as_channels, as_complex, as_image
from tfvn.models.regulariser import OF_SPLINES, Regulariser, check_proved, check_size
from tfvn.models.splines import RATE

__all__ = ["ConvexRidge"]

# More would take longer than anyone waits.
_MOST_ITERATIONS = 100_000
# Sums of single precision make L so much too small.
_UP = 1 + 1e-4


@keras.utils.register_keras_serializable(package="tfvn")
class ConvexRidge(Reconstructor):
    """The minimum of a data term, of mu / 2 || u ||^2 and of a convex regulariser that is learned.

    Args:
        mu: weight of || u ||^2 / 2, above 0. L_k is 1 / (2 sqrt(mu)).
        filters: filters of the regulariser.
        kernel_size: side of a filter, odd.
        num_pieces: linear pieces of an activation, for |x|.
        reach: where the last of them begins, before the training.
        first_slope, last_slope: of the activations, before the training.
        strength: b before the training.
        tolerance: a slice is done when || G || is this part of || A^H k ||. An answer may be off by
            this times (a + mu + b) / mu, as a part of its norm. The certificate adds it. Single
            precision does not reach less than about 1e-6.
        training_tolerance: the same in a training, and of its gradients.
        gradient_tolerance: of the conjugate gradients of all other gradients.
        iterations: the most of them.
        readout_oversampling: the image is the central half of the readout (height).
        seed: of the initial filters.

    Call arguments:
        inputs: the measurement. Returns the complex image (batch, rows, width).

    Raises:
        ValueError: for settings outside their ranges, and for inputs of wrong type, rank or sizes.
    """

    _NOT_OF_ARCHITECTURE = ("name", "seed")

    def __init__(
        self,
        mu=0.01,
        filters=8,
        kernel_size=5,
        num_pieces=9,
        reach=0.02,
        first_slope=0.95,
        last_slope=0.0025,
        strength=4.0,
        tolerance=1e-5,
        training_tolerance=0.01,
        gradient_tolerance=0.001,
        iterations=2000,
        readout_oversampling=False,
        seed=0,
        **kwargs,
    ):
        super().__init__(readout_oversampling, **kwargs)
        self.mu = checks.number("mu", mu, above=0, limit=checks.LIMIT)
        self.strength = checks.number("strength", strength, above=0, limit=checks.LIMIT)
        self.tolerance = checks.number("tolerance", tolerance, above=0, below=1)
        self.training_tolerance = checks.number(
            "training_tolerance", training_tolerance, above=0, below=1
        )
        self.gradient_tolerance = checks.number(
            "gradient_tolerance", gradient_tolerance, above=0, below=1
        )
        self.iterations = checks.whole("iterations", iterations, 1, most=_MOST_ITERATIONS)
        self.seed = checks.whole("seed", seed)
        check_size(1, filters, kernel_size, num_pieces)
        self.regulariser = Regulariser(
            filters,
            kernel_size,
            num_pieces,
            reach,
            first_slope,
            last_slope,
            seed=1000 * self.seed,
            name="regulariser",
            dtype=self.dtype,
        )
        self.raw_strength = self.add_weight(name="raw_strength", shape=(), initializer="zeros")
        self.built = True

    def get_config(self):
        own = self.regulariser.get_config()
        return {
            **super().get_config(),
            "mu": self.mu,
            **{name: own[name] for name in ("filters", "kernel_size", *OF_SPLINES)},
            "strength": self.strength,
            "tolerance": self.tolerance,
            "training_tolerance": self.training_tolerance,
            "gradient_tolerance": self.gradient_tolerance,
            "iterations": self.iterations,
            "seed": self.seed,
        }

    @property
    def parameter_blocks(self):
        """The blocks of iPALM: the filters, the activations, and b."""
        activation = self.regulariser.activation
        return {
            "kernel": [self.regulariser.raw_kernel],
            "activation": [activation.raw_slopes, activation.raw_reach],
            "strength": [self.raw_strength],
        }

    def weight(self):
        """b: `strength` times or divided by exp(RATE) at most."""
        raw = tf.clip_by_value(tf.convert_to_tensor(self.raw_strength), -1, 1)
        return self.strength * tf.exp(RATE * raw)

    def call(self, inputs):
        return self._minimum(inputs, self.tolerance, self.gradient_tolerance)

    def training_images(self, inputs, wanted):
        del wanted
        inputs = self.measured(inputs)
        return [(1.0, self._minimum(inputs, self.training_tolerance, self.training_tolerance))]

    def _minimum(self, inputs, tolerance, gradient_tolerance):
        """The image of G = 0, differentiable once in A^H k, in the maps and in all weights."""
        problem = _Problem(
            self.sense,
            self.regulariser,
            self.mu,
            inputs["zero_filled"],
            inputs["sensitivity_maps"],
            inputs["mask"],
            self.regulariser.kernel(),
            self.weight(),
        )
        fixed = problem.without_gradient()
        image = fixed.solved(tolerance, self.iterations)
        curvature = fixed.curvature_at(image)

        def gradient(cotangent):
            image = solve(curvature, cotangent, (), gradient_tolerance, self.iterations)
            return [-image]

        return with_gradient(image, [problem.slope(image)], gradient)

    @property
    def certificates(self):
        """The constants of the minimum, and what the solver may be off by.

        Raises:
            ValueError: if a condition of the proof does not hold.
        """
        check_proved(self.name, self.broken_conditions())
        strength = float(self.weight()) * self.regulariser.gain()

        def residue(power):
            condition = (power + self.mu + strength) / self.mu
            # Too few iterations prove nothing: then it is large.
            left = (1 - condition**-0.5) ** self.iterations * (condition + 1)
            return max(self.tolerance * condition, left**0.5)

        constants = functools.partial(of_convex, mu=self.mu, strength=strength)
        return (Lipschitz(constants, residue),)

    def broken_conditions(self):
        """Which of what the certificate demands does not hold, as sentences; [] where all does."""
        broken = self.regulariser.broken_conditions()
        return [f"of the regulariser {sentence}" for sentence in broken]

    def memory_per_image(self, shape):
        """About the bytes that an image of (batch, coils, height, width) takes in a gradient pass:
        six arrays of features, and eight arrays of coils.
        """
        _, coils, height, width = shape
        numbers = 6 * self.regulariser.filters + 16 * coils
        return tf.as_dtype(self.dtype).size * height * width * numbers


class _Problem(NamedTuple):
    """G of a batch: what is minimised, by its slope and its curvature.

    sense, regulariser, mu: of the model.
    zero_filled, maps, mask: of the measurement.
    kernel: of the regulariser.
    weight: b.
    """

    sense: Any
    regulariser: Any
    mu: float
    zero_filled: tf.Tensor
    maps: tf.Tensor
    mask: tf.Tensor
    kernel: tf.Tensor
    weight: tf.Tensor

    def without_gradient(self):
        """The same problem, of numbers that nothing is differentiated in."""
        names = ("zero_filled", "maps", "kernel", "weight")
        return self._replace(**{name: tf.stop_gradient(getattr(self, name)) for name in names})

    def _smooth(self, image):
        """(A^H A + mu) u."""
        return self.sense.normal(image, self.maps, self.mask) + self.mu * image

    def slope(self, image):
        """G(u)."""
        pulled = as_image(self.weight * self.regulariser(as_channels(image), self.kernel))
        return self._smooth(image) - self.zero_filled + pulled

    def curvature_at(self, image):
        """The Hessian at u: a function of an image, linear, symmetric and at least mu."""
        regulariser, kernel = self.regulariser, self.kernel
        features = regulariser.analyse(as_channels(image), kernel)
        slopes = tf.stop_gradient(self.weight * regulariser.activation.derivative(features))

        def curvature(image):
            channels = as_channels(image)
            stretched = slopes * regulariser.analyse(channels, kernel)
            return self._smooth(image) + as_image(
                regulariser.synthesise(stretched, kernel, channels)
            )

        return curvature

    def solved(self, tolerance, iterations):
        """The image with || G || <= tolerance || A^H k ||, or that of the last iteration."""
        power = tf.square(self.sense.norm_bound(self.maps, self.mask))
        largest = (power[:, None, None] + self.mu + self.weight) * _UP
        ratio = tf.sqrt(self.mu / largest)
        length, momentum = as_complex(1 / largest), as_complex((1 - ratio) / (1 + ratio))
        enough = tolerance**2 * _energy(self.zero_filled)

        def is_busy(image, ahead, slope):
            return tf.reduce_any(_energy(slope) > enough)

        def step(image, ahead, slope):
            busy = _energy(slope) > enough
            moved = tf.where(busy, ahead - length * slope, image)
            ahead = tf.where(busy, moved + momentum * (moved - image), ahead)
            # A slice that is done has the same slope again.
            return moved, ahead, tf.ensure_shape(self.slope(ahead), slope.shape)

        start = tf.zeros_like(self.zero_filled)
        image, ahead, slope = tf.while_loop(
            is_busy, step, (start, start, self.slope(start)), maximum_iterations=iterations
        )
        done = _energy(slope) <= enough
        return tf.stop_gradient(tf.where(done, ahead, image))


def _energy(image):
    """|| u ||^2 of every sample, (batch, 1, 1)."""
    squares = tf.square(tf.math.real(image)) + tf.square(tf.math.imag(image))
    return tf.reduce_sum(squares, [1, 2], keepdims=True)
