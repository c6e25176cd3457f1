"""One key of a configuration: its limits, its check, and the texts that stand for its values."""

import dataclasses
import os
import re
from numbers import Real

from tfvn import checks, ranges

__all__ = ["check", "from_text", "received", "setting"]

# Whole numbers are 32-bit integers in TensorFlow. The reader of networks takes none larger.
_LIMIT = 2**31
# Other numbers become infinite above the largest of single precision.
_LARGEST_SINGLE = 3.4e38
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
# They go into tables, into HDF5 and to the file system.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_WHOLE = re.compile(r"\s*[-+]?[0-9]{1,18}\s*")
_DECIMAL = re.compile(r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*")


def setting(
    section,
    default,
    meaning,
    minimum=None,
    above=None,
    maximum=None,
    below=None,
    whole=False,
    choices=None,
    numbers=None,
    optional=False,
):
    """A field of the dataclass of all keys.

    Args:
        section: under which `--help` shows it.
        default: its value where nothing else is said.
        meaning: of the key, in one line.
        minimum, above, maximum, below: limits of a number, or of each number of a list.
        whole: whether the numbers of a list are whole.
        choices: the only texts that are allowed.
        numbers: of a text such as '1-10', what it is called in a message.
        optional: whether that text may be empty.
    """
    metadata = dict(section=section, meaning=meaning)
    metadata.update(minimum=minimum, above=above, maximum=maximum, below=below, whole=whole)
    metadata.update(choices=choices, numbers=numbers, optional=optional)
    return dataclasses.field(default=default, metadata=metadata)


def check(field, value):
    """The value in the type of its key.

    Raises:
        ValueError: for a value of another type or outside the limits.
    """
    if field.type is list:
        return _check_list(field, value)
    if field.type in (int, float):
        return _check_number(field, field.type, value)
    if field.type is str:
        value = _as_text(value)
    if not isinstance(value, field.type):
        kind = field.metadata["numbers"] or f"of type {field.type.__name__}"
        raise ValueError(f"{field.name} must be {kind}. {received(field.name, value)}")
    if field.type is str:
        _check_text(field, value)
    return value


def received(name, value):
    """The second sentence of a message: what came for a key."""
    return f"Received: {name}={checks.shown(value)}"


def _check_list(field, value):
    value = list(value) if isinstance(value, (list, tuple)) else [value]
    if not value:
        raise ValueError(f"{field.name} must hold at least one number. Received: {field.name}=[]")
    value = [_check_number(field, float, item) for item in value]
    if not field.metadata["whole"]:
        return value
    if any(item != int(item) for item in value):
        raise ValueError(f"{field.name} must be whole numbers. {received(field.name, value)}")
    return [int(item) for item in value]


def _as_text(value):
    """A path and, in Python, the number of the one slice that is meant are texts too."""
    if value is None:
        return ""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _check_text(field, value):
    choices = field.metadata["choices"]
    if choices and value not in choices:
        raise ValueError(
            f"{field.name} must be one of {', '.join(choices)}. {received(field.name, value)}"
        )
    if _CONTROL.search(value):
        raise ValueError(
            f"{field.name} must be one line of text that can be written as UTF-8, without control"
            f" characters. {received(field.name, value)}"
        )
    if not field.metadata["numbers"] or (field.metadata["optional"] and not value):
        return
    found = ranges.parse(value)
    if found.wrong:
        expected = found.wrong if found.is_text_of_numbers else field.metadata["numbers"]
        raise ValueError(f"{field.name} must be {expected}. {received(field.name, value)}")


def _check_number(field, kind, value):
    # NaN is no number of them, and infinity is not below the limit.
    if not isinstance(value, Real) or isinstance(value, bool) or not abs(value) < float("inf"):
        expected = "a finite number, such as 0.05, 1e-3 or 10"
        if kind is int:
            expected = "a whole number, such as 10"
        raise ValueError(f"{field.name} must be {expected}. {received(field.name, value)}")
    expected = _broken_limit(field, kind, value)
    if expected:
        raise ValueError(f"{field.name} must be {expected}. {received(field.name, value)}")
    return kind(value)


def _broken_limit(field, kind, value):
    """The limit that a number does not keep, in words; "" if it keeps all."""
    limits = field.metadata
    if kind is int and value != int(value):
        return "a whole number"
    if limits["minimum"] is not None and value < limits["minimum"]:
        return f"a number >= {limits['minimum']}"
    if limits["above"] is not None and value <= limits["above"]:
        return f"a number > {limits['above']}"
    if limits["below"] is not None and value >= limits["below"]:
        return f"a number < {limits['below']}"
    if limits["maximum"] is not None and value > limits["maximum"]:
        return f"a number <= {limits['maximum']}"
    largest = _LIMIT if kind is int else _LARGEST_SINGLE
    if abs(value) >= largest:
        return f"a number < {largest}, as it is kept in 32 bits"
    return ""


def from_text(field, written):
    """What a text stands for, in the type of the key.

    A text that stands for nothing is returned as it is. `check` refuses it.

    Args:
        field: the key's.
        written: a text, or of a YAML file a list of texts.
    """
    if field.type is list:
        return _list_from_text(written)
    if not isinstance(written, str) or field.type is str:
        return written
    if field.type is bool:
        return _BOOLEANS.get(written.strip().lower(), written)
    return _number_from_text(written)


def _list_from_text(written):
    if isinstance(written, str):
        # Brackets are a nuisance on the command line.
        written = re.sub(r"^\s*\[(.*)\]\s*$", r"\1", written).split(",")
    if not isinstance(written, list):
        return written
    return [_number_from_text(item) for item in written]


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
