"""Conjugate gradients against dense matrices, in value and in all derivatives."""

import numpy as np
import pytest
import tensorflow as tf

from tfvn.models.conjugate_gradient import after_steps, solve, solve_regularised
from tfvn.physics.sense import Sense

MU = 0.3


def small(case, mask="weights", readout_oversampling=False, batch=1):
    """A `Sense`, and tensors of a small measurement: A^H k, maps and mask."""
    inputs = case(
        batch, 2, 8, 6, mask, "complex128", readout_oversampling=readout_oversampling, seed=3
    )
    sense = Sense(readout_oversampling, dtype="float64")
    maps, mask = tf.constant(inputs["sensitivity_maps"]), tf.constant(inputs["mask"])
    return sense, sense.adjoint(inputs["kspace"], maps, mask), maps, mask


def dense(sense, maps, mask, mu, rows=8, width=6):
    """A^H A + mu I of one sample as a matrix, by the images of the unit vectors."""
    units = tf.reshape(tf.eye(rows * width, dtype="complex128"), (-1, rows, width))
    kspace = sense.forward(units, maps, mask)
    columns = tf.reshape(sense.adjoint(kspace, maps, mask), (rows * width, -1))
    # A number of Python would be cast through single precision.
    mu = tf.cast(tf.convert_to_tensor(mu, "float64"), "complex128")
    return tf.transpose(columns) + mu * tf.eye(rows * width, dtype="complex128")


def solved_densely(sense, rhs, maps, mask, mu):
    _, rows, width = rhs.shape
    matrix = dense(sense, maps, mask, mu, rows, width)
    return tf.reshape(tf.linalg.solve(matrix, tf.reshape(rhs, (-1, 1))), rhs.shape)


def exact(sense, rhs, maps, mask, mu):
    return solve_regularised(sense, rhs, maps, mask, mu, 1e-13, 200)


def value(image, weights):
    """A real function of an image that is neither linear nor even."""
    return tf.reduce_sum(tf.abs(weights * image + 0.5) ** 3)


@pytest.mark.slow_cases
@pytest.mark.parametrize("mask", ["columns", "weights"])
@pytest.mark.parametrize("readout_oversampling", [False, True])
def test_it_equals_the_dense_solution(case, mask, readout_oversampling):
    operands = small(case, mask, readout_oversampling)
    found, expected = exact(*operands, MU), solved_densely(*operands, MU)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


@pytest.mark.slow_cases
@pytest.mark.parametrize("readout_oversampling", [False, True])
def test_its_gradients_equal_those_of_the_dense_solution(case, readout_oversampling):
    sense, *operands = small(case, "weights", readout_oversampling)
    operands = (*operands, tf.constant(MU, "float64"))
    weights = 2 - 1j * operands[0]
    gradients = []
    for solver in (exact, solved_densely):
        with tf.GradientTape() as tape:
            tape.watch(operands)
            result = value(solver(sense, *operands), weights)
        gradients.append(tape.gradient(result, operands))
    for found, expected in zip(*gradients):
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
def test_its_gradients_equal_central_differences(case):
    sense, *operands = small(case)
    operands = (*operands, tf.constant(MU, "float64"))
    weights = 2 - 1j * operands[0]
    rng = np.random.default_rng(5)
    directions = []
    for operand in operands:
        direction = rng.standard_normal(operand.shape)
        if operand.dtype.is_complex:
            direction = direction + 1j * rng.standard_normal(operand.shape)
        directions.append(tf.cast(direction, operand.dtype))

    def at(share, number):
        moved = list(operands)
        moved[number] += tf.cast(share, moved[number].dtype) * directions[number]
        return value(exact(sense, *moved), weights)

    with tf.GradientTape() as tape:
        tape.watch(operands)
        result = value(exact(sense, *operands), weights)
    gradients = tape.gradient(result, operands)
    for number, (gradient, direction) in enumerate(zip(gradients, directions)):
        # A gradient with respect to a complex number is d/dRe + i d/dIm.
        slope = tf.reduce_sum(tf.math.real(tf.math.conj(gradient) * direction))
        central = (at(1e-5, number) - at(-1e-5, number)) / 2e-5
        np.testing.assert_allclose(slope, central, rtol=1e-7)


@pytest.mark.slow
def test_its_second_derivatives_equal_those_of_the_dense_solution(case):
    sense, *operands = small(case)
    operands = (*operands, tf.constant(MU, "float64"))
    weights = 2 - 1j * operands[0]
    seconds = []
    for solver in (exact, solved_densely):
        with tf.GradientTape() as outer:
            outer.watch(operands)
            with tf.GradientTape() as inner:
                inner.watch(operands)
                result = value(solver(sense, *operands), weights)
            firsts = inner.gradient(result, operands)
            total = sum(value(tf.cast(first, "complex128"), 1.5) for first in firsts)
        seconds.append(outer.gradient(total, operands))
    for found, expected in zip(*seconds):
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())


@pytest.mark.slow
def test_its_gradients_are_the_same_in_a_compiled_function_and_of_a_variable(case, caplog):
    sense, rhs, maps, mask = small(case)
    mu = tf.Variable(MU, dtype="float64")

    def gradients(rhs, maps, mask):
        with tf.GradientTape() as tape:
            tape.watch((rhs, maps, mask))
            result = value(exact(sense, rhs, maps, mask, mu), 2.0 + 1j)
        return tape.gradient(result, (rhs, maps, mask, mu))

    eager = gradients(rhs, maps, mask)
    compiled = tf.function(gradients, autograph=False)(rhs, maps, mask)
    for one, other in zip(eager, compiled):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)
    # TensorFlow has no warning about imaginary parts.
    assert not caplog.records


