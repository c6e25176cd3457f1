import numpy as np
import pytest
import tensorflow as tf

from tfvn.models.automap import AUTOMAP
from tfvn.training.recipes import Scaled
from tfvn.training.trainer import Trainer

SETTINGS = dict(height=12, width=10, hidden=6, filters=2)
SIZE = dict(coils=1, height=12, width=10)


@pytest.mark.parametrize("other", [dict(coils=2), dict(height=13), dict(width=11)])
def test_several_coils_and_other_sizes_are_refused(case, other):
    size = {**SIZE, **other}
    words = "one coil and 12 x 10 samples, without readout oversampling. Received: "
    words += f"{size['coils']} coils of {size['height']} x {size['width']}"
    with pytest.raises(ValueError, match=words):
        AUTOMAP(**SETTINGS).reconstruct(case(1, **size))


def test_readout_oversampling_is_refused(case):
    inputs = case(1, **SIZE, readout_oversampling=True)
    network = AUTOMAP(**SETTINGS, readout_oversampling=True)
    with pytest.raises(ValueError, match="1 coils of 12 x 10 with readout oversampling"):
        network.reconstruct(inputs)


def test_the_weights_are_those_of_the_paper_for_two_parts_of_an_image():
    size = 4 * 12 * 10 * 6 + 6 + 2 * 12 * 10
    kernels = (25 * 2 * 2 + 2) + (25 * 2 * 2 + 2) + (49 * 2 * 2 + 2)
    assert AUTOMAP(**SETTINGS).count_params() == size + kernels


def test_more_weights_than_a_file_holds_are_refused():
    with pytest.raises(ValueError, match="at most .* weights.*height=128, width=128, hidden=25000"):
        AUTOMAP(128, 128, hidden=25000)


@pytest.mark.parametrize("setting", [{"height": 7}, {"width": 7}, {"hidden": 0}, {"filters": 0}])
def test_settings_outside_their_limits_are_refused(setting):
    ((name, value),) = setting.items()
    with pytest.raises(ValueError, match=f"{name} must be .* Received: {name}={value}"):
        AUTOMAP(**setting)


def test_its_layers_are_those_of_the_formula(case):
    network = AUTOMAP(**SETTINGS, dtype="float64")
    inputs = case(2, **SIZE, dtype="complex128")
    kspace = np.asarray(inputs["kspace"])[:, 0]
    numbers = np.stack([kspace.real, kspace.imag], -1).reshape(2, -1)
    (first, first_bias), (second, second_bias) = network.first, network.second
    scaled = 0.00375 * np.sqrt(12 * 10) * numbers
    hidden = np.tanh(scaled @ np.array(first) + np.array(first_bias))
    image = (hidden @ np.array(second) + np.array(second_bias)).reshape(2, 12, 10, 2)
    # The mean of the dense layers' image comes back where the convolutions answer with zeros.
    network.last.assign(tf.zeros_like(network.last))
    mean = image.mean((1, 2))
    expected = np.ones((1, 12, 10)) * np.hypot(*mean.T)[:, None, None]
    np.testing.assert_allclose(np.abs(network(inputs)), expected, rtol=0, atol=1e-10)


def test_a_training_multiplies_kspace_by_numbers_near_one(case):
    network = AUTOMAP(**SETTINGS)
    trainer = Trainer(network, "adam", Scaled(0.1))
    inputs = case(2, **SIZE)
    reference = network.zero_filled(inputs)
    keys = tf.constant([[0, 1], [0, 2]])
    scaled = trainer.training_inputs(inputs, reference, keys)["kspace"].numpy()
    kspace = np.asarray(inputs["kspace"])
    sampled = kspace != 0
    assert not scaled[~sampled].any()
    for part in (np.real, np.imag):
        factors = part(scaled)[sampled] / part(kspace)[sampled]
        assert 0.9 <= factors.min() < 0.95 and 1.05 < factors.max() <= 1.1
    again = trainer.training_inputs(inputs, reference, keys)["kspace"]
    np.testing.assert_array_equal(again, scaled)
    # The two images have numbers of their own.
    alone = trainer.training_inputs(
        {key: value[1:] if len(value) > 1 else value for key, value in inputs.items()},
        reference[1:],
        keys[1:],
    )
    np.testing.assert_allclose(alone["kspace"], scaled[1:], rtol=1e-6)


def test_a_size_that_is_not_known_before_the_call_is_taken(case):
    # As in an export for TensorFlow Serving.
    network = AUTOMAP(**SETTINGS)
    any_size = tf.TensorSpec([None] * 4, tf.complex64)
    specs = {
        "kspace": any_size,
        "sensitivity_maps": any_size,
        "mask": tf.TensorSpec([None, 1, None, None], tf.float32),
    }
    compiled = tf.function(network, input_signature=[specs], autograph=False)
    inputs = {key: tf.constant(value) for key, value in case(1, **SIZE).items()}
    np.testing.assert_allclose(compiled(inputs), network(inputs), rtol=0, atol=1e-6)
