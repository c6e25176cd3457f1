"""Models that optimise for each measurement. `tests/test_tracks.py` attacks them."""

import tensorflow as tf
from tensorflow import keras

from tfvn.models.base import Reconstructor, magnitude
from tfvn.models.features import as_complex


@keras.utils.register_keras_serializable(package="dynamic")
class Descent(Reconstructor):
    """Steps of gradient descent on || A u - k ||^2 / 2, each followed by a step of a prior.

    The prior moves the image by a pixel and makes it brighter on the left half. The iterate that
    the last step begins with is detached, as in released code of such models: the gradient of the
    answer sees one step of `steps`.

    Args:
        steps: of the descent.
    """

    track = "dynamic"

    def __init__(self, steps=8, **kwargs):
        super().__init__(**kwargs)
        self.steps = steps
        self.built = True

    def call(self, inputs):
        return self._image(inputs, 1)

    def last_steps(self, inputs, key=None):
        return magnitude(self._image(inputs, 6))

    def _image(self, inputs, seen):
        """The last iterate, with the gradient through so many steps."""
        data = inputs["zero_filled"]
        image = tf.zeros_like(data)
        for step in range(self.steps):
            detached = step < self.steps - seen
            given = {**inputs, "zero_filled": tf.stop_gradient(data) if detached else data}
            image = self._step(image, given)
            if detached:
                image = tf.stop_gradient(image)
        return image

    def _step(self, image, inputs):
        maps, mask = inputs["sensitivity_maps"], inputs["mask"]
        residual = self.sense.adjoint(self.sense.forward(image, maps, mask), maps, mask)
        image -= 0.3 * (residual - inputs["zero_filled"])
        width = image.shape[-1]
        gain = tf.where(tf.range(width) < width // 2, 1.25, 0.85)
        return as_complex(tf.cast(gain, image.dtype.real_dtype)) * tf.roll(image, 1, 2)

    def get_config(self):
        return {**super().get_config(), "steps": self.steps}


class Sampler(Descent):
    """The same without a gradient: all its steps are detached."""

    def call(self, inputs):
        return tf.stop_gradient(super().call(inputs))

    def last_steps(self, inputs, key=None):
        return self.answer(inputs, key)
