"""Lipschitz constants that are proved: how far an answer can change, for every slice and every
change of the data.

    || f(k + d) - f(k) ||   <= L_k || d ||_2    for every d
    || f(k + A r) - f(k) || <= L_r || r ||_2    for every image r

L_r is at most || A || L_k, and often far less. It says nothing of noise, so the two are never told
apart from each other. N = A^H A has its eigenvalues s in [0, a], a = || A ||^2.

    zero-filled    f(k) = A^H k                 L_k = sqrt(a), L_r = a
    regularised    f(k) = (N + mu)^-1 A^H k     L_k = sqrt(m) / (m + mu), L_r = a / (a + mu)
    minimum        tfvn.models.convex_ridge     see `of_convex`
    monotone       tfvn.models.monotone         see `of_monotone`

with m = min(a, mu). Each is proved in docs/theorem.md. They hold for the complex image, and so for
its magnitude, which changes by no more.
"""

import numpy as np

from tfvn.certificates.base import Certificate, check_distance, check_finite, check_number

__all__ = ["Lipschitz", "of_convex", "of_monotone", "of_regularised", "of_zero_filled"]

# Parts of [0, a], narrower towards 0: at s = a (i / parts)^2.
_PARTS = 2000
# A sum of some hundred terms of double precision is off by far less.
_UP = 1 + 1e-6


class Lipschitz(Certificate):
    """The constants L_k and L_r of a model, of the norm of A that `statistics` hold.

    Args:
        constants: a function of a = || A ||^2 that returns (L_k, L_r).
        residue: a function of a: what part of its norm a solver may be off by; None: no solver.
    """

    name = "lipschitz"

    def __init__(self, constants, residue=None):
        self._constants = constants
        self._residue = residue or (lambda power: 0.0)

    def constants(self, statistics):
        """L_k and L_r, (batch,) each."""
        pairs = [self._constants(power) for power in _powers(statistics)]
        return tuple(np.array(column, float) for column in zip(*pairs))

    def slack(self, statistics):
        """What a solver may add to any change of the answer, (batch,); 0 without one.

        Two answers, each off by a part p of the norm of what it should be, are further apart by
        p (|| u || + || u' ||) at most. The factor 1 + p of the bound has what u' is larger.
        """
        part = self._parts(statistics)
        norms = np.ravel(np.asarray(statistics.largest_norm, float))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(part < 1, 2 * part / (1 - part), np.inf) * norms

    def lipschitz(self, statistics):
        """L_k, (batch,)."""
        return self.constants(statistics)[0]

    def image_lipschitz(self, statistics):
        """L_r, (batch,)."""
        return self.constants(statistics)[1]

    def bound(self, statistics, distance):
        """The largest change of each image for any d of this norm or a smaller one, (batch,)."""
        change = self.lipschitz(statistics) * check_distance(distance)
        return self._with_solver(statistics, change)

    def image_bound(self, statistics, size):
        """The largest change of each image for any d = A r, || r ||_2 <= size, (batch,)."""
        change = self.image_lipschitz(statistics) * check_distance(size)
        return self._with_solver(statistics, change)

    def certified_distance(self, statistics, change):
        """The largest distance for which the bound is at most `change`, (batch,)."""
        left = check_number("change", change) - self.slack(statistics)
        slope = self.lipschitz(statistics) * (1 + self._parts(statistics))
        return np.maximum(left, 0) / slope

    def _parts(self, statistics):
        return np.array([self._residue(power) for power in _powers(statistics)], float)

    def _with_solver(self, statistics, change):
        return (1 + self._parts(statistics)) * change + self.slack(statistics)


def _powers(statistics):
    """a = || A ||^2 of each image, an array."""
    if statistics.operator_norm is None:
        raise ValueError(
            "statistics must hold operator_norm, a bound of || A ||: a Lipschitz constant depends"
            " on the coil maps. Take the statistics of a model. Received: operator_norm=None"
        )
    norms = check_finite("operator_norm", np.ravel(statistics.operator_norm))
    return np.square(norms.astype(float))


def of_zero_filled(power):
    """(L_k, L_r) of A^H k, for a = `power`. The largest singular vectors of A attain both."""
    return np.sqrt(power), power


def of_regularised(power, mu):
    """(L_k, L_r) of (A^H A + mu I)^-1 A^H k, for a = `power`.

    The singular values of the map are sqrt(s) / (s + mu), largest at s = mu, and those of the map
    from r are s / (s + mu).
    """
    largest = min(power, mu)
    return np.sqrt(largest) / (largest + mu), power / (power + mu)


