"""Training: iPALM as in the paper, or first-order optimizers beside it, on clean or noisy
measurements.

    loss = 1/(2N) sum_i || |u_T(k_i + e_i)| - |y_i| ||_2^2,    e_i fresh k-space noise of every step, of standard deviation sigma

adam and radam-lookahead (RectifiedAdam inside Lookahead) step and project. conditional-gradient
(Frank-Wolfe) moves each filter k, with gradient g, towards the point of its constraint set that the
linearised loss is least at,

    k <- (1 - rate) k + rate s,    s = -(g - mean g) / || g - mean g ||,    of all k with zero mean and || k || <= 1,

and so never leaves the set (what rounding adds is projected away). The sets of the other parameters
are unbounded and have no such point: they are Adam's, with the same rate.

Losses and gradients go through a batch slice by slice and are summed: memory does not grow with the
batch, apart from its data.
"""

import functools

import tensorflow as tf
from tensorflow import keras

from tfvn import compat, metrics, replicas
from tfvn.device import one_graph
from tfvn.models.base import magnitude
from tfvn.models.descent import PARAMETERS
from tfvn.physics.measurement import without_kspace
from tfvn.physics.noise import LAWS, image_noise
from tfvn.projections import zero_mean_unit_sphere
from tfvn.training.ipalm import IPALM

__all__ = ["OPTIMIZERS", "Trainer"]

OPTIMIZERS = ("ipalm", "adam", "radam-lookahead", "conditional-gradient")

# Second half of the random keys: streams that must never meet.
_TRAINING_NOISE, _VALIDATION_NOISE = 0, 2


