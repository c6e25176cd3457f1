"""The run directory: everything one run made, and the configuration it belongs to.

    config.yaml          the resolved configuration; a directory never holds two
    checkpoints/         of an unfinished training
    unfinished.keras     the network of a training that its time budget stopped
    logs/                TensorBoard, see `tfvn.training.tensorboard`
    history.csv          learning curve
    model.keras          the network, once training is done
    given.json           what the model is, of one that is in no file, see `tfvn.runs.given`
    tuning/              of a search: see `tfvn.tools.tuning`
    attacks/radius_R/    one HDF5 file a slice; other attacks have folders of other names
    trained_on.json      what the network was trained on, see `tfvn.runs.trained_on`
    .tfvn-lock           while a process works there, see `tfvn.runs.locks`

A file appears under its name only when it is complete: it is written beside it and renamed.
"""

import os
import shlex

from tfvn import config as configs
from tfvn.files import remove_stale, replacing

__all__ = [
    "CONFIG",
    "FREE_KEYS",
    "MODEL",
    "as_argument",
    "attack_elsewhere",
    "begin",
    "check_name",
    "command",
    "make_folder",
    "open_run",
    "open_with",
]

CONFIG, MODEL = "config.yaml", "model.keras"

# Keys that may differ between the config of a run and a later attack or evaluation of it: they
# change no trained weight, and attacks store those that change a result in each file.
FREE_KEYS = ("defence.num_samples", "defence.chunk_size", "data.cache_dir")
# Those of a training or a search, too, that change how far one call goes, what it shows or what it
# logs.
_CALL_KEYS = (
    "training.time_budget",
    "training.progress",
    "training.log_images_every",
    "training.profile",
    "search.trials",
)
# The section whose keys are all free.
_ATTACKS = "attacks"
# What stands for the value of a key that a part of another name does not have.
_NOT_SET = "not set"


def open_run(run_dir, config_path=None, overrides=()):
    """The configuration of a run directory, which is created if need be.

    A new directory takes the configuration from `config_path` and `overrides`. An existing one has
    its own; what is given again must agree with it, apart from smoothing and attack settings.

    Raises:
        ValueError: if the directory holds another configuration (the message names the keys), none
            is given, or it cannot be written.
    """
    check_name(run_dir, "a run directory")
    path = os.path.join(run_dir, CONFIG)
    if not os.path.exists(path):
        if config_path is None:
            raise ValueError(f"{run_dir} holds no run. Give --config FILE to start one there.")
        config = configs.load(config_path, overrides)
        if begin(run_dir, config):
            print(f"wrote {path}")
            return config
        # Another process was faster: its configuration is the one that counts.
    remove_stale(run_dir)
    stored = configs.load(path)
    given = configs.load(config_path or path, overrides)
    _check_same(run_dir, given.flat(), stored.flat())
    return given


def open_with(run_dir, config):
    """Makes a run directory of a configuration, or opens one that has the same.

    Raises:
        ValueError: as `open_run`.
    """
    if not begin(run_dir, config):
        remove_stale(run_dir)
        stored = configs.load(os.path.join(run_dir, CONFIG))
        _check_same(run_dir, config.flat(), stored.flat())


def _check_same(run_dir, given, stored):
    rows = _differences(_texts(given), _texts(stored))
    if rows:
        raise ValueError(
            f"{run_dir} already holds another configuration: {', '.join(rows)}. Use another"
            " --run-dir."
        )


def _texts(settings):
    """The values, as texts, of the keys that a run keeps."""
    return {key: repr(value) for key, value in settings.items() if not _is_free(key)}


def _differences(given, stored):
    """The keys that tell one run from another, with both values.

    Parts of different names have different keys. Of keys that one part lacks the first is enough.
    """
    found = []
    sections = set()
    for key in dict.fromkeys([*given, *stored]):
        here = given.get(key, _NOT_SET)
        there = stored.get(key, _NOT_SET)
        if here == there:
            continue
        section, _, _ = key.rpartition(".")
        if section not in sections or _NOT_SET not in (here, there):
            found.append(f"{key}={here} (there: {there})")
        sections.add(section)
    return found


def _is_free(key):
    """Whether a key of a run may be set otherwise in a later call."""
    section, _, _ = key.partition(".")
    return section == _ATTACKS or key in FREE_KEYS or key in _CALL_KEYS


def check_name(path, what):
    """Checks a path that becomes part of names in results.

    Raises:
        ValueError: if it is no text that UTF-8 can hold.
    """
    path = os.fspath(path)
    try:
        whole = isinstance(path, str) and "\0" not in path and bool(path.encode("utf-8"))
    except UnicodeEncodeError:
        whole = False
    if not whole:
        raise ValueError(
            f"the name of {what} must be text in UTF-8. Received: {ascii(path)[:200]}. Rename it."
        )


def begin(run_dir, config):
    """Writes the configuration of a new run, and its directory, unless there is one.

    Returns:
        Whether it was written.

    Raises:
        ValueError: if it cannot be written.
    """
    make_folder(run_dir)
    path = os.path.join(run_dir, CONFIG)
    try:
        with replacing(path) as temporary:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(config.to_yaml())
            _name_once(temporary, path)
    except _ThereAlready:
        return False
    return True


class _ThereAlready(Exception):
    """Another process has made the file."""


def _name_once(temporary, path):
    """Gives the file its name in one step, if the name is free.

    What `replacing` does after it changes nothing.
    """
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise _ThereAlready from error
    except OSError as error:
        # The file system has no links.
        if os.path.lexists(path):
            raise _ThereAlready from error


def make_folder(folder):
    """Makes a folder, and those that it lies in, unless it is there.

    Raises:
        ValueError: if it cannot be made.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        reason = error.strerror
        if isinstance(error, FileExistsError):
            reason = "there is a file of that name"
        raise ValueError(
            f"cannot make the folder {folder}: {reason}. Name another place."
        ) from error


def command(*words):
    """A command to be pasted into a shell.

    >>> command("python", "attack.py", "--run-dir", "runs/a b")
    "python attack.py --run-dir 'runs/a b'"
    """
    return shlex.join(words)


def as_argument(path):
    """A path as a word of a command, which is not taken for a flag."""
    path = os.fspath(path)
    if path.startswith("-"):
        return os.path.join(os.curdir, path)
    return path


def attack_elsewhere(run_dir, model, other):
    """The words of a command that attacks a run's network in another run directory.

    More settings may follow.

    Args:
        run_dir: the run directory.
        model: the file of its network.
        other: the other run directory.
    """
    config = os.path.join(as_argument(run_dir), CONFIG)
    words = ["python", "attack.py", "--config", config]
    words += ["--run-dir", as_argument(other)]
    return [*words, "--set", f"model.file={model}"]
