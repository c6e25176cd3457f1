"""The dict of a measurement: what is refused, and how it is changed."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
from test_sense import MASKS, OPERATORS

from tfvn.data import DataWarning
from tfvn.physics import measurement, noise
from tfvn.physics.measurement import check
from tfvn.physics.sense import Sense
from tfvn.physics.values import check_values


@pytest.mark.slow_cases
@OPERATORS
@pytest.mark.parametrize("mask", MASKS)
def test_a_change_of_the_measurement_is_one_in_both_views(case, mask, readout_oversampling):
    inputs = case(2, mask=mask, dtype="complex128", readout_oversampling=readout_oversampling)
    sense = Sense(readout_oversampling, dtype="float64")
    views = [measurement.read_as(sense, inputs, reads) for reads in ("kspace", "zero_filled")]
    r = tf.constant(1j * np.abs(measurement.zero_filled(sense, inputs)))
    keys = noise.keys(3, noise.SMOOTHING, [4, 7])
    perturbed = [measurement.perturbed(sense, view, r) for view in views]
    noisy = [measurement.noisy(sense, view, 0.1, keys) for view in views]
    for changed in (perturbed, noisy):
        images = [measurement.zero_filled(sense, view) for view in changed]
        np.testing.assert_allclose(images[0], images[1], rtol=0, atol=1e-12)
        assert np.abs(images[0] - measurement.zero_filled(sense, views[0])).max() > 1e-3
    assert "zero_filled" not in perturbed[0] and "kspace" not in perturbed[1]


def test_a_model_is_handed_over_what_it_reads_and_no_more(case):
    inputs = {**case(), "sample_index": np.array([3]), "scale": np.array([1.0])}
    maps, mask = inputs["sensitivity_maps"], inputs["mask"]
    image = Sense().adjoint(inputs["kspace"], maps, mask)
    found = measurement.read_as(Sense(), inputs, "zero_filled")
    assert sorted(found) == ["mask", "sensitivity_maps", "zero_filled"]
    np.testing.assert_array_equal(found["zero_filled"], image)
    given = measurement.read_as(Sense(), {**inputs, "zero_filled": 2 * image}, "zero_filled")
    np.testing.assert_array_equal(given["zero_filled"], 2 * image)
    found = measurement.read_as(Sense(), {**inputs, "initial_image": image}, "kspace")
    assert sorted(found) == ["initial_image", "kspace", "mask", "sensitivity_maps"]
    assert measurement.measured_keys(found) == ["kspace", "initial_image"]


@pytest.mark.parametrize("mask", MASKS)
def test_where_nothing_is_empty_the_whole_mask_was_measured(case, mask):
    inputs = case(2, mask=mask)
    np.testing.assert_array_equal(measurement.without_padding(inputs), inputs["mask"])
    without = {"mask": inputs["mask"]}
    np.testing.assert_array_equal(measurement.without_padding(without), inputs["mask"])


def test_lines_of_zeros_were_not_measured_whatever_the_mask_says(case):
    inputs = case(2)
    everywhere = {**inputs, "mask": np.ones([1, 1, 1, 20], np.float32)}
    np.testing.assert_array_equal(measurement.without_padding(everywhere), inputs["mask"])
    points = {**inputs, "mask": np.ones([2, 1, 24, 20], np.float32)}
    expected = np.broadcast_to(inputs["mask"], (2, 1, 24, 20))
    np.testing.assert_array_equal(measurement.without_padding(points), expected)


def test_other_maps_and_another_mask_make_one_measurement_in_both_views(case):
    inputs, sense = case(2, dtype="complex128"), Sense(dtype="float64")
    views = [measurement.read_as(sense, inputs, reads) for reads in ("kspace", "zero_filled")]
    kspace, maps = inputs["kspace"], inputs["sensitivity_maps"][:, ::-1]
    mask = inputs["mask"] * (np.arange(20) != np.flatnonzero(inputs["mask"])[0] % 20)
    for change, new in ((measurement.with_maps, maps), (measurement.with_mask, mask)):
        changed = [change(sense, view, new, kspace) for view in views]
        images = [measurement.zero_filled(sense, view) for view in changed]
        np.testing.assert_allclose(images[0], images[1], rtol=0, atol=1e-12)
        assert np.abs(images[0] - measurement.zero_filled(sense, inputs)).max() > 1e-3
        assert [set(view) for view in changed] == [set(view) for view in views]


def test_a_stopped_measurement_is_the_same_one_without_a_gradient(case):
    inputs = {name: tf.constant(array) for name, array in case().items()}
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        stopped = measurement.stopped(inputs)
    np.testing.assert_array_equal(stopped["kspace"], inputs["kspace"])
    sources = [inputs["kspace"], inputs["sensitivity_maps"]]
    found = tape.gradient([stopped["kspace"], stopped["sensitivity_maps"]], sources)
    assert found[0] is None and found[1] is not None


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


def test_a_standard_deviation_keeps_its_digits_in_double_precision(case):
    inputs, sense = case(dtype="complex128"), Sense(dtype="float64")
    view = {key: tf.constant(x) for key, x in measurement.read_as(sense, inputs, "kspace").items()}
    key = noise.keys(3, noise.SMOOTHING, [4])
    whole = measurement.noisy(sense, view, 1.0, key)["kspace"] - view["kspace"]
    part = measurement.noisy(sense, view, 0.1, key)["kspace"] - view["kspace"]
    np.testing.assert_allclose(part, 0.1 * whole, rtol=0, atol=1e-14)
