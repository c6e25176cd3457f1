"""The filter operator K of a stage, its transpose K^T and the gradient of both in the kernel, for
real two-channel images.

    (K u)_f = sum_c k_{.,.,c,f} * u_c

The product is the cross-correlation without a border: the caller pads. All three are the textbook
operations, and only their evaluation is arranged for speed. Few input or output channels leave
vector lanes idle. So several neighbouring output pixels, the phases, are computed as extra channels
of one strided convolution with shifted copies of the kernel. They are interleaved afterwards.
"""

import tensorflow as tf

from tfvn.shapes import static_or_dynamic_shape

__all__ = [
    "correlate",
    "correlate_transpose",
    "kernel_gradient",
    "phases",
]

# Of K and of K^T, along rows and columns.
_PHASES_FORWARD = (1, 2)
_PHASES_TRANSPOSE = (2, 4)
# Parts of the sum over pixels in the gradient of a kernel.
_SUMS = 8


def phases(kernel_size):
    """(rows, columns) that the height and width of the image must be multiples of."""
    if kernel_size % 2 == 0:
        # The sizes of the padded images do not divide. Such kernels are rare and take the plain
        # path.
        return 1, 1
    return _PHASES_TRANSPOSE


def _shifted_copies(kernel, count, axis):
    copies = []
    for shift in range(count):
        paddings = [[0, 0]] * 4
        paddings[axis] = [shift, count - 1 - shift]
        copies.append(tf.pad(kernel, paddings))
    return tf.concat(copies, -1)


def _explicit(padding):
    return [[0, 0], [padding, padding], [padding, padding], [0, 0]]


def correlate(image, kernel, padding=0):
    """K image.

    Args:
        image: (batch, height, width, 2).
        kernel: (k, k, 2, filters).
        padding: rows and columns of zeros at each border.

    Returns:
        (batch, height + 2 padding - k + 1, width + 2 padding - k + 1, filters).
    """
    if kernel.shape[0] % 2 == 0:
        return tf.nn.conv2d(image, kernel, 1, _explicit(padding))
    columns = _PHASES_FORWARD[1]
    result = tf.nn.conv2d(
        image, _shifted_copies(kernel, columns, 1), _PHASES_FORWARD, _explicit(padding)
    )
    # The phases are the slowest part of the channels, so interleaving them along the width moves no
    # memory.
    batch, height, width, _ = static_or_dynamic_shape(result)
    return tf.reshape(result, [batch, height, width * columns, kernel.shape[-1]])


def correlate_transpose(features, kernel, padding=0):
    """K^T features: the transpose of `correlate` with a padding of k - 1 - `padding`.

    Args:
        features: (batch, height, width, filters).
        kernel: (k, k, 2, filters), that of K.
        padding: rows and columns of zeros at each border.

    Returns:
        (batch, height + 2 padding - k + 1, width + 2 padding - k + 1, 2).
    """
    kernel = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
    if kernel.shape[0] % 2 == 0:
        return tf.nn.conv2d(features, kernel, 1, _explicit(padding))
    rows, columns = _PHASES_TRANSPOSE
    kernel = _shifted_copies(_shifted_copies(kernel, columns, 1), rows, 0)
    result = tf.nn.conv2d(features, kernel, _PHASES_TRANSPOSE, _explicit(padding))
    batch, height, width, _ = static_or_dynamic_shape(result)
    result = tf.reshape(result, [batch, height, width, rows, columns, 2])
    result = tf.transpose(result, [0, 1, 3, 2, 4, 5])
    return tf.reshape(result, [batch, height * rows, width * columns, 2])


def kernel_gradient(image, features, kernel_size, padding=0):
    """The gradient in the kernel of <features, correlate(image, kernel, padding)>, (k, k, 2,
    filters).
    """
    if padding:
        image = tf.pad(image, _explicit(padding))
    _, height, _, filters = static_or_dynamic_shape(features)
    # One sum over all pixels loses digits in single precision: 3e-5 of the largest entry at 640 x
    # 368, in parts 3e-6.
    parts = _SUMS
    if isinstance(height, int):
        parts = min(_SUMS, height)
    edges = [height * part // parts for part in range(parts + 1)]

    def part(start, stop):
        return tf.raw_ops.Conv2DBackpropFilter(
            input=image[:, start : stop + kernel_size - 1],
            filter_sizes=[kernel_size, kernel_size, image.shape[-1], filters],
            out_backprop=features[:, start:stop],
            strides=[1, 1, 1, 1],
            padding="VALID",
        )

    gradients = [part(start, stop) for start, stop in zip(edges, edges[1:])]
    if not isinstance(height, int):
        # Of no rows TensorFlow returns memory as it finds it, not zeros.
        filled = [stop > start for start, stop in zip(edges, edges[1:])]
        gradients = [tf.where(*pair, 0) for pair in zip(filled, gradients)]
    return tf.add_n(gradients)
