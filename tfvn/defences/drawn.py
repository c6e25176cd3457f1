"""Defences that answer with the mean of random draws.

    g(k) = (1 / K) sum_j h(k, w_j)

h is one draw of the defence and w_j its random numbers. They are keyed by the image and by the
number of the draw: the answer depends neither on the chunk size nor on the other images of a batch.
"""

import tensorflow as tf

from tfvn import checks, replicas
from tfvn.compat import variable_of
from tfvn.defences.randomised import Randomised
from tfvn.defences.streamed import Draws, replica_of
from tfvn.device import free_memory
from tfvn.models import compiled
from tfvn.models.base import Statistics
from tfvn.physics import measurement, noise

__all__ = ["Drawn"]


class Drawn(Randomised):
    """A defence that answers with the mean of `num_samples` draws.

    A subclass has `one(inputs, keys, answer)`: the answers of one draw for each image.

    Args:
        model: the `Reconstructor` that is defended.
        num_samples: K, draws of one answer.
        chunk_size: draws processed at once. 0 stands for one on a CPU, where more are faster for
            small images alone. On an accelerator it stands for as many as its free memory holds, if
            the model tells what one takes (`memory_per_image`).
        seed: of the draws.
        strategy: a `tf.distribute` strategy over whose replicas the draws are split, or None. A
            model with weights must have been made or loaded inside its scope.

    Raises:
        ValueError: for num_samples < 1, chunk_size < 0, a model of another strategy or something
            that is no model.
    """

    def __init__(self, model, num_samples, chunk_size=0, seed=0, strategy=None):
        super().__init__(model, num_samples, chunk_size, seed, least=0)
        if not (strategy is None or isinstance(strategy, tf.distribute.Strategy)):
            received = checks.shown(strategy)
            raise ValueError(
                f"strategy must be None or a tf.distribute.Strategy. Received: strategy={received}"
            )
        replicas.check_variables(strategy, map(variable_of, model.weights))
        self.strategy = strategy

    def one(self, inputs, keys, answer):
        """The answers of one draw for each image, real (batch, rows, width).

        Args:
            inputs: the measurement, as the model inside reads it.
            keys: int32 (batch, 2), of the draw.
            answer: a function (inputs, key) to the model's answer.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must have a method one(inputs, keys, answer)."
        )

    def varies(self):
        """Whether its draws differ, a tensor. Where they do not, one of them is all."""
        return tf.constant(True)

    def with_draws(self, num_samples):
        """The same defence with another number of draws."""
        return self._around(self.model, num_samples, self.strategy)

    def answer(self, inputs, key=None):
        """The mean magnitude image over all draws, real (batch, rows, width)."""
        return self._combined(inputs, self._draws(inputs, key))

    def last_steps(self, inputs, key=None):
        return self._combined(inputs, self._draws(inputs, key, self.model.last_steps))

    def _combined(self, inputs, draws):
        """The answer that the draws of a measurement make, differentiable in it."""
        return draws.mean(self.model, measurement.measured_keys(inputs))

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
            number, replicas_ = replica_of(self.strategy)
            norms = tf.one_hot(number, replicas_, dtype=norm.dtype)[:, None] * norm
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
            tf.where(self.varies(), spread, draws.zero),
            tf.reduce_max(norms, 0),
        )

    def _draws(self, inputs, key, answer=None):
        """The `Draws` of a measurement; `answer` is that of a single draw, the model's without."""
        shape = inputs["sensitivity_maps"].shape
        chunk_size = self._chunk_size(shape)
        key = self.own_key(inputs, key)
        image = measurement.zero_filled(self.sense, inputs)
        return Draws(
            _Chunk(self, inputs, key, answer or self.model.answer, chunk_size),
            [inputs[name] for name in measurement.measured_keys(inputs)],
            tf.zeros_like(tf.math.real(image)),
            tf.where(self.varies(), self._num_samples, 1),
            chunk_size,
            self.strategy,
        )

    def _inner_keys(self, keys):
        """The keys of the model's own draws, where it has any, for draws of these keys."""
        with tf.init_scope():
            is_random = self.model.draws > 0
        if not is_random:
            return None
        return noise.fold_in_all(keys, noise.INNER)

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

    def _around(self, model, num_samples, strategy=None):
        """A defence of the same settings around another model."""
        given = {**self.settings, "num_samples": num_samples, "seed": self.seed}
        if strategy is not None:
            given["strategy"] = strategy
        return type(self)(model, **given)


class _Chunk:
    """The images of some draws of a measurement, see `Draws`.

    Args:
        defence: the `Drawn`.
        inputs: the measurement.
        key: int32 (batch, 2), of the draws of each image.
        answer: that of a single draw.
        at_once: how many draws may be asked for at once.
    """

    def __init__(self, defence, inputs, key, answer, at_once):
        self._defence = defence
        self._key = key
        self._answer = answer
        self._at_once = at_once
        self._names = measurement.measured_keys(inputs)
        self._fixed = {name: inputs[name] for name in ("sensitivity_maps", "mask")}
        maps = inputs["sensitivity_maps"]
        self._batch = tf.shape(maps)[0]
        rows = maps.shape[2] and defence.sense.rows(maps.shape[2])[1]
        self._shape = [None, maps.shape[0], rows, maps.shape[3]]
        # How many images a chunk has, where that is known.
        self._count = maps.shape[0] if at_once == 1 else None

    def __call__(self, measured, start, stop):
        # Draw-major: every image with draw `start`, then every image with the next.
        times = stop - start
        copies = {}
        for name, x in self._fixed.items():
            copies[name] = self._repeated(_broadcast(x, self._batch, self._count), times)
        for name, x in zip(self._names, measured):
            copies[name] = self._repeated(x, times)
        numbers = tf.repeat(tf.range(start, stop), self._batch)
        keys = noise.fold_in_each(self._repeated(self._key, times), numbers)
        images = self._defence.one(copies, keys, self._answer)
        images = tf.reshape(images, [times, self._batch, *tf.unstack(tf.shape(images)[1:])])
        return tf.ensure_shape(images, self._shape)

    def _repeated(self, x, times):
        if self._at_once == 1:
            return x
        return tf.tile(x, tf.concat([[times], tf.ones_like(tf.shape(x)[1:])], 0))


def _draw(model, inputs, key, start, stop):
    draws = model._draws(inputs, key)
    return draws.chunk(draws.measured, start, stop)


def _broadcast(x, batch, known):
    result = tf.broadcast_to(x, tf.concat([[batch], tf.shape(x)[1:]], 0))
    return tf.ensure_shape(result, [known, *x.shape[1:]])
