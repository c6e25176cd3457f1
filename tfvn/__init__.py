"""MRI reconstruction with variational networks, attacked, defended and certified.

It computes in TensorFlow 2 and Keras.
"""

import importlib
import importlib.util
import sys

from tfvn import provenance, surroundings

__version__ = provenance.VERSION

# What there is to use. Command line, demo and report work for the scripts.
__all__ = [
    "attacks",
    "certificates",
    "config",
    "data",
    "defences",
    "figures",
    "leaderboard",
    "load_model",
    "metrics",
    "models",
    "paper",
    "physics",
    "projections",
    "results",
    "runs",
    "tools",
    "training",
]

surroundings.prepare()


def __getattr__(name):
    """Imports what is asked for.

    TensorFlow takes seconds, and a wrong argument is found without it.
    """
    if name == "load_model":
        return importlib.import_module("tfvn.models.network_files").load_model
    if importlib.util.find_spec(f"tfvn.{name}") is None:
        raise AttributeError(f"tfvn has no {name!r}. It has {', '.join(__all__)}.")
    module = importlib.import_module(f"tfvn.{name}")
    if "tensorflow" in sys.modules:
        surroundings.register()
    return module


def __dir__():
    return sorted([*__all__, "__version__"])


if "tensorflow" in sys.modules:
    surroundings.register()
