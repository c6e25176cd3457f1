import numpy as np
import pytest
import tensorflow as tf

from tfvn.models.dagan import DAGAN, count_weights, widths


def test_the_published_sizes_give_the_published_number_of_weights():
    down, up = widths(64, 8)
    assert down == [64, 128, 256, 512, 512, 512, 512, 512]
    assert up == [512, 1024, 1024, 1024, 256, 128, 64, 64]
    # The published code has a bias before each norm too, which takes it away again.
    before_norms = sum(down[1:-1]) + sum(up)
    assert count_weights(64, 8) + before_norms == 98_587_393


@pytest.mark.parametrize("filters, levels", [(2, 2), (2, 5)])
def test_the_count_of_weights_is_that_of_the_network(filters, levels):
    assert DAGAN(filters, levels).count_params() == count_weights(filters, levels)


def test_more_weights_than_a_file_holds_are_refused():
    with pytest.raises(ValueError, match="at most .* weights.*filters=64, levels=8"):
        DAGAN(64, 8)


@pytest.mark.parametrize("setting", [{"filters": 0}, {"levels": 1}, {"peak": 0.0}])
def test_settings_outside_their_limits_are_refused(setting):
    ((name, value),) = setting.items()
    with pytest.raises(ValueError, match=f"{name} must be .* Received: {name}={value}"):
        DAGAN(**setting)


def still(peak=2.0):
    """A generator whose G is zero everywhere."""
    network = DAGAN(2, 2, peak)
    network.kernel.assign(tf.zeros_like(network.kernel))
    return network


def test_without_a_change_the_answer_is_the_magnitude_that_came(case):
    inputs = case(2)
    network = still()
    expected = np.abs(network.zero_filled(inputs))
    np.testing.assert_allclose(network.reconstruct(inputs), expected, rtol=0, atol=1e-5)


def test_the_refinement_is_added_and_clipped_to_the_range(case):
    inputs = case(1)
    network = still(peak=0.5)
    network.bias.assign([0.2])
    shown = np.abs(network.zero_filled(inputs)) / 0.25 - 1
    assert (shown > 1).any()
    expected = 0.25 * (1 + np.clip(shown + np.tanh(0.2), -1, 1))
    np.testing.assert_allclose(network.reconstruct(inputs), expected, rtol=0, atol=1e-5)


def test_no_gradient_comes_from_pixels_that_were_clipped(case):
    network = still(peak=0.5)
    inputs = network.measured(case(1))
    image = inputs["zero_filled"]
    with tf.GradientTape() as tape:
        tape.watch(image)
        answer = network.answer({**inputs, "zero_filled": image})
    gradient = np.abs(tape.gradient(answer, image))
    clipped = np.abs(image) > 0.5 * (1 + 1e-6)
    assert clipped.any() and not clipped.all()
    assert not gradient[clipped].any() and gradient[~clipped].all()


def test_a_padded_image_is_changed_as_the_same_image_in_a_larger_one_would_be(case):
    # Three levels halve 24 rows, and 24 columns in place of 20.
    network = DAGAN(2, 3)
    image = np.abs(network.zero_filled(case(1)))
    larger = np.pad(image, [(0, 0), (0, 0), (2, 2)], constant_values=-1.0)
    assert larger.shape[1:] == (24, 24)
    expected = network._change(tf.constant(larger))[:, :, 2:-2]
    np.testing.assert_allclose(network._change(tf.constant(image)), expected, rtol=0, atol=1e-6)
