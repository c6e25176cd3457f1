"""The HParams table of TensorBoard: a row for each run, with its settings and scores."""

import contextlib
import glob
import math
import os
import time

from tensorboard.plugins.hparams import api

from tfvn.training import events, history

__all__ = ["write_hparams"]

# What of a configuration is shown: keys in full, and the beginnings of keys.
_SHOWN = ("model.", "defence.")
# These too, where something was trained.
_SHOWN_IF_TRAINED = (
    "seed",
    "training.iterations",
    "training.batch_size",
    "training.optimizer.",
    "training.recipe.",
)
# Settings of a network that say nothing of it, are those of the data, or are shown already.
_NOT_OF_ARCHITECTURE = ("name", "dtype", "seed", "readout_oversampling")


def write_hparams(run_dir, config, architecture, evaluation=None, validation=None):
    """Writes the run's row: one file, which the next call replaces.

    Args:
        run_dir, config: the run. A directory that cannot be written is left as it is.
        architecture: `get_config()` of its network, which is all that is known of one from a file.
        evaluation: {name: number}, shown as `score/name`; NaN is left out.
        validation: (iteration, logs of Keras), shown as `score/val_...`; by default the last row of
            `history.csv`, if any.
    """
    if not os.access(run_dir, os.W_OK):
        return
    iteration, logs = validation or history.last_row(os.path.join(run_dir, "history.csv"))
    parent, name = os.path.abspath(run_dir).split(os.sep)[-2:]
    # The table cuts long names off at their end.
    row = api.hparams_pb(_settings(config, architecture), trial_id=f"{name} ({parent})")
    points = [(0, row)]
    for metric, value in _scores(logs, evaluation or {}).items():
        points.append((iteration, events.scalar(f"score/{metric}", value)))
    # By another name each time: a TensorBoard that runs does not read a file again. (It shows new
    # scores, but the settings that it read first.)
    folder = events.logs_dir(run_dir, "hparams")
    path = os.path.join(folder, f"{events.PREFIX}.{time.time_ns()}")
    events.write(path, points)
    for other in glob.glob(os.path.join(glob.escape(folder), f"{events.PREFIX}*")):
        if other != path:
            with contextlib.suppress(FileNotFoundError):
                os.remove(other)


def _scores(logs, evaluation):
    scores = {}
    for name, value in history.validation_scores(logs).items():
        if name in ("rmse", "ssim"):
            scores[f"val_{name}"] = value
    for name, value in evaluation.items():
        if not math.isnan(value):
            scores[name] = value
    return scores


def _settings(config, architecture):
    """Settings by their keys. One that has no meaning for a run is not there: None would make text
    of numbers.
    """
    shown = _SHOWN
    if not config.model.file:
        shown += _SHOWN_IF_TRAINED
    found = {key: value for key, value in config.flat().items() if key.startswith(shown)}
    for key, value in architecture.items():
        if key not in _NOT_OF_ARCHITECTURE:
            found[f"model.{key}"] = value
    return {key: value for key, value in found.items() if isinstance(value, (int, float, str))}
