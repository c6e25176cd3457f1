"""Random search: random changes on the surface of the ball, of which the best is kept.

It knows nothing of the model. So it is the floor that every other attack must exceed: an attack
that does not has lost the model's gradient, or its own way.
"""

import tensorflow as tf

from tfvn import checks, ranges
from tfvn.attacks import loop
from tfvn.attacks.search import Found, SearchedAttack, kinds_of

__all__ = ["RandomSearch"]


class RandomSearch(SearchedAttack):
    """Random search. It needs no gradient.

    One change is held at a time, whatever their number.

    Args:
        sizes: the radii of the ball, >= 0, in units of images of maximum 1.
        threat: what the adversary changes. "l2", "l1" and "linf" are an image r in a ball of that
            norm, k + A r; "kspace" are sampled entries of the k-space in an l2 ball, k + e; "maps"
            are the coil maps, S + d, and the radius is that of || d ||_2 / || S ||_2.
        goal: what the adversary wants: the largest "effect" on the answer, the largest "error" of
            it, to "erase" what it shows in `goal_region`, or to "insert" a lesion there.
        steps: the number of random changes. Each takes one answer of the model.
        threat_region: where r may differ from 0, in pixels: a disc (row, column, radius) or a box
            (first row, last row, first column, last column); none for everywhere.
        goal_region: where effect or error count, or what is erased or inserted into.
        noise: which random draws the attack sees, where a model makes any. "fresh" are draws of the
            attack's own, and "fixed" those that the model itself is going to use.
        draws: how many fresh draws E is the mean over.
        seed: the seed of the random changes and of fresh draws.

    Raises:
        ValueError: for values outside the ranges above.
    """

    name = "random"
    sort = "no gradient"
    kinds = kinds_of("random")

    def __init__(
        self,
        sizes=(1.5, 2.5, 3.5),
        threat="l2",
        goal="effect",
        steps=100,
        threat_region=(),
        goal_region=(),
        noise="fresh",
        draws=20,
        seed=0,
    ):
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
        """The best of all changes, and E of each of them."""
        steps = numbers["steps"]
        history = tf.TensorArray(
            problem.radius.dtype, size=steps, element_shape=problem.like.shape[:1]
        )

        def body(step, best, best_value, history):
            change = _change(problem, step)
            value = problem.value(change)
            best, best_value = loop.better(change, value, best, best_value)
            return step + 1, best, best_value, history.write(step, value)

        begin = (tf.constant(0), problem.like, loop.nothing_yet(problem.like), history)
        _, best, _, history = tf.while_loop(
            lambda step, *_: step < steps, body, begin, parallel_iterations=1
        )
        return Found(best, history.stack()[None])


def _change(problem, step):
    """The change of a step. One that was given stands in the place of the first."""
    change = problem.random(step)
    if problem.start is None:
        return change
    return tf.where(step == 0, problem.project(problem.start), change)
