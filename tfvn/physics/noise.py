"""Noise on the sampled k-space, and the keys of every random number.

One draw e has two views: e itself, for a model that reads k-space, and A_S^H e, for one that reads
the zero-filled image. `adjoint(kspace_noise(...))` is `image_noise(...)` up to rounding, for every
law, kind of mask and oversampling. Normal noise on whole lines is drawn after the transform of the
readout: a rotation leaves it white, and lines that are not sampled need no draw.

A key is a pair of int32, and an image has a key of its own: nothing depends on its batch mates.
Real and imaginary part of each sampled entry are independent, of mean 0 and variance 1.
"""

import functools
import math

import tensorflow as tf

from tfvn import checks
from tfvn.choices import LAWS
from tfvn.physics.fourier import fft2c
from tfvn.physics.sense import Sense, sum_over_coils, unshifted
from tfvn.shapes import static_or_dynamic_shape

__all__ = [
    "ATTACK",
    "ATTACK_CHECK",
    "ATTACK_START",
    "CERTIFYING",
    "INNER",
    "LAWS",
    "SMOOTHING",
    "TRAINING",
    "VALIDATION",
    "fold_in",
    "fold_in_all",
    "fold_in_each",
    "image_noise",
    "keys",
    "kspace_noise",
    "white_image",
]

# Second half of a key of a seed: streams that must never meet.
TRAINING, SMOOTHING, VALIDATION, ATTACK_START, ATTACK = range(5)
# Folded into the key of a draw: the draws of a model inside that draw.
INNER = 5
# Other streams: the draws that a finished attack is checked with, and those that prove something.
ATTACK_CHECK, CERTIFYING = 6, 7


def keys(seed, stream, index):
    """The keys of images, int32 (batch, 2).

    Args:
        seed: a whole number.
        stream: one of the streams above.
        index: numbers that name the images, (batch,).
    """
    index = tf.cast(index, tf.int32)
    start = tf.cast([seed, stream], tf.int32)
    return fold_in_each(tf.broadcast_to(start, [tf.shape(index)[0], 2]), index)


def fold_in(key, number):
    """The key (2,) that belongs to a number, below another key."""
    return tf.random.experimental.stateless_fold_in(key, number)


def fold_in_each(keys, numbers):
    """`fold_in` of every pair out of (batch, 2) and (batch,)."""
    found = _fold_in_each(keys, numbers)
    found.set_shape(keys.shape)
    return found


def fold_in_all(keys, number):
    """`fold_in` of one number into every key of (batch, 2)."""
    return fold_in_each(keys, tf.fill(tf.shape(keys)[:1], number))


def _each_folded(keys, numbers):
    return tf.map_fn(lambda pair: fold_in(*pair), (keys, numbers), fn_output_signature=tf.int32)


# It stands many times in the graph of an attack, and is traced once in a process.
_KEYS_AND_NUMBERS = [tf.TensorSpec([None, 2], tf.int32), tf.TensorSpec([None], tf.int32)]
_fold_in_each = tf.function(_each_folded, _KEYS_AND_NUMBERS, autograph=False)


def image_noise(sense, sensitivity_maps, mask, keys, law="gaussian"):
    """A_S^H e, complex (batch, rows, width). A constant to gradients.

    Args:
        sense: the `Sense` of A_S.
        sensitivity_maps, mask: as for it, of the same batch.
        keys: int32 (batch, 2). The noise of an image depends on its own key, mask and shapes only.
        law: the distribution of the components, one of `LAWS`.

    Raises:
        ValueError: for another law.
    """
    like = sense.crop_readout(sensitivity_maps[:1, 0])[0]
    return _drawn(sense, "image", like, sensitivity_maps, mask, keys, law)


def kspace_noise(sense, sensitivity_maps, mask, keys, law="gaussian"):
    """The e of `image_noise` itself, of the same arguments: (batch, coils, height, width), 0 where
    not sampled.
    """
    like = sensitivity_maps[0]
    return _drawn(sense, "kspace", like, sensitivity_maps, mask, keys, law)


def white_image(like, keys):
    """White normal noise of an image, whose components have variance 1. A constant to gradients.

    Args:
        like: complex (batch, rows, width), of whose shape and type it is.
        keys: int32 (batch, 2). The noise of an image depends on its own key and its shape only.
    """
    shape = static_or_dynamic_shape(like)[1:]
    found = tf.map_fn(
        lambda key: _complex_normal(shape, key, like.dtype), keys, fn_output_signature=like.dtype
    )
    return tf.ensure_shape(found, like.shape)


def _drawn(sense, view, like, sensitivity_maps, mask, keys, law):
    """One view of a draw for every image, each of the shape of `like`."""
    checks.choice("law", law, LAWS)
    shape = tf.concat([tf.shape(sensitivity_maps)[:1], tf.shape(mask)[1:]], 0)
    mask = tf.broadcast_to(mask, shape)
    by_lines = law == "gaussian" and mask.shape[-2] == 1
    draw = _drawing(sense.readout_oversampling, view, by_lines, law)
    found = tf.stop_gradient(draw(*map(tf.stop_gradient, (sensitivity_maps, mask, keys))))
    found.set_shape([sensitivity_maps.shape[0], *like.shape])
    return found


