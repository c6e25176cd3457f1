"""A model and one batch, as probes ask it: answers, gradients, differences and a search.

All is measured in double precision, of answers in the precision of the model, and of each slice by
itself. A random model has the same keys in all passes but those that ask for others.
"""

import functools

import numpy as np
import tensorflow as tf

from tfvn import checks
from tfvn.attacks.base import compute, numbers_of
from tfvn.attacks.threats import KSpaceThreat
from tfvn.compat import plain_message
from tfvn.models.contract import check_gradient
from tfvn.physics import measurement, noise
from tfvn.results.flags import Case

__all__ = [
    "SEARCH_STEPS",
    "STEPS",
    "Asked",
    "Unknown",
    "norms",
    "products",
    "scaled",
    "told_of",
    "unit",
]

# Passes of the same data. Of two networks that are drawn, all are one in 1 of 128 cases.
_PASSES = 8
# The start of all probes, as a share of || f(k) ||, and the steps of differences. A pixel changes
# by as much of its value. Rounding is small against the first step, and curvature and kinks are
# against the second: the better one counts.
_START = 0.02
STEPS = (5e-4, 1e-4)
_DIRECTIONS = 5
# The radius of the search, where none is given, as a share of || f(k) ||, and its gradients.
_RADIUS = 0.05
SEARCH_STEPS = 15


class Unknown(Exception):
    """Why a rule cannot be applied."""


def told_of(error):
    """The first line of an error that says something."""
    lines = plain_message(error).strip().splitlines()
    # Keras puts lines of its own around an error.
    lines = [line for line in lines if line and not line.startswith("Exception encountered")]
    return checks.shown(error) if not lines else lines[0]


