"""When APGD does what: the balls that a search goes through, and its checkpoints.

A search may begin in larger balls, from which it comes down. The share of the steps in each ball
is fixed, so that the whole plan is known before the search begins.

Source of the checkpoints: Croce and Hein, ICML 2020, section 3; for l1: ICML 2021.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

__all__ = ["BALLS", "ONE_BALL", "Plan", "checkpoints", "plan_of"]

# The balls of a search, by the name of its start: their radii, and their shares of the steps. In a
# ball that comes twice, the second search begins beside what the first one found.
BALLS = {
    "larger": ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4)),
    "moved": ((3.0, 0.2), (2.0, 0.2), (1.0, 0.25), (1.0, 0.35)),
    "beside": ((1.0, 0.2), (1.0, 0.4), (1.0, 0.4)),
}
ONE_BALL = ((1.0, 1.0),)


class Plan(NamedTuple):
    """What is done in which step, tensors (steps + 1,). The last step is none, and looked at only.

    radius: of the ball, as a share of the attack's.
    begins: whether the search in a ball begins.
    checks: whether the step is a checkpoint.
    window: how many steps there were since the last one.
    """

    radius: tf.Tensor
    begins: tf.Tensor
    checks: tf.Tensor
    window: tf.Tensor


def plan_of(steps, balls, sparse, real):
    """The `Plan` of a search.

    Args:
        steps: the number of gradients.
        balls: radii, as shares of the attack's, and shares of the steps.
        sparse: whether they are l1 balls.
        real: the type of real numbers.
    """
    ends = np.rint(np.cumsum([share for _, share in balls]) * steps).astype(int)
    radii = np.zeros(steps + 1)
    begins, are_checks = np.zeros(steps + 1, bool), np.zeros(steps + 1, bool)
    windows = np.ones(steps + 1, np.int32)
    first = 0
    for (radius, _), end in zip(balls, ends):
        radii[first:] = radius
        begins[first] = end > first
        for place, window in checkpoints(end - first, sparse):
            are_checks[first + place] = True
            windows[first + place] = window
        first = end
    return Plan(
        tf.constant(radii, real),
        tf.constant(begins),
        tf.constant(are_checks),
        tf.constant(windows),
    )


def checkpoints(steps, sparse):
    """The checkpoints of a search, as pairs of a step and the number of steps since the last.

    >>> checkpoints(100, sparse=False)[:3]
    [(22, 22), (41, 19), (57, 16)]
    """
    window, shorter, shortest = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
    if sparse:
        window, shorter, shortest = max(int(0.04 * steps), 1), 0, 1
    found = []
    place = window
    while place < steps:
        found.append((place, window))
        window = max(window - shorter, shortest)
        place += window
    return found
