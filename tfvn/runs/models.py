"""The model that a run stands for: its trained network, or a defence around it."""

import os
from typing import Any, NamedTuple

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
    "splits_draws",
    "with_readout_oversampling",
]


class RunModels(NamedTuple):
    """The models of a run."""

    # The trained network.
    network: Any
    # What is attacked and evaluated: the network itself, or a defence around it.
    predictor: Any

    def with_draws(self, num_samples):
        """The same with another number of random draws of an answer; 0 for as many as it makes."""
        if not num_samples:
            return self
        return self._replace(predictor=self.predictor.with_draws(num_samples))


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


def models_of(run_dir, config, strategy=None):
    """The `RunModels` of a run.

    Args:
        run_dir: the run directory.
        config: its configuration.
        strategy: a `tf.distribute` strategy over whose devices draws are split; None for one
            device.

    Raises:
        ValueError: if the run has not been trained, and for a strategy of a model that has no draws
            to split.
    """
    with replicas.scope(strategy):
        network = network_of(run_dir, config)
    found = RunModels(network, config.defended(network, strategy))
    if strategy is not None and not splits_draws(found.predictor):
        raise ValueError(
            f"--strategy shares the draws of a smoothed model between devices, and {run_dir} has"
            " none to share. Leave it out. --workers N shares slices between processes, and"
            " --scheduler between machines and GPUs."
        )
    return found


def splits_draws(model):
    """Whether a model has draws, and a strategy over whose devices it splits them."""
    return model.strategy is not None and model.draws > 0


def save_network(network, run_dir, name=directory.MODEL):
    """Writes the network to a file of the run directory."""
    path = os.path.join(run_dir, name)
    with written(path) as temporary:
        network.save(temporary)
    print(f"wrote {path}")
