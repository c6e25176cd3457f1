import numpy as np
import pytest
import tensorflow as tf

from tfvn.compat import variable_of
from tfvn.models.base import magnitude
from tfvn.models.dagan import DAGAN
from tfvn.training.checkpoints import Checkpoints
from tfvn.training.discriminator import Discriminator, fixed_features
from tfvn.training.first_order import AdamSteps
from tfvn.training.gan import GAN
from tfvn.training.recipes import Clean, Scaled
from tfvn.training.trainer import Trainer


def images(seed, batch=1):
    """Real images (batch, 24, 20) in [0, 1)."""
    return tf.constant(np.random.default_rng(seed).random((batch, 24, 20)))


def built(**weights):
    """A recipe with a small discriminator, in float64."""
    recipe = GAN(filters=1, **weights)
    recipe.build(DAGAN(2, 2, dtype="float64"), 0)
    return recipe


ONLY = dict.fromkeys(("adversarial", "pixel", "frequency", "perceptual"), 0.0)


def test_the_pixel_loss_is_the_relative_error():
    image, reference = images(0), images(1)
    found = built(**{**ONLY, "pixel": 15.0}).of_generator(image, reference)
    expected = 15 * np.linalg.norm(image - reference) / np.linalg.norm(reference)
    assert float(found) == pytest.approx(expected)


def test_the_frequency_loss_is_that_of_magnitudes_of_spectra():
    image, reference = images(0), images(1)
    found = built(**{**ONLY, "frequency": 0.1}).of_generator(image, reference)
    # The published mean over a transform that is not orthonormal.
    difference = np.abs(np.fft.fft2(image)) - np.abs(np.fft.fft2(reference))
    assert float(found) == pytest.approx(0.1 * np.mean(difference**2))


def test_the_perceptual_loss_is_that_of_features_that_never_change():
    image, reference = images(0), images(1)
    recipe = built(**{**ONLY, "perceptual": 1.0})
    features, expected = fixed_features(image, 0), fixed_features(reference, 0)
    np.testing.assert_array_equal(features, fixed_features(image, 0))
    assert features.shape == (1, 6, 5, 64)
    ratio = np.sum((features - expected) ** 2) / np.sum(expected**2)
    assert float(recipe.of_generator(image, reference)) == pytest.approx(ratio)
    assert float(recipe.of_generator(reference, reference)) == 0


def test_the_adversarial_losses_are_cross_entropies():
    image, reference = images(0), images(1)
    recipe = built(**{**ONLY, "adversarial": 1.0})
    odds = [np.exp(float(recipe.discriminator(each)[0])) for each in (image, reference)]
    false, true = (odd / (1 + odd) for odd in odds)
    assert float(recipe.of_generator(image, reference)) == pytest.approx(-np.log(false))
    expected = -np.log(true) - np.log(1 - false)
    assert float(recipe.of_discriminator(image, reference)) == pytest.approx(expected)


def test_each_network_has_the_gradient_of_its_own_loss():
    recipe, image, reference = built(), images(0), images(1)
    weights = [variable_of(weight) for weight in recipe.discriminator.trainable_weights]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(image)
        generator = recipe.of_generator(image, reference)
        discriminator = recipe.of_discriminator(image, reference)
    assert tape.gradient(generator, image) is not None
    assert all(each is None for each in tape.gradient(generator, weights))
    assert tape.gradient(discriminator, image) is None
    assert all(each is not None for each in tape.gradient(discriminator, weights))


def test_a_discriminator_judges_every_image_for_itself():
    discriminator = Discriminator(1, dtype="float64")
    both = images(0, batch=2)
    alone = discriminator(both[:1])
    np.testing.assert_allclose(discriminator(both)[:1], alone, rtol=0, atol=1e-12)
    assert discriminator(both[:, :17, :5]).shape == (2,)


@pytest.fixture(scope="module")
def data(case):
    inputs = case(2)
    reference = 0.8 * DAGAN(2, 2).zero_filled(inputs)
    return tf.data.Dataset.from_tensors((inputs, reference)).repeat()


def trainer(**settings):
    steps = AdamSteps(learning_rate=1e-3, beta_1=0.5)
    return Trainer(DAGAN(2, 2), steps, GAN(filters=1, **settings))


def fit(model, data, steps):
    model.fit(data, steps_per_epoch=1, epochs=steps, shuffle=False, verbose=0)


def all_weights(model):
    found = [*model.network.get_weights(), *model.weights_of_recipe]
    return [np.array(weight) for weight in found]


@pytest.mark.slow
def test_both_networks_are_trained_and_continue_after_a_checkpoint(data, tmp_path):
    model = trainer()
    before = all_weights(model)
    fit(model, data, 1)
    changed = [(a != b).any() for a, b in zip(before, all_weights(model))]
    assert np.mean(changed) > 0.9
    Checkpoints(model.checkpoint(), tmp_path).save(1)
    fit(model, data, 1)

    again = trainer()
    Checkpoints(again.checkpoint(), tmp_path).restore()
    fit(again, data, 1)
    for a, b in zip(all_weights(model), all_weights(again)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.one_stack
def test_the_pixel_loss_alone_lowers_the_error(data):
    model = trainer(adversarial=0.0, frequency=0.0, perceptual=0.0)
    inputs, reference = next(iter(data))

    def error():
        answer = model.network.reconstruct(inputs)
        return float(tf.norm(answer - magnitude(reference)))

    before = error()
    fit(model, data, 5)
    assert error() < before


def test_ipalm_refuses_a_recipe_of_two_losses():
    with pytest.raises(ValueError, match="ipalm lowers one loss.*Use adam"):
        Trainer(DAGAN(2, 2), "ipalm", GAN(filters=1))


@pytest.mark.parametrize("name", [*ONLY, "filters"])
def test_settings_outside_their_limits_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be .* Received: {name}=-1"):
        GAN(**{name: -1})


def test_a_recipe_without_weights_of_its_own_adds_none():
    model = Trainer(DAGAN(2, 2), "adam", Clean())
    assert not model.weights_of_recipe
    assert len(model.trainable_weights) == len(model.network.trainable_weights)


def test_scaled_refuses_a_network_that_reads_images():
    with pytest.raises(ValueError, match="The recipe scaled .*DAGAN, which reads zero_filled"):
        Trainer(DAGAN(2, 2), "adam", Scaled())
