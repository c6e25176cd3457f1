"""Networks that BART trained (`bart reconet --network varnet` or `modl`), from its weights file.

The file holds arrays without names; their number tells what they are. Each has the iterations as
its last axis, of length 1 where all share a weight.

    varnet: lambda (t), conv (filter, 1, row, column, 1, t), rbf (filter, centre, t)
    modl:   lambda (t), conv_0, conv_i, conv_n (output, input, row, column, 1, [layer,] t);
            then, unless BART was told not to have them,
            bias_0, bias_i, bias_n (output, [layer,] t),
            gamma (1, 1, 1, 1, 1, t), bn_0, bn_i, bn_n (output, 1, 1, 1, 1, mean/var, [layer,] t)

The activations of its variational network have centres on [-1, 1] and the bandwidth 2 / centres.
Its convolutions of MoDL are complex, and the layers in the middle stand in the file from the last
to the first. A complex kernel a + ib is the real one ((a, -b), (b, a)) on two channels; so is
gamma. Batch normalisation has statistics of its own in each iteration. It is an affine map, which
goes into kernels and biases. So one network of n complex filters becomes a `MoDL` of 2n filters
with a denoiser for each iteration.

Of the sources of BART 0.8.00: `src/networks/reconet.c`, `cnn.c`, `src/nn/rbf.c`, `batchnorm.c`.
"""

import os
from typing import Any, NamedTuple

import numpy as np

from tfvn import checks
from tfvn.models.cfl_files import read_arrays
from tfvn.models.imported import sentence
from tfvn.models.modl import MoDL, raw_of
from tfvn.models.residual import KERNEL_SIZE
from tfvn.models.variational import VariationalNetwork

__all__ = ["from_bart_file"]

_EPSILON = 1e-3
_ARRAYS_OF_VARNET = 3
# lambda and three kernels; three biases; gamma and three statistics.
_KERNELS, _BIASES, _NORMALISATION = 4, 3, 4


def from_bart_file(path, num_iterations=10, cg_steps=10):
    """The network of a weights file. It reads measurements of max |A^H k| = 1, as BART's option -n
    makes them.

    Args:
        path: NAME, NAME.hdr or NAME.cfl.
        num_iterations: of a modl whose weights do not tell it: all of them are shared.
        cg_steps: of a modl, BART's `max-cg-iter`, which the file does not tell.

    Raises:
        ValueError: if there is no such file, or its arrays are not those of such a network.
    """
    path = os.fsdecode(path)
    checks.whole("num_iterations", num_iterations, 1)
    checks.whole("cg_steps", cg_steps, 1)
    try:
        arrays = read_arrays(path)
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError("expected finite numbers. Received: NaN or infinite weights")
        if len(arrays) == _ARRAYS_OF_VARNET:
            return _varnet(*arrays)
        return _modl(arrays, num_iterations, cg_steps)
    # Readers of damaged files raise nearly every type; the caller needs the file's name and one
    # type.
    except Exception as error:
        raise ValueError(f"{path}: not a file of BART's weights: {sentence(error)}") from error


def _varnet(data_weights, kernels, rbf_weights):
    filters, _, size, _, _, _ = kernels.shape
    num_stages = max(array.shape[-1] for array in (data_weights, kernels, rbf_weights))
    num_centers = rbf_weights.shape[1]
    model = VariationalNetwork(
        num_stages=num_stages,
        filters=filters,
        kernel_size=size,
        num_centers=num_centers,
        bandwidth=2 / num_centers,
    )
    for number, stage in enumerate(model.stages):
        kernel = _of_iteration(kernels, number)[:, 0, :, :, 0].transpose(1, 2, 0)
        stage.kernel.assign(np.stack([kernel.real, kernel.imag], 2))
        stage.rbf_weights.assign(_of_iteration(rbf_weights, number).real)
        stage.data_weight.assign(_of_iteration(data_weights, number).real)
    return model


