"""Defences: models around a model."""

from tfvn.defences.smoothing import Smoothed

__all__ = ["DEFENCES", "Smoothed", "from_config"]

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
