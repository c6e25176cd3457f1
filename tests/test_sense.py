import numpy as np
import pytest
import tensorflow as tf

from tfvn.physics.sense import Sense

SHAPES = [(1, 8, 6), (3, 7, 5), (2, 9, 6), (4, 6, 7)]
MASKS = ["columns", "points", "weights"]
OPERATORS = pytest.mark.parametrize("readout_oversampling", [False, True])


def problem(case, shape, mask="columns", readout_oversampling=False, batch=2):
    """The operator, its arguments and a random image and k-space, in double precision."""
    coils, height, width = shape
    inputs = case(batch, coils, height, width, mask, "complex128")
    rows = height // 2 if readout_oversampling else height
    rng = np.random.default_rng(1)
    image = rng.standard_normal((batch, rows, width)) + 1j * rng.standard_normal(
        (batch, rows, width)
    )
    kspace = rng.standard_normal((batch, *shape)) + 1j * rng.standard_normal((batch, *shape))
    fixed = tuple(tf.constant(inputs[key]) for key in ("sensitivity_maps", "mask"))
    return (
        Sense(readout_oversampling, dtype="float64"),
        fixed,
        tf.constant(image),
        tf.constant(kspace),
    )


@OPERATORS
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_adjoint_are_adjoint(case, shape, mask, readout_oversampling):
    sense, fixed, x, y = problem(case, shape, mask, readout_oversampling)
    assert np.vdot(sense.forward(x, *fixed), y) == pytest.approx(
        np.vdot(x, sense.adjoint(y, *fixed)), rel=1e-12
    )


@OPERATORS
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_normal_is_adjoint_after_forward(case, shape, mask, readout_oversampling):
    sense, fixed, x, _ = problem(case, shape, mask, readout_oversampling)
    expected = sense.adjoint(sense.forward(x, *fixed), *fixed)
    np.testing.assert_allclose(
        sense.normal(x, *fixed), expected, rtol=0, atol=1e-12 * np.abs(x).max()
    )


@OPERATORS
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_normal_differentiates_as_adjoint_after_forward(case, shape, mask, readout_oversampling):
    sense, fixed, x, y = problem(case, shape, mask, readout_oversampling)

    def gradient(function):
        with tf.GradientTape() as tape:
            tape.watch(variable)
            # Not quadratic, so that a wrong cotangent shows.
            value = tf.reduce_sum(tf.math.real(tf.math.conj(weight) * function(variable)) ** 3)
        return tape.gradient(value, variable)

    variable, weight = x, sense.adjoint(y, *fixed)
    plain = gradient(lambda u: sense.adjoint(sense.forward(u, *fixed), *fixed))
    fast = gradient(lambda u: sense.normal(u, *fixed))
    np.testing.assert_allclose(fast, plain, rtol=0, atol=1e-11 * np.abs(plain).max())