class _Layer(NamedTuple):
    """The arrays of a convolution, whose last axis is that of the iterations; None for those that
    the network does not have.
    """

    kernel: Any
    bias: Any = None
    statistics: Any = None
    gamma: Any = None

    def affine(self, number):
        """The complex kernel (output, input, row, column) and bias of an iteration."""
        kernel = _of_iteration(self.kernel, number)[..., 0]
        slope, bias = np.ones(len(kernel)), np.zeros(len(kernel), complex)
        if self.statistics is not None:
            mean, variance = _of_iteration(self.statistics, number).reshape(-1, 2).T
            slope = 1 / np.sqrt(variance.real + _EPSILON)
            if self.gamma is not None:
                slope = slope * _of_iteration(self.gamma, number).ravel()
            bias -= mean * slope
        if self.bias is not None:
            bias += _of_iteration(self.bias, number)
        return kernel * slope[:, None, None, None], bias


def _modl(arrays, num_iterations, cg_steps):
    regularisation, layers = arrays[0].ravel().real, _layers(arrays)
    if regularisation.size != 1 or regularisation[0] <= 0:
        raise ValueError(f"expected one lambda > 0. Received: lambda={regularisation}")
    found = max(array.shape[-1] for array in arrays)
    if found > 1:
        num_iterations = found
    model = MoDL(
        num_iterations=num_iterations,
        num_layers=len(layers),
        filters=2 * len(layers[0].kernel),
        bias=True,
        shared=found == 1,
        cg_steps=cg_steps,
    )
    for number, denoiser in enumerate(model.denoisers):
        for layer, own_kernel, own_bias in zip(layers, denoiser.kernels, denoiser.biases):
            kernel, bias = layer.affine(number)
            own_kernel.assign(_on_two_channels(kernel))
            own_bias.assign(np.stack([bias.real, bias.imag], -1).ravel())
    model.raw_lambda.assign(raw_of(float(regularisation[0])))
    return model


def _layers(arrays):
    """The `_Layer`s in the order in which they are applied."""
    rest = arrays[_KERNELS:]
    sizes = {0, _BIASES, _NORMALISATION, _BIASES + _NORMALISATION}
    if len(arrays) < _KERNELS or len(rest) not in sizes:
        raise ValueError(f"expected 3, 4, 7, 8 or 11 arrays. Received: {len(arrays)} arrays")
    kernels = _in_order(*arrays[1:_KERNELS])
    none = [None] * len(kernels)
    biases = statistics = gammas = none
    if len(rest) in (_BIASES, _BIASES + _NORMALISATION):
        biases = _in_order(*rest[:_BIASES])
    if len(rest) >= _NORMALISATION:
        gamma, *parts = rest[-_NORMALISATION:]
        statistics, gammas = _in_order(*parts), [*none[1:], gamma]
    for kernel in kernels:
        if kernel.shape[2:5] != (KERNEL_SIZE, KERNEL_SIZE, 1):
            raise ValueError(f"expected kernels of 3 x 3. Received: {kernel.shape[2:5]}")
    return [_Layer(*parts) for parts in zip(kernels, biases, statistics, gammas)]


def _in_order(first, middle, last):
    """The arrays of all layers; those in the middle have an axis of layers, the last one first."""
    return [first, *np.moveaxis(middle, -2, 0)[::-1], last]


def _of_iteration(array, number):
    """The part of an iteration, the same for all where the axis has the length 1."""
    return array[..., min(number, array.shape[-1] - 1)]


def _on_two_channels(kernel):
    """The real kernel (row, column, 2 input, 2 output) of a complex one (output, input, row,
    column).
    """
    kernel = kernel.transpose(2, 3, 1, 0)
    rows, columns, inputs, outputs = kernel.shape
    real = np.zeros((rows, columns, inputs, 2, outputs, 2))
    real[:, :, :, 0, :, 0] = real[:, :, :, 1, :, 1] = kernel.real
    real[:, :, :, 0, :, 1] = kernel.imag
    real[:, :, :, 1, :, 0] = -kernel.imag
    return real.reshape(rows, columns, 2 * inputs, 2 * outputs)
