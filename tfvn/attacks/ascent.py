"""Projected gradient ascent with momentum on the change of a reconstruction (Wolf, 2019).

    maximise E(r) = 1/2 || f(k + A r) - f(k) ||_2^2    subject to || r || <= radius

over complex images r, by

    v <- momentum v + step_size grad E(r),    r <- project(r + v)

for every image of a batch on its own.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvn import checks, ranges
from tfvn.attacks import loop
from tfvn.attacks.base import Attack, check_result, checked_measurement, compute, numbers_of
from tfvn.attacks.objective import (
    GRADIENTS,
    NOISES,
    NUM_SETS,
    Objective,
    numbered_keys,
    takes_fresh_draws,
)
from tfvn.attacks.result import AttackResult
from tfvn.attacks.threats import IMAGE
from tfvn.models.backward import check_gradient_exists
from tfvn.physics import noise as noises
from tfvn.projections import BALLS, norm

__all__ = ["ProjectedGradientAscent"]


class ProjectedGradientAscent(Attack):
    """Projected gradient ascent; the defaults are the paper's setting.

    Args:
        sizes: the radii of the ball, >= 0. A radius is the largest norm of r, in units of images
            of maximum 1.
        steps: the number of steps of one ascent, at one radius and from one start.
        step_size: the factor of the gradient in each step, >= 0.
        momentum: the share of v that is kept in each step, from 0 to 1.
        restarts: the number of random starts on the ball's surface. Of every image the strongest
            result is kept.
        norm: the norm of the ball: "l2", or "l1" or "linf" of the real and imaginary parts of r.
        gradient: what the gradient goes through. "full" follows the measurement through every
            place where the model reads it. "initial-image" follows it through the first iterate
            alone, as the code of Antun et al. (2020) does. Only models that read `initial_image`
            have such a gradient.
        noise: which random draws the attack sees, where a model makes any. "fresh" are draws of the
            attack's own: those of an adversary who cannot foresee the model's. There are ten
            sets of them, and each step takes the next. "fixed" are the draws that the model itself
            is going to use.
        seed: the seed of the starts and of fresh draws.

    Raises:
        ValueError: for values outside the ranges above, and for more than a million steps or
            restarts.
    """

    name = "ascent"
    kinds = {norm: {"norm": norm} for norm in BALLS}
    steady = True

    def __init__(
        self,
        sizes=(1.5, 2.5, 3.5),
        steps=60,
        step_size=0.5,
        momentum=0.9,
        restarts=1,
        norm="l2",
        gradient="full",
        noise="fresh",
        seed=0,
    ):
        self.sizes = self.check_sizes(sizes)
        self.steps = checks.whole("steps", steps, 1, most=ranges.MOST)
        self.step_size = checks.number("step_size", step_size, 0)
        self.momentum = checks.number("momentum", momentum, 0, most=1)
        self.restarts = checks.whole("restarts", restarts, 1, most=ranges.MOST)
        self.norm = checks.choice("norm", norm, BALLS)
        self.gradient = checks.choice("gradient", gradient, GRADIENTS)
        self.noise = checks.choice("noise", noise, NOISES)
        self.seed = checks.whole("seed", seed)

    @property
    def kind(self):
        """The norm of the ball."""
        return self.norm

    @property
    def prefix(self):
        """The beginning of the names of its folders and datasets."""
        if self.norm == "l2":
            return "radius"
        return f"{self.norm}_radius"

    @property
    def title(self):
        """What the titles of its tables say of it; nothing for the paper's ball."""
        if self.norm == "l2":
            return ""
        return f"{self.norm} balls"

    @property
    def bounded_in_l2(self):
        """Whether a size is the largest l2 norm of r."""
        return self.norm == "l2"

    @property
    def sort(self):
        """What it works with."""
        return "single step" if self.steps == 1 else "gradient"

    @property
    def num_gradients(self):
        """The number of gradients of all sizes together, for one image."""
        return self.steps * self.restarts * len(self.sizes)

    def label(self, size, image_norm=math.nan):
        """What one size is called where there are other attacks beside it."""
        head = self.head(size, image_norm)
        if self.norm == "l2":
            return head
        return f"{self.norm}, {head}"

    def norm_of(self, perturbation):
        """The norm of r that a radius bounds, in double precision."""
        image = perturbation.astype(np.complex128)[None]
        return float(norm(image, self.norm)[0])

    def run(self, model, inputs, size, reference=None, start=None, index=None):
        """Attacks every image of a batch.

        The iterate with the largest E is kept, so E never ends below its start. Against fresh draws
        that is the E of those draws; `objective` is measured again on the model's own.

        Args:
            model: a `Reconstructor`.
            inputs: the measurement k, a dict of `kspace`, `sensitivity_maps` and `mask`.
            size: the radius.
            reference: not used: the attack moves away from the model's answer.
            start: None: the attack chooses its starts.
            index: whole numbers (batch,) that name the images. A start depends on the seed, the
                number of the restart and the image's own number. None names all images 0.

        Returns:
            An `AttackResult`.

        Raises:
            ValueError: for what is no model; for inputs that do not fit, are not finite or hold an
                `initial_image`; for answers of the model that are not finite.

        Warns:
            tfvn.data.DataWarning: for images of another scale than that of a radius.
        """
        radius = self.check_size(size)
        if start is not None:
            raise ValueError("start must be None: the ascent chooses its starts. Leave it out.")
        given = checked_measurement(model, inputs)
        known = IMAGE.known(model.sense, inputs)
        index = numbers_of(index, given)
        check_gradient_exists(model, self.gradient)
        fresh = takes_fresh_draws(model, self.noise)
        real = given["sensitivity_maps"].dtype.real_dtype
        numbers = _Numbers(
            radius=tf.constant(radius, real),
            step_size=tf.constant(self.step_size, real),
            momentum=tf.constant(self.momentum, real),
            steps=tf.constant(self.steps),
            restarts=tf.constant(self.restarts),
            seed=tf.constant(self.seed),
        )
        settings = (self.norm, self.gradient, fresh)
        result = compute(_attack, model, settings, given, known, index, numbers)
        check_result(model, result)
        return result


