"""Magnetic resonance: Fourier transform, sampling masks, the encoding operator."""

from tfvn.physics import fourier, masks, sense

__all__ = ["fourier", "masks", "sense"]
