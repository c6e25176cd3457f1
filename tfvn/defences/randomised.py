"""What all defences with random draws of their own have: how many, and of which seed."""

import tensorflow as tf

from tfvn import checks, ranges
from tfvn.defences.base import Defence
from tfvn.physics import noise

__all__ = ["Randomised"]


class Randomised(Defence):
    """A defence that draws random numbers. They are keyed by the image and the number of the draw.

    Args:
        model: the `Reconstructor` that is defended.
        num_samples: K, draws of one answer.
        chunk_size: draws processed at once.
        seed: of the draws.
        least: of `chunk_size`.

    `num_samples` and `seed` may be set later; nothing is compiled again.

    Raises:
        ValueError: for num_samples < 1, a chunk_size out of its range or something that is no
            model.
    """

    computed_with = ("chunk_size",)
    # Draws are differentiated in what is measured alone.
    has_maps_gradient = False

    def __init__(self, model, num_samples, chunk_size=1, seed=0, least=1):
        super().__init__(model)
        self.chunk_size = checks.whole("chunk_size", chunk_size, least, most=ranges.MOST)
        # Variables, so that compiled code, an attack's too, sees what they are set to.
        # A valid number: Keras 3 does not call a setter for the value that is there.
        self._num_samples = tf.Variable(1, trainable=False)
        self._seed = tf.Variable(0, trainable=False)
        self.num_samples = num_samples
        self.seed = seed

    def __repr__(self):
        return checks.described(self, ["model", *self.settings, "seed"])

    @property
    def num_samples(self):
        # A graph that asks how it is to be built asks for what is set now.
        with tf.init_scope():
            return int(self._num_samples)

    @num_samples.setter
    def num_samples(self, value):
        self._num_samples.assign(checks.whole("num_samples", value, 1))

    @property
    def seed(self):
        return int(self._seed)

    @seed.setter
    def seed(self, value):
        self._seed.assign(checks.whole("seed", value))

    @property
    def draws(self):
        return self.num_samples

    def keys(self, index):
        return noise.keys(self._seed, noise.SMOOTHING, index)

    def own_key(self, inputs, key):
        """The key, or that of the model's own draws where there is none, int32 (batch, 2)."""
        if key is not None:
            return key
        batch = tf.shape(inputs["sensitivity_maps"])[0]
        return self.keys(tf.zeros([batch], tf.int32))

    def with_draws(self, num_samples):
        """The same defence with another number of draws."""
        settings = {**self.settings, "num_samples": num_samples}
        return type(self)(self.model, **settings, seed=self.seed)

    def memory_per_image(self, shape):
        return self.model.memory_per_image(shape)

    def lent(self):
        return [*self.model.lent(), self._num_samples, self._seed]
