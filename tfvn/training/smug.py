"""SMUG's training: an unrolled network whose denoisers are smoothed while it is trained.

    E(x_T) + w sum_t (1 / K) sum_j 1/2 || D_t(u_t + sigma n_(t,j)) - D_t(y) ||^2

x_T is the answer of the network with the mean of K noisy answers of D_t in every stage, as
`tfvn.defences.Stagewise` has them, u_t is the image before stage t, and y is the reference. The
second term asks each denoiser for the answer that it has for the true image, whatever the noise
and the stage. There is no adversary.

A `weigher` of the network is trained with it (Weighted SMUG). The mean of the K answers is then a
weighted one, and the second term is not.

The published training begins with a denoiser that was trained by itself. Here it begins with any
weights, such as those of a plain training (`training.initial_weights`).

Source: Li et al., SMUG: towards robust MRI reconstruction by smoothed unrolling, ICASSP 2023, Eq. 6
and 7; and its code, which differentiates D_t(y), too.
"""

import tensorflow as tf

from tfvn import checks
from tfvn.defences.stagewise import noisy_copies, weighted_mean, with_weights
from tfvn.models.unrolled import check_unrolled
from tfvn.physics import noise
from tfvn.training.recipe import Recipe, squared_error

__all__ = ["SMUG"]

# Where the inputs of the loss have the key of a slice.
_KEY = "stagewise_key"


class SMUG(Recipe):
    """The smoothed denoisers of SMUG. The network needs stages, as variational, modl and cascade.

    Args:
        sigma: standard deviation of each real component of the noise on the image.
        num_samples: K, draws of each stage.
        weight: of the answers of each denoiser beside the error.

    Raises:
        ValueError: for values outside their limits.
    """

    def __init__(self, sigma, num_samples=4, weight=1.0):
        self.sigma = checks.number("sigma", sigma, 0)
        self.num_samples = checks.whole("num_samples", num_samples, 1)
        self.weight = checks.number("weight", weight, 0)

    @property
    def gradients_of_loss(self):
        """Of K denoisers a stage, and of those of the reference."""
        if not self.sigma:
            return 1
        return self.num_samples + (1 if self.weight else 0)

    def build(self, network, seed):
        check_unrolled(network, "The recipe smug", "Train for smoothing of the whole of it: noise.")

    def __call__(self, network, inputs, reference, keys):
        return {**inputs, _KEY: keys}

    def loss(self, network, inputs, reference, wanted):
        measured = {name: x for name, x in inputs.items() if name != _KEY}
        if not self.sigma:
            return super().loss(network, measured, reference, wanted)
        key = inputs[_KEY]
        unlike = []

        def smoothed(stage, denoiser, image):
            own = noise.fold_in_all(key, stage)
            copies = noisy_copies(image, self.sigma, own, 0, self.num_samples)
            answers = denoiser(copies)
            images = tf.reshape(answers, [self.num_samples, *image.shape])
            if self.weight:
                squares = tf.square(tf.abs(images - denoiser(reference)))
                unlike.append(tf.reduce_sum(squares) / (2 * self.num_samples))
            if network.weigher is None:
                return tf.reduce_mean(images, 0)
            rows = with_weights(answers, network.weigher(copies))
            rows = tf.reshape(rows, [self.num_samples, image.shape[0], rows.shape[-1]])
            return weighted_mean(tf.reduce_mean(rows, 0), image)

        loss = squared_error(network.unrolled(measured, smoothed), reference)
        if unlike:
            loss += self.weight * tf.add_n(unlike)
        return loss
