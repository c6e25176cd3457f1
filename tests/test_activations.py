import numpy as np
import pytest
import tensorflow as tf

from tfvn.models.activations import _LARGEST_POWER, _ROW, RBFActivation, _kernels

# The three conventions that exist, and grids that need one and many blocks of the evaluation.
CONVENTIONS = {
    "pytorch": dict(num_centers=31),
    "optox": dict(num_centers=31, scale=0.4),
    "tensorflow-icg": dict(num_centers=31, bandwidth=2 / 31),
}
GRIDS = {
    **CONVENTIONS,
    "two centres": dict(num_centers=2),
    "even": dict(num_centers=8, grid_limit=0.7),
    "wide": dict(num_centers=9, bandwidth=3.0),
    "narrow": dict(num_centers=5, bandwidth=0.01),
}
SHAPE = (2, 9, 8, 3)
EVERY_GRID = pytest.mark.parametrize("settings", GRIDS.values(), ids=GRIDS)


def layer(channels, dtype="float32", seed=0, weight_scale=1.0, **settings):
    """A layer with random weights."""
    activation = RBFActivation(dtype=dtype, **settings)
    activation.build((None, channels))
    weights = np.random.default_rng(seed).standard_normal((channels, activation.num_centers))
    activation.rbf_weights.assign(weight_scale * weights)
    return activation


def plain(activation, x):
    """phi, phi' and the Gaussians of every pixel in double precision NumPy: (..., channels), same,
    (..., channels, centers).
    """
    centers = np.linspace(-activation.grid_limit, activation.grid_limit, activation.num_centers)
    q = (np.asarray(x, np.float64)[..., None] - centers) / activation.bandwidth
    gaussians, weights = np.exp(-(q**2) / 2), activation.rbf_weights.numpy().astype(np.float64)
    value = activation.scale * (weights * gaussians).sum(-1)
    return (
        value,
        activation.scale * (-weights * q * gaussians).sum(-1) / activation.bandwidth,
        activation.scale * gaussians,
    )


def pixels(shape, dtype="float32", limit=1.6, seed=1):
    x = np.random.default_rng(seed).uniform(-limit, limit, shape)
    # The edges of the grid and its centre are always among them.
    x.reshape(-1)[:3] = -1, 0, 1
    return tf.constant(x, dtype)


def gradients(activation, x, cotangent):
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = activation(x)
    return (value, *tape.gradient(value, (x, activation.rbf_weights), cotangent))


def assert_close(actual, expected, tolerance):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def check(activation, shape, tolerance=1e-5):
    x, cotangent = pixels(shape, activation.dtype), pixels(shape, activation.dtype, seed=2)
    value, derivative, gaussians = plain(activation, x)
    result = gradients(activation, x, cotangent)
    assert_close(result[0], value, tolerance)
    assert_close(result[1], cotangent * derivative, tolerance)
    flat = (
        np.reshape(cotangent, (-1, shape[-1])),
        gaussians.reshape(-1, shape[-1], activation.num_centers),
    )
    assert_close(result[2], np.einsum("pc,pcn->cn", *flat), tolerance)


@pytest.mark.slow_cases
@EVERY_GRID
def test_value_and_gradients_equal_the_sum_of_gaussians(settings):
    check(layer(3, **settings), SHAPE)


@pytest.mark.slow_cases
@pytest.mark.parametrize("settings", CONVENTIONS.values(), ids=CONVENTIONS)
def test_in_double_precision_they_are_equal_to_rounding(settings):
    check(layer(3, "float64", **settings), SHAPE, 1e-12)


# Channels are tiled to fill vector lanes: widths and channels with and without common factors.
@pytest.mark.slow_cases
@pytest.mark.parametrize("shape", [(1, 5, 8, 1), (1, 5, 7, 24), (1, 5, 6, 24), (1, 5, 4, 17)])
def test_any_number_of_channels_will_do(shape):
    check(layer(shape[-1]), shape)


@pytest.mark.slow_cases
@pytest.mark.parametrize("shape", [(24,), (4, 24), (5, 6, 24), (2, 4, 6, 24), (2, 4, 6, 5, 24)])
def test_tensors_of_any_rank_are_taken_channels_last(shape):
    check(layer(24, num_centers=7), shape)


