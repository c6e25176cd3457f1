"""Projected gradient ascent with momentum on the change of a reconstruction (Wolf, 2019).

    maximise E(r) = 1/2 || f(k + A r) - f(k) ||_2^2    subject to || r || <= radius

over complex images r, by  v <- momentum v + step_size grad E(r),  r <- project(r + v)  for every image of a batch on its
own. The measurement changes in every place where the model reads it, and so does the gradient
(`gradient="full"`).
"""

import functools
from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf

from tfvn import checks
from tfvn.device import one_graph
from tfvn.models import contract
from tfvn.physics.sense import Sense, check_inputs, check_values, without_kspace
from tfvn.projections import BALLS
from tfvn.projections import norm as norm_of

__all__ = [
    "AttackResult",
    "NOISE",
    "NOISE_SETS",
    "Objective",
    "ProjectedGradientAscent",
    "START",
    "ascend",
    "better",
    "check_counts",
    "check_found",
    "check_modes",
    "check_numbers",
    "drawn",
    "fold_in",
    "measured",
    "nothing_yet",
    "scaled",
]

# Second half of the random keys: streams that must never meet (0 to 2 belong to training and
# smoothing).
START, NOISE = 3, 4
# Sets of fresh draws that the steps of an attack take in turn. The momentum averages over about as
# many steps.
NOISE_SETS = 10
_MODES = {"gradient": ("full", "initial-image"), "noise": ("fresh", "fixed"), "norm": tuple(BALLS)}


class AttackResult(NamedTuple):
    """perturbation: complex (batch, rows, width), the r found. reconstruction: the model's answer
    to k + A r. objective: E(r), (batch,). history: E at every iterate, (restarts, steps + 1,
    batch). velocity: the last v, to continue from, of attacks that can be continued."""

    perturbation: tf.Tensor
    reconstruction: tf.Tensor
    objective: tf.Tensor
    history: tf.Tensor
    velocity: Optional[tf.Tensor] = None

    def __repr__(self):
        parts = [f"{name}={_short(array)}" for name, array in zip(self._fields, self)]
        return f"AttackResult({', '.join(parts)})"


def _short(array):
    if array is None:
        return "None"
    return f"{tf.as_dtype(array.dtype).name} {tuple(array.shape)}"


class ProjectedGradientAscent:
    """The attack; the defaults are the paper's setting.

    Args:
        radius: largest norm of r, >= 0, in units of the normalised image.
        steps, step_size, momentum: of the ascent.
        restarts: random starts of that norm; per image the strongest result is kept.
        norm: "l2", or "l1" or "linf" of the real and imaginary parts of r.
        gradient: "full", through every stage's data term, or "initial-image", through the first
            iterate alone, as the code of Antun et al. (2020) does; only models that read
            `initial_image` have the latter.
        noise: against smoothed models, "fresh" draws (an adversary who cannot foresee the model's;
            expectation over transformation): ten sets of them, another in each step, whose clean
            predictions are made once; or "fixed", the draws that the model itself is going to use.
        seed: of starts and noise. Starts depend on (seed, restart, `inputs["sample_index"]`), not
            on the batch.

    Raises:
        ValueError: for values outside the ranges above.
    """

    def __init__(
        self,
        radius,
        steps=60,
        step_size=0.5,
        momentum=0.9,
        restarts=1,
        norm="l2",
        gradient="full",
        noise="fresh",
        seed=0,
    ):
        check_modes(norm=norm, gradient=gradient, noise=noise)
        numbers = check_numbers(radius=radius, step_size=step_size, momentum=momentum)
        self.radius, self.step_size, self.momentum = numbers
        self.steps, self.restarts = check_counts(steps=steps, restarts=restarts)
        self.norm, self.gradient, self.noise = norm, gradient, noise
        self.seed = checks.whole("seed", seed)

    def __repr__(self):
        names = ("radius", "steps", "step_size", "momentum", "restarts", "norm")
        return checks.described(self, (*names, "gradient", "noise", "seed"))

    def run(self, model, inputs):
        """Attacks every image of a batch.

        Args:
            model: anything with `.reconstruct(inputs)`. A model that offers `.zero_filled(inputs)`
                is attacked without k-space in the loop (`zero_filled` = A^H k + A^H A r is all that
                changes); any other is given `kspace`. Its `.sense` is the A of the attack, a plain
                `Sense` where it has none. A model that draws noise has `.num_samples` and reads
                `noise_seed`.
            inputs: dict of `kspace`, `sensitivity_maps`, `mask` and, to name the images,
                `sample_index`.

        Returns:
            An `AttackResult`. The iterate with the largest E is kept, so E never ends below its
            start (against fresh
            noise: the E that was seen; `objective` is measured again on the model's own draws).

        Raises:
            ValueError: for a model that is none of these, inputs that do not fit, are not finite or
                hold an `initial_image` of their own, and answers of the model that are not finite.

        Warns:
            tfvn.data.DataWarning: for images of another scale than that of `radius`.
        """
        inputs = measured(model, inputs)
        real = inputs["sensitivity_maps"].dtype.real_dtype
        numbers = [tf.constant(x, real) for x in (self.radius, self.step_size, self.momentum)]
        counts = [tf.constant(x) for x in (self.steps, self.restarts, self.seed)]
        # A model without draws answers the same every time.
        noise = self.noise if hasattr(model, "num_samples") else "fixed"
        compiled = _compiled(model, self.norm, self.gradient, noise)
        return check_found(model, AttackResult(*compiled(inputs, *numbers, *counts)))


