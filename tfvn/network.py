"""The variational network of Hammernik et al. (MRM 79(6), 2018): unrolled, learned gradient descent.

    u <- u - (1/filters) K_t^T phi_t(K_t u) - data_weight_t (A^H A u - A^H k),    t = 1..num_stages,    u_0 = A^H k

K_t are real filters on real and imaginary part, phi_t learned activations (Eq. 6 and 14 of the paper; its printed plus
before the data term is a slip of the sign, the original code subtracts). The reconstruction map f is the magnitude
`sqrt(re^2 + im^2 + epsilon)` of the last iterate.

Inputs of a network are a dict:

    kspace            complex (batch, coils, height, width), 0 where not sampled
    sensitivity_maps  complex, same shape
    mask              real (batch, 1, 1, width) or (batch, 1, height, width)
    zero_filled       optional, A^H kspace (batch, rows, width): used in place of `kspace`, which may then be missing
    initial_image     optional, u_0, where it is to differ from `zero_filled`
"""
import tensorflow as tf
from tensorflow import keras

from tfvn.activations import RBFActivation
from tfvn.convolutions import correlate, correlate_transpose, kernel_gradient, phases, static_or_dynamic_shape
from tfvn.operators import Sense, check_inputs, without_kspace
from tfvn.projections import non_negative, zero_mean_unit_ball

# Under the root of the magnitude, so that it is differentiable at 0. Images have a maximum of about 1.
EPSILON = 1e-12

PARAMETERS = ("kernel", "rbf_weights", "data_weight")


def magnitude(image):
    """|image| = sqrt(re^2 + im^2 + EPSILON) of a complex tensor."""
    return tf.sqrt(tf.square(tf.math.real(image)) + tf.square(tf.math.imag(image)) + EPSILON)


def to_channels(image):
    """Complex (..., h, w) to real (..., h, w, 2)."""
    return tf.stack([tf.math.real(image), tf.math.imag(image)], -1)


def to_complex(channels):
    """Real (..., h, w, 2) to complex (..., h, w)."""
    return tf.complex(channels[..., 0], channels[..., 1])


class FilterInitializer(keras.initializers.Initializer):
    """Random filters inside the constraint set: normal entries, projected on zero mean and unit norm; keyed by `seed`."""

    def __init__(self, seed):
        self.seed = seed

    def __call__(self, shape, dtype=None, **_):
        normal = tf.random.stateless_normal(shape, [self.seed, 0], dtype=dtype or "float32")
        return zero_mean_unit_ball(normal)

    def get_config(self):
        return {"seed": self.seed}


