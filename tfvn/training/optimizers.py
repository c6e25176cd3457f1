"""What a step of the training does to the weights: iPALM as in the paper, or another optimizer.

    ipalm                 block after block, see `tfvn.training.ipalm`
    adam                  Adam of Keras
    radam-lookahead       RectifiedAdam inside Lookahead, of tensorflow-addons
    conditional-gradient  Frank-Wolfe for the filters, Adam for all other weights

All of them keep every weight in its constraint set. iPALM and the optimizers of Keras step and then
project. Frank-Wolfe moves each filter k, with gradient g, towards the point s of its set where the
linearised loss is least:

    k <- (1 - rate) k + rate s
    s = -(g - mean g) / || g - mean g ||

The set holds all filters of zero mean and || k || <= 1. It is convex, so k never leaves it; what
rounding adds is projected away. The sets of other weights are unbounded and have no such point.
"""

import abc
from typing import NamedTuple

import tensorflow as tf
from tensorflow import keras

from tfvn import compat, replicas
from tfvn.projections import zero_mean_unit_ball, zero_mean_unit_sphere
from tfvn.training.ipalm import IPALM

__all__ = [
    "OPTIMIZERS",
    "AdamSteps",
    "FrankWolfeSteps",
    "IPALMSteps",
    "KerasSteps",
    "RadamLookaheadSteps",
    "Steps",
    "from_config",
    "steps_of",
]


class Steps(abc.ABC):
    """The steps of an optimizer. A trainer builds them for its network, and then takes them.

    Attributes:
        optimizer: the optimizer that Keras is told of.
        ipalm, filter_optimizer: what holds more state than `optimizer`; None where nothing does.
        on_one_device: whether they cannot be taken over the replicas of a `tf.distribute` strategy.
    """

    name = "this optimizer"
    optimizer = None
    ipalm = None
    filter_optimizer = None
    on_one_device = False

    def build(self, network, steps_done, strategy):
        """Makes the state for the weights of a network. Called once, by the trainer.

        Args:
            network: the `Reconstructor`.
            steps_done: the variable that counts the steps.
            strategy: the `tf.distribute` strategy, or None.

        Raises:
            ValueError: for a network that the optimizer cannot train.
        """
        self._build_optimizer(network.trainable_variables, strategy)

    def _build_optimizer(self, variables, strategy):
        # With its slots made now, an optimizer's state can be restored before its first step. Those
        # of tensorflow-addons are of the older kind, which restores a slot when the first step
        # makes it.
        if hasattr(self.optimizer, "build"):
            with replicas.scope(strategy):
                self.optimizer.build(variables)

    @abc.abstractmethod
    def step(self, objective):
        """Changes the weights once. Returns the loss before.

        Args:
            objective: the `Objective` of this step.
        """

    def logs(self):
        """What is logged of the last step, by name."""
        return {}


class KerasSteps(Steps):
    """Steps of a Keras optimizer, in all weights at once.

    Args:
        optimizer: any Keras optimizer.
    """

    def __init__(self, optimizer):
        self.optimizer = optimizer

    def build(self, network, steps_done, strategy):
        blocks = network.parameter_blocks
        self._names = tuple(blocks)
        self._weights = [weight for block in blocks.values() for weight in block]
        super().build(network, steps_done, strategy)

    def step(self, objective):
        return objective.apply(self._names, self._apply)

    def _apply(self, gradients):
        # Keras sums the gradients over the replicas. The weights' own constraints are projections,
        # which it applies after its update.
        self.optimizer.apply_gradients(list(zip(gradients, self._weights)))


class AdamSteps(KerasSteps):
    """Steps of Adam.

    Args:
        learning_rate: a number or a Keras schedule.
    """

    name = "adam"

    def __init__(self, learning_rate=1e-3):
        super().__init__(keras.optimizers.Adam(learning_rate))


class RadamLookaheadSteps(KerasSteps):
    """Steps of RectifiedAdam inside Lookahead.

    Args:
        learning_rate: a number or a Keras schedule.

    Raises:
        ValueError: without tensorflow-addons.
    """

    name = "radam-lookahead"
    on_one_device = True

    def __init__(self, learning_rate=1e-3):
        addons = compat.addons(f"optimizer={self.name}", "optimizer=adam").optimizers
        super().__init__(addons.Lookahead(addons.RectifiedAdam(learning_rate)))


