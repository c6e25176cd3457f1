"""The networks that a defence has beside the model that it defends."""

import os

from tfvn import checks
from tfvn.defences.base import Defence
from tfvn.models.base import Reconstructor
from tfvn.models.contract import check_model
from tfvn.models.equal import model_hash, with_readout_oversampling
from tfvn.models.network_files import load_model
from tfvn.settings import texts_of

__all__ = ["SETTINGS", "files_of", "identity_of", "opened"]

# The settings of defences that are networks.
SETTINGS = ("others", "denoiser")


def opened(name, given, like):
    """The models that a setting names, of the precision and of the scans of another model.

    Args:
        name: of the setting.
        given: files or run directories, separated by commas; in Python also a model, or a list of
            both.
        like: the other model, a `Reconstructor`.

    Raises:
        ValueError: for a file that is none of a network, for something else than these, and for a
            model of another precision.
    """
    found = []
    for one in _listed(name, given):
        if isinstance(one, (str, os.PathLike)):
            one = _of_file(name, one)
            one = with_readout_oversampling(one, like.sense.readout_oversampling)
        check_model(one, name)
        if one.dtype != like.dtype:
            raise ValueError(
                f"{name} must work in {like.dtype}, as the model does that is defended. Received:"
                f" a {type(one).__name__} of {one.dtype}."
            )
        found.append(one)
    return found


def files_of(settings):
    """The files or run directories of the networks that a defence has beside its model, a list.

    Args:
        settings: of the defence, a dict.
    """
    return [path for name in SETTINGS for path in texts_of(settings.get(name, ""))]


def _of_file(name, path):
    try:
        return load_model(path)
    except ValueError as error:
        raise ValueError(f"{name} must be the files of networks. {error}") from error


def _listed(name, given):
    if isinstance(given, Reconstructor):
        return [given]
    if isinstance(given, (str, os.PathLike)):
        return texts_of(os.fspath(given))
    if isinstance(given, (list, tuple)):
        return given
    raise ValueError(
        f"{name} must be the files of networks, separated by commas. Received:"
        f" {name}={checks.shown(given)}"
    )


def identity_of(models):
    """A text that tells these networks from others, whatever their files are called."""
    found = []
    for model in models:
        settings = [f"{key}={value}" for key, value in model.identity.items()]
        network = model
        while isinstance(network, Defence):
            network = network.model
        found.append(" ".join([model_hash(network), *settings]))
    return ", ".join(found)
