"""What tasks of runs share in a worker of `tfvn.cluster`: kept models, and the data they expect.

A model is built once in a process, for all tasks that have the same file of a network and the same
defence.
"""

import collections
import gc
import hashlib
import json
import os

from tfvn import cluster, data, device, files
from tfvn.runs import directory, given
from tfvn.runs.models import models_of

__all__ = ["check_files", "kept", "model_of", "ready", "state_of_data"]

# So many things are kept. More models would fill the memory.
_MOST = 6
_kept = collections.OrderedDict()


def kept(key, make):
    """`make()`, or what it returned for the same key, if that is among the last ones."""
    if key not in _kept:
        if len(_kept) >= _MOST:
            _kept.popitem(last=False)
            # Models are cycles of references.
            gc.collect()
        _kept[key] = make()
    _kept.move_to_end(key)
    return _kept[key]


def model_of(run_dir, config):
    """The `RunModels` of a run on one device, built once for a file.

    Args:
        run_dir: the run directory, with `model.keras`.
        config: its configuration.
    """
    digest = files.digest(os.path.join(run_dir, directory.MODEL))
    settings = json.dumps([config.seed, config.defence.tree()], sort_keys=True)

    return kept(("model", digest, settings), lambda: models_of(run_dir, config))


def state_of_data(config, splits=("test",)):
    """A hash of what tells slices from others: settings, and path, size and time of files.

    Args:
        config: the configuration.
        splits: of "train" and "test".
    """
    found = [data.fingerprints(config, split) for split in splits]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def ready(config, state, splits=("test",)):
    """Prepares this process for a task.

    Args:
        config: of the task.
        state: `state_of_data` in the process that asks for the task.
        splits: as there.

    Raises:
        Refused: if this process sees other data.
    """
    device.grow_memory()
    if state_of_data(config, splits) != state:
        raise cluster.Refused(
            f"{cluster.here()} sees other data: the files have another path, size or time. Give all"
            " workers the same files under the same paths, and copy them with their times."
        )


def check_files(config):
    """Checks that the model of a run is in a file, which other processes can read.

    Raises:
        ValueError: if it was given in this Python.
    """
    if given.is_given(config):
        raise ValueError(
            "other processes do not have a model that was given in Python. Leave the cluster out,"
            " or save the model in a file (model.file)."
        )
