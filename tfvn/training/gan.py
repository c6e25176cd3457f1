"""The training of a generator against a discriminator, with the losses of DAGAN.

Of an answer x, its reference y and a discriminator D, with s(t) = log(1 + exp(t)):

    generator       s(-D(x)) a + 15 || x - y || / || y || + 0.1 || |F x| - |F y| ||^2
                    + p || V x - V y ||^2 / || V y ||^2
    discriminator   s(-D(y)) + s(D(x))

F is the Fourier transform and V a fixed random network in the place of a VGG16, see
`tfvn.training.discriminator`. Its part is relative, as the scale of random features has no meaning:
p is ours, and DAGAN's is 0.0025 of a mean square.

DAGAN takes the mean over k-space of a transform that is not orthonormal. That is the sum over
k-space of one that is, as here.

Both losses are lowered in the same step, each in its own weights: D is held still in the first, and
x in the second. What is told as the loss is the sum of both. The published code changes the
discriminator first and then the generator. Its schedule and augmentation are left out.

Yang et al., IEEE TMI 37(6), 2018, and their code, whose optimizer is Adam with learning_rate=1e-4
and beta_1=0.5.
"""

import tensorflow as tf

from tfvn import checks
from tfvn.models.base import magnitude
from tfvn.physics.fourier import fft2c
from tfvn.training.discriminator import Discriminator, fixed_features
from tfvn.training.recipe import Recipe

__all__ = ["GAN"]

# Of the fixed features: all trainings are compared by the same ones.
_SEED_OF_FEATURES = 0
_MOST_FILTERS = 256


class GAN(Recipe):
    """A discriminator is trained beside the network, on which the network is trained with errors of
    pixels, of frequencies and of fixed random features. The optimizer must not be ipalm.

    Args:
        adversarial: weight of the discriminator's judgement.
        pixel: weight of the relative error of the image.
        frequency: weight of the squared error of the magnitude of its spectrum.
        perceptual: weight of the relative squared error of fixed random features.
        filters: channels of the first level of the discriminator.

    Raises:
        ValueError: for a negative weight, and for no filters.
    """

    def __init__(self, adversarial=1.0, pixel=15.0, frequency=0.1, perceptual=1.0, filters=16):
        self.adversarial = checks.number("adversarial", adversarial, 0)
        self.pixel = checks.number("pixel", pixel, 0)
        self.frequency = checks.number("frequency", frequency, 0)
        self.perceptual = checks.number("perceptual", perceptual, 0)
        self.filters = checks.whole("filters", filters, 1, most=_MOST_FILTERS)

    def build(self, network, seed):
        self.discriminator = Discriminator(self.filters, seed, dtype=network.dtype)
        weights = list(self.discriminator.trainable_weights)
        self.parameter_blocks = {"discriminator": weights}

    def loss(self, network, inputs, reference, wanted):
        wanted = [name for name in wanted if name in network.parameter_blocks]
        reference = magnitude(reference)
        losses = []
        for share, image in network.training_images(inputs, wanted):
            image = magnitude(image)
            both = self.of_generator(image, reference) + self.of_discriminator(image, reference)
            losses.append(share * both)
        return tf.add_n(losses)

    def of_generator(self, image, reference):
        """The generator's loss of real images (1, rows, width), with D held still."""
        judged = self.discriminator(image, held=True)
        spectrum = _spectrum(image) - _spectrum(reference)
        features = fixed_features(image, _SEED_OF_FEATURES)
        expected = fixed_features(reference, _SEED_OF_FEATURES)
        seen = _energy(features - expected) / (_energy(expected) + _tiny(image))
        # The root has no gradient at 0.
        distance = tf.sqrt(_energy(image - reference) + _tiny(image))
        error = distance / (tf.norm(reference) + _tiny(image))
        return (
            self.adversarial * tf.reduce_mean(tf.nn.softplus(-judged))
            + self.pixel * error
            + self.frequency * _energy(spectrum)
            + self.perceptual * seen
        )

    def of_discriminator(self, image, reference):
        """The discriminator's loss of the same, with the image held still."""
        judged = self.discriminator(tf.stop_gradient(image))
        expected = self.discriminator(reference)
        return tf.reduce_mean(tf.nn.softplus(judged) + tf.nn.softplus(-expected))


def _energy(array):
    return tf.reduce_sum(tf.square(array))


def _spectrum(image):
    """The magnitude of the orthonormal spectrum of real images."""
    return magnitude(fft2c(tf.complex(image, tf.zeros_like(image))))


def _tiny(image):
    """What keeps a reference of zeros from being divided by."""
    return tf.cast(1e-12, image.dtype)
