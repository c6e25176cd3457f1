"""iPALM on a small problem with three blocks: 1/2 ||sum_i c_i A_i B_i - Y||^2 + 0.1 sum B_i^4.

The columns of A_i have norm at most 1, B_i is free, c_i >= 0.
"""

import numpy as np
import pytest
import tensorflow as tf

from tfvn.training.ipalm import IPALM


def unit_columns(x):
    return x / tf.maximum(tf.norm(x, axis=0, keepdims=True), 1)


PROJECTIONS = [unit_columns, tf.identity, tf.nn.relu]
PLAIN_PROJECTIONS = [
    lambda x: x / np.maximum(np.linalg.norm(x, axis=0, keepdims=True), 1),
    lambda x: x,
    lambda x: np.maximum(x, 0),
]


def start(seed):
    """Y and the three blocks, of two arrays each."""
    rng = np.random.default_rng(seed)
    return 3 * rng.standard_normal((6, 5)), [
        [rng.standard_normal((6, 3)), 2 * rng.standard_normal((6, 3))],
        [rng.standard_normal((3, 5)), rng.standard_normal((3, 5))],
        [np.array(1.5), np.array(-0.5)],
    ]


class Problem:
    """The problem in TensorFlow, with its iteration."""

    def __init__(self, seed=0, **settings):
        target, blocks = start(seed)
        self.target = tf.constant(target)
        self.blocks = [[tf.Variable(x, dtype="float64") for x in block] for block in blocks]
        self.ipalm = IPALM(self.blocks, PROJECTIONS, dtype="float64", **settings)
        self.step = tf.function(lambda: self.ipalm.step(self.energy, self.energy_and_gradients))

    def energy_and_gradients(self, block):
        with tf.GradientTape() as tape:
            value = self.energy()
        return value, tape.gradient(value, self.blocks[block])

    def energy(self):
        a, b, c = self.blocks
        residual = tf.add_n([c[i] * a[i] @ b[i] for i in range(2)]) - self.target
        return tf.reduce_sum(residual**2) / 2 + 0.1 * tf.add_n([tf.reduce_sum(x**4) for x in b])

    def nan(self):
        return np.nan * self.energy()

    def values(self):
        return [[x.numpy() for x in block] for block in self.blocks]

    def state(self):
        return (
            self.values(),
            [float(x) for x in self.ipalm.lipschitz],
            [int(x) for x in self.ipalm.trials],
        )


class Plain:
    """The same, in NumPy, from the formulas."""

    def __init__(self, seed=0, momentum=0.7, initial_lipschitz=1000.0):
        self.target, blocks = start(seed)
        self.x = [[project(x) for x in block] for block, project in zip(blocks, PLAIN_PROJECTIONS)]
        self.old = [list(block) for block in self.x]
        self.momentum, self.lipschitz, self.trials = momentum, [initial_lipschitz] * 3, [0] * 3

    def energy_and_gradients(self):
        a, b, c = self.x
        residual = sum(c[i] * a[i] @ b[i] for i in range(2)) - self.target
        value = (residual**2).sum() / 2 + 0.1 * sum((x**4).sum() for x in b)
        return value, [
            [c[i] * residual @ b[i].T for i in range(2)],
            [c[i] * a[i].T @ residual + 0.4 * b[i] ** 3 for i in range(2)],
            [(residual * (a[i] @ b[i])).sum() for i in range(2)],
        ]

    def step(self):
        for n, project in enumerate(PLAIN_PROJECTIONS):
            current = self.x[n]
            point = [x + self.momentum * (x - old) for x, old in zip(current, self.old[n])]
            self.old[n], self.x[n] = current, point
            value, gradients = self.energy_and_gradients()
            accepted, self.trials[n] = False, 0
            while not accepted and self.trials[n] < 40:
                lipschitz = self.lipschitz[n]
                self.x[n] = [project(v - g / lipschitz) for v, g in zip(point, gradients[n])]
                steps = [x - v for x, v in zip(self.x[n], point)]
                model = value + sum(
                    (g * s).sum() + lipschitz / 2 * (s**2).sum()
                    for g, s in zip(gradients[n], steps)
                )
                accepted = self.energy_and_gradients()[0] <= model * (1 + np.sign(model) * 1e-3)
                self.lipschitz[n] = min(max(lipschitz * (0.75 if accepted else 2), 1e-3), 1e12)
                self.trials[n] += 1
            if not accepted:
                self.x[n] = current


