"""The loop of gradient attacks, and the points where they start.

    r, v <- update(r, v, grad E(r))

Of all iterates the one with the largest E is kept, image by image.
"""

from typing import NamedTuple

import tensorflow as tf

from tfvn.projections import BALLS, norm

__all__ = [
    "Path",
    "ascend",
    "better",
    "by_image",
    "is_better",
    "nothing_yet",
    "on_the_sphere",
    "scaled",
    "uniform_image",
]


class Path(NamedTuple):
    """Where an ascent went.

    Attributes:
        last: the last r, complex (batch, rows, width).
        velocity: the last v.
        best: the r with the largest E.
        history: E at every iterate, (steps + 1, batch).
    """

    last: tf.Tensor
    velocity: tf.Tensor
    best: tf.Tensor
    history: tf.Tensor


def ascend(objective, start, velocity, steps, update, first_step=0):
    """Takes steps of an ascent.

    Args:
        objective: the `Objective`.
        start: r to begin with, complex (batch, rows, width).
        velocity: v to begin with, of the same shape.
        steps: the number of steps.
        update: a function of r, v and the gradient of E at r, to the next r and v.
        first_step: the number of steps that were taken before; the draws go on from there.

    Returns:
        The `Path`.
    """

    def body(step, r, velocity, best, best_value, history):
        value, gradient = objective.value_and_gradient(r, first_step + step)
        best, best_value = better(r, value, best, best_value)
        r, velocity = update(r, velocity, gradient)
        return step + 1, r, velocity, best, best_value, history.write(step, value)

    real = start.dtype.real_dtype
    history = tf.TensorArray(real, size=steps + 1, element_shape=start.shape[:1])
    begin = (tf.constant(0), start, velocity, start, nothing_yet(start), history)
    step, r, velocity, best, best_value, history = tf.while_loop(
        lambda step, *_: step < steps, body, begin, parallel_iterations=1
    )
    value = objective.value(r, first_step + step)
    best, _ = better(r, value, best, best_value)
    return Path(r, velocity, best, history.write(step, value).stack())


def nothing_yet(like):
    """The value of a best iterate before there is one, (batch,)."""
    return tf.fill(tf.shape(like)[:1], tf.constant(float("-inf"), like.dtype.real_dtype))


def is_better(value, best_value):
    """Image by image, whether a value is larger than the best one so far."""
    # A NaN counts as larger: it is reported, not hidden behind an older value.
    return (value > best_value) | tf.math.is_nan(value)


def better(candidate, value, best, best_value):
    """Image by image, the pair with the larger value."""
    improved = is_better(value, best_value)
    best = tf.where(by_image(improved, best), candidate, best)
    return best, tf.where(improved, value, best_value)


def by_image(numbers, like):
    """Numbers (batch,) in a shape that broadcasts to `like`, (batch, ...)."""
    return tf.reshape(numbers, [-1, *[1] * (len(like.shape) - 1)])


def scaled(factor, x):
    """A real number times a complex tensor."""
    return tf.cast(factor, x.dtype) * x


def on_the_sphere(like, keys, radius, kind="l2"):
    """A random point on the surface of a ball for every image; in l2 all are equally likely.

    Args:
        like: a complex tensor of the shape of the result, (batch, rows, width).
        keys: int32 (batch, 2). The point of an image depends on its own key.
        radius: the radius of the ball, a tensor of one real number.
        kind: the norm of the ball, as `tfvn.projections` names it.
    """

    def draw(key):
        shape = tf.concat([[2], tf.shape(like)[1:]], 0)
        parts = tf.random.stateless_normal(shape, key, dtype=radius.dtype)
        direction = tf.complex(parts[0], parts[1])
        return scaled(radius / norm(direction[None], kind)[0], direction)

    # Rounding must not leave the ball.
    return BALLS[kind](_of_every_image(like, keys, draw), radius)


def uniform_image(like, keys, scale):
    """An image of real numbers, uniform between 0 and `scale`. Arguments as `on_the_sphere`."""

    def draw(key):
        parts = tf.random.stateless_uniform(tf.shape(like)[1:], key, dtype=scale.dtype)
        return tf.cast(scale * parts, like.dtype)

    return _of_every_image(like, keys, draw)


def _of_every_image(like, keys, draw):
    found = tf.map_fn(draw, keys, fn_output_signature=like.dtype)
    found.set_shape(like.shape)
    return found
