"""Weights of MoDL from the TensorFlow 1 checkpoints of its authors (hkaggarwal/modl).

A checkpoint holds, beside the state of its optimizer, the variables

    Wts/Layer1/W            (3, 3, input, output), the kernel of the first convolution
    Wts/Layer1/BN/gamma     (output,), and beta, moving_mean, moving_variance
    Wts/Layer2/...
    Wts/lam1                (), lambda

Batch normalisation after the training is an affine map of each channel, which goes into the kernel
and a bias:

    gamma (W * x - mean) / sqrt(variance + 0.001) + beta

The number of iterations is no variable; it stands in the name of the folder, such as 5L_10K_50E.
"""

import os
import re

import numpy as np

from tfvn import checks
from tfvn.models.imported import read_checkpoint, sentence
from tfvn.models.modl import MoDL, raw_of
from tfvn.models.residual import kernel_shapes

__all__ = ["folded", "from_modl_checkpoint"]

_KERNEL = re.compile(r"Wts/Layer(\d+)/W")
_STATISTICS = ("gamma", "beta", "moving_mean", "moving_variance")
# Of `tf.layers.batch_normalization`, which does not store it.
_EPSILON = 1e-3


def from_modl_checkpoint(prefix, num_iterations=10, cg_steps=10):
    """The network of a checkpoint.

    Args:
        prefix: as for `tfvn.models.imported.from_tf1_checkpoint`.
        num_iterations: the K that it was trained with.
        cg_steps: steps of conjugate gradients at most, 10 in the authors' code.

    Raises:
        ValueError: if there is no such checkpoint, if it is damaged, or its variables are others.
    """
    path = os.fsdecode(prefix)
    checks.whole("num_iterations", num_iterations, 1)
    checks.whole("cg_steps", cg_steps, 1)
    try:
        variables = read_checkpoint(path, _names)
        layers = _layers(variables)
    # Of a damaged file TensorFlow raises OpError, IndexError, ValueError and more.
    except Exception as error:
        raise ValueError(
            f"{path}: cannot be read as a checkpoint of MoDL: {sentence(error)}"
        ) from error
    model = MoDL(
        num_iterations=num_iterations,
        num_layers=len(layers),
        filters=layers[0][1].size,
        bias=True,
        cg_steps=cg_steps,
    )
    denoiser = model.denoisers[0]
    for number, (kernel, bias) in enumerate(layers):
        denoiser.kernels[number].assign(kernel)
        denoiser.biases[number].assign(bias)
    model.raw_lambda.assign(raw_of(float(variables["Wts/lam1"])))
    return model


def _names(found):
    """The names of the variables that are read, out of those of a checkpoint."""
    layers = sum(_KERNEL.fullmatch(name) is not None for name in found)
    names = ["Wts/lam1"]
    for number in range(1, max(layers, 1) + 1):
        names.append(f"Wts/Layer{number}/W")
        names += [f"Wts/Layer{number}/BN/{name}" for name in _STATISTICS]
    return names


def _layers(variables):
    """The kernel and the bias of each convolution.

    Raises:
        ValueError: if the variables do not fit together.
    """
    for name, value in variables.items():
        if value.dtype.kind != "f" or not np.isfinite(value).all():
            raise ValueError(f"{name} must be finite real numbers. Received: {value.dtype}")
    regularisation = variables["Wts/lam1"]
    if regularisation.shape != () or regularisation <= 0:
        raise ValueError(f"expected a lambda > 0. Received: Wts/lam1={regularisation}")
    count = (len(variables) - 1) // (1 + len(_STATISTICS))
    filters = variables["Wts/Layer1/W"].shape[-1]
    layers = []
    for number, shape in enumerate(kernel_shapes(count, filters), start=1):
        kernel = variables[f"Wts/Layer{number}/W"]
        statistics = [variables[f"Wts/Layer{number}/BN/{name}"] for name in _STATISTICS]
        shapes = [array.shape for array in (kernel, *statistics)]
        if shapes != [shape] + [shape[-1:]] * len(_STATISTICS):
            raise ValueError(f"expected W {shape} in layer {number}. Received: {shapes}")
        layers.append(folded(kernel, *statistics))
    return layers


def folded(kernel, gamma, beta, mean, variance, epsilon=_EPSILON):
    """Kernel and bias of a convolution that batch normalisation follows, after the training.

    Args:
        kernel: (row, column, input, output).
        gamma, beta, mean, variance: (output,).
        epsilon: beside the variance.
    """
    slope = gamma / np.sqrt(variance + epsilon)
    return kernel * slope, beta - mean * slope
