import warnings

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfvn.data import DataWarning
from tfvn.physics.fourier import fft2c
from tfvn.physics.measurement import check, check_values
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


@OPERATORS
@pytest.mark.parametrize("mask", ["columns", "points"])
def test_the_norm_is_at_most_one_for_maps_of_unit_root_sum_of_squares(
    case, mask, readout_oversampling
):
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


# Noise


def draws(sense, fixed, count, first=0):
    """`count` draws of A^H e for the first sample of a case, (count, rows, width)."""
    maps, mask = (tf.repeat(x[:1], count, 0) for x in fixed)
    seeds = np.stack([np.arange(first, first + count), np.full(count, 7)], 1).astype(np.int32)
    return tf.function(sense.adjoint_noise)(maps, mask, tf.constant(seeds)).numpy()


@OPERATORS
@pytest.mark.parametrize("mask", MASKS)
def test_adjoint_noise_has_the_covariance_of_the_adjoint_of_white_kspace_noise(
    case, mask, readout_oversampling
):
    # E |<A^H e, v>|^2 = 2 <v, A^H A v> and E <A^H e, v>^2 = 0, for several v; 6 standard errors of
    # a mean of 2000.
    sense, fixed, _, _ = problem(case, (2, 8, 6), mask, readout_oversampling)
    noise = draws(sense, fixed, 2000)
    rng = np.random.default_rng(3)
    one = tuple(x[:1] for x in fixed)
    for _ in range(5):
        v = rng.standard_normal((1, *noise.shape[1:])) + 1j * rng.standard_normal(
            (1, *noise.shape[1:])
        )
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
    normal = (
        sense.normal(tf.constant(basis), *(tf.repeat(x[:1], 20, 0) for x in fixed))
        .numpy()
        .reshape(20, 20)
        .T
    )
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


@pytest.mark.parametrize(
    "noise, law",
    [
        ("gaussian", stats.norm()),
        ("uniform", stats.uniform(-(3**0.5), 12**0.5)),
        ("laplace", stats.laplace(0, 0.5**0.5)),
    ],
)
def test_kspace_noise_has_its_distribution_on_sampled_entries_and_is_nowhere_else(noise, law):
    # One coil with a map of 1: F A^H e is e.
    mask = np.zeros((1, 1, 1, 40))
    mask[..., ::3] = 1
    image = Sense(dtype="float64").adjoint_noise(
        np.ones((1, 1, 200, 40), complex), mask, tf.constant([[3, 1]]), noise
    )
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


LAWS = ["gaussian", "uniform", "laplace"]


