"""Figures, as PNG files."""

from tfvn.figures import curves, insets, paper, scans, stages, style

__all__ = ["curves", "insets", "paper", "scans", "stages", "style"]
