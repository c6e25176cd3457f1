"""The monotone variational network: a variational network whose largest change is known.

    u <- u - lambda_0 (A^H A u - A^H k)                    m times, from u = 0 on
    then for t = 1..T:
    u <- u - j_t K_t^T phi_t(K_t u)
    u <- u - lambda_t (A^H A u - A^H k)                    m times

K_t are real filters on real and imaginary part with || K_t || <= 1, see `tfvn.models.filter_bank`,
and phi_t nondecreasing activations with slopes in (0, 1), see `tfvn.models.splines`. So each
regulariser is the gradient of a convex function, and takes away at most j_t < 2 times what it sees.
With 0 < lambda_t || A ||^2 < 2 the whole network has Lipschitz constants that are computed from j_t
and lambda_t alone, see `tfvn.certificates.lipschitz` and docs/theorem.md.

No weight can leave these sets, whatever an optimizer does to it. j_t are a softmax of weights times
`budget`, and lambda_t a sigmoid of weights times `largest_step`. Filters lose their mean, and are
divided by the root of a bound of their norm.

Source of the network: Hammernik et al., MRM 79(6), 2018; of convex regularisers with learned
splines: Goujon et al., IEEE TCI 9, 2023. The constants are derived in docs/theorem.md.
"""

import functools

import numpy as np
import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.certificates.lipschitz import Lipschitz, of_monotone
from tfvn.compat import initial_seed
from tfvn.models import filter_bank
from tfvn.models.base import Reconstructor
from tfvn.models.features import as_channels, as_complex, as_image
from tfvn.models.splines import RATE, MonotoneSpline
from tfvn.network_size import LARGEST_FILE

__all__ = ["MonotoneVariationalNetwork", "Regulariser"]

# j_t beyond would leave nothing of the bound: at 2 it is infinite.
_LARGEST_GAIN = 1.9
# lambda_t at the start, as a part of the largest one.
_FIRST_STEP = 0.9
# Filters whose norm is 0 stay 0.
_TINY = 1e-12
# More would take longer to trace than anyone waits.
_MOST_STAGES = 100
# What the conditions may be off by: rounding, in single and in double precision.
_ROUNDING = {"float32": 1e-4, "float64": 1e-10}
# Quotients of differences lose more digits.
_SLOPE = 1e-3
# Settings of an activation that regularisers and networks hand on.
_OF_SPLINES = ("num_pieces", "reach", "first_slope", "last_slope")
# Of the power iteration that looks for an image that K makes large.
_POWER_STEPS = 10
# Numbers of single precision may be so much too small.
_UP = 1 + 1e-6


