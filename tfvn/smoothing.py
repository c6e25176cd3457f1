"""Randomised smoothing of a reconstruction map by noise on the measured k-space.

    g(k) = E f(k + e),    e ~ N(0, sigma^2) on real and imaginary part of every sampled entry,

estimated by the mean of `num_samples` draws. Draws are streamed in chunks, forward and in the gradient, so memory does not
depend on their number. A draw is keyed by (seed, sample index, draw index): the result depends neither on the chunk
size nor on the other images of a batch.
"""
import tensorflow as tf

from tfvn.operators import check_inputs, without_kspace

_DIFFERENTIABLE = ("zero_filled", "initial_image")


class SmoothedNetwork:
    """The smoothed map of a network. Has the same `reconstruct` and is attacked by the same code.

    Args:
        network: a `VariationalNetwork`, or anything with `.reconstruct(inputs)` that reads `zero_filled` from its inputs,
            and with `.sense` and `.zero_filled(inputs)`.
        sigma: standard deviation of each real component of the noise, > 0 or = 0 (one plain prediction).
        num_samples: K, draws of one prediction.
        chunk_size: draws processed at once; more use more memory, no more are needed on a CPU.
        seed: of the noise.

    `inputs` may also hold `sample_index` (int32, (batch,)), the identity of each image: images of the same index share
    their noise (all do when it is missing). `noise_seed` (int32, (2,)) overrides the seed of the draws.

    Raises:
        ValueError: for a negative sigma, num_samples < 1 or chunk_size < 1.
    """

    def __init__(self, network, sigma, num_samples, chunk_size=1, seed=0):
        if not sigma >= 0:
            raise ValueError(f"sigma must be a number >= 0. Received: sigma={sigma}")
        for name, value in (("num_samples", num_samples), ("chunk_size", chunk_size)):
            if int(value) != value or value < 1:
                raise ValueError(f"{name} must be a whole number >= 1. Received: {name}={value}")
        self.network, self.sigma = network, float(sigma)
        self.num_samples, self.chunk_size, self.seed = int(num_samples), int(chunk_size), int(seed)
        self.sense = network.sense
        # Held by the object, because a decorated method would not survive `SmoothedNetwork(...).reconstruct(...)`.
        self._compiled = tf.function(lambda inputs: self._reconstruct(inputs))

    def zero_filled(self, inputs):
        """A^H kspace of the noise-free measurement."""
        return self.network.zero_filled(inputs)

    def reconstruct(self, inputs):
        """The mean magnitude image over all draws, real (batch, rows, width).

        Differentiable in the measurement, not in the network's weights: for those, train on noisy copies (`Trainer`).
        """
        check_inputs(inputs)
        if not self.sigma:
            return self.network.reconstruct(inputs)
        return self._compiled(without_kspace(inputs, self.zero_filled(inputs)))

    def _reconstruct(self, inputs):
        zero_filled = inputs["zero_filled"]
        measured = [inputs[key] for key in _DIFFERENTIABLE if key in inputs]
        fixed = {key: inputs[key] for key in ("sensitivity_maps", "mask")}
        seeds = self._image_seeds(inputs)

        def chunk(measured, start, stop):
            """The sum of draws start..stop-1, (batch, rows, width)."""
            copies = self._copies(measured, fixed, seeds, start, stop)
            total = tf.reduce_sum(tf.reshape(copies, [stop - start, -1, *tf.unstack(tf.shape(copies)[1:])]), 0)
            return tf.ensure_shape(total, zero_filled.shape)

        if self.num_samples <= self.chunk_size:
            # One chunk holds all draws: its plain gradient needs no second pass.
            return chunk(measured, 0, self.num_samples) / self.num_samples

        @tf.custom_gradient
        def smoothed(*measured):
            def gradient(cotangent, variables=None):
                def add(total, start, stop):
                    with tf.GradientTape(watch_accessed_variables=False) as tape:
                        tape.watch(measured)
                        prediction = chunk(measured, start, stop)
                    d_measured = tape.gradient(prediction, measured, output_gradients=cotangent)
                    _check_read(d_measured)
                    return [t + d for t, d in zip(total, d_measured)]

                total = self._stream(add, [tf.zeros_like(m) for m in measured])
                total = [t / tf.cast(self.num_samples, t.dtype) for t in total]
                return total if variables is None else (total, [None] * len(variables))

            def add(total, start, stop):
                return [total[0] + chunk(measured, start, stop)]

            (total,) = self._stream(add, [tf.zeros_like(tf.math.real(measured[0]))])
            return total / tf.cast(self.num_samples, total.dtype), gradient

        return smoothed(*measured)

    def _image_seeds(self, inputs):
        batch = tf.shape(inputs["sensitivity_maps"])[0]
        base = tf.cast(inputs["noise_seed"] if "noise_seed" in inputs else [self.seed, 1], tf.int32)
        index = tf.cast(inputs["sample_index"], tf.int32) if "sample_index" in inputs else tf.zeros([batch], tf.int32)
        return _fold_in_each(tf.broadcast_to(base, [batch, 2]), index)

    def _stream(self, add, total):
        """total <- add(total, start, stop) over all chunks of draws."""

        def body(start, *total):
            stop = tf.minimum(start + self.chunk_size, self.num_samples)
            return (stop, *add(total, start, stop))

        loop = (tf.constant(0), *total)
        return tf.while_loop(lambda start, *_: start < self.num_samples, body, loop, parallel_iterations=1)[1:]

    def _repeat(self, x, count):
        return x if self.chunk_size == 1 else tf.tile(x, tf.concat([[count], tf.ones_like(tf.shape(x)[1:])], 0))

    def _copies(self, measured, fixed, seeds, start, stop):
        """Predictions for draws start..stop-1 of every image, (draws * batch, rows, width), draw-major."""
        count = stop - start
        batch = tf.shape(seeds)[0]
        fixed = {key: self._repeat(_broadcast(x, batch), count) for key, x in fixed.items()}
        seeds = _fold_in_each(self._repeat(seeds, count), tf.repeat(tf.range(start, stop), batch))
        noise = self.sigma * self.sense.adjoint_noise(fixed["sensitivity_maps"], fixed["mask"], seeds)
        noisy = {key: self._repeat(x, count) + noise for key, x in zip(_DIFFERENTIABLE, measured)}
        return self.network.reconstruct({**noisy, **fixed})


def _broadcast(x, batch):
    result = tf.broadcast_to(x, tf.concat([[batch], tf.shape(x)[1:]], 0))
    return tf.ensure_shape(result, [None, *x.shape[1:]])


def _check_read(gradients):
    for key, gradient in zip(_DIFFERENTIABLE, gradients):
        if gradient is None:
            raise ValueError(f"There is no gradient in `{key}`: the smoothed network does not read it from its inputs.")


def _fold_in_each(seeds, numbers):
    def fold_in(pair):
        return tf.random.experimental.stateless_fold_in(*pair)

    return tf.map_fn(fold_in, (seeds, numbers), fn_output_signature=tf.int32)
