"""The encoding operator of multi-coil MRI, A_S u = M F (S_c u), c = 1..coils, its adjoint and its
normal operator.

F is centred and orthonormal, so the norm of A_S is at most 1 when the maps have unit
root-sum-of-squares. A network of gradient steps on || A_S u - k ||^2 sees the data only through
A_S^H k and A_S^H A_S: that is what makes smoothing and attacks cheap.
"""

import numpy as np
import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.device import on_accelerator
from tfvn.gradients import with_gradient
from tfvn.physics.fourier import fft2c, ifft2c, ifftshift
from tfvn.shapes import static_or_dynamic_shape

__all__ = ["SHAPES", "Sense", "sizes_fit", "sum_over_coils", "unshifted"]

SHAPES = {
    "kspace": "(batch, coils, height, width)",
    "sensitivity_maps": "(batch, coils, height, width)",
    "mask": "(batch, 1, 1, width) or (batch, 1, height, width)",
}

# Roundings of a norm bound beside those of its sum over coils.
_ROUNDED = 8


def sizes_fit(one, other):
    """Whether two sizes of an axis are equal, as far as both are known."""
    return one is None or other is None or one == other


@keras.utils.register_keras_serializable(package="tfvn")
class Sense(keras.layers.Layer):
    """The SENSE operator with coil maps and mask as arguments; holds no weights and no state.

    Args:
        readout_oversampling: the scanner sampled the readout (height) twice as densely as the image
            needs. Images then are the central half of the height: `height // 4 + 1` rows are cut
            above, the rest below, as in the code of Hammernik et al. Maps and k-space keep the full
            height.

    Shapes: `kspace` and `sensitivity_maps` complex (batch, coils, height, width); `mask` real,
    broadcastable to them, (batch, 1, 1, width) when it is constant along the readout; `image`
    complex (batch, rows, width) with rows = height, or height // 2 with readout oversampling.
    """

    def __init__(self, readout_oversampling=False, **kwargs):
        super().__init__(**{**kwargs, "dtype": checks.precision(kwargs.get("dtype"))})
        self.readout_oversampling = checks.flag("readout_oversampling", readout_oversampling)

    def __repr__(self):
        return checks.described(self, ["readout_oversampling"])

    def get_config(self):
        return {**super().get_config(), "readout_oversampling": self.readout_oversampling}

    def call(self, image, sensitivity_maps, mask):
        return self.forward(image, sensitivity_maps, mask)

    def forward(self, image, sensitivity_maps, mask):
        """A_S image: the k-space that the scanner would measure, 0 where `mask` is 0."""
        image = tf.convert_to_tensor(image)
        sensitivity_maps = tf.convert_to_tensor(sensitivity_maps)
        self._check_operands("image", image, sensitivity_maps, mask)
        image = self.pad_readout(image, sensitivity_maps)
        return tf.cast(mask, image.dtype) * fft2c(sensitivity_maps * image[:, None])

    def adjoint(self, kspace, sensitivity_maps, mask):
        """A_S^H kspace: the zero-filled, coil-combined image."""
        kspace = tf.convert_to_tensor(kspace)
        sensitivity_maps = tf.convert_to_tensor(sensitivity_maps)
        self._check_operands("kspace", kspace, sensitivity_maps, mask)
        coil_images = ifft2c(tf.cast(mask, kspace.dtype) * kspace)
        return self.crop_readout(tf.reduce_sum(tf.math.conj(sensitivity_maps) * coil_images, 1))

    def normal(self, image, sensitivity_maps, mask):
        """A_S^H A_S image, its own adjoint; differentiable in `image` and `sensitivity_maps`."""
        image = tf.convert_to_tensor(image)
        sensitivity_maps = tf.convert_to_tensor(sensitivity_maps)
        self._check_operands("image", image, sensitivity_maps, mask)

        value = self._normal(tf.stop_gradient(image), tf.stop_gradient(sensitivity_maps), mask)

        def image_gradient(cotangent):
            return self._normal(cotangent, sensitivity_maps, mask)

        def maps_gradient(cotangent):
            return self.maps_gradient(cotangent, image, sensitivity_maps, mask)

        # Few ask for the gradient in the maps, so it is that of a part by itself.
        nothing = with_gradient(tf.zeros_like(value), [sensitivity_maps], maps_gradient)
        return with_gradient(value, [image], image_gradient) + nothing

    def maps_gradient(self, cotangent, image, sensitivity_maps, mask):
        """The gradient of Re <g, A_S^H A_S u> in the maps S, of their shape.

        With B = F^H M^2 F, of each coil conj(g) B(S_c u) + conj(u) B(S_c g).

        Args:
            cotangent, image: g and u, complex (batch, rows, width).
            sensitivity_maps, mask: S and M.
        """
        u, g = (self.pad_readout(x, sensitivity_maps)[:, None] for x in (image, cotangent))
        transform, inverse, axes = tf.signal.fft2d, tf.signal.ifft2d, (-2, -1)
        if mask.shape[-2] == 1:
            transform, inverse, axes = tf.signal.fft, tf.signal.ifft, (-1,)
        weights = tf.square(unshifted(mask, image.dtype, axes))

        def sampled(x):
            return inverse(weights * transform(sensitivity_maps * x))

        found = tf.math.conj(g) * sampled(u) + tf.math.conj(u) * sampled(g)
        # One set of maps may be that of all images.
        shape = tf.shape(sensitivity_maps)
        axes, _ = tf.raw_ops.BroadcastGradientArgs(s0=shape, s1=tf.shape(found))
        found = tf.reshape(tf.reduce_sum(found, axes), shape)
        return tf.ensure_shape(found, sensitivity_maps.shape)

    def norm_bound(self, sensitivity_maps, mask):
        """An upper bound of || A_S ||, real (batch,): the largest root-sum-of-squares of the maps
        at a pixel of the image, times the largest weight of the mask.

        || A_S u ||^2 = sum_c || M F S_c u ||^2 <= max |M|^2 sum_p |u_p|^2 sum_c |S_c,p|^2.
        """
        sensitivity_maps = tf.convert_to_tensor(sensitivity_maps)
        maps = self.crop_readout(sensitivity_maps)
        real = maps.dtype.real_dtype
        powers = tf.reduce_sum(tf.square(tf.abs(maps)), 1)
        largest = tf.sqrt(tf.reduce_max(powers, [1, 2]))
        weight = tf.reduce_max(tf.abs(tf.cast(mask, real)), [1, 2, 3])
        # Rounded up: a sum over coils loses a digit's unit for each of them at most.
        coils = tf.cast(tf.shape(maps)[1], real)
        return weight * largest * (1 + np.finfo(real.as_numpy_dtype).eps * (coils + _ROUNDED))

    def rows(self, height):
        """How many rows of a readout of `height` lie above the image, in it and below it."""
        if not self.readout_oversampling:
            return 0, height, 0
        top = height // 4 + 1
        rows = height // 2
        return top, rows, height - rows - top

    def crop_readout(self, x):
        """The rows of the image out of an array (..., height, width)."""
        if not self.readout_oversampling:
            return x
        top, rows, _ = self.rows(static_or_dynamic_shape(x)[-2])
        return x[..., top : top + rows, :]

    def pad_readout(self, image, like):
        """An image (..., rows, width) with zeros around it, to the height of `like`."""
        if not self.readout_oversampling:
            return image
        top, _, bottom = self.rows(static_or_dynamic_shape(like)[-2])
        around = [[0, 0]] * (len(image.shape) - 2)
        return tf.pad(image, [*around, [top, bottom], [0, 0]])

    def _normal(self, image, sensitivity_maps, mask):
        # F^H M F is a circular convolution: it commutes with the shifts, so none is needed, and the
        # scalings cancel. A mask that is constant along the readout leaves a convolution along the
        # width alone.
        image = image[:, None]
        if mask.shape[-2] == 1:
            weights = tf.square(unshifted(mask, image.dtype, axes=(-1,)))

            def by_lines(maps):
                maps = self.crop_readout(maps)
                return tf.math.conj(maps) * tf.signal.ifft(tf.signal.fft(maps * image) * weights)

            return sum_over_coils(by_lines, image, sensitivity_maps)

        weights = tf.square(unshifted(mask, image.dtype, axes=(-2, -1)))
        padded = self.pad_readout(image, sensitivity_maps)

        def by_points(maps):
            spectrum = tf.signal.fft2d(maps * padded)
            return self.crop_readout(tf.math.conj(maps) * tf.signal.ifft2d(spectrum * weights))

        return sum_over_coils(by_points, image, sensitivity_maps)

    def _check_operands(self, name, x, sensitivity_maps, mask):
        """Shapes and types of an image or k-space, maps and mask: others would be broadcast in
        silence.
        """
        mask = mask if hasattr(mask, "shape") else tf.convert_to_tensor(mask)
        if not self._operands_fit(name, x.shape, sensitivity_maps.shape, mask.shape):
            expected = SHAPES.get(name, "(batch, rows, width)")
            raise ValueError(
                f"{name} {expected}, sensitivity_maps {SHAPES['sensitivity_maps']} and "
                f"mask {SHAPES['mask']} do not fit. Received: {name}.shape={tuple(x.shape)}, "
                f"sensitivity_maps.shape={tuple(sensitivity_maps.shape)}, "
                f"mask.shape={tuple(mask.shape)}, readout_oversampling={self.readout_oversampling}"
            )
        if not x.dtype.is_complex or x.dtype != sensitivity_maps.dtype:
            raise ValueError(
                f"{name} and sensitivity_maps must be complex, of one type. Received: "
                f"{name}.dtype={x.dtype.name}, "
                f"sensitivity_maps.dtype={sensitivity_maps.dtype.name}. Convert with "
                ".astype('complex64')."
            )

    def _operands_fit(self, name, shape, maps, mask):
        is_image = name == "image"
        if len(maps) != 4 or len(mask) != 4 or len(shape) != (3 if is_image else 4):
            return False
        _, coils, height, width = maps
        expected = (coils, height, width)
        if is_image:
            rows = None if height is None else self.rows(height)[1]
            expected = (rows, width)
        lines = (1, 1 if mask[2] == 1 else height, width)
        batches = {size for size in (shape[0], maps[0], mask[0]) if size not in (None, 1)}
        same = all(map(sizes_fit, shape[1:], expected)) and all(map(sizes_fit, mask[1:], lines))
        return same and len(batches) <= 1


def sum_over_coils(term, like, *arrays):
    """sum_c term(coil c of `arrays`), of the shape of `like` without its coil axis. All are (...,
    coils, rows, width).

    On a CPU coil by coil, two at a time: the arrays of one stay in cache. An accelerator takes all
    coils at once.
    """
    if on_accelerator():
        return tf.reduce_sum(term(*arrays), -3)

    def add(coil, total):
        own = [tf.gather(x, coil[None], axis=-3) for x in arrays]
        return coil + 1, total + term(*own)

    coils = static_or_dynamic_shape(arrays[0])[-3]
    start = (tf.constant(0), tf.zeros_like(like))
    _, total = tf.while_loop(lambda coil, _: coil < coils, add, start, parallel_iterations=2)
    return tf.squeeze(total, -3)


def unshifted(mask, dtype, axes):
    """A mask whose origin is at index 0, where the Fourier transform of TensorFlow has it."""
    return ifftshift(tf.cast(mask, dtype), axes)
