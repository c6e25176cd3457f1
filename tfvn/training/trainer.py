"""The training step of any `Reconstructor`: what it is trained on, its loss, its gradients.

    loss = 1/(2N) sum_i || |f(x_i)| - |y_i| ||_2^2

over the N slices of a batch. x_i is what a recipe makes of the measurement of slice i, see
`tfvn.training.recipe`; y_i is its reference. A recipe may have another loss. What the gradients do
to the weights is in `tfvn.training.optimizers`.

Losses and gradients go through a batch slice by slice and are summed: memory does not grow with the
batch, apart from its data.
"""

import functools
from collections.abc import Mapping

import tensorflow as tf
from tensorflow import keras

from tfvn import checks, compat, metrics, replicas
from tfvn.device import one_graph
from tfvn.models.contract import check_model
from tfvn.physics import measurement
from tfvn.physics.noise import TRAINING, VALIDATION, fold_in
from tfvn.training.averaging import WeightAverage, averaged
from tfvn.training.optimizers import steps_of
from tfvn.training.recipe import MEASURED_MASK, recipe_of, slice_of

__all__ = ["Objective", "Trainer"]

_DIFFERENT_IN_TRAINING = (keras.layers.Dropout, keras.layers.BatchNormalization)


class Objective:
    """The loss of one step, summed over the replicas, as an optimizer asks for it.

    Args:
        parts: `parts(wanted, *share)` is the loss of a replica's share of the batch, and the
            gradients in the parameter blocks `wanted` after it, in one list.
        share: the share of each replica.
        strategy: the `tf.distribute` strategy, or None.
    """

    def __init__(self, parts, share, strategy):
        self._parts = parts
        self._share = share
        self._strategy = strategy

    def compiled(self, wanted):
        """A function without arguments for the loss and the gradients in `wanted`, in one list.

        It is compiled as a graph of its own, however often it is called.
        """
        parts = one_graph(functools.partial(self._parts, wanted))
        return functools.partial(replicas.total, self._strategy, parts, *self._share)

    def apply(self, wanted, change):
        """Calls `change(gradients)` on every replica, with its own gradients in the blocks
        `wanted`. Returns the loss before.
        """

        def changed(*share):
            loss, *gradients = self._parts(wanted, *share)
            change(gradients)
            return [loss]

        return replicas.total(self._strategy, changed, *self._share)[0]