@keras.utils.register_keras_serializable(package="tfvn")
class Regulariser(keras.layers.Layer):
    """K^T phi(K u), with || K || <= 1 and phi nondecreasing with slopes in (0, 1).

    Args:
        filters, kernel_size: number and side of the filters, which must be odd.
        num_pieces, reach, first_slope, last_slope: of the `MonotoneSpline`.
        seed: of the initial filters.

    Call arguments:
        channels: real (batch, rows, width, 2).
        kernel: what `kernel()` returns; None: it is made.

    Raises:
        ValueError: for settings outside their ranges.
    """

    def __init__(
        self,
        filters=16,
        kernel_size=7,
        num_pieces=9,
        reach=0.03,
        first_slope=0.95,
        last_slope=0.0025,
        seed=0,
        **kwargs,
    ):
        super().__init__(**{**kwargs, "dtype": checks.precision(kwargs.get("dtype"))})
        self.filters = checks.whole("filters", filters, 1)
        self.kernel_size = checks.whole("kernel_size", kernel_size, 3)
        if self.kernel_size % 2 == 0:
            raise ValueError(
                "kernel_size must be odd: filters and their transpose have one centre. Received:"
                f" kernel_size={kernel_size}"
            )
        # Those of a network's regularisers are a thousand times its own.
        self.seed = checks.whole("seed", seed, limit=2**63)
        self.raw_kernel = self.add_weight(
            name="raw_kernel",
            shape=(self.kernel_size, self.kernel_size, 2, self.filters),
            initializer=keras.initializers.RandomNormal(
                stddev=1 / self.kernel_size, seed=initial_seed(self.seed)
            ),
        )
        self.activation = MonotoneSpline(
            self.filters, num_pieces, reach, first_slope, last_slope, dtype=self.dtype
        )
        self.built = True

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            **{name: getattr(self.activation, name) for name in _OF_SPLINES},
            "seed": self.seed,
        }

    def kernel(self):
        """The filters of K, (k, k, 2, filters): of zero mean, and with || K || <= 1."""
        raw = tf.convert_to_tensor(self.raw_kernel)
        kernel = raw - tf.reduce_mean(raw, [0, 1], keepdims=True)
        return kernel / tf.sqrt(filter_bank.norm_bound(kernel) + _TINY)

    def analyse(self, channels, kernel):
        """K channels."""
        return filter_bank.analyse(channels, kernel)

    def synthesise(self, features, kernel, like):
        """K^T features, an image of the size of `like`."""
        return filter_bank.synthesise(features, kernel, like)

    def call(self, channels, kernel=None):
        if kernel is None:
            kernel = self.kernel()
        features = self.activation(self.analyse(channels, kernel))
        return self.synthesise(features, kernel, channels)

    def gain(self):
        """A bound of || K ||^2 times the largest slope of phi, in double precision, a number.

        It is made of the filters and slopes that `call` uses, and larger by what rounding may do.
        """
        kernel = tf.cast(self.kernel(), tf.float64)
        norm = filter_bank.norm_bound(kernel, filter_bank.FINE_POINTS)
        return float(norm) * float(tf.reduce_max(self.activation.slopes())) * _UP

    def broken_conditions(self):
        """Which of what the certificate demands of this layer does not hold, as sentences.

        It is measured: of what `analyse`, `synthesise` and `activation` compute, whatever class
        they are of.
        """
        allowed = _ROUNDING[self.dtype]
        kernel = self.kernel()
        shape = (1, self.kernel_size + 2, self.kernel_size + 1, 2)
        image = tf.random.stateless_normal(shape, [0, 0], dtype=self.dtype)
        features = self.analyse(image, kernel)
        other = tf.random.stateless_normal(features.shape, [1, 0], dtype=self.dtype)
        back = self.synthesise(other, kernel, image)
        broken = []
        gap = abs(float(tf.reduce_sum(features * other) - tf.reduce_sum(image * back)))
        if not gap <= allowed * float(tf.norm(image) * tf.norm(other)):
            broken.append(f"K^T is not the transpose of K (<K u, v> - <u, K^T v> = {gap:.2g})")
        norm = self._stretched(image, kernel)
        bound = float(filter_bank.norm_bound(tf.cast(kernel, tf.float64)))
        if not norm <= bound + allowed:
            broken.append(f"|| K ||^2 is {norm:.3g} and not at most {bound:.3g}")
        slopes = self.activation.measured_slopes()
        if not (slopes.min() >= -_SLOPE and slopes.max() <= 1 + _SLOPE):
            broken.append(
                f"phi has slopes from {slopes.min():.3g} to {slopes.max():.3g} and not in [0, 1]"
            )
        return broken

    def _stretched(self, image, kernel):
        """|| K u ||^2 / || u ||^2 of an image u that K makes large, a number."""
        for _ in range(_POWER_STEPS):
            image = self.synthesise(self.analyse(image, kernel), kernel, image)
            image /= tf.norm(image) + _TINY
        return float(tf.reduce_sum(tf.square(self.analyse(image, kernel))))


