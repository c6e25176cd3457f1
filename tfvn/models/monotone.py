"""The monotone variational network: a variational network whose largest change is known.

    u <- u - lambda_0 (A^H A u - A^H k)                    m times, from u = 0 on
    then for t = 1..T:
    u <- u - j_t K_t^T phi_t(K_t u)
    u <- u - lambda_t (A^H A u - A^H k)                    m times

K_t^T phi_t(K_t u) is the gradient of a convex function, see `tfvn.models.regulariser`. So each
regulariser takes away at most j_t < 2 times what it sees.
With 0 < lambda_t || A ||^2 < 2 the whole network has Lipschitz constants that are computed from j_t
and lambda_t alone, see `tfvn.certificates.lipschitz` and docs/theorem.md.

No weight can leave these sets, whatever an optimizer does to it. j_t are a softmax of weights times
`budget`, and lambda_t a sigmoid of weights times `largest_step`.

Source of the network: Hammernik et al., MRM 79(6), 2018; of convex regularisers with learned
splines: Goujon et al., IEEE TCI 9, 2023. The constants are derived in docs/theorem.md.
"""

import functools

import numpy as np
import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.certificates.lipschitz import Lipschitz, of_monotone
from tfvn.models.base import Reconstructor
from tfvn.models.features import as_channels, as_complex, as_image
from tfvn.models.regulariser import OF_SPLINES, Regulariser, check_proved, check_size
from tfvn.models.splines import RATE

__all__ = ["MonotoneVariationalNetwork"]

# j_t beyond would leave nothing of the bound: at 2 it is infinite.
_LARGEST_GAIN = 1.9
# lambda_t at the start, as a part of the largest one.
_FIRST_STEP = 0.9
# More would take longer to trace than anyone waits.
_MOST_STAGES = 100
# Numbers of single precision may be so much too small.
_UP = 1 + 1e-6


