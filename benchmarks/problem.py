"""The slice and the network that are timed: full size unless told otherwise, random but fixed."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfvn.models import variational
from tfvn.physics import masks, sense


@dataclasses.dataclass(frozen=True)
class Size:
    """One problem. The defaults are the paper's: a knee slice and the network for it."""

    coils: int = 15
    height: int = 640
    width: int = 368
    stages: int = 10
    filters: int = 24


def make_network(size):
    """A network with random weights of a trained one's magnitude."""
    model = variational.VariationalNetwork(size.stages, size.filters, initial_data_weight=0.1)
    rng = np.random.default_rng(1)
    for stage in model.stages:
        stage.rbf_weights.assign_add(0.004 * rng.standard_normal(stage.rbf_weights.shape))
    return model


def make_inputs(size, batch=1):
    """k-space, maps of unit root-sum-of-squares and a column mask that keeps a quarter of the lines
    and the centre.

    Made slice by slice and coil by coil: the peak of the process shall be that of the workload.
    """
    rng = np.random.default_rng(0)
    maps = np.empty((batch, size.coils, size.height, size.width), np.complex64)
    kspace = np.empty_like(maps)
    mask = masks.equispaced(size.width, 4, 0.08).astype(np.float32).reshape(1, 1, 1, -1)
    for image, own_maps, own_kspace in zip(make_image(size, batch, seed=2), maps, kspace):
        for coil in own_maps:
            coil.real, coil.imag = rng.standard_normal((2, *coil.shape), np.float32)
        own_maps /= np.sqrt(sum(np.abs(coil) ** 2 for coil in own_maps))
        for coil_maps, coil in zip(own_maps, own_kspace):
            coil[...] = sense.Sense().forward(image[None], coil_maps[None, None], mask)[0, 0]
    return {
        "kspace": tf.constant(kspace),
        "sensitivity_maps": tf.constant(maps),
        "mask": tf.constant(mask),
    }


def make_image(size, batch=1, seed=3):
    """A random complex image (batch, height, width): a reference to train towards."""
    parts = np.random.default_rng(seed).standard_normal(
        (2, batch, size.height, size.width), np.float32
    )
    return tf.constant(0.3 * (parts[0] + 1j * parts[1]).astype(np.complex64))