@keras.utils.register_keras_serializable(package="tfvn")
class MonotoneVariationalNetwork(Reconstructor):
    """The monotone variational network: `num_stages` regularisers between steps on the data.

    Args:
        num_stages: regularisers, T.
        data_steps: gradient steps on the data before the first regulariser and after each, m.
        filters: filters of a regulariser.
        kernel_size: side of a filter, odd.
        num_pieces: linear pieces of an activation, for |x|.
        reach: where the last of them begins, before the training.
        first_slope, last_slope: of the activations, before the training. They begin as clips at
            small values, and so the regularisers as shrinkages of filter responses. Activations
            that begin nearly linear stay so.
        largest_step: lambda_t stays below it; below 2. Up to 1 the data steps overshoot nothing.
        budget: the sum of all j_t. L_r^2 is about 1 + budget / 2 with many data steps.
        shared: whether all stages have one regulariser, each with its own j_t.
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
        num_stages=8,
        data_steps=4,
        filters=16,
        kernel_size=7,
        num_pieces=9,
        reach=0.03,
        first_slope=0.95,
        last_slope=0.0025,
        largest_step=1.0,
        budget=2.5,
        shared=False,
        readout_oversampling=False,
        seed=0,
        **kwargs,
    ):
        super().__init__(readout_oversampling, **kwargs)
        self.num_stages = checks.whole("num_stages", num_stages, 1, most=_MOST_STAGES)
        self.data_steps = checks.whole("data_steps", data_steps, 1, most=_MOST_STAGES)
        self.largest_step = checks.number("largest_step", largest_step, above=0, below=2)
        self.budget = checks.number("budget", budget, above=0, limit=checks.LIMIT)
        self.shared = checks.flag("shared", shared)
        self.seed = checks.whole("seed", seed)
        self.regularisers = []
        sizes = {"filters": filters, "kernel_size": kernel_size, "num_pieces": num_pieces}
        count = 1 if self.shared else self.num_stages
        _check_size(count, **sizes)
        for number in range(count):
            regulariser = Regulariser(
                **sizes,
                reach=reach,
                first_slope=first_slope,
                last_slope=last_slope,
                seed=self.seed * 1000 + number,
                name=f"regulariser_{number}",
                dtype=self.dtype,
            )
            self.regularisers.append(regulariser)
        self.raw_gains = self.add_weight(
            name="raw_gains", shape=(self.num_stages,), initializer="zeros"
        )
        self.raw_steps = self.add_weight(
            name="raw_steps",
            shape=(self.num_stages + 1,),
            # Keras' own constant goes through single precision.
            initializer=lambda shape, dtype=None: tf.constant(
                np.log(_FIRST_STEP / (1 - _FIRST_STEP)) / RATE, dtype or "float32", shape
            ),
        )
        self.built = True

    def get_config(self):
        own = self.regularisers[0].get_config()
        return {
            **super().get_config(),
            "num_stages": self.num_stages,
            "data_steps": self.data_steps,
            **{name: own[name] for name in ("filters", "kernel_size", *_OF_SPLINES)},
            "largest_step": self.largest_step,
            "budget": self.budget,
            "shared": self.shared,
            "seed": self.seed,
        }

    @property
    def parameter_blocks(self):
        """The blocks of iPALM: the filters, the activations, and the numbers of all stages."""
        activations = [regulariser.activation for regulariser in self.regularisers]
        return {
            "kernel": [regulariser.raw_kernel for regulariser in self.regularisers],
            "activation": [x for phi in activations for x in (phi.raw_slopes, phi.raw_reach)],
            "step": [self.raw_gains, self.raw_steps],
        }

    def gains(self):
        """j, (num_stages,), in (0, 2)."""
        shares = tf.nn.softmax(RATE * tf.convert_to_tensor(self.raw_gains))
        return tf.minimum(self.budget * shares, _LARGEST_GAIN)

    def data_weights(self):
        """lambda, (num_stages + 1,), in (0, largest_step)."""
        return self.largest_step * tf.sigmoid(RATE * tf.convert_to_tensor(self.raw_steps))

    def call(self, inputs):
        zero_filled = inputs["zero_filled"]
        gains, weights = self.gains(), as_complex(self.data_weights())
        kernels = [regulariser.kernel() for regulariser in self.regularisers]
        # The first step, from an image of zeros.
        image = self._fitted(weights[0] * zero_filled, weights[0], inputs, self.data_steps - 1)
        for number in range(self.num_stages):
            own = number % len(kernels)
            channels = as_channels(image)
            regulariser = self.regularisers[own](channels, kernels[own])
            image = as_image(channels - gains[number] * regulariser)
            image = self._fitted(image, weights[number + 1], inputs, self.data_steps)
        return image

    def _fitted(self, image, weight, inputs, count):
        """The image after `count` gradient steps on the data term."""
        zero_filled = inputs["zero_filled"]
        operands = inputs["sensitivity_maps"], inputs["mask"]

        def step(image):
            residual = self.sense.normal(image, *operands) - zero_filled
            return (tf.ensure_shape(image - weight * residual, image.shape),)

        (found,) = tf.while_loop(lambda _: True, step, (image,), maximum_iterations=count)
        return found

    @property
    def certificates(self):
        """The Lipschitz constants, if the conditions of their proof hold.

        Raises:
            ValueError: if one does not.
        """
        broken = self.broken_conditions()
        if broken:
            raise ValueError(
                f"{self.name}: no Lipschitz constant is proved: {'; '.join(broken)}. The layers"
                " must compute what docs/theorem.md demands."
            )
        constants = functools.partial(
            of_monotone,
            gains=self.certified_gains(),
            data_weights=self.data_weights().numpy().astype(float),
            data_steps=self.data_steps,
        )
        return (Lipschitz(constants),)

    def certified_gains(self):
        """j_t || K_t ||^2 times the largest slope of phi_t, (num_stages,), rounded up."""
        own = [regulariser.gain() for regulariser in self.regularisers]
        gains = self.gains().numpy().astype(float) * _UP
        return gains * np.resize(own, self.num_stages)

    def broken_conditions(self):
        """Which of what the certificate demands does not hold, as sentences; [] where all does."""
        broken = []
        for number, regulariser in enumerate(self.regularisers):
            found = regulariser.broken_conditions()
            broken += [f"of regulariser {number} {sentence}" for sentence in found]
        for name, numbers in (("j", self.gains()), ("lambda", self.data_weights())):
            numbers = numbers.numpy()
            if not (numbers.min() > 0 and numbers.max() < 2):
                broken.append(
                    f"{name}_t must lie between 0 and 2, and are from {numbers.min():.3g} to"
                    f" {numbers.max():.3g}"
                )
        return broken

    def memory_per_image(self, shape):
        """About the bytes that an image of (batch, coils, height, width) takes in a gradient pass:
        four arrays of features a stage, an image a step on the data, and four arrays of coils.
        """
        _, coils, height, width = shape
        steps = self.data_steps * (self.num_stages + 1)
        numbers = 4 * self.regularisers[0].filters * self.num_stages + 2 * steps + 8 * coils
        return tf.as_dtype(self.dtype).size * height * width * numbers


def _check_size(count, filters, kernel_size, num_pieces):
    """Checks that the weights of so many regularisers fit a file, before there are any."""
    filters = checks.whole("filters", filters, 1)
    kernel_size = checks.whole("kernel_size", kernel_size, 3)
    num_pieces = checks.whole("num_pieces", num_pieces, 1)
    # A file may hold each weight in double precision, twice more for an optimizer, and once more.
    most = LARGEST_FILE // 32
    if count * filters * (2 * kernel_size**2 + num_pieces + 1) > most:
        raise ValueError(
            f"A network has at most {most} weights. Received: filters={filters}, "
            f"kernel_size={kernel_size}, num_pieces={num_pieces}, of {count} regularisers. Make one"
            " of them smaller."
        )
