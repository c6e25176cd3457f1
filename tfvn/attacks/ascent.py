"""Projected gradient ascent with momentum on the change of a reconstruction (Wolf, 2019).

    maximise E(r) = 1/2 || f(k + A r) - f(k) ||_2^2    subject to || r ||_2 <= radius

over complex images r, by  v <- momentum v + step_size grad E(r),  r <- project(r + v)  for every image of a batch on its
own. The measurement changes in every place where the model reads it, and so does the gradient (`gradient="full"`).
"""
import functools
from typing import NamedTuple

import tensorflow as tf

from tfvn.device import one_graph
from tfvn.operators import Sense, check_inputs, without_kspace
from tfvn.projections import l2_ball

# Second half of the random keys: streams that must never meet (0 to 2 belong to training and smoothing).
_START, _NOISE = 3, 4
# Sets of fresh draws that the steps of an attack take in turn. The momentum averages over about as many steps.
_NOISE_SETS = 10
_MODES = {"gradient": ("full", "initial-image"), "noise": ("fresh", "fixed")}


class AttackResult(NamedTuple):
    """perturbation: complex (batch, rows, width), the strongest r found. reconstruction: the model's answer to k + A r.
    objective: E(r), (batch,). history: E at every iterate, (restarts, steps + 1, batch)."""

    perturbation: tf.Tensor
    reconstruction: tf.Tensor
    objective: tf.Tensor
    history: tf.Tensor


class ProjectedGradientAscent:
    """The attack; the defaults are the paper's setting.

    Args:
        radius: largest L2 norm of r, >= 0, in units of the normalised image.
        steps, step_size, momentum: of the ascent.
        restarts: random starts (uniform on the sphere of that radius); per image the strongest result is kept.
        gradient: "full", through every stage's data term, or "initial-image", through the first iterate alone, as the
            code of Antun et al. (2020) does; only models that read `initial_image` have the latter.
        noise: against smoothed models, "fresh" draws (an adversary who cannot foresee the model's; expectation over
            transformation): ten sets of them, another in each step, whose clean predictions are made once; or "fixed",
            the draws that the model itself is going to use.
        seed: of starts and noise. Starts depend on (seed, restart, `inputs["sample_index"]`), not on the batch.

    Raises:
        ValueError: for values outside the ranges above.
    """

    def __init__(
        self, radius, steps=60, step_size=0.5, momentum=0.9, restarts=1, gradient="full", noise="fresh", seed=0
    ):
        for name, value in (("radius", radius), ("step_size", step_size), ("momentum", momentum)):
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be a number >= 0. Received: {name}={value}")
        for name, value in (("steps", steps), ("restarts", restarts)):
            if int(value) != value or value < 1:
                raise ValueError(f"{name} must be a whole number >= 1. Received: {name}={value}")
        for name, value in (("gradient", gradient), ("noise", noise)):
            if value not in _MODES[name]:
                raise ValueError(f"{name} must be one of {_MODES[name]}. Received: {name}={value!r}")
        self.radius, self.steps, self.step_size, self.momentum = float(radius), int(steps), float(step_size), float(momentum)
        self.restarts, self.gradient, self.noise, self.seed = int(restarts), gradient, noise, int(seed)

    def run(self, model, inputs):
        """Attacks every image of a batch.

        Args:
            model: anything with `.reconstruct(inputs)`. A model that offers `.zero_filled(inputs)` is attacked without
                k-space in the loop (`zero_filled` = A^H k + A^H A r is all that changes); any other is given `kspace`.
                Its `.sense` is the A of the attack, a plain `Sense` where it has none. A model that draws noise has
                `.num_samples` and reads `noise_seed`.
            inputs: dict of `kspace`, `sensitivity_maps`, `mask` and, to name the images, `sample_index`.

        Returns:
            An `AttackResult`. The iterate with the largest E is kept, so E never ends below its start (against fresh
            noise: the E that was seen; `objective` is measured again on the model's own draws).

        Raises:
            ValueError: for inputs that do not fit, or that hold an `initial_image` of their own.
        """
        check_inputs(inputs)
        if "initial_image" in inputs:
            raise ValueError("The attack starts the model at A^H (k + A r). Remove `initial_image` from the inputs.")
        inputs = {key: tf.convert_to_tensor(value) for key, value in inputs.items()}
        if hasattr(model, "zero_filled"):
            inputs = without_kspace(inputs, model.zero_filled(inputs))
        elif "kspace" not in inputs:
            raise ValueError(f"A model without `.zero_filled` needs `kspace`. Received: {sorted(inputs)}")
        real = inputs["sensitivity_maps"].dtype.real_dtype
        numbers = [tf.constant(x, real) for x in (self.radius, self.step_size, self.momentum)]
        counts = [tf.constant(x) for x in (self.steps, self.restarts, self.seed)]
        # A model without draws answers the same every time.
        noise = self.noise if hasattr(model, "num_samples") else "fixed"
        return AttackResult(*_compiled(model, self.gradient, noise)(inputs, *numbers, *counts))


# Settings are tensors, so one trace a model and shape serves all radii. The cache keeps the last few models alive.
@functools.lru_cache(maxsize=8)
def _compiled(model, gradient, noise):
    return tf.function(functools.partial(_attack, model, gradient, noise), autograph=False)


