"""One trial of a search: a network of some values, trained if it has weights, and judged.

Its folder holds its checkpoints and `result_N.json`, its result after N iterations. A trial that is
trained for longer goes on from its last checkpoint.
"""

import gc
import json
import math
import os
import time
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvn import data, metrics
from tfvn.attacks import ProjectedGradientAscent
from tfvn.files import replacing
from tfvn.runs import directory
from tfvn.runs.train import build_network, has_weights, trainer_of
from tfvn.tools.search_space import OBJECTIVE, with_values
from tfvn.training.checkpoints import Checkpoints
from tfvn.training.loop import train_to

__all__ = ["RESULTS", "SearchTrial", "finished", "judge", "stored", "train"]

# What is known of a trial besides its values.
RESULTS = ("iterations", "clean_rmse", "clean_ssim", OBJECTIVE, "seconds")


class SearchTrial(NamedTuple):
    """A trial.

    values: its hyper-parameters by name.
    iterations: for how many it is trained, from the first on.
    folder: of its files.
    """

    values: dict
    iterations: int
    folder: str

    @property
    def result_path(self):
        return os.path.join(self.folder, f"result_{self.iterations}.json")


def stored(trial):
    """The result of a trial from its file, a dict; None if it is not finished.

    Raises:
        ValueError: if the file cannot be read.
    """
    path = trial.result_path
    try:
        with open(path, encoding="utf-8") as file:
            row = json.load(file)
    # Not there, or no such result: judged again, from its checkpoint on.
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}. It is left as it is.") from error
    return row if _is_result(row) else None


def _is_result(row):
    if not isinstance(row, dict):
        return False
    return "failed" in row or np.isfinite(row.get(OBJECTIVE, math.nan))


def finished(trial, config):
    """Trains and judges a trial, and stores its result.

    Returns:
        The result, a dict. In it `failed` says why there is no score.
    """
    start = time.monotonic()
    directory.make_folder(trial.folder)
    config = with_values(config, trial.values)
    config = config.changed({"training.iterations": config.search.iterations})
    try:
        found = judge(train(config, trial.iterations, trial.folder), config)
    except (FloatingPointError, tf.errors.ResourceExhaustedError) as error:
        found = {"failed": str(error).splitlines()[0]}
    row = {
        **trial.values,
        "iterations": trial.iterations,
        **found,
        "seconds": round(time.monotonic() - start, 3),
    }
    with (
        replacing(trial.result_path) as temporary,
        open(temporary, "w", encoding="utf-8") as file,
    ):
        json.dump(row, file)
    # Keras models are cycles of references.
    gc.collect()
    return row


def train(config, iterations, folder):
    """The network after so many iterations, from the last checkpoint in a folder on.

    It is that of a shorter or interrupted trial of the same values. A model without weights is
    returned as it is.

    Raises:
        FloatingPointError: if it diverges.
    """
    network = build_network(config)
    if not has_weights(network):
        return network
    trainer = trainer_of(network, config)
    checkpoints = Checkpoints(trainer.checkpoint(), os.path.join(folder, "checkpoints"), keep=1)
    checkpoints.restore()

    def batches(done):
        return data.load(config, "train", start=done, held_out=config.search.validation)

    every = config.training.checkpoint_every
    train_to(iterations, trainer, batches, every, checkpoints=checkpoints)
    return trainer.trained_network()


def judge(network, config):
    """RMSE and SSIM of the network's predictions for the held-out slices, and RMSE under attack.

    Raises:
        FloatingPointError: if one of them is not finite.
    """
    search = config.search
    model = config.defended(network).with_draws(search.num_samples)
    attack = ProjectedGradientAscent(steps=search.steps, seed=config.seed)
    clean, ssim, attacked = [], [], []
    for inputs, reference in data.load(config, "validation", held_out=search.validation):
        image = model.reconstruct(inputs, model.keys(inputs["sample_index"]))
        if not np.isfinite(image).all():
            raise FloatingPointError("its reconstructions are not finite")
        clean.append(metrics.rmse(image, reference))
        ssim.append(metrics.ssim(image, reference))
        found = attack.run(model, inputs, search.radius, index=inputs["sample_index"])
        attacked.append(metrics.rmse(found.reconstruction, reference))
    scores = {
        "clean_rmse": _root_mean_square(clean),
        "clean_ssim": float(np.mean(ssim)),
        OBJECTIVE: _root_mean_square(attacked),
    }
    if not np.isfinite([scores["clean_rmse"], scores[OBJECTIVE]]).all():
        raise FloatingPointError("its reconstructions are not finite")
    return scores


def _root_mean_square(errors):
    return float(np.sqrt(np.mean(np.square(errors))))
