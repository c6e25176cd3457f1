"""The disc in which an image can be changed most, of a grid of discs that covers it.

For each disc, APGD makes the effect or the error inside it large. The whole image may be used for
that. The mean over an image hides what a small region suffers: a lesion is a small region.
"""

import numpy as np
import tensorflow as tf

from tfvn import checks, ranges
from tfvn.attacks import loop
from tfvn.attacks.apgd import AutoProjectedGradient
from tfvn.attacks.region import in_disc, usual_radius
from tfvn.attacks.result import Wanted
from tfvn.attacks.search import Found, kinds_of

__all__ = ["WorstDisc", "grid"]

GOALS = ("effect", "error")


class WorstDisc(AutoProjectedGradient):
    """APGD on the effect, or the error, in each of many discs. Of an image the worst disc is kept.

    What counts is the effect inside a disc. The effect that a table shows is that of the whole
    image.

    Args:
        sizes: the radii of the ball, >= 0, in units of images of maximum 1.
        threat: what the adversary changes. "l2", "l1" and "linf" are an image r in a ball of that
            norm, k + A r; "kspace" are sampled entries of the k-space in an l2 ball, k + e; "maps"
            are the coil maps, S + d, and the radius is that of || d ||_2 / || S ||_2.
        goal: what is made large inside a disc: the "effect" on the answer, or its "error".
        disc: the radius of a disc, in pixels. 0 stands for a twelfth of the shorter side.
        steps: the number of gradients for each disc.
        threat_region: where r may differ from 0, in pixels: a disc (row, column, radius) or a box
            (first row, last row, first column, last column); none for everywhere.
        noise: which random draws the attack sees, where a model makes any. "fresh" are draws of the
            attack's own, and "fixed" those that the model itself is going to use.
        draws: how many fresh draws E is the mean over. Loss and gradient see the same.
        seed: the seed of random starts and of fresh draws.

    Raises:
        ValueError: for values outside the ranges above.
    """

    name = "discs"
    kinds = kinds_of("discs", GOALS)
    # E is that of a disc.
    measures_effect = False

    def __init__(
        self,
        sizes=(1.5, 2.5, 3.5),
        threat="l2",
        goal="effect",
        disc=0,
        steps=20,
        threat_region=(),
        noise="fresh",
        draws=20,
        seed=0,
    ):
        checks.choice("goal", goal, GOALS)
        super().__init__(
            sizes=sizes,
            threat=threat,
            goal=goal,
            steps=steps,
            threat_region=threat_region,
            noise=noise,
            draws=draws,
            seed=seed,
        )
        self.disc = checks.whole("disc", disc, 0, most=ranges.MOST)

    def fixed(self):
        return (*super().fixed(), self.disc)

    @staticmethod
    def search(problem, numbers, start, sparse, disc):
        """The change of the worst disc, and E in every disc along its search."""
        shape = problem.objective.compared_with.shape[1:]
        places = grid(disc, *shape)
        count, discs = len(places), tf.constant(places)
        histories = tf.TensorArray(
            problem.radius.dtype, size=count, element_shape=[None, *problem.like.shape[:1]]
        )

        def body(number, best, best_value, histories):
            row, column, radius = tf.unstack(discs[number])
            inside = in_disc(row, column, radius, *shape)
            one = AutoProjectedGradient.search(problem.counting(inside), numbers, start, sparse)
            value = tf.reduce_max(one.history, [0, 1])
            best, best_value = loop.better(one.best, value, best, best_value)
            return number + 1, best, best_value, histories.write(number, one.history[0])

        begin = (tf.constant(0), problem.like, loop.nothing_yet(problem.like), histories)
        _, best, _, histories = tf.while_loop(
            lambda number, *_: number < count, body, begin, parallel_iterations=1
        )
        return Found(best, histories.stack())

    def wanted(self, stored, clean):
        """The discs, and what was reached in each."""
        discs = grid(stored["settings"]["disc"], *clean.shape)
        reached = _reached(stored["history"])
        text = f"{self.goal} in a disc,\n{reached.min():.2g} to {reached.max():.2g}"
        return Wanted(text, discs=discs, reached=reached)

    def remark(self, found):
        """What was reached in the worst disc, and in the one that resists best, in the mean."""
        reached = [_reached(arrays["history"]) for arrays in found]
        worst = np.mean([one.max() for one in reached])
        best = np.mean([one.min() for one in reached])
        return f"{self.goal} in the worst disc {worst:.3g}, in the best {best:.3g}"


def _reached(history):
    """The effect or error in each disc, (discs,), by E along each search, (discs, steps + 1)."""
    return np.sqrt(2 * np.maximum(history.max(1), 0))


def grid(radius, height, width):
    """Discs that touch each other and cover an image but for the gaps between them.

    Args:
        radius: of each, in pixels; 0 for the usual one.
        height, width: of the image.

    Returns:
        Row and column of the centre, and the radius, of each disc: int32 (discs, 3).

    Raises:
        ValueError: for discs that are larger than the image.
    """
    radius = radius or usual_radius(height, width)
    if 2 * radius + 1 > min(height, width):
        raise ValueError(
            f"disc must fit into the image of {height} x {width} pixels. Received: disc={radius}"
        )
    rows, columns = (_centres(radius, length) for length in (height, width))
    places = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    return np.insert(places, 2, radius, axis=1).astype(np.int32)


def _centres(radius, length):
    """Centres of touching discs along a side, the first and the last as near to the ends as fit."""
    first, last = radius, length - 1 - radius
    count = 1 + int(np.ceil((last - first) / (2 * radius + 1)))
    return np.rint(np.linspace(first, last, count)).astype(int)
