"""Reconstructions without learning.

    zero-filled       A^H k
    CG-SENSE          min_u || A u - k ||^2 + mu || u ||^2
    total variation   min_u 1/2 || A u - k ||^2 + weight * sum_p | (grad u)_p |
    l1-wavelets       min_u 1/2 || A u - k ||^2 + weight * || W u ||_1

None of them has weights to train. `mu` and `weight` are chosen by validation: `python -m tfvn
tune`.
"""

import functools

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.certificates.lipschitz import Lipschitz, of_regularised, of_zero_filled
from tfvn.models import sparse
from tfvn.models.base import Reconstructor
from tfvn.models.conjugate_gradient import solve_regularised
from tfvn.models.unrolled import Unrolled

__all__ = ["CGSense", "TotalVariation", "Wavelet", "ZeroFilled"]

# More would take longer than anyone waits.
_MOST_ITERATIONS = 100_000
# Its square is no 0 in single precision.
_LEAST_WEIGHT = 1e-12


@keras.utils.register_keras_serializable(package="tfvn")
class ZeroFilled(Unrolled):
    """The zero-filled image A^H k: what every other model has to beat. Its largest change under
    || r || <= R is known in closed form, R times the largest eigenvalue of A^H A at most. It is an
    unrolled model of no stages.
    """

    certificates = (Lipschitz(of_zero_filled),)

    def __init__(self, readout_oversampling=False, **kwargs):
        super().__init__(readout_oversampling, **kwargs)
        self.built = True

    def unrolled(self, inputs, denoised):
        del denoised
        return tf.identity(inputs["zero_filled"])

    def get_config(self):
        return super().get_config()


@keras.utils.register_keras_serializable(package="tfvn")
class CGSense(Reconstructor):
    """CG-SENSE, regularised: the u of (A^H A + mu I) u = A^H k by conjugate gradients, which is
    linear in k up to the tolerance.

    Source: Pruessmann et al., MRM 46(4), 2001, with Tikhonov's regularisation in place of a few
    iterations.

    Args:
        mu: weight of || u ||^2, above 0: the gradient needs an equation with one solution.
        tolerance: a slice is done when the residual of the equation is this part of A^H k.
        iterations: the most of them.
        readout_oversampling: the image is the central half of the readout (height).

    Raises:
        ValueError: for settings outside their ranges, and for inputs of wrong type, rank or sizes.
    """

    def __init__(
        self, mu=0.01, tolerance=1e-6, iterations=1000, readout_oversampling=False, **kwargs
    ):
        super().__init__(readout_oversampling, **kwargs)
        self.mu = checks.number("mu", mu, above=0, limit=checks.LIMIT)
        self.tolerance = checks.number("tolerance", tolerance, above=0, below=1)
        self.iterations = checks.whole("iterations", iterations, 1, most=_MOST_ITERATIONS)
        self.built = True

    @property
    def certificates(self):
        """The constants of the exact solution, and what conjugate gradients may be off by.

        They end where the residual is below `tolerance` || A^H k ||, or after `iterations`. Then it
        is at most 2 sqrt(c) ((sqrt(c) - 1) / (sqrt(c) + 1))^iterations || A^H k || with the
        condition c = (a + mu) / mu (Saad, Iterative Methods for Sparse Linear Systems, 2003,
        section 6.11.3). || A^H k || is at most (a + mu) || u ||. Divided by mu, the residual bounds
        the error of u.
        """

        def residue(power):
            condition = (power + self.mu) / self.mu
            root = condition**0.5
            # Too few iterations prove nothing: then it is large.
            left = 2 * root * ((root - 1) / (root + 1)) ** self.iterations
            return max(self.tolerance, left) * condition

        return (Lipschitz(functools.partial(of_regularised, mu=self.mu), residue),)

    def call(self, inputs):
        return solve_regularised(
            self.sense,
            inputs["zero_filled"],
            inputs["sensitivity_maps"],
            inputs["mask"],
            self.mu,
            self.tolerance,
            self.iterations,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "mu": self.mu,
            "tolerance": self.tolerance,
            "iterations": self.iterations,
        }


@keras.utils.register_keras_serializable(package="tfvn")
class TotalVariation(Reconstructor):
    """The image of small total variation: isotropic, of the complex image, without differences
    across its edges. The solver and its source are in `tfvn.models.sparse`.

    Source of the model: Rudin, Osher and Fatemi, Physica D 60, 1992; for MRI Block, Uecker and
    Frahm, MRM 57(6), 2007.

    Args:
        weight: of the total variation.
        iterations: of the solver. A small weight and few lines need more of them: on a brain the
            objective was within 0.1 % of its minimum after 100. On the built-in knees with 15 % of
            the lines and a weight of 0.0003 it was 6 % above after 100, and 0.06 % after 2000. What
            has not ended is another model, and has another best weight.
        readout_oversampling: the image is the central half of the readout (height).

    Raises:
        ValueError: for settings outside their ranges, and for inputs of wrong type, rank or sizes.
    """

    # Its steps are differentiated in A^H k alone.
    has_maps_gradient = False

    def __init__(self, weight=0.001, iterations=100, readout_oversampling=False, **kwargs):
        super().__init__(readout_oversampling, **kwargs)
        self.weight = checks.number("weight", weight, _LEAST_WEIGHT, limit=checks.LIMIT)
        self.iterations = checks.whole("iterations", iterations, 1, most=_MOST_ITERATIONS)
        self.built = True

    @property
    def certificates(self):
        """The constants of so many iterations; none of more than `sparse.MOST_PROVED`.

        They grow with about the root of half of the iterations times their step. They hold of the
        iterations, whether these have ended at a minimum or not.
        """
        if self.iterations > sparse.MOST_PROVED:
            return ()
        return (Lipschitz(functools.partial(sparse.constants, iterations=self.iterations)),)

    @property
    def transform(self):
        """The transform after which images are sparse."""
        return sparse.Differences()

    def call(self, inputs):
        return sparse.minimise(self.sense, inputs, self.transform, self.weight, self.iterations)

    def objective(self, inputs, image):
        """What is minimised, of a complex image, (batch,). The inputs hold `kspace`."""
        return sparse.objective(self.sense, inputs, self.transform, self.weight, image)

    def get_config(self):
        return {**super().get_config(), "weight": self.weight, "iterations": self.iterations}


@keras.utils.register_keras_serializable(package="tfvn")
class Wavelet(TotalVariation):
    """The image with sparse wavelet coefficients: Haar wavelets at all shifts, see
    `tfvn.models.sparse`.

    Source of the model: Lustig, Donoho and Pauly, MRM 58(6), 2007.

    Args:
        weight: of the coefficients.
        levels: of the transform.
        iterations: of the solver.
        readout_oversampling: the image is the central half of the readout (height).

    Raises:
        ValueError: for settings outside their ranges, and for inputs of wrong type, rank or sizes.
    """

    def __init__(
        self, weight=0.001, levels=3, iterations=100, readout_oversampling=False, **kwargs
    ):
        super().__init__(weight, iterations, readout_oversampling, **kwargs)
        self.levels = checks.whole("levels", levels, 1, most=16)

    @property
    def transform(self):
        return sparse.Haar(self.levels)

    def get_config(self):
        return {**super().get_config(), "levels": self.levels}
