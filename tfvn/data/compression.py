"""Coil compression: few combinations of the coils that hold nearly all of the energy.

With the singular values of the centre of k-space, C = U diag(s) V^H for C (coils, samples), the
combinations are the first columns of U: k' = U^H k. They are orthonormal, so that white noise stays
white.

Source: Buehrer et al., MRM 57(6), 2007; Huang et al., MRI 26(1), 2008.
"""

import numpy as np

__all__ = ["compressed", "compression"]


def compression(kspace, coils):
    """The combinations of coils that hold most of the energy.

    Args:
        kspace: complex (coils, height, width), 0 where it may not be used.
        coils: how many combinations; of fewer coils all.

    Returns:
        complex64 (combinations, coils). The largest coil of each is real and positive, so that
        another library finds the same.
    """
    flat = kspace.reshape(len(kspace), -1)
    flat = flat / np.abs(flat).max()
    vectors = np.linalg.eigh(flat @ flat.conj().T)[1][:, ::-1]
    chosen = vectors[:, :coils].conj().T
    largest = np.take_along_axis(chosen, np.abs(chosen).argmax(1)[:, None], 1)
    return (chosen * largest.conj() / np.abs(largest)).astype(np.complex64)


def compressed(kspace, matrix):
    """K-space of the combinations, complex64 (combinations, height, width)."""
    return np.einsum("ij,jhw->ihw", matrix, kspace, optimize=True)
