import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfvn.fourier import fft2c
from tfvn.operators import Sense, check_inputs

SHAPES = [(1, 8, 6), (3, 7, 5), (2, 9, 6), (4, 6, 7)]
MASKS = ["columns", "points", "weights"]
OPERATORS = pytest.mark.parametrize("readout_oversampling", [False, True])


def problem(case, shape, mask="columns", readout_oversampling=False, batch=2):
    """The operator, its arguments and a random image and k-space, in double precision."""
    coils, height, width = shape
    inputs = case(batch, coils, height, width, mask, "complex128")
    rows = height // 2 if readout_oversampling else height
    rng = np.random.default_rng(1)
    image = rng.standard_normal((batch, rows, width)) + 1j * rng.standard_normal((batch, rows, width))
    kspace = rng.standard_normal((batch, *shape)) + 1j * rng.standard_normal((batch, *shape))
    fixed = tuple(tf.constant(inputs[key]) for key in ("sensitivity_maps", "mask"))
    return Sense(readout_oversampling, dtype="float64"), fixed, tf.constant(image), tf.constant(kspace)


@OPERATORS
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_adjoint_are_adjoint(case, shape, mask, readout_oversampling):
    sense, fixed, x, y = problem(case, shape, mask, readout_oversampling)
    assert np.vdot(sense.forward(x, *fixed), y) == pytest.approx(np.vdot(x, sense.adjoint(y, *fixed)), rel=1e-12)


