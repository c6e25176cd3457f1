"""What is timed. Each function makes a `Workload` for a size. All go through public interfaces and
return what they computed.
"""

from typing import Callable, NamedTuple, Optional

import tensorflow as tf

from benchmarks import plain
from benchmarks.problem import make_image, make_inputs, make_network
from tfvn.attacks import AutoProjectedGradient, ProjectedGradientAscent
from tfvn.defences.smoothing import Smoothed
from tfvn.training.ipalm_steps import IPALMSteps
from tfvn.training.recipes import Noise
from tfvn.training.trainer import Trainer


class Workload(NamedTuple):
    """What is timed side by side.

    product: the package's function.
    plain: the plain formulation of a unit of the work; None where there is none.
    units: how many units a call of the product does.
    """

    product: Callable
    plain: Optional[Callable]
    units: int = 1


def _problem(size):
    """The network, its inputs, and the arrays that the plain formulation takes."""
    inputs = make_inputs(size)
    arrays = [inputs[key] for key in ("kspace", "sensitivity_maps", "mask")]
    return make_network(size), inputs, arrays


def _without_kspace(model, inputs):
    """The inputs with A^H k in place of k, as attacks and training hand them on."""
    found = {**inputs, "zero_filled": model.zero_filled(inputs)}
    del found["kspace"]
    return found


def _compiled(function):
    return tf.function(function, autograph=False)


def forward(size):
    model, inputs, arrays = _problem(size)
    baseline = _compiled(lambda *arrays: plain.reconstruct(model, *arrays))
    return Workload(lambda: model.reconstruct(inputs), lambda: baseline(*arrays))


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
    inputs = _without_kspace(network, inputs)
    step = _compiled(lambda inputs, r: _energy_gradient(model, inputs, clean, r))
    return lambda: step(inputs, perturbation)


def attack_gradient(size):
    model, inputs, arrays = _problem(size)
    perturbation, clean = 0.01 * make_image(size), tf.abs(make_image(size))

    @_compiled
    def baseline(perturbation, kspace, maps, mask):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(perturbation)
            perturbed = kspace + plain.forward(perturbation, maps, mask)
            attacked = plain.reconstruct(model, perturbed, maps, mask)
            energy = tf.reduce_sum(tf.square(attacked - clean)) / 2
        return tape.gradient(energy, perturbation)

    product = _attack_step(model, model, size, inputs)
    return Workload(product, lambda: baseline(perturbation, *arrays))


def apgd(size, steps):
    """A search that chooses its step sizes, beside the paper's ascent of as many gradients."""
    model, inputs, _ = _problem(size)
    search, ascent = AutoProjectedGradient(steps=steps), ProjectedGradientAscent(steps=steps)

    def run(attack):
        return attack.run(model, inputs, 3.5)[:4]

    return Workload(lambda: run(search), lambda: run(ascent))


def training_gradient(size, automatic=False):
    model, inputs, arrays = _problem(size)
    reference, trainer = make_image(size), Trainer(model)
    product = _compiled(trainer.loss_and_gradients)
    inputs = _without_kspace(model, inputs)

    @_compiled
    def baseline(kspace, maps, mask):
        parameters = plain.copies(model)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(parameters)
            image = plain.reconstruct(model, kspace, maps, mask, parameters, automatic)
            loss = tf.reduce_sum(tf.square(image - tf.abs(reference))) / 2
        return tape.gradient(loss, parameters)

    return Workload(
        lambda: product(inputs, reference)[1],
        lambda: tf.nest.flatten(baseline(*arrays)),
    )


def smoothed(size, num_samples):
    model, inputs, arrays = _problem(size)
    smooth = Smoothed(model, sigma=0.05, num_samples=num_samples)

    @_compiled
    def baseline(seed, kspace, maps, mask):
        noise = 0.05 * tf.random.stateless_normal([2, *kspace.shape], seed)
        noise = tf.cast(mask, tf.complex64) * tf.complex(noise[0], noise[1])
        return plain.reconstruct(model, kspace + noise, maps, mask)

    seed = tf.constant([1, 2])
    return Workload(
        lambda: smooth.reconstruct(inputs), lambda: baseline(seed, *arrays), num_samples
    )


def smoothed_attack_step(size, num_samples):
    model, inputs, _ = _problem(size)
    smooth = Smoothed(model, sigma=0.05, num_samples=num_samples)
    return Workload(_attack_step(smooth, model, size, inputs), None, num_samples)


def ipalm_iteration(size, slices):
    """One iteration. All trials are accepted at once with this first L, so it is the least work of
    an iteration.
    """
    inputs, reference = make_inputs(size, slices), make_image(size, slices)
    optimizer = IPALMSteps(initial_lipschitz=1e6)
    trainer = Trainer(make_network(size), optimizer, Noise(0.05))
    step = _compiled(lambda *data: trainer.train_step(data))
    return Workload(lambda: step(inputs, reference), None, slices)


def full_attack(size, num_samples, steps):
    model, inputs, _ = _problem(size)
    smooth = Smoothed(model, sigma=0.05, num_samples=num_samples)
    attack = ProjectedGradientAscent(steps=steps)
    return Workload(lambda: attack.run(smooth, inputs, 3.5)[:4], None, num_samples * steps)
