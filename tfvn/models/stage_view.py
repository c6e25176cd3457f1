"""What there is to see of a stage of a variational network, for pictures."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvn.models.descent import to_channels

__all__ = ["StageView", "view_of"]

_POINTS, _BINS = 101, 40
# Of so many pixels the histograms are made: more would tell no more.
_SAMPLES = 16384
# The range of x is so many times as large as that of nearly all inputs.
_MARGIN, _NEARLY_ALL = 1.5, 99.9


class StageView(NamedTuple):
    """The filters of a stage, its activation functions, and the inputs of these for an image.

    kernel: (kernel_size, kernel_size, 2, filters).
    x: (points,), where the activation functions are shown. The range ends at 1.5 times the
        magnitude that 99.9 % of the inputs do not exceed, or at the outermost centre if that comes
        first.
    phi: (points, filters), the activation functions at x.
    counts: (bins, filters), a histogram of the inputs of each over the range of x.
    """

    kernel: np.ndarray
    x: np.ndarray
    phi: np.ndarray
    counts: np.ndarray


def view_of(stage, image):
    """The `StageView` of a stage.

    Args:
        stage: a `Stage`.
        image: the complex image (1, rows, width) that it begins with.
    """
    kernel = tf.convert_to_tensor(stage.kernel)
    filtered = tf.nn.conv2d(to_channels(image), kernel, 1, "VALID").numpy()
    inputs = filtered.reshape(-1, stage.filters)
    inputs = np.nan_to_num(inputs[:: max(1, len(inputs) // _SAMPLES)])
    largest = max(_MARGIN * np.percentile(np.abs(inputs), _NEARLY_ALL), 1e-6)
    limit = min(stage.activation.grid_limit, largest)
    x = np.linspace(-limit, limit, _POINTS, dtype=inputs.dtype)
    phi, _ = stage.activation.value_and_derivative(tf.repeat(x[:, None], stage.filters, 1))
    counts = [np.histogram(column, _BINS, (-limit, limit))[0] for column in inputs.T]
    return StageView(kernel.numpy(), x, phi.numpy(), np.stack(counts, 1))
