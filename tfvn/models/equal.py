"""Which networks are equal, whatever files they came from."""

import hashlib
import json

import numpy as np

from tfvn.models.variational import VariationalNetwork

__all__ = ["model_hash", "with_readout_oversampling"]


def model_hash(network):
    """SHA-256 of architecture and weights.

    The same network has the same hash, whatever file it came from.
    """
    architecture = network.get_config()
    for key in ("name", "seed"):
        architecture.pop(key, None)
    weights = [weight for block in network.parameter_blocks.values() for weight in block]
    # Files of attacks hold hashes of before there were other classes than this one.
    if type(network) is not VariationalNetwork:
        architecture["class"] = type(network).__name__
        weights = network.weights
    digest = hashlib.sha256(json.dumps(architecture, sort_keys=True).encode())
    for weight in weights:
        digest.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return digest.hexdigest()


def with_readout_oversampling(network, readout_oversampling):
    """A network of the same weights, which do not depend on it: it is a property of the scan."""
    if network.sense.readout_oversampling == readout_oversampling:
        return network
    settings = {**network.get_config(), "readout_oversampling": readout_oversampling}
    other = type(network).from_config(settings)
    other.make_weights()
    other.set_weights(network.get_weights())
    return other