@pytest.mark.slow
def test_sizes_may_be_unknown_while_tracing():
    activation = layer(3, num_centers=7)
    signature = [tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, None, None, 3])]
    traced = tf.function(
        lambda x, cotangent: gradients(activation, x, cotangent), input_signature=signature
    )
    x, cotangent = pixels(SHAPE), pixels(SHAPE, seed=2)
    for actual, expected in zip(traced(x, cotangent), gradients(activation, x, cotangent)):
        assert_close(actual, expected, 1e-5)


def largest_power(activation):
    kernels = _kernels(activation.num_centers, activation.grid_limit, activation.bandwidth)
    return kernels._reach * kernels.spacing


# Of 21 centres, about the narrowest bandwidth (widest spacing) below the largest power.
LAST_SHARED = 0.0431


# Up to the largest power all blocks of a grid share their exponentials, beyond it each has its own.
@pytest.mark.slow_cases
@pytest.mark.parametrize(
    "bandwidth", [LAST_SHARED, 0.99 * LAST_SHARED, 0.5 * LAST_SHARED, 0.2 * LAST_SHARED]
)
def test_value_and_gradients_hold_up_to_the_largest_power_of_single_precision_and_beyond(bandwidth):
    check(layer(3, num_centers=21, bandwidth=bandwidth), SHAPE)


def test_the_examples_lie_on_both_sides_of_the_largest_power():
    powers = [
        largest_power(RBFActivation(21, bandwidth=factor * LAST_SHARED)) for factor in (1, 0.99)
    ]
    assert 0.98 * _LARGEST_POWER < powers[0] < _LARGEST_POWER < powers[1]


# The weight gradient takes whole rows of pixels in two halves and the rest one by one.
@pytest.mark.slow_cases
@pytest.mark.parametrize("known", [True, False], ids=["known size", "unknown size"])
@pytest.mark.parametrize("count", [1, 2 * _ROW - 1, 2 * _ROW, 2 * _ROW + 1, 4 * _ROW, 4 * _ROW + 1])
def test_the_weight_gradient_holds_for_any_number_of_pixels(count, known):
    activation, rng = layer(3, num_centers=7, scale=0.4), np.random.default_rng(1)
    x, cotangent = (tf.constant(rng.uniform(-1.6, 1.6, (count, 3)), "float32") for _ in range(2))
    function = activation.weight_gradient
    if not known:
        function = tf.function(function, input_signature=[tf.TensorSpec([None, 3])] * 2)
    expected = np.einsum("pc,pcn->cn", cotangent, plain(activation, x)[2])
    assert_close(function(x, cotangent), expected, 1e-5)


def test_the_input_gradient_matches_central_differences():
    activation, x, step = layer(3, "float64"), pixels(SHAPE, "float64"), 1e-5
    _, gradient, _ = gradients(activation, x, tf.ones_like(x))
    differences = (activation(x + step) - activation(x - step)) / (2 * step)
    assert_close(gradient, differences, 1e-7)


def test_the_weight_gradient_matches_central_differences():
    # phi is linear in the weights, so a difference of any size is exact.
    activation, x = layer(3, "float64"), pixels(SHAPE, "float64")
    cotangent = pixels(x.shape, "float64", seed=2)
    gradient = gradients(activation, x, cotangent)[2]
    direction = np.random.default_rng(5).standard_normal(gradient.shape)
    before = tf.reduce_sum(cotangent * activation(x))
    activation.rbf_weights.assign_add(direction)
    change = tf.reduce_sum(cotangent * activation(x)) - before
    assert float(change) == pytest.approx(float(tf.reduce_sum(gradient * direction)), rel=1e-10)


@pytest.mark.parametrize("settings", CONVENTIONS.values(), ids=CONVENTIONS)
def test_value_and_derivative_are_those_of_the_call(settings):
    activation, x = layer(3, **settings), pixels(SHAPE)
    value, derivative = activation.value_and_derivative(x)
    expected = plain(activation, x)
    assert_close(value, expected[0], 1e-5)
    assert_close(derivative, expected[1], 1e-5)


def test_large_weights_lose_no_accuracy():
    activation, x = layer(3, weight_scale=1e6), pixels(SHAPE)
    value, derivative, _ = plain(activation, x)
    result = gradients(activation, x, tf.ones_like(x))
    assert_close(result[0], value, 1e-5)
    assert_close(result[1], derivative, 1e-5)


