"""A configuration while it is being read: what was said in several places, key by key.

Each place wins over those before it: a file, the command line, a call in Python.
"""

import contextlib
from typing import Any, NamedTuple

import yaml

from tfvn import checks
from tfvn.parts import Part, nearest
from tfvn.settings import REQUIRED, Key, check, from_text, received

__all__ = ["Assigned", "Draft", "Drafts", "SEED", "all_keys", "naming", "naming_all"]

SEED = Key("seed", 0, "of initial weights, the order of the data, noise and attacks")


class Assigned(NamedTuple):
    """One value that was said.

    path: the names that lead to it, a tuple.
    value: a text, a list of texts, or a value in Python.
    source: where it was said, as a message tells.
    is_text: whether the key says what it stands for.
    doubt: what may be a comment or a part of the text, of a file.
    """

    path: tuple
    value: Any
    source: str
    is_text: bool = False
    doubt: str = ""

    @property
    def name(self):
        """The key in full."""
        return ".".join(map(str, self.path))


class Draft:
    """A section while its keys are being read, one after the other.

    Args:
        section: the `Section`.
    """

    def __init__(self, section):
        self.section = section
        self.name = section.default
        # Where the name was said; None for the default.
        self.named_by = None
        # Pairs of a source and a value, by key.
        self.found = {}
        self.inside = {key: Draft(inner) for key, inner in section.inside.items()}

    def pick(self, name, source):
        """Takes a name. Of the keys that are known, those stay that the new class has too."""
        self.section.check_name(name)
        self.named_by = source
        if name != self.name:
            self.name = name
            keys = self.known
            self.found = {key: found for key, found in self.found.items() if key in keys}

    @property
    def known(self):
        """The keys that it has, by their names."""
        return self.section.keys(self.name)

    def set(self, key, value, source):
        """Takes the value of a key that it has."""
        name = f"{self.section.place}.{key}"
        self.found[key] = source, check(name, self.known[key], value)

    def values(self, keys):
        """The values of some keys; those that were not said have their defaults."""
        values = {}
        for key in keys.values():
            if key.name in self.found:
                _, values[key.name] = self.found[key.name]
                continue
            if key.default is REQUIRED:
                raise ValueError(
                    f"{self.section.place}.{key.name} is missing, which"
                    f" {self.section.picked_by_in_full}={self.name} needs: {key.meaning}"
                )
            value = key.default
            values[key.name] = list(value) if isinstance(value, tuple) else value
        return values

    def part(self):
        """The `Part`.

        Raises:
            ValueError: for a key that must be given and is not.
        """
        common = self.values(self.section.common_keys())
        inside = {key: draft.part() for key, draft in self.inside.items()}
        if common.get(self.section.instead):
            # It tells itself what it is.
            return Part(self.section, "", common, {}, inside)
        settings = self.values(self.section.own_keys(self.name))
        return Part(self.section, self.name, common, settings, inside)

    def sources(self):
        """Where its name and its keys were said, in order."""
        found = [] if self.named_by is None else [self.named_by]
        found += [source for source, _ in self.found.values()]
        for draft in self.inside.values():
            found += draft.sources()
        return list(dict.fromkeys(found))


