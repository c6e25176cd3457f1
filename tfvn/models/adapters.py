"""Models of others become a `Reconstructor`: a Keras model, a PyTorch module, or a function.

    model = from_torch(module, forward)

The model is attacked, smoothed, certified and evaluated as any other. The user writes `forward`. It
is given the measurement of one slice, and gives the image:

    zero_filled       A^H k, complex (1, rows, width)
    kspace            k, complex (1, coils, height, width), of a model that reads "kspace"
    sensitivity_maps  complex (1, coils, height, width)
    mask              (1, 1, 1, width) or (1, 1, height, width)

The image is (1, rows, width): complex, or real, and then the answer itself. Whatever the other side
expects is made there: two channels, another scale, a crop. It belongs to the model, and attacks go
through it.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.models.adapted import Adapted, code_of, digest_of, text_of
from tfvn.models.base import Reconstructor
from tfvn.models.bridge import Bridged
from tfvn.models.torch_module import TorchModule

# Keras writes the sizes that a network has seen into its settings. They change nothing.
_SIZES = {"batch_input_shape", "batch_shape", "build_config", "build_input_shape", "compile_config"}

__all__ = ["Function", "KerasModel", "from_function", "from_keras", "from_torch"]


def from_keras(
    model,
    forward,
    reads="zero_filled",
    readout_oversampling=False,
    dtype="float32",
    name=None,
    track="deterministic",
):
    """A Keras model as a `Reconstructor`.

    Args:
        model: the Keras model, or a layer.
        forward: a function of the model and of the dict of tensors above, to the image. It computes
            with TensorFlow.
        reads: "zero_filled", or "kspace" for a model that needs more than A^H k.
        readout_oversampling: of `tfvn.physics.sense.Sense`.
        dtype: "float32" or "float64", the precision of the measurement.
        name: as Keras has it.
        track: "deterministic", or "dynamic" for a model that optimises for each measurement, always
            with the same result. Its gradient may be cut: the suite "dynamic-1" is made for it.

    Raises:
        ValueError: for something that is no Keras model or no function. Later, of the first
            measurement: if the image has another shape, or no gradient.
    """
    return KerasModel(
        model,
        forward,
        reads=reads,
        readout_oversampling=readout_oversampling,
        dtype=dtype,
        name=name,
        track=track,
    )


def from_torch(
    module,
    forward,
    reads="zero_filled",
    readout_oversampling=False,
    dtype="float32",
    name=None,
    track="deterministic",
):
    """A PyTorch module as a `Reconstructor`. Its gradients come from PyTorch.

    Args:
        module: the `torch.nn.Module`. It is put into evaluation mode.
        forward: a function of the module and of the dict above, of torch tensors on the module's
            device, to the image.
        reads, readout_oversampling, dtype, name, track: as for `from_keras`.

    Raises:
        ValueError: as `from_keras`; and if PyTorch is not installed.
    """
    return TorchModule(
        module,
        forward,
        reads=reads,
        readout_oversampling=readout_oversampling,
        dtype=dtype,
        name=name,
        track=track,
    )


def from_function(
    forward,
    vjp,
    reads="zero_filled",
    readout_oversampling=False,
    dtype="float32",
    name=None,
    track="deterministic",
):
    """A function of NumPy arrays as a `Reconstructor`.

    Args:
        forward: a function of the dict above, of NumPy arrays, to the image. It has either
            `zero_filled` or `kspace`, the one that is read.
        vjp: a function of the same dict and of a cotangent c, an array of the type and shape of
            the image, to the gradient of Re sum(conj(c) image) in what is read: its derivative in
            the real part, plus i times that in the imaginary part. Of a linear map it is the
            adjoint of c.
        reads, readout_oversampling, dtype, name, track: as for `from_keras`.

    Raises:
        ValueError: as `from_keras`.
    """
    return Function(
        forward,
        vjp,
        reads=reads,
        readout_oversampling=readout_oversampling,
        dtype=dtype,
        name=name,
        track=track,
    )


class KerasModel(Adapted):
    """A Keras model of others, see `from_keras`."""

    def __init__(self, model, forward, **kwargs):
        if isinstance(model, Reconstructor) or not isinstance(model, keras.layers.Layer):
            raise ValueError(
                "model must be a Keras model or layer, and no Reconstructor, which needs no "
                f"adapter. Received: model={checks.shown(model)}"
            )
        checks.function("forward", forward, "forward(model, inputs)")
        super().__init__(f"Keras model {type(model).__name__}", **kwargs)
        self.inner = model
        self.forward = forward

    def image(self, inputs):
        given = self.handed_over(inputs)
        batch = given["sensitivity_maps"].shape[0]
        if batch == 1:
            return self._image_of(given)
        # Shape and type are known from a trace of one slice.
        size = tf.shape(given["sensitivity_maps"])[0]
        slices = {}
        for name, x in given.items():
            shape = tf.concat([[size], tf.shape(x)[1:]], 0)
            slices[name] = tf.ensure_shape(tf.broadcast_to(x, shape), [batch, *x.shape[1:]])

        def of_one(one):
            image, is_complex = self._image_of({name: x[None] for name, x in one.items()})
            return image[0], tf.constant(is_complex)

        signature = given["zero_filled"].dtype, tf.bool
        images, is_complex = tf.map_fn(
            of_one, slices, fn_output_signature=signature, parallel_iterations=1
        )
        return tf.ensure_shape(images, given["zero_filled"].shape), is_complex[:, None, None]

    def _image_of(self, given):
        """The complex image of one slice, and whether the answer is its magnitude."""
        with self.errors_named("forward"):
            image = self.forward(self.inner, given)
        if not tf.is_tensor(image):
            self.refuse(f"must give a tensor of TensorFlow. Received: {checks.shown(image)}")
        is_complex = image.dtype.is_complex
        if not (is_complex or image.dtype.is_floating):
            self.refuse(f"must give real or complex numbers. Received: {image.dtype.name}")
        received = f"{image.dtype.name} {image.shape}"
        self.check_shape(received, image.shape, *given["sensitivity_maps"].shape[2:])
        return tf.cast(image, given["zero_filled"].dtype), is_complex

    def digest(self):
        if isinstance(self.inner, keras.Model) and not self.inner.built:
            raise ValueError(f"The {self.title} has no weights yet. Load them, or call it once.")
        # Settings of a subclass of keras.Model do not tell those of its layers.
        layers = [self.inner, *getattr(self.inner, "layers", ())]
        settings = [_settings_of(layer) for layer in layers]
        arrays = [np.array(weight) for weight in self.inner.get_weights()]
        return digest_of([*settings, code_of(self.forward), *arrays])


def _settings_of(layer):
    """The class and the settings of a layer as text, those of layers in it and their wiring too.

    In the place of a name is its number: Keras has other names each time that a network is made.
    """
    try:
        config = layer.get_config()
    except NotImplementedError:
        config = {}
    names = {}
    _find_names(config, names)
    return f"{type(layer).__qualname__} {text_of(_numbered(config, names))}"


def _find_names(config, names):
    """Adds all names of layers in a configuration of Keras to a dict, each with its number."""
    if isinstance(config, (list, tuple)):
        config = dict(enumerate(config))
    if not isinstance(config, Mapping):
        return
    for key, value in config.items():
        if key == "name" and isinstance(value, str):
            names.setdefault(value, len(names))
        elif key != "dtype":
            # A type of Keras 3 has a name, and it is no layer's.
            _find_names(value, names)


def _numbered(config, names):
    """A configuration with the numbers of names in their places, and without sizes."""
    if isinstance(config, Mapping):
        return {k: _numbered(v, names) for k, v in config.items() if k not in _SIZES}
    if isinstance(config, (list, tuple)):
        return [_numbered(value, names) for value in config]
    return names.get(config, config) if isinstance(config, str) else config


class Function(Bridged):
    """A function of NumPy arrays with its vector-Jacobian product, see `from_function`."""

    def __init__(self, forward, vjp, **kwargs):
        checks.function("forward", forward, "forward(inputs)")
        checks.function("vjp", vjp, "vjp(inputs, cotangent)")
        title = getattr(forward, "__name__", type(forward).__name__)
        super().__init__(f"function {title}", **kwargs)
        self.forward = forward
        self.vjp = vjp

    def handed_over(self, inputs):
        # Of one input there is one gradient.
        return dict(inputs)

    def run(self, inputs):
        return self._tensor(self.forward(_arrays(inputs)), "forward")

    def pull(self, inputs, cotangent):
        gradient = self._tensor(self.vjp(_arrays(inputs), np.array(cotangent)), "vjp")
        return {self.reads: tf.cast(gradient, inputs[self.reads].dtype)}

    def _tensor(self, array, function):
        is_array = isinstance(array, np.ndarray) or tf.is_tensor(array)
        if not is_array or np.asarray(array).dtype.kind not in "fc":
            self.refuse(
                f"must give an array of real or complex numbers by {function}. Received: "
                f"{checks.shown(array)}"
            )
        return tf.convert_to_tensor(array)

    def digest(self):
        return digest_of([self.title, code_of(self.forward), code_of(self.vjp)])


def _arrays(inputs):
    """Copies as NumPy arrays: a function may write into what it is given."""
    return {name: np.array(x) for name, x in inputs.items()}
