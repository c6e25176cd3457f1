"""Jittering: training on noisy measurements, for an answer to the measurement as it is.

The noise e of a slice is as large as an attack is allowed to be. There are two published rules for
its deviation s of a real component, n of which are sampled:

    drawn    s = t R / sqrt(n),    t uniform in [0, 1], so that E || e ||^2 = t^2 R^2
    linear   s^2 d = (R^2 z^2 + R z c sqrt(c^2 - R^2 + z^2)) / (c^2 - R^2)

`drawn` is that of Genzel, Macdonald and Maerz (IEEE TPAMI 45(1), 2023). `linear` makes the best
linear denoiser under noise the best one under the worst change of the norm R too (Krainovic,
Soltanolkotabi and Heckel, NeurIPS 2023). The data A y, of the norm c, lie in a subspace of d
dimensions. z^2 is the energy in it of the noise that the data have already: without any, the rule
is no jitter. Here d is the smaller one of n and of the numbers of an image.

Optimality is proved of linear denoising alone. For undersampled data and a network the rule is a
scale to begin a search at.
"""

import math

import tensorflow as tf

from tfvn import checks
from tfvn.physics import measurement
from tfvn.physics.noise import fold_in
from tfvn.projections import norm
from tfvn.training.recipe import Recipe

__all__ = ["Jitter", "linear_energy"]

_RULES = ("drawn", "linear")
# Of the random numbers of a slice: its scale, and its noise.
_SCALE, _NOISE = range(2)


def linear_energy(radius, signal, noise):
    """s^2 d of the rule `linear`, the energy of the jitter in the subspace of the data.

    Args:
        radius: R, below `signal`: beyond it the best linear answer is 0.
        signal: c, the norm of the data.
        noise: z^2, the energy of their noise in that subspace.
    """
    mixed = radius * tf.sqrt(noise) * signal * tf.sqrt(signal**2 - radius**2 + noise)
    return (radius**2 * noise + mixed) / (signal**2 - radius**2)


class Jitter(Recipe):
    """The measurements with noise whose size is that of an attack. Unlike the recipe noise it is
    for a network that is not smoothed: a validation is of the measurements as they are.

    Args:
        radius: the norm of the attack, in units of images of maximum 1; the norm of the data must
            be larger.
        rule: of the noise's deviation, drawn (another one for each slice) | linear.
        noise: with the rule linear, the deviation of a real component of the noise that the data
            have, above 0.

    Raises:
        ValueError: for values outside their limits.
    """

    def __init__(self, radius=2.5, rule="drawn", noise=0.0):
        self.radius = checks.number("radius", radius, 0)
        self.rule = checks.choice("rule", rule, _RULES)
        self.noise = checks.number("noise", noise, 0)
        if (self.rule == "linear") != (self.noise > 0):
            raise ValueError(
                "noise must be above 0 with rule=linear, whose jitter is 0 without it, and 0 with"
                f" another rule. Received: noise={self.noise}, rule={self.rule}"
            )

    def __call__(self, network, inputs, reference, keys):
        if not self.radius:
            return inputs
        sigma = self.deviation(network.sense, inputs, reference, keys)
        own = tf.map_fn(lambda key: fold_in(key, _NOISE), keys)
        return measurement.noisy(network.sense, inputs, sigma, own)

    def deviation(self, sense, inputs, reference, keys):
        """s of each slice, real (batch,).

        Args:
            sense: the `Sense` of A.
            inputs, reference, keys: as for the call.
        """
        maps, mask = inputs["sensitivity_maps"], inputs["mask"]
        real = reference.dtype.real_dtype
        _, coils, height, width = tf.unstack(tf.shape(maps))
        sampled = tf.reduce_mean(tf.cast(mask, real), [1, 2, 3])
        count = 2 * tf.cast(coils * height * width, real) * sampled
        radius = tf.constant(self.radius, real)
        if self.rule == "drawn":
            share = tf.map_fn(
                lambda key: tf.random.stateless_uniform([], fold_in(key, _SCALE), dtype=real),
                keys,
                fn_output_signature=real,
            )
            return share * radius / tf.sqrt(count)
        numbers = 2 * math.prod(reference.shape[1:])
        dimensions = tf.minimum(count, tf.constant(numbers, real))
        signal = norm(sense.forward(reference, maps, mask))
        tf.debugging.assert_greater(
            signal,
            radius,
            f"the rule linear needs data of a norm above the radius {self.radius:g}: beyond it the"
            " best linear answer is 0. Give the recipe a smaller radius, or rule=drawn.",
        )
        energy = linear_energy(radius, signal, dimensions * self.noise**2)
        return tf.sqrt(energy / dimensions)
