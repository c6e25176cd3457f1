"""Figures, as PNG files."""

from tfvn.figures import curves, paper, scans, stages, style

__all__ = ["curves", "paper", "scans", "stages", "style"]
