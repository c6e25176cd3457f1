"""A data-consistent answer: what is left to the model is what the data do not say.

    g(k) = argmin_u || A u - k ||^2 + mu || u - f(k) ||^2
         = f(k) + (A^H A + mu I)^-1 (A^H k - A^H A f(k))

As mu falls to 0, the part of g in the range of A^H becomes that of A^+ k, whatever f says, and the
part in the null space of A stays that of f. So an attack can change the first no more than it
changes A^+ k, and only the second can be hallucinated. The first follows the attacked data, though:
the projection lowers no effect of a change that lies in the range. `parts` tells both apart.

Source: Schwab, Antholzer and Haltmeier, Deep null space learning for inverse problems, Inverse
Problems 35(2), 2019, with Tikhonov's regularisation in the place of A^+.
"""

from typing import NamedTuple

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.defences.base import Defence, check_complex
from tfvn.models.base import magnitude
from tfvn.models.conjugate_gradient import after_steps, solve_regularised
from tfvn.physics import measurement

__all__ = ["Parts", "Projected", "parts"]


@keras.utils.register_keras_serializable(package="tfvn")
class Projected(Defence):
    """A model's answer, moved to agree with the data.

    Args:
        model: a `Reconstructor` without random draws, whose image has a phase.
        mu: the trust in the model's answer against the data, above 0.
        cg_steps: steps of conjugate gradients at most. 0 stands for the model itself.
        tolerance: they end before where the residual is this part of what it began with.

    Raises:
        ValueError: for settings outside their ranges, and for a model of magnitudes or of draws.
    """

    has_phase = True

    def __init__(self, model, mu=0.01, cg_steps=30, tolerance=1e-6):
        super().__init__(model)
        check_complex(model, "projected")
        self.mu = checks.number("mu", mu, above=0, limit=checks.LIMIT)
        self.cg_steps = checks.whole("cg_steps", cg_steps, 0)
        self.tolerance = checks.number("tolerance", tolerance, 0, below=1)

    def call(self, inputs):
        image = self.model.call_for(inputs, ())
        if not self.cg_steps:
            return image
        operands = inputs["sensitivity_maps"], inputs["mask"]
        zero_filled = measurement.zero_filled(self.sense, inputs)
        residual = zero_filled - self.sense.normal(image, *operands)
        correction = after_steps(
            self.sense, residual, *operands, self.mu, self.tolerance, self.cg_steps
        )
        return image + correction

    def answer(self, inputs, key=None):
        """The magnitude of the data-consistent image, real (batch, rows, width)."""
        del key
        return magnitude(self.call(inputs))


class Parts(NamedTuple):
    """A change of an image in two parts, whose sum it is.

    They are orthogonal as mu falls to 0. With mu > 0 a direction of singular value s is shared by
    both, and || range ||^2 + || null ||^2 falls short of that of all by twice their inner product.

    range, null: the parts that the measured data say something of, and nothing. Complex (batch,
        rows, width).
    """

    range: tf.Tensor
    null: tf.Tensor


def parts(sense, inputs, change, mu=1e-4, iterations=500):
    """The parts of a change of the image in the range of A^H and in the null space of A.

    The part in the range is (A^H A + mu I)^-1 A^H A c. A direction of singular value s is taken for
    s^2 / (s^2 + mu) in it and for mu / (s^2 + mu) in the other, so mu says what counts as measured.

    Args:
        sense: the `Sense` of A.
        inputs: the measurement.
        change: c, complex (batch, rows, width), such as the difference of two answers.
        mu: above 0.
        iterations: of conjugate gradients, at most.
    """
    checks.number("mu", mu, above=0)
    operands = inputs["sensitivity_maps"], inputs["mask"]
    seen = sense.normal(change, *operands)
    inside = solve_regularised(sense, seen, *operands, mu, iterations=iterations)
    return Parts(inside, change - inside)
