"""Coils whose noise is white: of one variance and uncorrelated, by a scan of noise alone.

With Psi = L L^H the covariance of the noise of the coils, L^-1 makes it white (Pruessmann et al.,
MRM 46(4), 2001). The factor sqrt(trace(Psi) / coils) keeps the units of k-space.
"""

import numpy as np

__all__ = ["whitening"]

# Samples of each coil, as a multiple of the coils: of fewer the covariance says little.
_LEAST_SAMPLES = 2


def whitening(noise):
    """The matrix that makes noise white, complex64 (coils, coils).

    Args:
        noise: samples without signal, complex (coils, samples).

    Raises:
        ValueError: if there are too few samples, or a coil holds no noise.
    """
    coils, samples = noise.shape
    if samples < _LEAST_SAMPLES * coils:
        raise ValueError(
            f"a noise scan must hold at least {_LEAST_SAMPLES * coils} samples of each coil. "
            f"Received: {samples} of {coils} coils. Set data.prewhiten to false."
        )
    noise = noise.astype(np.complex128)
    noise = noise - noise.mean(1, keepdims=True)
    covariance = noise @ noise.conj().T / (samples - 1)
    mean = np.trace(covariance).real / coils
    try:
        lower = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            "the noise of the coils must be independent. Received: a noise scan in which one coil "
            "is empty or the sum of others. Set data.prewhiten to false."
        ) from error
    return (np.sqrt(mean) * np.linalg.inv(lower)).astype(np.complex64)
