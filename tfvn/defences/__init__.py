"""Defences: models around a model."""

from tfvn.defences.smoothing import Smoothed

__all__ = ["DEFENCES", "Smoothed", "draws", "from_config", "identity"]

DEFENCES = {"smoothed": Smoothed}


def draws(config, num_samples=None):
    """The number of random draws of one configured prediction; 0 without a defence that draws.

    Args:
        config: a `tfvn.config.Config`.
        num_samples: draws in place of the configured ones.
    """
    if not config.sigma:
        return 0
    return num_samples or config.num_samples


def from_config(config, model, num_samples=None, strategy=None):
    """The model as it is configured to be defended: itself, or smoothed.

    Args:
        config: a `tfvn.config.Config`.
        model: the `Reconstructor`.
        num_samples: draws in place of the configured ones.
        strategy: of `Smoothed`.
    """
    count = draws(config, num_samples)
    if not count:
        return model
    return Smoothed(
        model,
        config.sigma,
        count,
        config.chunk_size,
        config.seed,
        config.noise,
        strategy,
    )


def identity(config, num_samples=None):
    """What tells the configured defence from others, as stored with attacks on it.

    Args:
        config: a `tfvn.config.Config`.
        num_samples: draws in place of the configured ones.
    """
    found = {"sigma": config.sigma}
    count = draws(config, num_samples)
    if count:
        found["num_samples"] = count
    if config.noise != "gaussian":
        found["noise"] = config.noise
    return found
