"""The end-to-end variational network alone, against its equations in k-space."""

import numpy as np
import pytest
import tensorflow as tf

from tfvn.models import E2EVarNet
from tfvn.models.e2e_varnet import centre_lines, sampled_only
from tfvn.physics import measurement
from tfvn.physics.fourier import fft2c, ifft2c

SETTINGS = dict(num_cascades=2, channels=2, pools=1)
FINDING = dict(**SETTINGS, sensitivity_channels=2, sensitivity_pools=1)


def network(**settings):
    made = E2EVarNet(**settings, dtype="float64")
    for number, weight in enumerate(made.data_weights):
        weight.assign(0.4 + 0.2 * number)
    return made


@pytest.mark.parametrize("mask", ["columns", "points", "weights"])
@pytest.mark.parametrize("oversampled", [False, True])
def test_the_network_is_its_equation_in_kspace(case, mask, oversampled):
    model = network(**SETTINGS, readout_oversampling=oversampled)
    inputs = case(2, 3, 26, 19, mask=mask, dtype="complex128", readout_oversampling=oversampled)
    maps, weights, measured = inputs["sensitivity_maps"], inputs["mask"], inputs["kspace"]
    kspace = measured
    for cascade, weight in zip(model.cascades, model.data_weights):
        combined = np.sum(maps.conj() * ifft2c(kspace), 1)
        learned = cascade(model.sense.crop_readout(combined))
        learned = fft2c(maps * model.sense.pad_readout(learned, maps)[:, None])
        kspace = kspace - float(weight) * (weights * kspace - measured) - learned
    expected = model.sense.crop_readout(np.sum(maps.conj() * ifft2c(kspace), 1))
    np.testing.assert_allclose(model(inputs), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mask", ["columns", "points"])
def test_the_projection_keeps_what_is_sampled(case, mask):
    inputs = case(2, 3, 13, 12, mask=mask, dtype="complex128")
    images, sampled = tf.constant(inputs["sensitivity_maps"]), inputs["mask"]
    expected = ifft2c(sampled * fft2c(images))
    np.testing.assert_allclose(sampled_only(images, sampled), expected, atol=1e-12)
    with tf.GradientTape() as tape:
        tape.watch(images)
        value = tf.reduce_sum(tf.math.real(sampled_only(images, sampled)))
    expected = ifft2c(sampled * fft2c(np.ones_like(images)))
    np.testing.assert_allclose(tape.gradient(value, images), expected, atol=1e-12)


@pytest.mark.parametrize(
    "lines, count, expected",
    [
        ("10111101", 0, "00111100"),
        ("11011100", 0, "00011000"),
        ("11101111", 0, "00001000"),
        ("11111111", 0, "11111111"),
        ("10111101", 2, "00011000"),
        ("0111110", 0, "0011110"),
    ],
)
def test_the_centre_lines_are_those_around_the_middle_without_a_gap(lines, count, expected):
    mask = np.array([float(x) for x in lines])[None, None, None]
    wanted = np.array([float(x) for x in expected])
    np.testing.assert_array_equal(centre_lines(mask, count)[0, 0, 0], wanted)
    # One that is not whole is none.
    rows = np.concatenate([mask, mask], 2)
    rows[..., 1, 0] = 0
    found = centre_lines(rows, count)[0, 0, 0]
    np.testing.assert_array_equal(found[1:], wanted[1:] if lines != "11111111" else found[1:])


def test_found_maps_have_unit_root_sum_of_squares_and_do_not_see_the_given_ones(case):
    model = network(**FINDING)
    inputs = case(2, 3, dtype="complex128")
    maps = model.found_maps(tf.constant(inputs["kspace"]), tf.constant(inputs["mask"]))
    np.testing.assert_allclose(np.sum(np.abs(maps) ** 2, 1), 1, atol=1e-9)
    other = {**inputs, "sensitivity_maps": inputs["sensitivity_maps"][:, ::-1]}
    np.testing.assert_array_equal(model(other), model(inputs))


def test_a_perturbation_of_the_image_changes_the_maps(case):
    model = network(**FINDING)
    inputs = model.measured(case(1, 3, dtype="complex128"))
    r = 0.1 * tf.ones([1, 24, 20], "complex128")
    changed = measurement.perturbed(model.sense, inputs, r)
    before, after = (model.found_maps(x["kspace"], x["mask"]) for x in (inputs, changed))
    assert np.abs(after - before).max() > 1e-3


def test_the_answer_of_found_maps_is_the_root_sum_of_squares(case):
    model = network(**{**FINDING, "num_cascades": 1})
    model.data_weights[0].assign(0.0)
    # What the U-Net adds is its last bias times a deviation, and that is set to 0.
    unet = model.cascades[0].network
    unet.kernel.assign(tf.zeros_like(unet.kernel))
    unet.bias.assign([0.0, 0.0])
    inputs = case(1, 3, dtype="complex128")
    images = ifft2c(inputs["kspace"])
    maps = model.found_maps(tf.constant(inputs["kspace"]), tf.constant(inputs["mask"]))
    mean = np.mean(np.sum(maps.numpy().conj() * images, 1))
    expected = np.sqrt(np.sum(np.abs(images - maps * mean) ** 2, 1))
    np.testing.assert_allclose(model(inputs), expected, atol=1e-9)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_cascades": 0}, "num_cascades must be a whole number >= 1"),
        ({"num_cascades": 1000}, "num_cascades must be .* Received: num_cascades=1000"),
        ({"channels": 1000, "num_cascades": 100}, "A network has at most .* channels=1000"),
        ({"pools": 5}, "pools must be .* Received: pools=5"),
        ({"sensitivity_channels": -1}, "sensitivity_channels must be a whole number >= 0"),
        ({"center_lines": -1}, "center_lines must be a whole number >= 0"),
    ],
)
def test_settings_outside_their_ranges_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        E2EVarNet(**settings)
