"""Compiled functions belong to an architecture: models share them, and never each other's
weights.
"""

import gc
import threading
import weakref
from typing import NamedTuple, Optional

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from tfvn.compat import variable_of
from tfvn.models import Reconstructor, VariationalNetwork, compiled, magnitude
from tfvn.models.compiled import shared

TRACES = []


@pytest.fixture(autouse=True)
def forgotten():
    """Every test begins with nothing compiled, and counts traces of its own."""
    compiled._kept.clear()
    compiled._own.clear()
    gc.collect()
    TRACES.clear()


class Scaled(keras.Model):
    """x -> power-th power of weight * x, as models of this package are."""

    def __init__(self, power=2, start=1.0, **kwargs):
        super().__init__(**kwargs)
        self.power, self.start = power, start
        self.factor = self.add_weight(name="factor", shape=(), initializer="ones")
        self.factor.assign(start)
        self.built = True

    def call(self, x):
        return (self.factor * x) ** self.power

    def get_config(self):
        return {"power": self.power, "start": self.start}

    @property
    def architecture(self):
        return type(self), self.power

    def lent(self):
        return [variable_of(weight) for weight in self.weights]

    def twin(self):
        return type(self).from_config(self.get_config())


class Untold(Scaled):
    """A class that tells nothing of its settings."""

    architecture = None


class Broken(Scaled):
    """A class that cannot be made of its settings."""

    def __init__(self, start, further):
        super().__init__(start=start)

    def get_config(self):
        return {}


def apply(model, x):
    TRACES.append(type(model).__name__)
    return model(x)


def apply_plus(model, number, x):
    return apply(model, x) + number


def weighted_late(model, x):
    """A function whose gradient reads the weights when it is asked for."""

    @tf.custom_gradient
    def late(x):
        def gradient(cotangent):
            return cotangent * tf.convert_to_tensor(model.factor)

        return tf.stop_gradient(model.factor) * x, gradient

    return late(tf.identity(x))


X = tf.constant([1.0, 2.0, 3.0])


def test_the_result_is_the_functions():
    model = Scaled(3, start=2.0)
    np.testing.assert_allclose(shared(model, apply)(X), (2 * X) ** 3)
    np.testing.assert_allclose(shared(model, apply_plus, 5.0)(X), (2 * X) ** 3 + 5)


def test_a_second_model_of_the_architecture_traces_nothing():
    models = [Scaled(start=start) for start in (1.0, 2.0, 3.0)]
    for model, factor in zip(models, (1, 2, 3)):
        np.testing.assert_allclose(shared(model, apply)(X), (factor * X) ** 2)
    assert len(TRACES) == 1


def test_another_architecture_function_setting_or_shape_is_traced():
    model = Scaled()
    shared(model, apply)(X)
    shared(Scaled(3), apply)(X)
    assert len(TRACES) == 2
    shared(model, apply_plus, 1.0)(X)
    shared(model, apply_plus, 2.0)(X)
    assert len(TRACES) == 4
    shared(model, apply)(X[:2])
    assert len(TRACES) == 5


@pytest.mark.slow_cases
@pytest.mark.parametrize("make", [Untold, lambda start: Broken(start, further=0)])
def test_a_model_that_cannot_be_shared_has_a_trace_of_its_own(make):
    for start in (2.0, 3.0):
        model = make(start=start)
        for _ in range(2):
            np.testing.assert_allclose(shared(model, apply)(X), (start * X) ** 2)
        model.factor.assign(5.0)
        np.testing.assert_allclose(shared(model, apply)(X), (5 * X) ** 2)
    assert len(TRACES) == 2


def test_a_model_on_a_strategy_is_not_shared():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        models = [Scaled(start=start) for start in (2.0, 3.0)]
    for model in models:
        np.testing.assert_allclose(shared(model, apply)(X), (model.start * X) ** 2)
    assert len(TRACES) == 2


def test_weights_are_those_of_the_moment_of_the_call():
    models = [Scaled(start=start) for start in (1.0, 2.0)]
    functions = [shared(model, apply) for model in models]
    for first, second in [(3.0, 4.0), (5.0, 5.0), (6.0, 1.0)]:
        models[0].factor.assign(first)
        np.testing.assert_allclose(functions[1](X), (models[1].factor * X) ** 2)
        models[1].factor.assign(second)
        np.testing.assert_allclose(functions[0](X), (first * X) ** 2)
        np.testing.assert_allclose(functions[1](X), (second * X) ** 2)