@pytest.mark.parametrize("settings", CONVENTIONS.values(), ids=CONVENTIONS)
@pytest.mark.parametrize("far", [50.0, 1e30, float("inf")])
def test_far_outside_the_grid_everything_is_zero(settings, far):
    activation, x = layer(3, **settings), far * tf.sign(pixels(SHAPE) + 0.01)
    for result in gradients(activation, x, tf.ones_like(x)):
        np.testing.assert_array_equal(result, np.zeros(result.shape))


@pytest.mark.parametrize("settings", CONVENTIONS.values(), ids=CONVENTIONS)
def test_nan_is_carried_through(settings):
    x = pixels(SHAPE).numpy()
    x[0, 4, 5, 1] = np.nan
    value, input_gradient, weight_gradient = gradients(
        layer(3, **settings), tf.constant(x), tf.ones(SHAPE)
    )
    np.testing.assert_array_equal(np.isnan(value), np.isnan(x))
    np.testing.assert_array_equal(np.isnan(input_gradient), np.isnan(x))
    assert np.isnan(weight_gradient[1]).all() and np.isfinite(weight_gradient[::2]).all()


@pytest.mark.parametrize("settings", CONVENTIONS.values(), ids=CONVENTIONS)
def test_the_linear_start_is_a_straight_line_inside_the_grid(settings):
    # w_j = a c_j sums to a x times the area of a Gaussian over the grid spacing.
    activation = RBFActivation(initial_scale=0.04, **settings)
    activation.build((None, 2))
    x = tf.linspace([-0.6] * 2, [0.6] * 2, 50)
    slope = activation.scale * np.sqrt(2 * np.pi) * activation.bandwidth * 15 * 0.04
    np.testing.assert_allclose(activation(x), slope * x, atol=1e-3 * slope)


def test_zeros_start_at_zero():
    activation = RBFActivation(initializer="zeros")
    assert not activation(tf.ones([2, 3])).numpy().any()


def test_the_configuration_survives_a_round_trip():
    activation = RBFActivation(7, 0.5, 0.1, 0.4, "zeros", 0.2, name="phi", dtype="float64")
    assert (
        RBFActivation.from_config(activation.get_config()).get_config() == activation.get_config()
    )


def _largest_tensor(graph_def):
    """Elements of the largest output of any operation of a graph and of all functions in its
    library.
    """
    largest = 0
    for node in [
        *graph_def.node,
        *(node for function in graph_def.library.function for node in function.node_def),
    ]:
        for shape in node.attr["_output_shapes"].list.shape:
            sizes = [dimension.size for dimension in shape.dim]
            if not shape.unknown_rank and min(sizes, default=0) >= 0:
                largest = max(largest, int(np.prod(sizes)))
    return largest


def _graph(function, *shapes):
    specs = [tf.TensorSpec(shape) for shape in shapes]
    return tf.function(function).get_concrete_function(*specs).graph.as_graph_def(add_shapes=True)


@pytest.mark.slow_cases
@pytest.mark.parametrize("shape", [(1, 64, 48, 8), (64 * 48, 8), (64, 48, 8)])
def test_no_tensor_of_pixels_times_centres_exists(shape):
    activation = layer(8)
    graph = _graph(lambda x, cotangent: gradients(activation, x, cotangent), shape, shape)
    assert np.prod(shape) <= _largest_tensor(graph) < np.prod(shape) * activation.num_centers


def test_the_search_for_large_tensors_finds_one_inside_nested_functions():
    inner = tf.function(
        lambda x: tf.while_loop(
            lambda i: i < 3, lambda i: i + tf.reduce_sum(x[:, None] * x)[None], [x[:1]]
        )[0]
    )
    assert _largest_tensor(_graph(lambda x: inner(x) + 1, (50,))) == 2500


@pytest.mark.parametrize(
    "name, value",
    [
        ("num_centers", 1),
        ("num_centers", 2.5),
        ("grid_limit", 0),
        ("grid_limit", -1),
        ("bandwidth", 0),
        ("bandwidth", -1),
    ],
)
def test_a_setting_outside_its_range_is_refused(name, value):
    with pytest.raises(ValueError, match=f"Received: {name}={value}"):
        RBFActivation(**{name: value})


def test_an_unknown_initializer_is_refused():
    with pytest.raises(ValueError, match="Received: initializer='random'"):
        RBFActivation(initializer="random")
