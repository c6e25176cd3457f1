"""Every file of a configuration read once, before hours are spent: all faults in one error."""

import itertools
import warnings
from typing import NamedTuple

import numpy as np

from tfvn import progress
from tfvn.checks import DataWarning
from tfvn.data import agreement
from tfvn.data.array_files import read_arrays
from tfvn.data.format import OneSlice
from tfvn.data.prepared import PreparedSlices

__all__ = ["check", "review"]

_MOST_LINES = 50
_MOST_DOUBTS = 10
# So many of the largest entries of a k-space tell it from all others, whatever its scale is.
_ENTRIES = 256
# What their similarity may lack.
_SAME = 1e-6


def check(config, splits=("train", "test")):
    """Reads and normalises every slice once, and fills `data.cache_dir` if set.

    Args:
        config: a `tfvn.config.Config`.
        splits: of 'train' and 'test'. Slices to train on need a finite reference, and to be
            others than those to test on, unless `model.file` is given.

    Returns:
        The number of slices, all of which can be used.

    Raises:
        ValueError: listing everything that is wrong, a line each with the file's name; at once for
            a data set that lacks its `data.path` or for another split.

    Warns:
        DataWarning: what is doubtful, of all slices in one text, where nothing is wrong.
    """
    return review(config, splits)[0]


def review(config, splits=("train", "test")):
    """As `check`, but returns how many slices there are and how many of them are doubtful."""
    if not splits or not set(splits) <= {"train", "test"}:
        raise ValueError(f"splits must hold train, test or both. Received: splits={splits!r}")
    dataset = config.dataset
    compared = set(splits) == {"train", "test"} and not config.model.file
    places = _places(dataset, splits)
    in_both = []
    if compared and not dataset.splits_share:
        in_both = [key for key, found in places.items() if len(found) > 1]
    # What an earlier reading of this process told is told again.
    agreement.forget()
    problems, unusable, doubts, twins = [], 0, [], _Twins(compared)
    for key, (place, *_) in progress.bar(places.items(), desc="check data", unit="slice"):
        found = _looked_at(place, config)
        if found.kspace is not None:
            found = twins.compare(found, place.split)
        if key in in_both:
            first_files, _ = in_both[0]
            text = dataset.in_both(len(in_both), first_files[0])
            found.problems.insert(0, text)
        problems += found.problems
        unusable += bool(found.problems)
        if found.doubts:
            doubts.append(found.doubts)
    if problems:
        # What concerns all slices, such as a missing mask, is one line.
        lines = _cut(list(dict.fromkeys(problems)), _MOST_LINES)
        head = f"{unusable} of {len(places)} slices cannot be used:"
        raise ValueError("\n  ".join([head, *lines]))
    general = []
    if compared:
        general = dataset.shared()
    _warn(general, doubts, len(places))
    return len(places), len(doubts)


class _Place(NamedTuple):
    """Where a slice is: a part of a split."""

    part: OneSlice
    split: str


class _Found(NamedTuple):
    """What reading a slice gave.

    problems, doubts: sentences, lists.
    name: of the slice.
    kspace: normalised, None if there are problems.
    """

    problems: list
    doubts: list
    name: str
    kspace: object


def _places(dataset, splits):
    """The places of each slice, a dict of lists; a slice in both splits has two."""
    places = {}
    # Training first: of a slice in both splits it asks more.
    for split in sorted(splits, reverse=True):
        for part in dataset.parts(split):
            key = (part.files or split, part.index)
            places.setdefault(key, []).append(_Place(part, split))
    return places


def _warn(general, doubts, count):
    """Warns of what is doubtful.

    Args:
        general: sentences on all slices.
        doubts: sentences on each doubtful slice, a list of lists.
        count: how many slices there are.
    """
    for text in general:
        warnings.warn(text, DataWarning, stacklevel=3)
    if doubts:
        lines = _cut(list(itertools.chain.from_iterable(doubts)), _MOST_DOUBTS)
        head = (
            f"{len(doubts)} of {count} slices can be used, but are probably not what they are "
            "taken for:"
        )
        warnings.warn("\n  ".join([head, *lines]), DataWarning, stacklevel=3)


def _cut(lines, most):
    """A list of lines for a message, as long as it may be."""
    if len(lines) <= most:
        return lines
    return [*lines[:most], f"... and {len(lines) - most} more"]


class _Twins:
    """The k-space of all slices so far, to find the same one under another name."""

    def __init__(self, compared):
        self._compared = compared
        self._known = {}

    def compare(self, found, split):
        """What was found, and what an earlier slice that is the same but for a factor adds to it.

        It is a problem if training and test are compared and each has one of the two; else it is a
        doubt.
        """
        kspace = found.kspace
        size = np.abs(kspace).ravel()
        largest = np.argpartition(size, -min(_ENTRIES, size.size))[-_ENTRIES:]
        places = np.sort(largest)
        values = kspace.ravel()[places].astype(np.complex128)
        values /= np.linalg.norm(values)
        key = (kspace.shape, places.tobytes())
        for other, other_split, other_name in self._known.setdefault(key, []):
            if abs(np.vdot(other, values)) > 1 - _SAME:
                text = f"{found.name} and {other_name} hold the same k-space"
                if self._compared and split != other_split:
                    problem = f"{text}: slices to test on must not be trained on"
                    return found._replace(problems=[problem])
                return found._replace(doubts=[*found.doubts, f"{text}: is one a copy?"])
        self._known[key].append((values, split, found.name))
        return found


def _looked_at(place, config):
    """What is wrong with a slice, and what is doubtful."""
    name, kspace, problems = "", None, []
    # All that is recorded: what is none of ours is passed on.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        try:
            name, kspace = _read(place, config)
        except ValueError as error:
            # The first file that cannot be read hides the others of its slice.
            files = place.part.files if place.part.holds_arrays else ()
            unreadable = [_error(read_arrays, file) for file in files]
            problems = list(filter(None, unreadable)) or [_line(error)]
    doubts = []
    for warning in caught:
        if issubclass(warning.category, DataWarning):
            doubts.append(_line(warning.message))
        else:
            warnings.warn(warning.message, warning.category, stacklevel=3)
    return _Found(problems, doubts, name, kspace)


def _error(function, *arguments):
    """The text of the ValueError that a call raises, on one line; '' if it raises none."""
    try:
        function(*arguments)
    except ValueError as error:
        return _line(error)
    return ""


def _line(error):
    return " ".join(str(error).split()) or repr(error)


def _read(place, config):
    """The name and the normalised k-space of a slice."""
    index = place.part.index
    files = place.part.files
    slices = place.part.open()
    name = slices.name(index)
    needs_reference = place.split == "train" and not config.model.file
    try:
        sample, _ = PreparedSlices(slices, config.data.cache_dir)[index]
        if needs_reference and not np.isfinite(sample.reference).all():
            raise ValueError(
                f"{name}: training needs a fully sampled reference. "
                "Received: none, or one with NaN in it"
            )
    except ValueError as error:
        # Errors of the arrays name the slice, those of reading their file.
        if files and str(error).startswith(f"{name}: "):
            raise ValueError(f"{error} ({', '.join(map(str, files))})") from error
        raise
    return name, sample.kspace