class _Numbers(NamedTuple):
    """The settings that may change without compiling anew, tensors of one number."""

    radius: tf.Tensor
    step_size: tf.Tensor
    momentum: tf.Tensor
    steps: tf.Tensor
    restarts: tf.Tensor
    seed: tf.Tensor


def _attack(model, kind, gradient, fresh, inputs, known, index, numbers):
    """The result of all restarts, see `ProjectedGradientAscent.run`."""
    sets = None
    if fresh:
        sets = tf.minimum(NUM_SETS, numbers.steps + 1)
    objective = Objective(model, inputs, index, gradient, sets, numbers.seed, known=known)
    like = objective.like
    # Rounding must not leave the ball.
    ball = numbers.radius * (1 - 1e-6)

    def update(r, velocity, gradient):
        kept = loop.scaled(numbers.momentum, velocity)
        velocity = kept + loop.scaled(numbers.step_size, gradient)
        return BALLS[kind](r + velocity, ball), velocity

    def body(restart, best, best_value, best_answer, histories):
        keys = numbered_keys(numbers.seed, noises.ATTACK_START, restart, index)
        start = loop.on_the_sphere(like, keys, ball, kind)
        path = loop.ascend(objective, start, tf.zeros_like(start), numbers.steps, update)
        answer, value = objective.answer(path.best)
        best_answer, _ = loop.better(answer, value, best_answer, best_value)
        best, best_value = loop.better(path.best, value, best, best_value)
        histories = histories.write(restart, path.history)
        return restart + 1, best, best_value, best_answer, histories

    shape = [None, *like.shape[:1]]
    histories = tf.TensorArray(ball.dtype, size=numbers.restarts, element_shape=shape)
    nothing = loop.nothing_yet(like)
    begin = (tf.constant(0), tf.zeros_like(like), nothing, objective.compared_with, histories)
    _, best, best_value, answer, histories = tf.while_loop(
        lambda restart, *_: restart < numbers.restarts, body, begin, parallel_iterations=1
    )
    return AttackResult(best, answer, best_value, histories.stack())
