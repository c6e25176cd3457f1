"""Gradient ascent with momentum and a penalty (Antun et al., PNAS 117(48), 2020).

    maximise Q(r) = 1/2 || f(k + A r) - p ||_2^2 - penalty/2 || r ||_2^2

by

    v <- momentum v + step_size grad Q(r),    r <- r + v

A penalty holds r back, and no ball: how large it becomes is not given, and grows with the steps. An
attack may go on from an earlier r and v, which makes a ladder of perturbations.
"""

import math
from typing import NamedTuple

import tensorflow as tf

from tfvn import checks, ranges
from tfvn.attacks import loop
from tfvn.attacks.base import (
    Attack,
    check_result,
    checked_measurement,
    compute,
    finite_image,
    numbers_of,
)
from tfvn.attacks.goals import EFFECT, Error
from tfvn.attacks.objective import (
    GRADIENTS,
    NOISES,
    NUM_SETS,
    Objective,
    takes_fresh_draws,
)
from tfvn.attacks.region import keep_region
from tfvn.attacks.result import AttackResult, Start
from tfvn.attacks.threats import IMAGE
from tfvn.choices import REFERENCES
from tfvn.models.backward import check_gradient_exists
from tfvn.physics import noise as noises

__all__ = ["PenalisedGradientAscent"]


class PenalisedGradientAscent(Attack):
    """Penalised gradient ascent; the defaults are those of Antun et al. for this kind of network.

    Args:
        sizes: the numbers of steps after which r is stored, different and >= 1. They are the rungs
            of a ladder of perturbations: each goes on from the one before.
        penalty: lambda, the factor of the penalty || r ||_2^2 / 2, >= 0.
        step_size: the factor of the gradient in each step, >= 0.
        momentum: the share of v that is kept in each step, from 0 to 1.
        start_scale: r starts as start_scale * U[0, 1], real and non-negative, in units of images
            of maximum 1.
        reference: p, what the reconstruction is driven away from. "prediction" is the model's own
            answer f(k), and "truth" is the true image, which `run` is given.
        region: whether r is kept in a window alone: in rows from 35 to 75 % and columns from 35 to
            70 %, as in the figures of Antun et al. The ascent goes on from all of r: the window is
            for the eye.
        gradient: what the gradient goes through. "full" follows the measurement through every
            place where the model reads it. "initial-image" follows it through the first iterate
            alone, as the code of Antun et al. does. Only models that read `initial_image` have
            such a gradient.
        noise: which random draws the attack sees, where a model makes any. "fresh" are draws of the
            attack's own, ten sets of them in turn. "fixed" are the draws that the model itself
            is going to use.
        seed: the seed of the start and of fresh draws.

    Raises:
        ValueError: for values outside the ranges above, and for more than a million steps.
    """

    name = "antun"
    size_name = "steps"
    size_type = int
    # How large r becomes depends on the model.
    comparable = False
    objective_array = "objective_of_iterate"
    continued_from = ("iterate", "velocity")
    title = "attack of Antun et al."

    def __init__(
        self,
        sizes=(25,),
        penalty=1.0,
        step_size=0.005,
        momentum=0.9,
        start_scale=0.001,
        reference="prediction",
        region=False,
        gradient="full",
        noise="fresh",
        seed=0,
    ):
        self.sizes = self.check_sizes(sizes)
        self.penalty = checks.number("penalty", penalty, 0)
        self.step_size = checks.number("step_size", step_size, 0)
        self.momentum = checks.number("momentum", momentum, 0, most=1)
        self.start_scale = checks.number("start_scale", start_scale, 0)
        self.reference = checks.choice("reference", reference, REFERENCES)
        self.region = checks.flag("region", region)
        self.gradient = checks.choice("gradient", gradient, GRADIENTS)
        self.noise = checks.choice("noise", noise, NOISES)
        self.seed = checks.whole("seed", seed)

    @property
    def needs_reference(self):
        """Whether `run` needs the true image."""
        return self.reference == "truth"

    @property
    def measures_effect(self):
        """Whether E(r) is half the squared change of the model's answer to `perturbation`."""
        return self.reference == "prediction" and not self.region

    @property
    def num_gradients(self):
        """The gradients of all sizes together: each goes on from the one before."""
        return max(self.sizes, default=0)

    def head(self, size, image_norm=math.nan):
        """What one size is called above a column."""
        return f"{size:d} steps"

    def check_size(self, size, name="size"):
        """The number of steps of one size."""
        return checks.whole(name, size, 1, most=ranges.MOST)

    def check_sizes(self, sizes):
        """The rungs of the ladder, in ascending order."""
        found = super().check_sizes(sizes)
        if len(set(found)) < len(found):
            raise ValueError(
                f"sizes must be different whole numbers. Received: sizes={checks.shown(sizes)}"
            )
        return tuple(sorted(found))

    def first_step(self, before):
        """The steps that were taken before."""
        return before or 0

    def arrays(self, result):
        """What is stored beside the perturbation, to go on from."""
        iterate = result.perturbation if result.iterate is None else result.iterate
        return {
            "iterate": iterate[0].numpy(),
            "velocity": result.velocity[0].numpy(),
            **super().arrays(result),
        }

    def start_from(self, arrays, size):
        """The `Start` that the stored arrays of the size before stand for."""
        return Start(arrays["iterate"][None], arrays["velocity"][None], size)

    def run(self, model, inputs, size, reference=None, start=None, index=None):
        """Attacks every image of a batch.

        Args:
            model, inputs, index: as for `ProjectedGradientAscent.run`.
            size: the number of steps, with those of the start.
            reference: the truth, or any image to move away from: real or complex (batch, rows,
                width), of which the magnitude is taken. With reference="prediction" it is not used.
            start: a `Start` to go on from; None means a random r and v = 0. Its size must be below
                this one. Fresh draws go on from there, too.

        Returns:
            An `AttackResult` with the last r, as in the original. `objective` and `history` are
            1/2 || f(k + A r) - p ||^2, without the penalty. With a region, `iterate` is all of r.

        Raises:
            ValueError: as `ProjectedGradientAscent.run`; or for a reference or start of another
                shape, and for a truth that is needed and missing.
        """
        steps_done = 0 if start is None else checks.whole("start.size", start.size, 0)
        steps = self.check_size(size) - steps_done
        if steps < 1:
            raise ValueError(
                f"size must be larger than that of the start, {steps_done}. Received: size={size}"
            )
        read = checked_measurement(model, inputs)
        known = IMAGE.known(model.sense, inputs)
        index = numbers_of(index, read)
        check_gradient_exists(model, self.gradient)
        given = self._given(read, reference, start)
        fresh = takes_fresh_draws(model, self.noise)
        real = read["sensitivity_maps"].dtype.real_dtype
        numbers = _Numbers(
            penalty=tf.constant(self.penalty, real),
            step_size=tf.constant(self.step_size, real),
            momentum=tf.constant(self.momentum, real),
            start_scale=tf.constant(self.start_scale, real),
            steps=tf.constant(steps),
            steps_done=tf.constant(steps_done),
            seed=tf.constant(self.seed),
        )
        settings = (self.gradient, fresh, self.region)
        result = compute(_attack, model, settings, read, known, index, given, numbers)
        check_result(model, result)
        return result

    def _given(self, inputs, reference, start):
        """The images that were given, as tensors of the precision of the inputs."""
        complex_type = inputs["sensitivity_maps"].dtype
        given = {}
        if self.needs_reference:
            if reference is None:
                raise ValueError(
                    "reference='truth' needs the true image. Received: reference=None. "
                    "Give it to run."
                )
            image = tf.abs(finite_image("reference", reference))
            given["reference"] = tf.cast(image, complex_type.real_dtype)
        if start is not None:
            given["start"] = tf.cast(finite_image("start", start.perturbation), complex_type)
        if start is not None and start.velocity is not None:
            given["velocity"] = tf.cast(finite_image("velocity", start.velocity), complex_type)
        return given


