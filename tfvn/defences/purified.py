"""Purification: the data are noised and denoised a few times before the model sees them.

    u_0 = A^H k,    w_t = D(u_t + s_t n_t),    s_t = level (1 - t / steps)
    u_(t+1) = argmin_u || A u - k ||^2 + mu || u - w_t ||^2

for t = 0..steps-1. n_t is white noise of the image, normal, of variance 1 in each real component.
The answer is f(A u_steps), or the mean over K such chains. D is a denoiser of images, which knows
neither the mask nor s_t: a network that was trained on fully sampled, noisy slices, read as one by
giving it a mask of ones.

It is the affordable version of diffusion purification, which samples u from a model of images in
150 steps and more. Nothing is proved of it. The gradient is exact, through all steps: few of them
fit in memory.

`DenoisedSmoothing` is smoothing of k -> f(A D(A^H k)). What is proved of smoothing holds for it,
since that asks nothing of the map inside.

Sources: Chen et al., Robust MRI reconstruction by diffusion purification (RODIO), arXiv 2309.05794;
Salman et al., Denoised smoothing, NeurIPS 2020, Eq. 4.
"""

import tensorflow as tf
from tensorflow import keras

from tfvn import checks
from tfvn.defences.base import check_complex
from tfvn.defences.drawn import Drawn
from tfvn.defences.networks import identity_of, opened
from tfvn.defences.smoothing import Smoothed
from tfvn.models.conjugate_gradient import after_steps
from tfvn.physics import measurement, noise

__all__ = ["DenoisedSmoothing", "Purified", "denoised"]


@keras.utils.register_keras_serializable(package="tfvn")
class Purified(Drawn):
    """A model that sees data which were noised and denoised before.

    Args:
        model: a `Reconstructor`.
        denoiser: the file or the run directory of a network that denoises images: one that reads
            `zero_filled` and was trained on fully sampled, noisy slices. In Python also the model.
        steps: how often. 0 stands for the model itself.
        level: deviation of the first noise on each real component of the image; that of the others
            falls linearly.
        mu: the trust in the denoised image against the data, above 0.
        cg_steps: steps of conjugate gradients at most, in each data step.
        tolerance: they end before where the residual is this part of what it began with.
        num_samples: K, chains of one answer.
        chunk_size: chains computed at once, see `Smoothed`.
        seed: of the noise.

    Raises:
        ValueError: for settings outside their ranges, and for a denoiser that reads k-space, draws
            or has no phase.
    """

    def __init__(
        self,
        model,
        denoiser,
        steps=5,
        level=0.1,
        mu=0.05,
        cg_steps=20,
        tolerance=1e-6,
        num_samples=1,
        chunk_size=0,
        seed=0,
    ):
        super().__init__(model, num_samples, chunk_size, seed)
        self.denoiser = denoiser
        self._denoiser = _denoiser(denoiser, model)
        self.steps = checks.whole("steps", steps, 0, most=100)
        self.level = checks.number("level", level, 0)
        self.mu = checks.number("mu", mu, above=0, limit=checks.LIMIT)
        self.cg_steps = checks.whole("cg_steps", cg_steps, 1)
        self.tolerance = checks.number("tolerance", tolerance, 0, below=1)

    @property
    def track(self):
        # It samples for each measurement, even where all noise is 0.
        return "dynamic" if self.steps else self.model.track

    @property
    def draws(self):
        if not self.steps:
            return self.model.draws
        return self.num_samples if self.level else max(1, self.model.draws)

    @property
    def identity(self):
        # Without steps it is the model inside; a random one has other draws here.
        if not self.steps and not self.model.draws:
            return self.model.identity
        found = {**super().identity, "denoiser": identity_of([self._denoiser])}
        if self.level:
            found["law"] = "gaussian"
        return found

    def varies(self):
        is_random = self.steps > 0 and self.level > 0
        return tf.constant(is_random or self.model.draws > 0)

    def one(self, inputs, keys, answer):
        inner = self._inner_keys(keys)
        if not self.steps:
            return answer(inputs, inner)
        operands = inputs["sensitivity_maps"], inputs["mask"]
        zero_filled = image = measurement.zero_filled(self.sense, inputs)
        for step in range(self.steps):
            level = tf.cast(self.level * (1 - step / self.steps), image.dtype)
            own = noise.fold_in_all(keys, step)
            noisy = image + level * noise.white_image(image, own)
            image = denoised(self._denoiser, inputs, noisy)
            residual = zero_filled - self.sense.normal(image, *operands)
            image += after_steps(
                self.sense, residual, *operands, self.mu, self.tolerance, self.cg_steps
            )
        return answer(measurement.of_image(self.sense, inputs, image), inner)


@keras.utils.register_keras_serializable(package="tfvn")
class DenoisedSmoothing(Smoothed):
    """Smoothing of a model behind a denoiser, for a model that was not trained with noise.

    Args:
        model: a `Reconstructor`.
        denoiser: as for `Purified`.
        sigma: standard deviation of each real component of the noise on the k-space, above 0.
        num_samples: K, draws of one prediction.
        chunk_size: draws processed at once, see `Smoothed`.
        seed: of the noise.
        law: the distribution of the noise, "gaussian", "uniform" or "laplace".

    Raises:
        ValueError: as `Smoothed`, for a sigma of 0, and for a denoiser as `Purified`.
    """

    def __init__(self, model, denoiser, sigma, num_samples=9, chunk_size=0, seed=0, law="gaussian"):
        super().__init__(model, sigma, num_samples, chunk_size, seed, law)
        self.denoiser = denoiser
        self._denoiser = _denoiser(denoiser, model)

    @property
    def identity(self):
        return {**super().identity, "denoiser": identity_of([self._denoiser])}

    def _checked_sigma(self, value):
        # Without noise it is not the model inside, whose certificates it would have.
        return checks.number("sigma", value, above=0)

    def one(self, inputs, keys, answer):
        def behind(noisy, key):
            image = measurement.zero_filled(self.sense, noisy)
            image = denoised(self._denoiser, noisy, image)
            return answer(measurement.of_image(self.sense, noisy, image), key)

        return super().one(inputs, keys, behind)


def denoised(denoiser, inputs, image):
    """What a network makes of an image as if it were fully sampled, complex (batch, rows, width).

    Args:
        denoiser: the network. It reads `zero_filled`.
        inputs: a measurement, of whose maps and mask there are.
        image: complex (batch, rows, width).
    """
    given = {
        "zero_filled": image,
        "sensitivity_maps": inputs["sensitivity_maps"],
        "mask": tf.ones_like(inputs["mask"]),
    }
    return denoiser.call_for(given, ())


def _denoiser(given, model):
    """The one denoiser of a setting."""
    found = opened("denoiser", given, model)
    if len(found) != 1:
        raise ValueError(
            "denoiser must be one file of a network, such as denoiser=runs/denoiser. Received:"
            f" denoiser={checks.shown(given)}"
        )
    denoiser = found[0]
    check_complex(denoiser, "denoiser")
    if denoiser.reads != "zero_filled":
        raise ValueError(
            "denoiser must read the zero-filled image, as unet, modl and variational do. Received:"
            f" a {type(denoiser).__name__}, which reads {denoiser.reads}."
        )
    denoiser.make_weights()
    return denoiser
