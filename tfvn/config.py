"""Configurations: one experiment in one YAML file, in sections.

The keys of a section are the keyword arguments of the class that it names, see `tfvn.parts`. A
configuration is read from a file, from `section.key=value` and from Python. All three can only set
keys that there are: a wrong one never becomes a default.
"""

import functools
import os
from collections.abc import Mapping

from tfvn import attacks, checks, first_edition, models, yaml_text
from tfvn.drafts import Assigned, Drafts
from tfvn.parts import naming, where_said
from tfvn.sections import SECTIONS
from tfvn.settings import received

__all__ = ["Config", "SECTIONS", "load", "of_entries"]


class Config:
    """A configuration. `load` makes one. All of it is valid but what `check_models` checks.

    Attributes:
        seed: a whole number.
        data, sampling, model, training, defence, search: a `tfvn.parts.Part` each.
        attacks: a tuple of `tfvn.parts.Part`.
    """

    def __init__(self, seed, data, sampling, model, training, defence, attacks, search):
        vars(self).update(
            seed=seed,
            data=data,
            sampling=sampling,
            model=model,
            training=training,
            defence=defence,
            attacks=attacks,
            search=search,
        )

    def __setattr__(self, key, value):
        raise AttributeError(
            "a configuration is not changed. Make another one:"
            f" config.changed({{{key!r}: {checks.shown(value)}}})"
        )

    def __eq__(self, other):
        return isinstance(other, Config) and self.tree() == other.tree()

    __hash__ = None

    def __repr__(self):
        return f"Config({self.tree()})"

    @functools.cached_property
    def dataset(self):
        """The `tfvn.data.format.Format` of the data."""
        found = self.data.make(mask=self.sampling.make(), maps=self.data.maps.make())
        found.check_maps(self.data.maps.name)
        return found

    def defended(self, model, strategy=None):
        """A model in the configured defence, or itself if there is none.

        Args:
            model: the `tfvn.models.Reconstructor`.
            strategy: a `tf.distribute` strategy over whose replicas a defence splits its draws.
        """
        if not self.defence.is_named:
            return model
        return self.defence.make(model=model, seed=self.seed, strategy=strategy)

    def check_models(self):
        """Makes the network and its defence once: their constructors have the limits.

        TensorFlow starts: its devices cannot be chosen any more.

        Raises:
            ValueError: for a setting that they refuse.
        """
        if self.model.is_named:
            self.model.make(seed=self.seed)
        # Any model will do.
        self.defended(models.ZeroFilled())

    def changed(self, settings):
        """Another configuration, which has other values of some keys.

        Args:
            settings: as for `load`.

        Raises:
            ValueError: as `load`.
        """
        own = _assigned(self.tree(), "the configuration")
        return _resolved([own, _assigned(settings, "config.changed")])

    def flat(self):
        """All keys in full, as `--set` has them, and their values, a dict.

        Where two attacks have one name, a number stands in the keys of the second.
        """
        found = {"seed": self.seed}
        for name, parts in self._sections():
            if isinstance(parts, tuple):
                found.update(_flat_of_several(name, parts))
            else:
                found.update(parts.flat())
        return found

    def tree(self):
        """All sections as a YAML file has them, a dict."""
        found = {"seed": self.seed}
        for name, parts in self._sections():
            if isinstance(parts, tuple):
                found[name] = [part.tree() for part in parts]
            else:
                found[name] = parts.tree()
        return found

    def _sections(self):
        return [(name, getattr(self, name)) for name in SECTIONS]

    def to_yaml(self):
        """The whole configuration as YAML, from which `load` makes an equal one."""
        return yaml_text.written(self.tree())


def _flat_of_several(section, parts):
    """The keys of a list of parts: their names, and the settings of each."""
    found = {section: [part.name for part in parts]}
    for index, part in enumerate(parts):
        earlier = sum(other.name == part.name for other in parts[:index])
        place = f"{part.section.place}.{earlier + 1}" if earlier else part.section.place
        for key, value in {**part.common, **part.settings}.items():
            found[f"{place}.{key}"] = value
    return found


def load(path=None, overrides=(), settings=None):
    """Reads a YAML file (or only the defaults) and applies changes to it.

    Args:
        path: of the file.
        overrides: texts such as `"model.filters=24"`, as the command line has them. What stands
            after the first `=` means the same as behind the colon of a YAML file. Nothing in it is
            YAML: it has no quotes and no comment. `"defence=smoothed"` names a class.
        settings: keys with their values in Python, such as `{"model.filters": 24}` or
            `{"model": {"filters": 24}}`. They win over both.

    Raises:
        ValueError: for an unknown key (the message names the nearest known one), a key of the
            first edition, a wrong value or a file that is no mapping. The message starts with
            where it was found: the file's name, --set, or `config.load`.
    """
    layers = []
    if path is not None:
        _check_path(path)
        layers.append(_of_file(path))
    layers.append(_of_overrides(overrides))
    if settings is not None:
        layers.append(_assigned(settings))
    return _resolved(layers)


