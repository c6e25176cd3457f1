"""Models whose stages have a denoiser each, and a data step between them.

    z_t = D_t(u_t),    u_(t+1) = the data step of z_t

A defence may put something in the place of D_t, such as its mean under noise.
"""

from tfvn.models.base import Reconstructor

__all__ = ["OTHERWISE", "Unrolled", "check_unrolled"]

# What a defence tells whose model has no stages.
OTHERWISE = (
    "Put it around such a network itself, or smooth the whole of this one: defence=smoothed."
)


class Unrolled(Reconstructor):
    """A model that calls denoisers D_t on its image, between steps towards the data.

    A subclass writes `unrolled` in the place of `call`.
    """

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
