"""How consecutive stages of the variational network are computed, and their gradient, written by
hand.

The gradient keeps the image and the data residual of every stage, two images, and computes the
rest again. So memory grows by two images a stage, and not by the features of its filters.
"""

import functools
from typing import Any, NamedTuple

import tensorflow as tf

from tfvn.device import one_graph
from tfvn.gradients import with_gradient
from tfvn.models.activations import RBFActivation
from tfvn.models.convolutions import correlate, correlate_transpose, kernel_gradient, phases
from tfvn.physics.sense import Sense
from tfvn.shapes import static_or_dynamic_shape

__all__ = ["PARAMETERS", "Formula", "descend", "to_channels", "to_complex"]

# What a stage learns, in the order of every list below.
PARAMETERS = ("kernel", "rbf_weights", "data_weight")


class Formula(NamedTuple):
    """The settings that the formula of a stage depends on, apart from its parameters."""

    kernel_size: int
    num_centers: int
    grid_limit: float
    bandwidth: float
    scale: float
    readout_oversampling: bool


class _Parameters(NamedTuple):
    """Those of one stage; or of all, stacked along a first axis."""

    kernel: Any
    rbf_weights: Any
    data_weight: Any

    def of(self, stage):
        return _Parameters(*(tf.gather(x, stage) for x in self))


def to_channels(image):
    """Complex (..., h, w) to real (..., h, w, 2)."""
    return tf.stack([tf.math.real(image), tf.math.imag(image)], -1)


def to_complex(channels):
    """Real (..., h, w, 2) to complex (..., h, w)."""
    return tf.complex(*tf.unstack(channels, axis=-1))


def descend(stages, image, zero_filled, sensitivity_maps, mask, wanted=None):
    """The image after consecutive stages of one formula, complex (batch, rows, width).

    Args:
        stages: the `Stage`s.
        image, zero_filled, sensitivity_maps, mask: as for `Stage`.
        wanted: names out of `PARAMETERS`, whose gradients alone will be asked for; None means all.
    """
    wanted = PARAMETERS if wanted is None else tuple(wanted)
    stacked = _Parameters(*(_stacked(stages, name) for name in PARAMETERS))
    arrays = (image, zero_filled, sensitivity_maps, mask)
    sizes_known = all(x.shape.is_fully_defined() for x in arrays)
    descent = _descent(stages[0].formula, sizes_known)

    sensitivity_maps = tf.convert_to_tensor(sensitivity_maps)
    sources = [to_channels(image), to_channels(zero_filled), *stacked]
    # Without this TensorFlow would derive a gradient of the call of `value` as well.
    image, zero_filled, *parameters = map(tf.stop_gradient, sources)
    operands = (_Parameters(*parameters), tf.stop_gradient(sensitivity_maps), mask)
    value, images, residuals = descent.value(image, zero_filled, *operands)

    def gradient(cotangent):
        d_image, d_zero_filled, found = descent.gradient(
            wanted, cotangent, images, residuals, *operands
        )
        names = [name for name in PARAMETERS if name in wanted]
        d_parameters = dict(zip(names, found))
        return d_image, d_zero_filled, *map(d_parameters.get, PARAMETERS)

    def maps_gradient(cotangent):
        return descent.maps_gradient(cotangent, images, residuals, *operands)

    # Few ask for the gradient in the maps, so it is that of a part by itself.
    nothing = with_gradient(tf.zeros_like(value), [sensitivity_maps], maps_gradient)
    return to_complex(with_gradient(value, sources, gradient) + nothing)


def _stacked(stages, name):
    return tf.stack([tf.convert_to_tensor(getattr(stage, name)) for stage in stages])


@functools.lru_cache(maxsize=16)
def _descent(formula, sizes_known):
    # A function traced for unknown sizes would serve the known ones too, and slower.
    del sizes_known
    return _Descent(formula)


