"""Square: a random search in windows of the image (Andriushchenko et al., ECCV 2020).

    r <- proposal    where E(proposal) > E(r)

A proposal changes one window of the image, or two. The windows become smaller as the search goes
on. E is all that it knows of the model: it needs no gradient, so that no model can mask one.

In an linf ball, real and imaginary part of r become +-radius inside the window. The search begins
with stripes of +-radius.

In an l2 ball, the energy of a second window moves into the first. What stands there is turned
towards a bump: two pyramids of opposite sign, side by side. The search begins with five by five
bumps. In the paper each channel of an image keeps its energy and has a sign of its own. Here a bump
is complex, with a random phase, and the two parts share their energy: the search finds more.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvn import checks, ranges
from tfvn.attacks import loop, region
from tfvn.attacks.search import Found, SearchedAttack, kinds_of
from tfvn.projections import norm

__all__ = ["Square"]

THREATS = ("l2", "linf")
GOALS = ("effect", "error")
# The share of the pixels that a window has at the beginning. It is halved after each of these
# shares of the steps.
_SHARE = 0.8
_HALVED_AFTER = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
# A bump needs a few pixels.
_SMALLEST = {"l2": 3, "linf": 1}
# Bumps of the first r, along each side of the image.
_TILES = 5
# Random numbers of a proposal: two places, whether the bump is transposed, and its phase. An linf
# ball takes one place and two signs.
_NUMBERS = 6


class Square(SearchedAttack):
    """Square, a search that needs no gradient.

    Args:
        sizes: the radii of the ball, >= 0, in units of images of maximum 1.
        threat: what the adversary changes: an image r in an "l2" or "linf" ball, k + A r.
        goal: what the adversary wants: the largest "effect" on the answer, or the largest "error"
            of it.
        steps: the number of proposals. Each takes one answer of the model.
        threat_region: where r may differ from 0, in pixels: a disc (row, column, radius) or a box
            (first row, last row, first column, last column); none for everywhere.
        goal_region: where effect or error count, in pixels; none for everywhere.
        noise: which random draws the attack sees, where a model makes any. "fresh" are draws of the
            attack's own, and "fixed" those that the model itself is going to use.
        draws: how many fresh draws E is the mean over.
        seed: the seed of proposals and of fresh draws.

    Raises:
        ValueError: for values outside the ranges above. An l1 ball has other windows, and k-space
            has none that mean anything. All that is tried lies on the surface of the ball, where a
            target is not.
    """

    name = "square"
    sort = "no gradient"
    kinds = kinds_of("square", GOALS, THREATS)

    def __init__(
        self,
        sizes=(1.5, 2.5, 3.5),
        threat="l2",
        goal="effect",
        steps=1000,
        threat_region=(),
        goal_region=(),
        noise="fresh",
        draws=20,
        seed=0,
    ):
        checks.choice("threat", threat, THREATS)
        checks.choice("goal", goal, GOALS)
        super().__init__(sizes, threat, goal, threat_region, goal_region, noise, draws, seed)
        self.steps = checks.whole("steps", steps, 1, most=ranges.MOST)

    @property
    def num_gradients(self):
        """None is taken."""
        return 0

    @property
    def num_answers(self):
        """The answers of all sizes together, for one image."""
        return self.steps * len(self.sizes)

    def numbers(self, real):
        return {"steps": tf.constant(self.steps)}

    @staticmethod
    def search(problem, numbers):
        """The last r that was accepted, and E of the r of each step."""
        steps = numbers["steps"]
        canvas = _canvas(problem)
        propose = {"l2": _moved, "linf": _filled}[problem.threat.ball]
        # The first random numbers are those of the start.
        draws = problem.uniform(1, [steps, _NUMBERS])
        history = tf.TensorArray(
            problem.radius.dtype, size=steps + 1, element_shape=problem.like.shape[:1]
        )

        def body(step, r, value, history):
            side = _side(problem, canvas, step, steps)
            proposal = propose(problem, canvas, r, side, draws[:, step])
            r, value = loop.better(proposal, problem.value(proposal), r, value)
            return step + 1, r, value, history.write(step + 1, value)

        start = _start(problem, canvas)
        value = problem.value(start)
        begin = (tf.constant(0), start, value, history.write(0, value))
        _, r, _, history = tf.while_loop(
            lambda step, *_: step < steps, body, begin, parallel_iterations=1
        )
        return Found(r, history.stack()[None])


class _Canvas(NamedTuple):
    """The part of the image that r may fill: a rectangle around all places that are allowed.

    allowed: where r may differ from 0, 1 there and 0 elsewhere, real (height, width).
    rows, columns: the places of all pixels of the image in the rectangle, real (height, 1) and
        (1, width).
    size: the rows and columns of the rectangle, a pair of real numbers.
    sums: 1 + 1/4 + 1/9 + ..., the sum of n terms at place n.
    """

    allowed: tf.Tensor
    rows: tf.Tensor
    columns: tf.Tensor
    size: tuple
    sums: tf.Tensor


def _canvas(problem):
    real = problem.radius.dtype
    shape = problem.like.shape[1:]
    allowed = tf.ones(shape, tf.bool)
    if problem.threat.region:
        allowed = region.window(problem.threat.region, *shape)
    places, sizes = [], []
    for axis in (0, 1):
        line = tf.cast(tf.reduce_any(allowed, 1 - axis), tf.int32)
        first = tf.argmax(line, output_type=tf.int32)
        after = shape[axis] - tf.argmax(line[::-1], output_type=tf.int32)
        places.append(tf.cast(tf.range(shape[axis]) - first, real))
        sizes.append(tf.cast(after - first, real))
    sums = np.cumsum([0, *(1 / np.square(np.arange(1.0, max(shape) + 2)))])
    return _Canvas(
        allowed=tf.cast(allowed, real),
        rows=places[0][:, None],
        columns=places[1][None],
        size=tuple(sizes),
        sums=tf.constant(sums, real),
    )


class _Window(NamedTuple):
    """A window of each image of a batch.

    rows, columns: the places of all pixels in it, real, of shapes that broadcast to
        (batch, height, width). Outside they are below 0, or not below `size`.
    size: its rows and columns, of such shapes too.
    """

    rows: tf.Tensor
    columns: tf.Tensor
    size: tuple

    @property
    def inside(self):
        """Which pixels are in it."""
        found = (self.rows >= 0) & (self.rows < self.size[0])
        return found & (self.columns >= 0) & (self.columns < self.size[1])

    def transposed(self, which):
        """The window with rows and columns exchanged, where `which` says so."""
        height, width = self.size
        return _Window(
            tf.where(which, self.columns, self.rows),
            tf.where(which, self.rows, self.columns),
            (tf.where(which, width, height), tf.where(which, height, width)),
        )


def _window(canvas, side, draws):
    """The window of a side that two random numbers of each image, (batch, 2), choose.

    A side that is longer than the canvas is as long as that.
    """
    places, sizes = [], []
    for axis, line in enumerate((canvas.rows, canvas.columns)):
        size = tf.minimum(side, canvas.size[axis])
        # Each place is equally likely.
        first = tf.floor(draws[:, axis] * (canvas.size[axis] - size + 1))
        places.append(line - first[:, None, None])
        sizes.append(size)
    return _Window(*places, tuple(sizes))


def _side(problem, canvas, step, steps):
    """The side of the windows in a step."""
    done = tf.cast(step, tf.float64) / tf.cast(steps, tf.float64)
    halvings = tf.math.count_nonzero(done > tf.constant(_HALVED_AFTER, tf.float64))
    share = _SHARE * tf.pow(tf.constant(0.5, tf.float64), tf.cast(halvings, tf.float64))
    pixels = tf.cast(share, problem.radius.dtype) * canvas.size[0] * canvas.size[1]
    return tf.maximum(tf.round(tf.sqrt(pixels)), _SMALLEST[problem.threat.ball])


def _start(problem, canvas):
    """Where the search begins."""
    if problem.start is not None:
        return problem.project(problem.start)
    begin = {"l2": _tiled, "linf": _striped}[problem.threat.ball]
    return begin(problem, canvas)


def _striped(problem, canvas):
    """Columns of random signs."""
    height, width = canvas.allowed.shape
    signs = _signs(problem.uniform(0, [1, width, 2]))
    return _at_the_corners(problem, canvas, tf.repeat(signs, height, axis=1))


def _tiled(problem, canvas):
    """Bumps of random phases, beside each other."""
    tiles, places, sizes = [], [], []
    for line, length in zip((canvas.rows, canvas.columns), canvas.size):
        size = tf.maximum(tf.floor(length / _TILES), 1)
        # Both ends share what is left over.
        line -= tf.floor((length - size * _TILES) / 2)
        tile = tf.clip_by_value(tf.floor(line / size), 0, _TILES - 1)
        tiles.append(tile)
        # What lies beyond the last tile is outside of its window.
        places.append(line - size * tile)
        sizes.append(size)
    draws = problem.uniform(0, [_TILES * _TILES, 2])
    draws = tf.gather(draws, tf.cast(_TILES * tiles[0] + tiles[1], tf.int32), axis=1)
    window = _Window(*places, tuple(sizes)).transposed(draws[..., 0] < 0.5)
    return _on_the_sphere(
        problem, canvas, loop.scaled(_bump(canvas, window), _phase(draws[..., 1]))
    )


def _bump(canvas, window):
    """Two pyramids of opposite sign in a window, one above the other, real (batch, height, width).

    Each is a heap of squares, of the heights 1, 1/4, 1/9 and so on. The smallest is the first.
    """
    height, width = window.size
    upper = tf.floor(height / 2)
    is_upper = window.rows < upper
    middle = tf.where(is_upper, tf.floor(upper / 2), upper + tf.floor((height - upper) / 2))
    ring = tf.maximum(tf.abs(window.rows - middle), tf.abs(window.columns - tf.floor(width / 2)))
    squares = tf.floor(tf.maximum(height - upper, width) / 2) + 1
    value = _sum(canvas, squares) - _sum(canvas, ring)
    value = tf.where(is_upper, value, -value)
    return tf.where(window.inside, value, tf.zeros_like(value))


def _sum(canvas, count):
    """The sum of 1/n^2 from 1 to a count."""
    last = tf.size(canvas.sums) - 1
    return tf.gather(canvas.sums, tf.minimum(tf.cast(count, tf.int32), last))


def _filled(problem, canvas, r, side, draws):
    """The proposal in an linf ball: +-radius in one window."""
    inside = _window(canvas, side, draws[:, :2]).inside
    corners = _at_the_corners(problem, canvas, _signs(draws[:, None, None, 2:4]))
    return tf.where(inside, corners, r)


def _moved(problem, canvas, r, side, draws):
    """The proposal in an l2 ball: the energy of two windows in the first of them."""
    window = _window(canvas, side, draws[:, :2])
    other = _window(canvas, side, draws[:, 2:4])
    zeros = tf.zeros_like(r)
    here = tf.where(window.inside, r, zeros)
    both = window.inside | other.inside
    bump = _bump(canvas, window.transposed(draws[:, None, None, 4] < 0.5))
    bump = loop.scaled(bump, _phase(draws[:, None, None, 5]))
    direction = _normalised(_normalised(bump) + _normalised(here))
    # What is missing to the surface is added.
    energy = tf.square(problem.radius) - tf.square(norm(tf.where(both, zeros, r)))
    length = loop.by_image(tf.sqrt(tf.nn.relu(energy)), r)
    proposal = tf.where(both, loop.scaled(length, direction), r)
    return _on_the_sphere(problem, canvas, proposal)


def _signs(draws):
    """Random signs out of random numbers in [0, 1)."""
    return tf.where(draws < 0.5, -tf.ones_like(draws), tf.ones_like(draws))


def _phase(draws):
    """Random complex numbers of magnitude 1, out of random numbers in [0, 1)."""
    angle = 2 * np.pi * draws
    return tf.complex(tf.cos(angle), tf.sin(angle))


def _normalised(r):
    """Each image divided by its l2 norm."""
    return loop.scaled(tf.math.reciprocal_no_nan(loop.by_image(norm(r), r)), r)


def _at_the_corners(problem, canvas, signs):
    """The r of these signs (batch, height, width, 2) in an linf ball, 0 where it must be."""
    parts = problem.radius * canvas.allowed[..., None] * signs
    return tf.complex(parts[..., 0], parts[..., 1])


def _on_the_sphere(problem, canvas, r):
    """The r of this direction in an l2 ball, 0 where it must be."""
    r = _normalised(loop.scaled(canvas.allowed, r))
    # Rounding must not leave the ball.
    return problem.project(loop.scaled(problem.radius, r))
