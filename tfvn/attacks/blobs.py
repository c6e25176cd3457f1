"""Small features that an answer must not lose: what they are, and the one that it loses most of.

    k' = k + A (b exp(i arg y)),    0 <= b <= R

b is a blob: the pixels that a random walk of a few steps goes through, which begins in the inner
half of the image. Their brightness is random, and the largest is R. It has the phase of the true
image y, and so it adds itself to |y|. The data hold it like all else of the object.

Where y is 0 there is no object, and most often no coil that sees anything. There b is 0 too, in the
data and in what is asked of an answer.

An answer is to show it: it is compared with |y| + b, or with f(k) + b. So the effect is

    || f(k') - f(k) - b ||

and a feature counts as missed where this is more than half of || b ||.

Cheng et al., MIDL 2020, and Caliva et al., arXiv 2011.00070 (false-negative features). They count a
feature as missed where the mean squared error of its pixels is 0.001 or more, which depends on the
scale of the images.
"""

import dataclasses

import tensorflow as tf

from tfvn import checks, ranges
from tfvn.attacks.random_search import RandomSearch
from tfvn.attacks.search import SearchedAttack, kinds_of
from tfvn.attacks.threats import Threat, known_object
from tfvn.models.features import as_complex
from tfvn.physics import measurement
from tfvn.physics.noise import fold_in
from tfvn.projections import norm

__all__ = ["Blobs", "BlobThreat", "MISSED", "blob", "checked_sizes", "phase_of"]

# A feature is missed where more than this share of its norm is wrong.
MISSED = 0.5
_LONGEST = 1000
# Steps to the neighbours of a pixel.
_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
# Of the random numbers of a blob.
_COUNT, _PLACE, _WALK, _VALUES = range(4)


def blob(shape, key, smallest, largest, real):
    """A random blob of the largest brightness 1, real (rows, width).

    Args:
        shape: rows and width.
        key: int32 (2,).
        smallest, largest: numbers of places of the walk. Some of them may be the same pixel.
        real: the type.
    """
    keys = [fold_in(key, number) for number in (_COUNT, _PLACE, _WALK, _VALUES)]
    count = tf.random.stateless_uniform([], keys[0], smallest, largest + 1, tf.int32)
    size = tf.stack(shape)
    within = tf.random.stateless_uniform([2], keys[1], dtype=real)
    start = size // 4 + tf.cast(within * tf.cast(size // 2, real), tf.int32)
    turns = tf.random.stateless_uniform([largest], keys[2], 0, len(_STEPS), tf.int32)
    steps = tf.gather(tf.constant(_STEPS), turns)
    # What would leave the image stays at its border, and so the walk has no gaps.
    path = tf.clip_by_value(start + tf.cumsum(steps, exclusive=True), 0, size - 1)[:count]
    inside = tf.scatter_nd(path, tf.ones([count], real), size) > 0
    values = 1 - tf.random.stateless_uniform(shape, keys[3], dtype=real)
    values = tf.where(inside, values, tf.zeros_like(values))
    return values / tf.reduce_max(values)


def phase_of(image):
    """exp(i arg image), complex; 0 where the image is."""
    return tf.math.divide_no_nan(image, as_complex(tf.abs(image)))


