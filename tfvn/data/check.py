"""Every file of a configuration read once, before hours are spent: all that is wrong with the data in one error."""
import dataclasses
import itertools
import os

import numpy as np

from tfvn import config as configuration
from tfvn import progress
from tfvn.data.files import read_arrays
from tfvn.data.pipeline import source
from tfvn.data.prepared import PreparedSlices
from tfvn.data.vlo import slice_paths

_MOST_LINES = 50


def check(config, splits=("train", "test")):
    """Reads and normalises every slice once, one that several splits share too, and fills `config.cache_dir` if set.

    Args:
        config: a `tfvn.config.Config`.
        splits: of 'train' and 'test'. Slices to train on need a finite reference, unless `config.model` is given.

    Returns:
        The number of slices, all of which can be used.

    Raises:
        ValueError: listing everything that is wrong, a line each with the file's name; at once for a data set that
            lacks its `data_path` or for another split.
    """
    if not splits or not set(splits) <= {"train", "test"}:
        raise ValueError(f"splits must hold train, test or both. Received: splits={splits!r}")
    if config.dataset == "vlo" and config.data_path and not os.path.isdir(config.data_path):
        raise ValueError(f"no such folder: {config.data_path}. Set data_path to the root of the knee data.")
    slices = {}
    # Training first: of a slice in both splits it asks more.
    for split in sorted(splits, reverse=True):
        for part, index, files in _parts(config, split):
            slices.setdefault(files or (split, index), (part, split, index, files))
    problems, unusable = {}, 0
    for place in progress.bar(slices.values(), desc="check data", unit="slice"):
        found = _problems(*place)
        # What concerns all slices, such as a missing mask, is one line.
        problems.update(dict.fromkeys(found))
        unusable += bool(found)
    if problems:
        lines = list(problems)[:_MOST_LINES]
        if len(problems) > len(lines):
            lines.append(f"... and {len(problems) - len(lines)} more")
        raise ValueError("\n  ".join([f"{unusable} of {len(slices)} slices cannot be used:", *lines]))
    return len(slices)


def _parts(config, split):
    """(configuration, index, files) of each slice, which is `source(configuration, split)[index]`, read from `files`."""
    if config.dataset == "synthetic" or not config.data_path:
        return [(config, index, ()) for index in range(len(source(config, split)))]
    if config.dataset == "measurement":
        return [(config, 0, tuple(filter(None, (config.data_path, config.sensitivity_path))))]
    # A source of its own for each slice: that of all refuses the folder for a single missing file.
    patients, numbers = (configuration.numbers(getattr(config, f"{split}_{name}")) for name in ("patients", "slices"))
    return [
        (
            dataclasses.replace(config, **{f"{split}_patients": str(patient), f"{split}_slices": str(number)}),
            0,
            slice_paths(config.data_path, config.protocol, patient, number),
        )
        for patient, number in itertools.product(patients, numbers)
    ]


def _problems(config, split, index, files):
    problem = _error(_read, config, split, index, files)
    if not problem:
        return []
    # The first file that cannot be read hides the others of its slice.
    unreadable = [_error(read_arrays, file) for file in files]
    return list(filter(None, unreadable)) or [problem]


def _error(function, *arguments):
    """The text of the ValueError that a call raises, on one line; '' if it raises none."""
    try:
        function(*arguments)
    except ValueError as error:
        return " ".join(str(error).split()) or repr(error)
    return ""


def _read(config, split, index, files):
    slices = source(config, split)
    name = slices.name(index)
    try:
        sample, _ = PreparedSlices(slices, config.cache_dir)[index]
        if split == "train" and not config.model and not np.isfinite(sample.reference).all():
            raise ValueError(f"{name}: training needs a fully sampled reference. Received: none, or one with NaN in it")
    except ValueError as error:
        # Errors of the arrays name the slice, those of reading their file.
        if files and str(error).startswith(f"{name}: "):
            raise ValueError(f"{error} ({', '.join(map(str, files))})") from error
        raise
