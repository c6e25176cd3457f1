"""Minimum norm: the smallest change that reaches a goal.

Other attacks fix the size of a change and ask how far a model's answer goes. This one fixes how far
it is to go, and asks for the size. Two methods find it:

    bisection   searches of APGD in balls whose radius is bisected, image by image
    ddn         the decoupled direction and norm of Rony et al. (CVPR 2019): one ascent on a sphere
                that shrinks after each success and grows after each failure

Whatever reaches the goal is scaled down as far as it still does. So what is found is never larger
than its own direction needs.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvn import checks, ranges
from tfvn.attacks import loop
from tfvn.attacks.apgd import AutoProjectedGradient
from tfvn.attacks.search import Found, SearchedAttack, kinds_of

__all__ = ["MinimumNorm"]

METHODS = ("bisection", "ddn")
# What ddn can do: threats of an l2 ball, and goals for which a larger change is a stronger one.
_DDN = {"threat": ("l2", "kspace", "maps"), "goal": ("effect", "error")}
# Halvings that scale a change down.
_SCALINGS = 8
# Of ddn: by what share the sphere grows or shrinks, and the first and the last length of a step as
# shares of its radius.
_CHANGE = 0.05
_FIRST_STEP, _LAST_STEP = 1.0, 0.01
# Rounding must not leave the ball.
_INSIDE = 1 - 1e-6


class MinimumNorm(SearchedAttack):
    """The smallest change whose effect reaches a threshold.

    Where no change of at most the size `largest` reaches it, the strongest that was found of that
    size is the result. Its E lies below that of the threshold.

    Args:
        sizes: the thresholds, >= 0. The goal "effect" is reached where || f(k') - f(k) || is at
            least the threshold, and "error" where || f(k') - |y| || is. "erase" and "insert" are
            reached where the distance to the target is at most the threshold.
        threat: what the adversary changes, and the norm that is made small. "l2", "l1" and "linf"
            are an image r in a ball of that norm, k + A r; "kspace" are sampled entries of the
            k-space in an l2 ball, k + e; "maps" are the coil maps, S + d, and the norm is that of
            || d ||_2 / || S ||_2.
        goal: what the adversary wants: a large "effect" on the answer, a large "error" of it, to
            "erase" what it shows in `goal_region`, or to "insert" a lesion there.
        method: how it searches. "bisection" tries radii. "ddn" is an ascent on a sphere that grows
            and shrinks, for l2 balls and for goals without a target. It takes as many gradients.
        largest: the largest size of a change, > 0.
        steps: the number of gradients of one search in a ball.
        restarts: the number of searches in each ball. The first begins at what was found in the
            ball before, and all others at random.
        halvings: the number of radii that are tried after the largest.
        threat_region: where r may differ from 0, in pixels: a disc (row, column, radius) or a box
            (first row, last row, first column, last column); none for everywhere.
        goal_region: where effect or error count, or what is erased or inserted into.
        noise: which random draws the attack sees, where a model makes any. "fresh" are draws of the
            attack's own, and "fixed" those that the model itself is going to use.
        draws: how many fresh draws E is the mean over. Loss and gradient see the same.
        seed: the seed of the random start and of fresh draws.

    Raises:
        ValueError: for values outside the ranges above.
    """

    name = "minimum"
    kinds = kinds_of("minimum")
    size_name = "threshold"
    # How large the change becomes depends on the model.
    comparable = False
    # A threshold is no radius.
    bounded_in_l2 = False

    def on_draws(self, stored):
        """None: its history is of larger changes too."""
        del stored

    def __init__(
        self,
        sizes=(1.0, 2.0, 4.0),
        threat="l2",
        goal="effect",
        method="bisection",
        largest=10.0,
        steps=25,
        restarts=2,
        halvings=8,
        threat_region=(),
        goal_region=(),
        noise="fresh",
        draws=20,
        seed=0,
    ):
        super().__init__(sizes, threat, goal, threat_region, goal_region, noise, draws, seed)
        self.method = checks.choice("method", method, METHODS)
        self.largest = checks.number("largest", largest, above=0)
        self.steps = checks.whole("steps", steps, 1, most=ranges.MOST)
        self.restarts = checks.whole("restarts", restarts, 1, most=ranges.MOST)
        self.halvings = checks.whole("halvings", halvings, 0, most=ranges.MOST)
        if method == "ddn":
            for name, choices in _DDN.items():
                _check_ddn(name, getattr(self, name), choices)

    @property
    def num_gradients(self):
        """The number of gradients of all sizes together, for one image."""
        return self.steps * self.restarts * (self.halvings + 1) * len(self.sizes)

    def norm_of(self, perturbation):
        """None: a threshold bounds no norm of a change."""
        del perturbation

    def numbers(self, real):
        numbers = {
            "largest": tf.constant(self.largest, real),
            "halvings": tf.constant(self.halvings),
            "restarts": tf.constant(self.restarts),
            "steps": tf.constant(self.steps * (self.halvings + 1)),
        }
        if self.method == "bisection":
            ascent = AutoProjectedGradient(
                threat=self.threat, steps=self.steps, restarts=self.restarts
            )
            numbers.update(ascent.numbers(real))
        return numbers

    def fixed(self):
        return (self.method, self.threat == "l1", self.wants.sign)

    @staticmethod
    def search(problem, numbers, method, sparse, sign):
        """The smallest change that reaches the goal, and E of all steps."""
        # What other attacks take for the radius is the threshold.
        threshold = numbers["radius"]
        needed = sign * tf.square(threshold) / 2
        if method == "ddn":
            return _decoupled(problem, numbers, needed)
        return _bisected(problem, numbers, needed, sparse)


def _check_ddn(name, value, choices):
    if value not in choices:
        raise ValueError(
            f"{name} must be one of {choices} with method='ddn'. Received: {name}={value!r}"
        )


class _Smallest(NamedTuple):
    """The smallest change so far that reaches the goal.

    change: of each image, complex (batch, ...). Where none reaches the goal yet, the strongest one.
    size: its size (batch,); infinite where none reaches the goal yet.
    value: E of it, (batch,).
    """

    change: tf.Tensor
    size: tf.Tensor
    value: tf.Tensor

    @property
    def is_there(self):
        """Whether there is one, (batch,)."""
        return tf.math.is_finite(self.size)


def _none_yet(problem, needed):
    """No change at all, which may be enough."""
    value = problem.value(problem.like)
    infinite = tf.fill(tf.shape(value), tf.constant(np.inf, value.dtype))
    size = tf.where(value >= needed, tf.zeros_like(value), infinite)
    return _Smallest(problem.like, size, value)


def _seen(problem, change, value, needed, found):
    """The smallest change, or the strongest one where none reaches the goal."""
    size = problem.threat.size(change)
    smaller = (value >= needed) & (size < found.size)
    stronger = ~found.is_there & (value > found.value)
    taken = smaller | stronger
    return _Smallest(
        tf.where(loop.by_image(taken, change), change, found.change),
        tf.where(smaller, size, found.size),
        tf.where(taken, value, found.value),
    )


def _scaled_down(problem, change, needed):
    """A change made as small as it reaches the goal. One that does not stays as it is."""

    def body(step, too_small, enough):
        factor = (too_small + enough) / 2
        reached = problem.value(_times(factor, change)) >= needed
        too_small = tf.where(reached, too_small, factor)
        return step + 1, too_small, tf.where(reached, factor, enough)

    ones = tf.ones_like(problem.threat.size(change))
    _, _, factor = tf.while_loop(
        lambda step, *_: step < _SCALINGS,
        body,
        (tf.constant(0), tf.zeros_like(ones), ones),
        parallel_iterations=1,
    )
    return _times(factor, change)


def _times(factors, change):
    """The change of each image times its own factor, (batch,)."""
    return loop.scaled(loop.by_image(factors, change), change)


# Bisection


class _InUnitBall:
    """A problem as APGD takes it, in which every image has a radius of its own.

    The changes are z in a ball of radius 1, and E is that of radius * z.

    Args:
        problem: the `tfvn.attacks.problem.Problem`.
        radii: (batch,).
        start: a change of every image to begin with. It is moved into the ball.
        first: the number of its first random start.
    """

    def __init__(self, problem, radii, start, first):
        self.like = problem.like
        self.threat = problem.threat
        self.radius = tf.constant(_INSIDE, problem.radius.dtype)
        self.start = problem.project(_times(tf.math.reciprocal_no_nan(radii), start), self.radius)
        self.start_share = problem.start_share
        self._problem = problem
        self._radii = radii
        self._first = first

    def value(self, change, step=None):
        return self._problem.value(_times(self._radii, change), step)

    def value_and_gradient(self, change, step=None):
        value, gradient = self._problem.value_and_gradient(_times(self._radii, change), step)
        return value, _times(self._radii, gradient)

    def project(self, change, radius=None):
        return self._problem.project(change, self.radius if radius is None else radius)

    def random(self, number, radius=None):
        return self._problem.random(self._first + number, self.radius if radius is None else radius)


def _bisected(problem, numbers, needed, sparse):
    """The result of searches in balls.

    The largest ball is the first. It stays until the goal is reached in it.
    """
    count = numbers["halvings"] + 1
    shape = [None, None, *problem.like.shape[:1]]
    history = tf.TensorArray(problem.radius.dtype, size=count, element_shape=shape)

    def body(number, last, failed, found, history):
        radii = tf.where(found.is_there, (failed + found.size) / 2, numbers["largest"])
        ball = _InUnitBall(problem, radii, last, number * numbers["restarts"])
        searched = AutoProjectedGradient.search(ball, numbers, "random", sparse)
        history = history.write(number, searched.history)
        last = _times(radii, searched.best)
        failed, found = _judged(problem, last, needed, radii, failed, found)
        return number + 1, last, failed, found, history

    first = problem.random(0, numbers["largest"]) if problem.start is None else problem.start
    found = _none_yet(problem, needed)
    begin = (tf.constant(0), first, tf.zeros_like(found.size), found, history)
    *_, found, history = tf.while_loop(
        lambda number, *_: number < count, body, begin, parallel_iterations=1
    )
    return Found(found.change, history.concat())


def _judged(problem, change, needed, radii, failed, found):
    """The largest radius at which the search has failed, and the smallest change that has not."""
    change = _scaled_down(problem, change, needed)
    value = problem.value(change)
    # As long as nothing reaches the goal, the radius stays: it is no failure.
    failed = tf.where(found.is_there & ~(value >= needed), radii, failed)
    found = _seen(problem, change, value, needed, found)
    # A search may fail in a ball that holds a smaller change of a later one.
    return tf.where(failed < found.size, failed, found.size / 2), found


# Decoupled direction and norm


def _decoupled(problem, numbers, needed):
    """The result of ascents on spheres that grow and shrink, one after the other."""
    restarts, largest = numbers["restarts"], numbers["largest"] * _INSIDE
    shape = [None, *problem.like.shape[:1]]
    histories = tf.TensorArray(problem.radius.dtype, size=restarts, element_shape=shape)

    def body(restart, found, histories):
        start = problem.random(restart, largest)
        if problem.start is not None:
            start = tf.where(restart == 0, problem.project(problem.start, largest), start)
        found, history = _descend(problem, start, numbers["steps"], largest, needed, found)
        return restart + 1, found, histories.write(restart, history)

    begin = (tf.constant(0), _none_yet(problem, needed), histories)
    _, found, histories = tf.while_loop(
        lambda restart, *_: restart < restarts, body, begin, parallel_iterations=1
    )
    smaller = _scaled_down(problem, found.change, needed)
    smallest = tf.where(loop.by_image(found.is_there, smaller), smaller, found.change)
    return Found(smallest, histories.stack())


def _descend(problem, start, steps, largest, needed, found):
    """The smallest change after one ascent, and E of all steps.

    It begins on the largest sphere, or on one that holds twice what was found before.
    """
    history = tf.TensorArray(
        problem.radius.dtype, size=steps + 1, element_shape=problem.like.shape[:1]
    )

    def body(step, change, radii, found, history):
        value, gradient = problem.value_and_gradient(change)
        found = _seen(problem, change, value, needed, found)
        length = _step_length(step, steps, radii)
        change += _times(length, problem.threat.steepest(gradient))
        radii = tf.where(value >= needed, (1 - _CHANGE) * radii, (1 + _CHANGE) * radii)
        radii = tf.minimum(radii, largest)
        change = _on_spheres(problem, change, radii)
        return step + 1, change, radii, found, history.write(step, value)

    radii = tf.minimum(2 * found.size, largest)
    begin = (tf.constant(0), _on_spheres(problem, start, radii), radii, found, history)
    _, change, _, found, history = tf.while_loop(
        lambda step, *_: step < steps, body, begin, parallel_iterations=1
    )
    value = problem.value(change)
    found = _seen(problem, change, value, needed, found)
    return found, history.write(steps, value).stack()


def _step_length(step, steps, radii):
    """The length of a step, (batch,): it falls along half a wave of the cosine."""
    done = tf.cast(step, radii.dtype) / tf.cast(steps, radii.dtype)
    share = _LAST_STEP + (_FIRST_STEP - _LAST_STEP) * (1 + tf.cos(np.pi * done)) / 2
    return share * radii


def _on_spheres(problem, change, radii):
    """The change of each image, scaled to a size of its own."""
    return _times(radii * tf.math.reciprocal_no_nan(problem.threat.size(change)), change)
