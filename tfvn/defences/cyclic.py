"""Cyclic measurement consistency (CycMit): the data are changed until the model agrees with itself.

    x_1 = f(k'),    k_j = A_j x_1 + e_j,    x_2,j = f_j(k_j)
    L(k') = mean_j || A^H A x_2,j - A^H k' || / || A^H A x_2,j ||

A_j measures with the mask of A, moved by a number of lines; the lines of the centre stay. What a
model makes of its own answer, measured with other lines, must explain the data. After an attack it
does not. So the data are changed, k' = k + A r with every real and imaginary part of r in
[-bound, bound], by steps against the sign of the gradient of L, which become shorter. The answer is
f(k') at the least L that was found.

The deviation of the e_j is a multiple of that of the residual A^H A f(k) - A^H k, so the data alone
say it. They are drawn from the seed alone, before that multiple and the mask the same for every
slice, and an attacker who knows it knows them: no random draws are behind the answer.

Two things differ from the published method. There z = A^H k' is changed in a box, and k' is found
of it by conjugate gradients; here k' is a measurement always. And the residual is compared in the
image, where a model that reads A^H k has it.

Its authors bound the error of a slice by L. Nothing is proved of what the steps do.

Gradients. A sign has none: by its formula the answer has that of f at k', with r as a constant,
which is the gradient of `answer`. `last_steps` leads an attack through the last five steps: there
the sign g / |g| has the derivative of g / sqrt(g^2 + m^2), where m^2 is the mean of |g|^2 over the
image, and the second derivative of L is the central difference of its first ones. The last steps
are the shortest: those before them, of which more of the path is made, count as constant.

Source: Saberi, Zhang and Akcakaya, ICML 2026, arXiv 2501.01908.
"""

from typing import NamedTuple

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.defences.base import Defence, check_complex
from tfvn.models.features import as_complex
from tfvn.physics import measurement
from tfvn.physics import noise as noises

__all__ = ["Cyclic", "shifted"]

# Steps that an attack is led through, of which each costs three gradients of L more. All of them
# would lead it better.
_LED = 5
_TINY = 1e-12


@keras.utils.register_keras_serializable(package="tfvn")
class Cyclic(Defence):
    """A model whose data are changed until its answer is consistent under moved masks.

    Args:
        model: a `Reconstructor` without random draws, whose image has a phase.
        steps: the number of gradients of L. 0 stands for the model itself.
        step_size: of the first step; the others fall linearly to 0.
        bound: of the real and the imaginary part of r.
        shifts: by how many lines the masks are moved.
        noise: deviation of the e_j, as a multiple of that of the data's residual.
        seed: of the e_j, the same for every slice.

    Raises:
        ValueError: for settings outside their ranges, and for a model of magnitudes or of draws.
    """

    draws = 0
    # The data are changed, and the coil maps are not.
    has_maps_gradient = False

    def __init__(
        self, model, steps=20, step_size=0.005, bound=0.01, shifts=(1,), noise=6.0, seed=0
    ):
        super().__init__(model)
        check_complex(model, "cyclic")
        self.steps = checks.whole("steps", steps, 0)
        self.step_size = checks.number("step_size", step_size, above=0)
        self.bound = checks.number("bound", bound, 0)
        given = [shifts] if isinstance(shifts, int) else shifts
        self.shifts = [checks.whole("shifts", shift) for shift in given]
        # A mask that stays asks for nothing but the data.
        if not self.shifts or 0 in self.shifts:
            raise ValueError(
                "shifts must hold numbers of lines other than 0, and at least one. Received:"
                f" shifts={checks.shown(given)}"
            )
        self.noise = checks.number("noise", noise, 0)
        self.seed = checks.whole("seed", seed)
        self.reads_initial_image = False

    @property
    def track(self):
        return "dynamic" if self.steps else self.model.track

    @property
    def identity(self):
        return super().identity if self.steps else self.model.identity

    def answer(self, inputs, key=None):
        """The magnitude of the answer to the changed data, real (batch, rows, width)."""
        del key
        if not self.steps:
            return self.model.answer(inputs)
        cycle = _Cycle(self, measurement.stopped(inputs))
        found = cycle.descended(cycle.start(), 0, self.steps)
        return self._at(inputs, cycle.last(found))

    def last_steps(self, inputs, key=None):
        del key
        if not self.steps:
            return self.model.last_steps(inputs)
        cycle = _Cycle(self, measurement.stopped(inputs))
        first = max(self.steps - _LED, 0)
        state = cycle.descended(cycle.start(), 0, first)
        led = _Cycle(self, inputs, cycle.deviation)
        return self._at(inputs, led.led(state, first))

    def _at(self, inputs, r):
        """The answer of the model inside to the data that are changed by r."""
        given = {key: inputs[key] for key in inputs if key != "initial_image"}
        return self.model.answer(measurement.perturbed(self.sense, given, r))

    def memory_per_image(self, shape):
        needed = self.model.memory_per_image(shape)
        # Of both answers of a cycle, for every mask.
        return needed and needed * (1 + len(self.shifts))