def test_weights_may_be_trained_between_calls():
    models = [Scaled(start=start) for start in (1.0, 2.0)]
    optimizer = keras.optimizers.SGD(0.1)
    for _ in range(3):
        for model in models:
            expected = (model.factor * X) ** 2
            np.testing.assert_allclose(shared(model, apply)(X), expected)
        weight = variable_of(models[0].factor)
        before = float(weight)
        optimizer.apply_gradients([(tf.constant(1.0), models[0].factor)])
        assert float(weight) == pytest.approx(before - 0.1)
        # What was lent has not moved with it.
        np.testing.assert_allclose(shared(models[1], apply)(X), (2 * X) ** 2)


def test_a_call_leaves_the_models_weights_alone():
    models = [Scaled(start=start) for start in (2.0, 3.0)]
    for model in models:
        shared(model, apply)(X)
    assert [float(model.factor) for model in models] == [2.0, 3.0]


def test_threads_get_the_answers_of_their_own_models():
    models = [Scaled(start=start) for start in (2.0, 3.0)]
    wrong = []

    def work(model):
        for number in range(200):
            model.factor.assign(model.start + number)
            found = shared(model, apply)(X).numpy()
            if not np.allclose(found, ((model.start + number) * X.numpy()) ** 2):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=[model]) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(TRACES) == 1


def test_a_model_on_another_device_has_a_prototype_of_its_own():
    one = Scaled()
    prototype = compiled._prototype(one)
    assert compiled._prototype(Scaled()) is prototype

    class Elsewhere(Scaled):
        architecture = one.architecture

        def lent(self):
            class Variable:
                device = "/job:localhost/replica:0/task:0/device:CPU:7"
                shape, dtype = variable_of(self.factor).shape, tf.float32

            return [Variable()]

    assert compiled._prototype(Elsewhere()) is not prototype


# Gradients