@keras.utils.register_keras_serializable(package="tfvn")
class MonotoneVariationalNetwork(Reconstructor):
    """The monotone variational network: `num_stages` regularisers between steps on the data.

    Args:
        num_stages: regularisers, T.
        data_steps: gradient steps on the data before the first regulariser and after each, m.
        filters: filters of a regulariser.
        kernel_size: side of a filter, odd.
        num_pieces: linear pieces of an activation, for |x|.
        reach: where the last of them begins, before the training.
        first_slope, last_slope: of the activations, before the training. They begin as clips at
            small values, and so the regularisers as shrinkages of filter responses. Activations
            that begin nearly linear stay so.
        largest_step: lambda_t stays below it; below 2. Up to 1 the data steps overshoot nothing.
        budget: the sum of all j_t. L_r^2 is about 1 + budget / 2 with many data steps.
        shared: whether all stages have one regulariser, each with its own j_t.
        readout_oversampling: the image is the central half of the readout (height).
        seed: of the initial filters.

    Call arguments:
        inputs: the measurement. Returns the complex image (batch, rows, width).

    Raises:
        ValueError: for settings outside their ranges, and for inputs of wrong type, rank or sizes.
    """

    _NOT_OF_ARCHITECTURE = ("name", "seed")

    def __init__(
        self,
        num_stages=8,
        data_steps=4,
        filters=16,
        kernel_size=7,
        num_pieces=9,
        reach=0.03,
        first_slope=0.95,
        last_slope=0.0025,
        largest_step=1.0,
        budget=2.5,
        shared=False,
        readout_oversampling=False,
        seed=0,
        **kwargs,
    ):
        super().__init__(readout_oversampling, **kwargs)
        self.num_stages = checks.whole("num_stages", num_stages, 1, most=_MOST_STAGES)
        self.data_steps = checks.whole("data_steps", data_steps, 1, most=_MOST_STAGES)
        self.largest_step = checks.number("largest_step", largest_step, above=0, below=2)
        self.budget = checks.number("budget", budget, above=0, limit=checks.LIMIT)
        self.shared = checks.flag("shared", shared)
        self.seed = checks.whole("seed", seed)
        self.regularisers = []
        sizes = {"filters": filters, "kernel_size": kernel_size, "num_pieces": num_pieces}
        count = 1 if self.shared else self.num_stages
        check_size(count, **sizes)
        for number in range(count):
            regulariser = Regulariser(
                **sizes,
                reach=reach,
                first_slope=first_slope,
                last_slope=last_slope,
                seed=self.seed * 1000 + number,
                name=f"regulariser_{number}",
                dtype=self.dtype,
            )
            self.regularisers.append(regulariser)
        self.raw_gains = self.add_weight(
            name="raw_gains", shape=(self.num_stages,), initializer="zeros"
        )
        self.raw_steps = self.add_weight(
            name="raw_steps",
            shape=(self.num_stages + 1,),
            # Keras' own constant goes through single precision.
            initializer=lambda shape, dtype=None: tf.constant(
                np.log(_FIRST_STEP / (1 - _FIRST_STEP)) / RATE, dtype or "float32", shape
            ),
        )
        self.built = True

    def get_config(self):
        own = self.regularisers[0].get_config()
        return {
            **super().get_config(),
            "num_stages": self.num_stages,
            "data_steps": self.data_steps,
            **{name: own[name] for name in ("filters", "kernel_size", *OF_SPLINES)},
            "largest_step": self.largest_step,
            "budget": self.budget,
            "shared": self.shared,
            "seed": self.seed,
        }

    @property
    def parameter_blocks(self):
        """The blocks of iPALM: the filters, the activations, and the numbers of all stages."""
        activations = [regulariser.activation for regulariser in self.regularisers]
        return {
            "kernel": [regulariser.raw_kernel for regulariser in self.regularisers],
            "activation": [x for phi in activations for x in (phi.raw_slopes, phi.raw_reach)],
            "step": [self.raw_gains, self.raw_steps],
        }

    def gains(self):
        """j, (num_stages,), in (0, 2)."""
        shares = tf.nn.softmax(RATE * tf.convert_to_tensor(self.raw_gains))
        return tf.minimum(self.budget * shares, _LARGEST_GAIN)

    def data_weights(self):
        """lambda, (num_stages + 1,), in (0, largest_step)."""
        return self.largest_step * tf.sigmoid(RATE * tf.convert_to_tensor(self.raw_steps))

    def call(self, inputs):
        zero_filled = inputs["zero_filled"]
        gains, weights = self.gains(), as_complex(self.data_weights())
        kernels = [regulariser.kernel() for regulariser in self.regularisers]
        # The first step, from an image of zeros.
        image = self._fitted(weights[0] * zero_filled, weights[0], inputs, self.data_steps - 1)
        for number in range(self.num_stages):
            own = number % len(kernels)
            channels = as_channels(image)
            regulariser = self.regularisers[own](channels, kernels[own])
            image = as_image(channels - gains[number] * regulariser)
            image = self._fitted(image, weights[number + 1], inputs, self.data_steps)
        return image

    def _fitted(self, image, weight, inputs, count):
        """The image after `count` gradient steps on the data term."""
        zero_filled = inputs["zero_filled"]
        operands = inputs["sensitivity_maps"], inputs["mask"]

        def step(image):
            residual = self.sense.normal(image, *operands) - zero_filled
            return (tf.ensure_shape(image - weight * residual, image.shape),)

        (found,) = tf.while_loop(lambda _: True, step, (image,), maximum_iterations=count)
        return found

    @property
    def certificates(self):
        """The Lipschitz constants, if the conditions of their proof hold.

        Raises:
            ValueError: if one does not.
        """
        check_proved(self.name, self.broken_conditions())
        constants = functools.partial(
            of_monotone,
            gains=self.certified_gains(),
            data_weights=self.data_weights().numpy().astype(float),
            data_steps=self.data_steps,
        )
        return (Lipschitz(constants),)

    def certified_gains(self):
        """j_t || K_t ||^2 times the largest slope of phi_t, (num_stages,), rounded up."""
        own = [regulariser.gain() for regulariser in self.regularisers]
        gains = self.gains().numpy().astype(float) * _UP
        return gains * np.resize(own, self.num_stages)

    def broken_conditions(self):
        """Which of what the certificate demands does not hold, as sentences; [] where all does."""
        broken = []
        for number, regulariser in enumerate(self.regularisers):
            found = regulariser.broken_conditions()
            broken += [f"of regulariser {number} {sentence}" for sentence in found]
        for name, numbers in (("j", self.gains()), ("lambda", self.data_weights())):
            numbers = numbers.numpy()
            if not (numbers.min() > 0 and numbers.max() < 2):
                broken.append(
                    f"{name}_t must lie between 0 and 2, and are from {numbers.min():.3g} to"
                    f" {numbers.max():.3g}"
                )
        return broken

    def memory_per_image(self, shape):
        """About the bytes that an image of (batch, coils, height, width) takes in a gradient pass:
        four arrays of features a stage, an image a step on the data, and four arrays of coils.
        """
        _, coils, height, width = shape
        steps = self.data_steps * (self.num_stages + 1)
        numbers = 4 * self.regularisers[0].filters * self.num_stages + 2 * steps + 8 * coils
        return tf.as_dtype(self.dtype).size * height * width * numbers
