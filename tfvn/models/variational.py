"""The variational network of Hammernik et al. (MRM 79(6), 2018): unrolled, learned gradient
descent.

    u <- u - (1/filters) K_t^T phi_t(K_t u) - data_weight_t (A^H A u - A^H k),    t = 1..num_stages,    u_0 = A^H k

K_t are real filters on real and imaginary part, phi_t learned activations (Eq. 6 and 14 of the
paper; its printed plus before the data term is a slip of the sign, the original code subtracts).
The reconstruction map f is the magnitude `sqrt(re^2 + im^2 + epsilon)` of the last iterate.

Inputs of a network are a dict:

    kspace            complex (batch, coils, height, width), 0 where not sampled
    sensitivity_maps  complex, same shape
    mask              real (batch, 1, 1, width) or (batch, 1, height, width)
    zero_filled       optional, A^H kspace (batch, rows, width): used in place of `kspace`, which may then be missing
    initial_image     optional, u_0, where it is to differ from `zero_filled`
"""

import functools
import math

import numpy as np
import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.device import one_graph
from tfvn.models.activations import RBFActivation
from tfvn.models.convolutions import (
    correlate,
    correlate_transpose,
    kernel_gradient,
    phases,
)
from tfvn.physics.sense import Sense, check_inputs, check_values, without_kspace
from tfvn.projections import non_negative, zero_mean_unit_ball
from tfvn.shapes import static_or_dynamic_shape

__all__ = [
    "EPSILON",
    "FilterInitializer",
    "LARGEST_FILE",
    "PARAMETERS",
    "Stage",
    "VariationalNetwork",
    "largest_file",
    "magnitude",
    "to_channels",
    "to_complex",
    "weight_bytes",
    "weight_shapes",
]

# Under the root of the magnitude, so that it is differentiable at 0. Images have a maximum of about
# 1.
EPSILON = 1e-12

PARAMETERS = ("kernel", "rbf_weights", "data_weight")

# Bytes that the file of a network's weights may take: no larger network is made, and
# `tfvn.models.network_files` reads none. Besides the numbers there are those of an optimizer, up to three for
# each, and the file's own structure.
LARGEST_FILE, _NUMBERS, _OVERHEAD, _STAGE_OVERHEAD = 2**28, 4, 2**20, 2**16


def magnitude(image):
    """|image| = sqrt(re^2 + im^2 + EPSILON) of a complex tensor."""
    return tf.sqrt(tf.square(tf.math.real(image)) + tf.square(tf.math.imag(image)) + EPSILON)


def to_channels(image):
    """Complex (..., h, w) to real (..., h, w, 2)."""
    return tf.stack([tf.math.real(image), tf.math.imag(image)], -1)


def to_complex(channels):
    """Real (..., h, w, 2) to complex (..., h, w)."""
    return tf.complex(channels[..., 0], channels[..., 1])


def weight_shapes(filters, kernel_size, num_centers):
    """The shapes of a stage's weights by their names."""
    kernel = (kernel_size, kernel_size, 2, filters)
    return {"kernel": kernel, "data_weight": (), "rbf_weights": (filters, num_centers)}


def weight_bytes(num_stages, filters, kernel_size, num_centers, dtype):
    """Bytes of all weights of a network of these settings."""
    shapes = weight_shapes(filters, kernel_size, num_centers).values()
    return num_stages * sum(map(math.prod, shapes)) * tf.as_dtype(dtype).size


def largest_file(num_stages, filters, kernel_size, num_centers, dtype):
    """Bytes that the file of such a network's weights may take.

    Raises:
        ValueError: if it takes more than `LARGEST_FILE`.
    """
    largest = _NUMBERS * weight_bytes(num_stages, filters, kernel_size, num_centers, dtype)
    largest += num_stages * _STAGE_OVERHEAD + _OVERHEAD
    if largest > LARGEST_FILE:
        raise ValueError(
            f"The file of a network's weights may take up to {LARGEST_FILE / 1e6:.0f} MB, and this "
            f"one's may need {largest / 1e6:.4g} MB. Received: num_stages={num_stages}, "
            f"filters={filters}, kernel_size={kernel_size}, num_centers={num_centers}. Make one of "
            "them smaller."
        )
    return largest


