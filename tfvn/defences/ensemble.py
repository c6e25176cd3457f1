"""The mean of the answers of several models.

    g(k) = (1 / M) sum_m f_m(k)

The networks differ in their seeds, or in anything else: they need only answer to one measurement.
Nothing is proved of their mean. Its constant is at most the mean of theirs.
"""

import tensorflow as tf
from tensorflow import keras

from tfvn.choices import TRACKS
from tfvn.defences.base import Defence
from tfvn.defences.networks import identity_of, opened
from tfvn.models.base import Reconstructor
from tfvn.physics import measurement, noise

__all__ = ["Ensemble"]


@keras.utils.register_keras_serializable(package="tfvn")
class Ensemble(Defence):
    """The mean answer of a model and of others.

    Args:
        model: the first `Reconstructor`.
        others: files or run directories of the other networks, separated by commas; in Python also
            a list of models. Empty: the first one is alone.

    Raises:
        ValueError: for a file that is none of a network, and for models of another precision.
    """

    def __init__(self, model, others=""):
        super().__init__(model)
        self.others = others
        self.members = [model, *opened("others", others, model)]
        reads = {member.reads for member in self.members}
        # The zero-filled image follows from the k-space, not the other way round.
        self.reads = model.reads if len(reads) == 1 else "kspace"
        self.reads_initial_image = all(member.reads_initial_image for member in self.members)

    def measured(self, inputs):
        found = Reconstructor.measured(self, inputs)
        for member in self.members:
            if not member.built:
                # It makes its weights when it is called first.
                member.measured(inputs)
        return found

    @property
    def draws(self):
        return max(member.draws for member in self.members)

    @property
    def has_maps_gradient(self):
        return all(member.has_maps_gradient for member in self.members)

    @property
    def track(self):
        return max((member.track for member in self.members), key=TRACKS.index)

    @property
    def identity(self):
        return {**super().identity, "others": identity_of(self.members[1:])}

    def keys(self, index):
        for member in self.members:
            if member.draws:
                return member.keys(index)
        return None

    def with_draws(self, num_samples):
        first, *others = [member.with_draws(num_samples) for member in self.members]
        return type(self)(first, others)

    def answer(self, inputs, key=None):
        """The mean magnitude image, real (batch, rows, width)."""
        return self._mean(inputs, key, lambda member: member.answer)

    def last_steps(self, inputs, key=None):
        return self._mean(inputs, key, lambda member: member.last_steps)

    def surrogate(self, inputs, key=None):
        return self._mean(inputs, key, _surrogate_of)

    def _mean(self, inputs, key, chosen):
        """The mean of a method of all members. Without a key each has draws of its own too."""
        if key is None:
            key = self.keys(tf.zeros(tf.shape(inputs["sensitivity_maps"])[:1], tf.int32))
        images = []
        for number, member in enumerate(self.members):
            own = key
            if key is not None and number:
                own = noise.fold_in_all(key, number)
            given = measurement.read_as(self.sense, inputs, member.reads)
            images.append(chosen(member)(given, own))
        return tf.add_n(images) / len(images)

    def memory_per_image(self, shape):
        needed = [member.memory_per_image(shape) for member in self.members]
        return None if None in needed else sum(needed)


def _surrogate_of(member):
    return member.surrogate if member.track == "dynamic" else member.answer
