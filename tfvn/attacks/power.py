"""Power iteration on the Jacobian of a model, and its continuation to changes that are not small.

    r <- radius * steepest(grad E(r))

E of a small r is 1/2 || J r ||^2, J the Jacobian of the answer, and its gradient J^T J r. So the
iteration is the power method on J^T J, without a second derivative, and finds the top singular
vector. At the radius itself it is the generalised power method (Journee et al., JMLR 2010), whose E
never falls where E is convex. It has no step size.
"""

import tensorflow as tf

from tfvn import checks, ranges
from tfvn.attacks import loop
from tfvn.attacks.search import Found, SearchedAttack, kinds_of

__all__ = ["PowerIteration", "SINGULAR_STEPS", "singular_start"]

# Iterations that find a start, and the size of r in them: a share of the radius, and no less than
# what single precision resolves.
SINGULAR_STEPS = 10
_SMALL, _SMALLEST = 0.05, 0.01


class PowerIteration(SearchedAttack):
    """Power iteration at the radius of the ball.

    Args:
        sizes: the radii of the ball, >= 0, in units of images of maximum 1.
        threat: what the adversary changes. "l2", "l1" and "linf" are an image r in a ball of that
            norm, k + A r; "kspace" are sampled entries of the k-space in an l2 ball, k + e; "maps"
            are the coil maps, S + d, and the radius is that of || d ||_2 / || S ||_2.
        goal: what the adversary wants: the largest "effect" on the answer, or the largest "error"
            of it.
        steps: the number of gradients.
        threat_region: where r may differ from 0, in pixels: a disc (row, column, radius) or a box
            (first row, last row, first column, last column); none for everywhere.
        goal_region: where effect or error count.
        noise: which random draws the attack sees, where a model makes any. "fresh" are draws of the
            attack's own, and "fixed" those that the model itself is going to use.
        draws: how many fresh draws E is the mean over. Loss and gradient see the same.
        seed: the seed of random starts and of fresh draws.

    Raises:
        ValueError: for values outside the ranges above.
    """

    name = "power"
    # A target is near f(k), and the surface of the ball is not.
    kinds = kinds_of("power", ("effect", "error"))
    steady = True

    def __init__(
        self,
        sizes=(1.5, 2.5, 3.5),
        threat="l2",
        goal="effect",
        steps=20,
        threat_region=(),
        goal_region=(),
        noise="fresh",
        draws=20,
        seed=0,
    ):
        checks.choice("goal", goal, ("effect", "error"))
        super().__init__(sizes, threat, goal, threat_region, goal_region, noise, draws, seed)
        self.steps = checks.whole("steps", steps, 1, most=ranges.MOST)

    @property
    def sort(self):
        """What it works with."""
        return "single step" if self.steps == 1 else "gradient"

    @property
    def num_gradients(self):
        """The number of gradients of all sizes together, for one image."""
        return self.steps * len(self.sizes)

    def numbers(self, real):
        return {"steps": tf.constant(self.steps)}

    @staticmethod
    def search(problem, numbers):
        start = problem.random(0) if problem.start is None else problem.project(problem.start)

        def update(r, velocity, gradient):
            del r
            return loop.scaled(problem.radius, problem.threat.steepest(gradient)), velocity

        path = loop.ascend(problem, start, tf.zeros_like(start), numbers["steps"], update)
        return Found(path.best, path.history[None])


def singular_start(problem, number):
    """A change of the size of the ball in the worst direction for small changes.

    Args:
        problem: the `tfvn.attacks.problem.Problem`.
        number: of the random change that the iteration begins with.
    """
    small = tf.maximum(_SMALL * problem.radius, _SMALLEST)

    def body(step, r):
        _, gradient = problem.value_and_gradient(r)
        return step + 1, loop.scaled(small, problem.threat.steepest(gradient))

    _, r = tf.while_loop(
        lambda step, _: step < SINGULAR_STEPS,
        body,
        (tf.constant(0), problem.random(number, small)),
        parallel_iterations=1,
    )
    return problem.project(loop.scaled(problem.radius / small, r))