class Trainer(keras.Model):
    """A Keras model that owns the training step of a network; use it with `fit` on batches (inputs,
    reference).

    Args:
        network: a `VariationalNetwork`; it is trained in place.
        optimizer: one of `OPTIMIZERS` or any Keras optimizer. All keep the constraints: zero-mean
            filters of norm at most 1, data weights >= 0. The last two are those of
            tensorflow-addons.
        sigma: standard deviation of each real component of the k-space noise added in training, >=
            0.
        momentum, initial_lipschitz: of `IPALM`.
        stagewise: False: one block of iPALM is one kind of parameter of all stages. True: of one
            stage, stage by stage, as the stage-wise optimizer of the original code; its iteration
            costs as many gradients and trials as there are blocks.
        learning_rate: of all but iPALM, a number or a Keras schedule; of conditional-gradient at
            most 1.
        noise: distribution of that noise, "gaussian", "uniform" or "laplace".
        seed: of the noise. The noise of a step depends on (seed, step, position in the batch) only.
        strategy: a `tf.distribute` strategy over whose replicas the slices of a batch are split, or
            None. The network (and a Keras optimizer) must have been made inside its scope, and the
            trainer outside. Every process is given whole batches. Validation is not split: every
                process does all of it.

    Raises:
        ValueError: for an unknown optimizer or noise, a negative sigma, an optimizer of a package
            that is not there, or a network or an optimizer that does not fit the strategy.
    """

    def __init__(
        self,
        network,
        optimizer="ipalm",
        sigma=0.0,
        momentum=0.7,
        initial_lipschitz=1000.0,
        learning_rate=1e-3,
        seed=0,
        stagewise=False,
        noise="gaussian",
        strategy=None,
        **kwargs,
    ):
        # Under a policy of mixed precision Keras would scale the loss for the optimizer.
        super().__init__(**{"dtype": network.dtype, **kwargs})
        if noise not in LAWS:
            raise ValueError(f"noise must be one of {LAWS}. Received: noise={noise!r}")
        if not sigma >= 0:
            raise ValueError(f"sigma must be a number >= 0. Received: sigma={sigma}")
        if isinstance(optimizer, str) and optimizer not in OPTIMIZERS:
            raise ValueError(
                f"optimizer must be one of {OPTIMIZERS} or a Keras optimizer. Received:"
                f" optimizer={optimizer!r}"
            )
        if tf.distribute.has_strategy():
            raise ValueError(
                "A trainer is made outside of `strategy.scope()`. Give it that: Trainer(...,"
                " strategy=strategy)."
            )
        if strategy is not None and optimizer in ("radam-lookahead", "conditional-gradient"):
            raise ValueError(
                f"optimizer={optimizer} trains on one device. Use ipalm or adam with a strategy."
            )
        replicas.check_variables(strategy, map(compat.variable_of, network.weights))
        self.network, self.sigma, self.seed, self.noise = network, float(sigma), int(seed), noise
        self.strategy = strategy
        self.steps_done = self.add_weight(
            name="steps_done", shape=(), dtype="int32", initializer="zeros", trainable=False
        )
        self.ipalm = self.filter_optimizer = None
        if optimizer == "ipalm":
            parameters = network.parameter_blocks
            stages = range(len(network.stages))
            if stagewise:
                self._blocks = {
                    f"{name}_{t + 1}": (name, slice(t, t + 1))
                    for t in stages
                    for name in PARAMETERS
                }
            else:
                self._blocks = {name: (name, slice(None)) for name in PARAMETERS}
            blocks = [parameters[name][chosen] for name, chosen in self._blocks.values()]
            projections = [block[0].constraint or tf.identity for block in blocks]
            self.ipalm = IPALM(
                blocks, projections, momentum, initial_lipschitz, dtype=network.dtype
            )
        elif optimizer == "radam-lookahead":
            addons = compat.addons("optimizer=radam-lookahead", "optimizer=adam").optimizers
            optimizer = addons.Lookahead(addons.RectifiedAdam(learning_rate))
        elif optimizer == "conditional-gradient":
            self.filter_optimizer = _frank_wolfe(
                learning_rate, network.stages[0].filters, self.steps_done
            )
        if optimizer in ("adam", "conditional-gradient"):
            with replicas.scope(strategy):
                optimizer = keras.optimizers.Adam(learning_rate)
        self._trackers = {name: keras.metrics.Mean(name=name) for name in ("loss", "nrmse", "ssim")}
        # Keras wants an optimizer; iPALM's state is the layer above, so what is compiled beside it
        # is never used.
        self.compile(
            optimizer=keras.optimizers.SGD() if self.ipalm else optimizer, jit_compile=False
        )
        # With its slots made now, an optimizer's state can be restored before its first step. Those
        # of tensorflow-addons are of the older kind, which restores a slot when the first step
        # makes it.
        if hasattr(self.optimizer, "build"):
            own = (
                network.trainable_variables
                if self.filter_optimizer is None
                else self._variables()[len(network.stages) :]
            )
            with replicas.scope(strategy):
                self.optimizer.build(own)
        self.built = True

    def checkpoint(self):
        """A `tf.train.Checkpoint` of all that an interrupted training goes on from."""
        return tf.train.Checkpoint(trainer=self, variables=compat.hidden_variables(self))

    def _variables(self):
        """All parameters, the kernels first, in the order of `loss_and_gradients`."""
        return [variable for block in self.network.parameter_blocks.values() for variable in block]

    @property
    def metrics(self):
        return list(self._trackers.values())

    def call(self, inputs):
        return self.network(inputs)

    def noisy_inputs(self, inputs, seeds):
        """The inputs with `zero_filled` = A^H (kspace + e), e keyed by `seeds`, int32 (batch,
        2).
        """
        maps = inputs["sensitivity_maps"]
        zero_filled = self._by_slice(
            inputs, lambda one: self.network.zero_filled(one)[0], maps.dtype
        )
        if self.sigma:
            zero_filled += self.sigma * image_noise(
                self.network.sense, maps, inputs["mask"], seeds, self.noise
            )
        return without_kspace(inputs, zero_filled)

    # Called eagerly too, where TensorFlow 2.21 converts what it maps, without end.
    @tf.autograph.experimental.do_not_convert
    def validation_inputs(self, inputs):
        """`noisy_inputs` keyed by the slice, so that every validation sees the same draws."""
        index = inputs.get("sample_index", tf.range(tf.shape(inputs["sensitivity_maps"])[0]))
        return self.noisy_inputs(
            inputs,
            tf.stack([tf.cast(index, tf.int32), tf.fill(tf.shape(index), _VALIDATION_NOISE)], 1),
        )

    def batch_loss(self, inputs, reference):
        """1/(2N) sum over the batch of squared errors of the magnitude; a scalar."""
        return self.loss_and_gradients(inputs, reference, ())[0]

    def loss_and_gradients(self, inputs, reference, wanted=PARAMETERS, count=None, batch=None):
        """`batch_loss` and its gradients in all stages' parameters of the names `wanted`, name by
        name in one list.

        Of a batch of which only a share is here, its part of both sums: over the first `count`
        slices, N = `batch`.
        """
        blocks = self.network.parameter_blocks
        variables = [compat.variable_of(weight) for name in wanted for weight in blocks[name]]
        count, batch = (tf.shape(reference)[0] if size is None else size for size in (count, batch))

        def add(index, loss, *gradients):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                own = self._loss(_slice(inputs, index), reference[index][None], wanted) / tf.cast(
                    batch, loss.dtype
                )
            return (
                index + 1,
                loss + own,
                *(g + d for g, d in zip(gradients, tape.gradient(own, variables))),
            )

        start = (
            tf.constant(0),
            tf.zeros([], reference.dtype.real_dtype),
            *(tf.zeros_like(v) for v in variables),
        )
        _, loss, *gradients = tf.while_loop(
            lambda index, *_: index < count, add, start, parallel_iterations=1
        )
        return loss, gradients

    def _loss(self, inputs, reference, wanted=()):
        error = magnitude(self.network(inputs, wanted=wanted)) - magnitude(reference)
        return tf.reduce_sum(tf.square(error)) / 2

    @staticmethod
    def _by_slice(inputs, function, dtype):
        """function(inputs of one slice) for each slice of a batch, stacked."""
        batch = tf.range(tf.shape(inputs["sensitivity_maps"])[0])
        return tf.map_fn(
            lambda index: function(_slice(inputs, index)),
            batch,
            fn_output_signature=dtype,
            parallel_iterations=1,
        )

    # AutoGraph would only cost time: all control flow is TensorFlow's own.
    @tf.autograph.experimental.do_not_convert
    def train_step(self, data):
        inputs, reference = data
        batch = tf.shape(reference)[0]
        key = tf.random.experimental.stateless_fold_in(
            [self.seed, _TRAINING_NOISE], self.steps_done
        )
        seeds = tf.random.experimental.stateless_split(key, batch)
        share = replicas.run(self.strategy, self._share, inputs, reference, seeds, batch)
        if self.ipalm is not None:
            # One graph serves the trials of all blocks, one the gradients of all stages.
            parts = {
                wanted: one_graph(functools.partial(self._parts, wanted))
                for wanted in ((), *((n,) for n in PARAMETERS))
            }
            blocks = list(self._blocks.values())

            def energy_and_gradients(block):
                name, stages = blocks[block]
                energy, *gradients = replicas.total(self.strategy, parts[name,], *share)
                return energy, gradients[stages]

            loss = self.ipalm.step(
                lambda: replicas.total(self.strategy, parts[()], *share)[0],
                energy_and_gradients,
            )
        else:
            loss = replicas.total(self.strategy, self._optimizer_step, *share)[0]
        self.steps_done.assign_add(1)
        self._trackers["loss"].update_state(loss)
        return {"loss": self._trackers["loss"].result(), "step_loss": loss, **self._step_logs()}

    def _share(self, inputs, reference, seeds, batch):
        """This replica's slices of a batch, noisy; their number, and that of the whole batch."""
        (inputs, reference, seeds), count = replicas.own_slices((inputs, reference, seeds), batch)
        return self.noisy_inputs(inputs, seeds), reference, count, batch

    def _parts(self, wanted, inputs, reference, count, batch):
        loss, gradients = self.loss_and_gradients(inputs, reference, wanted, count, batch)
        return [loss, *gradients]

    def _optimizer_step(self, *share):
        loss, *gradients = self._parts(PARAMETERS, *share)
        pairs = list(zip(gradients, self._variables()))
        if self.filter_optimizer is not None:
            kernels = len(self.network.stages)
            directions = [
                (zero_mean_unit_sphere(gradient), kernel) for gradient, kernel in pairs[:kernels]
            ]
            self.filter_optimizer.apply_gradients(directions)
            pairs = pairs[kernels:]
        # Keras sums the gradients over the replicas; the variables' own constraints are
        # projections, applied after its update.
        self.optimizer.apply_gradients(pairs)
        return [loss]

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

    def _step_logs(self):
        if self.ipalm is None:
            return {}
        pairs = zip(self._blocks, self.ipalm.lipschitz, self.ipalm.trials)
        return {
            key: tf.convert_to_tensor(value)
            for name, lipschitz, trials in pairs
            for key, value in ((f"lipschitz_{name}", lipschitz), (f"trials_{name}", trials))
        }

    @tf.autograph.experimental.do_not_convert
    def test_step(self, data):
        """Loss, nrmse and SSIM on one batch, with noisy inputs if the network is trained for
        them.
        """
        inputs, reference = data
        image = self.network(self.validation_inputs(inputs))
        self._trackers["loss"].update_state(
            tf.reduce_mean(tf.square(metrics.error_norm(image, reference))) / 2
        )
        self._trackers["nrmse"].update_state(metrics.nrmse(image, reference))
        self._trackers["ssim"].update_state(metrics.ssim(image, reference))
        return {name: tracker.result() for name, tracker in self._trackers.items()}