@pytest.mark.slow_cases
@pytest.mark.parametrize("initial_lipschitz", [1e-2, 1000.0])
@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_it_follows_the_formulas_step_by_step(momentum, initial_lipschitz):
    settings = dict(momentum=momentum, initial_lipschitz=initial_lipschitz)
    problem, plain, trials = Problem(**settings), Plain(**settings), []
    for _ in range(25):
        problem.step()
        plain.step()
        values, lipschitz, trials_now = problem.state()
        for block, expected in zip(values, plain.x):
            for x, y in zip(block, expected):
                np.testing.assert_allclose(x, y, rtol=0, atol=1e-10)
        np.testing.assert_allclose(lipschitz, plain.lipschitz, rtol=1e-12)
        assert trials_now == plain.trials
        trials += trials_now
    # Otherwise the comparison would not have seen the backtracking.
    assert 1 in trials and max(trials) > 1


def test_constraints_hold_after_every_step():
    problem = Problem(initial_lipschitz=1.0)
    for _ in range(30):
        problem.step()
        a, _, c = problem.values()
        assert all((np.linalg.norm(x, axis=0) <= 1 + 1e-12).all() for x in a)
        assert min(c) >= 0


@pytest.mark.slow_cases
@pytest.mark.parametrize("seed", range(6))
def test_the_energy_never_ends_above_its_start(seed):
    problem = Problem(seed, initial_lipschitz=10.0)
    problem.step()
    before = float(problem.energy())
    for _ in range(40):
        problem.step()
    assert float(problem.energy()) < before


@pytest.mark.slow
def test_an_accepted_step_keeps_the_descent_lemma_without_inertia():
    # Without inertia each block's lemma makes the energy fall, up to the slack of each block.
    problem = Problem(momentum=0.0, initial_lipschitz=10.0)
    problem.step()
    for _ in range(20):
        before = float(problem.energy())
        problem.step()
        assert float(problem.energy()) <= before * (1 + 1e-3) ** 3


def test_without_inertia_a_step_returns_the_energy_before_it():
    problem = Problem(initial_lipschitz=10.0, momentum=0.0)
    problem.step()
    for _ in range(3):
        before = float(problem.energy())
        assert float(problem.step()) == pytest.approx(before, rel=1e-12)


def test_the_first_step_starts_from_feasible_values():
    problem = Problem()
    problem.ipalm.step(problem.nan, problem.energy_and_gradients)
    for block, expected, project in zip(problem.values(), start(0)[1], PLAIN_PROJECTIONS):
        for x, y in zip(block, expected):
            np.testing.assert_allclose(x, project(y), rtol=0, atol=1e-15)


@pytest.mark.slow
def test_a_nan_energy_is_rejected_and_the_block_stays():
    problem = Problem()
    for _ in range(3):
        problem.step()
    before = problem.values()
    nan_trials = tf.function(lambda: problem.ipalm.step(problem.nan, problem.energy_and_gradients))
    nan_trials()
    for block, expected in zip(problem.values(), before):
        for x, y in zip(block, expected):
            np.testing.assert_array_equal(x, y)
    assert [int(t) for t in problem.ipalm.trials] == [40] * 3


def test_steps_into_nan_are_shortened_until_they_are_finite():
    # The energy is NaN beyond a wall that full steps would cross; L starts far too small.
    x = tf.Variable([0.5, 0.5], dtype="float64")
    iteration = IPALM([[x]], [tf.identity], initial_lipschitz=1e-3, dtype="float64")

    def energy():
        return tf.reduce_sum(tf.math.log(x)) * -1 + tf.reduce_sum(x) * 3

    values = [float(iteration.step(energy, lambda _: (energy(), [3 - 1 / x]))) for _ in range(40)]
    assert np.isfinite(values).all()
    np.testing.assert_allclose(x, [1 / 3] * 2, rtol=1e-2)


