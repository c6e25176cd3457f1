"""The model that a run stands for: its trained network, or a defence around it."""

import os
from typing import Any, NamedTuple

import tensorflow as tf

from tfvn import replicas
from tfvn.files import written
from tfvn.models.equal import model_hash, with_readout_oversampling
from tfvn.models.network_files import load_model
from tfvn.runs import directory, given

__all__ = [
    "RunModels",
    "model_hash",
    "models_of",
    "network_of",
    "save_network",
    "with_draws",
    "with_readout_oversampling",
]


class RunModels(NamedTuple):
    """The models of a run on one device."""

    # The trained network.
    network: Any
    # What is attacked and evaluated: the network itself, or a defence around it.
    predictor: Any


def network_of(run_dir, config):
    """The run's network: `model.keras`, made from `config.model.file` on first use.

    Of a model that was given in Python it is that one.

    Raises:
        ValueError: if the run has not been trained, or the model was not given in this Python.
    """
    if given.is_given(config):
        return given.model_of(run_dir)
    path = os.path.join(run_dir, directory.MODEL)
    if not os.path.exists(path):
        source = config.model.file
        if not source:
            raise ValueError(
                f"{run_dir} holds no model.keras. Run train.py with the same --config or --run-dir"
                " to the end first."
            )
        network = load_model(source)
        oversampling = config.dataset.readout_oversampling
        save_network(with_readout_oversampling(network, oversampling), run_dir)
    return load_model(path)


def models_of(run_dir, config, workers, count):
    """The run's models, once for every device that is to work on whole slices.

    If this process has fewer slices than devices and the predictor draws random numbers, all
    devices share its draws instead.

    Args:
        run_dir, config: the run.
        workers: the `Workers`.
        count: the number of slices that all of them share.

    Returns:
        The devices, as for `tfvn.workers.each`, and `RunModels` for each.
    """

    def loaded(strategy=None):
        with replicas.scope(strategy):
            network = network_of(run_dir, config)
        return RunModels(network, config.defended(network, strategy))

    devices = workers.devices()
    first, *others = devices
    with tf.device(first):
        models = [loaded()]
    if 0 < len(workers.own(count)) < len(devices) and models[0].predictor.draws:
        return [None], [loaded(tf.distribute.MirroredStrategy(devices))]
    for device in others:
        with tf.device(device):
            models.append(loaded())
    return devices, models


def with_draws(models, devices, num_samples):
    """The models of a run on all devices, with another number of random draws of a prediction.

    Args:
        models: `RunModels` for each device.
        devices: the devices.
        num_samples: the number of draws; 0 for as many as they make.
    """
    if not num_samples:
        return models
    found = []
    for model, device in zip(models, devices):
        with tf.device(device):
            predictor = model.predictor.with_draws(num_samples)
        found.append(RunModels(model.network, predictor))
    return found


def save_network(network, run_dir, name=directory.MODEL):
    """Writes the network to a file of the run directory."""
    path = os.path.join(run_dir, name)
    with written(path) as temporary:
        network.save(temporary)
    print(f"wrote {path}")
