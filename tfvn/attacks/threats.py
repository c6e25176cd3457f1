"""What an adversary may change of a measurement, and how large a change is.

    image     k + A r, r a complex image in a ball of the l2, l1 or linf norm
    k-space   k + e, e on the sampled entries, in a ball of the l2 norm
    maps      S + d in place of the coil maps S, || d ||_2 <= radius || S ||_2; k stays as it is

A line that holds nothing but zeros was never measured, whatever the mask says. It stays as it is:
A r leaves it out, and so does e. An l2 ball of k-space holds all A r with || A r || <= radius and
more: with several coils the range of A is a proper subspace. Norms are those of the vector of real
and imaginary parts.
"""

import dataclasses
import math

import tensorflow as tf

from tfvn.attacks import loop
from tfvn.attacks.region import window
from tfvn.physics import measurement
from tfvn.projections import BALLS, norm

__all__ = [
    "IMAGE",
    "ImageThreat",
    "KSpaceThreat",
    "MapThreat",
    "THREATS",
    "Threat",
    "known_object",
    "threat_of",
]


class Threat:
    """What a change is. The ball is one of the l2 norm, unless a threat says otherwise.

    Attributes:
        length: what the amount of a change is called, its l2 norm.
        symbol: what a change is called.
        changes: the input of a model that a change goes into; None for the one that it reads.
        needs_truth: whether `known` needs the true image.
        is_image: whether a change is an image, which enters as A r.
    """

    length = ""
    symbol = ""
    changes = None
    needs_truth = False
    is_image = False

    def zero(self, sense, inputs):
        """No change, of the shape that a change has.

        Args:
            sense: the `Sense` of A.
            inputs: the measurement.
        """
        raise NotImplementedError

    def support(self, inputs, like):
        """Where a change may differ from 0: zeros and ones that broadcast to `like`.

        None stands for everywhere.

        Args:
            inputs: the measurement as it came.
            like: what `zero` returns.
        """
        del inputs, like

    def known(self, sense, inputs, reference=None):
        """What `enter` must know, and models are not told: a dict of tensors.

        Args:
            sense: the `Sense` of A.
            inputs: the measurement as it came.
            reference: the true images, complex (batch, rows, width), or None.

        Raises:
            ValueError: if something is missing.
        """
        del sense, inputs, reference
        return {}

    def entering(self, change, known):
        """The part of a change that can enter a measurement: all of it, unless a threat says
        otherwise.

        Args:
            change, known: as for `enter`.
        """
        del known
        return change

    def enter(self, sense, inputs, change, known):
        """The measurement with the change in it.

        Args:
            sense: the `Sense` of A.
            inputs: as a model reads it, see `tfvn.physics.measurement.read_as`.
            change: of the shape of `zero`.
            known: what `known` returns.
        """
        raise NotImplementedError

    def in_kspace(self, sense, inputs, change, known):
        """The change of the k-space, complex (batch, coils, height, width).

        None stands for what no norm of it measures: another A, or an object that moved. Arguments
        as for `enter`.
        """
        raise NotImplementedError

    def follow(self, image, change, known, is_truth):
        """What an answer to the changed measurement is compared with, in place of an image.

        Args:
            image: the true image, or one that comes from the answer f(k), (batch, rows, width).
            change, known: as for `enter`.
            is_truth: whether it is the true image.
        """
        del change, known, is_truth
        return image

    def amount(self, change):
        """The number that `length` names, of a batch of one."""
        return tf.norm(tf.abs(change))

    def missed(self, effect, amount):
        """Whether an answer lacks a feature that a change is, 1 or 0; NaN of other changes.

        Args:
            effect: the norm of the change of an answer, a number.
            amount: of the change, a number.
        """
        del effect, amount
        return math.nan

    def full_size(self, inputs, reference):
        """The number that the amount of a change is compared with, (batch,).

        Args:
            inputs: the measurement as it came.
            reference: the true images.
        """
        raise NotImplementedError

    def project(self, change, radius):
        """The nearest change inside the ball."""
        return BALLS["l2"](change, radius)

    def size(self, change):
        """The norm that a radius bounds, (batch,)."""
        return norm(change)

    def steepest(self, gradient):
        """The change of size 1 in whose direction an objective of this gradient grows most."""
        return _normalised(gradient)

    def draw(self, like, keys, radius):
        """A random change on the surface of the ball for every image, by its own key."""
        return loop.on_the_sphere(like, keys, radius)


