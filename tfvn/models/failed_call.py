"""What is said of a model whose `call` fails while it is traced."""

import re

from tfvn import checks
from tfvn.compat import plain_message

__all__ = ["explain"]


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
