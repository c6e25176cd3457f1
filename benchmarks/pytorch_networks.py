"""The networks that are timed against ours, in PyTorch: those of fastMRI itself, and a MoDL.

Each is a function of k-space (coils, height, width), maps of its shape and a mask (1, 1, width). It
gives a magnitude image. Weights are those of our network.
"""

import fastmri
import numpy as np
import torch
import torch.nn.functional as F
from fastmri import models

from tfvn.models.fastmri_weights import state_of

__all__ = ["FACTORIES", "forward_operator"]

_CLAMP = 6.0
_CG_STEPS = 10


def _fft(image):
    return torch.view_as_complex(fastmri.fft2c(torch.view_as_real(image)))


def _ifft(kspace):
    return torch.view_as_complex(fastmri.ifft2c(torch.view_as_real(kspace)))


def forward_operator(image, maps, mask):
    """A image."""
    return mask * _fft(maps * image)


def _adjoint(kspace, maps, mask):
    return torch.sum(maps.conj() * _ifft(mask * kspace), 0)


def _loaded(module, network):
    state = {name: torch.tensor(np.array(array)) for name, array in state_of(network).items()}
    module.load_state_dict(state)
    return module.eval().requires_grad_(False)


def unet(network):
    layers = network.network
    module = _loaded(models.Unet(1, 1, layers.channels, layers.pools), network)

    def reconstruct(kspace, maps, mask):
        image = _adjoint(kspace, maps, mask).abs()
        mean, deviation = image.mean(), image.std()
        seen = ((image - mean) / (deviation + 1e-11)).clamp(-_CLAMP, _CLAMP)
        return (module(seen[None, None])[0, 0] * deviation + mean).abs()

    return reconstruct


def varnet(network):
    sizes = (network.sensitivity_channels, network.sensitivity_pools)
    module = models.VarNet(len(network.cascades), *sizes, network.channels, network.pools)
    module = _loaded(module, network)

    def reconstruct(kspace, maps, mask):
        del maps
        kspace = torch.view_as_real(kspace)[None]
        return module(kspace, mask[None, ..., None].bool())[0]

    return reconstruct


def _solve(right, maps, mask, regularisation):
    """(A^H A + lambda)^-1 b by a few steps of conjugate gradients, which are differentiated."""

    def normal(image):
        seen = _adjoint(forward_operator(image, maps, mask), maps, mask)
        return seen + regularisation * image

    solution = torch.zeros_like(right)
    residual = direction = right
    size = torch.sum(residual.abs() ** 2)
    for _ in range(_CG_STEPS):
        product = normal(direction)
        step = size / torch.sum((direction.conj() * product).real)
        solution = solution + step * direction
        residual = residual - step * product
        before, size = size, torch.sum(residual.abs() ** 2)
        direction = residual + size / before * direction
    return solution


def modl(network):
    denoiser = network.denoisers[0]
    kernels = []
    for kernel in denoiser.kernels:
        kernels.append(torch.tensor(np.array(kernel).transpose(3, 2, 0, 1).copy()))
    regularisation = float(network.regularisation)

    def denoised(image):
        features = torch.view_as_real(image).permute(2, 0, 1)[None]
        for number, kernel in enumerate(kernels):
            if number:
                features = F.relu(features)
            features = F.conv2d(features, kernel, padding=1)
        return image + torch.view_as_complex(features[0].permute(1, 2, 0).contiguous())

    def reconstruct(kspace, maps, mask):
        zero_filled = image = _adjoint(kspace, maps, mask)
        for _ in range(network.num_iterations):
            right = zero_filled + regularisation * denoised(image)
            image = _solve(right, maps, mask, regularisation)
        return image.abs()

    return reconstruct


FACTORIES = {"U-Net": unet, "E2E-VarNet": varnet, "MoDL": modl}
