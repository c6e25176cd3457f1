"""Projections on the constraint sets of the network's parameters. Each maps a tensor to its nearest feasible one."""
import tensorflow as tf


def zero_mean_unit_ball(kernel):
    """Filters of zero mean and L2 norm at most 1; `kernel` is (height, width, channels, filters).

    The mean goes over taps and channels of each filter. Subtracting it first and scaling afterwards is the exact
    projection, because the ball is centred in the subspace of zero-mean filters (Hammernik et al., 2018, Eq. 17).
    """
    axes = (0, 1, 2)
    kernel = kernel - tf.reduce_mean(kernel, axes, keepdims=True)
    norm = tf.sqrt(tf.reduce_sum(tf.square(kernel), axes, keepdims=True))
    return kernel / tf.maximum(norm, 1)


def non_negative(weight):
    """The nearest non-negative value of every entry."""
    return tf.nn.relu(weight)


def l2_ball(image, radius):
    """Each sample's nearest point with L2 norm <= radius. `image` is (batch, ...), real or complex; `radius` a scalar or (batch,)."""
    magnitude = tf.abs(image)
    axes = tuple(range(1, len(image.shape)))
    norm = tf.sqrt(tf.reduce_sum(tf.square(magnitude), axes, keepdims=True))
    # The hint keeps a Python number from passing through float32.
    radius = tf.cast(tf.convert_to_tensor(radius, dtype_hint=norm.dtype), norm.dtype)
    if radius.shape.rank:
        radius = tf.reshape(radius, [-1] + [1] * len(axes))
    # A norm inside the ball divides by itself, so that inside points come back bit for bit (times exactly 1).
    factor = tf.where(norm > radius, radius / tf.where(norm > 0, norm, 1), 1)
    return image * tf.cast(factor, image.dtype)