def _attack(model, gradient, noise, inputs, radius, step_size, momentum, steps, restarts, seed):
    sense = getattr(model, "sense", None) or Sense()
    shared = {key: inputs[key] for key in inputs if key not in ("kspace", "zero_filled", "initial_image")}
    maps, mask = inputs["sensitivity_maps"], inputs["mask"]
    clean_kspace, clean_zero_filled = inputs.get("kspace"), inputs.get("zero_filled")
    like = sense.adjoint(clean_kspace, maps, mask) if clean_zero_filled is None else clean_zero_filled
    # Rounding must not leave the ball.
    ball = radius * (1 - 1e-6)

    def predict(perturbation, noise_key=None):
        if clean_zero_filled is None:
            change = sense.forward(perturbation, maps, mask)
            if gradient == "initial-image":
                raise ValueError("gradient='initial-image' needs a model that reads `initial_image` (it has `.zero_filled`).")
            measured = {"kspace": clean_kspace + change}
        else:
            zero_filled = clean_zero_filled + sense.normal(perturbation, maps, mask)
            measured = {"zero_filled": zero_filled}
            if gradient == "initial-image":
                measured = {"zero_filled": tf.stop_gradient(zero_filled), "initial_image": zero_filled}
        if noise_key is not None:
            measured["noise_seed"] = noise_key
        return model.reconstruct({**shared, **measured})

    def energy(prediction, reference):
        return tf.reduce_sum(tf.square(prediction - reference), [1, 2]) / 2

    # Where no gradient is asked for, one graph serves all predictions.
    predict_alone = one_graph(predict)
    clean = predict_alone(tf.zeros_like(like))
    if noise == "fresh":
        # The sets of draws that the steps take in turn, and the clean prediction of each. Clean and attacked prediction see
        # the same draws: independent ones would add the draws' variance to E, and the ascent would go after that.
        sets = tf.range(tf.minimum(_NOISE_SETS, steps + 1))
        keys = tf.map_fn(lambda number: _fold_in([seed, _NOISE], number), sets)
        spec = tf.TensorSpec(clean.shape, clean.dtype)
        clean_sets = tf.map_fn(
            lambda key: predict_alone(tf.zeros_like(like), key), keys, fn_output_signature=spec, parallel_iterations=1
        )

    def ascend(restart):
        def evaluate(predict, r, step):
            if noise == "fixed":
                return energy(predict(r), clean)
            number = step % tf.size(sets)
            return energy(predict(r, keys[number]), clean_sets[number])

        def body(step, r, velocity, best, best_value, history):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(r)
                value = evaluate(predict, r, step)
            velocity = _scaled(momentum, velocity) + _scaled(step_size, tape.gradient(value, r))
            best, best_value = _better(r, value, best, best_value)
            return step + 1, l2_ball(r + velocity, ball), velocity, best, best_value, history.write(step, value)

        start = _random_start(like, shared.get("sample_index"), seed, restart, ball)
        history = tf.TensorArray(ball.dtype, size=steps + 1, element_shape=like.shape[:1])
        nothing = tf.fill(tf.shape(like)[:1], tf.constant(-1, ball.dtype))
        loop = (tf.constant(0), start, tf.zeros_like(start), start, nothing, history)
        step, r, _, best, best_value, history = tf.while_loop(
            lambda step, *_: step < steps, body, loop, parallel_iterations=1
        )
        value = evaluate(predict_alone, r, step)
        best, _ = _better(r, value, best, best_value)
        return best, history.write(step, value).stack()

    def body(restart, best, best_value, best_prediction, histories):
        r, history = ascend(restart)
        prediction = predict_alone(r)
        value = energy(prediction, clean)
        best_prediction, _ = _better(prediction, value, best_prediction, best_value)
        best, best_value = _better(r, value, best, best_value)
        return restart + 1, best, best_value, best_prediction, histories.write(restart, history)

    histories = tf.TensorArray(ball.dtype, size=restarts, element_shape=[None, *like.shape[:1]])
    nothing = tf.fill(tf.shape(like)[:1], tf.constant(-1, ball.dtype))
    loop = (tf.constant(0), tf.zeros_like(like), nothing, clean, histories)
    _, best, best_value, prediction, histories = tf.while_loop(
        lambda restart, *_: restart < restarts, body, loop, parallel_iterations=1
    )
    return best, prediction, best_value, histories.stack()


def _better(candidate, value, best, best_value):
    """Image by image, the pair with the larger value."""
    # A NaN counts as larger: it is reported, not hidden behind an older value.
    improved = (value > best_value) | tf.math.is_nan(value)
    return tf.where(improved[:, None, None], candidate, best), tf.where(improved, value, best_value)


def _scaled(factor, x):
    return tf.cast(factor, x.dtype) * x


def _fold_in(key, number):
    return tf.random.experimental.stateless_fold_in(key, number)


def _random_start(like, sample_index, seed, restart, radius):
    """A uniformly random point of the sphere for every image."""
    index = tf.zeros(tf.shape(like)[:1], tf.int32) if sample_index is None else tf.cast(sample_index, tf.int32)
    key = _fold_in([seed, _START], restart)

    def draw(number):
        parts = tf.random.stateless_normal(
            tf.concat([[2], tf.shape(like)[1:]], 0), _fold_in(key, number), dtype=radius.dtype
        )
        direction = tf.complex(parts[0], parts[1])
        return _scaled(radius / tf.norm(parts), direction)

    start = tf.map_fn(draw, index, fn_output_signature=like.dtype)
    start.set_shape(like.shape)
    # Against rounding, as in the loop.
    return l2_ball(start, radius)
