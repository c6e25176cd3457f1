"""Plain arrays to the inputs of a model: any scale, any form of a mask, and nothing wrong in
silence.
"""

import numpy as np
import pytest

import tfvn
from tfvn.data import DataWarning, SyntheticKnee, normalise, prepare
from tfvn.physics import masks

HEIGHT, WIDTH, COILS = 40, 32, 3
LINES = masks.equispaced(WIDTH, 2, 0.25)
POINTS = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.6
POINTS[HEIGHT // 2 - 4 :][:8, WIDTH // 2 - 4 :][:, :8] = True


@pytest.fixture(scope="module")
def knees():
    source = SyntheticKnee(2, HEIGHT, WIDTH, COILS, None, 0.0005, 1)
    return [source[index] for index in range(2)]


@pytest.fixture(scope="module")
def network():
    return tfvn.models.variational.VariationalNetwork(1, 3, 3, 11)


@pytest.mark.parametrize("units", [1e-6, 1, 1e6])
def test_arrays_in_any_units_become_what_normalise_makes_of_a_slice(knees, units):
    kspace, maps = (
        np.stack([getattr(knee, name) for knee in knees]) for name in ("kspace", "sensitivity_maps")
    )
    inputs, scale = prepare(kspace * units, maps, LINES)
    for index, knee in enumerate(knees):
        expected, theirs = normalise(
            knee._replace(kspace=knee.kspace * LINES, mask=LINES[None, None]), ""
        )
        np.testing.assert_allclose(inputs["kspace"][index], expected.kspace, rtol=1e-4, atol=1e-7)
        assert scale[index] == pytest.approx(theirs * units, rel=1e-5)
    assert {name: (array.shape, str(array.dtype)) for name, array in inputs.items()} == {
        "kspace": ((2, COILS, HEIGHT, WIDTH), "complex64"),
        "sensitivity_maps": ((2, COILS, HEIGHT, WIDTH), "complex64"),
        "mask": ((2, 1, 1, WIDTH), "float32"),
        "sample_index": ((2,), "int32"),
    }


@pytest.mark.slow
@pytest.mark.one_stack
def test_network_attack_and_smoothing_take_the_result(knees, network):
    inputs, scale = prepare(knees[0].kspace * 1e-5, mask=LINES)
    largest = np.abs(network.zero_filled(inputs)).max()
    assert largest == pytest.approx(1, rel=1e-5)
    attack = tfvn.attacks.ProjectedGradientAscent(steps=2).run(network, inputs, 0.5)
    assert 0 < np.linalg.norm(attack.perturbation) <= 0.5 + 1e-5
    smoothed = tfvn.defences.smoothing.Smoothed(network, sigma=0.05, num_samples=2)
    assert (smoothed.reconstruct(inputs) * scale[:, None, None]).shape == (1, HEIGHT, WIDTH)


MASKS = {
    "vector": LINES,
    "bool": LINES > 0,
    "integers": LINES.astype(int),
    "row": LINES[None],
    "column": LINES[:, None],
    "as a network takes it": LINES[None, None, None],
    "one a slice": np.stack([LINES[None, None]] * 2),
    "a vector a slice": np.stack([LINES] * 2),
    "whole": np.repeat(LINES[None], HEIGHT, 0),
    "list": LINES.tolist(),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_a_mask_of_any_form_is_the_same_mask(knees, mask):
    kspace = np.stack([knee.kspace for knee in knees])
    inputs, _ = prepare(kspace, mask=mask)
    np.testing.assert_array_equal(inputs["mask"], np.broadcast_to(LINES, (2, 1, 1, WIDTH)))
    np.testing.assert_array_equal(inputs["kspace"] != 0, (kspace * LINES) != 0)


def test_without_a_mask_it_is_what_was_measured(knees):
    for mask in (LINES, POINTS, np.ones(WIDTH)):
        inputs, _ = prepare(knees[0].kspace * mask)
        np.testing.assert_array_equal(
            np.broadcast_to(inputs["mask"], (1, 1, HEIGHT, WIDTH))[0, 0],
            np.atleast_2d(mask) + np.zeros((HEIGHT, 1)),
        )


def test_slices_may_have_masks_of_lines_and_of_points(knees):
    inputs, _ = prepare(np.stack([knees[0].kspace * LINES, knees[1].kspace * POINTS]))
    assert inputs["mask"].shape == (2, 1, HEIGHT, WIDTH)


def test_maps_do_not_see_what_the_mask_removes(knees):
    kspace = knees[0].kspace
    inputs, scale = prepare(kspace, mask=LINES)
    others = prepare(kspace * np.where(LINES > 0, 1, 2).astype(np.float32), mask=LINES)
    np.testing.assert_array_equal(inputs["sensitivity_maps"], others[0]["sensitivity_maps"])
    np.testing.assert_array_equal(scale, others[1])


def test_one_set_of_maps_serves_all_slices(knees):
    kspace = np.stack([knees[0].kspace] * 2)
    inputs, _ = prepare(kspace, knees[0].sensitivity_maps)
    np.testing.assert_array_equal(inputs["sensitivity_maps"][1], knees[0].sensitivity_maps)


@pytest.mark.parametrize("name", ["kspace", "sensitivity_maps"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_refused(knees, name, value):
    arrays = {key: getattr(knees[0], key).copy() for key in ("kspace", "sensitivity_maps")}
    arrays[name][0, 3, 3] = value
    with pytest.raises(
        ValueError, match=f"slice 0: {name} must be finite. Received: 1 NaN or infinite"
    ):
        prepare(**arrays)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            dict(kspace=np.ones((3, 40, 32))),
            r"kspace must be complex.* Received: float64 array of shape \(3, 40, 32\)",
        ),
        (
            dict(kspace=np.ones((40, 32), complex)),
            r"kspace.shape=\(40, 32\). One coil is an axis of length 1",
        ),
        (dict(kspace=np.zeros((3, 40, 32), complex)), "slice 0: kspace is zero everywhere"),
        (dict(kspace=np.ones((0, 3, 40, 32), complex)), r"kspace.shape=\(0, 3, 40, 32\)"),
        (
            dict(sensitivity_maps=np.ones((2, 40, 32), complex)),
            r"sensitivity_maps.shape=\(2, 40, 32\), kspace.shape",
        ),
        (dict(mask=np.ones((32, 40))), "transpose the mask"),
        (dict(mask=np.full(32, 0.5)), "a mask holds zeros and at least one 1"),
        (dict(mask=np.full(32, np.nan)), "a mask holds zeros and at least one 1"),
        (
            dict(mask=masks.equispaced(32, 8, 0)),
            "slice 0: an estimate of coil maps needs 4 centre lines",
        ),
    ],
)
def test_what_cannot_be_prepared_is_refused(knees, change, message):
    with pytest.raises(ValueError, match=message):
        prepare(**{"kspace": knees[0].kspace, **change})


def test_lines_that_hold_nothing_are_told(knees):
    mask = LINES.copy()
    mask[np.flatnonzero(LINES == 0)[:2]] = 1
    with pytest.warns(
        DataWarning,
        match="slice 0: .*% of the positions that the mask samples are zero in all coils",
    ):
        prepare(knees[0].kspace * LINES, mask=mask)
    with pytest.raises(
        ValueError,
        match="slice 0: .*% of the positions that the mask samples are zero in all coils",
    ):
        prepare(knees[0].kspace * LINES, mask=np.ones_like(LINES))


def test_points_that_hold_nothing_are_told_too(knees):
    kspace = knees[0].kspace
    points = np.random.default_rng(0).random(kspace.shape[1:]) < 0.6
    with pytest.raises(
        ValueError, match="4.*% of the positions that the mask samples are zero in all coils"
    ):
        prepare(kspace * points, knees[0].sensitivity_maps, np.ones(WIDTH))


def test_a_mask_that_may_be_one_or_several_is_refused(knees):
    batch = np.stack([knees[0].kspace] * HEIGHT)
    with pytest.raises(
        ValueError, match="may be one of .height, width., or one of .width,. for each of"
    ):
        prepare(batch, mask=np.ones((HEIGHT, WIDTH)))


@pytest.mark.parametrize("factor", [1e-30, 1e-22, 1e25])
def test_units_change_nothing(knees, factor):
    inputs, scale = prepare(knees[0].kspace * LINES)
    other, other_scale = prepare(np.complex64(factor * knees[0].kspace * LINES))
    np.testing.assert_allclose(other["sensitivity_maps"], inputs["sensitivity_maps"], atol=1e-5)
    assert other_scale == pytest.approx(factor * scale, rel=1e-4)


def test_images_of_oversampled_scans_have_half_of_the_height(knees):
    inputs, scale = prepare(knees[0].kspace, mask=LINES, readout_oversampling=True)
    image = tfvn.physics.sense.Sense(True).adjoint(
        inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"]
    )
    assert image.shape == (1, HEIGHT // 2, WIDTH) and np.abs(image).max() == pytest.approx(
        1, rel=1e-5
    )
