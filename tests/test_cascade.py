"""D5-C5 against the data step of its paper, and for several coils against least squares."""

import numpy as np
import pytest
import tensorflow as tf

from tfvn.models import Cascade

SETTINGS = dict(num_cascades=2, num_layers=2, filters=3, dtype="float64")


def one_coil(case):
    """A slice of one coil whose map is 1 everywhere."""
    inputs = case(1, coils=1, dtype="complex128", mask="points")
    inputs["sensitivity_maps"] = np.ones_like(inputs["sensitivity_maps"])
    return inputs


def published(model, inputs, fourier_matrix, v):
    """The network as in its paper: v k_0 and the network's k-space, averaged where sampled."""
    kspace, mask = inputs["kspace"][0, 0], inputs["mask"][0, 0]
    rows, columns = (fourier_matrix(size) for size in kspace.shape)
    image = np.conj(rows).T @ kspace @ np.conj(columns)
    for network in model.networks:
        found = rows @ network(image[None])[0].numpy() @ columns.T
        averaged = kspace
        if v is not None:
            averaged = (found + v * kspace) / (1 + v)
        found = np.where(mask > 0, averaged, found)
        image = np.conj(rows).T @ found @ np.conj(columns)
    return image


@pytest.mark.parametrize(
    "v, settings",
    [
        (None, dict(data_step="replace", mu=0)),
        (4.0, dict(data_step="replace", mu=0.25)),
        (4.0, dict(data_step="cg_sense", mu=0.25, tolerance=1e-13)),
    ],
)
def test_one_coil_has_the_data_step_of_the_paper(v, settings, case, fourier_matrix):
    model = Cascade(**SETTINGS, **settings)
    inputs = one_coil(case)
    expected = published(model, inputs, fourier_matrix, v)
    np.testing.assert_allclose(model(inputs)[0], expected, rtol=0, atol=1e-10)


def test_replaced_samples_are_those_that_were_measured(case):
    inputs = one_coil(case)
    model = Cascade(**SETTINGS, data_step="replace", mu=0)
    found = model.sense.forward(model(inputs), inputs["sensitivity_maps"], inputs["mask"])
    np.testing.assert_allclose(found, inputs["kspace"], rtol=0, atol=1e-12)


def test_the_step_for_several_coils_solves_the_least_squares(case):
    model = Cascade(**{**SETTINGS, "num_cascades": 1}, mu=0.3, cg_steps=60, tolerance=1e-13)
    inputs = model.measured(case(2, dtype="complex128"))
    operands = inputs["sensitivity_maps"], inputs["mask"]
    image, z = model(inputs), model.networks[0](inputs["zero_filled"])
    gradient = model.sense.normal(image, *operands) - inputs["zero_filled"]
    np.testing.assert_allclose(gradient + 0.3 * (image - z), 0 * z, rtol=0, atol=1e-10)


def test_it_has_the_size_of_the_published_network():
    assert Cascade(filters=64).count_params() == 565_770
    assert Cascade(filters=32).count_params() == 144_650


def test_each_cascade_begins_with_other_weights():
    one, other = Cascade(**SETTINGS).networks
    assert not np.allclose(one.kernels[0], other.kernels[0])
    again = Cascade(**SETTINGS).networks[0]
    np.testing.assert_array_equal(one.kernels[0], again.kernels[0])
    seeded = Cascade(**SETTINGS, seed=1).networks[0]
    assert not np.allclose(one.kernels[0], tf.convert_to_tensor(seeded.kernels[0]))


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(data_step="sense"), "data_step must be one of"),
        (dict(mu=0), "mu must be a number > 0"),
        (dict(mu=-1, data_step="replace"), "mu must be a number >= 0"),
        (dict(num_cascades=1000), "num_cascades must be a whole number >= 1 and <= 100"),
        (dict(filters=2**20), "A network has at most .* weights"),
    ],
)
def test_settings_outside_their_ranges_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Cascade(**settings)