class FrankWolfeSteps(KerasSteps):
    """Steps of Frank-Wolfe in the filters, and of Adam in all other weights.

    A weight holds filters if `zero_mean_unit_ball` is its constraint.

    Args:
        learning_rate: a number or a Keras schedule, at most 1. It is the share that a filter goes
            of the way to its point s, and the learning rate of Adam.

    Raises:
        ValueError: without tensorflow-addons, and for a larger rate.
    """

    name = "conditional-gradient"
    on_one_device = True

    def __init__(self, learning_rate=1e-3):
        addons = compat.addons(f"optimizer={self.name}", "optimizer=adam").optimizers
        first = float(learning_rate(0)) if callable(learning_rate) else learning_rate
        if not 0 <= first <= 1:
            raise ValueError(
                f"{self.name} needs a learning_rate of at most 1. Received: learning_rate={first:g}"
            )
        super().__init__(keras.optimizers.Adam(learning_rate))
        self._conditional_gradient = addons.ConditionalGradient
        self._learning_rate = learning_rate

    def build(self, network, steps_done, strategy):
        super().build(network, steps_done, strategy)
        counts = {weight.shape[-1] for weight in self._weights if _holds_filters(weight)}
        if len(counts) != 1:
            raise ValueError(
                f"{self.name} needs a network with filters, weights of the constraint"
                " zero_mean_unit_ball, of which each holds the same number. Received:"
                f" {type(network).__name__} with the numbers {sorted(counts)}. Use adam."
            )
        self.filter_optimizer = self._frank_wolfe(counts.pop(), steps_done)

    def _build_optimizer(self, variables, strategy):
        others = [weight for weight in self._weights if not _holds_filters(weight)]
        super()._build_optimizer(others, strategy)

    def _frank_wolfe(self, count, steps_done):
        """ConditionalGradient over `count` filters a weight. In place of a gradient it is given its
        `zero_mean_unit_sphere`.

        tensorflow-addons moves a whole variable towards the point -lambda_ g / || g || of one ball
        around all its filters, where one filter may take up all the norm. Where each filter of g
        has norm 1, || g || is sqrt(count). With that lambda_ the point is -g, a vertex of the
        product of the filters' own sets. Its learning_rate is the share of the old value.
        """
        rate = self._learning_rate
        if not callable(rate):
            return self._conditional_gradient(1 - rate, lambda_=count**0.5)

        def kept():
            return 1 - rate(steps_done)

        # It calls a function, but it cannot take a Keras schedule.
        return self._conditional_gradient(kept, lambda_=count**0.5)

    def _apply(self, gradients):
        filters, others = [], []
        for gradient, weight in zip(gradients, self._weights):
            if _holds_filters(weight):
                filters.append((zero_mean_unit_sphere(gradient), weight))
            else:
                others.append((gradient, weight))
        self.filter_optimizer.apply_gradients(filters)
        self.optimizer.apply_gradients(others)


def _holds_filters(weight):
    return weight.constraint is zero_mean_unit_ball


class IPALMSteps(Steps):
    """Steps of iPALM, block after block.

    The blocks are the network's `parameter_blocks`. The weights of a block must have one
    constraint in common, which is its projection.

    Args:
        momentum, initial_lipschitz: of `IPALM`.
        stagewise: take the first weight of every block as a block of its own, then the second of
            every block, and so on. In a variational network these are its stages. So does the
            stage-wise optimizer of the original code. A step costs as many gradients and trials as
            there are blocks.
    """

    name = "ipalm"

    def __init__(self, momentum=0.7, initial_lipschitz=1000.0, stagewise=False):
        self._settings = {"momentum": momentum, "initial_lipschitz": initial_lipschitz}
        self._stagewise = stagewise
        # Keras wants one. It is never used.
        self.optimizer = keras.optimizers.SGD()

    def build(self, network, steps_done, strategy):
        blocks = network.parameter_blocks
        for name, block in blocks.items():
            _check_block(name, block, network)
        self._names = tuple(blocks)
        self._places = _stages_of(blocks, network) if self._stagewise else _whole(blocks)
        chosen = [blocks[place.name][place.weights] for place in self._places.values()]
        projections = [block[0].constraint or tf.identity for block in chosen]
        self.ipalm = IPALM(chosen, projections, dtype=network.dtype, **self._settings)
        super().build(network, steps_done, strategy)

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


# By the names that a configuration has for them.
OPTIMIZERS = {
    "ipalm": IPALMSteps,
    "adam": AdamSteps,
    "radam-lookahead": RadamLookaheadSteps,
    "conditional-gradient": FrankWolfeSteps,
}


def steps_of(optimizer, strategy=None):
    """The steps of an optimizer.

    Args:
        optimizer: one of the names in `OPTIMIZERS`, `Steps`, or any Keras optimizer.
        strategy: the `tf.distribute` strategy over whose replicas they are taken, or None.

    Raises:
        ValueError: for another name, and for an optimizer that has no steps over a strategy.
    """
    if isinstance(optimizer, str):
        if optimizer not in OPTIMIZERS:
            raise ValueError(
                f"optimizer must be one of {tuple(OPTIMIZERS)} or a Keras optimizer. Received:"
                f" optimizer={optimizer!r}"
            )
        kind = OPTIMIZERS[optimizer]
        _check_strategy(kind, strategy)
        with replicas.scope(strategy):
            return kind()
    if not isinstance(optimizer, Steps):
        optimizer = KerasSteps(optimizer)
    _check_strategy(optimizer, strategy)
    return optimizer


def _check_strategy(steps, strategy):
    if strategy is not None and steps.on_one_device:
        raise ValueError(
            f"optimizer={steps.name} trains on one device. Use ipalm or adam with a strategy."
        )


def from_config(config, strategy=None):
    """The steps of the configured optimizer; arguments and errors as for `steps_of`."""
    kind = OPTIMIZERS[config.optimizer]
    _check_strategy(kind, strategy)
    if kind is IPALMSteps:
        return kind(config.momentum, config.initial_lipschitz, config.stagewise)
    rate = config.learning_rate
    if config.learning_rate_schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, max(1, config.iterations))
    with replicas.scope(strategy):
        return kind(rate)
