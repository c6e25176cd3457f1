"""A convex regulariser of learned filters: the gradient of sum_p psi(K u)_p.

    K^T phi(K u),    psi' = phi

K are real filters on real and imaginary part with || K || <= 1, see `tfvn.models.filter_bank`, and
phi nondecreasing activations with slopes in (0, 1), see `tfvn.models.splines`. So the function is
convex, and its gradient H e apart at images e apart, with a symmetric 0 <= H <= 1. That is what the
constants of `tfvn.certificates.lipschitz` rest on.

No weight can leave these sets, whatever an optimizer does to it: filters lose their mean, and are
divided by the root of a bound of their norm.

Source of convex regularisers with learned splines: Goujon et al., IEEE TCI 9, 2023.
"""

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.compat import initial_seed
from tfvn.models import filter_bank
from tfvn.models.splines import MonotoneSpline
from tfvn.network_size import LARGEST_FILE

__all__ = ["OF_SPLINES", "Regulariser", "check_proved", "check_size"]

# Settings of an activation that regularisers and networks hand on.
OF_SPLINES = ("num_pieces", "reach", "first_slope", "last_slope")
# Filters whose norm is 0 stay 0.
_TINY = 1e-12
# What the conditions may be off by: rounding, in single and in double precision.
_ROUNDING = {"float32": 1e-4, "float64": 1e-10}
# Quotients of differences lose more digits.
_SLOPE = 1e-3
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
            **{name: getattr(self.activation, name) for name in OF_SPLINES},
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


def check_proved(name, broken):
    """Checks that all conditions of a proof hold.

    Args:
        name: of the model.
        broken: those that do not, as sentences.

    Raises:
        ValueError: if one does not.
    """
    if broken:
        raise ValueError(
            f"{name}: no Lipschitz constant is proved: {'; '.join(broken)}. The layers must"
            " compute what docs/theorem.md demands."
        )


def check_size(count, filters, kernel_size, num_pieces):
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