class FilterInitializer(keras.initializers.Initializer):
    """Random filters inside the constraint set: normal entries, projected on zero mean and unit
    norm; keyed by `seed`.
    """

    def __init__(self, seed):
        self.seed = seed

    def __call__(self, shape, dtype=None, **_):
        normal = tf.random.stateless_normal(shape, [self.seed, 0], dtype=dtype or "float32")
        return zero_mean_unit_ball(normal)

    def get_config(self):
        return {"seed": self.seed}


class _Descent:
    """Value and gradient of consecutive equal stages, as functions of tensors: `image` and
    `zero_filled` real (batch, rows, width, 2), the stages' parameters stacked along a first axis,
    maps and mask.
    """

    def __init__(self, kernel_size, activation, sense):
        self.kernel_size, self.activation, self.sense = kernel_size, activation, sense
        # Inlined, the gradient would recompute during the forward pass (its inputs are ready) and
        # keep all features.
        self.value, self.gradient = one_graph(self._value), one_graph(self._gradient)

    def _value(self, image, zero_filled, parameters, sensitivity_maps, mask):
        """The last image; and of every stage the image it began with and its residual A^H A u - A^H
        k.
        """
        stages = parameters[0].shape[0]

        def stage(t, image, images, residuals):
            result, residual = self._stage_value(
                image, zero_filled, *(x[t] for x in parameters), sensitivity_maps, mask
            )
            return (
                t + 1,
                tf.ensure_shape(result, image.shape),
                images.write(t, image),
                residuals.write(t, residual),
            )

        kept = [
            tf.TensorArray(image.dtype, size=stages, element_shape=image.shape) for _ in range(2)
        ]
        _, result, *kept = tf.while_loop(
            lambda t, *_: t < stages, stage, (tf.constant(0), image, *kept), parallel_iterations=1
        )
        return result, *(x.stack() for x in kept)

    def _gradient(self, wanted, cotangent, images, residuals, parameters, sensitivity_maps, mask):
        """The gradient in the first image, in `zero_filled`, and in the `wanted` parameters of
        every stage, stacked.
        """
        stages = parameters[0].shape[0]
        shapes = [x.shape[1:] for name, x in zip(PARAMETERS, parameters) if name in wanted]

        def stage(t, cotangent, d_zero_filled, *d_parameters):
            own = (x[t] for x in (images, residuals, *parameters))
            d_image, d_stage, d_own = self._stage_gradient(
                wanted, cotangent, *own, sensitivity_maps, mask
            )
            d_parameters = (array.write(t, d) for array, d in zip(d_parameters, d_own))
            return (
                t - 1,
                tf.ensure_shape(d_image, cotangent.shape),
                d_zero_filled + d_stage,
                *d_parameters,
            )

        d_parameters = [
            tf.TensorArray(cotangent.dtype, size=stages, element_shape=shape) for shape in shapes
        ]
        loop = (tf.constant(stages - 1), cotangent, tf.zeros_like(cotangent), *d_parameters)
        _, d_image, d_zero_filled, *d_parameters = tf.while_loop(
            lambda t, *_: t >= 0, stage, loop, parallel_iterations=1
        )
        return d_image, d_zero_filled, [x.stack() for x in d_parameters]

    def _stage_value(
        self, image, zero_filled, kernel, rbf_weights, data_weight, sensitivity_maps, mask
    ):
        _, height, width, _ = static_or_dynamic_shape(image)
        residual = self._normal(image, sensitivity_maps, mask) - zero_filled
        features = self.activation.value(correlate(self._pad(image), kernel), rbf_weights)
        regulariser = correlate_transpose(features, kernel)[:, :height, :width] / kernel.shape[-1]
        return image - regulariser - data_weight * residual, residual

    def _stage_gradient(
        self,
        wanted,
        cotangent,
        image,
        residual,
        kernel,
        rbf_weights,
        data_weight,
        sensitivity_maps,
        mask,
    ):
        padded = self._pad(image)
        filtered = correlate(padded, kernel)
        d_regulariser = self._fill(-cotangent / kernel.shape[-1])
        d_features = correlate(d_regulariser, kernel, self.kernel_size - 1)
        d_filtered = self.activation.derivative_product(filtered, d_features, rbf_weights)

        d_parameters = []
        if "kernel" in wanted:
            features = self.activation.value(filtered, rbf_weights)
            d_parameters.append(
                kernel_gradient(padded, d_filtered, self.kernel_size)
                + kernel_gradient(d_regulariser, features, self.kernel_size, self.kernel_size - 1)
            )
        if "rbf_weights" in wanted:
            # By itself: its two threads and those of the convolutions would be in each other's way.
            with tf.control_dependencies(d_parameters + [d_filtered]):
                d_parameters.append(
                    self.activation.weight_gradient(tf.identity(filtered), tf.identity(d_features))
                )
        if "data_weight" in wanted:
            d_parameters.append(-tf.reduce_sum(cotangent * residual))

        d_padded = correlate_transpose(d_filtered, kernel, self.kernel_size - 1)
        d_image = cotangent - data_weight * self._normal(cotangent, sensitivity_maps, mask)
        d_image += tf.raw_ops.MirrorPadGrad(
            input=d_padded, paddings=self._paddings(image), mode="SYMMETRIC"
        )
        return d_image, data_weight * cotangent, d_parameters

    def _normal(self, channels, sensitivity_maps, mask):
        return to_channels(self.sense.normal(to_complex(channels), sensitivity_maps, mask))

    def _extra(self, image):
        # Rows and columns that fill the image up to whole phases of the convolutions; cropped again
        # afterwards.
        _, height, width, _ = static_or_dynamic_shape(image)
        rows, columns = phases(self.kernel_size)
        return -height % rows, -width % columns

    def _paddings(self, image):
        border = self.kernel_size - 1
        extra = self._extra(image)
        smallest = [size for size in image.shape[1:3] if size is not None]
        if smallest and min(smallest) < border + max(e if isinstance(e, int) else 0 for e in extra):
            raise ValueError(
                f"An image must have at least {border + 3} rows and columns for"
                f" kernel_size={self.kernel_size}. Received: image of {image.shape[1]} x"
                f" {image.shape[2]}"
            )
        return [[0, 0], [border, border + extra[0]], [border, border + extra[1]], [0, 0]]

    def _pad(self, image):
        return tf.pad(image, self._paddings(image), "SYMMETRIC")

    def _fill(self, image):
        rows, columns = self._extra(image)
        return tf.pad(image, [[0, 0], [0, rows], [0, columns], [0, 0]])


