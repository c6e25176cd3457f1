"""Randomised smoothing of a reconstruction map by noise on the measured k-space.

    g(k) = E f(k + e)

Real and imaginary part of every sampled entry of e are independent, of standard deviation sigma;
normal in the paper, and uniform or Laplace noise have certificates in l1. The mean is estimated
from `num_samples` draws. They are streamed in chunks, forward and in the gradient, so memory does
not depend on their number. A draw is keyed by the image and its number: the result depends neither
on the chunk size nor on the other images of a batch.
"""

from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow import keras

from tfvn import checks, ranges, replicas
from tfvn.certificates import TotalVariation
from tfvn.compat import variable_of
from tfvn.defences.base import Defence
from tfvn.device import free_memory
from tfvn.models import compiled
from tfvn.models.base import Statistics
from tfvn.models.contract import check_gradient
from tfvn.physics import measurement, noise

__all__ = ["Smoothed"]


class _Draws(NamedTuple):
    """The draws of one prediction, and how they are gone through.

    chunk: a function (measured, start, stop) to the images of draws start..stop-1, (draws, batch,
        rows, width).
    stream: a function (add, total) that does total <- add(total, start, stop) for all chunks of
        this replica.
    measured: the tensors that the answer is differentiable in.
    zero: an image of zeros, real (batch, rows, width).
    count: the number of draws.
    """

    chunk: Any
    stream: Any
    measured: list
    zero: tf.Tensor
    count: tf.Tensor


