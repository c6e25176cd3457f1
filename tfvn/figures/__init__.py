"""Figures, as PNG files."""

from tfvn.figures import paper

__all__ = ["paper"]
