"""What is compiled: one trace a shape, whatever settings and data, and no way back to Python inside
it.
"""

import numpy as np
import pytest
import tensorflow as tf

from tfvn.attacks import ProjectedGradientAscent
from tfvn.defences.smoothing import Smoothed
from tfvn.models.descent import _descent
from tfvn.models.variational import VariationalNetwork
from tfvn.training.recipes import Noise
from tfvn.training.trainer import Trainer

SETTINGS = dict(num_stages=2, filters=4, kernel_size=3)
CALLBACKS = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "NumpyFunction"}


@pytest.fixture(scope="module")
def network():
    return VariationalNetwork(**SETTINGS)


@pytest.fixture(scope="module")
def smoothed(network):
    return Smoothed(network, 0.05, 3)


@pytest.fixture(scope="module")
def models(network, smoothed):
    return {"network": network, "smoothed": smoothed}


def make_data(case, seed=0):
    """Inputs of two slices with their identities, and references."""
    inputs = {key: tf.constant(x) for key, x in case(batch=2, seed=seed).items()}
    return {**inputs, "sample_index": tf.constant([4, 7])}, inputs["sensitivity_maps"][:, 0]


@pytest.fixture(scope="module")
def data(case):
    return make_data(case)


EVERY_MODEL = pytest.mark.parametrize("name", ["network", "smoothed"])
OPTIMIZERS = pytest.mark.parametrize("optimizer", ["adam", "ipalm"])
ATTACKS = pytest.mark.parametrize(
    "name, noise", [("network", "fixed"), ("smoothed", "fixed"), ("smoothed", "fresh")]
)


# Traces


@pytest.mark.slow_cases
@ATTACKS
def test_an_attack_is_traced_once_for_all_settings_and_data(case, name, noise):
    class Counting(VariationalNetwork):
        traced = 0

        def call(self, inputs, wanted=None):
            # Python runs while a graph is traced, and not again.
            self.traced += 1
            return super().call(inputs, wanted)

    network = Counting(**SETTINGS)
    model = network
    if name == "smoothed":
        model = Smoothed(network, 0.05, 3)
    settings = [
        (1.0, dict(steps=2)),
        (0.1, dict(steps=3, step_size=0.1, momentum=0.5, restarts=2, seed=5)),
        (0.0, dict(steps=1, step_size=0.0, momentum=0.0)),
    ]
    counts = []
    for seed, (radius, own) in enumerate(settings):
        attack = ProjectedGradientAscent(**own, noise=noise)
        attack.run(model, make_data(case, seed)[0], radius)
        counts.append(network.traced)
    assert counts == [counts[0]] * 3 and counts[0] > 0


@pytest.mark.slow
@OPTIMIZERS
def test_training_is_traced_once_for_all_steps_and_data(case, optimizer):
    class Counting(Trainer):
        steps_traced = 0

        def train_step(self, data):
            # Python runs while a graph is traced, and not again.
            self.steps_traced += 1
            return super().train_step(data)

    model = Counting(VariationalNetwork(**SETTINGS), optimizer, Noise(0.1))
    for seed in range(2):
        dataset = tf.data.Dataset.from_tensors(make_data(case, seed)).repeat()
        model.fit(dataset, steps_per_epoch=2, epochs=2, shuffle=False, verbose=0)
    assert int(model.steps_done) == 8
    assert model.steps_traced == 1


@pytest.mark.slow
def test_one_trace_of_the_stages_serves_networks_and_attacks_of_one_shape(data):
    # Settings of no other test: the traces are shared by the whole process.
    models = [
        VariationalNetwork(stages, 4, 3, num_centers=13, grid_limit=1.25, seed=stages)
        for stages in (2, 2)
    ]
    for model in models:
        model.reconstruct(data[0])
        ProjectedGradientAscent(steps=2).run(model, data[0], 1.0)
    descent = _descent(models[0].stages[0].formula, True)
    assert descent.value.experimental_get_tracing_count() == 1
    assert descent.gradient.experimental_get_tracing_count() == 1


# Callbacks


def input_gradient(model, inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs["kspace"])
        value = tf.reduce_sum(model.reconstruct(inputs))
    return tape.gradient(value, inputs["kspace"])


def check_no_callback(found):
    # The search did reach the stages, at the bottom of all loops.
    assert {"Conv2D", "Exp"} <= found
    assert not found & CALLBACKS


@EVERY_MODEL
def test_a_reconstruction_calls_no_python(operations, models, data, name):
    check_no_callback(operations(models[name].reconstruct, data[0]))


@EVERY_MODEL
def test_its_gradient_calls_no_python(operations, models, data, name):
    check_no_callback(operations(lambda inputs: input_gradient(models[name], inputs), data[0]))


@pytest.mark.slow_cases
@ATTACKS
def test_an_attack_calls_no_python(operations, models, data, name, noise):
    attack = ProjectedGradientAscent(steps=2, noise=noise)
    check_no_callback(operations(lambda inputs: attack.run(models[name], inputs, 1.0), data[0]))


@pytest.mark.slow_cases
@OPTIMIZERS
def test_a_training_step_calls_no_python(operations, data, optimizer):
    model = Trainer(VariationalNetwork(**SETTINGS), optimizer, Noise(0.1))
    check_no_callback(operations(model.train_step, data))


@pytest.mark.parametrize(
    "hide, kind",
    [
        (lambda x: tf.py_function(np.sin, [x], tf.float32), "EagerPyFunc"),
        (lambda x: tf.numpy_function(np.sin, [x], tf.float32), "PyFunc"),
        (lambda x: tf.numpy_function(np.sin, [x], tf.float32, stateful=False), "PyFuncStateless"),
    ],
)
def test_the_search_finds_a_callback_in_a_loop_of_a_nested_function(operations, hide, kind):
    def body(i, x):
        return i + 1, tf.ensure_shape(hide(x), [])

    inner = tf.function(lambda x: tf.while_loop(lambda i, _: i < 3, body, (0, x))[1])
    found = operations(lambda x: inner(x) + 1, tf.constant(1.0))
    assert found & CALLBACKS == {kind}
