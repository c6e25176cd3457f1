"""Recipes that attack each slice of a batch before they learn from it.

    adversarial      c E(f(k)) + (1 - c) E(f(k + A r)),    E(x) = 1/2 || x - |y| ||^2
    effect-penalty   E(f(k)) + w/2 || f(k + A r) - f(k) ||^2

r is found anew in each step, by an ascent inside the ball || r || <= R of the slice. R is uniform
between 0 and the radius of the recipe: with one radius for all, a network may learn that radius
alone. The ascent begins on the sphere, at random, and its steps have one length:

    r <- project(r + s R grad / || grad ||)

Its best iterate is taken. Its gradient is that of the full network, as of the attacks, whose
objective and loop it uses. One slice is attacked at a time, and the memory does not grow with the
batch. All trials of a step of iPALM see the same r.

Madry et al., ICLR 2018; of MRI: Raj, Bresler and Li, ICML 2020, and Krainovic et al., 2023. One
step from a random start: Wong, Rice and Kolter, ICLR 2020. The penalty is TRADES (Zhang et al.,
ICML 2019) with squared distances.
"""

import abc

import tensorflow as tf

from tfvn import checks, ranges
from tfvn.attacks import loop
from tfvn.attacks.goals import Effect, Error
from tfvn.attacks.objective import Objective
from tfvn.attacks.threats import IMAGE
from tfvn.models.base import magnitude
from tfvn.physics.noise import fold_in
from tfvn.training.recipe import MEASURED_MASK, Recipe, each_slice, squared_error

__all__ = ["Adversarial", "Attacked", "EffectPenalty", "OneStep"]

# What the ascent makes large.
_GOALS = {"error": Error(), "effect": Effect()}
# Where the inputs of a loss hold r.
_CHANGE = "perturbation"
# Of the random numbers of a slice: its radius, and where its ascent begins.
_RADIUS, _START = range(2)


class Attacked(Recipe):
    """A recipe that attacks. A subclass has the loss.

    Args:
        radius: the largest radius of a slice.
        steps: of the ascent, a gradient each.
        step_size: the length of a step, as a share of the radius of the slice.
        goal: what the ascent makes large, error | effect.
    """

    def __init__(self, radius, steps, step_size, goal):
        self.radius = checks.number("radius", radius, 0)
        self.steps = checks.whole("steps", steps, 1, most=ranges.MOST)
        self.step_size = checks.number("step_size", step_size, 0)
        self.goal = checks.choice("goal", goal, _GOALS)

    @property
    def gradients_before(self):
        """The steps of the ascent."""
        return self.steps if self.radius else 0

    @property
    def gradients_of_loss(self):
        """Of two answers."""
        return 2 if self.radius else 1

    def __call__(self, network, inputs, reference, keys):
        if not self.radius:
            return inputs

        def attacked(inputs, reference, key):
            return self.strongest(network, inputs, reference, key)

        return {**inputs, _CHANGE: each_slice(attacked, inputs, reference, keys)}

    def strongest(self, network, inputs, reference, key):
        """The r of one slice, complex (1, rows, width).

        Args:
            network: the model.
            inputs, reference: of the slice, a batch of one.
            key: int32 (2,), of the slice.
        """
        objective = Objective(
            network,
            inputs,
            tf.zeros([1], tf.int32),
            goal=_GOALS[self.goal],
            reference=magnitude(reference),
            known={"mask": inputs[MEASURED_MASK]},
        )
        real = reference.dtype.real_dtype
        share = tf.random.stateless_uniform([], fold_in(key, _RADIUS), dtype=real)
        radius = share * tf.constant(self.radius, real)
        length = radius * tf.constant(self.step_size, real)

        def update(r, velocity, gradient):
            step = loop.scaled(length, IMAGE.steepest(gradient))
            return IMAGE.project(r + step, radius), velocity

        start = IMAGE.draw(objective.like, fold_in(key, _START)[None], radius)
        steps = tf.constant(self.steps)
        return loop.ascend(objective, start, tf.zeros_like(start), steps, update).best

    def loss(self, network, inputs, reference, wanted):
        if _CHANGE not in inputs:
            return super().loss(network, inputs, reference, wanted)
        known = {"mask": inputs[MEASURED_MASK]}
        attacked = IMAGE.enter(network.sense, inputs, inputs[_CHANGE], known)
        return self.of_both(network, inputs, attacked, reference, wanted)

    @abc.abstractmethod
    def of_both(self, network, inputs, attacked, reference, wanted):
        """The loss of one slice, a scalar.

        Args:
            network, inputs, reference, wanted: as for `loss`.
            attacked: the inputs k + A r.
        """


class Adversarial(Attacked):
    """The error under an attack, and without one.

    Args:
        radius: the largest radius of a slice; each has one of its own, uniform below it.
        steps: of the ascent, a gradient each.
        step_size: the length of a step, as a share of the radius of the slice.
        goal: what the ascent makes large, error | effect.
        clean: share of the loss that is the error without an attack, in [0, 1).

    Raises:
        ValueError: for values outside their limits.
    """

    def __init__(self, radius=2.5, steps=5, step_size=0.5, goal="error", clean=0.5):
        super().__init__(radius, steps, step_size, goal)
        self.clean = checks.number("clean", clean, 0, below=1)

    @property
    def gradients_of_loss(self):
        """Of one answer, or of two where the error without an attack counts."""
        return super().gradients_of_loss if self.clean else 1

    def of_both(self, network, inputs, attacked, reference, wanted):
        loss = (1 - self.clean) * Recipe.loss(self, network, attacked, reference, wanted)
        if not self.clean:
            return loss
        return loss + self.clean * Recipe.loss(self, network, inputs, reference, wanted)


class OneStep(Adversarial):
    """The same, with an ascent of one step. A network may learn to stand this step alone: attack it
    with many.

    Args:
        radius: the largest radius of a slice; each has one of its own, uniform below it.
        step_size: the length of the step, as a share of the radius of the slice.
        goal: what the step makes large, error | effect.
        clean: share of the loss that is the error without an attack, in [0, 1).

    Raises:
        ValueError: for values outside their limits.
    """

    def __init__(self, radius=2.5, step_size=1.25, goal="error", clean=0.5):
        super().__init__(radius, 1, step_size, goal, clean)


class EffectPenalty(Attacked):
    """The error without an attack, and how far an attack moves the answer.

    Args:
        weight: of half the squared effect.
        radius: the largest radius of a slice; each has one of its own, uniform below it.
        steps: of the ascent, a gradient each. It makes the effect large.
        step_size: the length of a step, as a share of the radius of the slice.

    Raises:
        ValueError: for values outside their limits.
    """

    def __init__(self, weight=1.0, radius=2.5, steps=5, step_size=0.5):
        super().__init__(radius, steps, step_size, "effect")
        self.weight = checks.number("weight", weight, 0)

    def of_both(self, network, inputs, attacked, reference, wanted):
        pairs = zip(
            network.training_images(inputs, wanted), network.training_images(attacked, wanted)
        )
        losses = []
        for (share, image), (_, moved) in pairs:
            effect = squared_error(moved, image)
            losses.append(share * (squared_error(image, reference) + self.weight * effect))
        return tf.add_n(losses)
