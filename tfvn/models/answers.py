"""What a model answers with: a magnitude image, and what its draws show."""

from typing import NamedTuple, Optional

import tensorflow as tf

__all__ = ["EPSILON", "Statistics", "magnitude"]

# Under the root of the magnitude, so that it is differentiable at 0. Images have a maximum of
# about 1.
EPSILON = 1e-12


def magnitude(image):
    """|image| = sqrt(re^2 + im^2 + EPSILON) of a complex tensor."""
    return tf.sqrt(tf.square(tf.math.real(image)) + tf.square(tf.math.imag(image)) + EPSILON)


class Statistics(NamedTuple):
    """What the draws of an answer show.

    mean: the answer, real (batch, rows, width).
    deviation: standard deviation of a single draw's pixel, of that shape; None without draws. It is
        no error bar of the image: what all draws get wrong alike it does not show.
    largest_norm: (batch,) the largest L2 norm of a single draw's image, the range that these draws
        show.
    operator_norm: (batch,) a bound of || A ||, see `tfvn.physics.Sense.norm_bound`; None where it
        is not known.
    """

    mean: tf.Tensor
    deviation: Optional[tf.Tensor]
    largest_norm: tf.Tensor
    operator_norm: Optional[tf.Tensor] = None
