"""The variational network of Hammernik et al. (MRM 79(6), 2018): unrolled, learned gradient
descent.

    u <- u - (1/filters) K_t^T phi_t(K_t u) - data_weight_t (A^H A u - A^H k)

for t = 1..num_stages, from u_0 = A^H k on. K_t are real filters on real and imaginary part, phi_t
learned activations (Eq. 6 and 14 of the paper; its printed plus before the data term is a slip of
the sign, the original code subtracts). The reconstruction map f is the magnitude of the last
iterate. `tfvn.models.descent` computes it.
"""

import functools
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.compat import variable_of
from tfvn.models.activations import RBFActivation
from tfvn.models.descent import PARAMETERS, Formula, descend
from tfvn.models.features import as_complex
from tfvn.models.unrolled import Unrolled
from tfvn.network_size import largest_file
from tfvn.physics.sense import Sense
from tfvn.projections import non_negative, zero_mean_unit_ball

__all__ = [
    "FilterInitializer",
    "Stage",
    "VariationalNetwork",
]


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
        self.formula = Formula(
            self.kernel_size,
            phi.num_centers,
            phi.grid_limit,
            phi.bandwidth,
            phi.scale,
            self.sense.readout_oversampling,
        )
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
        return descend([self], image, zero_filled, sensitivity_maps, mask, wanted)


