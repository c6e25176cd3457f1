"""What is said of something that is no model, and of a model without a gradient."""

import os

from tfvn import checks
from tfvn.models.base import Reconstructor

__all__ = ["check_gradient", "check_model"]


def check_model(model, name="model"):
    """Checks that something is a model.

    Raises:
        ValueError: for a class, a path, a dict of inputs and anything else.
    """
    if isinstance(model, Reconstructor):
        return
    needs = f"{name} must be a tfvn.models.Reconstructor"
    if isinstance(model, type):
        made = f"{model.__name__}(...)"
        raise ValueError(
            f"{needs}. Received: the class {model.__name__}. Make an object of it: {made}."
        )
    raise ValueError(f"{needs}. Received: {name}={checks.shown(model)}.{_advice(model, name)}")


def _advice(model, name):
    if isinstance(model, (str, bytes, os.PathLike)):
        return " Load the file: tfvn.load_model(path)."
    if isinstance(model, dict) or getattr(model, "shape", None) is not None:
        swapped = " The model comes first, then the inputs: run(model, inputs)."
        return swapped if name == "model" else ""
    if callable(model) or callable(getattr(model, "reconstruct", None)):
        return (
            " Make it a subclass of Reconstructor, or adapt it: tfvn.models.from_keras, from_torch "
            "or from_function."
        )
    return ""


def check_gradient(model, gradient, key):
    """Checks that a gradient of the model's answer in an input exists, and is the whole of it.

    Raises:
        ValueError: where there is none, and of a model without one in the coil maps.
    """
    if key == "sensitivity_maps" and not model.has_maps_gradient:
        raise ValueError(
            f"{type(model).__name__} has no gradient in sensitivity_maps: it is differentiated by"
            " hand, in what is measured alone. Take a search without gradients, attacks=random."
        )
    if gradient is None:
        raise ValueError(
            f"{type(model).__name__}.call has no gradient in {key}: it must read it from its "
            "inputs, and compute its image from it with differentiable operations of TensorFlow."
        )
