"""Hashes of what a result depends on. They are the names under which results are stored.

Two calls whose hashes agree compute the same. So nothing is computed twice, and what was made of
other data, another model or another attack is never taken for it.

    training    model, training, seed, the data and the mask that it is trained on
    row         the training, the defence and the slices that it is tested on
    attack      settings of one attack
    floor       the slices, and the radii

A file counts by its content, and not by its path or time: a copy elsewhere is the same. Each file
of the slices is read for that once in a process.
"""

import functools
import hashlib
import json
import os
import re

from tfvn import data, files
from tfvn.defences import networks
from tfvn.settings import texts_of

__all__ = [
    "EDITION",
    "NETWORK",
    "TRAINING",
    "digest",
    "of_attack",
    "of_attacks",
    "of_floor",
    "of_others",
    "of_row",
    "of_training",
    "without_places",
]

# Of what this package computes from the same settings. A change of a result is a new edition.
EDITION = 1
# How a setting begins that is the network of a training, of which the hash follows.
TRAINING = "training:"
# Keys of a training that change how far one call goes and what it shows.
_OF_ONE_CALL = ("time_budget", "progress", "log_images_every", "profile")
# Keys of data and masks that say where files are. What is in them is known by its content.
_PLACES = ("cache_dir", "path", "sensitivity_path")
# Settings of models that are younger than published boards, and the value that stands for what was
# computed before: with it the hash is that of before.
_YOUNGER = {"weigher": 0}
_LETTERS = 24
# The network of a training in a setting, with its hash as the group.
NETWORK = re.compile(f"{TRAINING}([0-9a-f]{{{_LETTERS}}})")


def digest(*parts):
    """The hash of things that JSON knows, 96 bits in hexadecimal."""
    text = json.dumps([EDITION, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_LETTERS]


def of_training(config):
    """The hash of a trained network, or of the file that it comes from."""
    if config.model.file:
        return digest("file", _of_file(config.model.file), config.dataset.readout_oversampling)
    training = config.training.tree()
    for key in _OF_ONE_CALL:
        training.pop(key, None)
    start = config.training.initial_weights
    if not start.startswith(TRAINING):
        # A file is known by its content.
        training["initial_weights"] = ""
    return digest(
        "training",
        config.seed,
        _model(config),
        training,
        _of_start(start),
        without_places(config),
        _slices(config, "train"),
    )


def of_row(config, training):
    """The hash of a model in its defence, and of the slices that it is tested on.

    Args:
        config: the row's.
        training: the hash of its training.
    """
    slices = without_places(config), _slices(config, "test")
    return digest("row", training, config.seed, _defence(config), *slices)


def of_attack(part):
    """The hash of the settings of one attack, a `tfvn.parts.Part`."""
    return digest("attack", part.tree())


def of_attacks(config):
    """The hash of all attacks of a configuration together."""
    return digest("attacks", [of_attack(part) for part in config.attacks])


def of_floor(config, radii):
    """The hash of what no method can be below.

    Args:
        config: the data and the mask of it count.
        radii: a list.
    """
    return digest("floor", list(radii), without_places(config), _slices(config, "test"))


def of_others(config):
    """The hashes of the other trainings whose networks a configuration has, without repetition."""
    found = []
    for value in config.flat().values():
        if isinstance(value, str):
            found.extend(NETWORK.findall(value))
    return list(dict.fromkeys(found))


def _of_start(path):
    """The hash of the weights that a training begins with. The settings have that of a training."""
    if not path or path.startswith(TRAINING):
        return ""
    return _of_file(path)


def _model(config):
    """The section of the model, without younger settings that are not made use of."""
    found = config.model.tree()
    for key, value in _YOUNGER.items():
        if found.get(key) == value:
            del found[key]
    return found


def _defence(config):
    """The section of the defence, with the content of the networks that it names as files."""
    found = config.defence.tree()
    for key in networks.SETTINGS:
        if key in found:
            found[key] = ",".join(map(_of_network, texts_of(found[key])))
    return found


def _of_network(path):
    """The hash of the file of a network; the network of a training has one already."""
    return path if path.startswith(TRAINING) else _of_file(path)


def without_places(config):
    """The sections of data and mask as dicts, without the places of files."""
    found = [dict(part.tree()) for part in (config.data, config.sampling)]
    for section in found:
        for key in _PLACES:
            section.pop(key, None)
    return found


def _slices(config, split):
    """What each slice of a split is made of: settings, and the content of its files."""
    found = []
    for settings, states in data.fingerprints(config, split):
        found.append([settings, [_content(*state) for state in states]])
    return found


@functools.cache
def _content(path, size, changed):
    """The hash of a file's content, which `files.state` tells from an earlier one."""
    del size, changed
    return _of_file(path)


def _of_file(path):
    """The hash of a file's content; of a run directory that of its network."""
    if os.path.isdir(path):
        path = os.path.join(path, "model.keras")
    try:
        return files.digest(path)
    except OSError as error:
        raise ValueError(
            f"cannot read {path}: {error.strerror}. Name a file that is there."
        ) from error
