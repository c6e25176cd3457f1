"""What is timed. Each workload makes, for a size, the product's function, the plain one and the
number of units that a call of the product's does; a unit is one plain call. All go through public
interfaces and return what they computed.
"""

import tensorflow as tf

from benchmarks import plain
from benchmarks.problem import make_image, make_inputs, make_network
from tfvn.attacks import ProjectedGradientAscent
from tfvn.defences.smoothing import Smoothed
from tfvn.training.optimizers import IPALMSteps
from tfvn.training.recipes import Noise
from tfvn.training.trainer import Trainer


def _problem(size):
    inputs = make_inputs(size)
    return (
        make_network(size),
        inputs,
        [inputs[key] for key in ("kspace", "sensitivity_maps", "mask")],
    )


def _compiled(function):
    return tf.function(function, autograph=False)


def forward(size):
    model, inputs, arrays = _problem(size)
    baseline = _compiled(lambda *arrays: plain.reconstruct(model, *arrays))
    return (lambda: model.reconstruct(inputs)), (lambda: baseline(*arrays)), 1


def _energy_gradient(model, inputs, clean, perturbation):
    """The gradient that a step of the attack takes, with `zero_filled` in place of the k-space as
    there.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(perturbation)
        change = model.sense.normal(perturbation, inputs["sensitivity_maps"], inputs["mask"])
        attacked = model.reconstruct({**inputs, "zero_filled": inputs["zero_filled"] + change})
        energy = tf.reduce_sum(tf.square(attacked - clean)) / 2
    return tape.gradient(energy, perturbation)


def _attack_step(model, network, size, inputs):
    perturbation, clean = 0.01 * make_image(size), tf.abs(make_image(size))
    inputs = {**inputs, "zero_filled": network.zero_filled(inputs)}
    del inputs["kspace"]
    step = _compiled(lambda inputs, r: _energy_gradient(model, inputs, clean, r))
    return lambda: step(inputs, perturbation)


def attack_gradient(size):
    model, inputs, arrays = _problem(size)
    perturbation, clean = 0.01 * make_image(size), tf.abs(make_image(size))

    @_compiled
    def baseline(perturbation, kspace, maps, mask):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(perturbation)
            attacked = plain.reconstruct(
                model, kspace + plain.forward(perturbation, maps, mask), maps, mask
            )
            energy = tf.reduce_sum(tf.square(attacked - clean)) / 2
        return tape.gradient(energy, perturbation)

    return _attack_step(model, model, size, inputs), (lambda: baseline(perturbation, *arrays)), 1


def training_gradient(size, automatic=False):
    model, inputs, arrays = _problem(size)
    reference, trainer = make_image(size), Trainer(model)
    product = _compiled(trainer.loss_and_gradients)
    inputs = {**inputs, "zero_filled": model.zero_filled(inputs)}
    del inputs["kspace"]

    @_compiled
    def baseline(kspace, maps, mask):
        parameters = [[tf.identity(x) for x in block] for block in model.parameter_blocks.values()]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(parameters)
            error = plain.reconstruct(model, kspace, maps, mask, parameters, automatic) - tf.abs(
                reference
            )
            loss = tf.reduce_sum(tf.square(error)) / 2
        return tape.gradient(loss, parameters)

    return (lambda: product(inputs, reference)[1]), (lambda: tf.nest.flatten(baseline(*arrays))), 1


def smoothed(size, num_samples):
    model, inputs, arrays = _problem(size)
    smooth = Smoothed(model, sigma=0.05, num_samples=num_samples)

    @_compiled
    def baseline(seed, kspace, maps, mask):
        noise = 0.05 * tf.random.stateless_normal([2, *kspace.shape], seed)
        return plain.reconstruct(
            model, kspace + tf.cast(mask, tf.complex64) * tf.complex(noise[0], noise[1]), maps, mask
        )

    return (
        (lambda: smooth.reconstruct(inputs)),
        (lambda: baseline(tf.constant([1, 2]), *arrays)),
        num_samples,
    )


def smoothed_attack_step(size, num_samples):
    model, inputs, _ = _problem(size)
    smooth = Smoothed(model, sigma=0.05, num_samples=num_samples)
    return _attack_step(smooth, model, size, inputs), None, num_samples


def ipalm_iteration(size, slices):
    """One iteration; all trials are accepted at once with this first L, so that it is the least
    work of an iteration.
    """
    inputs, reference = make_inputs(size, slices), make_image(size, slices)
    optimizer = IPALMSteps(initial_lipschitz=1e6)
    trainer = Trainer(make_network(size), optimizer, Noise(0.05))
    step = _compiled(lambda *data: trainer.train_step(data))
    return (lambda: step(inputs, reference)), None, slices


def full_attack(size, num_samples, steps):
    model, inputs, _ = _problem(size)
    smooth = Smoothed(model, sigma=0.05, num_samples=num_samples)
    attack = ProjectedGradientAscent(steps=steps)
    return (lambda: attack.run(smooth, inputs, 3.5)[:4]), None, num_samples * steps
