"""The encoding operator of multi-coil MRI, A_S u = M F (S_c u), c = 1..coils, its adjoint and its
normal operator.

F is centred and orthonormal, so the norm of A_S is at most 1 when the maps have unit
root-sum-of-squares. The network sees the data only through A_S^H k and A_S^H A_S: that is what
makes smoothing and attacks cheap.
"""

import math
import warnings
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.device import on_accelerator
from tfvn.physics.fourier import fft2c, ifft2c
from tfvn.shapes import static_or_dynamic_shape

__all__ = ["NOISES", "Sense", "check_inputs", "check_values", "without_kspace"]

_SHAPES = {
    "kspace": "(batch, coils, height, width)",
    "sensitivity_maps": "(batch, coils, height, width)",
    "mask": "(batch, 1, 1, width) or (batch, 1, height, width)",
}
_RANKS = {"kspace": 4, "sensitivity_maps": 4, "mask": 4, "zero_filled": 3, "initial_image": 3}


# Distributions of the k-space noise. All have mean 0 and, for each real component, standard
# deviation sigma.
NOISES = ("gaussian", "uniform", "laplace")

# An image of maximum 1 may be this many times smaller or larger before it is warned of.
_SCALES = 10


def _fits(a, b):
    return a is None or b is None or a == b


def _check_pair(name, x, other_name, other, axes):
    if not all(_fits(x.shape[a], other.shape[b]) for a, b in axes):
        raise ValueError(
            f"{name} {_SHAPES.get(name, '(batch, height, width)')} and {other_name}"
            f" {_SHAPES[other_name]} do not fit. Received: {name}.shape={tuple(x.shape)},"
            f" {other_name}.shape={tuple(other.shape)}. Coils, height and width must be of the same"
            " scan."
        )


def check_inputs(inputs):
    """Checks types, ranks and sizes of a dict of `kspace` (or `zero_filled`), `sensitivity_maps`
    and `mask`.

    Raises:
        ValueError: naming the key, what came and what was expected.
    """
    if not isinstance(inputs, Mapping):
        received = checks.shown(inputs)
        if isinstance(inputs, (tuple, list)):
            received = f"a {type(inputs).__name__}. Of a pair (inputs, reference) pass the first"
        raise ValueError(
            "inputs must be a dict of the arrays kspace, sensitivity_maps and mask. "
            f"Received: inputs={received}."
        )
    needed = {"sensitivity_maps", "mask"} | (set() if "zero_filled" in inputs else {"kspace"})
    missing = sorted(needed - set(inputs))
    if missing:
        received = checks.shown(sorted(map(str, inputs)))
        raise ValueError(
            f"inputs must hold {sorted(needed)}. Missing: {missing}. Received: {received}"
        )
    for name in (*_RANKS, *_KEYS):
        if name in inputs and not all(hasattr(inputs[name], part) for part in ("shape", "dtype")):
            raise ValueError(
                f"{name} must be an array or a tensor. Received: "
                f"{name}={checks.shown(inputs[name])}. Convert it with np.asarray."
            )
    for name, rank in _RANKS.items():
        if name in inputs and len(inputs[name].shape) != rank:
            shape = _SHAPES.get(name, "(batch, height, width)")
            raise ValueError(
                f"{name} must have shape {shape}. Received:"
                f" {name}.shape={tuple(inputs[name].shape)}"
            )
    maps, mask = inputs["sensitivity_maps"], inputs["mask"]
    for name in sorted(set(_RANKS) & set(inputs) - {"mask"}):
        dtype = tf.as_dtype(inputs[name].dtype)
        if not dtype.is_complex or dtype != tf.as_dtype(maps.dtype):
            raise ValueError(
                "k-space, maps and images must be complex, all of one type. Received:"
                f" {name}.dtype={dtype.name},"
                f" sensitivity_maps.dtype={tf.as_dtype(maps.dtype).name}. Convert with"
                " .astype('complex64')."
            )
    if "kspace" in inputs:
        _check_pair(
            "kspace", inputs["kspace"], "sensitivity_maps", maps, [(0, 0), (1, 1), (2, 2), (3, 3)]
        )
    for name in ("zero_filled", "initial_image"):
        if name in inputs:
            _check_pair(name, inputs[name], "sensitivity_maps", maps, [(0, 0), (2, 3)])
    axes = [(3, 3)] if mask.shape[2] == 1 else [(2, 2), (3, 3)]
    _check_pair("mask", mask, "sensitivity_maps", maps, axes)
    if mask.shape[1] not in (1, None) or not (
        mask.shape[0] == 1 or _fits(mask.shape[0], maps.shape[0])
    ):
        raise ValueError(
            f"mask must have shape {_SHAPES['mask']}. Received: mask.shape={tuple(mask.shape)}"
        )
    if tf.as_dtype(mask.dtype).is_complex:
        raise ValueError(
            f"mask must be real, of zeros and ones. Received: mask={checks.shown(mask)}"
        )
    for name, shape in _KEYS.items():
        if name in inputs:
            _check_key(name, inputs[name], (maps.shape[0],) if shape is None else shape)


