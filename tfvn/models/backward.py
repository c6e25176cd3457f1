"""Backward passes: what an attack takes for the gradient of a model's answer f.

    full               that of f, as the model computes it
    initial-image      that of f in its first iterate alone
    last-steps         that of the last steps of what f does for each measurement
    straight-through   that of a surrogate s: s(k) + constant, where the constant is f(k) - s(k)
    surrogate          s in the place of f: what is found is transferred to f

A model that optimises or samples for each measurement may have a gradient that is cut, or none. The
last three go round it. The model itself says what its last steps and its surrogate are.

Source: Athalye, Carlini and Wagner, Obfuscated Gradients, ICML 2018, for the straight-through pass.
"""

import tensorflow as tf

from tfvn import checks
from tfvn.choices import GRADIENTS, SURROGATE
from tfvn.physics import measurement

__all__ = ["answer_through", "check_gradient_exists", "without_gradient"]


def answer_through(gradient, model, inputs, key=None):
    """A model's answer, real (batch, rows, width), with one of the gradients above.

    Args:
        gradient: its name.
        model: a `Reconstructor`.
        inputs, key: as for `Reconstructor.answer`.
    """
    return _PASSES[gradient](model, inputs, key)


def without_gradient(gradient):
    """The name of the pass of the same answers that costs least."""
    return gradient if gradient == SURROGATE else "full"


def check_gradient_exists(model, gradient):
    """Checks that a model has a gradient of this name.

    Raises:
        ValueError: if it has not.
    """
    if gradient == "initial-image" and not model.reads_initial_image:
        raise ValueError(
            "gradient='initial-image' needs a model that reads `initial_image`. Received: "
            f"{checks.shown(model)}"
        )


def _full(model, inputs, key):
    return model.answer(inputs, key)


def _initial_image(model, inputs, key):
    first = measurement.zero_filled(model.sense, inputs)
    return model.answer({**measurement.stopped(inputs), "initial_image": first}, key)


def _last_steps(model, inputs, key):
    return model.last_steps(inputs, key)


def _straight_through(model, inputs, key):
    image = model.surrogate(inputs, key)
    return image + tf.stop_gradient(model.answer(measurement.stopped(inputs), key) - image)


def _surrogate(model, inputs, key):
    return model.surrogate(inputs, key)


_FUNCTIONS = (_full, _initial_image, _last_steps, _straight_through, _surrogate)
_PASSES = dict(zip((*GRADIENTS, SURROGATE), _FUNCTIONS))
