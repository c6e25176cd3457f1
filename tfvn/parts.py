"""Sections of a configuration, and the parts of an experiment that they stand for.

A section names a class of a table. The keys of the section are the keyword arguments of the class.
"""

import contextlib
import difflib
import inspect
import re
from collections.abc import Mapping
from typing import Callable, NamedTuple

import yaml

from tfvn import checks
from tfvn.settings import keys_of

__all__ = ["KeyGroup", "Part", "Section", "naming", "nearest", "where_said"]

_LONGEST_KEY = 200


class KeyGroup(NamedTuple):
    """Keys of a section that it has for one reason.

    name: the name that brings them; "" for those that the section has whatever it names.
    title: how a configuration picks the name; "" without one.
    keys: a list of `tfvn.settings.Key`.
    """

    name: str
    title: str
    keys: list


def _nothing():
    """What is common to the classes of a section that has no keys of its own."""


class Section(NamedTuple):
    """A section of a configuration.

    place: its name, with a dot before that of a section inside another.
    meaning: what it is about, in one line.
    table: the classes that it may name, by their names.
    picked_by: the key that names one.
    default: the name where nothing else is said.
    given: arguments of the classes that the program gives. They are no keys.
    common: a class or a function. Its arguments are keys of the section whatever it names.
    inside: the sections inside this one, by their names.
    instead: the key of `common` that, where it is given, stands in the place of a named class: the
        file of a trained network.
    several: whether there may be several of it, one after the other.
    """

    place: str
    meaning: str
    table: Mapping = {}
    picked_by: str = ""
    default: str = ""
    given: tuple = ()
    # No lambda: a configuration is sent to other processes.
    common: Callable = _nothing
    inside: Mapping = {}
    instead: str = ""
    several: bool = False

    def common_keys(self):
        """The keys of `common`, a dict of `tfvn.settings.Key`."""
        return keys_of(self.common)

    def own_keys(self, name):
        """The keys of the class of a name, a dict of `tfvn.settings.Key`."""
        if name not in self.table:
            return {}
        return keys_of(self.table[name], self.given)

    def keys(self, name):
        """All keys that the section has with a name, but for the one that picks the name."""
        return {**self.common_keys(), **self.own_keys(name)}

    def groups(self):
        """All its keys, a list of `KeyGroup`: those of every name, and those of each."""
        found = []
        common = list(self.common_keys().values())
        if common:
            found.append(KeyGroup("", "", common))
        if not self.picked_by:
            return found
        for name in self.names():
            title = f"{self.picked_by_in_full}={name}"
            if self.several:
                # Of several, a name leads to the one that has it.
                title = f"{self.place}.{name}"
            found.append(KeyGroup(name, title, list(self.own_keys(name).values())))
        return found

    def check_name(self, name):
        """Checks the name that picks a class.

        Raises:
            ValueError: for one that the table does not have.
        """
        known = self.names()
        if name in known:
            return
        key = self.picked_by_in_full
        hint = ""
        if self.table and isinstance(name, str):
            hint = nearest(name, known)
        if self.instead:
            file = f"{self.place}.{self.instead}"
            if _is_path(name):
                hint = f" A file is given by its own key: {file}={name[:_LONGEST_KEY]}"
            else:
                hint += f" A file is given by {file}."
        raise ValueError(
            f"{key} must be one of {', '.join(known)}. Received: {key}={checks.shown(name)}.{hint}"
        )

    def names(self):
        """All names that it may have; "none" stands for no part at all."""
        names = list(self.table)
        if self.default not in names:
            names.insert(0, self.default)
        return names

    @property
    def picked_by_in_full(self):
        """The key that names a class, with its section."""
        return f"{self.place}.{self.picked_by}"


def _is_path(name):
    """Whether a name is rather the path of a file."""
    return isinstance(name, str) and ("/" in name or "." in name)


def nearest(key, known):
    """A sentence on the known key that is nearest to another one; "" if none is near."""
    key = str(key)[:_LONGEST_KEY]
    full = {name: name for name in known}
    if "." not in key:
        for name in known:
            # Without its section, a key may be one of several: the first is named.
            full.setdefault(name.rpartition(".")[2], name)
    found = difflib.get_close_matches(key, list(full), n=1, cutoff=0.3)
    if not found:
        return ""
    return f" Did you mean {full[found[0]]!r}?"