class _Numbers(NamedTuple):
    """The settings that may change without compiling anew, tensors of one number."""

    penalty: tf.Tensor
    step_size: tf.Tensor
    momentum: tf.Tensor
    start_scale: tf.Tensor
    steps: tf.Tensor
    steps_done: tf.Tensor
    seed: tf.Tensor


def _attack(model, gradient, fresh, region, inputs, known, index, given, numbers):
    """The result of one ascent, see `PenalisedGradientAscent.run`."""
    sets = NUM_SETS if fresh else None
    reference = given.get("reference")
    goal = EFFECT if reference is None else Error()
    objective = Objective(
        model,
        inputs,
        index,
        gradient,
        sets,
        numbers.seed,
        goal=goal,
        reference=reference,
        known=known,
    )
    like = objective.like
    for name, array in given.items():
        if not array.shape.is_compatible_with(like.shape):
            raise ValueError(
                f"{name} must have the shape of the image, {tuple(like.shape)}. Received: "
                f"{tuple(array.shape)}"
            )

    def update(r, velocity, gradient):
        uphill = gradient - loop.scaled(numbers.penalty, r)
        kept = loop.scaled(numbers.momentum, velocity)
        velocity = kept + loop.scaled(numbers.step_size, uphill)
        return r + velocity, velocity

    start = given.get("start")
    if start is None:
        keys = noises.keys(numbers.seed, noises.ATTACK_START, index)
        start = loop.uniform_image(like, keys, numbers.start_scale)
    velocity = given.get("velocity", tf.zeros_like(like))
    path = loop.ascend(objective, start, velocity, numbers.steps, update, numbers.steps_done)
    answer, value = objective.answer(path.last)
    result = AttackResult(path.last, answer, value, path.history[None], path.velocity)
    if not region:
        return result
    kept = keep_region(path.last)
    answer, _ = objective.answer(kept)
    return result._replace(perturbation=kept, reconstruction=answer, iterate=path.last)
