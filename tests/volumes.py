"""Volumes of synthetic knees, written as fastMRI writes them."""

import h5py
import numpy as np

from tfvn.data import SyntheticKnee
from tfvn.data.sample import ifft2c

HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace><matrixSize><x>{height}</x><y>{width}</y><z>1</z></matrixSize></encodedSpace>
<reconSpace><matrixSize><x>{rows}</x><y>{width}</y><z>1</z></matrixSize></reconSpace>
<encodingLimits>
<kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{center}</center>
</kspace_encoding_step_1>
</encodingLimits><trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"""
# Of real volumes.
SCALE = 1e-5


def knees(slices, coils, height, width, seed=0):
    """K-space of real size, complex64 (slices, coils, height, width)."""
    source = SyntheticKnee(slices, height, width, coils, None, 0.001, seed)
    return np.float32(SCALE) * np.stack([source[number].kspace for number in range(slices)])


def write_volume(path, kspace, padding=(0, 0), mask=None, changes=()):
    """Writes a volume.

    Args:
        path: the file.
        kspace: complex64 (slices, coils, height, width), or without the coils.
        padding: lines at the left and right that are set to zero and that the header leaves out.
        mask: 0/1 (width,), for a file of an undersampled volume.
        changes: a dict of arrays that take the place of others; None leaves one out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = kspace.shape[-2:]
    left, right = padding
    kspace = kspace.copy()
    kspace[..., :left] = 0
    kspace[..., width - right :] = 0
    rows = height // 2
    first = height // 4
    images = np.abs(ifft2c(kspace))[..., first : first + rows, :]
    arrays = {"kspace": kspace}
    if kspace.ndim == 3:
        arrays["reconstruction_esc"] = images
    else:
        arrays["reconstruction_rss"] = np.sqrt((images**2).sum(1))
    if mask is not None:
        arrays = {"kspace": kspace * mask, "mask": mask}
    arrays["ismrmrd_header"] = HEADER.format(
        height=height,
        width=width,
        rows=rows,
        last=width - left - right - 1,
        center=width // 2 - left,
    )
    arrays.update(changes)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            if array is not None:
                file[name] = array
        file.attrs["acquisition"] = "CORPD_FBK"
