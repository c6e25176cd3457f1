"""Defences: models around a model."""

from tfvn.defences.base import GIVEN, Defence
from tfvn.defences.smoothing import Smoothed

__all__ = ["DEFENCES", "Defence", "GIVEN", "Smoothed"]

# Of a configuration's `defence.name`.
DEFENCES = {"smoothed": Smoothed}
