"""Defences: models around a model."""

from tfvn.defences.smoothing import Smoothed

__all__ = ["DEFENCES", "Smoothed", "from_config", "identity"]

DEFENCES = {"smoothed": Smoothed}


def from_config(config, model, num_samples=None, strategy=None):
    """The model as it is configured to be defended: itself, or smoothed.

    Args:
        config: a `tfvn.config.Config`.
        model: the `Reconstructor`.
        num_samples: draws in place of the configured ones.
        strategy: of `Smoothed`.
    """
    if not config.sigma:
        return model
    return Smoothed(
        model,
        config.sigma,
        num_samples or config.num_samples,
        config.chunk_size or "auto",
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
    if config.sigma:
        found["num_samples"] = num_samples or config.num_samples
    if config.noise != "gaussian":
        found["noise"] = config.noise
    return found