@dataclasses.dataclass(frozen=True)
class ImageThreat(Threat):
    """An image r that the scanner would have measured too: k + A r.

    ball: the norm of the ball that r stays in, a name of `tfvn.projections.BALLS`.
    region: where r may differ from 0, as `tfvn.attacks.region.window` takes it; () for everywhere.
    """

    ball: str = "l2"
    region: tuple = ()
    length = "||r||_2"
    symbol = "r"
    is_image = True

    def zero(self, sense, inputs):
        return tf.zeros_like(sense.crop_readout(inputs["sensitivity_maps"][:, 0]))

    def support(self, inputs, like):
        del inputs
        if not self.region:
            return None
        return tf.cast(window(self.region, *like.shape[-2:]), like.dtype)

    def known(self, sense, inputs, reference=None):
        """The mask of A r, without lines that were never measured."""
        del sense, reference
        return {"mask": measurement.without_padding(inputs)}

    def enter(self, sense, inputs, change, known):
        return measurement.perturbed(sense, inputs, change, known["mask"])

    def in_kspace(self, sense, inputs, change, known):
        return sense.forward(change, inputs["sensitivity_maps"], known["mask"])

    def full_size(self, inputs, reference):
        """The norm of the true image."""
        del inputs
        return tf.norm(tf.abs(reference), axis=[1, 2])

    def project(self, change, radius):
        return BALLS[self.ball](change, radius)

    def size(self, change):
        return norm(change, self.ball)

    def steepest(self, gradient):
        if self.ball == "linf":
            return tf.complex(tf.sign(tf.math.real(gradient)), tf.sign(tf.math.imag(gradient)))
        if self.ball == "l1":
            return _largest_part(gradient)
        return _normalised(gradient)

    def draw(self, like, keys, radius):
        return loop.on_the_sphere(like, keys, radius, self.ball)


@dataclasses.dataclass(frozen=True)
class KSpaceThreat(Threat):
    """Entries e of the sampled k-space: k + e."""

    length = "||e||_2"
    symbol = "e"

    def zero(self, sense, inputs):
        del sense
        return tf.zeros_like(inputs["sensitivity_maps"])

    def support(self, inputs, like):
        return tf.cast(measurement.without_padding(inputs) != 0, like.dtype)

    def enter(self, sense, inputs, change, known):
        del known
        return measurement.with_kspace(sense, inputs, change)

    def in_kspace(self, sense, inputs, change, known):
        del sense, inputs, known
        return change

    def full_size(self, inputs, reference):
        """The norm of the k-space."""
        del reference
        return norm(inputs["kspace"])


@dataclasses.dataclass(frozen=True)
class MapThreat(Threat):
    """Wrong coil maps S + d, of the same data. A change is d / || S ||_2.

    A model is given the wrong maps, and the A^H k of them. They are not normalised again.
    """

    length = "||d||_2 / ||S||_2"
    symbol = "d"
    changes = "sensitivity_maps"

    def zero(self, sense, inputs):
        del sense
        return tf.zeros_like(inputs["sensitivity_maps"])

    def known(self, sense, inputs, reference=None):
        """The k-space: A^H k is another one with every d."""
        del sense, reference
        if "kspace" not in inputs:
            raise ValueError(
                "threat='maps' needs kspace in the inputs, because A^H k changes with the maps."
                f" Received: {sorted(map(str, inputs))}"
            )
        return {"kspace": tf.convert_to_tensor(inputs["kspace"])}

    def enter(self, sense, inputs, change, known):
        maps = inputs["sensitivity_maps"]
        wrong = maps + loop.scaled(loop.by_image(norm(maps), maps), change)
        return measurement.with_maps(sense, inputs, wrong, known["kspace"])

    def in_kspace(self, sense, inputs, change, known):
        del sense, inputs, change, known

    def full_size(self, inputs, reference):
        """1: a change is a share of the maps."""
        del reference
        return tf.ones_like(norm(inputs["sensitivity_maps"]))


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
# Of the searches that know changes in a ball, by the names that settings have.
THREATS = {
    "l2": ImageThreat("l2"),
    "l1": ImageThreat("l1"),
    "linf": ImageThreat("linf"),
    "kspace": KSpaceThreat(),
    "maps": MapThreat(),
}


def known_object(inputs, reference, need):
    """What is known to a threat that begins with the object, see `Threat.known`.

    Args:
        inputs: the measurement.
        reference: the true image, complex.
        need: a sentence that says what it is needed for.

    Returns:
        A dict of the object, and of the mask without lines that were never measured.

    Raises:
        ValueError: without the true image.
    """
    if reference is None:
        raise ValueError(f"{need} Received: reference=None. Give run a complex one.")
    mask = measurement.without_padding(inputs)
    return {"object": tf.convert_to_tensor(reference), "mask": mask}


def threat_of(name, region, threats=THREATS):
    """The threat of some settings.

    Args:
        name: one of `threats`.
        region: where an image r may differ from 0, see `tfvn.attacks.region.check_region`.
        threats: a dict of them.

    Raises:
        ValueError: for a region of anything but an image.
    """
    threat = threats[name]
    if not region:
        return threat
    if not isinstance(threat, ImageThreat):
        raise ValueError(
            f"threat_region must be empty with threat={name!r}: it is a region of the image."
            f" Received: threat_region={list(region)}"
        )
    return dataclasses.replace(threat, region=region)
