"""Projections on the constraint sets of the network's parameters and of attacks. Each maps a tensor
to its nearest feasible one.

The norms of a complex image are those of the vector of its real and imaginary parts, as in the
certificates.
"""

import numpy as np
import tensorflow as tf

from tfvn import checks

__all__ = [
    "BALLS",
    "l1_ball",
    "l2_ball",
    "linf_ball",
    "non_negative",
    "norm",
    "zero_mean_unit_ball",
    "zero_mean_unit_sphere",
]


def zero_mean_unit_ball(kernel):
    """Filters of zero mean and L2 norm at most 1; `kernel` is (height, width, channels, filters).

    The mean goes over taps and channels of each filter. Subtracting it first and scaling afterwards
    is the exact projection, because the ball is centred in the subspace of zero-mean filters
    (Hammernik et al., 2018, Eq. 17).
    """
    kernel, norm = _zero_mean(kernel)
    return kernel / tf.maximum(norm, 1)


def zero_mean_unit_sphere(kernel):
    """Filters of zero mean and L2 norm 1, 0 where a filter is constant; arguments as
    `zero_mean_unit_ball`.

    Of a gradient: the point of that set where the linear function it stands for is largest.
    """
    return tf.math.divide_no_nan(*_zero_mean(kernel))


def _zero_mean(kernel):
    """The filters without their means, and their norms then."""
    axes = (0, 1, 2)
    shape = getattr(kernel, "shape", None)
    if shape is None or len(shape) != 4:
        raise ValueError(
            "kernel must be an array of shape (height, width, channels, filters). Received: "
            f"{checks.shown(kernel)}"
        )
    kernel = kernel - tf.reduce_mean(kernel, axes, keepdims=True)
    return kernel, tf.sqrt(tf.reduce_sum(tf.square(kernel), axes, keepdims=True))


def non_negative(weight):
    """The nearest non-negative value of every entry."""
    return tf.nn.relu(weight)


def l2_ball(image, radius):
    """Each sample's nearest point with L2 norm <= radius. `image` is (batch, ...), real or complex;
    `radius` a scalar or (batch,).
    """
    image = _checked(image)
    _check_radius(radius, image.shape[:1])
    magnitude = tf.abs(image)
    axes = tuple(range(1, len(image.shape)))
    norm = tf.sqrt(tf.reduce_sum(tf.square(magnitude), axes, keepdims=True))
    # The hint keeps a Python number from passing through float32.
    radius = tf.cast(tf.convert_to_tensor(radius, dtype_hint=norm.dtype), norm.dtype)
    if radius.shape.rank:
        radius = tf.reshape(radius, [-1] + [1] * len(axes))
    # A norm inside the ball divides by itself, so that inside points come back bit for bit (times
    # exactly 1).
    factor = tf.where(norm > radius, radius / tf.where(norm > 0, norm, 1), 1)
    return image * tf.cast(factor, image.dtype)


def l1_ball(image, radius):
    """Each sample's nearest point whose parts' magnitudes sum to <= radius (Duchi et al., ICML
    2008).

    Arguments as `l2_ball`, `radius` a scalar.
    """
    _check_radius(radius)
    parts = _parts(image)
    # In double precision, as the sums are long.
    magnitudes, radius = tf.cast(tf.abs(parts), tf.float64), tf.cast(radius, tf.float64)
    ordered = tf.sort(magnitudes, direction="DESCENDING")
    excess = tf.cumsum(ordered, 1) - radius
    count = tf.range(1, tf.shape(ordered)[1] + 1, dtype=tf.float64)
    kept = tf.reduce_sum(tf.cast(ordered * count > excess, tf.int32), 1, keepdims=True)
    threshold = tf.gather(excess, tf.maximum(kept, 1) - 1, batch_dims=1) / tf.cast(
        tf.maximum(kept, 1), tf.float64
    )
    shrunk = tf.sign(parts) * tf.cast(tf.nn.relu(magnitudes - threshold), parts.dtype)
    inside = tf.reduce_sum(magnitudes, 1, keepdims=True) <= radius
    return _like(tf.where(inside, parts, shrunk), image)


def linf_ball(image, radius):
    """Each sample's nearest point whose parts all lie in [-radius, radius]. Arguments as `l2_ball`,
    `radius` a scalar.
    """
    _check_radius(radius)
    parts = _parts(image)
    radius = tf.cast(tf.convert_to_tensor(radius, dtype_hint=parts.dtype), parts.dtype)
    return _like(tf.clip_by_value(parts, -radius, radius), image)


BALLS = {"l2": l2_ball, "l1": l1_ball, "linf": linf_ball}


def norm(image, kind="l2"):
    """The "l2", "l1" or "linf" norm of each sample, (batch,). `image` is (batch, ...), real or
    complex.
    """
    order = {"l2": 2, "l1": 1, "linf": float("inf")}[checks.choice("kind", kind, BALLS)]
    return tf.norm(_parts(image), order, axis=1)


def _checked(image):
    try:
        tensor = tf.convert_to_tensor(image)
    except (TypeError, ValueError):
        tensor = None
    fits = tensor is not None and (tensor.dtype.is_floating or tensor.dtype.is_complex)
    if not fits or not len(tensor.shape):
        raise ValueError(
            "image must be real or complex numbers of shape (batch, ...). Received: "
            f"image={checks.shown(image)}"
        )
    return tensor


def _check_radius(radius, *shapes):
    """Numbers >= 0, one or of one of the `shapes`. Inside a graph their values are not known."""
    known = not tf.is_tensor(radius) or hasattr(radius, "numpy")
    shape = tf.TensorShape(np.shape(radius) if known else radius.shape)
    fits = any(shape.is_compatible_with(allowed) for allowed in ((), *shapes))
    if known and fits:
        array = np.asarray(radius)
        fits = array.dtype.kind in "fiu" and (array >= 0).all()
    if not fits:
        more = ", or one for each sample" if shapes else ""
        raise ValueError(
            f"radius must be a number >= 0{more}. Received: radius={checks.shown(radius)}"
        )


def _parts(image):
    """(batch, number of real and imaginary parts)."""
    image = _checked(image)
    if image.dtype.is_complex:
        image = tf.stack([tf.math.real(image), tf.math.imag(image)], -1)
    return tf.reshape(image, [tf.shape(image)[0], -1])


def _like(parts, image):
    image = tf.convert_to_tensor(image)
    if not image.dtype.is_complex:
        return tf.reshape(parts, tf.shape(image))
    parts = tf.reshape(parts, tf.concat([tf.shape(image), [2]], 0))
    return tf.ensure_shape(tf.complex(parts[..., 0], parts[..., 1]), image.shape)
