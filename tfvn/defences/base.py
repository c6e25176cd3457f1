"""What a defence is: a model around a model."""

import inspect

from tfvn import checks
from tfvn.choices import TRACKS
from tfvn.models.base import Reconstructor
from tfvn.models.contract import check_model

__all__ = ["Defence", "GIVEN", "check_complex"]

# Arguments of a constructor that a program gives. They are no settings.
GIVEN = ("model", "seed", "strategy")


class Defence(Reconstructor):
    """A defence with its settings. The keywords of the constructor are the settings.

    A new defence is a subclass that has a constructor and `answer(inputs, key)`. All else has a
    default here. An attribute of the same name as each keyword holds its value.

    Args:
        model: the `Reconstructor` that is defended.

    Attributes:
        computed_with: the keywords that say how an answer is computed, and do not change it.

    Raises:
        ValueError: for something that is no model.
    """

    computed_with = ()
    # An answer is a magnitude, and most defences have no other image.
    has_phase = False

    def __init__(self, model):
        check_model(model)
        super().__init__(model.sense.readout_oversampling, dtype=model.dtype)
        self.model = model
        self.sense = model.sense
        self.reads = model.reads
        self.reads_initial_image = model.reads_initial_image
        self.built = True

    def measured(self, inputs):
        """The measurement as the model inside reads it, see `Reconstructor.measured`."""
        return self.model.measured(inputs)

    def answer(self, inputs, key=None):
        """The magnitude image, real (batch, rows, width), see `Reconstructor.answer`."""
        raise NotImplementedError(f"{type(self).__name__} must have a method answer(inputs, key).")

    @property
    def draws(self):
        """Number of random draws of one answer: those of the model inside."""
        return self.model.draws

    @property
    def has_maps_gradient(self):
        """Whether it has a gradient in the coil maps: whether the model inside has one."""
        return self.model.has_maps_gradient

    @property
    def track(self):
        """How it must be attacked: as its draws ask for, or as the model inside if that is harder.

        A defence that optimises or samples for each measurement says "dynamic".
        """
        return max(super().track, self.model.track, key=TRACKS.index)

    def surrogate(self, inputs, key=None):
        """The answer of the model inside, or its surrogate, see `Reconstructor.surrogate`."""
        del key
        inner = self.model.answer
        if self.model.track == "dynamic":
            inner = self.model.surrogate
        # Keys of the defence are none of the model's.
        return inner(inputs)

    def keys(self, index):
        """The keys of the draws, see `Reconstructor.keys`."""
        return self.model.keys(index)

    def with_draws(self, num_samples):
        """The same defence of a model with another number of draws."""
        if not self.draws:
            return self
        if not self.model.draws:
            raise NotImplementedError(f"{type(self).__name__} must have a method with_draws.")
        known = inspect.signature(type(self)).parameters
        given = {name: getattr(self, name) for name in GIVEN[1:] if name in known}
        return type(self)(self.model.with_draws(num_samples), **given, **self.settings)

    def save(self, filepath, *args, **kwargs):
        """A defended model has no file of its own. A run keeps its network and its settings.

        Raises:
            ValueError: always; it says what to save.
        """
        raise ValueError(
            f"{checks.shown(filepath)}: a defence is not saved. Save its network, "
            f"defended.model.save(path), and call {type(self).__name__} on it again; for TensorFlow"
            " Serving call tfvn.tools.serving.export."
        )

    @property
    def settings(self):
        """All settings, a dict."""
        found = {}
        for name in inspect.signature(type(self)).parameters:
            if name not in GIVEN:
                found[name] = getattr(self, name)
        return found

    @property
    def identity(self):
        """What tells its answers from those of others: its name, the settings that change an
        answer, and the same of a defence inside, a dict.
        """
        own = {"name": type(self).__name__, **self.settings}
        for name in self.computed_with:
            del own[name]
        inner = {f"model.{name}": value for name, value in self.model.identity.items()}
        return {**own, **inner}


def check_complex(model, name):
    """Checks that a model answers with one complex image, whose phase is that of the object.

    Args:
        model: what is asked for its image, a `Reconstructor`.
        name: of what needs it.

    Raises:
        ValueError: for a model of magnitudes, and for one that draws random numbers.
    """
    if model.has_phase and not model.draws:
        return
    raise ValueError(
        f"{name} needs a model without random draws, whose image has the phase of the object."
        f" Received: a {type(model).__name__}. Put it around such a network itself."
    )
