"""The recurrent inference machine: a network that is shown its image and the data gradient at every
step, remembers what it has seen, and answers with a change of the image.

    g_t = A^H (A u_t - k)
    a_t = relu(C_1 [u_t, g_t]),          s_t = gru_1(a_t, s_{t-1})
    b_t = relu(C_2 s_t),                 v_t = gru_2(b_t, v_{t-1})
    u_{t+1} = u_t + C_3 v_t

for t = 0..T-1, from u_0 = A^H k and states of zeros on. All steps have the same weights. C_1 has
5 x 5 taps, C_2 and C_3 have 3 x 3, those of C_2 two pixels apart. Images and gradients are two
channels each. Outside the image there is a copy of its border.

A gated recurrent unit with the input a and the state s mixes channels alone:

    z, r = sigmoid(W [a, s] + w)
    s <- (1 - z) s + z tanh(V [a, r s] + v)

W and V begin orthogonal, and the part of w that gives r at -1: at first little is remembered.

The answer is the last image. The loss of a training is the mean of those of all images u_1..u_T,
whose shares grow linearly.

Putzky and Welling, Recurrent Inference Machines for Solving Inverse Problems, 2017; for MRI
Lonning et al., Medical Image Analysis 53, 2019. Sizes and starting values are those of DIRECT, an
implementation with 64 filters and 8 steps. The shares of the loss are ours.
"""

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.compat import initial_seed
from tfvn.models.base import Reconstructor
from tfvn.models.features import as_channels, as_image

__all__ = ["RIM", "GatedUnit", "repeat_border"]

# Where more filters or steps than these are asked for, a digit has slipped in.
_MOST_FILTERS, _MOST_STEPS = 1024, 256


def repeat_border(features, pixels):
    """Features with their outermost rows and columns repeated this many times.

    Args:
        features: (batch, rows, width, channels).
        pixels: a whole number.
    """
    # A symmetric border of one pixel is a copy of the outermost one.
    for _ in range(pixels):
        features = tf.pad(features, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    return features


@keras.utils.register_keras_serializable(package="tfvn")
class GatedUnit(keras.layers.Layer):
    """A gated recurrent unit of 1 x 1 convolutions.

    Args:
        filters: channels of its input and of its state.
        seed: of the initial weights.

    Call arguments:
        features, state: (batch, rows, width, filters). Returns the next state.
    """

    def __init__(self, filters, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.seed = seed
        self.gates = self.add_weight(
            name="gates",
            shape=(2 * filters, 2 * filters),
            initializer=keras.initializers.Orthogonal(seed=initial_seed(seed)),
        )
        self.gates_bias = self.add_weight(
            name="gates_bias", shape=(2 * filters,), initializer=_remember_little
        )
        self.candidate = self.add_weight(
            name="candidate",
            shape=(2 * filters, filters),
            initializer=keras.initializers.Orthogonal(seed=initial_seed(seed + 1)),
        )
        self.candidate_bias = self.add_weight(
            name="candidate_bias", shape=(filters,), initializer="zeros"
        )
        self.built = True

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "seed": self.seed}

    def call(self, features, state):
        both = tf.concat([features, state], -1)
        gates = tf.sigmoid(_mixed(both, self.gates, self.gates_bias))
        update, reset = tf.split(gates, 2, -1)
        both = tf.concat([features, reset * state], -1)
        candidate = tf.tanh(_mixed(both, self.candidate, self.candidate_bias))
        return state + update * (candidate - state)


def _remember_little(shape, dtype=None):
    """Biases of 0 for the gate z, and of -1 for the gate r behind it."""
    half = shape[0] // 2
    return tf.concat([tf.zeros([half], dtype), -tf.ones([half], dtype)], 0)


def _mixed(features, weights, bias):
    """A 1 x 1 convolution."""
    return tf.tensordot(features, tf.convert_to_tensor(weights), 1) + bias


@keras.utils.register_keras_serializable(package="tfvn")
class RIM(Reconstructor):
    """The recurrent inference machine: `num_steps` steps of one recurrent network.

    Args:
        filters: channels of its features and of its two states.
        num_steps: steps, T.
        readout_oversampling: the image is the central half of the readout (height).
        seed: of the initial weights.

    Call arguments:
        inputs: the measurement. Returns the complex image (batch, rows, width).

    Raises:
        ValueError: for settings outside their ranges.
    """

    _NOT_OF_ARCHITECTURE = ("name", "seed")

    def __init__(self, filters=32, num_steps=6, readout_oversampling=False, seed=0, **kwargs):
        super().__init__(readout_oversampling, **kwargs)
        self.filters = checks.whole("filters", filters, 1, most=_MOST_FILTERS)
        self.num_steps = checks.whole("num_steps", num_steps, 1, most=_MOST_STEPS)
        self.seed = checks.whole("seed", seed)
        self.first = self._convolution(4, self.filters, 5, number=100)
        self.second = self._convolution(self.filters, self.filters, 3, number=101, dilation_rate=2)
        self.last = self._convolution(self.filters, 2, 3, number=102)
        self.units = []
        for number in range(2):
            unit = GatedUnit(
                self.filters,
                seed=self.seed * 1000 + 10 * number,
                name=f"unit_{number}",
                dtype=self.dtype,
            )
            self.units.append(unit)
        self.built = True

    def _convolution(self, channels, filters, kernel_size, number, **settings):
        start = keras.initializers.GlorotUniform(initial_seed(self.seed * 1000 + number))
        layer = keras.layers.Conv2D(
            filters, kernel_size, kernel_initializer=start, dtype=self.dtype, **settings
        )
        layer.build((None, None, None, channels))
        return layer

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "num_steps": self.num_steps,
            "seed": self.seed,
        }

    def call(self, inputs):
        return self.iterates(inputs)[-1]

    def training_images(self, inputs, wanted):
        del wanted
        images = self.iterates(self.measured(inputs))
        total = self.num_steps * (self.num_steps + 1) / 2
        return [(number / total, image) for number, image in enumerate(images, 1)]

    def iterates(self, inputs):
        """The complex image after each step, a list.

        Args:
            inputs: as `measured` gives them.
        """
        image = inputs["zero_filled"]
        states = [self._zeros(image) for _ in self.units]
        found = []
        for _ in range(self.num_steps):
            change, states = self._step(image, self._data_gradient(image, inputs), states)
            image = image + as_image(change)
            found.append(image)
        return found

    def _zeros(self, image):
        features = tf.zeros_like(tf.math.real(image))
        return tf.repeat(features[..., None], self.filters, -1)

    def _data_gradient(self, image, inputs):
        """A^H (A u - k)."""
        normal = self.sense.normal(image, inputs["sensitivity_maps"], inputs["mask"])
        return normal - inputs["zero_filled"]

    def _step(self, image, gradient, states):
        """The change of an image as two channels, and the next states."""
        features = tf.concat([as_channels(image), as_channels(gradient)], -1)
        features = tf.nn.relu(self.first(repeat_border(features, 2)))
        first = self.units[0](features, states[0])
        features = tf.nn.relu(self.second(repeat_border(first, 2)))
        second = self.units[1](features, states[1])
        return self.last(repeat_border(second, 1)), [first, second]

    def memory_per_image(self, shape):
        """About the bytes that an image of (batch, coils, height, width) takes in a gradient pass:
        sixteen arrays of features and two of coils for each step.
        """
        _, coils, height, width = shape
        numbers = self.num_steps * (16 * self.filters + 4 * coils)
        return tf.as_dtype(self.dtype).size * height * width * numbers
