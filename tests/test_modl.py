"""MoDL against its equations, solved densely in double precision."""

import numpy as np
import pytest
import tensorflow as tf

from tfvn.compat import variable_of
from tfvn.models import MoDL
from tfvn.models.modl import raw_of

SETTINGS = dict(num_iterations=2, num_layers=2, filters=3, cg_steps=60, tolerance=1e-13)


def matrix(function, image):
    """The matrix of a linear function of one image."""
    size = image.size
    columns = []
    for unit in np.eye(size):
        columns.append(np.ravel(function(unit.reshape(image.shape).astype(complex))))
    return np.stack(columns, 1)


def test_the_result_is_that_of_the_equations(case):
    model = MoDL(**SETTINGS, bias=True, shared=False, initial_lambda=0.3, dtype="float64")
    for denoiser in model.denoisers:
        denoiser.biases[0].assign([0.1, -0.2, 0.3])
    inputs = model.measured(case(1, height=6, width=5, dtype="complex128"))
    operands = inputs["sensitivity_maps"], inputs["mask"]
    zero_filled = image = inputs["zero_filled"].numpy()
    normal = matrix(lambda u: model.sense.normal(u, *operands), image)
    for denoiser in model.denoisers:
        rhs = zero_filled + 0.3 * denoiser(image).numpy()
        solution = np.linalg.solve(normal + 0.3 * np.eye(image.size), rhs.ravel())
        image = solution.reshape(image.shape)
    np.testing.assert_allclose(model(inputs), image, rtol=0, atol=1e-10)


def test_a_denoiser_of_zeros_returns_its_image(case):
    model = MoDL(**SETTINGS, dtype="float64")
    for kernel in model.denoisers[0].kernels:
        kernel.assign(tf.zeros_like(kernel))
    inputs = model.measured(case(1, dtype="complex128"))
    image = model.denoisers[0](inputs["zero_filled"])
    np.testing.assert_array_equal(image, inputs["zero_filled"])


@pytest.mark.slow
def test_all_weights_have_the_gradient_of_central_differences(case):
    # The gradient is that of the steps, however few.
    settings = {**SETTINGS, "cg_steps": 4}
    model = MoDL(**settings, bias=True, initial_lambda=0.5, dtype="float64")
    inputs = model.measured(case(1, height=6, width=5, dtype="complex128"))
    weight = np.random.default_rng(0).standard_normal((1, 6, 5))

    weights = model.trainable_weights
    assert len(weights) == 5

    @tf.function(autograph=False)
    def value_and_gradients():
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(weight * model.answer(inputs))
        return value, tape.gradient(value, [variable_of(each) for each in weights])

    _, gradients = value_and_gradients()
    for variable, gradient in zip(weights, gradients):
        kept = variable.numpy()
        direction = np.random.default_rng(1).standard_normal(kept.shape)
        ends = []
        for sign in (1, -1):
            variable.assign(kept + sign * 1e-6 * direction)
            ends.append(float(value_and_gradients()[0]))
        variable.assign(kept)
        expected = (ends[0] - ends[1]) / 2e-6
        assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-6)


def test_lambda_begins_as_it_is_set_and_stays_positive():
    model = MoDL(**SETTINGS, initial_lambda=0.05, dtype="float64")
    assert float(model.regularisation) == pytest.approx(0.05, rel=1e-12)
    model.raw_lambda.assign(-50.0)
    assert 0 < float(model.regularisation) < 1e-20
    assert raw_of(1e4) == 1e4


def test_the_iterations_share_a_denoiser_or_have_one_each():
    kernels = 3 * 3 * (2 * 4 + 4 * 2)
    shared = MoDL(num_iterations=3, num_layers=2, filters=4)
    own = MoDL(num_iterations=3, num_layers=2, filters=4, shared=False)
    assert shared.count_params() == kernels + 1
    assert own.count_params() == 3 * kernels + 1


def test_it_has_the_size_of_the_published_network():
    # Its batch normalisation has 4 more numbers for each channel, two of them trained.
    convolutions = 9 * (2 * 64 + 3 * 64 * 64 + 64 * 2)
    assert MoDL(filters=64).count_params() == convolutions + 1


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(initial_lambda=0), "initial_lambda must be a number > 0"),
        (dict(num_iterations=0), "num_iterations must be a whole number >= 1"),
        (dict(cg_steps=0), "cg_steps must be a whole number >= 1"),
        (dict(tolerance=1), "tolerance must be a number >= 0 and < 1"),
        (dict(shared="no"), "shared must be True or False"),
        (dict(filters=2**20), "A network has at most .* weights. Received: filters=1048576"),
        (dict(num_layers=2**30), "num_layers must be a whole number >= 1 and <= 256"),
    ],
)
def test_settings_outside_their_ranges_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        MoDL(**settings)