class Trainer(keras.Model):
    """A Keras model that owns the training step of a network.

    Use it with `fit` on batches (inputs, reference).

    The network computes the same in training as afterwards: it is never called with
    `training=True`. Layers that behave differently in training, such as `keras.layers.Dropout` and
    `keras.layers.BatchNormalization`, are not supported yet.

    Args:
        network: a `Reconstructor`; it is trained in place.
        optimizer: "ipalm" or another name in `tfvn.training.optimizers.OPTIMIZERS`, for its default
            settings; an object of one of these classes; or any Keras optimizer.
        recipe: what the network is trained on, see `tfvn.training.recipe`.
        seed: of the recipe. Its random numbers in a step depend on the seed, the step and the
            position in the batch alone.
        strategy: a `tf.distribute` strategy over whose replicas the slices of a batch are split, or
            None. The network, and a Keras optimizer, must have been made inside its scope, and the
            trainer outside. Every process is given whole batches. Validation is not split: every
            process does all of it.

    Raises:
        ValueError: for an unknown optimizer, an optimizer of a package that is not there, one that
            cannot train the network, a network without weights or with such layers, or one that
            does not fit the strategy.
    """

    def __init__(
        self,
        network,
        optimizer="ipalm",
        recipe=None,
        seed=0,
        strategy=None,
        averaging=0.0,
        **kwargs,
    ):
        check_model(network, "network")
        # Under a policy of mixed precision Keras would scale the loss for the optimizer.
        super().__init__(**{"dtype": network.dtype, **kwargs})
        if tf.distribute.has_strategy():
            raise ValueError(
                "A trainer is made outside of `strategy.scope()`. Give it that: Trainer(...,"
                " strategy=strategy)."
            )
        _check_layers(network)
        _check_weights(network)
        steps = steps_of(optimizer, strategy)
        replicas.check_variables(strategy, map(compat.variable_of, network.weights))
        self.network = network
        self.seed = checks.whole("seed", seed)
        self.recipe = recipe_of(recipe)
        with replicas.scope(strategy):
            self.recipe.build(network, self.seed)
        beside = self.recipe.parameter_blocks
        # Where a checkpoint finds them.
        self.weights_of_recipe = [weight for block in beside.values() for weight in block]
        self.strategy = strategy
        self.steps_done = self.add_weight(
            name="steps_done", shape=(), dtype="int32", initializer="zeros", trainable=False
        )
        averaging = checks.number("averaging", averaging, 0, below=1)
        self.average = WeightAverage(network, averaging, strategy) if averaging else None
        self._trackers = {name: keras.metrics.Mean(name=name) for name in ("loss", "nrmse", "ssim")}
        steps.build(network, self.steps_done, strategy, beside)
        self.compile(optimizer=steps.optimizer, jit_compile=False)
        # Held here too, because a checkpoint finds the state of an optimizer here.
        self.ipalm = steps.ipalm
        self.filter_optimizer = steps.filter_optimizer
        self._steps = steps
        self.built = True

    def checkpoint(self):
        """A `tf.train.Checkpoint` of all that an interrupted training goes on from."""
        return tf.train.Checkpoint(trainer=self, variables=compat.hidden_variables(self))

    @property
    def gradients_of_slice(self):
        """How many gradients a step takes of each slice of its batch, in the weights or in the
        data. Answers alone, such as the trials of iPALM, do not count.
        """
        return self.recipe.gradients_before + self._steps.gradients * self.recipe.gradients_of_loss

    def trained_network(self):
        """The network, with the averaged weights where there are any."""
        if self.average is not None:
            self.average.take()
        return self.network

    @property
    def metrics(self):
        return list(self._trackers.values())

    def call(self, inputs):
        return self.network(inputs)

    # The inputs of the loss

    def training_inputs(self, inputs, reference, keys):
        """What the recipe makes of the measurements of a batch.

        Args:
            inputs: the measurements, as the data hold them.
            reference: complex (batch, rows, width).
            keys: int32 (batch, 2), of the random numbers of each image.
        """
        return self.recipe(self.network, self._measured(inputs), reference, keys)

    # Called eagerly too, where TensorFlow 2.21 converts what it maps, without end.
    @tf.autograph.experimental.do_not_convert
    def validation_inputs(self, inputs, reference):
        """`training_inputs` with keys of the slices, so that every validation sees the same.

        Raises:
            ValueError: for a recipe with random numbers, where the inputs do not name the slices.
        """
        if not self.recipe.validates_as_trained:
            return self._measured(inputs)
        index = measurement.sample_index(inputs)
        stream = tf.fill(tf.shape(index), VALIDATION)
        keys = tf.stack([tf.cast(index, tf.int32), stream], 1)
        return self.training_inputs(inputs, reference, keys)

    def _measured(self, inputs):
        """The measurements of a batch as the network reads them. A^H k is made slice by slice."""
        if self.network.reads not in inputs:
            inputs = measurement.with_data(inputs, "zero_filled", self._zero_filled(inputs))
        found = self.network.measured(inputs)
        return {**found, MEASURED_MASK: measurement.without_padding(inputs)}

    def _zero_filled(self, inputs):
        def one(index):
            return self.network.zero_filled(slice_of(inputs, index))[0]

        maps = inputs["sensitivity_maps"]
        numbers = tf.range(tf.shape(maps)[0])
        return tf.map_fn(one, numbers, fn_output_signature=maps.dtype, parallel_iterations=1)

    # The loss

    def batch_loss(self, inputs, reference):
        """1/N times the sum of the recipe's loss over the batch; a scalar."""
        return self.loss_and_gradients(inputs, reference, ())[0]

    def loss_and_gradients(self, inputs, reference, wanted=None, count=None, batch=None):
        """`batch_loss`, and the list of its gradients in the weights of some parameter blocks.

        Args:
            inputs, reference: a batch.
            wanted: names of the blocks; None means all.
            count, batch: of a batch of which only a share is here, its part of the sums: over the
                first `count` slices, with N = `batch`.

        Raises:
            ValueError: if there is no gradient in any of these weights.
        """
        blocks = {**self.network.parameter_blocks, **self.recipe.parameter_blocks}
        wanted = tuple(blocks if wanted is None else wanted)
        weights = [compat.variable_of(weight) for name in wanted for weight in blocks[name]]
        slices = tf.shape(reference)[0]
        count = slices if count is None else count
        batch = slices if batch is None else batch

        def add(index, total, *sums):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(weights)
                slice_ = slice_of(inputs, index), reference[index][None]
                error = self.recipe.loss(self.network, *slice_, wanted)
                loss = error / tf.cast(batch, error.dtype)
            gradients = self._checked_gradients(tape.gradient(loss, weights), weights)
            sums = [a + b for a, b in zip(sums, gradients)]
            return (index + 1, total + loss, *sums)

        start = (
            tf.constant(0),
            tf.zeros([], reference.dtype.real_dtype),
            *map(tf.zeros_like, weights),
        )
        _, loss, *gradients = tf.while_loop(
            lambda index, *_: index < count, add, start, parallel_iterations=1
        )
        return loss, gradients

    def _checked_gradients(self, gradients, weights):
        """Gradients, of zeros in weights that the loss does not depend on."""
        if weights and all(gradient is None for gradient in gradients):
            raise ValueError(
                f"{type(self.network).__name__}.call has no gradient in the weights: it must use"
                " them in differentiable operations of TensorFlow."
            )
        found = []
        for gradient, weight in zip(gradients, weights):
            found.append(tf.zeros_like(weight) if gradient is None else gradient)
        return found

    # The steps

    # AutoGraph would only cost time: all control flow is TensorFlow's own.
    @tf.autograph.experimental.do_not_convert
    def train_step(self, data):
        inputs, reference = data
        share = self._shares(inputs, reference)
        loss = self._steps.step(Objective(self._parts, share, self.strategy))
        if self.average is not None:
            self.average.update(self.steps_done)
        self.steps_done.assign_add(1)
        self._trackers["loss"].update_state(loss)
        return {
            "loss": self._trackers["loss"].result(),
            "step_loss": loss,
            **self._steps.logs(),
        }

    def _shares(self, inputs, reference):
        """What each replica has of a batch: its slices, which the recipe has prepared, their
        number, and that of the whole batch.
        """
        batch = tf.shape(reference)[0]
        key = fold_in([self.seed, TRAINING], self.steps_done)
        keys = tf.random.experimental.stateless_split(key, batch)

        def share(*arrays):
            (inputs, reference, keys), count = replicas.own_slices(arrays, batch)
            return self.training_inputs(inputs, reference, keys), reference, count, batch

        return replicas.run(self.strategy, share, inputs, reference, keys)

    def _parts(self, wanted, inputs, reference, count, batch):
        loss, gradients = self.loss_and_gradients(inputs, reference, wanted, count, batch)
        return [loss, *gradients]

    @tf.autograph.experimental.do_not_convert
    def test_step(self, data):
        """Loss, nrmse and SSIM on one batch, of inputs as the network is trained on.

        The loss is the squared error of the answer, whatever the recipe's own is. The nrmse is of
        complex images, and of magnitudes where the network gives no phase.
        """
        inputs, reference = data
        with averaged(self.average):
            image = self.network(self.validation_inputs(inputs, reference))
        squares = tf.square(metrics.error_norm(image, reference))
        self._trackers["loss"].update_state(tf.reduce_mean(squares) / 2)
        compared = (image, reference)
        if not self.network.has_phase:
            compared = (tf.abs(image), tf.abs(reference))
        self._trackers["nrmse"].update_state(metrics.nrmse(*compared))
        self._trackers["ssim"].update_state(metrics.ssim(image, reference))
        return {name: tracker.result() for name, tracker in self._trackers.items()}

    def make_train_function(self, force=False):
        if self.strategy is None:
            return super().make_train_function(force)

        # Keras would do all of a step on every replica: iPALM's decisions are taken once, on sums
        # over the replicas.
        def step(iterator):
            with self.strategy.scope():
                return self.train_step(next(iterator))

        if force or self.train_function is None:
            self.train_function = tf.function(step, autograph=False)
        return self.train_function


def _check_weights(network):
    blocks = network.parameter_blocks
    if not any(blocks.values()):
        raise ValueError(
            f"{type(network).__name__} has no weights to train. A network makes its weights in its"
            " constructor; one that makes them when it is first called must be called once before."
        )


def _check_layers(network):
    for layer in _layers_of(network):
        if isinstance(layer, _DIFFERENT_IN_TRAINING):
            raise ValueError(
                f"{type(network).__name__} must have no layers that behave differently in training:"
                f" they are not supported yet. Received: a {type(layer).__name__} named"
                f" {layer.name}. Leave it out."
            )


def _layers_of(network):
    """A network and the layers in it: in attributes, also in lists and dicts, at any depth.

    Keras 3 has no public way to the layers of a layer that is no `keras.Model`.
    """
    seen = set()
    waiting = [network]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, (list, tuple)):
            waiting.extend(value)
        elif isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, keras.layers.Layer):
            yield value
            waiting.extend(vars(value).values())