# Numbers that name images and draws. None stands for (batch,).
_KEYS = {"sample_index": None, "noise_seed": (2,)}


def _check_key(name, value, shape):
    fits = len(value.shape) == len(shape) and all(map(_fits, value.shape, shape))
    if not fits or not tf.as_dtype(value.dtype).is_integer:
        expected = "(batch,), a number for every image" if name == "sample_index" else "(2,)"
        raise ValueError(
            f"{name} must be whole numbers of shape {expected}. Received: "
            f"{name}={checks.shown(value)}"
        )


def check_values(inputs, image, unit=1.0):
    """Looks at the numbers of a measurement, where they are known: eagerly, not while a graph is
    traced.

    Args:
        inputs: a dict that `check_inputs` has passed.
        image: complex (batch, rows, width), A^H kspace.
        unit: the maximum that images should have.

    Raises:
        ValueError: for numbers that are not finite, an image of zeros, no image, or a mask outside
            [0, 1].

    Warns:
        DataWarning: for an image ten times smaller or larger than `unit`.
    """
    if not tf.executing_eagerly():
        return
    if 0 in image.shape:
        raise ValueError(
            f"inputs must hold at least one image. Received: a batch of shape {tuple(image.shape)}"
        )
    mask = np.asarray(inputs["mask"]).astype(float)
    if not (mask.min() >= 0 and mask.max() <= 1):
        raise ValueError(
            "mask must hold zeros and ones, 1 where sampled. "
            f"Received: values from {mask.min():g} to {mask.max():g}"
        )
    magnitudes = tf.abs(image)
    peaks = tf.reduce_max(magnitudes, [1, 2]).numpy()
    # A sum is finite only if all terms are. Of the maps a given image would not tell.
    sums = [tf.reduce_sum(magnitudes)]
    if "zero_filled" in inputs:
        sums += [tf.reduce_sum(inputs[key]) for key in _UNSEEN if key in inputs]
    if not all(np.isfinite(x) for x in sums):
        known = {key: inputs[key] for key in _RANKS if key in inputs}
        _refuse_what_is_not_finite({**known, "A^H kspace": image})
    if not peaks.all():
        raise ValueError(
            f"A^H kspace is zero everywhere in image {np.argmin(peaks)} of the batch: there is "
            "nothing to reconstruct. Does the mask sample any of the k-space? Do the maps belong "
            "to it?"
        )
    peak = peaks[np.argmax(np.abs(np.log(peaks / unit)))]
    if not unit / _SCALES <= peak <= unit * _SCALES:
        warnings.warn(
            f"The largest magnitude of A^H kspace is {peak:.3g}, where about {unit:g} is expected: "
            "networks, radius and sigma are made for normalised images. Divide the k-space by it; "
            "tfvn.data.prepare does that for raw arrays.",
            checks.DataWarning,
            stacklevel=3,
        )


# Inputs whose numbers do not show in an image A^H kspace that came with them.
_UNSEEN = ("sensitivity_maps", "initial_image")