class Part:
    """A section that has been read: a name and its settings, which are valid.

    Attributes:
        section: the `Section`.
        name: of the class; "" where nothing is named.
        common: the settings of the section itself, by key.
        settings: the keyword arguments of the class.
        inside: the parts inside this one, by their names.
        sources: where its name and its settings were said, by keys in full.

    Settings and parts inside are attributes too: `config.model.filters`.
    """

    def __init__(self, section, name, common, settings, inside=None, sources=None):
        own = vars(self)
        own.update(section=section, name=name, common=common, settings=settings)
        own.update(inside=inside or {}, sources=sources or {})

    def __setattr__(self, key, value):
        place = f"{self.section.place}.{key}"
        raise AttributeError(
            "a configuration is not changed. Make another one:"
            f" config.changed({{{place!r}: {checks.shown(value)}}})"
        )

    def __getattr__(self, key):
        if key in self._all():
            return self._all()[key]
        owner = getattr(self._of("section", None), "place", type(self).__name__)
        if self._of("name"):
            owner += f" {self.name!r}"
        raise AttributeError(f"{owner} has no setting {key!r}.")

    def _all(self):
        """Settings and parts inside, by key."""
        return {**self._of("common", {}), **self._of("settings", {}), **self._of("inside", {})}

    def _of(self, attribute, default=None):
        # While a copy is made there are none yet.
        return vars(self).get(attribute, default)

    def __eq__(self, other):
        return isinstance(other, Part) and self.flat() == other.flat()

    __hash__ = None

    def __repr__(self):
        return f"Part({self.flat()})"

    def get(self, key, default=None):
        """A setting, or `default` where the part has no such key."""
        return self._all().get(key, default)

    def has(self, key):
        """Whether the part has such a key."""
        return key in self._all()

    def make(self, **given):
        """Constructs what the part stands for.

        Args:
            given: arguments that the program gives. Those that the class does not have are left
                out.

        Raises:
            ValueError: for settings that the class refuses. The text names the keys in full, and
                begins with where they were said.
        """
        maker = self.section.table[self.name]
        known = inspect.signature(maker).parameters
        arguments = {key: value for key, value in given.items() if key in known}
        return self._named(maker, {**arguments, **self.settings})

    def check_common(self):
        """Checks the settings of the section itself.

        Raises:
            ValueError: for one outside its limits.
        """
        self._named(self.section.common, self.common)

    def _named(self, maker, settings):
        try:
            return maker(**settings)
        except ValueError as error:
            text = _in_full(str(error), self.section.place, settings)
            raise ValueError(where_said(self.sources, text)) from error

    def flat(self):
        """Keys in full and their values, a dict, with those of the parts inside."""
        place = self.section.place
        found = {}
        for key, value in self._told().items():
            found[f"{place}.{key}"] = value
        for part in self.inside.values():
            found.update(part.flat())
        return found

    def tree(self):
        """The section as a YAML file has it, a dict."""
        found = self._told()
        for key, part in self.inside.items():
            found[key] = part.tree()
        return found

    def _told(self):
        """The name and the settings by their keys."""
        found = {}
        if self.section.picked_by and self.name:
            found[self.section.picked_by] = self.name
        found.update({**self.common, **self.settings})
        if not found.get(self.section.instead):
            found.pop(self.section.instead, None)
        return found

    @property
    def is_named(self):
        """Whether there is a class to `make`: not for "none", and not for a file."""
        return self.name in self.section.table


def where_said(sources, text):
    """The text of an error, which begins with where the settings that it names were said.

    Of an error that names none, those are all settings of `sources`, a dict by keys in full.
    """
    named = [source for key, source in sources.items() if f"{key}=" in text]
    told = dict.fromkeys(named or sources.values())
    return f"{', '.join(told) or 'config.load'}: {text}"


def _in_full(text, place, keys):
    """The text of an error, in which keywords are called by their keys of the configuration.

    >>> _in_full("sizes must be different. Received: sizes=[1, 1]", "attacks.antun", ["sizes"])
    'attacks.antun.sizes must be different. Received: attacks.antun.sizes=[1, 1]'
    """

    def key_of(match):
        return f"{place}.{match[0]}" if match[0] in keys else match[0]

    # A name stands before "must" and before its value.
    return re.sub(r"(?<![\w.])\w+(?= must |=)", key_of, text)


@contextlib.contextmanager
def naming(source):
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