@keras.utils.register_keras_serializable(package="tfvn")
class Stage(keras.layers.Layer):
    """One step of the unrolled descent: u - (1/filters) K^T phi(K u) - data_weight (A^H A u - A^H k).

    The image is padded symmetrically before K and cropped after K^T: zero padding would show the filters an edge that
    is not there. The gradient is written by hand: it keeps u and the data residual (two images) and recomputes the rest,
    so that memory grows by two images a stage and not by 2 * filters.

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
        wanted: names out of `PARAMETERS` whose gradients the caller is going to ask for, or None. Naming them bounds
            memory (a stage's gradients are finished before the next stage's begin); gradients of the others are then None.

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
        super().__init__(**kwargs)
        for name, value, least in (("filters", filters, 1), ("kernel_size", kernel_size, 2)):
            if int(value) != value or value < least:
                raise ValueError(f"{name} must be a whole number >= {least}. Received: {name}={value}")
        if not initial_data_weight >= 0:
            raise ValueError(f"initial_data_weight must be >= 0. Received: initial_data_weight={initial_data_weight}")
        self.filters, self.kernel_size, self.seed = int(filters), int(kernel_size), int(seed)
        self.initial_data_weight = float(initial_data_weight)
        self.sense = Sense(readout_oversampling, dtype=self.dtype)
        self.activation = RBFActivation(
            num_centers, grid_limit, bandwidth, scale, initial_scale=initial_scale, dtype=self.dtype
        )
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
            initializer=keras.initializers.Constant(self.initial_data_weight),
            constraint=non_negative,
        )
        self.built = True

    def get_config(self):
        activation = self.activation.get_config()
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            **{name: activation[name] for name in ("num_centers", "grid_limit", "bandwidth", "scale", "initial_scale")},
            "initial_data_weight": self.initial_data_weight,
            "readout_oversampling": self.sense.readout_oversampling,
            "seed": self.seed,
        }

    @property
    def rbf_weights(self):
        return self.activation.rbf_weights

    def call(self, image, zero_filled, sensitivity_maps, mask, wanted=None):
        parameters = [tf.convert_to_tensor(getattr(self, name)) for name in PARAMETERS]
        step = tf.custom_gradient(lambda *tensors: self._step(wanted, *tensors))
        return to_complex(step(to_channels(image), to_channels(zero_filled), *parameters, sensitivity_maps, mask))

    def _step(self, wanted, image, zero_filled, kernel, rbf_weights, data_weight, sensitivity_maps, mask):
        def normal(channels):
            return to_channels(self.sense.normal(to_complex(channels), sensitivity_maps, mask))

        residual = normal(image) - zero_filled
        features = self.activation.value(correlate(self._pad(image), kernel), rbf_weights)
        result = image - self._synthesis(features, image, kernel) - data_weight * residual

        def gradient(cotangent):
            # Without this the executor recomputes during the forward pass (the inputs are ready) and keeps everything.
            with tf.control_dependencies([cotangent]):
                u = tf.identity(image)
            padded = self._pad(u)
            filtered = correlate(padded, kernel)
            d_synthesis = self._fill(-cotangent / self.filters)
            d_features = correlate(d_synthesis, kernel, self.kernel_size - 1)
            d_filtered = self.activation.derivative_product(filtered, d_features, rbf_weights)

            parameter_gradients = {}
            if wanted is None or "kernel" in wanted:
                parameter_gradients["kernel"] = kernel_gradient(padded, d_filtered, self.kernel_size) + kernel_gradient(
                    d_synthesis, self.activation.value(filtered, rbf_weights), self.kernel_size, self.kernel_size - 1
                )
            if wanted is None or "rbf_weights" in wanted:
                parameter_gradients["rbf_weights"] = self.activation.weight_gradient(filtered, d_features)
            if wanted is None or "data_weight" in wanted:
                parameter_gradients["data_weight"] = -tf.reduce_sum(cotangent * residual)

            d_padded = correlate_transpose(d_filtered, kernel, self.kernel_size - 1)
            d_image = cotangent - data_weight * normal(cotangent) + tf.raw_ops.MirrorPadGrad(
                input=d_padded, paddings=self._paddings(u), mode="SYMMETRIC"
            )
            if wanted:
                with tf.control_dependencies(list(parameter_gradients.values())):
                    d_image = tf.identity(d_image)
            return (
                d_image,
                data_weight * cotangent,
                *(parameter_gradients.get(name) for name in PARAMETERS),
                None,
                None,
            )

        return result, gradient

    def _synthesis(self, features, image, kernel):
        _, height, width, _ = static_or_dynamic_shape(image)
        return correlate_transpose(features, kernel)[:, :height, :width] / self.filters

    def _extra(self, image):
        # Rows and columns that fill the image up to whole phases of the convolutions; cropped again afterwards.
        _, height, width, _ = static_or_dynamic_shape(image)
        rows, columns = phases(self.kernel_size)
        return -height % rows, -width % columns

    def _paddings(self, image):
        border = self.kernel_size - 1
        extra = self._extra(image)
        smallest = [size for size in image.shape[1:3] if size is not None]
        if smallest and min(smallest) < border + max(e if isinstance(e, int) else 0 for e in extra):
            raise ValueError(
                f"An image must have at least {border + 3} rows and columns for kernel_size={self.kernel_size}. "
                f"Received: image of {image.shape[1]} x {image.shape[2]}"
            )
        return [[0, 0], [border, border + extra[0]], [border, border + extra[1]], [0, 0]]

    def _pad(self, image):
        return tf.pad(image, self._paddings(image), "SYMMETRIC")

    def _fill(self, image):
        rows, columns = self._extra(image)
        return tf.pad(image, [[0, 0], [0, rows], [0, columns], [0, 0]])


@keras.utils.register_keras_serializable(package="tfvn")
class VariationalNetwork(keras.Model):
    """The variational network: `num_stages` stages from the zero-filled image on.

    Args:
        num_stages: stages T.
        filters, kernel_size, num_centers, grid_limit, bandwidth, scale, initial_scale, initial_data_weight,
            readout_oversampling: of every `Stage`.
        seed: of the initial filters.

    Call arguments:
        inputs: a dict, see the module's docstring. Returns the complex image (batch, rows, width).

    Raises:
        ValueError: for arrays of wrong rank or of sizes that do not fit.
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
        super().__init__(**kwargs)
        if int(num_stages) != num_stages or num_stages < 1:
            raise ValueError(f"num_stages must be a whole number >= 1. Received: num_stages={num_stages}")
        self.seed = int(seed)
        self.sense = Sense(readout_oversampling, dtype=self.dtype)
        self.stages = [
            Stage(
                filters=filters,
                kernel_size=kernel_size,
                num_centers=num_centers,
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
            for t in range(int(num_stages))
        ]
        # Held by the model, because a decorated method would not survive `load_model(path).reconstruct(inputs)`.
        self._compiled = tf.function(lambda inputs: magnitude(self(inputs)))
        self.built = True

    def get_config(self):
        stage = self.stages[0].get_config()
        shared = {key: stage[key] for key in stage if key not in ("name", "trainable", "dtype", "seed")}
        return {"name": self.name, "dtype": self.dtype, "num_stages": len(self.stages), **shared, "seed": self.seed}

    @property
    def parameter_blocks(self):
        """The three blocks of iPALM: lists of all stages' kernels, RBF weights and data-term weights."""
        return {name: [getattr(stage, name) for stage in self.stages] for name in PARAMETERS}

    def call(self, inputs, wanted=None):
        check_inputs(inputs)
        sensitivity_maps, mask = inputs["sensitivity_maps"], inputs["mask"]
        zero_filled = self.zero_filled(inputs)
        image = inputs.get("initial_image", zero_filled)
        for stage in self.stages:
            image = stage(image, zero_filled, sensitivity_maps, mask, wanted=wanted)
        return image

    def zero_filled(self, inputs):
        """A^H kspace, complex (batch, rows, width); taken from `inputs` if it is there.

        Raises:
            ValueError: for complex numbers of another precision than the network's.
        """
        expected = {"float32": "complex64", "float64": "complex128"}[self.dtype]
        received = tf.as_dtype(inputs["sensitivity_maps"].dtype).name
        if received != expected:
            raise ValueError(f"The network works in {self.dtype}: its inputs must be {expected}. Received: {received}")
        if "zero_filled" in inputs:
            return inputs["zero_filled"]
        return self.sense.adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])

    def reconstruct(self, inputs):
        """The reconstruction map f: the magnitude image, real (batch, rows, width)."""
        check_inputs(inputs)
        return self._compiled(without_kspace(inputs, self.zero_filled(inputs)))