def of_convex(power, mu, strength):
    """(L_k, L_r) of the u that minimises 1/2 || A u - k ||^2 + mu / 2 || u ||^2 + R(u), for a =
    `power` and a convex R whose gradient changes by at most `strength` times what u does.

    L_k is that without R. L_r^2 is the least of

        t a^2 (4 + t b^2) / (4 (t (a + mu) (a + mu + b) - 1))    over t >= 1 / (mu (mu + b))

    with b = `strength`, and L_r <= sqrt(a) L_k as for every model. Without R it is a / (a + mu).
    """
    of_data, without = of_regularised(power, mu)
    if strength <= 0:
        return of_data, without
    total = power + mu
    # Of all t the expression is least at the first of these.
    t = max(2 / (total * strength), 1 / (mu * (mu + strength)))
    square = t * power**2 * (4 + t * strength**2) / (4 * (t * total * (total + strength) - 1))
    return of_data, min(np.sqrt(square), np.sqrt(power) * of_data)


def of_monotone(power, gains, data_weights, data_steps):
    """(L_k, L_r) of the network of `tfvn.models.monotone`, for a = `power`.

    docs/theorem.md derives, for every s and all numbers q_0, ..., q_n with q_n = 0,

        total(s) = sum_i  c_i q_i^2 s  +  w_i^2 s  -  2 q_(i+1) w_i s
                          + (q_i + w_i p_i - q_(i+1) p_i)^2 / (w_i (1 + p_i))

    over all steps i on the data, with weight w_i and p_i = 1 - w_i s; c_i = j / (2 - j) where a
    regulariser of gain j stands before the step, and 0 where none does. Then L_k^2 is at most the
    maximum of total(s), and L_r^2 that of s total(s), over s in [0, a].

    The numbers q may be chosen for every s. Here they are those that are best in the middle of a
    part of [0, a]. With fixed q total is convex in s, so in a part it is largest at an end. What is
    returned is a bound for every s, not for those of a grid.

    Args:
        power: a.
        gains: j of each regulariser, (T,).
        data_weights: lambda before the first regulariser and behind each, (T + 1,).
        data_steps: how many steps are taken with each lambda.

    Returns:
        L_k and L_r; infinite where a regulariser or a step is too large for the proof.
    """
    steps = _Steps(gains, data_weights, data_steps)
    if not steps.contract(power):
        return np.inf, np.inf
    edges = power * (np.arange(_PARTS + 1) / _PARTS) ** 2
    best = steps.best((edges[1:] + edges[:-1]) / 2)
    largest = np.maximum(steps.total(edges[:-1], best), steps.total(edges[1:], best))
    largest = np.maximum(largest, 0) * _UP
    return np.sqrt(largest.max()), np.sqrt((edges[1:] * largest).max())


class _Steps:
    """All steps on the data of a monotone network, in their order, with what stands before each."""

    def __init__(self, gains, data_weights, data_steps):
        gains = np.asarray(gains, float)
        self.weights = np.repeat(np.asarray(data_weights, float), data_steps)
        self.gains = np.zeros(len(self.weights))
        self.gains[data_steps::data_steps] = gains

    def contract(self, power):
        """Whether every regulariser and every step is small enough. NaN is not."""
        moved = self.weights * power
        gains = self.gains
        return bool(((self.weights > 0) & (moved < 2) & (gains >= 0) & (gains < 2)).all())

    def _terms(self, s):
        """p, w / (w (1 + p)) without the w, and c of every step, (steps, s)."""
        weights = self.weights[:, None]
        kept = 1 - weights * s
        return kept, 1 / (weights * (1 + kept)), (self.gains / (2 - self.gains))[:, None]

    def total(self, s, best):
        """total(s) of numbers q, (steps + 1, s)."""
        kept, inverse, factor = self._terms(s)
        weights, before, after = self.weights[:, None], best[:-1], best[1:]
        square = (before + weights * kept - after * kept) ** 2 * inverse
        terms = factor * before**2 * s + weights**2 * s - 2 * after * weights * s + square
        return terms.sum(0)

    def best(self, s):
        """The numbers q that make total(s) least: the solution of a tridiagonal system, by
        elimination from the first to the last, (steps + 1, s).
        """
        kept, inverse, factor = self._terms(s)
        weights = self.weights[:, None]
        diagonal = factor * s + inverse
        right = -inverse * weights * kept
        diagonal[1:] += (inverse * kept**2)[:-1]
        right[1:] += (weights * s + inverse * weights * kept**2)[:-1]
        beside = -inverse * kept
        for i in range(1, len(weights)):
            share = beside[i - 1] / diagonal[i - 1]
            diagonal[i] -= share * beside[i - 1]
            right[i] -= share * right[i - 1]
        found = np.zeros((len(weights) + 1, len(s)))
        for i in reversed(range(len(weights))):
            found[i] = (right[i] - beside[i] * found[i + 1]) / diagonal[i]
        return found
