"""Runs of models that are given in Python: those of others, and classes that no file can name.

    config = begin("runs/mine", model, tfvn.config.load("configs/smoke.yaml"))

From then on the run directory stands for the model, in this Python: it is attacked and evaluated as
any other. The model itself is in no file of the directory. `given.json` there says what it is, and
the SHA-256 of it. Another Python is given the model again, by the same call.
"""

import json
import os

from tfvn import config as configs
from tfvn.files import replacing
from tfvn.models.contract import check_model
from tfvn.runs import directory

__all__ = ["NAME", "begin", "is_given", "model_of", "title_of"]

NAME = "given.json"

# The models of this Python, by the real paths of their run directories.
_models = {}


def begin(run_dir, model, config):
    """Makes the run directory of a model that is in no file, or opens it again.

    Args:
        run_dir: the run directory.
        model: a `tfvn.models.Reconstructor`, such as `tfvn.models.from_torch` makes. A defence is
            configured.
        config: a `tfvn.config.Config`. Its data, sampling, defence and attacks count.

    Returns:
        The configuration of the run, whose `model.file` is `given.json`.

    Raises:
        ValueError: for something that is no model; a model that does not fit the data; a directory
            that holds another configuration or another model.
    """
    # It reads the models of runs, these among them.
    from tfvn.runs.models import model_hash

    check_model(model)
    if model.identity:
        raise ValueError(
            f"model must be without a defence. Received: a {type(model).__name__}. Give the model "
            "inside, and name the defence in the configuration."
        )
    oversampling = config.dataset.readout_oversampling
    if model.sense.readout_oversampling != oversampling:
        raise ValueError(
            f"model must have readout_oversampling={oversampling}, as the data have. Received: "
            f"readout_oversampling={model.sense.readout_oversampling}"
        )
    directory.check_name(run_dir, "a run directory")
    path = os.path.join(run_dir, NAME)
    config = config.changed({"model": {"file": _as_spelt(run_dir)}})
    told = {"title": _title(model), "name": model.name, "hash": model_hash(model)}
    _check_same_model(run_dir, path, told)
    directory.open_with(run_dir, config)
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(told, file, indent=1)
    _models[os.path.realpath(run_dir)] = model
    return config


def _as_spelt(run_dir):
    """The path of `given.json` as the run's configuration has it.

    A relative path and an absolute one name the same directory, and it may have been moved.
    """
    there = os.path.join(run_dir, directory.CONFIG)
    if os.path.exists(there):
        stored = configs.load(there)
        if is_given(stored):
            return stored.model.file
    return os.path.join(run_dir, NAME)


def _title(model):
    return model.get_config().get("title", f"model {type(model).__name__}")


def _check_same_model(run_dir, path, told):
    there = _read(path)
    if there and there.get("hash") != told["hash"]:
        raise ValueError(
            f"{run_dir} is of another model: the {there.get('title')}, of hash "
            f"{str(there.get('hash'))[:12]}. Received: the {told['title']}, of hash "
            f"{told['hash'][:12]}. Its weights or its functions are others. Use another run "
            "directory."
        )


def _read(path):
    """What `begin` wrote, a dict; empty where nothing can be read."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_given(config):
    """Whether the model of a configuration is one that is given in Python."""
    return os.path.basename(config.model.file) == NAME


def title_of(run_dir):
    """What the model of a run is, such as "torch module UNet"."""
    return str(_read(os.path.join(run_dir, NAME)).get("title", "model"))


def model_of(run_dir):
    """The model that this Python was given for a run directory.

    Raises:
        ValueError: if it was given none.
    """
    model = _models.get(os.path.realpath(run_dir))
    if model is None:
        raise ValueError(
            f"{run_dir} is of the {title_of(run_dir)}, which is in no file. Give it to this "
            "Python, and attack and evaluate there: tfvn.runs.given.begin(run_dir, model, config)."
        )
    return model
