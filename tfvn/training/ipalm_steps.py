"""The steps of iPALM in the weights of a network, see `tfvn.training.ipalm`."""

from typing import NamedTuple

import tensorflow as tf
from tensorflow import keras

from tfvn import checks, replicas
from tfvn.training.ipalm import IPALM, LIPSCHITZ_RANGE
from tfvn.training.steps import Steps

__all__ = ["IPALMSteps"]


class IPALMSteps(Steps):
    """Steps of iPALM, block after block.

    The blocks are the network's `parameter_blocks`. The weights of a block must have one
    constraint in common, which is its projection.

    Stage by stage, the first weight of every block is a block of its own, then the second of every
    block, and so on. In a variational network these are its stages, and the steps are those of the
    stage-wise optimizer of the original code. A step costs as many gradients and trials as there
    are blocks.

    Args:
        momentum: inertia, in [0, 1).
        initial_lipschitz: first curvature bound of each block.
        stagewise: one stage at a time, each with its own curvature bound (original code).

    Raises:
        ValueError: for values outside their limits.
    """

    name = "ipalm"

    def __init__(self, momentum=0.7, initial_lipschitz=1000.0, stagewise=False):
        least, most = LIPSCHITZ_RANGE
        self._settings = {
            "momentum": checks.number("momentum", momentum, least=0, below=1),
            "initial_lipschitz": checks.number(
                "initial_lipschitz", initial_lipschitz, least=least, most=most
            ),
        }
        self._stagewise = checks.flag("stagewise", stagewise)

    def build(self, network, steps_done, strategy, beside):
        if beside:
            raise ValueError(
                "ipalm lowers one loss, and the recipe trains weights of its own on another. Use"
                " adam."
            )
        # Keras wants one. It is never used.
        with replicas.scope(strategy):
            self.optimizer = keras.optimizers.SGD()
        blocks = network.parameter_blocks
        for name, block in blocks.items():
            _check_block(name, block, network)
        self._names = tuple(blocks)
        if self._stagewise:
            self._places = _stages_of(blocks, network)
        else:
            self._places = _whole(blocks)
        self.gradients = len(self._places)
        chosen = [blocks[place.name][place.weights] for place in self._places.values()]
        projections = [block[0].constraint or tf.identity for block in chosen]
        self.ipalm = IPALM(chosen, projections, dtype=network.dtype, **self._settings)
        super().build(network, steps_done, strategy, beside)

    def step(self, objective):
        # One graph serves the trials of all blocks, and one the gradients of all stages.
        loss = objective.compiled(())
        gradients_in = {name: objective.compiled((name,)) for name in self._names}
        places = list(self._places.values())

        def energy():
            return loss()[0]

        def energy_and_gradients(index):
            place = places[index]
            value, *gradients = gradients_in[place.name]()
            return value, gradients[place.weights]

        return self.ipalm.step(energy, energy_and_gradients)

    def logs(self):
        """The bound L and the number of trials of each block."""
        found = {}
        for name, lipschitz, trials in zip(self._places, self.ipalm.lipschitz, self.ipalm.trials):
            found[f"lipschitz_{name}"] = tf.convert_to_tensor(lipschitz)
            found[f"trials_{name}"] = tf.convert_to_tensor(trials)
        return found


class _Place(NamedTuple):
    """Where the weights of a block of iPALM are: the name of a parameter block, and a slice of
    it.
    """

    name: str
    weights: slice


def _whole(blocks):
    return {name: _Place(name, slice(None)) for name in blocks}


def _stages_of(blocks, network):
    counts = {name: len(block) for name, block in blocks.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(
            "ipalm goes stage by stage where all parameter_blocks hold the same number of weights."
            f" Received: {type(network).__name__} with {counts}. Set stagewise=False."
        )
    places = {}
    for index in range(max(counts.values())):
        for name in blocks:
            places[f"{name}_{index + 1}"] = _Place(name, slice(index, index + 1))
    return places


def _check_block(name, block, network):
    if len({weight.constraint for weight in block}) != 1:
        raise ValueError(
            "ipalm needs parameter_blocks whose weights have one constraint in common. Received:"
            f" {type(network).__name__}, whose block {name!r} has {len(block)} weights of several"
            " constraints. Override its parameter_blocks, or use adam."
        )
