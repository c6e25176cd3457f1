"""Small features that the network must not lose.

    1/2 || f(k') - |y| - b ||^2 + w/2 || N (f(k') - |y| - b) ||^2,    k' = k + A (b exp(i arg y))

b is a blob in the object that data and reference both hold, see `tfvn.attacks.blobs`, and N the
pixels of it and around it. Of some blobs at random places, that of which the answer loses most is
taken. This is no gradient: each of them costs an answer, and one more is f(k).

Cheng et al., MIDL 2020, and Caliva et al., arXiv 2011.00070.
"""

import tensorflow as tf

from tfvn import checks
from tfvn.attacks import loop
from tfvn.attacks.blobs import BlobThreat, checked_sizes, phase_of
from tfvn.attacks.objective import Objective
from tfvn.models.base import magnitude
from tfvn.physics.noise import fold_in
from tfvn.training.recipe import MEASURED_MASK, Recipe, each_slice

__all__ = ["Features"]

# Where the inputs of a loss hold b.
_FEATURE = "feature"
_MOST_POSITIONS = 10**4


class Features(Recipe):
    """The measurements with a small feature in them, which counts more than the rest of the image.

    Args:
        weight: of the squared error of the feature and its neighbours, beside that of the image.
        brightness: of its brightest pixel, in units of images of maximum 1.
        positions: features at random places, of which the worst is taken.
        smallest, largest: pixels of a feature; a few less where its walk crosses itself.

    Raises:
        ValueError: for values outside their limits.
    """

    def __init__(self, weight=10.0, brightness=0.5, positions=5, smallest=3, largest=9):
        self.weight = checks.number("weight", weight, 0)
        self.brightness = checks.number("brightness", brightness, 0)
        self.positions = checks.whole("positions", positions, 1, most=_MOST_POSITIONS)
        self.threat = BlobThreat(*checked_sizes(smallest, largest))

    def __call__(self, network, inputs, reference, keys):
        if not self.brightness:
            return inputs

        def worst(inputs, reference, key):
            return self.worst(network, inputs, reference, key)

        return {**inputs, _FEATURE: each_slice(worst, inputs, reference, keys)}

    def worst(self, network, inputs, reference, key):
        """The blob of one slice, complex (1, rows, width).

        Args:
            network: the model.
            inputs, reference: of the slice, a batch of one.
            key: int32 (2,), of the slice.
        """
        known = {"object": reference, "mask": inputs[MEASURED_MASK]}
        objective = Objective(
            network, inputs, tf.zeros([1], tf.int32), threat=self.threat, known=known
        )
        like = objective.like
        brightness = tf.constant(self.brightness, like.dtype.real_dtype)

        def body(number, best, best_value):
            drawn = self.threat.draw(like, fold_in(key, number)[None], brightness)
            found = self.threat.entering(drawn, known)
            best, best_value = loop.better(found, objective.value(found), best, best_value)
            return number + 1, best, best_value

        _, best, _ = tf.while_loop(
            lambda number, *_: number < self.positions,
            body,
            (tf.constant(0), like, loop.nothing_yet(like)),
            parallel_iterations=1,
        )
        return best

    def loss(self, network, inputs, reference, wanted):
        if _FEATURE not in inputs:
            return super().loss(network, inputs, reference, wanted)
        feature = inputs[_FEATURE]
        known = {"object": reference, "mask": inputs[MEASURED_MASK]}
        changed = self.threat.enter(network.sense, inputs, feature, known)
        target = magnitude(reference + feature * phase_of(reference))
        near = tf.cast(tf.abs(feature) > 0, target.dtype)[..., None]
        near = tf.nn.max_pool2d(near, 3, 1, "SAME")[..., 0]
        losses = []
        for share, image in network.training_images(changed, wanted):
            squares = tf.square(magnitude(image) - target)
            losses.append(share * tf.reduce_sum((1 + self.weight * near) * squares) / 2)
        return tf.add_n(losses)