def check_numbers(**numbers):
    """The numbers as floats. Raises ValueError for anything but finite numbers >= 0."""
    return [checks.number(name, value, 0) for name, value in numbers.items()]


def check_counts(**counts):
    """The numbers as ints. Raises ValueError for anything but whole numbers >= 1."""
    return [checks.whole(name, value, 1) for name, value in counts.items()]


def check_modes(**modes):
    """Raises ValueError for a mode that does not exist."""
    for name, value in modes.items():
        checks.choice(name, value, _MODES[name])


def check_found(model, result):
    """The result, if the model's answer at the start is finite; it is looked at where it is known,
    not inside a graph.

    Raises:
        ValueError: if it is not. Steps that diverge later show in the result itself.
    """
    if tf.executing_eagerly():
        start = result.history[:, 0].numpy()
        if not np.isfinite(start).all():
            image = np.argwhere(~np.isfinite(start))[0][1]
            raise ValueError(
                f"{type(model).__name__}.reconstruct must return finite images. Received: NaN or "
                f"infinity for image {image} of the batch, at the start of the attack. Are the "
                "model's weights finite?"
            )
    return result


def measured(model, inputs):
    """The inputs of an attack, checked: `zero_filled` for `kspace` where the model takes it."""
    contract.check_model(model)
    contract.check_hashable(model)
    check_inputs(inputs)
    if "initial_image" in inputs:
        raise ValueError(
            "The attack starts the model at A^H (k + A r). Remove `initial_image` from the inputs."
        )
    inputs = {key: tf.convert_to_tensor(value) for key, value in inputs.items()}
    if hasattr(model, "zero_filled"):
        image = contract.zero_filled(model, inputs)
        check_values(inputs, image)
        return without_kspace(inputs, image)
    if "kspace" not in inputs:
        raise ValueError(
            f"A model without `.zero_filled` needs `kspace`. Received: {sorted(inputs)}"
        )
    if tf.executing_eagerly():
        operands = (inputs[key] for key in ("kspace", "sensitivity_maps", "mask"))
        check_values(inputs, _sense(model).adjoint(*operands))
    return inputs


def _sense(model):
    return getattr(model, "sense", None) or Sense()


# Settings are tensors, so one trace a model and shape serves all radii. The cache keeps the last
# few models alive.
@functools.lru_cache(maxsize=8)
def _compiled(model, norm, gradient, noise):
    return tf.function(functools.partial(_attack, model, norm, gradient, noise), autograph=False)