class Asked:
    """A model and the measurement that it is asked of.

    Args:
        model: the `Reconstructor`.
        inputs: the measurement k, checked.
        index: whole numbers (batch,) that name the images, or None.
        radius: of the search, or None.

    Attributes:
        given: the measurement as the model reads it.
        real: the type of real numbers of the model.
        support: where the k-space is measured, zeros and ones.
        keys: of the draws, int32 (batch, 2).
        clean: f(k), as all images double precision (batch, rows, width).
        size: its norms, (batch,).
        radius: of the search, (batch,).
    """

    def __init__(self, model, inputs, index, radius):
        self.model = model
        self.given = model.measured(inputs)
        self.numbers = numbers_of(index, self.given)
        self._slices = range(len(self.numbers)) if index is None else np.asarray(index)
        maps = self.given["sensitivity_maps"]
        self._dtype = maps.dtype
        self.real = maps.dtype.real_dtype.as_numpy_dtype
        self._nothing = tf.zeros_like(maps)
        self.support = KSpaceThreat().support(inputs, self._nothing).numpy()
        self.keys = model.keys(self.numbers)
        if self.keys is None:
            # Some that a deterministic model does not look at.
            self.keys = noise.keys(0, noise.ATTACK, self.numbers)
        self.clean = self.image()
        self.size = norms(self.clean)
        self.radius = _RADIUS * self.size if radius is None else np.full(len(self.size), radius)

    @functools.cached_property
    def repeated(self):
        """By what share of it the answer to the same data and keys changes at most, (batch,)."""
        passes = [self.image() for _ in range(1, _PASSES)]
        return self.changed_by(np.max([norms(image - self.clean) for image in passes], 0))

    def changed_by(self, distance):
        """A distance as a share of the answer."""
        return distance / np.maximum(self.size, np.finfo(np.float32).tiny)

    def cases(self, numbers, notes=None):
        """A `Case` for each slice."""
        notes = notes or [""] * len(numbers)
        found = []
        for number, name, note in zip(numbers, self._slices, notes):
            found.append(Case(float(number), int(name), note=note))
        return found

    def image(self, change=None, keys=None, inputs=None):
        """f(k + e).

        Args:
            change: e, complex (batch, coils, height, width); None: none.
            keys: other keys than the model's own.
            inputs: another measurement k.
        """
        arguments = self._arguments(change, keys, inputs)
        return np.asarray(compute(_answer, self.model, (), *arguments), np.float64)

    def gradient(self, change, other, keys=None):
        """f(k + e), and the gradient of 1/2 || f(k + e) - other ||^2 in e, where that is finite; 0
        elsewhere. Arguments as for `image`.
        """
        other = tf.constant(other, self._dtype.real_dtype)
        arguments = (*self._arguments(change, keys), other)
        image, gradient = compute(_answer_and_gradient, self.model, (), *arguments)
        gradient = np.asarray(gradient, np.complex128)
        return np.asarray(image, np.float64), np.where(np.isfinite(gradient), gradient, 0)

    def _arguments(self, change, keys=None, inputs=None):
        change = self._nothing if change is None else tf.constant(change, self._dtype)
        keys = self.keys if keys is None else keys
        return inputs or self.given, keys, change

    def forward(self, r):
        """A r of images r, on what was measured."""
        r = tf.constant(r, self._dtype)
        found = self.model.sense.forward(r, self.given["sensitivity_maps"], self.given["mask"])
        return np.asarray(self.support * found, np.complex128)

    def adjoint(self, change):
        """A^H e of changes e, of what was measured."""
        change = tf.constant(self.support * change, self._dtype)
        found = self.model.sense.adjoint(change, self.given["sensitivity_maps"], self.given["mask"])
        return np.asarray(found, np.complex128)

    def random(self, number, like):
        """Random complex numbers for each slice, by its own number."""
        found = []
        for name, one in zip(self._slices, like):
            rng = np.random.default_rng([number, abs(int(name))])
            found.append(rng.standard_normal(one.shape) + 1j * rng.standard_normal(one.shape))
        return np.stack(found)

    def directions(self, like, support=1):
        """Some random ones, each of norm 1."""
        numbers = range(1, _DIRECTIONS + 1)
        return [unit(support * self.random(number, like)) for number in numbers]

    @functools.cached_property
    def start(self):
        """A small random image r."""
        return scaled(_START * self.size, unit(self.random(0, self.clean)))

    @functools.cached_property
    def slope(self):
        """f(k + A r) at the start, and the gradient of E there in the k-space.

        Raises:
            Unknown: if the model has no gradient.
        """
        try:
            return self.gradient(self.forward(self.start), self.clean)
        except Exception as error:
            raise Unknown(f"There is no gradient: {told_of(error)}") from error

    def derivatives(self, directions):
        """The derivatives of E at the start in directions of the k-space, by differences.

        Returns:
            An array (steps, directions, batch).
        """
        found = []
        for share in STEPS:
            found.append([self._derivative(one, share * self.size) for one in directions])
        return np.array(found)

    def _derivative(self, direction, step):
        change, start = scaled(step, direction), self.forward(self.start)
        up, down = self.image(start + change), self.image(start - change)
        # E(up) - E(down), without the difference of two sums that are nearly equal.
        difference = np.sum((up - down) * (up + down - 2 * self.clean), axis=(1, 2)) / 2
        return difference / (2 * step)

    def climbed(self, r, radius, other, steps):
        """Goes from r to the sphere, and on by r <- radius * gradient / || gradient ||.

        Args:
            r: images.
            radius: (batch,).
            other: what the answer is to be far from, images.
            steps: the number of gradients.

        Returns:
            The r that got furthest, and how far that was, (batch,).
        """
        r = scaled(radius, unit(r))
        tried, distances = [], []
        for _ in range(steps):
            image, gradient = self.gradient(self.forward(r), other)
            tried.append(r)
            distances.append(norms(image - other))
            r = scaled(radius, unit(self.adjoint(gradient), r))
        tried.append(r)
        distances.append(norms(self.image(self.forward(r)) - other))
        # What is not finite is told of where the model answers, and is no distance.
        distances = np.nan_to_num(distances, posinf=0)
        places = np.argmax(distances, 0)
        best = [tried[place][slice] for slice, place in enumerate(places)]
        return np.stack(best), np.max(distances, 0)

    @functools.cached_property
    def search(self):
        """What a search at the radius found, see `climbed`."""
        return self.climbed(self.start, self.radius, self.clean, SEARCH_STEPS)

    @functools.cached_property
    def unforeseen(self):
        """How far a search gets, on the model's own draws, that sees others in each step: (batch,).

        It is the other search without the knowledge of the draws.
        """
        r = scaled(self.radius, unit(self.start))
        furthest = np.zeros(len(r))
        for step in range(SEARCH_STEPS):
            keys = noise.keys(step, noise.ATTACK, self.numbers)
            _, gradient = self.gradient(self.forward(r), self.image(keys=keys), keys)
            r = scaled(self.radius, unit(self.adjoint(gradient), r))
            moved = norms(self.image(self.forward(r)) - self.clean)
            furthest = np.maximum(furthest, np.nan_to_num(moved, posinf=0))
        return furthest


def _answer(model, inputs, keys, change):
    return model.answer(measurement.with_kspace(model.sense, inputs, change), keys)


def _answer_and_gradient(model, inputs, keys, change, other):
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(change)
        image = _answer(model, inputs, keys, change)
        value = tf.reduce_sum(tf.square(image - other)) / 2
    gradient = tape.gradient(value, change)
    check_gradient(model, gradient, model.reads)
    return image, gradient


def norms(x):
    """Of every slice, (batch,)."""
    return np.linalg.norm(x.reshape(len(x), -1), axis=1)


def scaled(numbers, x):
    """Each slice of x times its number."""
    return numbers.reshape(-1, *[1] * (x.ndim - 1)) * x


def unit(x, otherwise=None):
    """Each slice divided by its norm; one of norm 0 is replaced by the same of another."""
    lengths = norms(x)
    found = scaled(1 / np.where(lengths > 0, lengths, 1), x)
    if otherwise is None:
        return found
    return found + scaled(lengths == 0, unit(otherwise))


def products(x, y):
    """Re <x, y> of every slice, (batch,)."""
    return np.sum((np.conj(x) * y).real, axis=tuple(range(1, x.ndim)))
