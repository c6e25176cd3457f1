"""The convex ridge regulariser: its answer is the minimum, its gradients are those of the minimum,
and its constants hold with what the solver is off by.
"""

import numpy as np
import pytest
import tensorflow as tf

from tfvn.attacks import PowerIteration
from tfvn.models import CGSense, ConvexRidge
from tfvn.models.regulariser import Regulariser

SMALL = dict(mu=1.0, filters=3, kernel_size=3, num_pieces=4, reach=0.5, strength=2.0)
EXACT = dict(tolerance=1e-11, training_tolerance=1e-11, gradient_tolerance=1e-11)


def perturbed(model, seed, size=0.2):
    """The model, with normal numbers added to all its weights."""
    rng = np.random.default_rng(seed)
    model.set_weights([w + size * rng.standard_normal(w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def exact(case):
    """A model in double precision that ends at the minimum, and its inputs."""
    model = perturbed(ConvexRidge(**SMALL, **EXACT, dtype="float64"), 0)
    return model, model.measured(case(2, dtype="complex128"))


def slope_of(model, inputs, image):
    """G(u), by its formula, with convolutions of TensorFlow."""
    kernel = model.regulariser.kernel()
    parts = tf.stack([tf.math.real(image), tf.math.imag(image)], -1)
    features = model.regulariser.activation(tf.nn.conv2d(parts, kernel, 1, "SAME"))
    pulled = tf.nn.conv2d_transpose(features, kernel, parts.shape, 1, "SAME")
    pulled = (tf.complex(pulled[..., 0], pulled[..., 1]) * complex(model.weight())).numpy()
    fitted = model.sense.normal(image, inputs["sensitivity_maps"], inputs["mask"])
    return fitted + model.mu * image - inputs["zero_filled"] + pulled


def test_the_answer_is_where_the_slope_is_zero(exact):
    model, inputs = exact
    found = slope_of(model, inputs, model(inputs)).numpy()
    assert np.linalg.norm(found) <= 1e-10 * np.linalg.norm(inputs["zero_filled"])


def test_without_filters_it_is_cg_sense(case):
    model = ConvexRidge(**SMALL, **EXACT, dtype="float64")
    model.regulariser.raw_kernel.assign(tf.zeros_like(model.regulariser.raw_kernel))
    inputs = model.measured(case(dtype="complex128"))
    expected = CGSense(mu=1.0, tolerance=1e-13, dtype="float64")(inputs)
    np.testing.assert_allclose(model(inputs), expected, atol=1e-9)


@pytest.mark.slow
def test_the_gradients_in_the_weights_match_central_differences(exact):
    model, inputs = exact
    weight = np.random.default_rng(1).standard_normal((2, *model(inputs).shape))
    variables = model.trainable_variables

    def value():
        ((share, image),) = model.training_images(inputs, None)
        parts = tf.math.real(image), tf.math.imag(image)
        return share * tf.reduce_sum(weight * tf.stack(parts))

    with tf.GradientTape() as tape:
        found = value()
    gradients = tape.gradient(found, variables)
    assert {len(block) for block in model.parameter_blocks.values()} == {1, 2}
    start = model.get_weights()
    rng = np.random.default_rng(2)
    directions = [rng.standard_normal(gradient.shape) for gradient in gradients]
    ends = []
    for step in (1e-6, -1e-6):
        model.set_weights([w + step * d for w, d in zip(start, directions)])
        ends.append(float(value()))
    model.set_weights(start)
    expected = sum(np.vdot(g, d) for g, d in zip(gradients, directions))
    assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(expected, rel=1e-6)


def test_batch_mates_do_not_change_where_the_solver_ends(case):
    model = ConvexRidge(**SMALL, tolerance=1e-2)
    inputs = {name: array.copy() for name, array in case(2).items()}
    inputs["kspace"][1] *= 40
    inputs["kspace"][1, :, ::2] = 0
    alone = {name: array[:1] for name, array in inputs.items()}
    np.testing.assert_allclose(model(inputs)[0], model(alone)[0], atol=1e-6)


@pytest.mark.one_stack
@pytest.mark.slow_cases
@pytest.mark.parametrize("settings", [dict(tolerance=1e-2), dict(tolerance=1e-9, iterations=20)])
def test_what_the_solver_is_off_by_is_in_the_certificate(exact, settings):
    model, inputs = exact
    rough = ConvexRidge.from_config({**model.get_config(), **settings})
    rough.set_weights(model.get_weights())
    (certificate,) = rough.certificates
    off = np.linalg.norm((rough(inputs) - model(inputs)).numpy(), axis=(1, 2))
    norms = np.linalg.norm(model(inputs).numpy(), axis=(1, 2))
    part = certificate.slack(rough.statistics(inputs)) / (2 * norms)
    assert (off > 1e-9).all() and (off < part * norms).all() and (part < 0.5).all()


@pytest.mark.slow
def test_no_attack_passes_the_constants(case):
    model = perturbed(ConvexRidge(**{**SMALL, "mu": 0.1}), 3)
    inputs = case(2, coils=3, height=16, width=12)
    statistics = model.statistics(inputs)
    (certificate,) = model.certificates
    of_data, of_image = certificate.constants(statistics)
    assert (of_data == pytest.approx(1 / (2 * 0.1**0.5))) and (of_image < of_data).all()
    for threat, bound in (("l2", certificate.image_bound), ("kspace", certificate.bound)):
        search = PowerIteration(threat=threat, steps=6)
        moved = search.run(model, inputs, 1.0).reconstruction - model.reconstruct(inputs)
        effects = np.linalg.norm(moved.numpy(), axis=(1, 2))
        assert (effects <= bound(statistics, 1.0)).all() and (effects > 0.3).all()


class Doubled(Regulariser):
    """Filters that are multiplied where they are used, and not in their transpose."""

    def analyse(self, channels, kernel):
        return 2 * super().analyse(channels, kernel)


def test_a_regulariser_that_breaks_the_proof_leaves_no_certificate():
    model = ConvexRidge(**SMALL, name="broken")
    model.regulariser = Doubled.from_config(model.regulariser.get_config())
    with pytest.raises(ValueError, match=r"broken: .*K\^T is not the transpose of K"):
        model.certificates  # noqa: B018


def test_settings_outside_their_ranges_are_refused():
    for settings, text in [
        (dict(mu=0.0), "mu must be .*Received: mu=0.0"),
        (dict(strength=0.0), "strength must be .*Received: strength=0.0"),
        (dict(tolerance=1.0), "tolerance must be .*Received: tolerance=1.0"),
        (dict(kernel_size=4), "kernel_size must be odd.*Received: kernel_size=4"),
        (dict(iterations=0), "iterations must be .*Received: iterations=0"),
    ]:
        with pytest.raises(ValueError, match=text):
            ConvexRidge(**settings)
