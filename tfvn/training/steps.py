"""The steps of an optimizer: what a trainer asks of them, and those of any Keras optimizer."""

import abc

from tfvn import replicas

__all__ = ["KerasSteps", "Steps"]


class Steps(abc.ABC):
    """The steps of an optimizer. A trainer builds them for its network, and then takes them.

    Attributes:
        optimizer: the optimizer that Keras is told of, once they are built.
        ipalm, filter_optimizer: what holds more state than `optimizer`; None where nothing does.
        gradients: of the loss in some of the weights, in one step. Known once they are built.
        on_one_device: whether they cannot be taken over the replicas of a `tf.distribute` strategy.
    """

    name = "this optimizer"
    optimizer = None
    ipalm = None
    filter_optimizer = None
    gradients = 1
    on_one_device = False

    def build(self, network, steps_done, strategy, beside):
        """Makes the state for the weights of a network. Called once, by the trainer.

        Args:
            network: the `Reconstructor`.
            steps_done: the variable that counts the steps.
            strategy: the `tf.distribute` strategy, or None.
            beside: the `parameter_blocks` of the recipe, which are trained with the network's.

        Raises:
            ValueError: for a network that the optimizer cannot train.
        """
        others = [weight for block in beside.values() for weight in block]
        self._build_optimizer([*network.trainable_variables, *others], strategy)

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

    def build(self, network, steps_done, strategy, beside):
        blocks = {**network.parameter_blocks, **beside}
        self._names = tuple(blocks)
        self._weights = [weight for block in blocks.values() for weight in block]
        super().build(network, steps_done, strategy, beside)

    def step(self, objective):
        return objective.apply(self._names, self._apply)

    def _apply(self, gradients):
        # Keras sums the gradients over the replicas. The weights' own constraints are projections,
        # which it applies after its update.
        self.optimizer.apply_gradients(list(zip(gradients, self._weights)))
