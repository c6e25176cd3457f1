"""Models whose stages have a denoiser each, and a data step between them.

    z_t = D_t(u_t),    u_(t+1) = the data step of z_t

A defence may put something in the place of D_t, such as its mean under noise. A model may have a
`Weigher` for that: a network that says how much each noisy image counts.
"""

import tensorflow as tf

from tfvn import checks
from tfvn.compat import weights_in_order
from tfvn.models.base import Reconstructor
from tfvn.models.weigher import MOST_CHANNELS, Weigher

__all__ = ["OTHERWISE", "Unrolled", "check_unrolled"]

# What a defence tells whose model has no stages.
OTHERWISE = (
    "Put it around such a network itself, or smooth the whole of this one: defence=smoothed."
)


class Unrolled(Reconstructor):
    """A model that calls denoisers D_t on its image, between steps towards the data.

    A subclass writes `unrolled` in the place of `call`.

    Attributes:
        weigher: a `Weigher` of the draws of its denoisers, or None. `call` does not use it: the
            recipe `smug` trains it, other recipes leave it as it began, and the defence
            `stagewise` has it weigh its draws.
    """

    def __init__(self, readout_oversampling=False, **kwargs):
        super().__init__(readout_oversampling, **kwargs)
        # No attribute of the class: Keras 2 would not find the weights of what takes its place.
        self.weigher = None

    def add_weigher(self, channels, seed):
        """Makes the `weigher` of a model whose setting `weigher` is above 0, the channels."""
        channels = checks.whole("weigher", channels, 0, most=MOST_CHANNELS)
        if channels:
            # Between the seeds of denoisers of up to 50 layers, which are 100 apart.
            seed = seed * 1000 + 50
            self.weigher = Weigher(channels, seed=seed, name="weigher", dtype=self.dtype)

    def get_config(self):
        config = super().get_config()
        # Files of models without one do not name it.
        if self.weigher is not None:
            config["weigher"] = self.weigher.channels
        return config

    def begin_with(self, given):
        """As for all models; where `given` has no weigher, that of this one stays as it is."""
        own, theirs = _without_weigher(self), _without_weigher(given)
        if given.weigher is not None or len(own) != len(theirs):
            # Which refuses a network of other weights.
            super().begin_with(given)
            return
        for weight, value in zip(own, theirs):
            weight.assign(tf.cast(tf.convert_to_tensor(value), weight.dtype))

    def unrolled(self, inputs, denoised):
        """The complex image, with a call of one's own in the place of each denoiser's.

        Args:
            inputs: as for the call.
            denoised: a function (stage, denoiser, image) to a complex image of its shape. The call
                of the model has `denoiser(image)` there.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must have a method unrolled(inputs, denoised)."
        )

    def call(self, inputs):
        return self.unrolled(inputs, _plainly)


def _without_weigher(model):
    """The weights of an `Unrolled` model that are not its weigher's, a list."""
    apart = set()
    if model.weigher is not None:
        apart = {id(weight) for weight in model.weigher.weights}
    return [weight for weight in weights_in_order(model) if id(weight) not in apart]


def _plainly(stage, denoiser, image):
    del stage
    return denoiser(image)


def check_unrolled(model, name, advice):
    """Checks that a model has stages with a denoiser each.

    Args:
        model: a `Reconstructor`.
        name: of what needs them.
        advice: what to do without them, a sentence.

    Raises:
        ValueError: for a model without.
    """
    if not isinstance(model, Unrolled):
        raise ValueError(
            f"{name} needs a model of stages that have a denoiser each, such as variational, modl"
            f" or cascade. Received: model={type(model).__name__}. {advice}"
        )
