"""Conjugate gradients: the x of H x = b, for a Hermitian, positive definite operator H.

In this package H = A^H A + mu I, of `tfvn.physics.Sense` A: x is then the image that minimises
|| A u - k ||^2 + mu || u - z ||^2, where b = A^H k + mu z.

Every sample ends its iterations by itself, as soon as its residual is small enough, and does not
change any more. Batch mates do not matter.

There are two gradients.

`solve` has that of the solution. From H x = b follows H dx = db - dH x. With the cotangent g of x,
and y = H^-1 g from a second solve, the gradient with respect to b is y, and that with respect to
the operands of H is the one of -Re <y, H x> at fixed x and y. Both solves are differentiable again
in the same way, so that second derivatives exist. No iteration is kept in memory. The gradient is
as exact as both solves are.

`after_steps` has that of its iterations, which is exact after however few. There x is not linear in
b, as the lengths of the steps depend on it.

Source: Hestenes and Stiefel, J. Res. NBS 49(6), 1952, section 3; the gradient of the solution as in
MoDL (Aggarwal, Mani and Jacob, IEEE TMI 38(2), 2019, section III-C), with respect to the data too.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvn.models.features import as_complex

__all__ = ["after_steps", "kept_by_steps", "solve", "solve_regularised"]

# Real numbers a pixel that an iteration keeps: the direction, H of it, the residual and conjugates.
_KEPT = 10


def solve_regularised(sense, rhs, sensitivity_maps, mask, mu, tolerance=1e-6, iterations=100):
    """The x of (A^H A + mu I) x = rhs, differentiable in all but `sense`.

    Args:
        sense: the `Sense` of A.
        rhs: complex (batch, rows, width).
        sensitivity_maps, mask: as for `Sense`.
        mu: a number or a real tensor without axes, >= 0.
        tolerance, iterations: as for `solve`.
    """
    rhs = tf.convert_to_tensor(rhs)
    real = rhs.dtype.real_dtype

    def fast(image, maps, mask, mu):
        return sense.normal(image, maps, mask) + mu * image

    def differentiable(image, maps, mask, mu):
        return sense.adjoint(sense.forward(image, maps, mask), maps, mask) + mu * image

    operands = (
        tf.convert_to_tensor(sensitivity_maps),
        as_complex(tf.cast(mask, real)),
        as_complex(tf.convert_to_tensor(mu, real)),
    )
    return solve(fast, rhs, operands, tolerance, iterations, differentiable)


def after_steps(sense, rhs, sensitivity_maps, mask, mu, tolerance=1e-6, iterations=10):
    """What `solve_regularised` computes, differentiated through its iterations.

    It is differentiable in `rhs`, `sensitivity_maps` and `mu`. `kept_by_steps` says what the
    gradient keeps.

    Args:
        sense, rhs, sensitivity_maps, mask, mu, tolerance: as for `solve_regularised`.
        iterations: the most of them.
    """
    rhs = tf.convert_to_tensor(rhs)
    real = rhs.dtype.real_dtype
    # A constant of the caller could not be captured by a loop that is differentiated.
    maps, mask, mu = (
        tf.identity(tf.convert_to_tensor(sensitivity_maps)),
        tf.identity(tf.cast(mask, real)),
        as_complex(tf.convert_to_tensor(mu, real)),
    )

    def operator(image):
        return sense.normal(image, maps, tf.stop_gradient(mask)) + mu * image

    return _iterate(_System(operator, operator, tolerance, iterations), rhs, ())


def kept_by_steps(iterations):
    """About how many real numbers a pixel `after_steps` keeps for its gradient."""
    return _KEPT * iterations


def solve(operator, rhs, operands=(), tolerance=1e-6, iterations=100, differentiable=None):
    """The x of operator(x, *operands) = rhs, of which each sample is a system of its own.

    It is differentiable in `rhs` and in the `operands`, any number of times; in nothing else that
    the operator uses.

    Args:
        operator: a function, linear, Hermitian and positive definite in its first argument, of the
            shape of `rhs`.
        rhs: complex (batch, rows, width).
        operands: tensors, the other arguments of the operator.
        tolerance: a sample is done when || rhs - operator(x) || <= tolerance || rhs ||, as the
            iterations update that residual.
        iterations: the most of them.
        differentiable: the same as `operator`, where that has no gradient in the operands.
    """
    system = _System(operator, differentiable or operator, tolerance, iterations)
    return _solution(system, tf.convert_to_tensor(rhs), operands)


class _System(NamedTuple):
    """The arguments of `solve` that are no tensors."""

    operator: Any
    differentiable: Any
    tolerance: float
    iterations: int


def _solution(system, rhs, operands, known=None):
    """What `solve` returns. A solution that is `known` already is only given its gradient."""

    @tf.custom_gradient
    def solution(rhs, *operands):
        image = known
        if known is None:
            image = _iterate(system, rhs, operands)

        def gradient(cotangent):
            adjoint = _solution(system, cotangent, operands)
            # Not `image`: of that, a second derivative would not know what it depends on.
            solved = _solution(system, rhs, operands, known=image)
            return (adjoint, *_in_operands(system, solved, operands, -adjoint))

        return image, gradient

    return solution(rhs, *operands)


def _in_operands(system, image, operands, cotangent):
    """The gradients of Re <cotangent, H image> with respect to the operands of H."""
    if not operands:
        return ()
    with tf.GradientTape() as tape:
        tape.watch(operands)
        value = system.differentiable(image, *operands)
    return tape.gradient(value, operands, cotangent, tf.UnconnectedGradients.ZERO)


class _Iterate(NamedTuple):
    """Where the iterations are, with axes (batch, rows, width).

    solution: x.
    residual: rhs - H x.
    direction: of the next step.
    energy: || residual ||^2, real (batch, 1, 1).
    """

    solution: tf.Tensor
    residual: tf.Tensor
    direction: tf.Tensor
    energy: tf.Tensor


def _start(rhs):
    """Where the iterations begin: x = 0."""
    return _Iterate(tf.zeros_like(rhs), rhs, rhs, _energy(rhs))


def _enough(tolerance, energy):
    """The energy of a residual that ends the iterations, from that of the right-hand side.

    A residual below the roundings of the right-hand side says nothing. A gradient divides by it.
    """
    real = energy.dtype
    return tf.constant(max(tolerance, np.finfo(real.as_numpy_dtype).eps), real) ** 2 * energy


def _iterate(system, rhs, operands):
    """The iterations from x = 0 on."""
    start = _start(rhs)
    enough = _enough(system.tolerance, start.energy)

    def is_busy(*state):
        return tf.reduce_any(_Iterate(*state).energy > enough)

    def step(*state):
        return _step(system.operator, _Iterate(*state), enough, operands)

    found = tf.while_loop(is_busy, step, start, maximum_iterations=system.iterations)
    return found.solution


def _step(operator, now, enough, operands):
    """One iteration of the samples whose energy is more than enough."""
    busy = now.energy > enough
    image = operator(now.direction, *operands)
    curvature = _inner(now.direction, image)
    length = _where(busy, tf.math.divide_no_nan(now.energy, curvature))
    residual = now.residual - length * image
    energy = tf.where(busy, _energy(residual), now.energy)
    momentum = _where(busy, tf.math.divide_no_nan(energy, now.energy))
    return _Iterate(
        now.solution + length * now.direction,
        residual,
        residual + momentum * now.direction,
        energy,
    )


def _where(busy, number):
    """A number of each sample that is busy, 0 for the others, as a complex one."""
    return as_complex(tf.where(busy, number, tf.zeros_like(number)))


def _inner(one, other):
    """Re <one, other> of every sample, (batch, 1, 1)."""
    return tf.reduce_sum(tf.math.real(tf.math.conj(one) * other), [1, 2], keepdims=True)


def _energy(x):
    """|| x ||^2 of every sample, (batch, 1, 1)."""
    return _inner(x, x)
