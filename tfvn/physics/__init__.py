"""Magnetic resonance: Fourier transform, sampling masks, the encoding operator, noise, and the
measurement that a model is given.
"""

from tfvn.physics import fourier, masks, measurement, noise, sense, values

__all__ = ["fourier", "masks", "measurement", "noise", "sense", "values"]