@OPERATORS
@pytest.mark.parametrize("noise", LAWS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("shape", [(2, 8, 6), (3, 9, 7), (1, 12, 5)])
def test_one_draw_has_two_views(case, shape, mask, noise, readout_oversampling):
    # The noise in k-space is 0 where nothing is sampled, and its adjoint is the noise of the image.
    sense, (maps, mask), _, _ = problem(case, shape, mask, readout_oversampling, batch=3)
    seeds = tf.constant([[5, 0], [6, 0], [5, 1]])
    kspace = sense.kspace_noise(maps, mask, seeds, noise)
    assert kspace.shape == maps.shape and kspace.dtype == maps.dtype
    assert not np.any(kspace.numpy()[np.broadcast_to(mask == 0, maps.shape)])
    image = sense.adjoint_noise(maps, mask, seeds, noise)
    np.testing.assert_allclose(sense.adjoint(kspace, maps, mask), image, rtol=0, atol=1e-12)


@OPERATORS
@pytest.mark.parametrize(
    "noise, law",
    [
        ("gaussian", stats.norm()),
        ("uniform", stats.uniform(-(3**0.5), 12**0.5)),
        ("laplace", stats.laplace(0, 0.5**0.5)),
    ],
)
def test_noise_in_kspace_is_white_and_of_its_law_on_every_sampled_entry(
    noise, law, readout_oversampling
):
    mask = np.zeros((1, 1, 1, 40))
    mask[..., ::3] = 1
    sense = Sense(readout_oversampling, dtype="float64")
    kspace = sense.kspace_noise(
        np.ones((1, 2, 200, 40), complex), mask, tf.constant([[3, 1]]), noise
    ).numpy()
    sampled = kspace[0][..., mask[0, 0, 0] > 0]
    parts = np.concatenate([sampled.real.ravel(), sampled.imag.ravel()])
    assert stats.kstest(parts, law.cdf).pvalue > 1e-3
    assert parts.std() == pytest.approx(1, abs=0.05)
    pairs = [
        (sampled.real, sampled.imag),
        (sampled.real[:, 1:], sampled.real[:, :-1]),
        (sampled.real[0], sampled.real[1]),
    ]
    for pair in pairs:
        assert abs(np.corrcoef(*(x.ravel() for x in pair))[0, 1]) < 0.06


def test_noise_in_kspace_is_a_constant_to_gradients_and_compiles(case):
    sense, (maps, mask), _, _ = problem(case, (2, 8, 6))
    seeds = tf.constant([[5, 0], [6, 0]])
    traced = tf.function(sense.kspace_noise)(maps, mask, seeds)
    np.testing.assert_allclose(traced, sense.kspace_noise(maps, mask, seeds), rtol=0, atol=1e-12)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        value = tf.reduce_sum(tf.abs(sense.kspace_noise(maps, mask, seeds)))
    assert tape.gradient(value, maps) is None


# Errors by their words


@pytest.mark.parametrize("noise", ["pink", None, 3, ["gaussian"]])
def test_noise_of_another_law_is_refused(case, noise):
    sense, (maps, mask), _, _ = problem(case, (2, 8, 6))
    for view in (sense.adjoint_noise, sense.kspace_noise):
        with pytest.raises(ValueError, match="noise must be one of .*Received: noise="):
            view(maps, mask, tf.constant([[5, 0], [6, 0]]), noise)


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


@pytest.mark.parametrize("value", [None, 3, "kspace", np.ones(3), [1], ({}, 0)], ids=repr)
def test_inputs_that_are_no_dict_are_refused(value):
    with pytest.raises(
        ValueError,
        match="inputs must be a dict of the arrays kspace, sensitivity_maps and mask. Received: ",
    ):
        check(value)


@pytest.mark.parametrize(
    "name, value, told",
    [
        ("kspace", None, "kspace must be an array or a tensor. Received: kspace=None"),
        ("mask", [1, 0], "mask must be an array or a tensor. Received: mask="),
        ("sensitivity_maps", "maps.h5", "sensitivity_maps must be an array"),
        ("kspace", np.ones((1, 2, 24, 20), "float32"), "must be complex.*kspace.dtype=float32"),
        (
            "kspace",
            np.ones((1, 2, 24, 20), "complex128"),
            "all of one type.*kspace.dtype=complex128",
        ),
        ("mask", np.ones(20, "float32"), r"mask must have shape .*Received: mask.shape=\(20,\)"),
        ("mask", np.ones((1, 1, 1, 20), "complex64"), "mask must be real"),
        ("sample_index", np.array([0, 1]), "sample_index must be whole numbers of shape .batch,."),
        ("sample_index", np.array([0.5]), "sample_index must be whole numbers"),
        ("sample_index", 3, "sample_index must be an array"),
        ("noise_seed", np.array([1, 2, 3]), "noise_seed must be whole numbers of shape .2,."),
    ],
)
def test_an_input_of_another_kind_is_refused(case, name, value, told):
    with pytest.raises(ValueError, match=told):
        check({**case(), name: value})


def zero_filled(inputs):
    return Sense().adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])


