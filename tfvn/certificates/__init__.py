"""What may be claimed of a map, for every attack within a distance."""

from tfvn.certificates import total_variation

__all__ = ["total_variation"]