@dataclasses.dataclass(frozen=True)
class BlobThreat(Threat):
    """A blob b, complex (batch, rows, width) without imaginary parts, in a ball of the linf norm.

    smallest, largest: as for `blob`.
    """

    smallest: int = 3
    largest: int = 9
    length = "||b||_2"
    symbol = "b"
    needs_truth = True

    def zero(self, sense, inputs):
        return tf.zeros_like(sense.crop_readout(inputs["sensitivity_maps"][:, 0]))

    def known(self, sense, inputs, reference=None):
        del sense
        return known_object(inputs, reference, "A feature has the phase of the true image.")

    def entering(self, change, known):
        """The part of a blob that lies in the object."""
        return tf.where(known["object"] != 0, change, tf.zeros_like(change))

    def enter(self, sense, inputs, change, known):
        # The phase is 0 outside of the object: it leaves the same part as `entering`.
        image = change * phase_of(known["object"])
        return measurement.perturbed(sense, inputs, image, known["mask"])

    def in_kspace(self, sense, inputs, change, known):
        # A certificate bounds the change of an answer, and not what it lacks of a feature.
        del sense, inputs, change, known

    def follow(self, image, change, known, is_truth):
        if is_truth:
            image = tf.abs(known["object"])
        return image + tf.math.real(self.entering(change, known))

    def full_size(self, inputs, reference):
        """The norm of the true image."""
        del inputs
        return tf.norm(tf.abs(reference), axis=[1, 2])

    def project(self, change, radius):
        return as_complex(tf.clip_by_value(tf.math.real(change), 0, radius))

    def size(self, change):
        return norm(change, "linf")

    def draw(self, like, keys, radius):
        real = like.dtype.real_dtype

        def one(key):
            return radius * blob(like.shape[1:], key, self.smallest, self.largest, real)

        found = as_complex(tf.map_fn(one, keys, fn_output_signature=real))
        return tf.ensure_shape(found, like.shape)

    def missed(self, effect, amount):
        return float(effect > MISSED * amount)


class Blobs(RandomSearch):
    """The small feature that the answer loses most of, out of many at random places. It needs no
    gradient.

    Args:
        sizes: the brightness of the brightest pixel, in units of images of maximum 1. A feature at
            the border of the object may lack that pixel.
        goal: what is made large: the "effect", which is what the answer lacks of the feature, or
            the "error" of it against the truth with the feature.
        steps: the number of features that are tried. Each takes one answer of the model.
        smallest, largest: pixels of a feature; a few less where its walk crosses itself.
        goal_region: where effect or error count.
        noise: which random draws the attack sees, where a model makes any. "fresh" are draws of the
            attack's own, and "fixed" those that the model itself is going to use.
        draws: how many fresh draws E is the mean over.
        seed: the seed of the features and of fresh draws.

    Raises:
        ValueError: for values outside the ranges above.
    """

    name = "features"
    threats = {"features": BlobThreat()}
    kinds = kinds_of("features", ("effect", "error"), ("features",))

    def __init__(
        self,
        sizes=(0.25, 0.5),
        goal="effect",
        steps=20,
        smallest=3,
        largest=9,
        goal_region=(),
        noise="fresh",
        draws=20,
        seed=0,
    ):
        # Not that of the random search, which has other threats.
        SearchedAttack.__init__(self, sizes, "features", goal, (), goal_region, noise, draws, seed)
        checks.choice("goal", goal, ("effect", "error"))
        self.steps = checks.whole("steps", steps, 1, most=ranges.MOST)
        self.smallest, self.largest = checked_sizes(smallest, largest)
        self.changes = BlobThreat(self.smallest, self.largest)

    def arrays(self, result):
        """What is stored beside the feature: E, and the share of the feature that is wrong."""
        found = super().arrays(result)
        if self.measures_effect:
            wrong = tf.sqrt(2 * result.objective[0])
            # Of a feature without a pixel in the object nothing is lost.
            lost = tf.math.divide_no_nan(wrong, norm(result.perturbation)[0])
            found[_LOST] = lost.numpy()
        return found

    def remark(self, found):
        """How many features were missed."""
        lost = [float(arrays[_LOST]) for arrays in found if _LOST in arrays]
        told = super().remark(found)
        if not lost:
            return told
        missed = sum(share > MISSED for share in lost)
        return "; ".join(filter(None, [f"missed {missed} of {len(lost)}", told]))


# The array that holds the share of a feature that is wrong.
_LOST = "lost"


def checked_sizes(smallest, largest):
    """The numbers of pixels of a blob.

    Raises:
        ValueError: for others than whole numbers, in ascending order.
    """
    smallest = checks.whole("smallest", smallest, 1, most=_LONGEST)
    largest = checks.whole("largest", largest, smallest, most=_LONGEST)
    return smallest, largest
