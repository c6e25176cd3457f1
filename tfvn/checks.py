"""Checks of what a public function is given, at its door.

One sentence tells what was expected, what came and what to do. Nothing is converted in silence:
True is no number, and neither are "2.5", NaN or infinity.
"""

import math
import numbers
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "LARGEST",
    "LIMIT",
    "PRECISIONS",
    "DataWarning",
    "choice",
    "described",
    "flag",
    "function",
    "is_number",
    "name_of_layer",
    "needed",
    "number",
    "plain",
    "precision",
    "shown",
    "whole",
]

# Whole numbers, and numbers that files hold, stay below it in magnitude:
# `tfvn.models.network_files` reads no others.
LIMIT = 2**31
# A larger number would be infinite in single precision.
LARGEST = float(np.finfo(np.float32).max)
# What networks compute in.
PRECISIONS = ("float32", "float64")
_LONGEST = 200
# TensorFlow takes no others for its scopes; Keras 3 refuses the slash.
_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.-]{0,199}")


class DataWarning(UserWarning):
    """Data that can be used, and probably are not what they are taken for.

    The text says why, with a number.
    """


def shown(value):
    """A value as it stands in a message, in one line of at most 200 characters.

    An array is told by its type and shape, a dict by its keys, and a text stands in quotes.
    """
    is_one = isinstance(value, (type, np.generic))
    if not is_one and hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} of {_dtype_name(value)} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(str, value)) or 'nothing'}"[:_LONGEST]
    try:
        text = " ".join(repr(value).split())
    except Exception:  # A foreign object may fail at this too.
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _dtype_name(value):
    return getattr(value.dtype, "name", str(value.dtype))


def described(value, names):
    """The text `Class(name=value, ...)` of an object's attributes."""
    parts = [f"{name}={getattr(value, name)!r}" for name in names]
    return f"{type(value).__name__}({', '.join(parts)})"


def plain(value):
    """The Python number in a scalar of NumPy or TensorFlow; anything else as it is."""
    if isinstance(value, np.generic):
        return value.item()
    readable = isinstance(value, np.ndarray) or hasattr(value, "numpy")
    if readable and getattr(value, "shape", None) == ():
        return np.asarray(value).item()
    return value


def _refuse(name, expected, value, advice=""):
    raise ValueError(f"{name} must be {expected}. Received: {name}={shown(value)}{advice}")


def is_number(value):
    """Whether it is a finite number, not True or False."""
    value = plain(value)
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    # A whole number may be too large for a float.
    return real and abs(value) < math.inf


def number(
    name, value, least=None, above=None, limit=LARGEST, alternative="", most=None, below=None
):
    """A finite number as a float.

    Args:
        name: of the argument.
        value: what came for it.
        least, above: it must be >= `least`, and > `above`.
        most, below: it must be <= `most`, and < `below`.
        limit: it must be smaller in magnitude.
        alternative: what else is allowed there, for the message: "None or ".

    Raises:
        ValueError: for anything else.
    """
    found = plain(value)
    bounds = _Bounds(least, above, most, below)
    if not _fits(found, bounds, limit):
        expected = f"{alternative}a number{bounds.words()}"
        _refuse(name, expected, value, _too_large(found, limit))
    return float(found)


def whole(name, value, least=None, limit=LIMIT, alternative="", most=None):
    """A whole number as an int; arguments as `number`. 5.0 is one."""
    found = plain(value)
    bounds = _Bounds(least, None, most, None)
    if not _fits(found, bounds, limit) or int(found) != found:
        expected = f"{alternative}a whole number{bounds.words()}"
        _refuse(name, expected, value, _too_large(found, limit))
    return int(found)


class _Bounds(NamedTuple):
    """Between what a number must lie; None where it has no bound."""

    least: Any
    above: Any
    most: Any
    below: Any

    def hold(self, value):
        """Whether a finite number lies between them."""
        if self.least is not None and value < self.least:
            return False
        if self.above is not None and value <= self.above:
            return False
        if self.most is not None and value > self.most:
            return False
        return self.below is None or value < self.below

    def words(self):
        """What follows "a number" in a message."""
        signs = {">=": self.least, ">": self.above, "<=": self.most, "<": self.below}
        told = [f" {sign} {bound:.10g}" for sign, bound in signs.items() if bound is not None]
        return " and".join(told)


def _fits(found, bounds, limit):
    return is_number(found) and abs(found) < limit and bounds.hold(found)


def _too_large(found, limit):
    if not is_number(found) or abs(found) < limit:
        return ""
    told = f"{limit:.4g}"
    if isinstance(limit, int):
        told = f"2^{limit.bit_length() - 1}"
    return f". Its magnitude must be below {told}"


def flag(name, value):
    """True or False.

    Raises:
        ValueError: for anything else. The text "no" would be true.
    """
    if not isinstance(value, (bool, np.bool_)):
        _refuse(name, "True or False", value)
    return bool(value)


def function(name, value, call):
    """A function.

    Args:
        name: of the argument.
        value: what came for it.
        call: how it is called, such as "forward(inputs)".

    Raises:
        ValueError: for what cannot be called.
    """
    if not callable(value):
        _refuse(name, f"a function, called as {call}", value)
    return value


def choice(name, value, choices):
    """A text that is one of `choices`.

    Raises:
        ValueError: for anything else.
    """
    if not isinstance(value, str) or value not in choices:
        _refuse(name, f"one of {tuple(choices)}", value)
    return value


def needed(what, key, value, meaning):
    """The value of a setting that has no default.

    Args:
        what: the setting that needs it, in words.
        key: its name in a configuration.
        value: what was given.
        meaning: what it is.

    Raises:
        ValueError: if it is empty.
    """
    if not value:
        raise ValueError(f"{what} needs {key}, {meaning}. Received: {key}=''")
    return value


def name_of_layer(value):
    """The name of a network, or None, for which Keras takes one of its own.

    Raises:
        ValueError: for a name that TensorFlow or Keras refuses later, in the first call or in
            reading the saved network.
    """
    if value is not None and not (isinstance(value, str) and _NAME.fullmatch(value)):
        expected = "None or 1 to 200 of the characters A-Z a-z 0-9 . _ -, the first none of _ -"
        _refuse("name", expected, value)
    return value


def precision(dtype):
    """The precision of the variables, in which everything is computed: "float32" or "float64".

    A policy of mixed precision would round kernels and masks. Its variables are float32.

    Args:
        dtype: a name, a type or a policy of Keras; None means the global policy.

    Raises:
        ValueError: for another one, half precision too.
    """
    # Command lines are checked by this module before TensorFlow is imported.
    import tensorflow as tf
    from tensorflow import keras

    policy = dtype
    if dtype is None:
        policy = keras.mixed_precision.global_policy()
    try:
        if isinstance(policy, str):
            policy = keras.mixed_precision.Policy(policy)
        found = tf.as_dtype(getattr(policy, "variable_dtype", policy)).name
    except (TypeError, ValueError):
        found = None
    if found not in PRECISIONS:
        source = "the global policy of Keras" if dtype is None else "dtype"
        received = shown(getattr(policy, "name", policy))
        raise ValueError(
            f"Networks compute in float32 or float64. Received: {source}={received}. "
            "Pass dtype='float32', or call tf.keras.mixed_precision.set_global_policy('float32')."
        )
    return found
