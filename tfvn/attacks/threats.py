"""What an adversary may change of a measurement, and how large a change is.

    image     k + A r, r a complex image in a ball of the l2, l1 or linf norm
    k-space   k + e, e on the sampled entries, in a ball of the l2 norm

A line that holds nothing but zeros was never measured, whatever the mask says. It stays as it is:
A r leaves it out, and so does e. An l2 ball of k-space holds all A r with || A r || <= radius and
more: with several coils the range of A is a proper subspace. Norms are those of the vector of real
and imaginary parts.
"""

import dataclasses

import tensorflow as tf

from tfvn.attacks import loop
from tfvn.attacks.region import window
from tfvn.physics import measurement
from tfvn.projections import BALLS, norm

__all__ = ["IMAGE", "KSpaceThreat", "ImageThreat", "THREATS", "threat_of"]


@dataclasses.dataclass(frozen=True)
class ImageThreat:
    """An image r that the scanner would have measured too: k + A r.

    ball: the norm of the ball that r stays in, a name of `tfvn.projections.BALLS`.
    region: where r may differ from 0, as `tfvn.attacks.region.window` takes it; () for everywhere.
    """

    ball: str = "l2"
    region: tuple = ()
    # What a change is called.
    symbol = "r"
    # Whether it is an image, which enters as A r.
    is_image = True

    def zero(self, sense, inputs):
        """No change, of the shape that a change has.

        Args:
            sense: the `Sense` of A.
            inputs: the measurement.
        """
        return tf.zeros_like(sense.crop_readout(inputs["sensitivity_maps"][:, 0]))

    def support(self, inputs, like):
        """Where a change may differ from 0: zeros and ones that broadcast to `like`.

        None stands for everywhere.

        Args:
            inputs: the measurement as it came.
            like: what `zero` returns.
        """
        del inputs
        if not self.region:
            return None
        return tf.cast(window(self.region, *like.shape[-2:]), like.dtype)

    def known(self, sense, inputs, reference=None):
        """What `enter` must know, and models are not told: a dict of tensors.

        Args:
            sense: the `Sense` of A.
            inputs: the measurement as it came.
            reference: the true images, complex (batch, rows, width), or None.
        """
        del sense, reference
        return {"mask": measurement.without_padding(inputs)}

    def enter(self, sense, inputs, change, known):
        """The measurement with the change in it.

        Args:
            sense: the `Sense` of A.
            inputs: as a model reads it, see `tfvn.physics.measurement.read_as`.
            change: r, complex (batch, rows, width).
            known: what `known` returns.
        """
        return measurement.perturbed(sense, inputs, change, known["mask"])

    def in_kspace(self, sense, inputs, change):
        """The change of the k-space, complex (batch, coils, height, width)."""
        mask = measurement.without_padding(inputs)
        return sense.forward(change, inputs["sensitivity_maps"], mask)

    def full_size(self, inputs, reference):
        """The norm that a radius is compared with: of the true image, (batch,)."""
        del inputs
        return tf.norm(tf.abs(reference), axis=[1, 2])

    def project(self, change, radius):
        """The nearest change inside the ball."""
        return BALLS[self.ball](change, radius)

    def size(self, change):
        """The norm that a radius bounds, (batch,)."""
        return norm(change, self.ball)

    def steepest(self, gradient):
        """The change of size 1 in whose direction an objective of this gradient grows most."""
        if self.ball == "linf":
            return tf.complex(tf.sign(tf.math.real(gradient)), tf.sign(tf.math.imag(gradient)))
        if self.ball == "l1":
            return _largest_part(gradient)
        return _normalised(gradient)

    def draw(self, like, keys, radius):
        """A random change on the surface of the ball for every image, by its own key."""
        return loop.on_the_sphere(like, keys, radius, self.ball)


@dataclasses.dataclass(frozen=True)
class KSpaceThreat:
    """Entries e of the sampled k-space: k + e. The functions are those of `ImageThreat`."""

    symbol = "e"
    is_image = False

    def zero(self, sense, inputs):
        del sense
        return tf.zeros_like(inputs["sensitivity_maps"])

    def support(self, inputs, like):
        return tf.cast(measurement.without_padding(inputs) != 0, like.dtype)

    def known(self, sense, inputs, reference=None):
        del sense, inputs, reference
        return {}

    def enter(self, sense, inputs, change, known):
        del known
        return measurement.with_kspace(sense, inputs, change)

    def in_kspace(self, sense, inputs, change):
        del sense, inputs
        return change

    def full_size(self, inputs, reference):
        del reference
        return norm(inputs["kspace"])

    def project(self, change, radius):
        return BALLS["l2"](change, radius)

    def size(self, change):
        return norm(change)

    def steepest(self, gradient):
        return _normalised(gradient)

    def draw(self, like, keys, radius):
        return loop.on_the_sphere(like, keys, radius)


def _normalised(gradient):
    length = loop.by_image(norm(gradient), gradient)
    return tf.math.divide_no_nan(gradient, tf.cast(length, gradient.dtype))


def _largest_part(gradient):
    """The sign of the largest real or imaginary part of each image, and 0 in all other parts."""
    real, imaginary = tf.math.real(gradient), tf.math.imag(gradient)
    parts = tf.reshape(tf.stack([real, imaginary], -1), [tf.shape(gradient)[0], -1])
    place = tf.argmax(tf.abs(parts), 1)
    chosen = tf.one_hot(place, tf.shape(parts)[1], dtype=parts.dtype) * tf.sign(parts)
    chosen = tf.reshape(chosen, tf.concat([tf.shape(gradient), [2]], 0))
    return tf.ensure_shape(tf.complex(chosen[..., 0], chosen[..., 1]), gradient.shape)


# The paper's.
IMAGE = ImageThreat()
# By the names that settings have.
THREATS = {
    "l2": ImageThreat("l2"),
    "l1": ImageThreat("l1"),
    "linf": ImageThreat("linf"),
    "kspace": KSpaceThreat(),
}


def threat_of(name, region):
    """The threat of some settings.

    Args:
        name: one of `THREATS`.
        region: where an image r may differ from 0, see `tfvn.attacks.region.check_region`.

    Raises:
        ValueError: for a region of k-space.
    """
    threat = THREATS[name]
    if not region:
        return threat
    if name == "kspace":
        raise ValueError(
            "threat_region must be empty with threat='kspace': it is a region of the image."
            f" Received: threat_region={list(region)}"
        )
    return dataclasses.replace(threat, region=region)
