"""Weights of D5-C5 as its authors publish them (js3611/Deep-MRI-Reconstruction, `d5_c5.npz`).

The file holds `arr_0`, `arr_1`, ...: for each convolution in the order of layers its kernel
(output, input, row, column) and its bias (output,). A kernel with two outputs ends a cascade.

The authors sample whole rows, the lines of this package are columns. So the network is applied to
the transposed image: rows and columns of the kernels change places.

Their convolution layer is the one of cuDNN on a graphics card, which Lasagne does not flip, and
else Theano's, which it flips. The file does not tell which one it was trained with. Flipped kernels
are those of an image turned by 180 degrees, so that both are about as good.
"""

import numpy as np

from tfvn import checks
from tfvn.models.cascade import Cascade
from tfvn.models.imported import opened_npz, readable, sentence
from tfvn.models.residual import kernel_shapes

__all__ = ["from_deep_mri_file", "is_deep_mri"]


def is_deep_mri(names):
    """Whether an `.npz` archive of members of these names holds a list of arrays."""
    return "arr_0.npy" in names


def from_deep_mri_file(path, flip=False):
    """The network of a file such as `d5_c5.npz`. Its data step is the exact replacement.

    Args:
        path: of the file.
        flip: whether the kernels are those of convolutions, and not of cross-correlations.

    Raises:
        ValueError: if the file is not such a file or its arrays do not fit together.
    """
    path = readable(path)
    flip = checks.flag("flip", flip)
    try:
        with open(path, "rb") as binary, opened_npz(binary) as file:
            arrays = [file[f"arr_{number}"] for number in range(len(file.files))]
        cascades = _cascades(arrays)
    # Readers of damaged files raise nearly every type; the caller needs the file's name and one
    # type.
    except Exception as error:
        raise ValueError(f"{path}: not a file of a deep cascade: {sentence(error)}") from error
    return _network(cascades, flip)


def _cascades(arrays):
    """The arrays of each cascade, a list of lists.

    Raises:
        ValueError: if they are not those of one network.
    """
    ends = [number for number, array in enumerate(arrays) if array.shape == (2,)]
    if not ends or len(arrays) % len(ends):
        raise ValueError("expected kernels and biases in turn, the last of a cascade of 2 channels")
    count = len(arrays) // len(ends)
    filters = len(arrays[0])
    expected = []
    for row, column, before, after in kernel_shapes(count // 2, filters) * len(ends):
        expected += [(after, before, row, column), (after,)]
    shapes = [array.shape for array in arrays]
    if shapes != expected:
        received = [shape for shape, other in zip(shapes, expected) if shape != other]
        raise ValueError(f"expected cascades of one size. Received also: {received[:5]}")
    for array in arrays:
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError("expected finite numbers. Received: NaN or infinite weights")
    return [arrays[start : start + count] for start in range(0, len(arrays), count)]


def _network(cascades, flip):
    kernels = cascades[0][::2]
    model = Cascade(
        num_cascades=len(cascades),
        num_layers=len(kernels),
        filters=len(kernels[0]),
        data_step="replace",
        mu=0.0,
    )
    for network, arrays in zip(model.networks, cascades):
        for own, array in zip(network.kernels, arrays[::2]):
            kernel = array.transpose(3, 2, 1, 0)
            if flip:
                kernel = kernel[::-1, ::-1]
            own.assign(kernel)
        for own, array in zip(network.biases, arrays[1::2]):
            own.assign(array)
    return model
