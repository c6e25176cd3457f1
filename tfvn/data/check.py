"""Every file of a configuration read once, before hours are spent: all faults in one error."""

import os
import warnings

import numpy as np

from tfvn import config as configuration
from tfvn import data, progress
from tfvn.checks import DataWarning
from tfvn.data import agreement
from tfvn.data.array_files import read_arrays
from tfvn.data.prepared import PreparedSlices

__all__ = ["check", "review"]

_MOST_LINES = 50
_MOST_DOUBTS = 10
# So many of the largest entries of a k-space tell it from all others, whatever its scale is.
_ENTRIES = 256


def check(config, splits=("train", "test")):
    """Reads and normalises every slice once, and fills `config.cache_dir` if set.

    Args:
        config: a `tfvn.config.Config`.
        splits: of 'train' and 'test'. Slices to train on need a finite reference, and to be
            others than those to test on, unless `config.model` is given.

    Returns:
        The number of slices, all of which can be used.

    Raises:
        ValueError: listing everything that is wrong, a line each with the file's name; at once for
            a data set that lacks its `data_path` or for another split.

    Warns:
        DataWarning: what is doubtful, of all slices in one text, where nothing is wrong.
    """
    return review(config, splits)[0]


def review(config, splits=("train", "test")):
    """As `check`, but returns how many slices there are and how many of them are doubtful."""
    if not splits or not set(splits) <= {"train", "test"}:
        raise ValueError(f"splits must hold train, test or both. Received: splits={splits!r}")
    source = data.FORMATS[config.dataset]
    compared = set(splits) == {"train", "test"} and not config.model
    slices, both = {}, []
    # Training first: of a slice in both splits it asks more.
    for split in sorted(splits, reverse=True):
        for part, index, files in source.parts(config, split):
            key = files or (split, index)
            if key in slices and compared and not source.splits_share:
                both.append(key)
            slices.setdefault(key, (part, split, index, files))
    # What an earlier reading of this process told is told again.
    agreement.forget()
    problems, unusable, doubts, twins = {}, 0, [], _Twins()
    for key, place in progress.bar(slices.items(), desc="check data", unit="slice"):
        found, doubtful, name, kspace = _looked_at(*place)
        if kspace is not None:
            found, twin = twins.compare(kspace, place[1] if compared else "", name)
            doubtful += twin
        if key in both:
            found = [source.in_both(config, len(both), both[0][0]), *found]
        # What concerns all slices, such as a missing mask, is one line.
        problems.update(dict.fromkeys(found))
        unusable += bool(found)
        if doubtful:
            doubts.append(doubtful)
    if problems:
        lines = _cut(list(problems), _MOST_LINES)
        head = f"{unusable} of {len(slices)} slices cannot be used:"
        raise ValueError("\n  ".join([head, *lines]))
    general = []
    if compared:
        general = source.shared(config)
    elif config.model and "test" in splits:
        general = _doubts_of_model(config)
    for text in general:
        warnings.warn(text, DataWarning, stacklevel=2)
    if doubts:
        lines = _cut([text for texts in doubts for text in texts], _MOST_DOUBTS)
        head = (
            f"{len(doubts)} of {len(slices)} slices can be used, but are probably not what they "
            "are taken for:"
        )
        warnings.warn("\n  ".join([head, *lines]), DataWarning, stacklevel=2)
    return len(slices), len(doubts)


def _cut(lines, most):
    """A list of lines for a message, as long as it may be."""
    return lines if len(lines) <= most else [*lines[:most], f"... and {len(lines) - most} more"]


def _doubts_of_model(config):
    """Texts on slices to test on that trained the given model, as its run directory tells."""
    path = os.path.join(os.path.dirname(config.model), "config.yaml")
    try:
        trained = configuration.load(path)
    except (OSError, ValueError):
        # It has none, or one of another version.
        return
    # A run whose model was given has trained nothing.
    known = (
        set() if trained.model else set(data.FORMATS[trained.dataset].identities(trained, "train"))
    )
    tested = data.FORMATS[config.dataset].identities(config, "test")
    both = [identity for identity in tested if identity in known]
    if both:
        yield (
            f"{len(both)} of {len(tested)} slices to test on trained the model {config.model}, the "
            f"first {' '.join(map(str, both[0][1:]))}: errors on others will be larger."
        )


class _Twins:
    """The k-space of all slices so far, to find the same one under another name."""

    def __init__(self):
        self._known = {}

    def compare(self, kspace, split, name):
        """What is wrong and what is doubtful, if an earlier slice is the same but for a factor."""
        size = np.abs(kspace).ravel()
        places = np.sort(np.argpartition(size, -min(_ENTRIES, size.size))[-_ENTRIES:])
        values = kspace.ravel()[places].astype(np.complex128)
        values /= np.linalg.norm(values)
        key = (kspace.shape, places.tobytes())
        for other, other_split, other_name in self._known.setdefault(key, []):
            if abs(np.vdot(other, values)) > 1 - 1e-6:
                text = f"{name} and {other_name} hold the same k-space"
                if split != other_split:
                    return [f"{text}: slices to test on must not be trained on"], []
                return [], [f"{text}: is one a copy?"]
        self._known[key].append((values, split, name))
        return [], []


def _looked_at(config, split, index, files):
    """What is wrong with a slice, what is doubtful, its name, its k-space if nothing is wrong."""
    name, kspace = "", None
    # All that is recorded: what is none of ours is passed on.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        try:
            name, kspace = _read(config, split, index, files)
            problems = []
        except ValueError as error:
            # The first file that cannot be read hides the others of its slice.
            unreadable = [_error(read_arrays, file) for file in files]
            problems = list(filter(None, unreadable)) or [_line(error)]
    doubts = []
    for warning in caught:
        if issubclass(warning.category, DataWarning):
            doubts.append(_line(warning.message))
        else:
            warnings.warn(warning.message, warning.category, stacklevel=3)
    return problems, doubts, name, kspace


def _error(function, *arguments):
    """The text of the ValueError that a call raises, on one line; '' if it raises none."""
    try:
        function(*arguments)
    except ValueError as error:
        return _line(error)
    return ""


def _line(error):
    return " ".join(str(error).split()) or repr(error)


def _read(config, split, index, files):
    """The name and the normalised k-space of a slice."""
    slices = data.source(config, split)
    name = slices.name(index)
    try:
        sample, _ = PreparedSlices(slices, config.cache_dir)[index]
        if split == "train" and not config.model and not np.isfinite(sample.reference).all():
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