class _Descent:
    """Value and gradient of consecutive equal stages, as functions of tensors.

    `image` and `zero_filled` are real (batch, rows, width, 2).
    """

    def __init__(self, formula):
        self.kernel_size = formula.kernel_size
        self.sense = Sense(formula.readout_oversampling)
        self.activation = RBFActivation(
            formula.num_centers, formula.grid_limit, formula.bandwidth, formula.scale
        )
        # Inlined, the gradient would recompute during the forward pass (its inputs are ready) and
        # keep all features.
        self.value = one_graph(self._value)
        self.gradient = one_graph(self._gradient)
        self.maps_gradient = one_graph(self._maps_gradient)

    def _value(self, image, zero_filled, parameters, sensitivity_maps, mask):
        """The last image; and of every stage the image it began with, and its residual A^H A u -
        A^H k.
        """
        parameters = _Parameters(*parameters)
        stages = parameters.kernel.shape[0]

        def body(stage, image, images, residuals):
            result, residual = self._stage_value(
                image, zero_filled, parameters.of(stage), sensitivity_maps, mask
            )
            images = images.write(stage, image)
            residuals = residuals.write(stage, residual)
            return stage + 1, tf.ensure_shape(result, image.shape), images, residuals

        images = tf.TensorArray(image.dtype, size=stages, element_shape=image.shape)
        residuals = tf.TensorArray(image.dtype, size=stages, element_shape=image.shape)
        _, result, images, residuals = tf.while_loop(
            lambda stage, *_: stage < stages,
            body,
            (tf.constant(0), image, images, residuals),
            parallel_iterations=1,
        )
        return result, images.stack(), residuals.stack()

    def _gradient(self, wanted, cotangent, images, residuals, parameters, sensitivity_maps, mask):
        """The gradient in the first image, in `zero_filled`, and in the `wanted` parameters of
        every stage, stacked.
        """
        parameters = _Parameters(*parameters)
        stages = parameters.kernel.shape[0]

        def body(stage, cotangent, d_zero_filled, *arrays):
            d_image, d_stage, d_own = self._stage_gradient(
                wanted,
                cotangent,
                tf.gather(images, stage),
                tf.gather(residuals, stage),
                parameters.of(stage),
                sensitivity_maps,
                mask,
            )
            arrays = [array.write(stage, own) for array, own in zip(arrays, d_own)]
            d_image = tf.ensure_shape(d_image, cotangent.shape)
            return stage - 1, d_image, d_zero_filled + d_stage, *arrays

        arrays = []
        for name in PARAMETERS:
            if name in wanted:
                shape = getattr(parameters, name).shape[1:]
                arrays.append(tf.TensorArray(cotangent.dtype, size=stages, element_shape=shape))
        _, d_image, d_zero_filled, *arrays = tf.while_loop(
            lambda stage, *_: stage >= 0,
            body,
            (tf.constant(stages - 1), cotangent, tf.zeros_like(cotangent), *arrays),
            parallel_iterations=1,
        )
        return d_image, d_zero_filled, [array.stack() for array in arrays]

    def _maps_gradient(self, cotangent, images, residuals, parameters, sensitivity_maps, mask):
        """The gradient in the coil maps: that of A^H A in every stage, times -data_weight."""
        parameters = _Parameters(*parameters)
        stages = parameters.kernel.shape[0]

        def body(stage, cotangent, total):
            own = parameters.of(stage)
            image = tf.gather(images, stage)
            total += self.sense.maps_gradient(
                to_complex(-own.data_weight * cotangent),
                to_complex(image),
                sensitivity_maps,
                mask,
            )
            d_image, _, _ = self._stage_gradient(
                (), cotangent, image, tf.gather(residuals, stage), own, sensitivity_maps, mask
            )
            return stage - 1, tf.ensure_shape(d_image, cotangent.shape), total

        _, _, total = tf.while_loop(
            lambda stage, *_: stage >= 0,
            body,
            (tf.constant(stages - 1), cotangent, tf.zeros_like(sensitivity_maps)),
            parallel_iterations=1,
        )
        return total

    def _stage_value(self, image, zero_filled, parameters, sensitivity_maps, mask):
        kernel, rbf_weights, data_weight = parameters
        _, height, width, _ = static_or_dynamic_shape(image)
        residual = self._normal(image, sensitivity_maps, mask) - zero_filled
        features = self.activation.value(correlate(self._pad(image), kernel), rbf_weights)
        regulariser = correlate_transpose(features, kernel)[:, :height, :width] / kernel.shape[-1]
        return image - regulariser - data_weight * residual, residual

    def _stage_gradient(
        self, wanted, cotangent, image, residual, parameters, sensitivity_maps, mask
    ):
        kernel, rbf_weights, data_weight = parameters
        border = self.kernel_size - 1
        padded = self._pad(image)
        filtered = correlate(padded, kernel)
        d_regulariser = self._fill(-cotangent / kernel.shape[-1])
        d_features = correlate(d_regulariser, kernel, border)
        d_filtered = self.activation.derivative_product(filtered, d_features, rbf_weights)

        d_parameters = []
        if "kernel" in wanted:
            features = self.activation.value(filtered, rbf_weights)
            d_parameters.append(
                kernel_gradient(padded, d_filtered, self.kernel_size)
                + kernel_gradient(d_regulariser, features, self.kernel_size, border)
            )
        if "rbf_weights" in wanted:
            # By itself: its two threads and those of the convolutions would be in each other's way.
            with tf.control_dependencies([*d_parameters, d_filtered]):
                operands = (tf.identity(filtered), tf.identity(d_features))
                d_parameters.append(self.activation.weight_gradient(*operands))
        if "data_weight" in wanted:
            d_parameters.append(-tf.reduce_sum(cotangent * residual))

        d_padded = correlate_transpose(d_filtered, kernel, border)
        d_image = cotangent - data_weight * self._normal(cotangent, sensitivity_maps, mask)
        d_image += tf.raw_ops.MirrorPadGrad(
            input=d_padded, paddings=self._paddings(image), mode="SYMMETRIC"
        )
        return d_image, data_weight * cotangent, d_parameters

    def _normal(self, channels, sensitivity_maps, mask):
        return to_channels(self.sense.normal(to_complex(channels), sensitivity_maps, mask))

    def _extra(self, image):
        """Rows and columns that fill the image up to whole phases of the convolutions. They are cut
        again afterwards.
        """
        _, height, width, _ = static_or_dynamic_shape(image)
        rows, columns = phases(self.kernel_size)
        return -height % rows, -width % columns

    def _paddings(self, image):
        border = self.kernel_size - 1
        rows, columns = self._extra(image)
        extra = max(size if isinstance(size, int) else 0 for size in (rows, columns))
        known = [size for size in image.shape[1:3] if size is not None]
        if known and min(known) < border + extra:
            raise ValueError(
                f"An image must have at least {border + 3} rows and columns for "
                f"kernel_size={self.kernel_size}. Received: image of {image.shape[1]} x "
                f"{image.shape[2]}"
            )
        return [[0, 0], [border, border + rows], [border, border + columns], [0, 0]]

    def _pad(self, image):
        return tf.pad(image, self._paddings(image), "SYMMETRIC")

    def _fill(self, image):
        rows, columns = self._extra(image)
        return tf.pad(image, [[0, 0], [0, rows], [0, columns], [0, 0]])
