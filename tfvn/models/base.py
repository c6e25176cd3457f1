"""What a reconstruction model is: a Keras model from a measurement to a complex image.

A network writes `__init__`, `call` and `get_config`, and no more. It is then trained, attacked,
smoothed, evaluated, saved and served by the code that is there. A defence is a model around a
model.
"""

import json

import tensorflow as tf

from tfvn import checks
from tfvn.compat import variable_of, weights_in_order
from tfvn.models import compiled
from tfvn.models.answers import EPSILON, Statistics, magnitude
from tfvn.models.failed_call import explain
from tfvn.models.stored import Stored
from tfvn.physics import measurement
from tfvn.physics.sense import Sense
from tfvn.physics.values import check_values

__all__ = ["EPSILON", "Reconstructor", "Statistics", "magnitude"]


class Reconstructor(Stored):
    """A reconstruction model.

    A subclass has `call(inputs)` from the measurement to a complex image (batch, rows, width).
    `inputs` are a dict of what it `reads`, maps and mask, see `tfvn.physics.measurement`.

    Attributes:
        reads: "zero_filled", for a model that sees the data through A^H k alone, or "kspace".
        reads_initial_image: whether `call` begins at `inputs["initial_image"]` where it is given.
        draws: number of random draws of one answer; 0 for a deterministic one.
        strategy: a `tf.distribute` strategy over whose devices it splits its draws, or None.
        has_phase: whether the phase of its image is that of the object.
        has_maps_gradient: whether its gradient in `sensitivity_maps` is that of its answer.
        unit: the largest magnitude that images are expected to have.
        certificates: what is proved or estimated of this model, see `tfvn.certificates`.
        proves_from_draws: whether its single draws prove something, by the certificates of
            `tfvn.certificates.FROM_DRAWS`. It then has `single_draws`, `sigma` and `seed`.
        sense: the `Sense` of A.

    Args:
        readout_oversampling: of `Sense`.
        name, dtype: as Keras has them; dtype is "float32" or "float64".

    Call arguments:
        inputs: the measurement. Returns the complex image.

    Raises:
        ValueError: for a name that TensorFlow does not take and for another precision; and for
            inputs of wrong type, rank or sizes.
    """

    reads = "zero_filled"
    reads_initial_image = False
    draws = 0
    strategy = None
    has_phase = True
    has_maps_gradient = True
    unit = 1.0
    certificates = ()
    proves_from_draws = False

    def __init__(self, readout_oversampling=False, **kwargs):
        checks.name_of_layer(kwargs.get("name"))
        super().__init__(**{**kwargs, "dtype": checks.precision(kwargs.get("dtype"))})
        self.sense = Sense(readout_oversampling, dtype=self.dtype)

    def __call__(self, inputs, *args, **kwargs):
        # Before Keras, which puts lines of its own around an error.
        return super().__call__(self.measured(inputs), *args, **kwargs)

    @property
    def track(self):
        """How it must be attacked: "random" with draws, and "deterministic" without. A model that
        optimises or samples for each measurement says "dynamic", see `tfvn.choices.TRACKS`.
        """
        return "random" if self.draws else "deterministic"

    @property
    def identity(self):
        """The settings of a defence, a dict, as stored with attacks on it; {} without one."""
        return {}

    @property
    def parameter_blocks(self):
        """The weights that are trained, as lists by name: blocks that iPALM takes in turn."""
        return {"weights": list(self.trainable_weights)}

    def call(self, inputs):
        """The complex image; the `answer` of a model that has one of its own and no `call`."""
        if type(self).answer is Reconstructor.answer:
            raise NotImplementedError(f"{type(self).__name__} must have a method call(inputs).")
        image = self.answer(inputs)
        return tf.complex(image, tf.zeros_like(image))

    def call_for(self, inputs, wanted):
        """The same as the call, for gradients in the parameter blocks `wanted` alone.

        A model that saves time by knowing them overrides this.
        """
        del wanted
        return self(inputs)

    def training_images(self, inputs, wanted):
        """Pairs (share, complex image): the loss of a training is the mean of those of the images.
        The shares add up to one. Arguments as for `call_for`.
        """
        return [(1.0, self.call_for(inputs, wanted))]

    def drawn_stages(self):
        """The `Stage`s of which a training logs pictures: those of a variational network."""
        # No property: Keras 3 saves what it finds in attributes, under the first name in the
        # alphabet.
        return ()

    def stage_images(self, inputs):
        """The complex image after each of the `drawn_stages`, (stages, batch, rows, width)."""
        del inputs
        return ()

    def keys(self, index):
        """The keys of the model's own draws for images that the numbers `index` name.

        They are int32 (batch, 2); None for a deterministic model.
        """
        del index

    def with_draws(self, num_samples):
        """The same model with another number of draws; itself, where it has none of its own."""
        del num_samples
        return self

    def measured(self, inputs):
        """The measurement as the model reads it: a dict of tensors, checked.

        Raises:
            ValueError: for inputs that do not fit, or of another precision than the model's.
        """
        measurement.check(inputs, self.dtype)
        if "initial_image" in inputs and not self.reads_initial_image:
            raise ValueError(
                f"{type(self).__name__} reads no initial_image. Remove it from the inputs."
            )
        found = measurement.read_as(self.sense, inputs, self.reads)
        found = {key: tf.convert_to_tensor(value) for key, value in found.items()}
        if not self.built and tf.executing_eagerly():
            # Layers make their weights when they are called first. Compiled code needs them.
            super().__call__(found)
        return found

    def zero_filled(self, inputs):
        """A^H kspace, complex (batch, rows, width); the given one where `inputs` hold it.

        Raises:
            ValueError: as `measured`.
        """
        measurement.check(inputs, self.dtype)
        return measurement.zero_filled(self.sense, inputs)

    def answer(self, inputs, key=None):
        """The magnitude of the image, for attacks and defences to call inside a graph.

        It is `reconstruct` without its checks of numbers.

        Args:
            inputs: as `measured` gives them.
            key: as for `reconstruct`.
        """
        del key
        try:
            image = self.call_for(inputs, ())
        except (AttributeError, KeyError, NotImplementedError, TypeError) as error:
            explain(self, inputs, error)
            raise
        self._check_image(image, inputs)
        return magnitude(image)

    def last_steps(self, inputs, key=None):
        """The `answer`, with the gradient through the last steps of what is done for each
        measurement: the largest part of them that an attack can be led through.

        A model of the track "dynamic" overrides this. Of others it is the answer.
        """
        return self.answer(inputs, key)

    def surrogate(self, inputs, key=None):
        """What stands for the `answer` where that has no gradient, differentiable: |A^H k|.

        A model that has a better one overrides this, such as the answer without a last step.
        """
        del key
        return magnitude(measurement.zero_filled(self.sense, inputs))

    def measure(self, inputs, key=None):
        """`statistics`, to be called inside a graph."""
        image = self.answer(inputs, key)
        operator_norm = self.sense.norm_bound(inputs["sensitivity_maps"], inputs["mask"])
        return Statistics(image, None, tf.norm(image, axis=[1, 2]), operator_norm)

    def reconstruct(self, inputs, key=None):
        """The reconstruction map f: the magnitude image, real (batch, rows, width).

        Differentiable in what is measured, not in coil maps and weights: call the model for those.

        Args:
            inputs: the measurement.
            key: int32 (batch, 2), of the random draws of each image, see `tfvn.physics.noise`; None
                stands for the model's own, the same for every image.

        Warns:
            tfvn.data.DataWarning: for an image of another scale than `unit`.
        """
        return self._compute(_answer, inputs, key)

    def statistics(self, inputs, key=None):
        """What the draws of an answer show, `Statistics`, which are not differentiable.

        Arguments as for `reconstruct`.
        """
        return self._compute(_measure, inputs, key)

    def _compute(self, function, inputs, key):
        arguments = (self._checked(inputs), self._checked_key(key))
        if tf.executing_eagerly():
            return compiled.shared(self, function)(*arguments)
        return function(self, *arguments)

    def _checked(self, inputs):
        found = self.measured(inputs)
        if tf.executing_eagerly():
            # Of the inputs as they came: an error names what is wrong among them.
            image = measurement.zero_filled(self.sense, found)
            # The warning is of the line that called `reconstruct`, three calls above.
            check_values(inputs, image, self.unit, stacklevel=5)
        return found

    def _checked_key(self, key):
        """A key as a tensor.

        Raises:
            ValueError: for other things than pairs of whole numbers.
        """
        if key is None:
            return None
        fits = len(getattr(key, "shape", ())) == 2 and key.shape[1] == 2
        if not fits or not tf.as_dtype(key.dtype).is_integer:
            raise ValueError(
                "key must be whole numbers of shape (batch, 2), such as tfvn.physics.noise.keys "
                f"makes. Received: key={checks.shown(key)}"
            )
        return tf.cast(key, tf.int32)

    def _check_image(self, image, inputs):
        """Checks what `call` returned."""
        name = f"{type(self).__name__}.call"
        if not tf.is_tensor(image):
            raise ValueError(
                f"{name} must return a tensor, made by TensorFlow. Received: {checks.shown(image)}"
            )
        maps = inputs["sensitivity_maps"]
        if image.dtype != maps.dtype:
            raise ValueError(
                f"{name} must return a complex image, {maps.dtype.name} as its inputs. "
                f"Received: {image.dtype.name}. tf.complex(image, zeros) makes one of a real image."
            )
        rows = maps.shape[2] and self.sense.rows(maps.shape[2])[1]
        if not image.shape.is_compatible_with([maps.shape[0], rows, maps.shape[3]]):
            raise ValueError(
                f"{name} must return an image of the shape of A^H k, (batch, rows, width) = "
                f"{(maps.shape[0], rows, maps.shape[3])}. Received: {image.shape}"
            )

    def get_config(self):
        """The settings that `from_config` makes an equal model of. A subclass adds its own."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "readout_oversampling": self.sense.readout_oversampling,
        }

    def build(self, input_shape):
        # Keras 3 would warn of layers without weights, which their first call makes.
        del input_shape
        self.built = True

    def make_weights(self):
        """Makes the weights that Keras would make in the first call.

        They are of layers whose channels it does not know before.
        """
        if self.built:
            return
        complex_type = {"float32": "complex64", "float64": "complex128"}[self.dtype]
        # Of a size that a network with pooling can halve often. Nothing is computed.
        kspace = tf.TensorSpec([1, 2, 256, 256], complex_type)
        rows = self.sense.rows(256)[1]
        inputs = {
            "kspace": kspace,
            "sensitivity_maps": kspace,
            "mask": tf.TensorSpec([1, 1, 1, 256], self.dtype),
            "zero_filled": tf.TensorSpec([1, rows, 256], complex_type),
        }
        tf.function(lambda given: self(given), autograph=False).get_concrete_function(inputs)

    def begin_with(self, given):
        """Takes the weights of another model of the same settings, as a training begins."""
        self.set_weights(given.get_weights())

    # What compiled functions are shared by, see `tfvn.models.compiled`.

    # Settings that a model only begins with, and what it is called.
    _NOT_OF_ARCHITECTURE = ("name",)

    @property
    def architecture(self):
        """What is equal for models that compute the same with the same weights.

        None for a class without a `get_config` of its own: nothing is known of its settings.
        """
        cls = type(self)
        if "get_config" not in vars(cls) or not self.built:
            return None
        config = self.get_config()
        for key in self._NOT_OF_ARCHITECTURE:
            config.pop(key, None)
        try:
            return cls, json.dumps(config, sort_keys=True)
        except TypeError:
            # A text of other things than plain values may hide what they differ in.
            return None

    def twin(self):
        """A new model of the same architecture, with weights of its own."""
        twin = type(self).from_config(self.get_config())
        twin.make_weights()
        return twin

    def lent(self):
        """All variables that a compiled function reads, in an order of the architecture alone."""
        return [variable_of(weight) for weight in weights_in_order(self)]

    def memory_per_image(self, shape):
        """About the bytes that an image takes in a gradient pass; None where it is not known.

        Args:
            shape: (batch, coils, height, width).
        """
        del shape


def _answer(model, inputs, key):
    # Whoever differentiates a compiled function pays for all of its gradients.
    maps = tf.stop_gradient(inputs["sensitivity_maps"])
    return model.answer({**inputs, "sensitivity_maps": maps}, key)


def _measure(model, inputs, key):
    return model.measure(inputs, key)