def shifted(mask, lines):
    """A mask that is moved along the width, real, of its shape. The lines of the centre stay: those
    that are sampled without a gap around line `width // 2`.

    Args:
        mask: real (batch, 1, 1 or height, width).
        lines: by how many.
    """
    centre = mask.shape[-1] // 2
    sampled = tf.cast(mask > 0, mask.dtype)
    right = tf.math.cumprod(sampled[..., centre:], -1)
    left = tf.math.cumprod(sampled[..., centre::-1], -1)[..., :0:-1]
    return tf.maximum(tf.roll(mask, lines, -1), mask * tf.concat([left, right], -1))


class _State(NamedTuple):
    """Where the steps are.

    r: the change of the data, complex (batch, rows, width).
    best: the r of the least L so far.
    least: that L, (batch,).
    """

    r: tf.Tensor
    best: tf.Tensor
    least: tf.Tensor

    def after(self, moved, loss):
        """The state after a step from `r`, whose L is known now."""
        better = loss < self.least
        best = tf.where(better[:, None, None], self.r, self.best)
        return _State(moved, best, tf.where(better, loss, self.least))


class _Cycle:
    """L and its gradient, of one measurement.

    Args:
        defence: the `Cyclic`.
        inputs: the measurement, as the model reads it.
        deviation: of the e_j, (batch,); None: it is found here.
    """

    def __init__(self, defence, inputs, deviation=None):
        self.defence = defence
        self.sense = defence.sense
        self.inputs = {key: inputs[key] for key in inputs if key != "initial_image"}
        self.names = measurement.measured_keys(self.inputs)
        self.measured = [self.inputs[name] for name in self.names]
        self.deviation = deviation
        if deviation is None:
            self.deviation = tf.stop_gradient(self._deviation())

    def start(self):
        """Where the steps begin: no change, and no L yet."""
        zero = tf.zeros_like(measurement.zero_filled(self.sense, self.inputs))
        return _State(zero, zero, tf.fill(tf.shape(zero)[:1], zero.dtype.real_dtype.max))

    def loss(self, r, measured=None):
        """L of the data k + A r, (batch,); of others than those of the inputs if they are given."""
        given = {**self.inputs, **dict(zip(self.names, measured or self.measured))}
        given = measurement.perturbed(self.sense, given, r)
        image = self._image(given)
        losses = []
        for number, shift in enumerate(self.defence.shifts):
            other = measurement.of_image(self.sense, given, image, shifted(given["mask"], shift))
            residual, seen = self._residual(self._image(self._noisy(other, number)), given)
            losses.append(_norm(residual) / (_norm(seen) + _TINY))
        return tf.add_n(losses) / len(losses)

    def descended(self, state, first, stop):
        """The state after the steps first, ..., stop - 1."""

        def body(number, *state):
            now = _State(*state)
            moved, loss = self._step(now.r, number)
            return number + 1, *now.after(moved, loss)

        _, *found = tf.while_loop(
            lambda number, *_: number < stop,
            body,
            (tf.constant(first), *state),
            parallel_iterations=1,
        )
        return _State(*map(tf.stop_gradient, found))

    def last(self, state):
        """The best r of all, with that of the last step."""
        return state.after(state.r, self.loss(tf.stop_gradient(state.r))).best

    def led(self, state, first):
        """The best r of all after the steps from `first` on, with a gradient in the data.

        That of the step before is found from that of the step after, in a loop as the steps are: a
        graph of all of them side by side takes minutes to compile.
        """

        @tf.custom_gradient
        def found(*measured):
            path, losses = self._path(state.r, first)
            every = tf.concat([state.least[None], losses], 0)
            # An L that is no number is no better than another one.
            every = tf.where(tf.math.is_nan(every), every.dtype.max, every)
            chosen = tf.argmin(every, 0, tf.int32)
            rs = tf.concat([state.best[None], path], 0)
            best = tf.gather(tf.transpose(rs, [1, 0, 2, 3]), chosen, batch_dims=1)

            def gradient(cotangent, variables=None):
                # What stood before is a constant.
                of_data = self._led_back(path, first, chosen - 1, cotangent)
                return of_data if variables is None else (of_data, [None] * len(variables))

            return best, gradient

        return found(*self.measured)

    def _path(self, r, first):
        """The r before each of the steps from `first` on and that after the last one, and their L:
        (steps + 1, batch, rows, width) and (steps + 1, batch).
        """
        count = self.defence.steps - first
        path = tf.TensorArray(r.dtype, count + 1, element_shape=r.shape)
        losses = tf.TensorArray(r.dtype.real_dtype, count + 1, element_shape=r.shape[:1])

        def body(number, r, path, losses):
            moved, loss = self._step(r, first + number)
            return number + 1, moved, path.write(number, r), losses.write(number, loss)

        _, r, path, losses = tf.while_loop(
            lambda number, *_: number < count,
            body,
            (tf.constant(0), r, path, losses),
            parallel_iterations=1,
        )
        path, losses = path.write(count, r), losses.write(count, self.loss(r))
        return path.stack(), losses.stack()

    def _led_back(self, path, first, chosen, cotangent):
        """The gradients of the best r in the data, a list.

        Args:
            path: as `_path` returns it.
            first: the number of its first step.
            chosen: which r of it is the best of each sample; below 0 for none of them.
            cotangent: of the best.
        """

        def of(number):
            here = (chosen == number)[:, None, None]
            return tf.where(here, cotangent, tf.zeros_like(cotangent))

        def body(number, now, *sums):
            back, *more = self._pulled_back(path[number], first + number, now)
            return number - 1, back + of(number), *(x + y for x, y in zip(sums, more))

        last = self.defence.steps - first
        nothing = map(tf.zeros_like, self.measured)
        _, _, *found = tf.while_loop(
            lambda number, *_: number >= 0,
            body,
            (tf.constant(last - 1), of(last), *nothing),
            parallel_iterations=1,
        )
        return found

    def _image(self, inputs):
        return self.defence.model.call_for(inputs, ())

    def _residual(self, image, inputs):
        """A^H A u - A^H k and A^H A u, of an image u."""
        operands = self.inputs["sensitivity_maps"], self.inputs["mask"]
        seen = self.sense.normal(image, *operands)
        return seen - measurement.zero_filled(self.sense, inputs), seen

    def _deviation(self):
        """That of the e_j, (batch,): the setting, times what the residual A^H (A f(k) - k) says of
        noise e on k. || A^H e ||^2 is 2 sigma^2 trace(A^H A) in the mean.
        """
        residual, _ = self._residual(self._image(self.inputs), self.inputs)
        maps = self.sense.crop_readout(self.inputs["sensitivity_maps"])
        mask = tf.cast(self.inputs["mask"], maps.dtype.real_dtype)
        trace = tf.reduce_sum(tf.square(tf.abs(maps)), [1, 2, 3])
        trace *= tf.reduce_mean(tf.square(mask), [1, 2, 3])
        return self.defence.noise * _norm(residual) / tf.sqrt(2 * trace + _TINY)

    def _noisy(self, inputs, number):
        """A synthesised measurement with the noise of the mask of a number."""
        batch = tf.shape(self.deviation)[0]
        keys = noises.keys(self.defence.seed, noises.SMOOTHING, tf.zeros([batch], tf.int32))
        keys = noises.fold_in_all(keys, number)
        return measurement.noisy(self.sense, inputs, self.deviation, keys)

    def _gradient(self, r):
        """L and its gradient in r."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(r)
            loss = self.loss(r)
        return loss, tape.gradient(loss, r)

    def _step(self, r, number):
        """The next r, and L of this one."""
        loss, gradient = self._gradient(r)
        length, bound = self._length(number, loss.dtype), self.defence.bound
        found = []
        for x, g in zip(_components(r), _components(gradient)):
            found.append(tf.clip_by_value(x - length * tf.sign(g), -bound, bound))
        return tf.complex(*found), loss

    def _length(self, number, dtype):
        share = 1 - tf.cast(number, dtype) / self.defence.steps
        return tf.cast(self.defence.step_size, dtype) * share

    def _pulled_back(self, r, number, cotangent):
        """The gradients of a step in r and in the data.

        L depends on k + A r alone. So those of r are A^H of those of the data, and what passes the
        step as it is.
        """
        _, gradient = self._gradient(r)
        length = self._length(number, cotangent.dtype.real_dtype)
        passed, weight = self._through_the_sign(r, gradient, length, cotangent)
        found = self._of_the_data(r, weight, length)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(r)
            given = measurement.perturbed(self.sense, self.inputs, r)
            targets = [given[name] for name in self.names]
        return [passed + tape.gradient(targets, r, found), *found]

    def _through_the_sign(self, r, gradient, length, cotangent):
        """What of a cotangent passes the step from r as it is, and what of it comes to the
        gradient, through a smooth sign.
        """
        bound = self.defence.bound
        passed, weights = [], []
        for x, g, v in zip(*map(_components, (r, gradient, cotangent))):
            inside = tf.abs(x - length * tf.sign(g)) <= bound
            passed.append(tf.where(inside, v, tf.zeros_like(v)))
            mean = tf.reduce_mean(tf.square(tf.abs(gradient)), [1, 2], keepdims=True) + _TINY**2
            weights.append(passed[-1] * mean / (tf.square(g) + mean) ** 1.5)
        return tf.complex(*passed), tf.complex(*weights)

    def _of_the_data(self, r, weight, length):
        """The gradients of a step in the data: -length H A w, of the Hessian H of L in the data and
        a weight w of the gradient. It is a central difference.
        """
        largest = tf.reduce_max(tf.abs(weight), [1, 2], keepdims=True) + _TINY
        span = as_complex(length / largest)
        ahead, behind = (self._in_data(r + sign * span * weight) for sign in (1, -1))
        found = []
        for one, other in zip(ahead, behind):
            scale = tf.reshape(2 * span, [-1, *[1] * (len(one.shape) - 1)])
            found.append(-as_complex(length) * (one - other) / scale)
        return found

    def _in_data(self, r):
        """The gradients of L in the data, at k + A r."""
        measured = list(map(tf.identity, self.measured))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(measured)
            loss = self.loss(r, measured)
        return tape.gradient(loss, measured)


def _components(image):
    return tf.math.real(image), tf.math.imag(image)


def _norm(image):
    squares = [tf.square(x) for x in _components(image)]
    # So that there is a gradient at 0.
    return tf.sqrt(tf.reduce_sum(squares, [0, 2, 3]) + _TINY**2)