@functools.lru_cache(maxsize=16)
def _descent(
    kernel_size, num_centers, grid_limit, bandwidth, scale, readout_oversampling, sizes_known
):
    del (
        sizes_known
    )  # A function traced for unknown sizes would serve the known ones too, and slower.
    return _Descent(
        kernel_size,
        RBFActivation(num_centers, grid_limit, bandwidth, scale),
        Sense(readout_oversampling),
    )


def _descend(stages, image, zero_filled, sensitivity_maps, mask, wanted):
    """The complex image after consecutive equal stages."""
    wanted = PARAMETERS if wanted is None else tuple(wanted)
    parameters = [
        tf.stack([tf.convert_to_tensor(getattr(stage, name)) for stage in stages])
        for name in PARAMETERS
    ]
    tensors = [to_channels(image), to_channels(zero_filled), *parameters]
    sizes_known = all(
        x.shape.is_fully_defined() for x in (image, zero_filled, sensitivity_maps, mask)
    )
    descent = _descent(*stages[0].formula, sizes_known)

    @tf.custom_gradient
    def apply(image, zero_filled, *parameters):
        # The gradient is given: without this TensorFlow would derive one of the call of `value` as
        # well.
        image, zero_filled, *parameters = (
            tf.stop_gradient(x) for x in (image, zero_filled, *parameters)
        )
        result, *kept = descent.value(image, zero_filled, parameters, sensitivity_maps, mask)

        def gradient(cotangent):
            d_image, d_zero_filled, found = descent.gradient(
                wanted, cotangent, *kept, parameters, sensitivity_maps, mask
            )
            found = dict(zip((name for name in PARAMETERS if name in wanted), found))
            return d_image, d_zero_filled, *(found.get(name) for name in PARAMETERS)

        return result, gradient

    return to_complex(apply(*tensors))


