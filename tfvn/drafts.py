"""A configuration while it is being read: what was said in several places, key by key.

Each place wins over those before it: a file, the command line, a call in Python.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tfvn import checks
from tfvn.parts import Part, naming, nearest, where_said
from tfvn.settings import REQUIRED, Key, check, from_text, received, texts_of

__all__ = ["Assigned", "Draft", "Drafts", "SEED", "all_keys"]

SEED = Key("seed", 0, "of initial weights, data order, noise and attacks")


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
        # What stood in the place of the name before does so no more.
        self.found.pop(self.section.instead, None)
        if name != self.name:
            self.name = str(name)
            keys = self.known
            self.found = {key: found for key, found in self.found.items() if key in keys}

    @property
    def known(self):
        """The keys that it has, by their names."""
        return self.section.keys(self.name)

    def set(self, key, value, source):
        """Takes the value of a key that it has."""
        name = f"{self.section.place}.{key}"
        # In the order in which they were said.
        self.found.pop(key, None)
        self.found[key] = source, check(name, self.known[key], value)

    def values(self, keys):
        """The values of some keys; those that were not said have their defaults."""
        values = {}
        for key in keys.values():
            if key.name in self.found:
                _, values[key.name] = self.found[key.name]
                continue
            if key.default is REQUIRED:
                text = (
                    f"{self.section.place}.{key.name} is missing, which"
                    f" {self.section.picked_by_in_full}={self.name} needs: {key.meaning}"
                )
                raise ValueError(where_said(self.sources(), text))
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
        sources = self.sources()
        if common.get(self.section.instead):
            self._check_alone()
            return Part(self.section, "", common, {}, inside, sources)
        settings = self.values(self.section.own_keys(self.name))
        return Part(self.section, self.name, common, settings, inside, sources)

    def _check_alone(self):
        """Checks that nothing is said of a class where what stands in its place is given too.

        A file of a network tells itself what the network is. It may be given over a configuration
        that has a name and settings, and these not over it.

        Raises:
            ValueError: if one place says both, or a later one says more of the class.
        """
        sources = self.sources()
        instead = f"{self.section.place}.{self.section.instead}"
        is_later = False
        for key, source in sources.items():
            if key != instead and (is_later or source == sources[instead]):
                raise ValueError(
                    f"{source}: {instead} is given, and it tells what {key} says. Leave out one of"
                    " the two."
                )
            is_later = is_later or key == instead

    def sources(self):
        """Where its name and its keys were said: a dict of sources, by keys in full."""
        found = {}
        if self.named_by is not None:
            found[self.section.picked_by_in_full] = self.named_by
        for key, (source, _) in self.found.items():
            found[f"{self.section.place}.{key}"] = source
        for draft in self.inside.values():
            found.update(draft.sources())
        return found


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
        if _is_nothing(assigned.value) and not rest:
            # An empty section of a file.
            return True
        if not draft.section.picked_by:
            _check_nothing(assigned)
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
        chosen = []
        for name in _names(section, assigned.value):
            draft = self._one_named(section, name, assigned) or self._one_of(section, name)
            draft.named_by = assigned.source
            chosen.append(draft)
        self.several[section] = chosen

    def _take_value(self, assigned, numbered):
        if assigned.path == ("seed",):
            seed = check("seed", SEED, _value(assigned, SEED, "seed"))
            self._seed = checks.whole("seed", seed, 0)
            return
        draft, rest = self._draft_of(assigned.path)
        if assigned.path[0] in self.several:
            draft = self._one_at(assigned, numbered[assigned.path[0]])
            rest = assigned.path[2:]
            if draft is not None and not rest:
                _check_nothing(assigned)
                return
        if draft is None or len(rest) != 1 or rest[0] not in draft.known:
            raise ValueError(_unknown(assigned, draft, rest, self._sections))
        key = draft.known[rest[0]]
        value = _value(assigned, key, f"{draft.section.place}.{key.name}")
        draft.set(key.name, value, assigned.source)

    def _one_named(self, section, name, assigned):
        """The draft of a name, of several; None where none has it."""
        found = [draft for draft in self.several[section] if draft.name == name]
        if len(found) > 1:
            raise ValueError(
                f"{assigned.name} stands for {len(found)} {section} of this configuration, which"
                f" are named {name}. Change the file."
            )
        return found[0] if found else None

    def _one_at(self, assigned, numbered):
        """The draft, of several, that a path leads to; None where none has such a name."""
        section, place, *_ = assigned.path
        nameless = [number for number, draft in numbered.items() if draft is None]
        if nameless:
            raise ValueError(
                f"each of the {section} must have a name. Received: one without, number"
                f" {nameless[0] + 1}. Known are {', '.join(self._sections[section].table)}."
            )
        if isinstance(place, int):
            return numbered[place]
        found = self._one_named(section, place, assigned)
        if found:
            return found
        if place in self._sections[section].table:
            names = [draft.name for draft in self.several[section]]
            raise ValueError(
                f"there is no {place} among the {section} of this configuration:"
                f" {', '.join(names) or 'none'}. Add it: {section}={','.join([*names, place])} on"
                f" the command line, '- name: {place}' in the list of a file."
            )
        if place == self._sections[section].picked_by:
            raise ValueError(
                f"{section} is a list of sections, each with a {place}: '- {place}: ...' in a file,"
                f" and {section}=... on the command line. {received(assigned.name, assigned.value)}"
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
                found[name] = self.one[name].part()
            else:
                found[name] = tuple(draft.part() for draft in self.several[name])
        return found


def _value(assigned, key, name):
    """The value of a key in Python, not yet checked; `name` is the key in full."""
    value = assigned.value
    if assigned.is_text:
        value = from_text(key, value)
    if assigned.doubt and key.type in (str, None) and isinstance(value, str):
        # `path: knees #2/scan.h5` would be `knees`.
        raise ValueError(
            f"{assigned.doubt} part of {name} or a comment? Put the text in quotes, or a"
            " blank after the #."
        )
    return value


def _check_nothing(assigned):
    """Checks that a section that takes no name has no value of its own."""
    if not _is_nothing(assigned.value):
        raise ValueError(
            f"{assigned.name} is a section with keys of its own."
            f" {received(assigned.name, assigned.value)}"
        )


def _is_nothing(value):
    """Whether it is what a section without keys holds."""
    return isinstance(value, (str, Mapping)) and not value


def _names(section, written):
    """The names of a list, which may be written in one text."""
    names = written
    if isinstance(written, str):
        names = texts_of(written)
        if names == [""]:
            return []
    if not isinstance(names, (list, tuple)):
        raise ValueError(
            f"{section} must be a list of names or of sections, [] for none."
            f" {received(section, written)}"
        )
    return names


def _unknown(assigned, draft, rest, sections):
    """The sentence on a key that there is not."""
    name = assigned.name
    if draft is not None:
        section = draft.section
        name = ".".join(map(str, [section.place, *rest]))
        others = []
        if len(rest) == 1:
            others = [other for other in section.table if rest[0] in section.keys(other)]
        if others:
            return (
                f"unknown key {checks.shown(name)}. {section.picked_by_in_full} is {draft.name},"
                f" and the key is one of {', '.join(others)}."
            )
    return f"unknown key {checks.shown(name)}." + nearest(name, [*all_keys(sections), *sections])


def all_keys(sections):
    """All keys in full, whatever is named, in a dict of `tfvn.settings.Key`.

    Args:
        sections: a dict of `tfvn.parts.Section` by their names.
    """
    found = {"seed": SEED}
    for section in sections.values():
        for inner in (section, *section.inside.values()):
            if inner.picked_by and not inner.several:
                found[inner.picked_by_in_full] = Key(inner.picked_by, inner.default, "")
            for name in inner.table or [""]:
                place = f"{inner.place}.{name}" if inner.several else inner.place
                for key in inner.keys(name).values():
                    found.setdefault(f"{place}.{key.name}", key)
    return found