class Objective:
    """E(r) = 1/2 || f(k + A r) - reference ||_2^2 of every image, built inside a compiled attack.

    Args:
        model, gradient, noise, seed: as above; `noise` is "fixed" for models without draws.
        inputs: from `measured`.
        sets: number of sets of fresh draws.
        reference: real (batch, rows, width); None means the model's answer f(k), to the same draws.
    """

    def __init__(self, model, gradient, noise, inputs, sets, seed, reference=None):
        self._model, self._gradient, self._fresh = model, gradient, noise == "fresh"
        self._sense = _sense(model)
        self._shared = {
            key: inputs[key]
            for key in inputs
            if key not in ("kspace", "zero_filled", "initial_image")
        }
        self._kspace, self._zero_filled = inputs.get("kspace"), inputs.get("zero_filled")
        # A tensor of the shape of r.
        self.like = self._zero_filled
        if self.like is None:
            self.like = self._sense.adjoint(
                self._kspace, inputs["sensitivity_maps"], inputs["mask"]
            )
        # Where no gradient is asked for, one graph serves all predictions.
        self._predict_alone = one_graph(self._predict)
        self.reference = (
            self._predict_alone(tf.zeros_like(self.like)) if reference is None else reference
        )
        if not self._fresh:
            return
        # The sets of draws that the steps take in turn, and the clean prediction of each. Clean and
        # attacked prediction see the same draws: independent ones would add the draws' variance to
        # E, and the ascent would go after that.
        self._keys = tf.map_fn(lambda number: fold_in([seed, NOISE], number), tf.range(sets))
        self._references = None
        if reference is None:
            spec = tf.TensorSpec(self.reference.shape, self.reference.dtype)
            self._references = tf.map_fn(
                lambda key: self._predict_alone(tf.zeros_like(self.like), key),
                self._keys,
                fn_output_signature=spec,
                parallel_iterations=1,
            )

    def _predict(self, perturbation, noise_key=None):
        maps, mask = self._shared["sensitivity_maps"], self._shared["mask"]
        if self._zero_filled is None:
            if self._gradient == "initial-image":
                raise ValueError(
                    "gradient='initial-image' needs a model that reads `initial_image` (it has"
                    " `.zero_filled`)."
                )
            changed = {"kspace": self._kspace + self._sense.forward(perturbation, maps, mask)}
        else:
            zero_filled = self._zero_filled + self._sense.normal(perturbation, maps, mask)
            changed = {"zero_filled": zero_filled}
            if self._gradient == "initial-image":
                changed = {
                    "zero_filled": tf.stop_gradient(zero_filled),
                    "initial_image": zero_filled,
                }
        if noise_key is not None:
            changed["noise_seed"] = noise_key
        return contract.answer(self._model, {**self._shared, **changed}, self.like)

    def _perturbed_key(self):
        if self._gradient == "initial-image":
            return "initial_image"
        return "kspace" if self._zero_filled is None else "zero_filled"

    def _at(self, predict, r, step):
        if not self._fresh:
            return _energy(predict(r), self.reference)
        number = step % tf.shape(self._keys)[0]
        reference = self.reference if self._references is None else self._references[number]
        return _energy(predict(r, self._keys[number]), reference)

    def value(self, r, step):
        """E(r) on the draws of a step, (batch,)."""
        return self._at(self._predict_alone, r, step)

    def value_and_gradient(self, r, step):
        """The same, and its gradient, of the shape of r."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(r)
            value = self._at(self._predict, r, step)
        gradient = tape.gradient(value, r)
        contract.check_gradient(self._model, gradient, self._perturbed_key())
        return value, gradient

    def answer(self, r):
        """The model's own answer f(k + A r), and its E."""
        prediction = self._predict_alone(r)
        return prediction, _energy(prediction, self.reference)


def _energy(prediction, reference):
    return tf.reduce_sum(tf.square(prediction - reference), [1, 2]) / 2