@pytest.mark.parametrize("name", ["kspace", "sensitivity_maps"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_counted_and_placed(case, name, value):
    inputs = case(batch=3)
    inputs[name] = inputs[name].copy()
    inputs[name][1, 0, 3, 4:6] = value
    with pytest.raises(
        ValueError,
        match=(
            f"{name} must be finite. Received: 2 NaN or infinite of 2880 entries, the first in"
            " image 1"
        ),
    ):
        check_values(inputs, zero_filled(inputs))


@pytest.mark.parametrize("name", ["sensitivity_maps", "initial_image"])
def test_they_are_found_where_the_image_came_with_them(case, name):
    inputs = case()
    inputs["zero_filled"] = inputs["initial_image"] = zero_filled(inputs)
    inputs[name] = inputs[name] * np.complex64(np.nan)
    with pytest.raises(ValueError, match=f"{name} must be finite"):
        check_values(inputs, inputs["zero_filled"])


@pytest.mark.parametrize(
    "factor, told", [(255, "from 0 to 255"), (-1, "from -1 to -0"), (np.nan, "from nan to nan")]
)
def test_a_mask_of_other_numbers_than_zeros_and_ones_is_refused(case, factor, told):
    inputs = {**case(), "mask": factor * case()["mask"]}
    with pytest.raises(
        ValueError, match=f"mask must hold zeros and ones, 1 where sampled. Received: values {told}"
    ):
        check_values(inputs, zero_filled(case()))


def test_an_image_of_zeros_and_a_batch_without_images_are_refused(case):
    inputs = case(batch=2)
    with pytest.raises(
        ValueError, match="zero everywhere in image 1 of the batch.*Does the mask sample any"
    ):
        check_values(inputs, zero_filled(inputs) * np.array([1, 0], np.complex64)[:, None, None])
    with pytest.raises(
        ValueError, match=r"at least one image. Received: a batch of shape \(0, 24, 20\)"
    ):
        check_values(inputs, zero_filled(inputs)[:0])


@pytest.mark.parametrize(
    "scale, unit, warned",
    [
        (1, 1, False),
        (0.11, 1, False),
        (9, 1, False),
        (0.05, 1, True),
        (20, 1, True),
        (20, 10, False),
        (1, 255, True),
    ],
)
def test_a_scale_is_warned_of_if_it_is_ten_times_another(case, scale, unit, warned):
    image = scale * zero_filled(case(batch=2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_values(case(batch=2), image, unit)
    assert [issubclass(w.category, DataWarning) for w in caught] == [True] * warned


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float64", "float16"])
def test_a_mask_of_any_real_type_is_the_same_mask(case, dtype):
    for mask in ("columns", "points"):
        inputs = case(mask=mask)
        check_values({**inputs, "mask": inputs["mask"].astype(dtype)}, zero_filled(inputs))
        other = zero_filled({**inputs, "mask": inputs["mask"].astype(dtype)})
        np.testing.assert_array_equal(other, zero_filled(inputs))


@pytest.mark.parametrize("missing", ["kspace", "sensitivity_maps", "mask"])
def test_a_missing_input_is_named(case, missing):
    inputs = case()
    del inputs[missing]
    with pytest.raises(ValueError, match=rf"Missing: \['{missing}'\]"):
        check(inputs)


def test_zero_filled_stands_in_for_kspace(case):
    inputs = case()
    inputs["zero_filled"] = inputs.pop("kspace")[:, 0]
    check(inputs)


@pytest.mark.parametrize("name", ["kspace", "sensitivity_maps", "mask"])
def test_a_wrong_rank_is_refused(case, name):
    inputs = case()
    inputs[name] = inputs[name][0]
    with pytest.raises(
        ValueError,
        match=rf"{name} must have shape \(batch, .*Received: {name}.shape={_words(inputs[name])}",
    ):
        check(inputs)


@pytest.mark.parametrize("shape", [(1, 3, 24, 20), (1, 2, 23, 20), (1, 2, 24, 19), (2, 2, 24, 20)])
def test_kspace_of_another_scan_is_refused(case, shape):
    inputs = {**case(), "kspace": np.zeros(shape, np.complex64)}
    with pytest.raises(
        ValueError, match=rf"do not fit.*Received: kspace.shape={_words(inputs['kspace'])}"
    ):
        check(inputs)


@pytest.mark.parametrize("shape", [(1, 1, 1, 19), (1, 1, 23, 20), (1, 1, 24, 21)])
def test_a_mask_of_another_size_is_refused(case, shape):
    inputs = {**case(), "mask": np.ones(shape, np.float32)}
    with pytest.raises(
        ValueError, match=rf"mask .* do not fit.*Received: mask.shape={_words(inputs['mask'])}"
    ):
        check(inputs)


@pytest.mark.parametrize("shape", [(1, 2, 1, 20), (3, 1, 1, 20)])
def test_a_mask_of_every_coil_or_of_another_batch_is_refused(case, shape):
    inputs = {**case(batch=2), "mask": np.ones(shape, np.float32)}
    with pytest.raises(ValueError, match="mask must have shape"):
        check(inputs)


@pytest.mark.parametrize("name", ["zero_filled", "initial_image"])
@pytest.mark.parametrize("shape", [(1, 24, 19), (2, 24, 20)])
def test_an_image_of_another_scan_is_refused(case, name, shape):
    inputs = {**case(), name: np.zeros(shape, np.complex64)}
    with pytest.raises(ValueError, match=rf"{name}.*Received: {name}.shape={_words(inputs[name])}"):
        check(inputs)


def _words(array):
    return str(tuple(array.shape)).replace("(", r"\(").replace(")", r"\)")
