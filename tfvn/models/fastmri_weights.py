"""Weights of fastMRI's networks: its U-Net and its end-to-end variational network, as the state
dicts of their PyTorch modules name them (`fastmri.models.Unet` and `fastmri.models.VarNet`,
fastMRI 0.3).

A kernel of a convolution is stored there as (output, input, row, column), here as (row, column,
input, output); one of a transposed convolution as (input, output, row, column), here as (input,
row, column, output).

Of a U-Net only those of one channel are read, which see the magnitude image. fastMRI cuts that at
six deviations, and so does the network that is read. Of a variational network those are read that
find their maps themselves, as fastMRI's do.
"""

import re
from typing import Any, NamedTuple

import numpy as np

from tfvn.models.e2e_varnet import E2EVarNet
from tfvn.models.unet import UNet

__all__ = ["Place", "is_fastmri", "network_of", "state_of"]

# What the names begin with in checkpoints of fastMRI's training, whose module holds the network.
_PREFIXES = ("", "unet.", "varnet.")
_CONVOLUTION = (2, 3, 1, 0)
_TRANSPOSED = (0, 2, 3, 1)
_CLAMP = 6.0
_FIRST_KERNEL = "down_sample_layers.0.layers.0.weight"
_FIRST_OF_CASCADE = f"cascades.0.model.unet.{_FIRST_KERNEL}"
_FIRST_OF_MAPS = f"sens_net.norm_unet.unet.{_FIRST_KERNEL}"


class Place(NamedTuple):
    """Where a weight is stored.

    name: in the state dict.
    weight: of the network here.
    axes: of the stored array, in their order here.
    """

    name: str
    weight: Any
    axes: tuple


def is_fastmri(names):
    """Whether names of a state dict are those of a network of fastMRI."""
    return _prefix(names) is not None


def _prefix(names):
    for prefix in _PREFIXES:
        if {prefix + _FIRST_KERNEL, prefix + _FIRST_OF_CASCADE} & set(names):
            return prefix
    return None


def network_of(arrays, source):
    """The network of a state dict.

    Args:
        arrays: by their names, for which `is_fastmri` is true.
        source: the file, for messages.

    Raises:
        ValueError: for arrays that do not make such a network.
    """
    arrays = {name: array for name, array in arrays.items() if isinstance(name, str)}
    prefix = _prefix(arrays)
    known = {}
    for name, array in arrays.items():
        if name.startswith(prefix):
            known[name.removeprefix(prefix)] = array
    try:
        network = _made(known)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    places = _places(network)
    expected = {place.name for place in places}
    # The loss has a window of its own in a checkpoint.
    found = {name for name in known if not name.startswith("loss.")}
    if found != expected:
        raise ValueError(
            f"{source}: expected the weights of a network of fastMRI. Missing:"
            f" {sorted(expected - found)[:5]}. Received also: {sorted(found - expected)[:5]}"
        )
    values = [_value(known[place.name], place, source) for place in places]
    for place, value in zip(places, values):
        place.weight.assign(value)
    return network


def _made(arrays):
    """The network of the sizes that some of the arrays have."""
    if _FIRST_KERNEL in arrays:
        channels, inputs = _sizes(arrays, _FIRST_KERNEL)
        if inputs != 1:
            raise ValueError(
                "expected a U-Net of one channel, the magnitude image. Received: "
                f"{_FIRST_KERNEL} of {inputs} channels"
            )
        return UNet(channels, _levels(arrays, ""), "magnitude", _CLAMP)
    return E2EVarNet(
        num_cascades=_count(arrays, r"cascades\.(\d+)\."),
        channels=_sizes(arrays, _FIRST_OF_CASCADE)[0],
        pools=_levels(arrays, "cascades.0.model.unet."),
        sensitivity_channels=_sizes(arrays, _FIRST_OF_MAPS)[0],
        sensitivity_pools=_levels(arrays, "sens_net.norm_unet.unet."),
    )


def _sizes(arrays, name):
    """The output and the input channels of a kernel."""
    shape = np.shape(arrays.get(name, ()))
    if len(shape) != 4:
        raise ValueError(
            f"{name} must be a kernel (output, input, row, column). Received: shape={shape}"
        )
    return shape[:2]


def _levels(arrays, prefix):
    return _count(arrays, re.escape(prefix) + r"down_sample_layers\.(\d+)\.")


def _count(arrays, pattern):
    """How many numbers stand in the names that begin with a pattern."""
    found = set()
    for name in arrays:
        match = re.match(pattern, name)
        if match:
            found.add(match.group(1))
    return len(found)


def _value(array, place, source):
    """An array as the network holds it, checked."""
    shape = tuple(place.weight.shape)
    expected = tuple(shape[place.axes.index(axis)] for axis in range(len(place.axes)))
    if not shape:
        expected = (1,)
    if array.shape != expected or array.dtype.kind != "f":
        raise ValueError(
            f"{source}: {place.name} must be real of shape {expected}. Received: {array.dtype}"
            f" {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{source}: {place.name} must be finite. Received: NaN or infinite")
    if not shape:
        return array.reshape(())
    return array.transpose(place.axes)


def state_of(network):
    """The weights as the state dict of fastMRI's module names and arranges them.

    Args:
        network: a `UNet` of magnitudes, or an `E2EVarNet` that finds its maps.

    Returns:
        a dict from names to arrays of NumPy.

    Raises:
        ValueError: for another network, which fastMRI does not have.
    """
    state = {}
    for name, weight, axes in _places(network):
        array = np.asarray(weight)
        state[name] = array.reshape(1) if not axes else array.transpose(np.argsort(axes))
    return state


def _places(network):
    if isinstance(network, UNet) and network.image == "magnitude":
        return _of_unet("", network.network)
    if not (isinstance(network, E2EVarNet) and network.sensitivity_channels):
        raise ValueError(
            "network must be a UNet of magnitudes or an E2EVarNet with sensitivity_channels. "
            f"Received: network={network!r}"
        )
    places = _of_unet("sens_net.norm_unet.unet.", network.sensitivity_network.network)
    for number, cascade in enumerate(network.cascades):
        places += _of_unet(f"cascades.{number}.model.unet.", cascade.network)
        weight = network.data_weights[number]
        places.append(Place(f"cascades.{number}.dc_weight", weight, ()))
    return places


def _of_unet(prefix, layers):
    """The places of the weights of `UNetLayers`."""
    places = []

    def block(name, kernels):
        for index, kernel in zip((0, 4), kernels):
            places.append(Place(f"{prefix}{name}.layers.{index}.weight", kernel, _CONVOLUTION))

    *down, lowest = layers.down
    for number, one in enumerate(down):
        block(f"down_sample_layers.{number}", one.kernels)
    block("conv", lowest.kernels)
    last = layers.pools - 1
    for number, (up, merge) in enumerate(zip(layers.up, layers.merge)):
        name = f"{prefix}up_transpose_conv.{number}.layers.0.weight"
        places.append(Place(name, up.kernel, _TRANSPOSED))
        block(f"up_conv.{number}" + ".0" * (number == last), merge.kernels)
    places.append(Place(f"{prefix}up_conv.{last}.1.weight", layers.kernel, _CONVOLUTION))
    places.append(Place(f"{prefix}up_conv.{last}.1.bias", layers.bias, (0,)))
    return places
