"""Randomised smoothing of a reconstruction map by noise on the measured k-space.

    g(k) = E f(k + e),    e independent on real and imaginary part of every sampled entry, of standard deviation sigma

(normal in the paper; uniform and Laplace noise have certificates in l1), estimated by the mean of
`num_samples` draws. Draws are streamed in chunks, forward and in the gradient, so memory does not
depend on their number. A draw is keyed by (seed, sample index, draw index): the result depends
neither on the chunk size nor on the other images of a batch.
"""

import tensorflow as tf

from tfvn import checks, distribution
from tfvn.compat import variable_of
from tfvn.device import free_memory
from tfvn.models import contract
from tfvn.physics.sense import NOISES, Sense, check_inputs, check_values, without_kspace

__all__ = ["SmoothedNetwork"]

_DIFFERENTIABLE = ("kspace", "zero_filled", "initial_image")


class SmoothedNetwork:
    """The smoothed map of a network. Has the same `reconstruct` and is attacked by the same code.

    Args:
        network: a `VariationalNetwork`, or anything with `.reconstruct(inputs)`. One that offers
            `.zero_filled(inputs)` reads `zero_filled` from its inputs and sees the noise as A^H e;
            any other reads `kspace` and sees k + e. Its `.sense` is A, a plain `Sense` where it
            has none.
        sigma: standard deviation of each real component of the noise, > 0 or = 0 (one plain
            prediction).
        num_samples: K, draws of one prediction.
        chunk_size: draws processed at once. "auto": one on a CPU, where more only use more memory;
            on an accelerator as many as its free memory holds, if the network tells what one takes
            (`.memory_per_image`).
        seed: of the noise.
        noise: its distribution, "gaussian", "uniform" or "laplace".
        strategy: a `tf.distribute` strategy over whose replicas the draws are split, or None. A
            network with weights must have been made or loaded inside its scope.

    `sigma`, `num_samples` and `seed` may be set later; nothing is compiled again.

    `inputs` may also hold `sample_index` (int32, (batch,)), the identity of each image: images of
    the same index share their noise (all do when it is missing). `noise_seed` (int32, (2,))
    overrides the seed of the draws.

    Raises:
        ValueError: for a negative sigma, num_samples < 1, chunk_size < 1, an unknown noise, a
            network of another strategy or one without `.reconstruct`; and, when it reconstructs,
            for inputs or answers of the network that do not fit.
    """

    def __init__(
        self,
        network,
        sigma,
        num_samples,
        chunk_size="auto",
        seed=0,
        noise="gaussian",
        strategy=None,
    ):
        contract.check_model(network, "network")
        if not (isinstance(chunk_size, str) and chunk_size == "auto"):
            chunk_size = checks.whole("chunk_size", chunk_size, 1, alternative='"auto" or ')
        checks.choice("noise", noise, NOISES)
        if not (strategy is None or isinstance(strategy, tf.distribute.Strategy)):
            received = checks.shown(strategy)
            raise ValueError(
                f"strategy must be None or a tf.distribute.Strategy. Received: strategy={received}"
            )
        distribution.check_variables(strategy, map(variable_of, getattr(network, "weights", ())))
        self.network, self.chunk_size, self.noise = network, chunk_size, noise
        self.sense = getattr(network, "sense", None) or Sense()
        self.strategy = strategy
        # Variables, so that compiled code, an attack's too, sees what they are set to.
        self._sigma = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self._num_samples, self._seed = (tf.Variable(0, trainable=False) for _ in range(2))
        self.sigma, self.num_samples, self.seed = sigma, num_samples, seed
        # Held by the object, because a decorated method would not survive
        # `SmoothedNetwork(...).reconstruct(...)`.
        self._compiled = tf.function(lambda inputs: self._reconstruct(inputs), autograph=False)
        self._compiled_norm = tf.function(
            lambda inputs: self._largest_norm(inputs), autograph=False
        )
        self._compiled_deviation = tf.function(
            lambda inputs: self._standard_deviation(inputs), autograph=False
        )

    def __repr__(self):
        names = ("network", "sigma", "num_samples", "chunk_size", "seed", "noise")
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
    def zero_filled(self):
        """The network's function from inputs to A^H kspace, of the noise-free measurement.

        One that reads `kspace` has none, and neither has its smoothed map.
        """
        return self.network.zero_filled

    def reconstruct(self, inputs):
        """The mean magnitude image over all draws, real (batch, rows, width).

        Differentiable in the measurement, not in the network's weights: for those, train on noisy
        copies (`Trainer`).
        """
        inputs = self._checked(inputs)
        reconstruct = self._compiled if tf.executing_eagerly() else self._reconstruct
        return reconstruct(inputs)

    def reconstruct_with_norm(self, inputs):
        """The same, not differentiable, and (batch,) the largest L2 norm of a single draw's image:
        the range that these draws show, which a certificate needs (docs/theorem.md)."""
        return self._compiled_norm(self._checked(inputs))

    def reconstruct_with_deviation(self, inputs):
        """The same, not differentiable, and (batch, rows, width) the standard deviation of a single
        draw's pixel, of all draws about their mean (dividing by K - 1): how far noise of sigma
        moves the network. NaN for one draw; 0 without noise.

        It is no error bar of the image: what all draws get wrong alike it does not show.
        """
        inputs = self._checked(inputs)
        reconstruct = (
            self._compiled_deviation if tf.executing_eagerly() else self._standard_deviation
        )
        return reconstruct(inputs)

    def _checked(self, inputs):
        """What compiled code is given: `zero_filled` for `kspace` where the network reads it."""
        check_inputs(inputs)
        if hasattr(self.network, "zero_filled"):
            image = contract.zero_filled(self.network, inputs)
            check_values(inputs, image)
            return without_kspace(inputs, image)
        if "kspace" not in inputs or "initial_image" in inputs:
            raise ValueError(
                "A network without `.zero_filled` reads `kspace`, and no `initial_image`. "
                f"Received: {sorted(map(str, inputs))}"
            )
        inputs = {key: value for key, value in inputs.items() if key != "zero_filled"}
        if tf.executing_eagerly():
            operands = (inputs[key] for key in ("kspace", "sensitivity_maps", "mask"))
            check_values(inputs, self.sense.adjoint(*operands))
        return inputs

    def _standard_deviation(self, inputs):
        chunk, stream, measured, zero, _ = self._streamed(inputs)

        def add(total, start, stop):
            # Squares of differences from the mean so far, merged with those of the chunk about its
            # own (Chan et al. 1979): the sum of squares less the square of the sum would lose the
            # digits that matter.
            count, mean, squares = total
            images = chunk(measured, start, stop)
            own, more = tf.reduce_mean(images, 0), tf.cast(stop - start, mean.dtype)
            share = more / (count + more)
            squares += tf.reduce_sum(tf.square(images - own), 0) + count * share * tf.square(
                own - mean
            )
            return [count + more, mean + share * (own - mean), squares]

        parts = distribution.run(
            self.strategy, lambda: stream(add, [tf.zeros([], zero.dtype), zero, zero])
        )
        # The replicas' squares are merged in the same way, once all know the mean.
        count, mean = distribution.total(
            self.strategy, lambda count, mean, _: [count, count * mean], *parts
        )
        mean /= count
        squares = distribution.total(
            self.strategy, lambda n, own, squares: [squares + n * tf.square(own - mean)], *parts
        )[0]
        # One draw has no spread that could be seen: 0 / 0.
        spread = tf.sqrt(squares / (count - 1))
        return mean, tf.where(self._sigma > 0, spread, zero)

    def _largest_norm(self, inputs):
        chunk, stream, measured, zero, num_samples = self._streamed(inputs)

        def add(total, start, stop):
            images = chunk(measured, start, stop)
            norms = tf.reduce_max(tf.norm(images, axis=[2, 3]), 0)
            return [
                total[0] + tf.reduce_sum(images, 0),
                tf.maximum(total[1], tf.ensure_shape(norms, total[1].shape)),
            ]

        def own():
            total, norm = stream(add, [zero, zero[:, 0, 0]])
            # A row for each replica: the sum of these columns is a list of all.
            replica, replicas = self._share()
            return [total, tf.one_hot(replica, replicas, dtype=norm.dtype)[:, None] * norm]

        total, norms = distribution.total(self.strategy, own)
        return total / tf.cast(num_samples, total.dtype), tf.reduce_max(norms, 0)

    def _reconstruct(self, inputs):
        chunk, stream, measured, zero, num_samples = self._streamed(inputs)
        keys = [key for key in _DIFFERENTIABLE if key in inputs]

        def mean(add, zeros):
            total = distribution.total(self.strategy, lambda: stream(add, zeros))
            return [t / tf.cast(num_samples, t.dtype) for t in total]

        @tf.custom_gradient
        def smoothed(*measured):
            def gradient(cotangent, variables=None):
                def add(total, start, stop):
                    with tf.GradientTape(watch_accessed_variables=False) as tape:
                        tape.watch(measured)
                        prediction = tf.reduce_sum(chunk(measured, start, stop), 0)
                    d_measured = tape.gradient(prediction, measured, output_gradients=cotangent)
                    for key, gradient in zip(keys, d_measured):
                        contract.check_gradient(self.network, gradient, key)
                    return [t + d for t, d in zip(total, d_measured)]

                total = mean(add, [tf.zeros_like(m) for m in measured])
                return total if variables is None else (total, [None] * len(variables))

            def add(total, start, stop):
                return [total[0] + tf.reduce_sum(chunk(measured, start, stop), 0)]

            return mean(add, [zero])[0], gradient

        return smoothed(*measured)

    def _streamed(self, inputs):
        """How the draws of `inputs` are made and gone through.

        Returns:
            (chunk, stream, what is differentiable, an image of zeros, number of draws).
        """
        keys = [key for key in _DIFFERENTIABLE if key in inputs]
        measured = [inputs[key] for key in keys]
        fixed = {key: inputs[key] for key in ("sensitivity_maps", "mask")}
        draw_noise, image = self._view(inputs)
        seeds, chunk_size = (
            self._image_seeds(inputs),
            self._chunk_size(inputs["sensitivity_maps"].shape),
        )
        sigma = tf.cast(self._sigma, image.dtype)
        # Without noise all draws are one.
        num_samples = tf.where(self._sigma > 0, self._num_samples, 1)

        def chunk(measured, start, stop):
            """Draws start..stop-1, (draws, batch, rows, width)."""
            count, batch = stop - start, tf.shape(seeds)[0]

            def repeat(x):
                return (
                    x
                    if chunk_size == 1
                    else tf.tile(x, tf.concat([[count], tf.ones_like(tf.shape(x)[1:])], 0))
                )

            # Draw-major: every image with draw `start`, then every image with the next.
            copies = {key: repeat(_broadcast(x, batch)) for key, x in fixed.items()}
            draws = _fold_in_each(repeat(seeds), tf.repeat(tf.range(start, stop), batch))
            noise = sigma * draw_noise(*copies.values(), draws, self.noise)
            noisy = {key: repeat(x) + noise for key, x in zip(keys, measured)}
            like = tf.TensorSpec([None, *image.shape[1:]], image.dtype)
            images = contract.answer(self.network, {**noisy, **copies}, like)
            images = tf.reshape(images, [count, batch, *tf.unstack(tf.shape(images)[1:])])
            return tf.ensure_shape(images, [None, *image.shape])

        def stream(add, total):
            """total <- add(total, start, stop) over all chunks of draws of this replica."""
            replica, replicas = self._share()

            def body(start, *total):
                stop = tf.minimum(start + chunk_size, num_samples)
                return (start + replicas * chunk_size, *add(total, start, stop))

            loop = (tf.constant(chunk_size) * replica, *total)
            _, *total = tf.while_loop(
                lambda start, *_: start < num_samples, body, loop, parallel_iterations=1
            )
            return total

        return chunk, stream, measured, tf.zeros_like(tf.math.real(image)), num_samples

    def _view(self, inputs):
        """One draw, two views: e for a network that reads `kspace`, A^H e for one that does not.

        Returns:
            What draws it, and A^H k.
        """
        if "kspace" in inputs:
            operands = (inputs[key] for key in ("kspace", "sensitivity_maps", "mask"))
            return self.sense.kspace_noise, self.sense.adjoint(*operands)
        return self.sense.adjoint_noise, inputs["zero_filled"]

    def _share(self):
        """The number of this replica, and how many there are."""
        return (0, 1) if self.strategy is None else distribution.replica()

    def _chunk_size(self, shape):
        if self.chunk_size != "auto":
            return int(self.chunk_size)
        free = free_memory()
        if free is None or not hasattr(self.network, "memory_per_image") or None in shape:
            return 1
        # Half, as the allocator's blocks do not fit together without gaps.
        return max(1, free // (2 * shape[0] * self.network.memory_per_image(shape)))

    def _image_seeds(self, inputs):
        batch = tf.shape(inputs["sensitivity_maps"])[0]
        base = tf.cast(
            inputs["noise_seed"] if "noise_seed" in inputs else [self._seed, 1], tf.int32
        )
        index = (
            tf.cast(inputs["sample_index"], tf.int32)
            if "sample_index" in inputs
            else tf.zeros([batch], tf.int32)
        )
        return _fold_in_each(tf.broadcast_to(base, [batch, 2]), index)


def _broadcast(x, batch):
    result = tf.broadcast_to(x, tf.concat([[batch], tf.shape(x)[1:]], 0))
    return tf.ensure_shape(result, [None, *x.shape[1:]])


def _fold_in_each(seeds, numbers):
    def fold_in(pair):
        return tf.random.experimental.stateless_fold_in(*pair)

    return tf.map_fn(fold_in, (seeds, numbers), fn_output_signature=tf.int32)