def _refuse_what_is_not_finite(arrays):
    for name, array in arrays.items():
        array = np.asarray(array)
        wrong = ~np.isfinite(array)
        if wrong.any():
            raise ValueError(
                f"{name} must be finite. Received: {np.count_nonzero(wrong)} NaN or infinite of "
                f"{array.size} entries, the first in image {np.argwhere(wrong)[0][0]} of the batch."
            )


def without_kspace(inputs, zero_filled):
    """The inputs with `zero_filled` in place of `kspace`: all that compiled code needs to be
    given.
    """
    return {
        **{key: value for key, value in inputs.items() if key != "kspace"},
        "zero_filled": zero_filled,
    }


@keras.utils.register_keras_serializable(package="tfvn")
class Sense(keras.layers.Layer):
    """The SENSE operator with coil maps and mask as arguments; holds no weights and no state.

    Args:
        readout_oversampling: the scanner sampled the readout (height) twice as densely as the image
            needs. Images then
            are the central half of the height: `height // 4 + 1` rows are cut above, the rest
                below, as in the code of
            Hammernik et al. Maps and k-space keep the full height.

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
        image = self._pad_readout(image, sensitivity_maps)
        return tf.cast(mask, image.dtype) * fft2c(sensitivity_maps * image[:, None])

    def adjoint(self, kspace, sensitivity_maps, mask):
        """A_S^H kspace: the zero-filled, coil-combined image."""
        kspace, sensitivity_maps = (
            tf.convert_to_tensor(kspace),
            tf.convert_to_tensor(sensitivity_maps),
        )
        self._check_operands("kspace", kspace, sensitivity_maps, mask)
        coil_images = ifft2c(tf.cast(mask, kspace.dtype) * kspace)
        return self._crop_readout(tf.reduce_sum(tf.math.conj(sensitivity_maps) * coil_images, 1))

    def normal(self, image, sensitivity_maps, mask):
        """A_S^H A_S image, differentiable in `image` alone (it is its own adjoint)."""
        image = tf.convert_to_tensor(image)
        sensitivity_maps = tf.convert_to_tensor(sensitivity_maps)
        self._check_operands("image", image, sensitivity_maps, mask)

        @tf.custom_gradient
        def apply(image):
            return self._normal(image, sensitivity_maps, mask), lambda cotangent: self._normal(
                cotangent, sensitivity_maps, mask
            )

        return apply(image)

    def adjoint_noise(self, sensitivity_maps, mask, seeds, noise="gaussian"):
        """A_S^H e of k-space noise e: real and imaginary part of each sampled entry independent, of
        mean 0 and variance 1, stateless. A constant to gradients.

        Args:
            sensitivity_maps, mask: as above, of the same batch.
            seeds: int32 (batch, 2). A sample's noise depends on its own seed, mask and shapes only.
            noise: the components' distribution, one of `NOISES`.
        """
        like = self._crop_readout(sensitivity_maps[:1, 0])[0]
        views = self._column_noise, self._point_noise
        return self._drawn(views, like, sensitivity_maps, mask, seeds, noise)

    def kspace_noise(self, sensitivity_maps, mask, seeds, noise="gaussian"):
        """The e of `adjoint_noise` itself, of the same arguments: (batch, coils, height, width), 0
        where not sampled.

        One draw, two views: adjoint(kspace_noise(...)) is adjoint_noise(...) up to rounding.
        """
        views = self._column_kspace, self._point_kspace
        return self._drawn(views, sensitivity_maps[0], sensitivity_maps, mask, seeds, noise)

    def _drawn(self, views, like, sensitivity_maps, mask, seeds, noise):
        """view(maps, mask, seed, noise) of every sample, each of the shape of `like`.

        The first of `views` is that of normal noise on whole lines.
        """
        checks.choice("noise", noise, NOISES)
        shape = tf.concat([tf.shape(sensitivity_maps)[:1], tf.shape(mask)[1:]], 0)
        mask = tf.broadcast_to(mask, shape)
        draw = views[0] if noise == "gaussian" and mask.shape[-2] == 1 else views[1]
        spec = tf.TensorSpec(like.shape, like.dtype)
        samples = (sensitivity_maps, mask, seeds)
        found = tf.map_fn(lambda x: draw(*x, noise), samples, fn_output_signature=spec)
        return tf.stop_gradient(found)

    def _point_noise(self, sensitivity_maps, mask, seed, noise):
        kspace = _point_draw(sensitivity_maps, seed, noise)
        return self.adjoint(kspace[None], sensitivity_maps[None], mask[None])[0]

    def _point_kspace(self, sensitivity_maps, mask, seed, noise):
        kspace = _point_draw(sensitivity_maps, seed, noise)
        return tf.where(mask != 0, kspace, tf.zeros_like(kspace))

    def _column_noise(self, sensitivity_maps, mask, seed, noise):
        # Rotations leave white normal noise white: drawn after the readout transform, it needs no
        # transform of that axis, and lines that are not sampled need no draw.
        del noise
        image = self._crop_readout(sensitivity_maps[:1])
        coils, (_, rows, width) = (
            static_or_dynamic_shape(sensitivity_maps)[0],
            static_or_dynamic_shape(image),
        )
        weights, source, count = _sampled_lines(mask, sensitivity_maps.dtype)
        lines = _complex_normal([coils, rows, count], seed, image.dtype)
        weights *= tf.cast(tf.sqrt(tf.cast(width, image.dtype.real_dtype)), image.dtype)

        def coil(maps, lines):
            return tf.math.conj(self._crop_readout(maps)) * tf.signal.ifft(
                tf.gather(lines, source, axis=-1) * weights
            )

        return _sum_over_coils(coil, image, sensitivity_maps, lines)

    def _column_kspace(self, sensitivity_maps, mask, seed, noise):
        # The coil images of `_column_noise` before the mask's weights, and their spectrum.
        del noise
        coils, height, width = static_or_dynamic_shape(sensitivity_maps)
        rows = static_or_dynamic_shape(self._crop_readout(sensitivity_maps))[1]
        weights, source, count = _sampled_lines(mask, sensitivity_maps.dtype)
        lines = _complex_normal([coils, rows, count], seed, sensitivity_maps.dtype)
        if self.readout_oversampling:
            # Rows outside the image have noise too, which the adjoint cuts: of another key.
            top, _, bottom = self._rows(height)
            other = tf.random.experimental.stateless_fold_in(seed, 0)
            outside = _complex_normal([coils, top + bottom, count], other, sensitivity_maps.dtype)
            lines = tf.concat([outside[:, :top], lines, outside[:, top:]], 1)
        sampled = tf.cast(weights != 0, lines.dtype)
        sampled *= tf.cast(tf.sqrt(tf.cast(width, lines.dtype.real_dtype)), lines.dtype)
        kspace = fft2c(tf.signal.ifft(tf.gather(lines, source, axis=-1) * sampled))
        return tf.where(mask != 0, kspace, tf.zeros_like(kspace))

    def _normal(self, image, sensitivity_maps, mask):
        # F^H M F is a circular convolution: it commutes with the shifts, so none is needed, and the
        # scalings cancel. A mask that is constant along the readout leaves a convolution along the
        # width alone.
        image = image[:, None]
        by_columns = mask.shape[-2] == 1
        weights = tf.square(_unshifted(mask, image.dtype, axes=(-1,) if by_columns else (-2, -1)))

        def by_lines(maps):
            maps = self._crop_readout(maps)
            return tf.math.conj(maps) * tf.signal.ifft(tf.signal.fft(maps * image) * weights)

        def by_points(maps):
            spectrum = tf.signal.fft2d(maps * self._pad_readout(image, sensitivity_maps))
            return self._crop_readout(tf.math.conj(maps) * tf.signal.ifft2d(spectrum * weights))

        return _sum_over_coils(by_lines if by_columns else by_points, image, sensitivity_maps)

    def _check_operands(self, name, x, sensitivity_maps, mask):
        """Shapes and types of an image or k-space, maps and mask: others would be broadcast in
        silence."""
        mask = mask if hasattr(mask, "shape") else tf.convert_to_tensor(mask)
        if not self._operands_fit(name, x.shape, sensitivity_maps.shape, mask.shape):
            expected = "(batch, rows, width)" if name == "image" else _SHAPES["kspace"]
            raise ValueError(
                f"{name} {expected}, sensitivity_maps {_SHAPES['sensitivity_maps']} and "
                f"mask {_SHAPES['mask']} do not fit. Received: {name}.shape={tuple(x.shape)}, "
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
        if len(maps) != 4 or len(mask) != 4 or len(shape) != (3 if name == "image" else 4):
            return False
        _, coils, height, width = maps
        rows = height
        if name == "image" and self.readout_oversampling and height is not None:
            rows = self._rows(height)[1]
        expected = (rows, width) if name == "image" else (coils, height, width)
        lines = (1, 1 if mask[2] == 1 else height, width)
        batches = {size for size in (shape[0], maps[0], mask[0]) if size not in (None, 1)}
        same = all(map(_fits, shape[1:], expected)) and all(map(_fits, mask[1:], lines))
        return same and len(batches) <= 1

    def _rows(self, height):
        top = height // 4 + 1
        return top, height // 2, height - height // 2 - top

    def _crop_readout(self, x):
        if not self.readout_oversampling:
            return x
        top, rows, _ = self._rows(static_or_dynamic_shape(x)[-2])
        return x[..., top : top + rows, :]

    def _pad_readout(self, image, sensitivity_maps):
        if not self.readout_oversampling:
            return image
        top, rows, bottom = self._rows(static_or_dynamic_shape(sensitivity_maps)[-2])
        return tf.pad(image, [[0, 0]] * (len(image.shape) - 2) + [[top, bottom], [0, 0]])


def _sum_over_coils(term, like, *arrays):
    """sum_c term(coil c of `arrays`), of the shape of `like` without its coil axis. All are (...,
    coils, rows, width).

    On a CPU coil by coil, two at a time: the arrays of one stay in cache. An accelerator takes all
    coils at once.
    """
    if on_accelerator():
        return tf.reduce_sum(term(*arrays), -3)

    def add(coil, total):
        return coil + 1, total + term(*(x[..., coil, None, :, :] for x in arrays))

    coils = static_or_dynamic_shape(arrays[0])[-3]
    start = (tf.constant(0), tf.zeros_like(like))
    total = tf.while_loop(lambda coil, _: coil < coils, add, start, parallel_iterations=2)[1]
    return tf.squeeze(total, -3)


def _point_draw(sensitivity_maps, seed, noise):
    laws = {"gaussian": _complex_normal, "uniform": _complex_uniform, "laplace": _complex_laplace}
    return laws[noise](static_or_dynamic_shape(sensitivity_maps), seed, sensitivity_maps.dtype)


def _sampled_lines(mask, dtype):
    """Of a mask of lines (1, 1, width), not shifted: its numbers, the place of each sampled line
    among those that are drawn, and how many are."""
    weights = _unshifted(mask[0, 0], dtype, axes=(-1,))
    sampled = tf.cast(weights != 0, tf.int32)
    source = tf.cumsum(sampled, exclusive=True) * sampled
    return weights, source, tf.maximum(tf.reduce_sum(sampled), 1)


def _complex_normal(shape, seed, dtype):
    # The pairs of normals are the complex numbers as they lie in memory.
    return tf.bitcast(tf.random.stateless_normal([*shape, 2], seed, dtype=dtype.real_dtype), dtype)


def _complex_uniform(shape, seed, dtype):
    limit = tf.constant(math.sqrt(3), dtype.real_dtype)
    return tf.bitcast(
        tf.random.stateless_uniform([*shape, 2], seed, -limit, limit, dtype=dtype.real_dtype), dtype
    )


def _complex_laplace(shape, seed, dtype):
    uniform = tf.random.stateless_uniform([*shape, 2], seed, -1, 1, dtype=dtype.real_dtype)
    # -1 itself is drawn, and its logarithm would be infinite.
    magnitude = -tf.math.log1p(-tf.minimum(tf.abs(uniform), 1 - 2.0**-24)) / math.sqrt(2)
    return tf.bitcast(tf.sign(uniform) * magnitude, dtype)


def _unshifted(mask, dtype, axes):
    return tf.signal.ifftshift(tf.cast(mask, dtype), axes=axes)
