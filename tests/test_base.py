"""Any model: what the base class gives to a network that only writes `call`."""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras
from test_models import ROWS

from tfvn.data import DataWarning
from tfvn.models import MODELS, Reconstructor, ZeroFilled, load_model, magnitude
from tfvn.physics.noise import SMOOTHING, keys


class Residual(Reconstructor):
    """A network that reads k-space, whose layers make their weights when they are called."""

    reads = "kspace"

    def __init__(self, filters=2, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.first = keras.layers.Conv2D(filters, 3, padding="same", dtype=self.dtype)
        self.last = keras.layers.Conv2D(2, 3, padding="same", dtype=self.dtype)

    def call(self, inputs):
        image = self.sense.adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])
        features = tf.stack([tf.math.real(image), tf.math.imag(image)], -1)
        features = self.last(tf.nn.softplus(self.first(features)))
        return image + tf.complex(features[..., 0], features[..., 1])

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


MODELS_OF_ANY_KIND = {"zero-filled": ZeroFilled, "k-space": Residual}
any_model = pytest.mark.parametrize("make", MODELS_OF_ANY_KIND.values(), ids=MODELS_OF_ANY_KIND)


@any_model
def test_a_model_reconstructs_the_magnitude_of_its_call(case, make):
    # Twice, as the weights of the second are not those of the first.
    for model in (make(), make()):
        image = model.reconstruct(case(2))
        np.testing.assert_allclose(image, magnitude(model(case(2))), rtol=0, atol=1e-6)
        assert image.shape == (2, 24, 20)


@any_model
def test_weights_that_are_changed_are_seen(case, make):
    model, other = make(), make()
    model.reconstruct(case())
    other.reconstruct(case())
    for weights in ([2 * w for w in model.get_weights()], model.get_weights()):
        other.set_weights(weights)
        np.testing.assert_allclose(
            other.reconstruct(case()), magnitude(other(case())), rtol=1e-6, atol=1e-6
        )


@any_model
def test_the_gradient_in_the_measurement_matches_central_differences(case, make):
    model, inputs = make(dtype="float64"), case(2, 2, 12, 10, dtype="complex128")
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((2, 12, 10))
    shape = inputs["kspace"].shape
    direction = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    kspace = tf.constant(inputs["kspace"])
    with tf.GradientTape() as tape:
        tape.watch(kspace)
        value = tf.reduce_sum(weight * model.reconstruct({**inputs, "kspace": kspace}))
    derivative = np.vdot(tape.gradient(value, kspace), direction).real
    ends = []
    for step in (1e-6, -1e-6):
        changed = {**inputs, "kspace": inputs["kspace"] + step * direction}
        ends.append(np.sum(weight * model.reconstruct(changed)))
    assert derivative == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


@any_model
def test_a_deterministic_model_has_no_draws(case, make):
    model = make()
    statistics = model.statistics(case(2), keys(0, SMOOTHING, [3, 4]))
    image = model.reconstruct(case(2))
    np.testing.assert_allclose(statistics.mean, image, rtol=0, atol=1e-6)
    norms = np.linalg.norm(image.numpy().reshape(2, -1), axis=1)
    np.testing.assert_allclose(statistics.largest_norm, norms, rtol=1e-5)
    assert statistics.deviation is None
    assert model.draws == 0 and model.keys([1, 2]) is None


def test_nothing_is_claimed_of_a_network_by_itself():
    assert Residual().certificates == ()


class Wrong(Reconstructor):
    """Returns what `answer` is made to return."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.built = True

    def call(self, inputs):
        return self.function(inputs["zero_filled"])


@pytest.mark.parametrize(
    "function, told",
    [
        (tf.abs, "must return a complex image, complex64 as its inputs. Received: float32"),
        (lambda x: x[:, 1:], "must return an image of the shape of A.H k.*Received: .1, 23, 20."),
        (lambda x: 3, "must return a tensor, made by TensorFlow. Received: 3"),
    ],
)
def test_a_call_that_returns_something_else_is_told_so(case, function, told):
    with pytest.raises(ValueError, match=f"Wrong.call {told}"):
        Wrong(function).reconstruct(case())


def test_an_initial_image_is_for_models_that_read_it(case):
    image = np.zeros((1, 24, 20), np.complex64)
    with pytest.raises(ValueError, match="ZeroFilled reads no initial_image. Remove it"):
        ZeroFilled().reconstruct({**case(), "initial_image": image})


def test_architectures_are_equal_for_models_that_compute_the_same():
    for row in ROWS.values():
        model = functools.partial(MODELS[row.name], **row.settings)
        one, other = model(name="one"), model(name="other")
        assert one.architecture == other.architecture
        assert one.architecture != model(readout_oversampling=True).architecture
        assert one.twin().architecture == one.architecture
    assert Wrong(tf.abs).architecture is None


def test_models_are_saved_to_keras_files_alone(tmp_path):
    with pytest.raises(ValueError, match="a file with the ending .keras. Received: filepath="):
        ZeroFilled().save(tmp_path / "model.h5")


def test_any_thread_saves_a_model(tmp_path):
    # Keras 2 takes the file for HDF5 in all threads but one.
    with ThreadPoolExecutor(1) as threads:
        threads.submit(ZeroFilled().save, tmp_path / "model.keras").result()
    assert isinstance(load_model(tmp_path / "model.keras"), ZeroFilled)


class OfNumPy(Residual):
    def call(self, inputs):
        return tf.constant(np.fft.fft2(inputs["kspace"]))[:, 0]


class OfAnotherKey(Residual):
    def call(self, inputs):
        return inputs["zero_filled"]


@pytest.mark.parametrize(
    "make, told",
    [
        (OfNumPy, "OfNumPy.call must compute with TensorFlow.*Received: a call of NumPy"),
        (OfAnotherKey, "OfAnotherKey.call reads 'zero_filled'.*attribute reads, 'kspace', says"),
    ],
)
def test_a_call_that_cannot_be_traced_is_told_why(case, make, told):
    model = make()
    model.built = True
    with pytest.raises(ValueError, match=told):
        model.reconstruct(case())


def test_a_warning_is_of_the_line_that_reconstructs(case):
    with pytest.warns(DataWarning) as warned:
        ZeroFilled().reconstruct({**case(), "kspace": 1e-5 * case()["kspace"]})
    assert warned[0].filename == __file__


class Raw(Reconstructor):
    """Two variables that Keras knows by name or not at all."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.shift = tf.Variable(1.0, trainable=False)
        self.scale = tf.Variable(3.0)
        self.built = True

    def call(self, inputs):
        return inputs["zero_filled"] * tf.complex(self.scale, self.shift)

    def get_config(self):
        return super().get_config()


def test_variables_that_are_no_weights_are_read_as_they_are(case):
    models = Raw(), Raw()
    models[1].scale.assign(5.0)
    for model in (*models, models[0]):
        np.testing.assert_allclose(
            model.reconstruct(case()), magnitude(model(case())), rtol=0, atol=1e-5
        )
    models[0].scale.assign(7.0)
    np.testing.assert_allclose(
        models[0].reconstruct(case()), magnitude(models[0](case())), rtol=0, atol=1e-5
    )


def test_a_frozen_layer_keeps_its_place(case, tmp_path):
    whole, frozen = Residual(), Residual()
    for model in (whole, frozen):
        model.reconstruct(case())
    frozen.first.trainable = False
    np.testing.assert_allclose(
        frozen.reconstruct(case()), magnitude(frozen(case())), rtol=0, atol=1e-6
    )
    assert [x.shape for x in whole.lent()] == [x.shape for x in frozen.lent()]