class Drafts:
    """All sections, while they are being read.

    Args:
        sections: a dict of `tfvn.parts.Section` by their names.

    Attributes:
        one: the drafts of the sections that are there once, by their names.
        several: lists of drafts of the others, by their names.
    """

    def __init__(self, sections):
        self._sections = sections
        self._seed = 0
        self.one = {}
        self.several = {}
        for name, section in sections.items():
            if section.several:
                self.several[name] = [self._one_of(name, section.default)]
            else:
                self.one[name] = Draft(section)

    def _one_of(self, several, name, source=None):
        """The draft of one of several, of a name."""
        section = self._sections[several]
        section.check_name(name)
        draft = Draft(section._replace(place=f"{several}.{name}"))
        draft.pick(name, source)
        return draft

    def take(self, said):
        """Takes what was said in one place, a list of `Assigned`.

        Names come first: they decide which keys there are.
        """
        rest = []
        numbered = {name: {} for name in self.several}
        for assigned in said:
            with naming(assigned.source):
                if not self._took_name(assigned, numbered):
                    rest.append(assigned)
        for name, drafts in numbered.items():
            if drafts:
                self.several[name] = list(drafts.values())
        for assigned in rest:
            with naming(assigned.source):
                self._take_value(assigned, numbered)

    def _took_name(self, assigned, numbered):
        """Takes `defence=smoothed` and `defence.name=smoothed`; says whether it was one."""
        if assigned.path[0] in self.several:
            return self._took_one_of_several(assigned, numbered[assigned.path[0]])
        draft, rest = self._draft_of(assigned.path)
        if draft is None or (rest and rest != (draft.section.picked_by,)):
            return False
        if assigned.value == "" and not rest:
            # An empty section of a file.
            return True
        if not draft.section.picked_by:
            raise ValueError(
                f"{draft.section.place} is a section with keys of its own."
                f" {received(draft.section.place, assigned.value)}"
            )
        draft.pick(assigned.value, assigned.source)
        return True

    def _draft_of(self, path):
        """The draft of the innermost section that a path leads to, and the rest of the path."""
        draft = self.one.get(path[0])
        if draft is None:
            return None, path
        if len(path) > 1 and path[1] in draft.inside:
            return draft.inside[path[1]], path[2:]
        return draft, path[1:]

    def _took_one_of_several(self, assigned, numbered):
        """Takes a list of names, or the name of one of a list of sections."""
        section, *after = assigned.path
        if not after:
            self._take_list(section, assigned)
            return True
        number = after[0]
        if not isinstance(number, int):
            return False
        if after[1:] not in ([], [self._sections[section].picked_by]):
            numbered.setdefault(number, None)
            return False
        numbered[number] = self._one_of(section, assigned.value, assigned.source)
        return True

    def _take_list(self, section, assigned):
        """`attacks=ascent,antun`: those that are there stay as they are."""
        names = assigned.value
        if isinstance(names, str):
            names = names.strip().strip("[]").split(",")
        there = {draft.name: draft for draft in self.several[section]}
        chosen = []
        for name in names or ():
            name = str(name).strip()
            if name:
                chosen.append(there.get(name) or self._one_of(section, name, assigned.source))
        self.several[section] = chosen

    def _take_value(self, assigned, numbered):
        if assigned.path == ("seed",):
            seed = check("seed", SEED, _value(assigned, SEED))
            self._seed = checks.whole("seed", seed, 0)
            return
        draft, rest = self._draft_of(assigned.path)
        if assigned.path[0] in self.several:
            draft = self._one_at(assigned, numbered[assigned.path[0]])
            rest = assigned.path[2:]
        if draft is None or len(rest) != 1 or rest[0] not in draft.known:
            raise ValueError(_unknown(assigned, draft, self._sections))
        key = draft.known[rest[0]]
        draft.set(key.name, _value(assigned, key), assigned.source)

    def _one_at(self, assigned, numbered):
        """The draft, of several, that a path leads to; None where none has such a name."""
        section, place, *_ = assigned.path
        if isinstance(place, int):
            if numbered[place] is None:
                raise ValueError(
                    f"each of the {section} must have a name. Received: one without, number"
                    f" {place + 1}. Known are {', '.join(self._sections[section].table)}."
                )
            return numbered[place]
        found = [draft for draft in self.several[section] if draft.name == place]
        if len(found) > 1:
            raise ValueError(
                f"{assigned.name} stands for {len(found)} {section} of this configuration. Change"
                " the file."
            )
        if found:
            return found[0]
        if place in self._sections[section].table:
            names = [draft.name for draft in self.several[section]]
            raise ValueError(
                f"there is no {place} among the {section} of this configuration:"
                f" {', '.join(names)}. Add it: {section}={','.join([*names, place])}"
            )
        return None

    def parts(self):
        """What the constructor of a configuration takes: the seed, and `tfvn.parts.Part`s.

        Raises:
            ValueError: for a key that must be given and is not.
        """
        found = {"seed": self._seed}
        for name in self._sections:
            if name in self.one:
                found[name] = _part_of(self.one[name])
            else:
                found[name] = tuple(_part_of(draft) for draft in self.several[name])
        return found


def _part_of(draft):
    with naming_all(draft):
        return draft.part()


def _value(assigned, key):
    """The value of a key in Python, not yet checked."""
    if assigned.doubt and key.type in (str, None):
        # `path: knees #2/scan.h5` would be `knees`.
        raise ValueError(
            f"{assigned.doubt} part of {assigned.name} or a comment? Put the text in quotes, or a"
            " blank after the #."
        )
    if not assigned.is_text:
        return assigned.value
    return from_text(key, assigned.value)


def _unknown(assigned, draft, sections):
    """The sentence on a key that there is not."""
    text = f"unknown key {checks.shown(assigned.name)}."
    if draft is not None:
        section = draft.section
        others = [name for name in section.table if assigned.path[-1] in section.keys(name)]
        if others:
            return (
                f"{text} {section.picked_by_in_full} is {draft.name}, and the key is one of"
                f" {', '.join(others)}."
            )
    return text + nearest(assigned.name, all_keys(sections))


def all_keys(sections):
    """All keys in full, whatever is named, in a dict of `tfvn.settings.Key`.

    Args:
        sections: a dict of `tfvn.parts.Section` by their names.
    """
    found = {"seed": SEED}
    for section in sections.values():
        for inner in (section, *section.inside.values()):
            if inner.picked_by:
                found[inner.picked_by_in_full] = Key(inner.picked_by, inner.default, "")
            for name in inner.table or [""]:
                place = f"{inner.place}.{name}" if inner.several else inner.place
                for key in inner.keys(name).values():
                    found.setdefault(f"{place}.{key.name}", key)
    return found


@contextlib.contextmanager
def naming_all(*drafts):
    """Errors begin with all places where the settings of some sections were said."""
    try:
        yield
    except ValueError as error:
        sources = dict.fromkeys(source for draft in drafts for source in draft.sources())
        raise ValueError(f"{', '.join(sources) or 'config.load'}: {error}") from error


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
