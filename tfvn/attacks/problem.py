"""What a search is to solve: a change in a ball with a large E."""

import copy

import tensorflow as tf

from tfvn import ranges
from tfvn.attacks import loop
from tfvn.attacks.objective import numbered_keys
from tfvn.physics import noise

__all__ = ["MOVES", "Problem"]

# The rows and columns by which a change is moved to its neighbours.
MOVES = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


class Problem:
    """What a search is to solve, inside a graph: a change in a ball with a large E.

    Args:
        objective: the `Objective`.
        threat: what a change is.
        goal: what is made large.
        support: where a change may differ from 0; None for everywhere.
        radius: of the ball, a tensor of one real number.
        start: a change to begin with, or None.
        index: int32 (batch,), the numbers that name the images.
        seed: of random starts.
        place: which one it is of several problems of one seed, a tensor of one whole number.
        known: of the measurement, as the threat's `known` gives it.

    Attributes:
        like: zeros of the shape of a change, complex (batch, ...).
        radius: of the ball, a little less than what was asked for: rounding must not leave it.
        start: as given, and 0 where it must be.
        start_share: of the goal: what random starts are of the size of the ball.
    """

    def __init__(self, objective, threat, goal, support, radius, start, index, seed, place, known):
        self.objective = objective
        self.threat = threat
        self.start_share = goal.start_share
        self.known = known
        self.like = objective.like
        self.radius = radius * (1 - 1e-6)
        self.start = start if start is None or support is None else support * start
        self._support = support
        self._index = index
        self._seed = seed
        # No search counts further than that.
        self._first = place * ranges.MOST

    def counting(self, inside):
        """The same problem, with a goal that counts in a part of the image alone.

        Args:
            inside: which pixels count, bool (rows, width).
        """
        other = copy.copy(self)
        other.objective = self.objective.counting(inside)
        return other

    def value(self, change, step=None):
        """E of a change, (batch,): the mean over all draws, in every step."""
        del step
        return self.objective.value(change)

    def value_and_gradient(self, change, step=None):
        """E of a change and its gradient, which is 0 where a change must be."""
        del step
        return self.objective.value_and_gradient(change)

    def project(self, change, radius=None):
        """The nearest change inside the ball, or inside one of another radius."""
        return self.threat.project(change, self.radius if radius is None else radius)

    def neighbour(self, image):
        """The strongest of the changes that are this one, moved by a pixel in each direction.

        What changes an answer most has stripes. Moved by a part of their period, they are on the
        way to another maximum of E, which a gradient does not lead to.

        Args:
            image: a change that is an image, complex (batch, rows, width).
        """
        moves = tf.constant(MOVES)

        def body(number, best, best_value):
            moved = tf.roll(image, moves[number], [1, 2])
            if self._support is not None:
                moved = self.project(self._support * moved)
            best, best_value = loop.better(moved, self.value(moved), best, best_value)
            return number + 1, best, best_value

        _, best, _ = tf.while_loop(
            lambda number, *_: number < len(MOVES),
            body,
            (tf.constant(0), image, loop.nothing_yet(image)),
            parallel_iterations=1,
        )
        return best

    def keys(self, number):
        """Keys for random numbers of every image, int32 (batch, 2).

        Args:
            number: which one of the random things of an attack they are for.
        """
        number += self._first
        return numbered_keys(self._seed, noise.ATTACK_START, number, self._index)

    def uniform(self, number, shape):
        """Random numbers in [0, 1) for every image, (batch, *shape).

        Args:
            number: which ones of the attack's random things they are.
            shape: of those of one image.
        """
        real = self.radius.dtype
        return tf.map_fn(
            lambda key: tf.random.stateless_uniform(shape, key, dtype=real),
            self.keys(number),
            fn_output_signature=real,
        )

    def random(self, number, radius=None):
        """A random change on the surface of the ball, or of one of another radius.

        It is nearer to no change where the goal is a target, and where a part of it cannot enter.

        Args:
            number: of the change, a whole number.
            radius: of the other ball.
        """
        radius = self.radius if radius is None else radius
        radius *= self.start_share
        if self._support is None:
            change = self.threat.draw(self.like, self.keys(number), radius)
            return self.threat.entering(change, self.known)
        # On the surface again after the entries outside are gone.
        change = self._support * self.threat.draw(self.like, self.keys(number), radius)
        size = loop.by_image(self.threat.size(change), change)
        factor = tf.math.divide_no_nan(radius, size)
        return self.project(loop.scaled(factor, change), radius)
