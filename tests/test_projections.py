import numpy as np
import pytest
import tensorflow as tf

from tfvn.projections import (
    BALLS,
    l1_ball,
    l2_ball,
    linf_ball,
    non_negative,
    norm,
    zero_mean_unit_ball,
    zero_mean_unit_sphere,
)


def kernel(scale=1.0, seed=0):
    return tf.constant(scale * np.random.default_rng(seed).standard_normal((5, 5, 2, 4)))


def norms(x):
    return np.sqrt((np.abs(x) ** 2).sum((0, 1, 2)))


def test_filters_have_zero_mean_over_taps_and_channels():
    np.testing.assert_allclose(np.mean(zero_mean_unit_ball(kernel()), (0, 1, 2)), 0, atol=1e-15)


def test_a_channel_alone_may_have_a_mean():
    assert np.abs(np.mean(zero_mean_unit_ball(kernel()), (0, 1))).max() > 1e-3


def test_long_filters_end_on_the_sphere():
    np.testing.assert_allclose(norms(zero_mean_unit_ball(kernel(10))), 1, rtol=1e-12)


def test_short_filters_only_lose_their_mean():
    short = kernel(0.01)
    np.testing.assert_allclose(
        zero_mean_unit_ball(short), short - np.mean(short, (0, 1, 2)), rtol=0, atol=1e-16
    )


def test_each_filter_is_scaled_on_its_own():
    mixed = tf.concat([kernel(10)[..., :2], kernel(0.01)[..., 2:]], -1)
    projected = norms(zero_mean_unit_ball(mixed))
    np.testing.assert_allclose(projected[:2], 1, rtol=1e-12)
    assert (projected[2:] < 0.2).all()


@pytest.mark.parametrize("scale", [0.01, 1, 100])
def test_the_filter_projection_is_idempotent(scale):
    once = zero_mean_unit_ball(kernel(scale))
    np.testing.assert_allclose(zero_mean_unit_ball(once), once, rtol=0, atol=1e-15)


def test_the_filter_projection_is_the_nearest_feasible_point():
    # <x - P x, y - P x> <= 0 for every feasible y characterises the projection on a convex set.
    x = kernel(3).numpy()
    projected = zero_mean_unit_ball(x).numpy()
    for seed in range(20):
        y = zero_mean_unit_ball(kernel(seed % 3, seed=seed + 1)).numpy()
        assert ((x - projected) * (y - projected)).sum((0, 1, 2)).max() <= 1e-12


def test_a_linear_function_is_largest_at_the_zero_mean_sphere_point_of_its_gradient():
    gradient = kernel(3).numpy()
    gradient[..., 3] = 2.0
    vertex = zero_mean_unit_sphere(gradient).numpy()
    np.testing.assert_allclose(norms(vertex), [1, 1, 1, 0], rtol=1e-12)
    np.testing.assert_allclose(zero_mean_unit_ball(vertex), vertex, rtol=0, atol=1e-15)
    for seed in range(20):
        other = zero_mean_unit_ball(kernel(10, seed)).numpy()
        assert ((gradient * (vertex - other)).sum((0, 1, 2)) >= -1e-12).all()


def test_a_constant_filter_becomes_zero():
    assert not zero_mean_unit_ball(tf.ones([3, 3, 2, 1])).numpy().any()


def test_negative_entries_become_zero_and_others_stay():
    np.testing.assert_array_equal(non_negative(tf.constant([-2.0, -0.0, 0.0, 3.0])), [0, 0, 0, 3])


def images(dtype="complex64", shape=(3, 12, 10)):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return tf.constant(x if "complex" in dtype else x.real, dtype)


def lengths(x):
    return np.linalg.norm(np.reshape(np.asarray(x, np.complex128), (len(x), -1)), axis=1)


@pytest.mark.parametrize("dtype", ["complex64", "float32", "complex128"])
def test_the_ball_leaves_the_inside_alone(dtype):
    x = images(dtype)
    np.testing.assert_array_equal(l2_ball(x, 100.0), x)


@pytest.mark.parametrize(
    "dtype, tolerance", [("complex64", 1e-6), ("float32", 1e-6), ("complex128", 1e-14)]
)
def test_the_ball_puts_the_outside_on_the_sphere_in_the_same_direction(dtype, tolerance):
    x = images(dtype)
    projected = l2_ball(x, 0.1)
    np.testing.assert_allclose(lengths(projected), 0.1, rtol=tolerance)
    np.testing.assert_allclose(
        projected, x * (0.1 / lengths(x))[:, None, None], rtol=0, atol=tolerance
    )


def test_each_image_has_its_own_norm_and_radius():
    x = images("complex128")
    radii = np.array([0.5, 1e3, 0.0])
    np.testing.assert_allclose(
        lengths(l2_ball(x, radii)), np.minimum(radii, lengths(x)), rtol=1e-14
    )


def test_a_ball_of_radius_zero_holds_zero_alone():
    assert not l2_ball(images(), 0.0).numpy().any()


def test_a_zero_image_stays_zero():
    assert not l2_ball(tf.zeros([2, 4, 4], tf.complex64), 1.0).numpy().any()


def test_single_precision_keeps_a_full_size_image_within_a_millionth_of_the_radius():
    # The attack's margin against rounding is 1e-6 of the radius.
    x = images(shape=(1, 640, 368))
    assert lengths(l2_ball(x, 3.5))[0] <= 3.5 * (1 + 1e-6)


# Balls in other norms


