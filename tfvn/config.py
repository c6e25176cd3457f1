"""Configurations are read from YAML files and from `key=value` overrides.

Both can only set keys that the schema has. A wrong key never becomes a default. Both give texts,
and the key says what a text stands for.
"""

import contextlib
import dataclasses
import difflib
import os
import re
from typing import NamedTuple

import yaml

from tfvn import checks, yaml_text
from tfvn.schema import SECTIONS, Config
from tfvn.settings import check, from_text, received

__all__ = ["SECTIONS", "Config", "Key", "keys", "load"]

_LONGEST_KEY = 200
_FIELDS = {field.name: field for field in dataclasses.fields(Config)}


class Key(NamedTuple):
    """What is said of a key in `--help`.

    name: the key.
    default: its default as a configuration file has it.
    meaning: in one line.
    """

    name: str
    default: str
    meaning: str


def keys(section):
    """The keys of one of the `SECTIONS`, in a list of `Key`."""
    found = []
    for field in _FIELDS.values():
        if field.metadata["section"] == section:
            found.append(Key(field.name, _default(field), field.metadata["meaning"]))
    return found


def _default(field):
    if field.type is list:
        return ",".join(map(str, field.default))
    if field.type is bool:
        return str(field.default).lower()
    return str(field.default)


def load(path=None, overrides=(), **settings):
    """Reads a YAML file (or only the defaults) and applies changes to it.

    Args:
        path: of the file.
        overrides: texts such as `"sigma=0.05"`, as the command line has them. What stands after the
            first `=` means the same as behind the colon of a YAML file. Nothing in it is YAML: it
            has no quotes and no comment.
        settings: keys with their values in Python, such as `sigma=0.05`. They win over both.

    Raises:
        ValueError: for an unknown key (the message names the nearest known one), a wrong value or a
            file that is not a flat mapping. The message starts with where it was found: the file's
            name, --set, or `config.load`.
    """
    found = {}
    if path is not None:
        _check_path(path)
        with _naming(path):
            for key, value in _read_file(path).items():
                found[key] = (path, value)
    with _naming("--set"):
        for key, value in _read_overrides(overrides):
            found[key] = ("--set", value)
    with _naming("config.load"):
        for key, value in settings.items():
            _check_key(key)
            found[key] = ("config.load", value)
    values = {}
    for key, (source, value) in found.items():
        with _naming(source):
            values[key] = check(_FIELDS[key], value)
    try:
        return Config(**values)
    except ValueError as error:
        # Each fits alone, and several do not fit together.
        named = re.findall(r"\w+", str(error))
        sources = dict.fromkeys(str(source) for key, (source, _) in found.items() if key in named)
        raise ValueError(f"{', '.join(sources)}: {error}") from error


def _check_path(path):
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(
            f"config.load: expected the path of a YAML file. {received('path', path)}. "
            "Keys are given by their names: load(sigma=0.05)."
        )


def _read_file(path):
    """Keys and values of a YAML file."""
    values = {}
    for entry in yaml_text.read(path):
        _check_key(entry.key)
        if entry.key in values:
            raise ValueError(f"line {entry.line}: given more than once: {entry.key}")
        field = _FIELDS[entry.key]
        # `data_path: knees #2/scan.h5` would be `knees`.
        if entry.comment and field.type is str and not field.metadata["choices"]:
            raise ValueError(
                f"line {entry.comment_line}: is {checks.shown(entry.comment)} part of {entry.key}"
                " or a comment? Put the text in quotes, or a blank after the #."
            )
        values[entry.key] = from_text(field, entry.value)
    return values


def _read_overrides(overrides):
    """Pairs of keys and values."""
    is_list = isinstance(overrides, (list, tuple))
    if not is_list or not all(isinstance(text, str) for text in overrides):
        raise ValueError(
            f"expected a list of texts such as ['sigma=0.05']. {received('overrides', overrides)}"
        )
    pairs = []
    for override in overrides:
        key, separator, text = override.partition("=")
        key = key.strip()
        if not separator or not key:
            raise ValueError(
                f"an override has the form key=value. Received: {checks.shown(override)}"
            )
        _check_key(key)
        pairs.append((key, from_text(_FIELDS[key], text)))
    return pairs


def _check_key(key):
    if isinstance(key, str) and key in _FIELDS:
        return
    hint = ""
    nearest = difflib.get_close_matches(str(key)[:_LONGEST_KEY], _FIELDS, n=1, cutoff=0.3)
    if nearest:
        hint = f" Did you mean {nearest[0]!r}?"
    raise ValueError(f"unknown key {checks.shown(key)}.{hint}")


@contextlib.contextmanager
def _naming(source):
    """Errors begin with what is wrong: a file or a flag."""
    try:
        yield
    except IsADirectoryError as error:
        raise ValueError(
            f"cannot read the configuration {source}: it is a folder. Name a YAML file; a run"
            " directory is given by --run-dir."
        ) from error
    except OSError as error:
        raise ValueError(f"cannot read the configuration {source}: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{source}: {error}") from error