@OPERATORS
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_equals_its_definition(case, fourier_matrix, shape, readout_oversampling):
    sense, (maps, mask), x, _ = problem(case, shape, "points", readout_oversampling)
    height, width = shape[1:]
    top, bottom = (
        (height // 4 + 1, height - height // 2 - height // 4 - 1)
        if readout_oversampling
        else (0, 0)
    )
    full = np.pad(x, [(0, 0), (top, bottom), (0, 0)])
    expected = mask.numpy() * (
        fourier_matrix(height) @ (maps.numpy() * full[:, None]) @ fourier_matrix(width).T
    )
    np.testing.assert_allclose(sense.forward(x, maps, mask), expected, rtol=0, atol=1e-12)


def test_the_papers_readout_keeps_rows_161_to_480_of_640():
    maps = tf.reshape(tf.complex(tf.range(640.0), 0.0), [1, 1, 640, 1]) * tf.ones(
        [1, 1, 1, 3], tf.complex64
    )
    # One coil whose map is the number of the row: A^H of the spectrum of a flat image shows which
    # rows are kept.
    flat = Sense().forward(
        tf.ones([1, 640, 3], tf.complex64), tf.ones_like(maps), tf.ones([1, 1, 1, 3])
    )
    rows = tf.math.real(Sense(True).adjoint(flat, maps, tf.ones([1, 1, 1, 3])))[0, :, 0]
    np.testing.assert_allclose(rows, np.arange(161, 481), atol=1e-2)


@pytest.mark.slow_cases
@OPERATORS
@pytest.mark.parametrize("mask", ["columns", "points"])
def test_the_norm_is_at_most_one_for_maps_of_unit_root_sum_of_squares(
    case, mask, readout_oversampling
):
    sense, fixed, x, _ = problem(case, (3, 9, 8), mask, readout_oversampling)
    for _ in range(50):
        x = sense.normal(x / np.linalg.norm(x), *fixed)
    assert 0.5 < np.linalg.norm(x) <= 1 + 1e-12


@OPERATORS
@pytest.mark.parametrize("mask", MASKS)
def test_the_normal_operator_has_a_gradient_in_the_maps(case, mask, readout_oversampling):
    sense, (maps, weights), x, _ = problem(case, (2, 8, 6), mask, readout_oversampling)
    g, direction = tf.roll(x, 2, 1), tf.roll(maps, 1, 2)

    def value(maps):
        image = sense.normal(x, maps, weights)
        return tf.reduce_sum(tf.math.real(tf.math.conj(g) * image))

    with tf.GradientTape() as tape:
        tape.watch(maps)
        found = value(maps)
    gradient = tape.gradient(found, maps)
    step = 1e-4
    # It is a square of the maps: no third derivative.
    expected = (value(maps + step * direction) - value(maps - step * direction)) / (2 * step)
    along = tf.reduce_sum(tf.math.real(tf.math.conj(gradient) * direction))
    assert gradient.shape == maps.shape and abs(expected) > 1e-3
    np.testing.assert_allclose(along, expected, rtol=1e-8)


def test_one_set_of_maps_for_a_batch_has_the_sum_of_their_gradients(case):
    sense, (maps, mask), x, _ = problem(case, (2, 8, 6), "columns", batch=3)
    maps, mask = maps[:1], mask[:1]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(maps)
        values = [tf.reduce_sum(tf.abs(sense.normal(one, maps, mask))) for one in (x, *x[:, None])]
    gradients = [tape.gradient(one, maps) for one in values]
    assert gradients[0].shape == maps.shape
    np.testing.assert_allclose(gradients[0], sum(gradients[1:]), rtol=0, atol=1e-12)


def test_kspace_outside_the_mask_is_zero(case):
    sense, (maps, mask), x, _ = problem(case, (2, 8, 6), "points")
    outside = np.broadcast_to(mask.numpy() == 0, maps.shape)
    assert outside.any() and not sense.forward(x, maps, mask).numpy()[outside].any()


def test_one_mask_serves_the_whole_batch(case):
    sense, (maps, mask), x, y = problem(case, (2, 8, 6), "columns")
    for function, argument in ((sense.forward, x), (sense.adjoint, y), (sense.normal, x)):
        one, many = (
            function(argument, maps, mask[:1]),
            function(argument, maps, tf.repeat(mask[:1], 2, 0)),
        )
        np.testing.assert_array_equal(one, many)


def test_calling_the_layer_is_the_forward_operator(case):
    sense, fixed, x, _ = problem(case, (2, 8, 6))
    np.testing.assert_allclose(sense(x, *fixed), sense.forward(x, *fixed), rtol=0, atol=1e-14)


@pytest.mark.parametrize("mask", ["columns", "points"])
def test_numpy_arrays_are_accepted_as_tensors_are(case, mask):
    sense, fixed, x, y = problem(case, (2, 8, 6), mask)
    arrays = tuple(f.numpy() for f in fixed)
    for function, argument in ((sense.forward, x), (sense.adjoint, y), (sense.normal, x)):
        np.testing.assert_allclose(
            function(argument.numpy(), *arrays), function(argument, *fixed), rtol=0, atol=1e-14
        )


def test_the_configuration_survives_a_round_trip():
    assert Sense.from_config(Sense(True).get_config()).readout_oversampling is True


# Errors by their words


@OPERATORS
def test_what_would_be_broadcast_in_silence_is_refused(case, readout_oversampling):
    sense, (maps, mask), x, y = problem(case, (2, 8, 6), "points", readout_oversampling, batch=3)
    wrong = {
        "no batch": (x[0], y[0], maps[0], mask[0]),
        "batch": (x[:2], y[:2], maps, mask),
        "mask's batch": (x, y, maps, mask[:2]),
        "width": (x[:, :, :1], y[..., :1], maps, mask),
        "height": (x[:, 1:], y[:, :, 1:], maps, mask),
        "mask": (x, y, maps, mask[..., :1]),
        "mask's rank": (x, y, maps, mask[:, 0]),
        "mask's rows": (x, y, maps, mask[:, :, :3]),
        "a mask for each coil": (x, y, maps, tf.repeat(mask, 2, 1)),
    }
    for image, kspace, own_maps, own_mask in wrong.values():
        for function, argument in (
            (sense.forward, image),
            (sense.normal, image),
            (sense.adjoint, kspace),
        ):
            with pytest.raises(
                ValueError, match="do not fit. Received: (image|kspace).shape=.*mask.shape="
            ):
                function(argument, own_maps, own_mask)
    with pytest.raises(ValueError, match="do not fit. Received: kspace.shape"):
        sense.adjoint(y[:, :1], maps, mask)


def test_real_numbers_and_another_precision_are_refused(case):
    sense, (maps, mask), x, y = problem(case, (2, 8, 6))
    for function, argument in ((sense.forward, x), (sense.normal, x), (sense.adjoint, y)):
        for other in (tf.math.real(argument), tf.cast(argument, tf.complex64)):
            with pytest.raises(ValueError, match="must be complex, of one type. Received: "):
                function(other, maps, mask)
