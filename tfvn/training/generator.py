"""A network as the adversary: it learns to attack while the other learns to reconstruct.

    min over f, max over G:    E(f(k)) + w E(f(k + A G(A^H k))),    E(x) = 1/2 || x - |y| ||^2

G is a U-Net from the zero-filled image to an image in the ball || r || <= R. It attacks a slice by
one answer of its own, where an ascent takes several gradients of f. Both are changed in the same
step: the gradient in G's weights has the other sign, so that the optimizer raises there what it
lowers in f's.

Raj, Bresler and Li, ICML 2020, who hold the norm of G's answers back by a penalty. Here it is
projected on the ball.
"""

import tensorflow as tf

from tfvn import checks
from tfvn.attacks.threats import IMAGE
from tfvn.models.features import as_channels, as_image
from tfvn.models.unet_layers import TINY, UNetLayers
from tfvn.physics import measurement
from tfvn.projections import l2_ball
from tfvn.training.recipe import MEASURED_MASK, Recipe

__all__ = ["Generator"]


class Generator(Recipe):
    """A network that attacks is trained beside the network. The optimizer must not be ipalm.

    Args:
        radius: the largest norm of what it adds to the image.
        weight: of the error under its attack.
        channels: of the first level of its U-Net.
        pools: how often it halves the image.

    Raises:
        ValueError: for values outside their limits.
    """

    def __init__(self, radius=2.5, weight=1.0, channels=8, pools=3):
        self.radius = checks.number("radius", radius, 0)
        self.weight = checks.number("weight", weight, 0)
        self.channels = checks.whole("channels", channels, 1)
        self.pools = checks.whole("pools", pools, 1)

    @property
    def gradients_of_loss(self):
        """Of two answers."""
        return 2 if self.radius else 1

    def build(self, network, seed):
        if not self.radius:
            return
        # Those of a model's networks are a thousand times its own.
        seed = seed * 1000
        sizes = (2, 2, self.channels, self.pools)
        self.generator = UNetLayers(*sizes, seed=seed, dtype=network.dtype)
        self.parameter_blocks = {"generator": list(self.generator.trainable_weights)}

    def change(self, network, inputs):
        """G(A^H k), complex (batch, rows, width)."""
        features = as_channels(measurement.zero_filled(network.sense, inputs))
        # In units of its own deviation, as a U-Net's images are.
        energy = tf.reduce_mean(tf.square(features), [1, 2, 3], keepdims=True)
        found = self.generator(features / tf.sqrt(energy + TINY))
        return as_image(l2_ball(found, self.radius))

    def loss(self, network, inputs, reference, wanted):
        wanted = [name for name in wanted if name in network.parameter_blocks]
        loss = super().loss(network, inputs, reference, wanted)
        if not self.radius:
            return loss
        r = self.change(network, inputs)
        # It is r, with a gradient of the other sign.
        raised = 2 * tf.stop_gradient(r) - r
        known = {"mask": inputs[MEASURED_MASK]}
        attacked = IMAGE.enter(network.sense, inputs, raised, known)
        return loss + self.weight * super().loss(network, attacked, reference, wanted)