@OPERATORS
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_normal_is_adjoint_after_forward(case, shape, mask, readout_oversampling):
    sense, fixed, x, _ = problem(case, shape, mask, readout_oversampling)
    expected = sense.adjoint(sense.forward(x, *fixed), *fixed)
    np.testing.assert_allclose(sense.normal(x, *fixed), expected, rtol=0, atol=1e-12 * np.abs(x).max())


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
    top, bottom = (height // 4 + 1, height - height // 2 - height // 4 - 1) if readout_oversampling else (0, 0)
    full = np.pad(x, [(0, 0), (top, bottom), (0, 0)])
    expected = mask.numpy() * (fourier_matrix(height) @ (maps.numpy() * full[:, None]) @ fourier_matrix(width).T)
    np.testing.assert_allclose(sense.forward(x, maps, mask), expected, rtol=0, atol=1e-12)


def test_the_papers_readout_keeps_rows_161_to_480_of_640():
    maps = tf.reshape(tf.complex(tf.range(640.0), 0.0), [1, 1, 640, 1]) * tf.ones([1, 1, 1, 3], tf.complex64)
    # One coil whose map is the number of the row: A^H of the spectrum of a flat image shows which rows are kept.
    flat = Sense().forward(tf.ones([1, 640, 3], tf.complex64), tf.ones_like(maps), tf.ones([1, 1, 1, 3]))
    rows = tf.math.real(Sense(True).adjoint(flat, maps, tf.ones([1, 1, 1, 3])))[0, :, 0]
    np.testing.assert_allclose(rows, np.arange(161, 481), atol=1e-2)


@OPERATORS
@pytest.mark.parametrize("mask", ["columns", "points"])
def test_the_norm_is_at_most_one_for_maps_of_unit_root_sum_of_squares(case, mask, readout_oversampling):
    sense, fixed, x, _ = problem(case, (3, 9, 8), mask, readout_oversampling)
    for _ in range(50):
        x = sense.normal(x / np.linalg.norm(x), *fixed)
    assert 0.5 < np.linalg.norm(x) <= 1 + 1e-12


def test_kspace_outside_the_mask_is_zero(case):
    sense, (maps, mask), x, _ = problem(case, (2, 8, 6), "points")
    outside = np.broadcast_to(mask.numpy() == 0, maps.shape)
    assert outside.any() and not sense.forward(x, maps, mask).numpy()[outside].any()


def test_one_mask_serves_the_whole_batch(case):
    sense, (maps, mask), x, y = problem(case, (2, 8, 6), "columns")
    for function, argument in ((sense.forward, x), (sense.adjoint, y), (sense.normal, x)):
        one, many = function(argument, maps, mask[:1]), function(argument, maps, tf.repeat(mask[:1], 2, 0))
        np.testing.assert_array_equal(one, many)


def test_calling_the_layer_is_the_forward_operator(case):
    sense, fixed, x, _ = problem(case, (2, 8, 6))
    np.testing.assert_allclose(sense(x, *fixed), sense.forward(x, *fixed), rtol=0, atol=1e-14)


@pytest.mark.parametrize("mask", ["columns", "points"])
def test_numpy_arrays_are_accepted_as_tensors_are(case, mask):
    sense, fixed, x, y = problem(case, (2, 8, 6), mask)
    arrays = tuple(f.numpy() for f in fixed)
    for function, argument in ((sense.forward, x), (sense.adjoint, y), (sense.normal, x)):
        np.testing.assert_allclose(function(argument.numpy(), *arrays), function(argument, *fixed), rtol=0, atol=1e-14)


def test_the_configuration_survives_a_round_trip():
    assert Sense.from_config(Sense(True).get_config()).readout_oversampling is True


# Noise


def draws(sense, fixed, count, first=0):
    """`count` draws of A^H e for the first sample of a case, (count, rows, width)."""
    maps, mask = (tf.repeat(x[:1], count, 0) for x in fixed)
    seeds = np.stack([np.arange(first, first + count), np.full(count, 7)], 1).astype(np.int32)
    return tf.function(sense.adjoint_noise)(maps, mask, tf.constant(seeds)).numpy()


@OPERATORS
@pytest.mark.parametrize("mask", MASKS)
def test_adjoint_noise_has_the_covariance_of_the_adjoint_of_white_kspace_noise(case, mask, readout_oversampling):
    # E |<A^H e, v>|^2 = 2 <v, A^H A v> and E <A^H e, v>^2 = 0, for several v; 6 standard errors of a mean of 2000.
    sense, fixed, _, _ = problem(case, (2, 8, 6), mask, readout_oversampling)
    noise = draws(sense, fixed, 2000)
    rng = np.random.default_rng(3)
    one = tuple(x[:1] for x in fixed)
    for _ in range(5):
        v = rng.standard_normal((1, *noise.shape[1:])) + 1j * rng.standard_normal((1, *noise.shape[1:]))
        products = (np.conj(noise) * v).sum((1, 2))
        expected = 2 * np.vdot(v, sense.normal(tf.constant(v), *one)).real
        assert np.mean(np.abs(products) ** 2) == pytest.approx(expected, rel=6 / np.sqrt(2000))
        assert abs(np.mean(products**2)) < 6 / np.sqrt(2000) * expected
        assert abs(np.mean(products)) < 6 / np.sqrt(2000) * np.sqrt(expected)


def test_adjoint_noise_correlates_pixels_as_explicit_kspace_noise_does(case):
    # The whole covariance matrix, against A^H A column by column.
    sense, fixed, _, _ = problem(case, (2, 4, 5), "columns")
    noise = draws(sense, fixed, 5000).reshape(5000, 20)
    basis = np.eye(20, dtype=complex).reshape(20, 4, 5)
    normal = sense.normal(tf.constant(basis), *(tf.repeat(x[:1], 20, 0) for x in fixed)).numpy().reshape(20, 20).T
    covariance = np.einsum("na,nb->ab", noise, np.conj(noise)) / len(noise)
    np.testing.assert_allclose(covariance, 2 * normal, atol=6 * 2 / np.sqrt(5000))


@pytest.mark.parametrize("mask", ["columns", "points"])
def test_a_samples_noise_depends_on_its_own_seed_alone(case, mask):
    sense, (maps, mask), _, _ = problem(case, (2, 8, 6), mask, batch=3)
    seeds = np.array([[5, 0], [6, 0], [5, 1]], np.int32)
    together = sense.adjoint_noise(maps, mask, tf.constant(seeds))
    for i in range(3):
        alone = sense.adjoint_noise(maps[i : i + 1], mask[i : i + 1], tf.constant(seeds[i : i + 1]))
        np.testing.assert_allclose(alone[0], together[i], rtol=0, atol=1e-14)


@pytest.mark.parametrize("noise, law", [("gaussian", stats.norm()), ("uniform", stats.uniform(-3**0.5, 12**0.5)), ("laplace", stats.laplace(0, 0.5**0.5))])
def test_kspace_noise_has_its_distribution_on_sampled_entries_and_is_nowhere_else(noise, law):
    # One coil with a map of 1: F A^H e is e.
    mask = np.zeros((1, 1, 1, 40))
    mask[..., ::3] = 1
    image = Sense(dtype="float64").adjoint_noise(np.ones((1, 1, 200, 40), complex), mask, tf.constant([[3, 1]]), noise)
    kspace = fft2c(image)[0].numpy()
    sampled = kspace[:, mask[0, 0, 0] > 0]
    assert np.abs(kspace[:, mask[0, 0, 0] == 0]).max() < 1e-12
    parts = np.concatenate([sampled.real.ravel(), sampled.imag.ravel()])
    assert stats.kstest(parts, law.cdf).pvalue > 1e-3
    assert parts.std() == pytest.approx(1, abs=0.05)
    # Neighbours, and real and imaginary part, know nothing of each other.
    for pair in ((sampled.real, sampled.imag), (sampled.real[1:], sampled.real[:-1])):
        assert abs(np.corrcoef(*(x.ravel() for x in pair))[0, 1]) < 0.06


def test_different_seeds_give_independent_noise(case):
    sense, fixed, _, _ = problem(case, (2, 16, 12))
    a, b = draws(sense, fixed, 200), draws(sense, fixed, 200, first=200)
    correlation = np.abs(np.vdot(a, b)) / np.vdot(a, a).real
    assert correlation < 0.05


def test_the_same_seeds_give_the_same_noise(case):
    sense, fixed, _, _ = problem(case, (2, 8, 6))
    np.testing.assert_array_equal(draws(sense, fixed, 3), draws(sense, fixed, 3))


# Errors by their words


@pytest.mark.parametrize("missing", ["kspace", "sensitivity_maps", "mask"])
def test_a_missing_input_is_named(case, missing):
    inputs = case()
    del inputs[missing]
    with pytest.raises(ValueError, match=rf"Missing: \['{missing}'\]"):
        check_inputs(inputs)


def test_zero_filled_stands_in_for_kspace(case):
    inputs = case()
    inputs["zero_filled"] = inputs.pop("kspace")[:, 0]
    check_inputs(inputs)


@pytest.mark.parametrize("name", ["kspace", "sensitivity_maps", "mask"])
def test_a_wrong_rank_is_refused(case, name):
    inputs = case()
    inputs[name] = inputs[name][0]
    with pytest.raises(ValueError, match=rf"{name} must have shape \(batch, .*Received: {name}.shape={_words(inputs[name])}"):
        check_inputs(inputs)


@pytest.mark.parametrize("shape", [(1, 3, 24, 20), (1, 2, 23, 20), (1, 2, 24, 19), (2, 2, 24, 20)])
def test_kspace_of_another_scan_is_refused(case, shape):
    inputs = {**case(), "kspace": np.zeros(shape, np.complex64)}
    with pytest.raises(ValueError, match=rf"do not fit.*Received: kspace.shape={_words(inputs['kspace'])}"):
        check_inputs(inputs)


@pytest.mark.parametrize("shape", [(1, 1, 1, 19), (1, 1, 23, 20), (1, 1, 24, 21)])
def test_a_mask_of_another_size_is_refused(case, shape):
    inputs = {**case(), "mask": np.ones(shape, np.float32)}
    with pytest.raises(ValueError, match=rf"mask .* do not fit.*Received: mask.shape={_words(inputs['mask'])}"):
        check_inputs(inputs)


@pytest.mark.parametrize("shape", [(1, 2, 1, 20), (3, 1, 1, 20)])
def test_a_mask_of_every_coil_or_of_another_batch_is_refused(case, shape):
    inputs = {**case(batch=2), "mask": np.ones(shape, np.float32)}
    with pytest.raises(ValueError, match="mask must have shape"):
        check_inputs(inputs)


@pytest.mark.parametrize("name", ["zero_filled", "initial_image"])
@pytest.mark.parametrize("shape", [(1, 24, 19), (2, 24, 20)])
def test_an_image_of_another_scan_is_refused(case, name, shape):
    inputs = {**case(), name: np.zeros(shape, np.complex64)}
    with pytest.raises(ValueError, match=rf"{name}.*Received: {name}.shape={_words(inputs[name])}"):
        check_inputs(inputs)


def _words(array):
    return str(tuple(array.shape)).replace("(", r"\(").replace(")", r"\)")
