"""Defences: reconstruction maps around a reconstruction map."""

from tfvn.defences.smoothing import SmoothedNetwork

__all__ = ["SmoothedNetwork"]