@keras.utils.register_keras_serializable(package="tfvn")
class VariationalNetwork(Unrolled):
    """The variational network: `num_stages` stages from the zero-filled image on.

    Args:
        num_stages: stages of the network, T.
        filters: filters of a stage.
        kernel_size: side of a filter.
        num_centers: radial basis functions of an activation.
        grid_limit: their centres lie on [-grid_limit, grid_limit].
        bandwidth: their deviation; null: the grid step (optox: the same; tensorflow-icg: 2
            grid_limit / num_centers).
        scale: factor before their sum (optox: 0.4).
        initial_scale: slope of the initial weights over their centres.
        initial_data_weight: initial data-term weight.
        readout_oversampling: the image is the central half of the readout (height).
        seed: of the initial filters.

    Call arguments:
        inputs: the measurement. Returns the complex image (batch, rows, width).
        wanted: as for `Stage`.

    Raises:
        ValueError: for settings outside their ranges, for those that a saved network could not be
            read back with (numbers of 2^31 and more, weights beyond
            `tfvn.network_size.LARGEST_FILE`, half precision, names that TensorFlow takes for none),
            and for inputs of wrong type, rank or sizes.
    """

    reads_initial_image = True
    _NOT_OF_ARCHITECTURE = ("name", "seed", "initial_scale", "initial_data_weight")

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
        super().__init__(readout_oversampling, **kwargs)
        num_stages = checks.whole("num_stages", num_stages, 1)
        self.seed = checks.whole("seed", seed)
        sizes = {
            "filters": checks.whole("filters", filters, 1),
            "kernel_size": checks.whole("kernel_size", kernel_size, 2),
            "num_centers": checks.whole("num_centers", num_centers, 2),
        }
        largest_file(num_stages, **sizes, dtype=self.dtype)
        self.stages = []
        for number in range(num_stages):
            stage = Stage(
                **sizes,
                grid_limit=grid_limit,
                bandwidth=bandwidth,
                scale=scale,
                initial_scale=initial_scale,
                initial_data_weight=initial_data_weight,
                readout_oversampling=readout_oversampling,
                seed=self.seed * 1000 + number,
                name=f"stage_{number}",
                dtype=self.dtype,
            )
            self.stages.append(stage)
        self.unit = self.stages[0].activation.grid_limit
        self.built = True

    def __repr__(self):
        settings = self.get_config()
        del settings["name"]
        parts = [f"{name}={value!r}" for name, value in settings.items()]
        return f"VariationalNetwork({', '.join(parts)})"

    def get_config(self):
        own = {"name": self.name, "dtype": self.dtype, "num_stages": len(self.stages)}
        for key, value in self.stages[0].get_config().items():
            if key not in ("name", "trainable", "dtype"):
                own[key] = value
        own["seed"] = self.seed
        return own

    @property
    def parameter_blocks(self):
        """The three blocks of iPALM: the kernels of all stages, their RBF weights and their
        data-term weights.
        """
        blocks = {}
        for name in PARAMETERS:
            blocks[name] = [getattr(stage, name) for stage in self.stages]
        return blocks

    def places(self, names):
        # Keras 2 files the stages under their attribute's name, Keras 3 under that of all layers.
        root = "stages" if "stages" in names else "layers"
        found = {}
        for number, stage in enumerate(self.stages):
            name = f"stage_{number}" if number else "stage"
            found[f"{root}/{name}/vars/0"] = stage.kernel
            found[f"{root}/{name}/vars/1"] = stage.data_weight
            found[f"{root}/{name}/activation/vars/0"] = stage.rbf_weights
        return found

    def save_own_variables(self, store):
        """None: all weights are those of the stages, see `places`."""

    def load_own_variables(self, store):
        """None, as for `save_own_variables`."""

    def lent(self):
        # Without Keras' search through the layers, which takes longer than the rest of a call.
        weights = []
        for block in self.parameter_blocks.values():
            weights += [variable_of(weight) for weight in block]
        return weights

    def call(self, inputs, wanted=None):
        zero_filled = inputs["zero_filled"]
        image = inputs.get("initial_image", zero_filled)
        maps, mask = inputs["sensitivity_maps"], inputs["mask"]
        return descend(self.stages, image, zero_filled, maps, mask, wanted)

    def unrolled(self, inputs, denoised):
        """The call in two steps a stage: D(u) = u - (1/filters) K^T phi(K u), then the data."""
        zero_filled = inputs["zero_filled"]
        operands = inputs["sensitivity_maps"], inputs["mask"]
        image = inputs.get("initial_image", zero_filled)
        for number, stage in enumerate(self.stages):
            denoiser = functools.partial(_without_data, stage, operands)
            residual = self.sense.normal(image, *operands) - zero_filled
            weight = as_complex(tf.convert_to_tensor(stage.data_weight))
            image = denoised(number, denoiser, image) - weight * residual
        return image

    def call_for(self, inputs, wanted):
        return self(inputs, wanted=wanted)

    def drawn_stages(self):
        return tuple(self.stages)

    def stage_images(self, inputs):
        """The image after every stage, complex (num_stages, batch, rows, width): the last is the
        network's. For pictures.
        """
        inputs = self.measured(inputs)
        zero_filled = inputs["zero_filled"]
        maps, mask = inputs["sensitivity_maps"], inputs["mask"]
        image = inputs.get("initial_image", zero_filled)
        images = []
        for stage in self.stages:
            image = descend([stage], image, zero_filled, maps, mask, ())
            images.append(image)
        return tf.stack(images)

    def memory_per_image(self, shape):
        """About the bytes that an image of (batch, coils, height, width) takes in a gradient pass:
        four arrays of features, six of coils, two images a stage.
        """
        _, coils, height, width = shape
        stage = self.stages[0]
        pixels = (height + 2 * stage.kernel_size) * (width + 2 * stage.kernel_size)
        numbers = 4 * stage.filters + 12 * coils + 4 * len(self.stages)
        return tf.as_dtype(self.dtype).size * pixels * numbers


class _Prior(NamedTuple):
    """What `descend` needs of a stage."""

    kernel: Any
    rbf_weights: Any
    data_weight: Any
    formula: Formula


def _without_data(stage, operands, image):
    """What a stage makes of images, of any number, if its data weight is 0."""
    # What is multiplied by 0 may be that of the first image.
    operands = [operand[:1] for operand in operands]
    weight = tf.zeros_like(tf.convert_to_tensor(stage.data_weight))
    prior = _Prior(stage.kernel, stage.rbf_weights, weight, stage.formula)
    return descend([prior], image, tf.zeros_like(image), *operands)
