"""Uses of a trained network, and the search for its settings."""

from tfvn.tools import reconstruction, serving, tuning

__all__ = ["reconstruction", "serving", "tuning"]
