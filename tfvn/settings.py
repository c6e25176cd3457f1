"""Keys of a configuration: the keyword arguments of a constructor, and texts that stand for values.

A default says of what type a key is. Where it is None, or where there is none, a text is read as
YAML would read it.
"""

import functools
import inspect
import os
import re
from numbers import Real
from typing import Any, NamedTuple

from tfvn import checks

__all__ = [
    "Key",
    "REQUIRED",
    "as_text",
    "check",
    "from_text",
    "keys_of",
    "received",
    "texts_of",
]

# The default of a key that must be given.
REQUIRED = inspect.Parameter.empty
# Arguments of every Keras model and layer. No configuration sets them.
_OF_KERAS = {"name", "dtype", "trainable"}
# Other numbers become infinite above the largest of single precision.
_LARGEST_SINGLE = 3.4e38
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NOTHING = {"", "null", "none", "~"}
# They go into tables, into HDF5 and to the file system.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_WHOLE = re.compile(r"\s*[-+]?[0-9]{1,18}\s*")
_DECIMAL = re.compile(r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*")
# An argument in a docstring: `name: text` or `name, other: text`.
_ARGUMENT = re.compile(r"    (\w+(?:, \w+)*): (.*)")


class Key(NamedTuple):
    """One key of a section.

    name: of the keyword argument.
    default: its value where nothing else is said; `REQUIRED` if something must be said.
    meaning: what the constructor's docstring says of it.
    """

    name: str
    default: Any
    meaning: str

    @property
    def type(self):
        """bool, int, float, str or list; None where a value may be of several types."""
        if isinstance(self.default, (list, tuple)):
            return list
        for known in (bool, int, float, str):
            if isinstance(self.default, known):
                return known
        return None

    @property
    def written(self):
        """The default as a configuration file has it; "" where a value must be given."""
        if self.default is REQUIRED:
            return ""
        if self.type is list:
            return ",".join(map(str, self.default)) or "[]"
        if self.default is None:
            return "null"
        return str(self.default).lower() if self.type is bool else str(self.default)

    @property
    def is_whole(self):
        """Whether the numbers of a list are whole."""
        return all(isinstance(item, int) for item in self.default)


def keys_of(maker, without=()):
    """The keys that a constructor has.

    Args:
        maker: a class or a function.
        without: names of arguments that are given by the program and are no keys.

    Returns:
        A dict of names and `Key`s, in the order of the arguments.
    """
    found = dict(_all_keys(maker))
    for name in without:
        found.pop(name, None)
    return found


# A configuration asks for those of one class some hundred times.
@functools.lru_cache(maxsize=256)
def _all_keys(maker):
    """The keys of all arguments, as pairs of names and `Key`s."""
    meanings = _meanings(maker)
    found = {}
    for parameter in inspect.signature(maker).parameters.values():
        has_name = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if not has_name or parameter.name in _OF_KERAS:
            continue
        name = parameter.name
        found[name] = Key(name, parameter.default, meanings.get(name, ""))
    return tuple(found.items())


def _meanings(maker):
    """What the docstring says of each argument."""
    found = {}
    names = []
    _, _, arguments = (inspect.getdoc(maker) or "").partition("Args:\n")
    for line in arguments.splitlines():
        if line and not line.startswith(" "):
            break
        match = _ARGUMENT.fullmatch(line)
        if match:
            names = match[1].split(", ")
            found.update(dict.fromkeys(names, match[2]))
        elif line.strip():
            for name in names:
                found[name] += f" {line.strip()}"
    return found


def check(name, key, value):
    """The value in the type of its key.

    Its limits are the constructor's.

    Args:
        name: of the key in a message, with its section.
        key: the `Key`.
        value: in Python.

    Raises:
        ValueError: for a value of another type.
    """
    value = checks.plain(value)
    if key.type is list:
        return _check_list(name, key, value)
    if key.type in (int, float):
        return _check_number(name, key.type, value)
    if key.type is None:
        return _check_any(name, value)
    if key.type is str:
        value = as_text(value)
    if not isinstance(value, key.type):
        raise ValueError(f"{name} must be {_EXPECTED[key.type]}. {received(name, value)}")
    if key.type is str:
        return _check_text(name, value)
    return value


_EXPECTED = {bool: "true or false", str: "a text"}


def _check_any(name, value):
    """The value of a key that says nothing of its type: what YAML could have made of a text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _check_text(name, value)
    if not isinstance(value, Real):
        raise ValueError(f"{name} must be a number or a text. {received(name, value)}")
    # 1 and 1.0 are one value.
    return _check_number(name, float, value)


def _check_text(name, value):
    if _CONTROL.search(value):
        raise ValueError(
            f"{name} must be one line of text that can be written as UTF-8, without control"
            f" characters. {received(name, value)}"
        )
    return str(value)


def received(name, value):
    """The second sentence of a message: what came for a key."""
    return f"Received: {name}={checks.shown(value)}"


def as_text(value):
    """A path and, in Python, the number of the one slice that is meant are texts too."""
    if value is None:
        return ""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _check_list(name, key, value):
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    # A list that is empty by default may be empty.
    if not items and key.default:
        raise ValueError(f"{name} must hold at least one number. Received: {name}=[]")
    items = [_check_number(name, float, item) for item in items]
    if not key.is_whole:
        return items
    if any(item != int(item) for item in items):
        raise ValueError(f"{name} must be whole numbers. {received(name, value)}")
    return [int(item) for item in items]


def _check_number(name, kind, value):
    # NaN is no number of them, and infinity is not below the limit.
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not abs(value) < float("inf"):
        expected = "a finite number, such as 0.05, 1e-3 or 10"
        if kind is int:
            expected = "a whole number, such as 10"
        raise ValueError(f"{name} must be {expected}. {received(name, value)}")
    if kind is int and value != int(value):
        raise ValueError(f"{name} must be a whole number. {received(name, value)}")
    largest = checks.LIMIT if kind is int else _LARGEST_SINGLE
    if abs(value) >= largest:
        raise ValueError(
            f"{name} must be a number < {largest}, as it is kept in 32 bits."
            f" {received(name, value)}"
        )
    return kind(value)


def from_text(key, written):
    """What a text stands for, in the type of the key.

    A text that stands for nothing is returned as it is. `check` refuses it.

    Args:
        key: the `Key`.
        written: a text, or of a YAML file a list of texts.
    """
    if key.type is list:
        return _list_from_text(written)
    if not isinstance(written, str) or key.type is str:
        return written
    if key.type is bool:
        return _BOOLEANS.get(written.strip().lower(), written)
    if key.type is None:
        return _any_from_text(written)
    return _number_from_text(written)


def _list_from_text(written):
    if isinstance(written, str):
        written = texts_of(written)
    if not isinstance(written, list):
        return written
    return [_number_from_text(item) for item in written]


def texts_of(written):
    """The texts of a list that is written in one: `[a, b]` and `a,b`."""
    # Brackets are a nuisance on the command line.
    without = re.sub(r"^\s*\[(.*)\]\s*$", r"\1", written)
    if not without.strip():
        return []
    return [text.strip() for text in without.split(",")]


def _any_from_text(text):
    """What YAML makes of a text: nothing, a number, true or false, or the text itself."""
    word = text.strip().lower()
    if word in _NOTHING:
        return None
    if word in ("true", "false"):
        return _BOOLEANS[word]
    return _number_from_text(text)


def _number_from_text(text):
    """A decimal number, with or without an exponent. Leading zeros change nothing."""
    if _WHOLE.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        value = float(text)
        # Too large a number is told as it was written.
        if abs(value) < float("inf"):
            return value
    return text
