"""MoDL, model-based deep learning (Aggarwal, Mani and Jacob, IEEE TMI 38(2), 2019, Eq. 9 to 10).

    z_t = D(u_t)
    u_(t+1) = argmin_u || A u - k ||^2 + lambda || u - z_t ||^2
            = (A^H A + lambda I)^-1 (A^H k + lambda z_t)

for t = 1..num_iterations, from u_1 = A^H k on. D is a `ResidualNetwork`, the same in all
iterations, and so is lambda, which is learned. The linear equations are solved by conjugate
gradients, whose steps are differentiated. In the paper the gradient reaches the weights alone; here
it also reaches the data A^H k, which the attacks change.

Section III-C of the paper differentiates by a second solution. That is the gradient of the
solution, and after few steps not that of the result: an attack that follows it finds less. On a
network of 32 filters that was trained at 96 x 72, it is 8 % off after the 10 steps of the paper,
and 0.06 % after 20.

The published network normalises its batches after each convolution. Its answer to a slice would
depend on the others of the batch in training. Here there is no such thing. After the training
batch normalisation is an affine map, which `tfvn.models.modl_weights` folds into kernels and
biases.
"""

import math

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.models.conjugate_gradient import after_steps, kept_by_steps
from tfvn.models.features import as_complex
from tfvn.models.residual import ResidualNetwork, check_size
from tfvn.models.unrolled import Unrolled

__all__ = ["MoDL", "raw_of"]

# More would take longer to trace than anyone waits.
_MOST_ITERATIONS = 100


@keras.utils.register_keras_serializable(package="tfvn")
class MoDL(Unrolled):
    """MoDL: a learned denoiser and a data step by conjugate gradients in turn.

    Args:
        num_iterations: denoisers and data steps, K.
        num_layers: convolutions of the denoiser.
        filters: channels between them.
        bias: whether a convolution has a bias. The published network has none.
        shared: whether all iterations have one denoiser. Otherwise each has its own.
        cg_steps: steps of conjugate gradients at most. The paper has 10.
        tolerance: they end before where the residual is this part of what it began with.
        initial_lambda: lambda before the training.
        weigher: channels of the network that weighs the draws of SMUG, see `Unrolled`. 0 stands for
            none.
        readout_oversampling: the image is the central half of the readout (height).
        seed: of the initial kernels.

    Call arguments:
        inputs: the measurement. Returns the complex image (batch, rows, width).

    Raises:
        ValueError: for settings outside their ranges, and for inputs of wrong type, rank or sizes.
    """

    _NOT_OF_ARCHITECTURE = ("name", "seed", "initial_lambda")

    def __init__(
        self,
        num_iterations=5,
        num_layers=5,
        filters=32,
        bias=False,
        shared=True,
        cg_steps=20,
        tolerance=1e-6,
        initial_lambda=0.05,
        weigher=0,
        readout_oversampling=False,
        seed=0,
        **kwargs,
    ):
        super().__init__(readout_oversampling, **kwargs)
        self.num_iterations = checks.whole(
            "num_iterations", num_iterations, 1, most=_MOST_ITERATIONS
        )
        self.shared = checks.flag("shared", shared)
        self.cg_steps = checks.whole("cg_steps", cg_steps, 1)
        self.tolerance = checks.number("tolerance", tolerance, 0, below=1)
        self.initial_lambda = checks.number(
            "initial_lambda", initial_lambda, above=0, limit=checks.LIMIT
        )
        self.seed = checks.whole("seed", seed)
        count = 1
        if not self.shared:
            count = self.num_iterations
        check_size(count, num_layers, filters)
        self.denoisers = []
        for number in range(count):
            denoiser = ResidualNetwork(
                num_layers=num_layers,
                filters=filters,
                bias=bias,
                initializer="glorot",
                seed=self.seed * 1000 + 100 * number,
                name=f"denoiser_{number}",
                dtype=self.dtype,
            )
            self.denoisers.append(denoiser)
        self.raw_lambda = self.add_weight(
            name="raw_lambda",
            shape=(),
            # Keras' own constant goes through single precision.
            initializer=lambda shape, dtype=None: tf.constant(
                raw_of(self.initial_lambda), dtype or "float32", shape
            ),
        )
        self.add_weigher(weigher, self.seed)
        self.built = True

    def get_config(self):
        denoiser = self.denoisers[0]
        return {
            **super().get_config(),
            "num_iterations": self.num_iterations,
            "num_layers": denoiser.num_layers,
            "filters": denoiser.filters,
            "bias": denoiser.bias,
            "shared": self.shared,
            "cg_steps": self.cg_steps,
            "tolerance": self.tolerance,
            "initial_lambda": self.initial_lambda,
            "seed": self.seed,
        }

    @property
    def regularisation(self):
        """lambda, which is positive whatever an optimizer does: log(1 + exp(raw_lambda))."""
        return tf.nn.softplus(tf.convert_to_tensor(self.raw_lambda))

    def unrolled(self, inputs, denoised):
        zero_filled = inputs["zero_filled"]
        regularisation = self.regularisation
        image = zero_filled
        for number in range(self.num_iterations):
            denoiser = self.denoisers[number % len(self.denoisers)]
            prior = denoised(number, denoiser, image)
            image = after_steps(
                self.sense,
                zero_filled + as_complex(regularisation) * prior,
                inputs["sensitivity_maps"],
                inputs["mask"],
                regularisation,
                tolerance=self.tolerance,
                iterations=self.cg_steps,
            )
        return image

    def memory_per_image(self, shape):
        """About the bytes that an image of (batch, coils, height, width) takes in a gradient pass:
        what the networks and the data steps keep, and four arrays of coils.
        """
        _, coils, height, width = shape
        numbers = self.denoisers[0].numbers_kept(self.num_iterations) + 8 * coils
        numbers += self.num_iterations * kept_by_steps(self.cg_steps)
        return tf.as_dtype(self.dtype).size * height * width * numbers


def raw_of(regularisation):
    """The `raw_lambda` of a lambda > 0: log(exp(lambda) - 1)."""
    # exp of a large number is infinite.
    return regularisation + math.log(-math.expm1(-regularisation))
