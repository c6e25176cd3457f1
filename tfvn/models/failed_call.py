"""What is said of a model whose `call` fails while it is traced, or in Python while it runs."""

import contextlib
import re

import tensorflow as tf

from tfvn import checks
from tfvn.compat import plain_message

__all__ = ["Fault", "explain", "raised_outside"]


def explain(model, inputs, error):
    """Raises ValueError for what is wrong with a `call`, if that can be told from its error."""
    name = f"{type(model).__name__}.call"
    # Of TensorFlow's many errors where NumPy is given a tensor of a graph.
    if "numpy" in str(error).lower() and not isinstance(error, KeyError):
        first = plain_message(error).strip().splitlines()[0]
        raise ValueError(
            f"{name} must compute with TensorFlow, so that it has a gradient. Received: a call of "
            f"NumPy ({checks.shown(first)})"
        ) from error
    if not isinstance(error, KeyError):
        return
    # Keras puts lines of its own around the key.
    text = re.sub(r"\x1b\[\d+m", "", str(error.args[0]))
    lines = [line.strip("' ") for line in text.splitlines()]
    for key in ("kspace", "zero_filled", "initial_image"):
        if key in lines and key not in inputs:
            raise ValueError(
                f"{name} reads {key!r} from its inputs. Received: {sorted(inputs)}. The model's "
                f"attribute reads, {model.reads!r}, says which it is given."
            ) from error


class Fault(ValueError):
    """What is wrong with a model that Python computes: one sentence."""


@contextlib.contextmanager
def raised_outside():
    """Raises a `Fault` as it was, where TensorFlow has put the traceback of its Python around it.

    Raises:
        ValueError: with the one sentence of the fault.
    """
    try:
        yield
    except tf.errors.OpError as error:
        found = re.search(rf"{Fault.__name__}: (.*?)\nTraceback ", str(error), re.DOTALL)
        if found is None:
            raise
        raise ValueError(found[1]) from error