@keras.utils.register_keras_serializable(package="tfvn")
class Stage(keras.layers.Layer):
    """One step of the unrolled descent: u - (1/filters) K^T phi(K u) - data_weight (A^H A u - A^H
    k).

    The image is padded symmetrically before K and cropped after K^T: zero padding would show the
    filters an edge that is not there. The gradient is written by hand: it keeps u and the data
    residual (two images) and recomputes the rest, so that memory grows by two images a stage and
    not by 2 * filters.

    Args:
        filters, kernel_size: number and side of the filters.
        num_centers, grid_limit, bandwidth, scale, initial_scale: of the `RBFActivation`.
        initial_data_weight: data_weight at the start.
        readout_oversampling: of `Sense`.
        seed: of the initial filters.

    Call arguments:
        image: complex (batch, rows, width), u.
        zero_filled: complex (batch, rows, width), A^H k.
        sensitivity_maps, mask: as for `Sense`.
        wanted: names out of `PARAMETERS` whose gradients the caller is going to ask for; None means
            all. No gradient of the others is computed.

    Raises:
        ValueError: if the image is smaller than the padding.
    """

    def __init__(
        self,
        filters=24,
        kernel_size=11,
        num_centers=31,
        grid_limit=1.0,
        bandwidth=None,
        scale=1.0,
        initial_scale=0.04,
        initial_data_weight=1.0,
        readout_oversampling=False,
        seed=0,
        **kwargs,
    ):
        super().__init__(**{**kwargs, "dtype": checks.precision(kwargs.get("dtype"))})
        self.filters = checks.whole("filters", filters, 1)
        self.kernel_size = checks.whole("kernel_size", kernel_size, 2)
        # Those of a network's stages are a thousand times its own.
        self.seed = checks.whole("seed", seed, limit=2**63)
        self.initial_data_weight = checks.number(
            "initial_data_weight", initial_data_weight, 0, limit=checks.LIMIT
        )
        self.sense = Sense(readout_oversampling, dtype=self.dtype)
        self.activation = RBFActivation(
            num_centers, grid_limit, bandwidth, scale, initial_scale=initial_scale, dtype=self.dtype
        )
        # Before there are any: a few digits ask for all the memory that there is.
        largest_file(1, self.filters, self.kernel_size, self.activation.num_centers, self.dtype)
        self.activation.build((None, None, None, self.filters))
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, 2, self.filters),
            initializer=FilterInitializer(self.seed),
            constraint=zero_mean_unit_ball,
        )
        self.data_weight = self.add_weight(
            name="data_weight",
            shape=(),
            # Keras' own constant goes through single precision.
            initializer=lambda shape, dtype=None: tf.constant(
                self.initial_data_weight, dtype or "float32", shape
            ),
            constraint=non_negative,
        )
        phi = self.activation
        grid = (phi.num_centers, phi.grid_limit, phi.bandwidth, phi.scale)
        self.formula = (self.kernel_size, *grid, self.sense.readout_oversampling)
        self.built = True

    def __repr__(self):
        names = ("filters", "kernel_size", "seed")
        return f"{checks.described(self, names)[:-1]}, activation={self.activation!r})"

    def get_config(self):
        activation = self.activation.get_config()
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            **{
                name: activation[name]
                for name in ("num_centers", "grid_limit", "bandwidth", "scale", "initial_scale")
            },
            "initial_data_weight": self.initial_data_weight,
            "readout_oversampling": self.sense.readout_oversampling,
            "seed": self.seed,
        }

    @property
    def rbf_weights(self):
        return self.activation.rbf_weights

    def call(self, image, zero_filled, sensitivity_maps, mask, wanted=None):
        return _descend([self], image, zero_filled, sensitivity_maps, mask, wanted)