@pytest.mark.slow
def test_a_rejected_block_loses_its_inertia():
    problem = Problem()
    for _ in range(3):
        problem.step()
    problem.ipalm.step(problem.nan, problem.energy_and_gradients)
    for block, previous in zip(problem.blocks, problem.ipalm.previous):
        for x, old in zip(block, previous):
            np.testing.assert_array_equal(x, old)


@pytest.mark.slow
def test_the_lipschitz_estimate_stays_in_its_range():
    problem = Problem(initial_lipschitz=100.0, lipschitz_range=(50.0, 200.0))
    for _ in range(20):
        problem.step()
        assert all(50 <= float(x) <= 200 for x in problem.ipalm.lipschitz)


@pytest.mark.slow
def test_a_restored_state_continues_identically():
    whole, first, second = Problem(), Problem(), Problem(seed=1)
    for _ in range(6):
        whole.step()
    for _ in range(3):
        first.step()
    second.target = first.target
    second.ipalm.set_weights(first.ipalm.get_weights())
    for block, values in zip(second.blocks, first.values()):
        for x, value in zip(block, values):
            x.assign(value)
    for _ in range(3):
        second.step()
    for block, expected in zip(second.values(), whole.values()):
        for x, y in zip(block, expected):
            np.testing.assert_array_equal(x, y)


def test_the_callers_variables_are_not_counted_as_its_own():
    ipalm = Problem().ipalm
    # Six previous iterates, three L, three numbers of trials and the mark of the start.
    assert ipalm.trainable_variables == [] and len(ipalm.weights) == 13


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_a_momentum_outside_its_range_is_refused(momentum):
    with pytest.raises(
        ValueError, match=rf"momentum must lie in \[0, 1\). Received: momentum={momentum}"
    ):
        IPALM([[tf.Variable(0.0)]], [tf.identity], momentum=momentum)


@pytest.mark.parametrize("value", [0.0, 1e-4, 1e13, float("nan")])
def test_a_start_outside_the_range_is_refused(value):
    with pytest.raises(ValueError, match=f"Received: initial_lipschitz={value}"):
        IPALM([[tf.Variable(0.0)]], [tf.identity], initial_lipschitz=value)


def test_a_block_without_projection_is_refused():
    with pytest.raises(
        ValueError, match="Every block needs a projection. Received: 2 blocks, 1 projections"
    ):
        IPALM([[tf.Variable(0.0)], [tf.Variable(0.0)]], [tf.identity])


@pytest.mark.parametrize(
    "name, value",
    [
        ("momentum", "0.7"),
        ("momentum", True),
        ("slack", float("nan")),
        ("slack", -1),
        ("max_trials", 0),
        ("max_trials", 2.5),
    ]
    + [
        ("initial_lipschitz", None),
        ("initial_lipschitz", "1"),
        ("decrease", 0),
        ("decrease", 1.5),
        ("increase", 1.0),
    ]
    + [("lipschitz_range", (0, 1)), ("lipschitz_range", ("a", 1))],
)
def test_a_slip_is_told_in_one_sentence(name, value):
    block = [tf.Variable([1.0])]
    with pytest.raises(ValueError, match=f"^(decrease )?.*{name}.*Received: "):
        IPALM([block], [tf.identity], **{name: value})


@pytest.mark.slow_cases
@pytest.mark.parametrize(
    "blocks, projections", [([], []), ([[]], [tf.identity]), ([[tf.Variable([1.0])]], [None])]
)
def test_a_block_without_variables_or_projection_is_refused(blocks, projections):
    with pytest.raises(
        ValueError, match="Every block needs a variable and a function that projects it. Received: "
    ):
        IPALM(blocks, projections)