def test_no_iteration_is_kept_for_the_gradient(case, operations):
    sense, rhs, maps, mask = small(case)

    def gradient(rhs):
        with tf.GradientTape() as tape:
            tape.watch(rhs)
            result = value(exact(sense, rhs, maps, mask, MU), 2.0 + 1j)
        return tape.gradient(result, rhs)

    found = operations(gradient, rhs)
    # TensorFlow keeps what a loop computes in such lists.
    assert not {name for name in found if name.startswith("TensorList")}
    assert found & {"While", "StatelessWhile"}


def test_a_sample_ends_by_itself_and_its_batch_mates_do_not_matter(case):
    sense, rhs, maps, mask = small(case, batch=3)
    # The first is a system of one iteration: its maps are constant, its mask is full.
    maps = tf.concat([tf.fill(maps[:1].shape, tf.constant(0.5**0.5, maps.dtype)), maps[1:]], 0)
    mask = tf.concat([tf.ones_like(mask[:1]), mask[1:]], 0)
    counted = []

    def operator(image, maps, mask):
        counted.append(1)
        return sense.normal(image, maps, mask) + MU * image

    together = solve(operator, rhs, (maps, mask), 1e-4, 100)
    iterations_together = len(counted)
    for sample in range(3):
        own = slice(sample, sample + 1)
        counted.clear()
        alone = solve(operator, rhs[own], (maps[own], mask[own]), 1e-4, 100)
        np.testing.assert_allclose(together[own], alone, rtol=0, atol=1e-14)
        assert len(counted) <= iterations_together
        assert (len(counted) == 1) == (sample == 0)
        residual = rhs[own] - operator(alone, maps[own], mask[own])
        assert tf.norm(residual).numpy().real <= 1e-4 * tf.norm(rhs[own]).numpy().real


def test_after_few_steps_the_gradients_are_those_of_the_steps(case):
    sense, *operands = small(case, batch=2)
    rhs, maps, mask = operands
    mu = tf.constant(MU, "float64")
    weights = 2 - 1j * rhs

    def gradients(solver):
        with tf.GradientTape() as tape:
            tape.watch((rhs, maps, mu))
            image = solver(sense, rhs, maps, mask, mu, 1e-13, 3)
            result = value(image, weights)
        return image, tape.gradient(result, (rhs, maps, mu))

    image, found = gradients(after_steps)
    expected, of_the_solution = gradients(solve_regularised)
    np.testing.assert_array_equal(image, expected)
    rng = np.random.default_rng(5)
    for number, operand in enumerate((rhs, maps, mu)):
        direction = rng.standard_normal(operand.shape)
        if operand.dtype.is_complex:
            direction = direction + 1j * rng.standard_normal(operand.shape)
        ends = []
        for sign in (1, -1):
            moved = [rhs, maps, mask, mu]
            place = (0, 1, 3)[number]
            moved[place] += tf.cast(sign * 1e-6 * direction, operand.dtype)
            ends.append(value(after_steps(sense, *moved, 1e-13, 3), weights))
        central = float(ends[0] - ends[1]) / 2e-6
        slopes = [np.vdot(x[number], direction).real for x in (found, of_the_solution)]
        assert slopes[0] == pytest.approx(central, rel=1e-7)
        assert slopes[1] != pytest.approx(central, rel=1e-3)


def test_steps_that_change_nothing_any_more_leave_the_gradient_finite(case):
    double = small(case)
    rhs, maps, mask = (tf.cast(x, x.dtype.name.replace("128", "64")) for x in double[1:])
    mask = tf.cast(mask, "float32")

    @tf.function(autograph=False)
    def image_and_gradient(rhs):
        with tf.GradientTape() as tape:
            tape.watch(rhs)
            # After about 20, more divide by energies of 0. The second sample is 0 at once.
            both = tf.concat([rhs, 0 * rhs], 0)
            image = after_steps(Sense(dtype="float32"), both, maps, mask, MU, 0.0, 50)
            result = value(image, 2.0 + 1j)
        return image, tape.gradient(result, rhs)

    image, gradient = image_and_gradient(rhs)
    np.testing.assert_allclose(image[:1], solved_densely(*double, MU), rtol=0, atol=1e-5)
    assert np.isfinite(gradient).all()


def test_it_ends_after_the_most_iterations_and_at_once_for_zero(case):
    sense, rhs, maps, mask = small(case)
    one = solve_regularised(sense, rhs, maps, mask, MU, 1e-13, 1)
    # The first step of conjugate gradients is that of steepest descent.
    image = sense.normal(rhs, maps, mask) + MU * rhs
    step = tf.norm(rhs) ** 2 / tf.reduce_sum(tf.math.conj(rhs) * image)
    np.testing.assert_allclose(one, step * rhs, atol=1e-13)
    assert not np.any(solve_regularised(sense, 0 * rhs, maps, mask, MU))
    assert not np.any(solve_regularised(sense, rhs, maps, mask, MU, iterations=0))
