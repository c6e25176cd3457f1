"""What attacks and smoothing take for a model, and what is said of anything else.

CONTRIBUTING.md, "What a model is", has the contract.

A model's answers are checked while a graph is traced: that costs nothing when it runs.
"""

import inspect
from collections.abc import Mapping

import tensorflow as tf

from tfvn.checks import shown

__all__ = ["answer", "check_gradient", "check_hashable", "check_model", "zero_filled"]


def check_model(model, name="model"):
    """Checks that something can be attacked or smoothed.

    Args:
        model: what came for a model.
        name: of the argument.

    Raises:
        ValueError: for a class, a path, a dict of inputs, an object without `.reconstruct`, or one
            whose parts are of the wrong kind.
    """
    needs = f"{name} must be an object with .reconstruct(inputs)"
    if isinstance(model, type):
        made = f"{model.__name__}(...)"
        raise ValueError(
            f"{needs}. Received: the class {model.__name__}. Make an object of it: {made}."
        )
    if not callable(getattr(model, "reconstruct", None)):
        raise ValueError(f"{needs}. Received: {name}={shown(model)}.{_advice(model, name)}")
    if hasattr(model, "zero_filled") and not callable(model.zero_filled):
        received = shown(model.zero_filled)
        raise ValueError(
            f"{name}.zero_filled must be a function of the inputs. Received: {received}"
        )
    sense = getattr(model, "sense", None)
    parts = [getattr(sense, part, None) for part in ("forward", "adjoint", "normal")]
    if sense is not None and not all(map(callable, parts)):
        raise ValueError(
            f"{name}.sense must be a tfvn.physics.sense.Sense. Received: {shown(sense)}"
        )
    if not _takes_one(model.reconstruct):
        raise ValueError(
            f"{name}.reconstruct must take one argument, the inputs. Received: "
            f"{shown(model.reconstruct)}"
        )


def check_hashable(model):
    """Checks that what is compiled for a model can be kept with it.

    Raises:
        ValueError: if it cannot.
    """
    try:
        hash(model)
    except TypeError:
        raise ValueError(
            f"model must be hashable: what is compiled is kept for it. Received: {shown(model)}. "
            "A dataclass is, with @dataclass(eq=False)."
        ) from None


def _takes_one(function):
    try:
        inspect.signature(function).bind({})
    except TypeError:
        return False
    except ValueError:  # of a function that tells nothing of its arguments
        return True
    return True


def _advice(model, name):
    if isinstance(model, (str, bytes)) or hasattr(model, "__fspath__"):
        return " Load the file: tfvn.load_model(path)."
    if isinstance(model, Mapping) or hasattr(model, "shape"):
        swapped = " The model comes first, then the inputs: run(model, inputs)."
        return swapped if name == "model" else ""
    if callable(model):
        return " A function or layer needs a class around it whose method reconstruct calls it."
    return ""


def zero_filled(model, inputs):
    """The model's A^H k of the inputs, checked: complex (batch, rows, width), of the precision of
    the maps.

    Raises:
        ValueError: for anything else.
    """
    maps = inputs["sensitivity_maps"]
    image = model.zero_filled(inputs)
    shape, dtype = getattr(image, "shape", ()), getattr(image, "dtype", None)
    if len(shape) != 3 or dtype is None or tf.as_dtype(dtype) != tf.as_dtype(maps.dtype):
        raise ValueError(
            f"{type(model).__name__}.zero_filled must return A^H k, {tf.as_dtype(maps.dtype).name} "
            f"of shape (batch, rows, width). Received: {shown(image)}"
        )
    return image


def answer(model, inputs, image):
    """The model's answer to `inputs`, checked: real, of the precision and the shape of `image`, a
    tensor.

    Raises:
        ValueError: for another answer, one that is no tensor, and a model that reads what it is not
            given.
    """
    name = f"{type(model).__name__}.reconstruct"
    try:
        found = model.reconstruct(inputs)
    except (AttributeError, NotImplementedError, TypeError) as error:
        # Of TensorFlow's many errors where NumPy is given a tensor of a graph.
        if "numpy" not in str(error).lower():
            raise
        raise ValueError(
            f"{name} must compute with TensorFlow, so that it has a gradient. Received: a call of "
            f"NumPy ({shown(str(error))})"
        ) from error
    except KeyError as error:
        key = error.args[0] if error.args else None
        if key not in ("kspace", "zero_filled", "initial_image"):
            raise
        raise ValueError(
            f"{name} reads {key!r} from its inputs. Received: {sorted(inputs)}. A model with "
            ".zero_filled(inputs) is given 'zero_filled', A^H k, in place of 'kspace'; one without "
            "it is given 'kspace'."
        ) from error
    if not tf.is_tensor(found):
        raise ValueError(
            f"{name} must return a tensor, made by TensorFlow. Received: {shown(found)}"
        )
    real = image.dtype.real_dtype
    if found.dtype.is_complex:
        raise ValueError(
            f"{name} must return a real image. Received: {found.dtype.name}. Take the magnitude: "
            "tfvn.models.variational.magnitude(image)."
        )
    if found.dtype != real:
        raise ValueError(
            f"{name} must return {real.name}, the precision of its inputs. Received: "
            f"{found.dtype.name}. Cast it: tf.cast(image, '{real.name}')."
        )
    if not found.shape.is_compatible_with(image.shape):
        raise ValueError(
            f"{name} must return an image of the shape of A^H k, (batch, rows, width) = "
            f"{tuple(image.shape)}. Received: {found.shape}"
        )
    return found


def check_gradient(model, gradient, key):
    """Checks that a gradient of the model's answer in an input exists.

    Raises:
        ValueError: where there is none.
    """
    if gradient is None:
        raise ValueError(
            f"{type(model).__name__}.reconstruct has no gradient in {key}: it must read it from "
            "its inputs, and compute its image from it with differentiable operations of "
            "TensorFlow."
        )