def gradient_of(call, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = call(x)
    return tape.gradient(value, x)


def test_a_call_is_differentiable_in_its_tensors():
    model = Scaled(3, start=2.0)
    np.testing.assert_allclose(gradient_of(shared(model, apply), X), 24 * X**2)


def test_a_gradient_is_traced_once_for_an_architecture():
    for start in (2.0, 3.0):
        gradient_of(shared(Scaled(start=start), apply), X)
    assert len(TRACES) == 2  # the value, and the gradient


@pytest.mark.slow_cases
@pytest.mark.parametrize("function", [apply, weighted_late])
def test_a_gradient_is_of_the_weights_of_its_call(function):
    one, other = Scaled(1, start=2.0), Scaled(1, start=5.0)
    with tf.GradientTape() as tape:
        tape.watch(X)
        value = shared(one, function)(X)
    shared(other, function)(X)
    one.factor.assign(7.0)
    np.testing.assert_allclose(tape.gradient(value, X), [2.0, 2.0, 2.0])


def test_a_gradient_has_a_gradient():
    model = Scaled(3, start=2.0)
    call = shared(model, apply)
    np.testing.assert_allclose(gradient_of(lambda x: gradient_of(call, x), X), 48 * X)


def test_a_jacobian_is_taken_inside_a_graph():
    model = Scaled(3, start=2.0)
    with tf.GradientTape() as tape:
        tape.watch(X)
        value = shared(model, apply)(X)
    np.testing.assert_allclose(tape.jacobian(value, X), np.diag(24 * X**2))


class Found(NamedTuple):
    image: tf.Tensor
    count: tf.Tensor
    spread: Optional[tf.Tensor]


def several(model, inputs, key, factor):
    image = model(inputs["image"]) * factor
    return Found(image, tf.reduce_sum(key), None)


def test_arguments_and_results_are_nested_structures():
    model = Scaled(1, start=2.0)
    inputs = {"image": X, "mask": None, "index": tf.constant([1])}
    with tf.GradientTape() as tape:
        tape.watch(X)
        found = shared(model, several)(inputs, tf.constant([3, 4]), np.float32(2))
    assert isinstance(found, Found)
    assert int(found.count) == 7 and found.spread is None
    np.testing.assert_allclose(found.image, 4 * X)
    np.testing.assert_allclose(tape.gradient(found.image, X), [4.0, 4.0, 4.0])


def test_complex_tensors_have_gradients():
    model = Scaled(1, start=2.0)
    z = tf.complex(X, -X)
    found = gradient_of(lambda z: tf.math.real(shared(model, product)(z)), z)
    np.testing.assert_allclose(found, gradient_of(lambda z: tf.math.real(product(model, z)), z))


def product(model, z):
    return tf.cast(model.factor, z.dtype) * z * tf.math.conj(z)


def test_what_does_not_depend_on_a_tensor_has_no_gradient():
    assert gradient_of(lambda x: shared(Scaled(), constant)(x), X) is None


def constant(model, x):
    return tf.ones(3)


def test_a_tape_watches_no_weight_of_the_prototype():
    with tf.GradientTape() as tape:
        shared(Scaled(), apply)(X)
    own = {variable.ref() for variable in compiled._prototype(Scaled()).model.lent()}
    assert not own & {variable.ref() for variable in tape.watched_variables()}


# What is kept


@pytest.mark.slow
def test_a_model_that_is_shared_is_freed():
    model = Scaled()
    shared(model, apply)(X)
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


@pytest.mark.slow
def test_a_model_of_its_own_trace_is_freed_with_it():
    model = Untold()
    shared(model, apply)(X)
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


@pytest.mark.slow
def test_only_so_many_functions_are_kept_and_prototypes_with_them():
    for power in range(compiled.KEPT + 3):
        shared(Scaled(power), apply)
    gc.collect()
    assert len(compiled._kept) == len(compiled._prototypes) == compiled.KEPT
    # The latest are those that stay.
    shared(Scaled(compiled.KEPT + 2), apply)(X)
    assert len(compiled._kept) == compiled.KEPT


def test_functions_may_run_eagerly_for_a_debugger():
    tf.config.run_functions_eagerly(True)
    try:
        for start in (2.0, 3.0):
            model = Scaled(start=start)
            np.testing.assert_allclose(shared(model, nested)(X), (start * X) ** 2)
            np.testing.assert_allclose(gradient_of(shared(model, nested), X), 2 * start**2 * X)
    finally:
        tf.config.run_functions_eagerly(False)


def nested(model, x):
    return shared(model, apply)(x)


# The package's own models


@pytest.mark.slow
def test_networks_of_one_shape_share_what_is_compiled_and_no_weights(case):
    networks = [VariationalNetwork(2, 3, 3, 5, seed=seed) for seed in (0, 1)]
    for network in networks:
        found = network.reconstruct(case())
        np.testing.assert_allclose(found, magnitude(network(case())), atol=1e-5)
    assert len(compiled._kept) == 1
    assert np.abs(found - networks[0].reconstruct(case())).max() > 1e-3


class Layered(Reconstructor):
    """A network whose layers have no weights before its first call."""

    def __init__(self, factors=(1.0,), **kwargs):
        super().__init__(**kwargs)
        self.factors = factors
        self.layer = keras.layers.Conv2D(2, 3, padding="same")

    def call(self, inputs):
        x = inputs["zero_filled"]
        x = self.layer(tf.stack([tf.math.real(x), tf.math.imag(x)], -1))
        return tf.complex(x[..., 0], x[..., 1])

    def get_config(self):
        return {**super().get_config(), "factors": self.factors}


def test_networks_whose_first_call_makes_their_weights_share_from_then_on(case):
    models = [Layered(), Layered()]
    for model in models:
        model.make_weights()
        np.testing.assert_allclose(model.reconstruct(case()), magnitude(model(case())), atol=1e-5)
    assert len(compiled._kept) == 1 and not compiled._own


def test_a_network_of_settings_that_are_no_plain_values_shares_nothing(case):
    # Of a long array NumPy shows a part.
    model = Layered(factors=np.ones(3))
    model.make_weights()
    assert model.architecture is None
    np.testing.assert_allclose(model.reconstruct(case()), magnitude(model(case())), atol=1e-5)
    assert not compiled._kept


def test_a_subclass_without_settings_of_its_own_shares_nothing():
    class Changed(VariationalNetwork):
        pass

    assert Changed(1, 2, 3, 5).architecture is None