@functools.lru_cache(maxsize=8)
def _drawing(readout_oversampling, view, by_lines, law):
    """A function of maps, masks and keys. It stands in every answer of a smoothed model, and is
    traced once for all of them.
    """
    sense = Sense(readout_oversampling)
    of_lines, of_points = _VIEWS[view]

    def draw(sample):
        if by_lines:
            return of_lines(sense, *sample)
        return of_points(sense, *sample, _COMPLEX[law])

    def drawn(sensitivity_maps, mask, keys):
        like = sensitivity_maps.dtype
        return tf.map_fn(draw, (sensitivity_maps, mask, keys), fn_output_signature=like)

    return tf.function(drawn, autograph=False)


def _image_by_points(sense, sensitivity_maps, mask, key, law):
    kspace = law(static_or_dynamic_shape(sensitivity_maps), key, sensitivity_maps.dtype)
    return sense.adjoint(kspace[None], sensitivity_maps[None], mask[None])[0]


def _kspace_by_points(sense, sensitivity_maps, mask, key, law):
    del sense
    kspace = law(static_or_dynamic_shape(sensitivity_maps), key, sensitivity_maps.dtype)
    return tf.where(mask != 0, kspace, tf.zeros_like(kspace))


def _image_by_lines(sense, sensitivity_maps, mask, key):
    image = sense.crop_readout(sensitivity_maps[:1])
    coils = static_or_dynamic_shape(sensitivity_maps)[0]
    _, rows, width = static_or_dynamic_shape(image)
    weights, source, count = _sampled_lines(mask, sensitivity_maps.dtype)
    lines = _complex_normal([coils, rows, count], key, image.dtype)
    weights *= _root(width, image.dtype)

    def coil(maps, lines):
        spectrum = tf.gather(lines, source, axis=-1) * weights
        return tf.math.conj(sense.crop_readout(maps)) * tf.signal.ifft(spectrum)

    return sum_over_coils(coil, image, sensitivity_maps, lines)


def _kspace_by_lines(sense, sensitivity_maps, mask, key):
    # The coil images of `_image_by_lines` before the weights of the mask, and their spectrum.
    coils, height, width = static_or_dynamic_shape(sensitivity_maps)
    top, rows, bottom = sense.rows(height)
    weights, source, count = _sampled_lines(mask, sensitivity_maps.dtype)
    lines = _complex_normal([coils, rows, count], key, sensitivity_maps.dtype)
    if sense.readout_oversampling:
        # Rows outside the image have noise too, which the adjoint cuts: of another key.
        shape = [coils, top + bottom, count]
        outside = _complex_normal(shape, fold_in(key, 0), sensitivity_maps.dtype)
        lines = tf.concat([outside[:, :top], lines, outside[:, top:]], 1)
    sampled = tf.cast(weights != 0, lines.dtype)
    sampled *= _root(width, lines.dtype)
    kspace = fft2c(tf.signal.ifft(tf.gather(lines, source, axis=-1) * sampled))
    return tf.where(mask != 0, kspace, tf.zeros_like(kspace))


def _root(width, dtype):
    return tf.cast(tf.sqrt(tf.cast(width, dtype.real_dtype)), dtype)


def _sampled_lines(mask, dtype):
    """Of a mask of lines (1, 1, width), not shifted: its numbers, the place of each sampled line
    among those that are drawn, and how many are.
    """
    weights = unshifted(mask[0, 0], dtype, axes=(-1,))
    sampled = tf.cast(weights != 0, tf.int32)
    source = tf.cumsum(sampled, exclusive=True) * sampled
    return weights, source, tf.maximum(tf.reduce_sum(sampled), 1)


def _complex_normal(shape, key, dtype):
    # The pairs of normals are the complex numbers as they lie in memory.
    return tf.bitcast(tf.random.stateless_normal([*shape, 2], key, dtype=dtype.real_dtype), dtype)


def _complex_uniform(shape, key, dtype):
    real = dtype.real_dtype
    limit = tf.constant(math.sqrt(3), real)
    parts = tf.random.stateless_uniform([*shape, 2], key, -limit, limit, dtype=real)
    return tf.bitcast(parts, dtype)


def _complex_laplace(shape, key, dtype):
    uniform = tf.random.stateless_uniform([*shape, 2], key, -1, 1, dtype=dtype.real_dtype)
    # -1 itself is drawn, and its logarithm would be infinite.
    magnitude = -tf.math.log1p(-tf.minimum(tf.abs(uniform), 1 - 2.0**-24)) / math.sqrt(2)
    return tf.bitcast(tf.sign(uniform) * magnitude, dtype)


_COMPLEX = {"gaussian": _complex_normal, "uniform": _complex_uniform, "laplace": _complex_laplace}
# One draw in two ways: by lines, and by points.
_VIEWS = {
    "image": (_image_by_lines, _image_by_points),
    "kspace": (_kspace_by_lines, _kspace_by_points),
}