def complex_batch(scale=1.0):
    rng = np.random.default_rng(8)
    return (scale * (rng.standard_normal((3, 5, 4)) + 1j * rng.standard_normal((3, 5, 4)))).astype(
        np.complex64
    )


def parts(image):
    return np.stack([image.real, image.imag], -1).reshape(len(image), -1).astype(float)


@pytest.mark.parametrize("kind, order", [("l2", 2), ("l1", 1), ("linf", np.inf)])
def test_norms_are_those_of_the_real_and_imaginary_parts(kind, order):
    images = complex_batch()
    np.testing.assert_allclose(
        norm(images, kind), np.linalg.norm(parts(images), order, axis=1), rtol=1e-6
    )


@pytest.mark.parametrize("kind", BALLS)
@pytest.mark.parametrize("radius", [0.0, 0.3, 3.0])
def test_points_end_inside_the_ball_and_stay_there(kind, radius):
    projected = BALLS[kind](tf.constant(complex_batch()), radius)
    assert (
        projected.dtype == tf.complex64
        and (norm(projected, kind).numpy() <= radius * (1 + 1e-6)).all()
    )
    np.testing.assert_allclose(BALLS[kind](projected, radius), projected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", BALLS)
def test_points_inside_come_back_bit_for_bit(kind):
    images = tf.constant(complex_batch(1e-3))
    np.testing.assert_array_equal(BALLS[kind](images, 1.0), images)


@pytest.mark.parametrize("project, kind", [(l1_ball, "l1"), (linf_ball, "linf")])
def test_no_point_of_the_ball_is_nearer(project, kind):
    images, radius = complex_batch(), 2.0
    projected = parts(project(tf.constant(images), radius).numpy())
    rng = np.random.default_rng(1)
    others = rng.standard_normal((2000, *projected.shape)) * rng.choice(
        [0.01, 0.1, 1], (2000, 1, 1)
    )
    # Neighbours of the projection itself, made feasible, are the sharpest rivals.
    for candidate in projected + others:
        scale = (
            np.linalg.norm(candidate, {"l1": 1, "linf": np.inf}[kind], axis=1, keepdims=True)
            / radius
        )
        candidate = candidate / np.maximum(scale, 1)
        nearer = (
            np.linalg.norm(candidate - parts(images), axis=1)
            < np.linalg.norm(projected - parts(images), axis=1) - 1e-5
        )
        assert not nearer.any()


def test_a_long_vector_ends_on_the_l1_sphere():
    # In single precision the sum alone would be wrong by more.
    image = np.random.default_rng(0).standard_normal((1, 640, 368)).astype(np.float32)
    projected = l1_ball(tf.constant(image), 100.0).numpy()
    assert np.abs(projected.astype(float)).sum() == pytest.approx(100, rel=1e-6)


@pytest.mark.parametrize("kind", BALLS)
def test_samples_are_projected_on_their_own(kind):
    images = complex_batch()
    images[0] *= 100
    np.testing.assert_array_equal(
        BALLS[kind](tf.constant(images), 2.0)[1:], BALLS[kind](tf.constant(images[1:]), 2.0)
    )


# What is given


@pytest.mark.parametrize("ball", BALLS.values(), ids=BALLS)
@pytest.mark.parametrize(
    "radius", [-0.1, float("nan"), "1", None, True, [1.0, 2.0, 3.0], 1j], ids=repr
)
def test_a_radius_is_a_number_that_is_not_negative(ball, radius):
    with pytest.raises(ValueError, match="radius must be a number >= 0.*Received: radius="):
        ball(np.ones((2, 4)), radius)


@pytest.mark.parametrize("name", ["l1", "linf"])
def test_one_radius_serves_all_samples_of_the_other_balls(name):
    # Broadcast, it would be one of each column.
    with pytest.raises(ValueError, match="radius must be a number >= 0. Received"):
        BALLS[name](np.ones((2, 2)), np.ones(2))


@pytest.mark.parametrize("function", [*(lambda x, b=b: b(x, 1.0) for b in BALLS.values()), norm])
@pytest.mark.parametrize(
    "image", [np.ones((2, 3), int), "image", None, 3.0, np.ones(2, bool)], ids=repr
)
def test_an_image_is_of_real_or_complex_numbers(function, image):
    with pytest.raises(
        ValueError, match="image must be real or complex numbers of shape .*Received: image="
    ):
        function(image)


@pytest.mark.parametrize("kind", ["l3", None, 2, ["l2"]])
def test_an_unknown_norm_is_refused(kind):
    with pytest.raises(ValueError, match="kind must be one of .*Received: kind="):
        norm(np.ones((2, 3)), kind)


@pytest.mark.parametrize("project", [zero_mean_unit_ball, zero_mean_unit_sphere])
@pytest.mark.parametrize(
    "kernel", [np.ones((3, 3)), np.ones((1, 3, 3, 2, 4)), None, [1.0]], ids=repr
)
def test_filters_have_four_axes(project, kernel):
    with pytest.raises(
        ValueError,
        match=r"kernel must be an array of shape \(height, width, channels, filters\). Received: ",
    ):
        project(kernel)


@pytest.mark.slow
def test_radius_and_batch_may_be_unknown_in_a_graph():
    for name, ball in BALLS.items():
        signature = [tf.TensorSpec([None, None]), tf.TensorSpec([])]
        traced = tf.function(ball, input_signature=signature)
        np.testing.assert_allclose(
            traced(np.ones((2, 4), "f"), 0.5), ball(np.ones((2, 4), "f"), 0.5), err_msg=name
        )
