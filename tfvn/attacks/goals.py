"""What an adversary wants of a model's answer f(k'), as a number that an attack makes large.

    effect     1/2 || f(k') - f(k) ||^2    the answer changes (the paper's)
    error      1/2 || f(k') - |y| ||^2     the answer is wrong
    erase     -1/2 || f(k') - t ||^2       what f(k) shows in a region is gone
    insert    -1/2 || f(k') - t ||^2       a region shows a lesion that is not there

The first two may count in a region alone. The target t of the others is f(k) outside the region.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tfvn.attacks.region import usual_radius, window

__all__ = [
    "CONTRAST",
    "Counted",
    "EFFECT",
    "Effect",
    "Erase",
    "Error",
    "GOALS",
    "Insert",
    "goal_of",
    "target_with",
    "target_without",
]

# The brightness of an inserted lesion, as a share of the brightest pixel of f(k).
CONTRAST = 0.3


@dataclasses.dataclass(frozen=True)
class Effect:
    """The answer is to be far from the model's own answer f(k).

    region: where the distance counts, see `tfvn.attacks.region.check_region`; () for everywhere.
    """

    region: tuple = ()
    needs_reference = False
    # What is made large is the half squared distance, or the same with the other sign.
    sign = 1
    # What random starts, and first steps, are of the size that they have otherwise.
    start_share = 1.0

    def compared_with(self, clean, reference):
        """The image that an answer is compared with.

        Args:
            clean: f(k), real (batch, rows, width).
            reference: the true images |y|, of the same shape, or None.
        """
        del reference
        return clean

    def target(self, clean):
        """The image that the answer is to be, as `clean`; None where there is no target.

        Args:
            clean: as for `compared_with`.
        """
        del clean

    def value(self, image, other):
        """What an attack makes large, (batch,).

        Args:
            image: f(k'), real (batch, rows, width).
            other: what `compared_with` returned.
        """
        squares = tf.square(image - other)
        if self.counted:
            squares *= tf.cast(window(self.counted, *image.shape[1:]), squares.dtype)
        return self.sign * tf.reduce_sum(squares, [1, 2]) / 2

    def left(self, image, clean, other):
        """The share of the way to a target that is left, (batch,); None where there is no target.

        Args:
            image, other: as for `value`.
            clean: f(k), of the same shape.
        """
        del image, clean, other

    @property
    def counted(self):
        """The region in which the distance counts; () for everywhere."""
        return self.region


@dataclasses.dataclass(frozen=True)
class Error(Effect):
    """The answer is to be far from the truth."""

    needs_reference = True

    def compared_with(self, clean, reference):
        del clean
        return reference


@dataclasses.dataclass(frozen=True)
class Erase(Effect):
    """The answer is to show, in the region, what its surroundings suggest, and f(k) elsewhere.

    region: as for the effect; () for a disc in the middle of the image.
    """

    sign = -1
    # The target is near f(k): large random changes and steps lead away from it.
    start_share = 0.05
    # The rest of the image must stay as it is.
    counted = ()

    def compared_with(self, clean, reference):
        del reference
        return self.target(clean)

    def target(self, clean):
        return target_without(clean, self.region)

    def left(self, image, clean, other):
        """The distance from the target in the region, as a share of that of f(k)."""
        inside = tf.constant(_is_inside(self.region, *image.shape[1:]), image.dtype)
        now, before = (tf.norm(inside * (x - other), axis=[1, 2]) for x in (image, clean))
        return tf.math.divide_no_nan(now, before)


@dataclasses.dataclass(frozen=True)
class Insert(Erase):
    """The answer is to show a bright lesion in the region, and f(k) elsewhere.

    region: as for `Erase`.
    """

    def target(self, clean):
        return target_with(clean, self.region)


class Counted:
    """The value of a goal without a target, where only some pixels count.

    Args:
        goal: the `Effect` or `Error`.
        inside: which pixels count, bool (rows, width).
    """

    def __init__(self, goal, inside):
        self._goal = goal
        self._inside = inside
        self.needs_reference = goal.needs_reference

    def value(self, image, other):
        """As of the goal."""
        inside = tf.cast(self._inside, image.dtype)
        return self._goal.value(inside * image, inside * other)


EFFECT = Effect()
# By the names that settings have.
GOALS = {"effect": Effect, "error": Error, "erase": Erase, "insert": Insert}


def goal_of(name, region):
    """The goal of some settings.

    Args:
        name: one of `GOALS`.
        region: where it counts, as `tfvn.attacks.region.check_region` returns it.
    """
    return GOALS[name](region)


def target_without(image, region):
    """The image with a region filled from its surroundings.

    Each pixel inside is the mean of the pixels around the region, weighted by the inverse square of
    their distance (Shepard's interpolation).

    Args:
        image: real (batch, rows, width).
        region: as `check_region` returns it; () for a disc in the middle.

    Raises:
        ValueError: for a region that is not inside the image.
    """
    height, width = image.shape[1:]
    inside = np.asarray(_is_inside(region, height, width))
    around = _grown(inside) & ~inside
    if not around.any():
        raise ValueError(
            "a region to erase must leave some of the image around it. Received: a region of all"
            f" {height} x {width} pixels"
        )
    places, neighbours = np.argwhere(inside), np.argwhere(around)
    distances = np.square(places[:, None] - neighbours).sum(2)
    weights = 1 / distances
    weights /= weights.sum(1, keepdims=True)
    seen = tf.gather(tf.reshape(image, [-1, height * width]), np.flatnonzero(around), axis=1)
    filled = tf.matmul(seen, tf.constant(weights.T, image.dtype))
    return _with(image, inside, filled)


def target_with(image, region):
    """The image with a lesion in the middle of a region, as large as fits into it.

    The lesion adds `CONTRAST` times the image's maximum in its centre, and falls off to 0 at its
    rim as (1 - d^2)^2, d the distance from the centre as a share of the radius.

    Args:
        image, region: as for `target_without`.
    """
    height, width = image.shape[1:]
    inside = np.asarray(_is_inside(region, height, width))
    rows, columns = np.nonzero(inside)
    middle = [(places.min() + places.max()) / 2 for places in (rows, columns)]
    radius = [(np.ptp(places) + 1) / 2 for places in (rows, columns)]
    grid = np.ogrid[:height, :width]
    distance = sum(((x - m) / r) ** 2 for x, m, r in zip(grid, middle, radius))
    bump = np.square(np.maximum(1 - distance, 0)) * inside
    brightest = tf.reduce_max(image, [1, 2], keepdims=True)
    return image + CONTRAST * brightest * tf.constant(bump, image.dtype)


def _is_inside(region, height, width):
    if not region:
        region = (height // 2, width // 2, usual_radius(height, width))
    with tf.init_scope():
        return window(region, height, width).numpy()


def _grown(inside):
    """A region with the pixels that touch it."""
    height, width = inside.shape
    padded = np.pad(inside, 1)
    grown = np.zeros_like(inside)
    for row, column in np.ndindex(3, 3):
        grown |= padded[row : row + height, column : column + width]
    return grown


def _with(image, inside, values):
    """The image with other values, (batch, pixels), in a region."""
    height, width = inside.shape
    flat = tf.transpose(tf.reshape(image, [-1, height * width]))
    places = np.flatnonzero(inside)[:, None]
    changed = tf.tensor_scatter_nd_update(flat, places, tf.transpose(values))
    return tf.reshape(tf.transpose(changed), tf.shape(image))
