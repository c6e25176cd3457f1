"""Defences: models around a model."""

from tfvn.defences.smoothing import Smoothed

__all__ = ["DEFENCES", "Smoothed"]

DEFENCES = {"smoothed": Smoothed}
