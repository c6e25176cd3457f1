"""Inertial proximal alternating linearised minimisation, iPALM.

It looks for a minimum of a smooth H over blocks x_b of variables. Each block has a constraint set
C_b with a projection:

    min_x H(x_1, ..., x_n) + sum_b indicator(x_b in C_b)

One iteration does, block by block,

    v = x + momentum (x - x_previous)
    x <- project_C(v - grad_b H(v) / L)

where L is found by backtracking on the descent lemma:

    H(x) <= (H(v) + <grad, x - v> + L/2 ||x - v||^2) (1 +- slack)

An accepted trial lowers L (x 0.75) for the next iteration, a rejected one raises it (x 2), as in
the code of Hammernik et al. (2018). The algorithm takes callables and variables and knows nothing
of images.

Reference: Pock & Sabach, SIAM J. Imaging Sci. 9(4), 2016.
"""

import tensorflow as tf
from tensorflow import keras

from tfvn import checks

__all__ = ["IPALM", "LIPSCHITZ_RANGE"]

# The smallest and the largest L.
LIPSCHITZ_RANGE = (1e-3, 1e12)


class IPALM(keras.layers.Layer):
    """The iteration, and its state: the previous iterates, and one L a block.

    The state is kept in weights, so that it is saved with the network.

    Args:
        blocks: list of lists of variables.
        projections: one callable a block, applied to each of its variables.
        momentum: inertia in [0, 1).
        initial_lipschitz: L of every block at the start.
        slack: relative slack of the descent lemma.
        decrease, increase: factors of L after an accepted and a rejected trial.
        max_trials: trials an iteration.
        lipschitz_range: smallest and largest L.

    Raises:
        ValueError: for a momentum outside [0, 1), numbers that are not positive, a factor of the
            wrong side of 1, blocks without variables or without projections.
    """

    def __init__(
        self,
        blocks,
        projections,
        momentum=0.7,
        initial_lipschitz=1000.0,
        slack=1e-3,
        decrease=0.75,
        increase=2.0,
        max_trials=40,
        lipschitz_range=LIPSCHITZ_RANGE,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.momentum = _checked_momentum(momentum)
        self.slack = checks.number("slack", slack, 0)
        self.max_trials = checks.whole("max_trials", max_trials, 1)
        self._decrease, self._increase = _checked_factors(decrease, increase)
        self._range = _checked_range(lipschitz_range)
        _check_blocks(blocks, projections)
        # Hidden in a lambda, Keras does not count the caller's variables among this layer's own.
        self._blocks = lambda: blocks
        self._projections = tuple(projections)
        self._make_state(_checked_start(initial_lipschitz, self._range))
        self.built = True

    def _make_state(self, initial_lipschitz):
        def start(shape, dtype=None):
            # Keras' own constant goes through single precision.
            return tf.constant(initial_lipschitz, dtype or "float32", shape)

        blocks = self._blocks()
        self.previous = []
        for number, block in enumerate(blocks):
            previous = []
            for index, variable in enumerate(block):
                name = f"previous_{number}_{index}"
                previous.append(self._state(name, variable.shape, "zeros", variable.dtype))
            self.previous.append(previous)
        self.lipschitz = []
        for number, block in enumerate(blocks):
            self.lipschitz.append(self._state(f"lipschitz_{number}", (), start, block[0].dtype))
        self.trials = []
        for number in range(len(blocks)):
            self.trials.append(self._state(f"trials_{number}", (), "zeros", "int32"))
        self.started = self._state("started", (), "zeros", "int32")

    def _state(self, name, shape, initializer, dtype):
        return self.add_weight(
            name=name, shape=shape, initializer=initializer, trainable=False, dtype=dtype
        )

    def __repr__(self):
        return checks.described(self, ("momentum", "slack", "max_trials"))

    def step(self, energy, energy_and_gradients):
        """Makes one iteration over all blocks.

        Args:
            energy: callable `energy()` -> scalar H at the variables' current values. It must be
                deterministic within the step.
            energy_and_gradients: callable `energy_and_gradients(block)` -> H and the list of its
                gradients in the variables of the block with that index.

        Returns:
            The energy where the iteration began, at the first block's extrapolated point.
        """
        self._start()
        values = []
        for index in range(len(self._blocks())):
            values.append(self._block_step(index, energy, energy_and_gradients))
        return values[0]

    def _start(self):
        # The first iterate is made feasible, and equals its predecessor.
        def begin():
            for block, previous, project in zip(self._blocks(), self.previous, self._projections):
                for variable, old in zip(block, previous):
                    variable.assign(project(tf.convert_to_tensor(variable)))
                    old.assign(variable)
            self.started.assign(1)
            return 0

        tf.cond(tf.equal(self.started, 0), begin, lambda: 0)

    def _block_step(self, index, energy, energy_and_gradients):
        variables = self._blocks()[index]
        previous = self.previous[index]
        momentum = tf.constant(self.momentum, variables[0].dtype)
        current = [tf.identity(v) for v in variables]
        extrapolated = [x + momentum * (x - old) for x, old in zip(current, previous)]
        _assign(previous, current)
        _assign(variables, extrapolated)
        value, gradients = energy_and_gradients(index)

        def trial(lipschitz, count, _):
            accepted = self._try(index, lipschitz, extrapolated, value, gradients, energy)
            return self._adapted(lipschitz, accepted), count + 1, accepted

        def unfinished(lipschitz, count, accepted):
            return tf.logical_not(accepted) & (count < self.max_trials)

        start = (tf.identity(self.lipschitz[index]), tf.constant(0), tf.constant(False))
        lipschitz, count, accepted = tf.while_loop(unfinished, trial, start, parallel_iterations=1)
        # Without an acceptable step the block stays where it was, inertia included.
        for variable, old in zip(variables, current):
            variable.assign(tf.where(accepted, variable, old))
        self.lipschitz[index].assign(lipschitz)
        self.trials[index].assign(count)
        return value

    def _try(self, index, lipschitz, extrapolated, value, gradients, energy):
        """Steps from the extrapolated point, and projects. Returns whether the descent lemma
        holds.
        """
        project = self._projections[index]
        new = [project(v - g / lipschitz) for v, g in zip(extrapolated, gradients)]
        _assign(self._blocks()[index], new)
        steps = [n - v for n, v in zip(new, extrapolated)]
        bound = value + _inner(gradients, steps) + lipschitz / 2 * _inner(steps, steps)
        slack = 1 + tf.sign(bound) * tf.constant(self.slack, bound.dtype)
        # A NaN energy compares false: the step is rejected and shortened.
        return energy() <= bound * slack

    def _adapted(self, lipschitz, accepted):
        """L for the next trial."""
        dtype = lipschitz.dtype
        decrease = tf.constant(self._decrease, dtype)
        increase = tf.constant(self._increase, dtype)
        smallest, largest = (tf.constant(bound, dtype) for bound in self._range)
        factor = tf.where(accepted, decrease, increase)
        return tf.clip_by_value(lipschitz * factor, smallest, largest)


def _checked_momentum(momentum):
    if not (checks.is_number(momentum) and 0 <= momentum < 1):
        raise ValueError(
            f"momentum must lie in [0, 1). Received: momentum={checks.shown(momentum)}"
        )
    return float(momentum)


def _checked_factors(decrease, increase):
    increase = checks.number("increase", increase)
    decrease = checks.number("decrease", decrease, above=0)
    if not decrease <= 1 < increase:
        raise ValueError(
            "decrease must lie in (0, 1] and increase above 1. Received: "
            f"decrease={decrease}, increase={increase}"
        )
    return decrease, increase


def _checked_range(lipschitz_range):
    smallest, largest = lipschitz_range
    smallest = checks.number("lipschitz_range", smallest, above=0)
    return smallest, checks.number("lipschitz_range", largest, above=0)


def _checked_start(initial_lipschitz, lipschitz_range):
    initial_lipschitz = checks.number("initial_lipschitz", initial_lipschitz, above=0)
    if not lipschitz_range[0] <= initial_lipschitz <= lipschitz_range[1]:
        raise ValueError(
            f"initial_lipschitz must lie in lipschitz_range={lipschitz_range}. "
            f"Received: initial_lipschitz={initial_lipschitz}"
        )
    return initial_lipschitz


def _check_blocks(blocks, projections):
    if len(blocks) != len(projections):
        raise ValueError(
            f"Every block needs a projection. Received: {len(blocks)} blocks,"
            f" {len(projections)} projections"
        )
    if not blocks or not all(blocks) or not all(map(callable, projections)):
        raise ValueError(
            "Every block needs a variable and a function that projects it. Received: blocks of "
            f"{[len(block) for block in blocks]} variables, "
            f"projections={checks.shown(list(projections))}"
        )


def _assign(variables, values):
    for variable, value in zip(variables, values):
        variable.assign(value)


def _inner(a, b):
    return tf.add_n([tf.reduce_sum(x * y) for x, y in zip(a, b)])
