"""The deep cascade of convolutional networks D5-C5 (Schlemper et al., IEEE TMI 37(2), 2018,
section III; called Deep MRI by those who attacked it).

    z_t = D_t(u_t)
    u_(t+1) = the data step of z_t

for t = 1..num_cascades, from u_1 = A^H k on. Each D_t is a `ResidualNetwork` of its own.

Data steps, with mu >= 0, the 1/v of the paper:

    "cg_sense"    u = argmin || A u - k ||^2 + mu || u - z ||^2
                    = z + (A^H A + mu I)^-1 (A^H k - A^H A z)
    "replace"     u = z + (A^H k - A^H A z) / (1 + mu)

The paper has one coil. Its step takes (z + v k) / (1 + v) for each sampled entry of k-space, and z
for the others. For one coil with maps of magnitude 1 both steps are this one. With mu = 0 "replace"
is then the exact replacement of the published network, v = infinity. For several coils "cg_sense"
solves the same problem, and "replace" is one gradient step on the data term.

The smaller mu, the more steps of conjugate gradients are needed. The gradient is that of the steps,
however few there are, see `tfvn.models.conjugate_gradient`.
"""

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.models.conjugate_gradient import after_steps, kept_by_steps
from tfvn.models.residual import ResidualNetwork, check_size
from tfvn.models.unrolled import Unrolled

__all__ = ["DATA_STEPS", "Cascade"]

DATA_STEPS = ("cg_sense", "replace")
# More would take longer to trace than anyone waits.
_MOST_CASCADES = 100


@keras.utils.register_keras_serializable(package="tfvn")
class Cascade(Unrolled):
    """D5-C5: networks and data steps in turn.

    Args:
        num_cascades: networks and data steps.
        num_layers: convolutions of a network.
        filters: channels between them.
        data_step: "cg_sense", regularised least squares near the network's image, by conjugate
            gradients; or "replace", the measured k-space in place of the network's, which is exact
            for one coil with maps of magnitude 1.
        mu: 1/v of the data step, the trust in the network's k-space against the measured one. Above
            0 for "cg_sense".
        cg_steps: steps of conjugate gradients at most.
        tolerance: they end before where the residual is this part of what it began with.
        weigher: channels of the network that weighs the draws of SMUG, see `Unrolled`. 0 stands for
            none.
        readout_oversampling: the image is the central half of the readout (height).
        seed: of the initial kernels.

    Call arguments:
        inputs: the measurement. Returns the complex image (batch, rows, width).

    Raises:
        ValueError: for settings outside their ranges, and for inputs of wrong type, rank or sizes.
    """

    _NOT_OF_ARCHITECTURE = ("name", "seed")

    def __init__(
        self,
        num_cascades=5,
        num_layers=5,
        filters=32,
        data_step="cg_sense",
        mu=0.05,
        cg_steps=20,
        tolerance=1e-6,
        weigher=0,
        readout_oversampling=False,
        seed=0,
        **kwargs,
    ):
        super().__init__(readout_oversampling, **kwargs)
        num_cascades = checks.whole("num_cascades", num_cascades, 1, most=_MOST_CASCADES)
        self.data_step = checks.choice("data_step", data_step, DATA_STEPS)
        self.mu = checks.number("mu", mu, 0, limit=checks.LIMIT)
        if self.data_step == "cg_sense":
            checks.number("mu", mu, above=0)
        self.cg_steps = checks.whole("cg_steps", cg_steps, 1)
        self.tolerance = checks.number("tolerance", tolerance, 0, below=1)
        self.seed = checks.whole("seed", seed)
        check_size(num_cascades, num_layers, filters)
        self.networks = []
        for number in range(num_cascades):
            network = ResidualNetwork(
                num_layers=num_layers,
                filters=filters,
                initializer="he",
                seed=self.seed * 1000 + 100 * number,
                name=f"network_{number}",
                dtype=self.dtype,
            )
            self.networks.append(network)
        self.add_weigher(weigher, self.seed)
        self.built = True

    def get_config(self):
        network = self.networks[0]
        return {
            **super().get_config(),
            "num_cascades": len(self.networks),
            "num_layers": network.num_layers,
            "filters": network.filters,
            "data_step": self.data_step,
            "mu": self.mu,
            "cg_steps": self.cg_steps,
            "tolerance": self.tolerance,
            "seed": self.seed,
        }

    def unrolled(self, inputs, denoised):
        zero_filled = inputs["zero_filled"]
        operands = inputs["sensitivity_maps"], inputs["mask"]
        image = zero_filled
        for number, network in enumerate(self.networks):
            image = denoised(number, network, image)
            residual = zero_filled - self.sense.normal(image, *operands)
            image += self._correction(residual, *operands)
        return image

    def _correction(self, residual, sensitivity_maps, mask):
        """What the data step adds to an image, of its residual A^H k - A^H A z."""
        if self.data_step == "replace":
            return residual / (1 + self.mu)
        return after_steps(
            self.sense,
            residual,
            sensitivity_maps,
            mask,
            self.mu,
            tolerance=self.tolerance,
            iterations=self.cg_steps,
        )

    def memory_per_image(self, shape):
        """About the bytes that an image of (batch, coils, height, width) takes in a gradient pass:
        what the networks and the data steps keep, and four arrays of coils.
        """
        _, coils, height, width = shape
        numbers = self.networks[0].numbers_kept(len(self.networks)) + 8 * coils
        if self.data_step == "cg_sense":
            numbers += len(self.networks) * kept_by_steps(self.cg_steps)
        return tf.as_dtype(self.dtype).size * height * width * numbers
