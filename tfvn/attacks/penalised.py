"""The attack of Antun et al. (PNAS 117(48), 2020): gradient ascent with momentum, held back by a
penalty and not by a ball.

    maximise Q(r) = 1/2 || f(k + A r) - p ||_2^2 - penalty/2 || r ||_2^2

by  v <- momentum v + step_size grad Q(r),  r <- r + v.  The size of r is what comes out: it grows with the steps, and an
attack may be continued from an earlier r and v, which gives a ladder of perturbations.
"""

import functools

import numpy as np
import tensorflow as tf

from tfvn import checks
from tfvn.attacks import ascent

__all__ = ["PenalisedGradientAscent", "keep_region"]


class PenalisedGradientAscent:
    """The attack; the defaults are the setting of Antun et al. for the variational network.

    Args:
        penalty: lambda, >= 0.
        steps, step_size, momentum: of the ascent.
        start_scale: r starts as start_scale * U[0, 1], real and non-negative.
        gradient, noise, seed: as for `ProjectedGradientAscent`. The code of Antun et al. has
            "initial-image".

    Raises:
        ValueError: for values outside the ranges above.
    """

    def __init__(
        self,
        penalty=1.0,
        steps=25,
        step_size=0.005,
        momentum=0.9,
        start_scale=0.001,
        gradient="full",
        noise="fresh",
        seed=0,
    ):
        ascent.check_modes(gradient=gradient, noise=noise)
        self.penalty, self.step_size = ascent.check_numbers(penalty=penalty, step_size=step_size)
        numbers = ascent.check_numbers(momentum=momentum, start_scale=start_scale)
        self.momentum, self.start_scale = numbers
        (self.steps,) = ascent.check_counts(steps=steps)
        self.gradient, self.noise, self.seed = gradient, noise, checks.whole("seed", seed)

    def __repr__(self):
        names = ("penalty", "steps", "step_size", "momentum", "start_scale")
        return checks.described(self, (*names, "gradient", "noise", "seed"))

    def run(self, model, inputs, reference=None, start=None, velocity=None, steps_done=0):
        """Attacks every image of a batch.

        Args:
            model, inputs: as for `ProjectedGradientAscent.run`.
            reference: p, real or complex (batch, rows, width), of which the magnitude is taken: the
                truth or any image; None means the model's answer f(k).
            start, velocity: r and v to continue from, complex (batch, rows, width), as an earlier
                result holds them; None means a random r and v = 0.
            steps_done: steps behind that start: against fresh noise, the draws go on from there.

        Returns:
            An `AttackResult` with the last r, as in the original. `objective` and `history` are 1/2
            || f(k + A r) - p ||^2, without the penalty.

        Raises:
            ValueError: as `ProjectedGradientAscent.run`; or for a reference, start or velocity of
                another shape, and for a velocity without a start.
        """
        steps_done = checks.whole("steps_done", steps_done, 0)
        inputs = ascent.measured(model, inputs)
        real = inputs["sensitivity_maps"].dtype.real_dtype
        if velocity is not None and start is None:
            raise ValueError("A velocity needs the start it belongs to. Received: start=None")
        images = {"start": start, "velocity": velocity, "reference": reference}
        given = {name: _image(name, array) for name, array in images.items() if array is not None}
        for name, array in given.items():
            # Of a reference the magnitude counts.
            dtype = real if name == "reference" else inputs["sensitivity_maps"].dtype
            given[name] = tf.cast(tf.abs(array) if name == "reference" else array, dtype)
        numbers = [
            tf.constant(x, real)
            for x in (self.penalty, self.step_size, self.momentum, self.start_scale)
        ]
        counts = [tf.constant(x) for x in (self.steps, steps_done, self.seed)]
        noise = self.noise if hasattr(model, "num_samples") else "fixed"
        compiled = _compiled(model, self.gradient, noise)
        result = ascent.AttackResult(*compiled(inputs, given, *numbers, *counts))
        return ascent.check_found(model, result)


def _image(name, array):
    """A tensor of an image, real or complex, of finite numbers.

    Raises:
        ValueError: for anything else.
    """
    try:
        tensor = tf.convert_to_tensor(array)
    except (TypeError, ValueError):
        tensor = None
    if tensor is None or not (tensor.dtype.is_complex or tensor.dtype.is_floating):
        raise ValueError(
            f"{name} must be an image of numbers, real or complex. Received: "
            f"{name}={checks.shown(array)}"
        )
    if tf.executing_eagerly() and not np.isfinite(tensor).all():
        count = np.count_nonzero(~np.isfinite(tensor))
        raise ValueError(f"{name} must be finite. Received: {count} NaN or infinite entries")
    return tensor


@functools.lru_cache(maxsize=8)
def _compiled(model, gradient, noise):
    return tf.function(functools.partial(_attack, model, gradient, noise), autograph=False)


def _attack(
    model,
    gradient,
    noise,
    inputs,
    given,
    penalty,
    step_size,
    momentum,
    start_scale,
    steps,
    steps_done,
    seed,
):
    objective = ascent.Objective(
        model, gradient, noise, inputs, ascent.NOISE_SETS, seed, given.get("reference")
    )
    like = objective.like
    for name, array in given.items():
        if not array.shape.is_compatible_with(like.shape):
            raise ValueError(
                f"{name} must have the shape of the image, {tuple(like.shape)}. Received:"
                f" {tuple(array.shape)}"
            )

    def draw(key):
        shape = tf.shape(like)[1:]
        return tf.cast(
            start_scale * tf.random.stateless_uniform(shape, key, dtype=start_scale.dtype),
            like.dtype,
        )

    def update(r, velocity, gradient):
        velocity = ascent.scaled(momentum, velocity) + ascent.scaled(
            step_size, gradient - ascent.scaled(penalty, r)
        )
        return r + velocity, velocity

    start = given.get("start")
    if start is None:
        start = ascent.drawn(like, inputs.get("sample_index"), [seed, ascent.START], draw)
    velocity = given.get("velocity", tf.zeros_like(like))
    r, velocity, _, history = ascent.ascend(objective, start, velocity, steps, update, steps_done)
    prediction, value = objective.answer(r)
    return r, prediction, value, history[None], velocity


def keep_region(perturbation, rows=(0.35, 0.75), columns=(0.35, 0.7)):
    """The perturbation with 0 outside a window, as in the figures of Antun et al.

    Args:
        perturbation: (..., rows, width).
        rows, columns: the window as shares of height and width, (begin, end).

    Raises:
        ValueError: for a window that is not inside [0, 1].
    """
    perturbation = tf.convert_to_tensor(perturbation)
    if len(perturbation.shape) < 2:
        raise ValueError(
            "perturbation must have shape (..., rows, width). Received: "
            f"{checks.shown(perturbation)}"
        )
    window = [
        _inside(name, share, size)
        for name, share, size in zip(("rows", "columns"), (rows, columns), perturbation.shape[-2:])
    ]
    return tf.where(window[0][:, None] & window[1], perturbation, tf.zeros_like(perturbation))


def _inside(name, share, size):
    """Which of `size` positions lie in the share (begin, end) of them."""
    pair = isinstance(share, (tuple, list)) and len(share) == 2
    pair = pair and all(map(checks.is_number, share))
    begin, end = share if pair else (0, 0)
    if not 0 <= begin < end <= 1:
        raise ValueError(
            f"{name} must be (begin, end) with 0 <= begin < end <= 1. Received: "
            f"{name}={checks.shown(share)}"
        )
    position = tf.range(size)
    return (position >= round(begin * size)) & (position < round(end * size))