def _check_path(path):
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(
            f"config.load: expected the path of a YAML file. {received('path', path)}. "
            'Keys are given as load(settings={"model.filters": 24}).'
        )


def of_entries(source, entries):
    """The configuration of a list of `tfvn.yaml_text.Entry`; `source` names the file in errors."""
    return _resolved([_of_entries(source, entries)])


def _of_file(path):
    """What a YAML file says."""
    source = str(path)
    with naming(source):
        entries = yaml_text.read(path)
    return _of_entries(source, entries)


def _of_entries(source, entries):
    flat = {entry.path[0]: entry.value for entry in entries if len(entry.path) == 1}
    first_edition.check(source, flat, SECTIONS)
    found = []
    for entry in entries:
        doubt = ""
        if entry.comment:
            doubt = f"line {entry.comment_line}: is {checks.shown(entry.comment)}"
        found.append(Assigned(entry.path, entry.value, source, True, doubt))
    return found


def _of_overrides(overrides):
    """What the command line says."""
    is_list = isinstance(overrides, (list, tuple))
    if not is_list or not all(isinstance(text, str) for text in overrides):
        raise ValueError(
            "--set: expected a list of texts such as ['defence.sigma=0.05']."
            f" {received('overrides', overrides)}"
        )
    found = []
    for override in overrides:
        key, separator, text = override.partition("=")
        key = key.strip()
        if not separator or not key:
            raise ValueError(
                f"--set: an override has the form key=value. Received: {checks.shown(override)}"
            )
        if not text.strip() and key in _named_sections():
            raise ValueError(
                f"--set: {key}= names no class. The names are listed by: python -m tfvn keys"
                f" {key.partition('.')[0]}"
            )
        found.append(Assigned(tuple(key.split(".")), text, "--set", True))
    written = {assigned.name: assigned.value for assigned in found}
    first_edition.check("--set", written, SECTIONS, as_words=True)
    return found


def _named_sections():
    """The places of the sections that name one class each."""
    found = []
    for section in SECTIONS.values():
        for inner in (section, *section.inside.values()):
            if inner.picked_by and not inner.several:
                found.append(inner.place)
    return found


def _assigned(settings, source="config.load"):
    """What a mapping in Python says, in a list of `Assigned`."""
    if not isinstance(settings, Mapping):
        raise ValueError(f"{source}: expected a mapping of keys. {received('settings', settings)}")
    found = list(_walked(settings, (), source))
    flat = {}
    for assigned in found:
        if len(assigned.path) == 1:
            flat[assigned.name] = _as_text(assigned.value)
    first_edition.check(source, flat, SECTIONS, as_words=True)
    return found


def _as_text(value):
    if isinstance(value, str):
        return value
    return checks.shown(value)


def _walked(settings, before, source):
    for key, value in settings.items():
        if not isinstance(key, str):
            raise ValueError(f"{source}: a key is a text. Received: {checks.shown(key)}")
        path = (*before, *key.split("."))
        several = path[-1] in SECTIONS and SECTIONS[path[-1]].several
        if len(path) < yaml_text.DEEPEST and isinstance(value, Mapping) and value:
            yield from _walked(value, path, source)
        elif len(path) == 1 and several and isinstance(value, (list, tuple)) and value:
            yield from _walked_list(value, path, source)
        else:
            yield Assigned(path, value, source)


def _walked_list(items, path, source):
    for number, item in enumerate(items):
        if isinstance(item, Mapping) and item:
            yield from _walked(item, (*path, number), source)
        else:
            yield Assigned((*path, number), item, source)


def _resolved(layers):
    """The configuration of several layers, each of which wins over those before it."""
    drafts = Drafts(SECTIONS)
    for layer in layers:
        drafts.take(layer)
    config = Config(**drafts.parts())
    _check(config)
    return config


def _check(config):
    """Makes every part but the models once: their constructors have the limits."""
    config.dataset  # noqa: B018
    config.training.check_common()
    config.training.optimizer.make(iterations=config.training.iterations)
    config.training.recipe.make()
    config.search.check_common()
    made = []
    for part in config.attacks:
        part.check_common()
        made.append(part.make(seed=config.seed))
    try:
        attacks.check_kinds(made)
    except ValueError as error:
        sources = {}
        for part in config.attacks:
            sources.update(part.sources)
        raise ValueError(where_said(sources, str(error))) from error