def _frank_wolfe(rate, filters, steps_done):
    """ConditionalGradient over the filters of a kernel, given their `zero_mean_unit_sphere` in
    place of a gradient.

    tensorflow-addons moves a whole variable towards the point -lambda_ g / || g || of one ball
    around all its filters, where one filter may take up all the norm. Of directions that have norm
    1 filter by filter || g || is sqrt(filters): with that lambda_ the point is -g, the vertex of
    the product of the filters' own sets. Its learning_rate is the share of the old value.
    """
    optimizer = compat.addons(
        "optimizer=conditional-gradient", "optimizer=adam"
    ).optimizers.ConditionalGradient
    first = float(rate(0)) if callable(rate) else rate
    if not 0 <= first <= 1:
        raise ValueError(
            "conditional-gradient needs a learning_rate of at most 1. Received:"
            f" learning_rate={first:g}"
        )
    if callable(rate):
        # It calls a function, but it cannot take a Keras schedule.
        return optimizer(lambda: 1 - rate(steps_done), lambda_=filters**0.5)
    return optimizer(1 - rate, lambda_=filters**0.5)


def _slice(inputs, index):
    """The inputs of one slice of a batch, as a batch of one. What all slices share has a batch of
    one already.
    """
    keys = set(inputs) & {
        "kspace",
        "zero_filled",
        "initial_image",
        "sensitivity_maps",
        "mask",
        "reference",
    }
    return {key: inputs[key][tf.minimum(index, tf.shape(inputs[key])[0] - 1)][None] for key in keys}
