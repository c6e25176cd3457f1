import numpy as np
import pytest
import tensorflow as tf

from tfvn.models.base import magnitude
from tfvn.models.rim import RIM, GatedUnit, repeat_border
from tfvn.training.trainer import Trainer


@pytest.mark.parametrize("filters, parameters", [(64, 94_082), (32, 25_538)])
def test_the_number_of_weights_is_the_published_one(filters, parameters):
    # 64 filters are those of DIRECT.
    assert RIM(filters).count_params() == parameters


@pytest.mark.parametrize("pixels", [0, 1, 2])
def test_the_border_is_repeated(pixels):
    features = np.random.default_rng(0).standard_normal((2, 5, 4, 3))
    sides = [(0, 0), (pixels, pixels), (pixels, pixels), (0, 0)]
    expected = np.pad(features, sides, mode="edge")
    np.testing.assert_array_equal(repeat_border(tf.constant(features), pixels), expected)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_a_gated_unit_is_that_of_its_formula():
    unit = GatedUnit(3, seed=1, dtype="float64")
    unit.candidate_bias.assign([0.1, 0.2, 0.3])
    rng = np.random.default_rng(0)
    features, state = rng.standard_normal((2, 1, 4, 5, 3))
    gates, bias = np.array(unit.gates), np.array(unit.gates_bias)
    z, r = np.split(sigmoid(np.concatenate([features, state], -1) @ gates + bias), 2, -1)
    both = np.concatenate([features, r * state], -1)
    candidate = np.tanh(both @ np.array(unit.candidate) + [0.1, 0.2, 0.3])
    expected = (1 - z) * state + z * candidate
    np.testing.assert_allclose(unit(features, state), expected, rtol=0, atol=1e-12)


def test_a_gated_unit_begins_orthogonal_and_remembers_little():
    unit = GatedUnit(4)
    for weights in (unit.gates, unit.candidate):
        weights = np.array(weights)
        expected = np.eye(weights.shape[1])
        np.testing.assert_allclose(weights.T @ weights, expected, rtol=0, atol=1e-5)
    assert np.array(unit.gates_bias).tolist() == [0] * 4 + [-1] * 4
    assert not np.array(unit.candidate_bias).any()


def test_the_shares_of_the_steps_grow_linearly_and_the_last_is_the_answer(case):
    network = RIM(3, num_steps=3)
    inputs = case(1)
    shares, images = zip(*network.training_images(inputs, None))
    np.testing.assert_allclose(shares, [1 / 6, 2 / 6, 3 / 6])
    np.testing.assert_array_equal(images[-1], network(inputs))


def test_the_loss_is_the_mean_over_all_steps(case):
    network = RIM(3, num_steps=2)
    inputs = network.measured(case(2))
    reference = tf.constant(np.ones(inputs["zero_filled"].shape, np.complex64))
    expected = 0
    for share, image in zip((1 / 3, 2 / 3), network.iterates(inputs)):
        error = magnitude(image) - magnitude(reference)
        expected += share * float(tf.reduce_sum(error**2)) / (2 * 2)
    trainer = Trainer(network, "adam")
    assert float(trainer.batch_loss(inputs, reference)) == pytest.approx(expected, rel=1e-5)


def test_all_steps_see_the_data_gradient(case):
    # With zeros in the last convolution every step answers with the image that it began with.
    network = RIM(3, num_steps=2)
    network.last.kernel.assign(tf.zeros_like(network.last.kernel))
    inputs = network.measured(case(1))
    for image in network.iterates(inputs):
        np.testing.assert_array_equal(image, inputs["zero_filled"])
    # Where A A^H k = k for the image, its gradient is zero.
    full = case(1, coils=1)
    full["mask"] = np.ones_like(full["mask"])
    magnitudes = np.abs(full["sensitivity_maps"])
    full["sensitivity_maps"] = full["sensitivity_maps"] / magnitudes
    full = network.measured(full)
    gradient = network._data_gradient(full["zero_filled"], full)
    np.testing.assert_allclose(gradient, 0 * gradient, rtol=0, atol=1e-5)


@pytest.mark.parametrize("setting", [{"filters": 0}, {"filters": 2.5}, {"num_steps": 0}])
def test_settings_outside_their_limits_are_refused(setting):
    ((name, value),) = setting.items()
    with pytest.raises(ValueError, match=f"{name} must be .* Received: {name}={value}"):
        RIM(**setting)