def ascend(objective, start, velocity, steps, update, first_step=0):
    """r, v <- update(r, v, gradient) from (start, velocity), `steps` times; `first_step` counts the
    draws on.

    Returns:
        (r, v, best, history): the last r and v, the iterate with the largest E, and E at every
        iterate.
    """

    def body(step, r, velocity, best, best_value, history):
        value, gradient = objective.value_and_gradient(r, first_step + step)
        best, best_value = better(r, value, best, best_value)
        r, velocity = update(r, velocity, gradient)
        return step + 1, r, velocity, best, best_value, history.write(step, value)

    real = start.dtype.real_dtype
    history = tf.TensorArray(real, size=steps + 1, element_shape=start.shape[:1])
    loop = (tf.constant(0), start, velocity, start, nothing_yet(start), history)
    step, r, velocity, best, best_value, history = tf.while_loop(
        lambda step, *_: step < steps, body, loop, parallel_iterations=1
    )
    value = objective.value(r, first_step + step)
    best, _ = better(r, value, best, best_value)
    return r, velocity, best, history.write(step, value).stack()


def _attack(
    model, norm, gradient, noise, inputs, radius, step_size, momentum, steps, restarts, seed
):
    objective = Objective(model, gradient, noise, inputs, tf.minimum(NOISE_SETS, steps + 1), seed)
    like, sample_index = objective.like, inputs.get("sample_index")
    # Rounding must not leave the ball.
    ball = radius * (1 - 1e-6)

    def update(r, velocity, gradient):
        velocity = scaled(momentum, velocity) + scaled(step_size, gradient)
        return BALLS[norm](r + velocity, ball), velocity

    def body(restart, best, best_value, best_prediction, histories):
        start = _random_start(like, sample_index, seed, restart, norm, ball)
        _, _, r, history = ascend(objective, start, tf.zeros_like(start), steps, update)
        prediction, value = objective.answer(r)
        best_prediction, _ = better(prediction, value, best_prediction, best_value)
        best, best_value = better(r, value, best, best_value)
        return restart + 1, best, best_value, best_prediction, histories.write(restart, history)

    histories = tf.TensorArray(ball.dtype, size=restarts, element_shape=[None, *like.shape[:1]])
    loop = (tf.constant(0), tf.zeros_like(like), nothing_yet(like), objective.reference, histories)
    _, best, best_value, prediction, histories = tf.while_loop(
        lambda restart, *_: restart < restarts, body, loop, parallel_iterations=1
    )
    return best, prediction, best_value, histories.stack()


def nothing_yet(like):
    """The value of a best iterate before there is one, (batch,)."""
    return tf.fill(tf.shape(like)[:1], tf.constant(-1, like.dtype.real_dtype))


def better(candidate, value, best, best_value):
    """Image by image, the pair with the larger value."""
    # A NaN counts as larger: it is reported, not hidden behind an older value.
    improved = (value > best_value) | tf.math.is_nan(value)
    return tf.where(improved[:, None, None], candidate, best), tf.where(improved, value, best_value)


def scaled(factor, x):
    return tf.cast(factor, x.dtype) * x


def fold_in(key, number):
    return tf.random.experimental.stateless_fold_in(key, number)


def drawn(like, sample_index, key, draw):
    """draw(key of the image) for every image, of the shape of `like`."""
    index = (
        tf.zeros(tf.shape(like)[:1], tf.int32)
        if sample_index is None
        else tf.cast(sample_index, tf.int32)
    )
    result = tf.map_fn(
        lambda number: draw(fold_in(key, number)), index, fn_output_signature=like.dtype
    )
    result.set_shape(like.shape)
    return result


def _random_start(like, sample_index, seed, restart, norm, radius):
    """A random point on the ball's surface for every image, in l2 uniformly."""

    def draw(key):
        parts = tf.random.stateless_normal(
            tf.concat([[2], tf.shape(like)[1:]], 0), key, dtype=radius.dtype
        )
        direction = tf.complex(parts[0], parts[1])
        return scaled(radius / norm_of(direction[None], norm)[0], direction)

    # Against rounding, as in the loop.
    return BALLS[norm](drawn(like, sample_index, fold_in([seed, START], restart), draw), radius)