@keras.utils.register_keras_serializable(package="tfvn")
class VariationalNetwork(keras.Model):
    """The variational network: `num_stages` stages from the zero-filled image on.

    Args:
        num_stages: stages T.
        filters, kernel_size, num_centers, grid_limit, bandwidth, scale: of every `Stage`.
        initial_scale, initial_data_weight, readout_oversampling: of every `Stage`.
        seed: of the initial filters.

    Call arguments:
        inputs: a dict, see the module's docstring. Returns the complex image (batch, rows, width).

    Raises:
        ValueError: for settings outside their ranges, for those that a saved network could not be
            read back with (numbers of 2^31 and more, weights beyond `LARGEST_FILE`, half precision,
            names that TensorFlow takes for none), and for inputs of wrong type, rank or sizes.
    """

    def __init__(
        self,
        num_stages=10,
        filters=24,
        kernel_size=11,
        num_centers=31,
        grid_limit=1.0,
        bandwidth=None,
        scale=1.0,
        initial_scale=0.04,
        initial_data_weight=1.0,
        readout_oversampling=False,
        seed=0,
        **kwargs,
    ):
        checks.name_of_layer(kwargs.get("name"))
        super().__init__(**{**kwargs, "dtype": checks.precision(kwargs.get("dtype"))})
        num_stages = checks.whole("num_stages", num_stages, 1)
        self.seed = checks.whole("seed", seed)
        sizes = {
            "filters": checks.whole("filters", filters, 1),
            "kernel_size": checks.whole("kernel_size", kernel_size, 2),
            "num_centers": checks.whole("num_centers", num_centers, 2),
        }
        largest_file(num_stages, **sizes, dtype=self.dtype)
        self.sense = Sense(readout_oversampling, dtype=self.dtype)
        self.stages = [
            Stage(
                **sizes,
                grid_limit=grid_limit,
                bandwidth=bandwidth,
                scale=scale,
                initial_scale=initial_scale,
                initial_data_weight=initial_data_weight,
                readout_oversampling=readout_oversampling,
                seed=self.seed * 1000 + t,
                name=f"stage_{t}",
                dtype=self.dtype,
            )
            for t in range(num_stages)
        ]
        # Held by the model, because a decorated method would not survive
        # `load_model(path).reconstruct(inputs)`.
        self._compiled = tf.function(lambda inputs: self._reconstruct(inputs), autograph=False)
        self.built = True

    def __repr__(self):
        settings = self.get_config()
        del settings["name"]
        parts = [f"{name}={value!r}" for name, value in settings.items()]
        return f"VariationalNetwork({', '.join(parts)})"

    def get_config(self):
        stage = self.stages[0].get_config()
        shared = {
            key: stage[key] for key in stage if key not in ("name", "trainable", "dtype", "seed")
        }
        return {
            "name": self.name,
            "dtype": self.dtype,
            "num_stages": len(self.stages),
            **shared,
            "seed": self.seed,
        }

    def save(self, filepath, *args, **kwargs):
        """Writes the network to a file NAME.keras, as Keras does, that `tfvn.load_model` reads.

        Raises:
            ValueError: for another kind of file, and for weights that are not finite: neither could
                be read.
        """
        if not str(filepath).endswith(".keras"):
            raise ValueError(
                "A network is saved to a file with the ending .keras. Received: "
                f"filepath={checks.shown(filepath)}. For weights alone call save_weights, for "
                "TensorFlow Serving tfvn.tools.serving.export."
            )
        if not all(np.isfinite(weight).all() for weight in self.get_weights()):
            raise ValueError(
                f"{filepath}: the network's weights are NaN or infinite: it has diverged and is "
                "not saved. Train it again with a lower learning rate."
            )
        return super().save(filepath, *args, **kwargs)

    @property
    def parameter_blocks(self):
        """The three blocks of iPALM, lists of all stages' kernels, RBF weights and data-term
        weights.
        """
        return {name: [getattr(stage, name) for stage in self.stages] for name in PARAMETERS}

    def __call__(self, inputs, *args, **kwargs):
        # Before Keras, which puts lines of its own around an error.
        self._check(inputs)
        return super().__call__(inputs, *args, **kwargs)

    def call(self, inputs, wanted=None):
        sensitivity_maps, mask = inputs["sensitivity_maps"], inputs["mask"]
        zero_filled = self.zero_filled(inputs)
        image = inputs.get("initial_image", zero_filled)
        return _descend(self.stages, image, zero_filled, sensitivity_maps, mask, wanted)

    def stage_images(self, inputs):
        """The image after every stage, complex (num_stages, batch, rows, width): the last is the
        network's. For pictures.
        """
        zero_filled = self.zero_filled(inputs)
        inputs = {key: tf.convert_to_tensor(value) for key, value in inputs.items()}
        images = [inputs.get("initial_image", zero_filled)]
        for stage in self.stages:
            images.append(
                _descend(
                    [stage], images[-1], zero_filled, inputs["sensitivity_maps"], inputs["mask"], ()
                )
            )
        return tf.stack(images[1:])

    def zero_filled(self, inputs):
        """A^H kspace, complex (batch, rows, width); taken from `inputs` if it is there.

        Raises:
            ValueError: for inputs that do not fit, or of another precision than the network's.
        """
        self._check(inputs)
        if "zero_filled" in inputs:
            return inputs["zero_filled"]
        return self.sense.adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])

    def _check(self, inputs):
        check_inputs(inputs)
        expected = {"float32": "complex64", "float64": "complex128"}[self.dtype]
        received = tf.as_dtype(inputs["sensitivity_maps"].dtype).name
        if received != expected:
            raise ValueError(
                f"The network works in {self.dtype}: its inputs must be {expected}. Received: "
                f"{received}. Convert them with .astype('{expected}')."
            )

    def memory_per_image(self, shape):
        """About the bytes that an image of (batch, coils, height, width) takes in a gradient pass:
        four arrays of features, six of coils, two images a stage."""
        _, coils, height, width = shape
        stage = self.stages[0]
        pixels = (height + 2 * stage.kernel_size) * (width + 2 * stage.kernel_size)
        return (
            tf.as_dtype(self.dtype).size
            * pixels
            * (4 * stage.filters + 12 * coils + 4 * len(self.stages))
        )

    def reconstruct(self, inputs):
        """The reconstruction map f: the magnitude image, real (batch, rows, width).

        Differentiable in the measurement, not in the weights: for those, call the network.

        Warns:
            tfvn.data.DataWarning: for an image of another scale than that of the activations.
        """
        image = self.zero_filled(inputs)
        check_values(inputs, image, unit=self.stages[0].activation.grid_limit)
        reconstruct = self._compiled if tf.executing_eagerly() else self._reconstruct
        return reconstruct(without_kspace(inputs, image))

    def _reconstruct(self, inputs):
        return magnitude(self(inputs, wanted=()))