@keras.utils.register_keras_serializable(package="tfvn")
class Smoothed(Defence):
    """The smoothed map of a model. It is a model itself, and attacked by the same code.

    Args:
        model: a `Reconstructor`. One that reads `zero_filled` sees the noise as A^H e, one that
            reads `kspace` sees k + e.
        sigma: standard deviation of each real component of the noise. 0 makes one plain prediction.
        num_samples: K, draws of one prediction.
        chunk_size: draws processed at once. 0 stands for one on a CPU, where more only use more
            memory. On an accelerator it stands for as many as its free memory holds, if the model
            tells what one takes (`memory_per_image`).
        seed: of the noise.
        law: the distribution of the noise, "gaussian" (the paper's), "uniform" or "laplace".
        strategy: a `tf.distribute` strategy over whose replicas the draws are split, or None. A
            model with weights must have been made or loaded inside its scope.

    `sigma`, `num_samples` and `seed` may be set later; nothing is compiled again.

    Call arguments:
        inputs: the measurement. Returns the mean magnitude as a complex image of phase 0.

    Raises:
        ValueError: for a negative sigma, num_samples < 1, chunk_size < 0, an unknown law, a model
            of another strategy or something that is no model; and, when it reconstructs, for inputs
            that do not fit.
    """

    computed_with = ("chunk_size",)
    # Its draws are differentiated in what is measured alone.
    has_maps_gradient = False

    def __init__(
        self,
        model,
        sigma,
        num_samples=9,
        chunk_size=0,
        seed=0,
        law="gaussian",
        strategy=None,
    ):
        super().__init__(model)
        if not (strategy is None or isinstance(strategy, tf.distribute.Strategy)):
            received = checks.shown(strategy)
            raise ValueError(
                f"strategy must be None or a tf.distribute.Strategy. Received: strategy={received}"
            )
        replicas.check_variables(strategy, map(variable_of, model.weights))
        self.chunk_size = checks.whole("chunk_size", chunk_size, 0, most=ranges.MOST)
        self.law = checks.choice("law", law, noise.LAWS)
        self.strategy = strategy
        # Variables, so that compiled code, an attack's too, sees what they are set to.
        self._sigma = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        # A valid number: Keras 3 does not call a setter for the value that is there.
        self._num_samples = tf.Variable(1, trainable=False)
        self._seed = tf.Variable(0, trainable=False)
        self.sigma = sigma
        self.num_samples = num_samples
        self.seed = seed

    def __repr__(self):
        names = ("model", "sigma", "num_samples", "chunk_size", "seed", "law")
        return checks.described(self, names)

    @property
    def sigma(self):
        return float(self._sigma)

    @sigma.setter
    def sigma(self, value):
        self._sigma.assign(checks.number("sigma", value, 0))

    @property
    def num_samples(self):
        return int(self._num_samples)

    @num_samples.setter
    def num_samples(self, value):
        self._num_samples.assign(checks.whole("num_samples", value, 1))

    @property
    def seed(self):
        return int(self._seed)

    @seed.setter
    def seed(self, value):
        self._seed.assign(checks.whole("seed", value))

    @property
    def draws(self):
        if not self.sigma:
            return self.model.draws
        return self.num_samples

    @property
    def certificates(self):
        if not self.sigma:
            return self.model.certificates
        return (TotalVariation(self.sigma, self.law),)

    @property
    def identity(self):
        # Without noise it is the model inside.
        return super().identity if self.sigma else self.model.identity

    def keys(self, index):
        return noise.keys(self._seed, noise.SMOOTHING, index)

    def with_draws(self, num_samples):
        """A smoothed model of the same settings, with another number of draws."""
        return self._around(self.model, num_samples, self.strategy)

    def answer(self, inputs, key=None):
        """The mean magnitude image over all draws, real (batch, rows, width)."""
        return self._mean(inputs, self._draws(inputs, key))

    def last_steps(self, inputs, key=None):
        return self._mean(inputs, self._draws(inputs, key, self.model.last_steps))

    def _mean(self, inputs, draws):
        """The mean image of the draws of a measurement, differentiable in it."""
        names = measurement.measured_keys(inputs)

        def mean(add, zeros):
            total = replicas.total(self.strategy, lambda: draws.stream(add, zeros))
            return [part / tf.cast(draws.count, part.dtype) for part in total]

        def add_images(total, start, stop):
            images = draws.chunk(draws.measured, start, stop)
            return [total[0] + tf.reduce_sum(images, 0)]

        @tf.custom_gradient
        def smoothed(*measured):
            def gradient(cotangent, variables=None):
                def add(total, start, stop):
                    with tf.GradientTape(watch_accessed_variables=False) as tape:
                        tape.watch(measured)
                        prediction = tf.reduce_sum(draws.chunk(measured, start, stop), 0)
                    found = tape.gradient(prediction, measured, output_gradients=cotangent)
                    for name, one in zip(names, found):
                        check_gradient(self.model, one, name)
                    return [sum_ + one for sum_, one in zip(total, found)]

                total = mean(add, [tf.zeros_like(one) for one in measured])
                return total if variables is None else (total, [None] * len(variables))

            return mean(add_images, [draws.zero])[0], gradient

        return smoothed(*draws.measured)

    def single_draws(self, inputs, key, count):
        """Yields the images of the draws 0, ..., count - 1, each real (batch, rows, width).

        They are those whose mean is the answer of as many draws with this key. Arguments as for
        `reconstruct`.
        """
        arguments = (self._checked(inputs), self._checked_key(key))
        step = self._chunk_size(arguments[0]["sensitivity_maps"].shape)
        call = compiled.shared(self, _draw)
        for start in range(0, count, step):
            stop = tf.constant(min(start + step, count))
            yield from call(*arguments, tf.constant(start), stop)

    def measure(self, inputs, key=None):
        """The mean, the standard deviation and the largest norm of the draws. The deviation is
        that of all draws about their mean, divided by K - 1: NaN of one draw, 0 without noise.
        """
        draws = self._draws(inputs, key)
        scalar = tf.zeros([], draws.zero.dtype)

        def add(total, start, stop):
            # Squares of differences from the mean so far, merged with those of the chunk about its
            # own (Chan et al. 1979): the sum of squares less the square of the sum would lose the
            # digits that matter.
            sum_, norm, count, mean, squares = total
            images = draws.chunk(draws.measured, start, stop)
            norms = tf.reduce_max(tf.norm(images, axis=[2, 3]), 0)
            own = tf.reduce_mean(images, 0)
            more = tf.cast(stop - start, mean.dtype)
            share = more / (count + more)
            squares += tf.reduce_sum(tf.square(images - own), 0)
            squares += count * share * tf.square(own - mean)
            mean += share * (own - mean)
            norm = tf.maximum(norm, tf.ensure_shape(norms, norm.shape))
            return [sum_ + tf.reduce_sum(images, 0), norm, count + more, mean, squares]

        def own_draws():
            norm = draws.zero[:, 0, 0]
            return draws.stream(add, [draws.zero, norm, scalar, draws.zero, draws.zero])

        parts = replicas.run(self.strategy, own_draws)
        operator_norm = self.sense.norm_bound(inputs["sensitivity_maps"], inputs["mask"])
        return self._merged(parts, draws)._replace(operator_norm=operator_norm)

    def _merged(self, parts, draws):
        """The `Statistics` of what all replicas found of their own draws."""

        def sums(sum_, norm, count, mean, _):
            # A row for each replica: the sum of these columns is a list of all.
            replica, replicas = self._share()
            norms = tf.one_hot(replica, replicas, dtype=norm.dtype)[:, None] * norm
            return [sum_, norms, count, count * mean]

        def squares_about_mean(_, __, count, own, squares):
            return [squares + count * tf.square(own - mean)]

        sum_, norms, count, mean = replicas.total(self.strategy, sums, *parts)
        # The replicas' squares are merged as those of chunks, once all know the mean.
        mean /= count
        squares = replicas.total(self.strategy, squares_about_mean, *parts)[0]
        # One draw has no spread that could be seen: 0 / 0.
        spread = tf.sqrt(squares / (count - 1))
        return Statistics(
            sum_ / tf.cast(draws.count, sum_.dtype),
            tf.where(self._sigma > 0, spread, draws.zero),
            tf.reduce_max(norms, 0),
        )

    def _draws(self, inputs, key, answer=None):
        """The `_Draws` of a measurement; `answer` is that of a single draw, the model's without."""
        answer = answer or self.model.answer
        names = measurement.measured_keys(inputs)
        fixed = {name: inputs[name] for name in ("sensitivity_maps", "mask")}
        shape = inputs["sensitivity_maps"].shape
        batch = tf.shape(inputs["sensitivity_maps"])[0]
        if key is None:
            key = self.keys(tf.zeros([batch], tf.int32))
        rows = shape[2] and self.sense.rows(shape[2])[1]
        like = tf.TensorSpec([shape[0], rows, shape[3]], inputs["sensitivity_maps"].dtype)
        chunk_size = self._chunk_size(shape)
        # Without noise all draws are one.
        count = tf.where(self._sigma > 0, self._num_samples, 1)

        def repeat(x, times):
            if chunk_size == 1:
                return x
            return tf.tile(x, tf.concat([[times], tf.ones_like(tf.shape(x)[1:])], 0))

        def chunk(measured, start, stop):
            # Draw-major: every image with draw `start`, then every image with the next.
            times = stop - start
            copies = {name: repeat(_broadcast(x, batch), times) for name, x in fixed.items()}
            for name, x in zip(names, measured):
                copies[name] = repeat(x, times)
            numbers = tf.repeat(tf.range(start, stop), batch)
            keys = noise.fold_in_each(repeat(key, times), numbers)
            copies = measurement.noisy(self.sense, copies, self._sigma, keys, self.law)
            images = answer(copies, self._inner_keys(keys))
            images = tf.reshape(images, [times, batch, *tf.unstack(tf.shape(images)[1:])])
            return tf.ensure_shape(images, [None, *like.shape])

        def stream(add, total):
            replica, replicas = self._share()

            def body(start, *total):
                stop = tf.minimum(start + chunk_size, count)
                return (start + replicas * chunk_size, *add(total, start, stop))

            _, *total = tf.while_loop(
                lambda start, *_: start < count,
                body,
                (tf.constant(chunk_size) * replica, *total),
                parallel_iterations=1,
            )
            return total

        image = measurement.zero_filled(self.sense, inputs)
        zero = tf.zeros_like(tf.math.real(image))
        return _Draws(chunk, stream, [inputs[name] for name in names], zero, count)

    def _inner_keys(self, keys):
        """The keys of the model's own draws, where it has any, for draws of these keys."""
        with tf.init_scope():
            is_random = self.model.draws > 0
        if not is_random:
            return None
        return noise.fold_in_each(keys, tf.fill(tf.shape(keys)[:1], noise.INNER))

    def _share(self):
        """The number of this replica, and how many there are."""
        return (0, 1) if self.strategy is None else replicas.replica()

    def _chunk_size(self, shape):
        if self.chunk_size:
            return self.chunk_size
        free = free_memory()
        if free is None or None in shape:
            return 1
        needed = self.model.memory_per_image(shape)
        if needed is None:
            return 1
        # Half, as the allocator's blocks do not fit together without gaps.
        return max(1, free // (2 * shape[0] * needed))

    def memory_per_image(self, shape):
        return self.model.memory_per_image(shape)

    @property
    def architecture(self):
        inner = self.model.architecture
        # Of a subclass nothing is known of its further settings.
        known = type(self) is Smoothed
        if not known or inner is None or self.strategy is not None:
            return None
        return type(self), inner, self.law, self.chunk_size

    def twin(self):
        return self._around(self.model.twin(), self.num_samples)

    def _around(self, model, num_samples, strategy=None):
        """A smoothed model of the same settings around another model."""
        return type(self)(
            model, self.sigma, num_samples, self.chunk_size, self.seed, self.law, strategy
        )

    def lent(self):
        return [*self.model.lent(), self._sigma, self._num_samples, self._seed]

    def save(self, filepath, *args, **kwargs):
        """A smoothed model has no file of its own.

        Raises:
            ValueError: always; it says what to save.
        """
        raise ValueError(
            f"{checks.shown(filepath)}: a smoothed model is not saved. Save its network, "
            "smoothed.model.save(path), and smooth it again; for TensorFlow Serving call "
            "tfvn.tools.serving.export."
        )


def _draw(model, inputs, key, start, stop):
    draws = model._draws(inputs, key)
    return draws.chunk(draws.measured, start, stop)


def _broadcast(x, batch):
    result = tf.broadcast_to(x, tf.concat([[batch], tf.shape(x)[1:]], 0))
    return tf.ensure_shape(result, [None, *x.shape[1:]])
