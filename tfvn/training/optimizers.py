"""What a step of the training does to the weights: iPALM as in the paper, or another optimizer.

    ipalm                 block after block, see `tfvn.training.ipalm`
    adam                  Adam of Keras
    radam-lookahead       RectifiedAdam inside Lookahead, of tensorflow-addons
    conditional-gradient  Frank-Wolfe for the filters, Adam for all other weights

All of them keep every weight in its constraint set. iPALM and the optimizers of Keras step and then
project. Frank-Wolfe never leaves the set, see `tfvn.training.first_order`.
"""

from tfvn.training.first_order import AdamSteps, FrankWolfeSteps, RadamLookaheadSteps
from tfvn.training.ipalm_steps import IPALMSteps
from tfvn.training.steps import KerasSteps, Steps

__all__ = ["OPTIMIZERS", "steps_of"]

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
        optimizer = OPTIMIZERS[optimizer]()
    if not isinstance(optimizer, Steps):
        optimizer = KerasSteps(optimizer)
    if strategy is not None and optimizer.on_one_device:
        raise ValueError(
            f"the optimizer {optimizer.name} trains on one device. Use ipalm or adam with a"
            " strategy."
        )
    return optimizer
