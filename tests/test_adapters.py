"""Models of others: Keras models, PyTorch modules and functions, as models of this package."""

import gc
import sys
import types
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from tfvn.attacks import ProjectedGradientAscent
from tfvn.defences.smoothing import Smoothed
from tfvn.models import Reconstructor, from_function, from_keras, from_torch
from tfvn.models.adapted import code_of, digest_of
from tfvn.models.features import as_channels, as_image
from tfvn.physics import measurement
from tfvn.tools import serving

SHAPE = (24, 20)
KERNEL = 0.2 * np.random.default_rng(0).standard_normal((3, 3, 2, 2))


class Native(Reconstructor):
    """x + s tanh(K * x / s) with s = max |x|, written as a model of this package."""

    def call(self, inputs):
        image = inputs["zero_filled"]
        return through(
            image, lambda x: tf.tanh(tf.nn.conv2d(x, tf.cast(KERNEL, x.dtype), 1, "SAME"))
        )


class NativeCube(Reconstructor):
    """x + x |x|^2."""

    def call(self, inputs):
        image = inputs["zero_filled"]
        return image + image * image * tf.math.conj(image)


class NativeSquare(Reconstructor):
    """|x|^2, a real answer."""

    def answer(self, inputs, key=None):
        return tf.square(tf.abs(inputs["zero_filled"]))


def through(image, network):
    """The image plus what a network of two channels makes of it, normalised."""
    features = as_channels(image)
    scale = tf.reduce_max(tf.abs(features), [1, 2, 3], keepdims=True)
    return image + as_image(scale * network(features / scale))


def keras_layer(dtype):
    layer = keras.layers.Conv2D(
        2, 3, padding="same", activation="tanh", use_bias=False, dtype=dtype
    )
    layer.build([None, *SHAPE, 2])
    layer.set_weights([KERNEL])
    return layer


def of_keras(dtype="float64", **settings):
    def forward(layer, inputs):
        return through(inputs["zero_filled"], layer)

    return from_keras(keras_layer(dtype), forward, dtype=dtype, **settings)


def of_torch(dtype="float64", **settings):
    torch = pytest.importorskip("torch")
    layer = torch.nn.Conv2d(2, 2, 3, padding=1, bias=False)
    layer.weight.data = torch.from_numpy(KERNEL.transpose(3, 2, 0, 1).copy())
    layer = layer.to(getattr(torch, dtype))

    def forward(module, inputs):
        image = inputs["zero_filled"]
        features = torch.view_as_real(image).permute(0, 3, 1, 2)
        scale = features.abs().max()
        real, imaginary = (scale * torch.tanh(module(features / scale))).unbind(1)
        return image + torch.complex(real, imaginary)

    return from_torch(layer, forward, dtype=dtype, **settings)


def of_function(dtype="float64", **settings):
    def cube(inputs):
        image = inputs["zero_filled"]
        return image + image * np.abs(image) ** 2

    def vjp(inputs, cotangent):
        image = inputs["zero_filled"]
        return (1 + 2 * np.abs(image) ** 2) * cotangent + image**2 * np.conj(cotangent)

    return from_function(cube, vjp, dtype=dtype, **settings)


def of_real_function(dtype="float64", **settings):
    def square(inputs):
        return np.abs(inputs["zero_filled"]) ** 2

    def vjp(inputs, cotangent):
        return 2 * inputs["zero_filled"] * cotangent

    return from_function(square, vjp, dtype=dtype, **settings)


def of_real_torch(dtype="float64", **settings):
    torch = pytest.importorskip("torch")

    def forward(module, inputs):
        return module(inputs["zero_filled"].abs() ** 2)

    return from_torch(torch.nn.Identity(), forward, dtype=dtype, **settings)


def of_real_keras(dtype="float64", **settings):
    def forward(layer, inputs):
        return layer(tf.square(tf.abs(inputs["zero_filled"])))

    return from_keras(
        keras.layers.Activation("linear", dtype=dtype), forward, dtype=dtype, **settings
    )


# Each with the same written as a model of this package.
MODELS = {
    "keras": (of_keras, Native),
    "torch": (of_torch, Native),
    "function": (of_function, NativeCube),
    "real-keras": (of_real_keras, NativeSquare),
    "real-torch": (of_real_torch, NativeSquare),
    "real-function": (of_real_function, NativeSquare),
}
every_model = pytest.mark.parametrize("name", MODELS)
ADAPTED = ["keras", "torch", "function"]
each_kind = pytest.mark.parametrize("name", ADAPTED)


def complex_normal(seed, *shape):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def value_and_gradient(model, inputs, r, weight):
    """sum(weight * f(k + A r)) and its gradient in r."""
    r = tf.constant(r)
    with tf.GradientTape() as tape:
        tape.watch(r)
        image = model.answer(measurement.perturbed(model.sense, inputs, r))
        value = tf.reduce_sum(weight * image)
    return float(value), tape.gradient(value, r).numpy()


@pytest.mark.slow_cases
@every_model
def test_the_gradient_matches_central_differences(name, case):
    make, _ = MODELS[name]
    model = make()
    inputs = model.measured(case(2, dtype="complex128"))
    r, direction = 0.1 * complex_normal(1, 2, *SHAPE), complex_normal(2, 2, *SHAPE)
    weight = np.random.default_rng(3).standard_normal((2, *SHAPE))
    _, gradient = value_and_gradient(model, inputs, r, weight)
    ends = [value_and_gradient(model, inputs, r + t * direction, weight)[0] for t in (1e-6, -1e-6)]
    expected = (ends[0] - ends[1]) / 2e-6
    assert np.vdot(gradient, direction).real == pytest.approx(expected, rel=1e-6)


@every_model
def test_the_same_network_answers_the_same(name, case):
    make, native = MODELS[name]
    inputs = case(1, dtype="complex128")
    expected = native(dtype="float64")
    model = make()
    for _ in range(2):
        image = model.reconstruct(inputs)
        np.testing.assert_allclose(image, expected.reconstruct(inputs), rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.abs(model(inputs)), expected.reconstruct(inputs), atol=1e-5)


@pytest.fixture
def eagerly():
    """Functions run without a trace, which would take longer than all that is computed here."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.slow_cases
@each_kind
def test_a_model_of_others_is_attacked_as_if_it_were_ours(name, case):
    make, native = MODELS[name]
    inputs = case(2)
    attack = ProjectedGradientAscent(steps=2, step_size=0.1)
    found, expected = (attack.run(model, inputs, 0.5) for model in (make("float32"), native()))
    np.testing.assert_allclose(found.objective, expected.objective, rtol=1e-4)
    np.testing.assert_allclose(found.perturbation, expected.perturbation, atol=1e-4)


@pytest.mark.slow
@each_kind
def test_a_model_of_others_is_smoothed_as_if_it_were_ours(name, case, eagerly):
    make, native = MODELS[name]
    inputs = case(1, dtype="complex128")
    models = [Smoothed(one, 0.05, num_samples=2) for one in (make(), native(dtype="float64"))]
    found, expected = (model.statistics(inputs) for model in models)
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)
    attack = ProjectedGradientAscent(steps=1)
    found, expected = (attack.run(model, inputs, 0.5) for model in models)
    np.testing.assert_allclose(found.perturbation, expected.perturbation, atol=1e-8)


@pytest.mark.parametrize("name", ["keras", "torch"])
def test_a_model_that_reads_kspace_is_given_the_image_too(name, case):
    make, native = MODELS[name]
    model = make(reads="kspace")
    inputs = case(1, dtype="complex128")
    expected = native(dtype="float64").reconstruct(inputs)
    np.testing.assert_allclose(model.reconstruct(inputs), expected, rtol=0, atol=1e-12)
    weight = np.ones((1, *SHAPE))
    r = complex_normal(1, 1, *SHAPE)
    _, gradient = value_and_gradient(model, model.measured(inputs), r, weight)
    own = native(dtype="float64")
    _, expected = value_and_gradient(own, own.measured(inputs), r, weight)
    np.testing.assert_allclose(gradient, expected, atol=1e-10)


def test_a_function_of_kspace_has_the_gradient_of_its_vjp(case):
    inputs = case(1, dtype="complex128")
    direction = complex_normal(1, *inputs["kspace"].shape)

    def forward(inputs):
        assert set(inputs) == {"kspace", "sensitivity_maps", "mask"}
        return (direction.conj() * inputs["kspace"]).sum(1)

    def vjp(inputs, cotangent):
        return direction * cotangent[:, None]

    model = from_function(forward, vjp, reads="kspace", dtype="float64")
    weight = np.random.default_rng(3).standard_normal((1, *SHAPE))
    found = model.measured(inputs)
    r, step = complex_normal(4, 1, *SHAPE), complex_normal(5, 1, *SHAPE)
    _, gradient = value_and_gradient(model, found, r, weight)
    ends = [value_and_gradient(model, found, r + t * step, weight)[0] for t in (1e-6, -1e-6)]
    assert np.vdot(gradient, step).real == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


def with_batch_norm(name):
    """A model whose slices would depend on each other if they were given together."""
    if name == "keras":
        layer = keras.layers.BatchNormalization(dtype="float64")
        return from_keras(
            layer,
            lambda layer, inputs: layer(tf.abs(inputs["zero_filled"])[..., None], training=True)[
                ..., 0
            ],
            dtype="float64",
        )
    torch = pytest.importorskip("torch")
    return from_torch(
        torch.nn.BatchNorm2d(1, track_running_stats=False).double(),
        lambda module, inputs: module(inputs["zero_filled"].abs()[:, None])[:, 0],
        dtype="float64",
    )


@pytest.mark.parametrize("name", ["keras", "torch"])
def test_a_slice_does_not_depend_on_its_batch_mate(name, case):
    model = with_batch_norm(name)
    inputs = model.measured(case(2, dtype="complex128"))
    mixed = {
        **inputs,
        "zero_filled": inputs["zero_filled"] * tf.constant([1, 3], tf.complex128)[:, None, None],
    }
    r = complex_normal(1, 2, *SHAPE)
    weight = np.random.default_rng(1).standard_normal((2, *SHAPE))
    alone, gradient = image_and_gradient(model, inputs, r, weight)
    mated, mated_gradient = image_and_gradient(model, mixed, r, weight)
    np.testing.assert_allclose(mated[0], alone[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(mated_gradient[0], gradient[0], rtol=0, atol=1e-12)
    assert np.abs(mated[1] - alone[1]).max() > 1e-3


def image_and_gradient(model, inputs, r, weight):
    r = tf.constant(r)
    with tf.GradientTape() as tape:
        tape.watch(r)
        image = model.answer(measurement.perturbed(model.sense, inputs, r))
        value = tf.reduce_sum(weight * image)
    return image, tape.gradient(value, r)


@each_kind
def test_images_may_have_fewer_rows_than_kspace_and_odd_sizes(name, case):
    make, native = MODELS[name]
    inputs = case(2, height=27, width=19, readout_oversampling=True, dtype="complex128")
    model = make(readout_oversampling=True)
    assert model.reconstruct(inputs).shape == (2, 13, 19)
    # One compiled function serves the next sizes as well.
    assert model.reconstruct(case(1, height=26, dtype="complex128")).shape == (1, 13, 20)


@pytest.mark.slow_cases
@each_kind
def test_attacks_of_several_threads_find_what_one_finds(name, case):
    make, _ = MODELS[name]
    model = make("float32")
    attack = ProjectedGradientAscent(steps=3)
    cases = [case(1, seed=seed) for seed in range(4)]
    expected = [attack.run(model, inputs, 0.5).perturbation for inputs in cases]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda inputs: attack.run(model, inputs, 0.5).perturbation, cases))
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.slow_cases
@each_kind
def test_a_model_that_nobody_holds_ends(name, case):
    make, _ = MODELS[name]
    model = make("float32")
    ProjectedGradientAscent(steps=1).run(model, case(1), 0.5)
    gone = weakref.ref(model)
    del model
    keras.backend.clear_session()
    gc.collect()
    assert gone() is None


def test_a_module_is_put_into_evaluation_mode_and_keeps_its_weights(case):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.BatchNorm2d(1))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    model = from_torch(
        module, lambda module, inputs: module(inputs["zero_filled"].abs()[:, None])[:, 0]
    )
    module.train()
    inputs = case(1)
    ProjectedGradientAscent(steps=2).run(model, inputs, 0.5)
    assert not module.training
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key])
    assert all(weight.grad is None for weight in module.parameters())


def test_a_module_that_writes_into_its_inputs_changes_no_measurement(case):
    torch = pytest.importorskip("torch")

    def forward(module, inputs):
        inputs["mask"].zero_()
        return inputs["zero_filled"].mul_(2)

    model = from_torch(torch.nn.Identity(), forward, dtype="float64")
    inputs = model.measured(case(1, dtype="complex128"))
    kept = {key: x.numpy().copy() for key, x in inputs.items()}
    _, gradient = value_and_gradient(
        model, inputs, np.zeros((1, *SHAPE), complex), np.ones((1, *SHAPE))
    )
    assert np.isfinite(gradient).all()
    for key, x in inputs.items():
        np.testing.assert_array_equal(x, kept[key])


def test_a_module_of_another_precision_is_converted(case):
    torch = pytest.importorskip("torch")
    model = from_torch(
        torch.nn.Conv2d(1, 1, 1, bias=False),
        lambda module, inputs: module(inputs["zero_filled"].abs()[:, None].float())[:, 0],
        dtype="float64",
    )
    inputs = case(1, dtype="complex128")
    assert model.reconstruct(inputs).dtype == tf.float64
    found = ProjectedGradientAscent(steps=1).run(model, inputs, 0.5)
    assert found.perturbation.dtype == tf.complex128


# What is wrong is told in one sentence.


def first_call(make):
    """What is raised by the first measurement that a model is given."""
    model = make()
    with pytest.raises(ValueError) as raised:
        model.reconstruct(make_case())
    return str(raised.value)


def make_case():
    from conftest import make_case

    return make_case(1)


def of_forward(name, forward):
    """A model of some kind whose `forward` is a function of its inputs."""
    if name == "keras":
        return from_keras(keras.layers.Activation("linear"), lambda layer, inputs: forward(inputs))
    if name == "torch":
        torch = pytest.importorskip("torch")
        return from_torch(torch.nn.Identity(), lambda module, inputs: forward(inputs))
    return from_function(forward, lambda inputs, cotangent: cotangent)


TITLES = {
    "keras": "Keras model Activation",
    "torch": "torch module Identity",
    "function": "function",
}


@each_kind
@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (lambda inputs: inputs["zero_filled"][:, :5], "must give an image of the shape of A.H k"),
        (lambda inputs: inputs["zero_filled"][0], "must give an image of the shape of A.H k"),
        (lambda inputs: inputs["zero_filled"] * float("nan"), "must answer with finite numbers"),
        (lambda inputs: inputs["image"], "failed in forward: KeyError: 'image'"),
        (lambda inputs: "an image", "must give .*Received: 'an image'"),
        (lambda inputs: None, "must give .*Received: None"),
    ],
)
def test_a_wrong_image_is_told_in_one_sentence(name, forward, words):
    text = first_call(lambda: of_forward(name, forward))
    assert text.startswith(f"The {TITLES[name]}"), text
    pytest.raises(ValueError, fail, text).match(words)
    assert "Traceback" not in text and "\n" not in text


def fail(text):
    raise ValueError(text)


def test_a_model_without_a_gradient_is_refused_and_none_is_zero(case):
    def stopped(inputs):
        return tf.stop_gradient(inputs["zero_filled"])

    def constant(inputs):
        return tf.ones_like(inputs["zero_filled"])

    for forward in (stopped, constant):
        text = first_call(lambda forward=forward: of_forward("keras", forward))
        assert "must have a gradient in zero_filled" in text
    with pytest.raises(ValueError, match="must have a gradient in zero_filled"):
        ProjectedGradientAscent(steps=1).run(of_forward("keras", stopped), case(1), 0.5)
    with pytest.raises(ValueError, match="must have a gradient in zero_filled"):
        Smoothed(of_forward("keras", stopped), 0.1).reconstruct(case(1))


def test_a_detached_module_is_refused_and_has_no_gradient_of_zeros(case):
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.ones([]))

    def detached(inputs):
        return inputs["zero_filled"].detach()

    def of_weights_alone(inputs):
        return weight * inputs["zero_filled"].detach()

    for forward in (detached, of_weights_alone):
        text = first_call(lambda forward=forward: of_forward("torch", forward))
        assert (
            "must give an image with a gradient in its inputs. Received: one that was det" in text
        )
        with pytest.raises(ValueError, match="detached"):
            ProjectedGradientAscent(steps=1).run(of_forward("torch", forward), case(1), 0.5)


@pytest.mark.parametrize(
    ("vjp", "words"),
    [
        (
            lambda inputs, cotangent: cotangent[:, :4],
            "must have a gradient of the type and shape of",
        ),
        (lambda inputs, cotangent: None, "must give an array of .* by vjp. Received: None"),
        (lambda inputs, cotangent: 1 / 0, "failed in its gradient: ZeroDivisionError"),
        (lambda inputs, cotangent: cotangent * np.inf, "must have a finite gradient"),
    ],
)
def test_a_wrong_vjp_is_told_in_one_sentence(vjp, words):
    text = first_call(lambda: from_function(lambda inputs: inputs["zero_filled"], vjp))
    pytest.raises(ValueError, fail, text).match(words)


def test_a_model_that_draws_is_refused():
    rng = np.random.default_rng(0)

    def noisy(inputs):
        return inputs["zero_filled"] * rng.uniform(0.5, 1)

    assert "must answer the same data twice alike" in first_call(
        lambda: of_forward("function", noisy)
    )


@pytest.mark.parametrize("name", ["torch", "function"])
def test_what_fails_later_is_told_in_one_sentence_as_well(name, case):
    def even(inputs):
        if inputs["zero_filled"].shape[2] % 2:
            raise RuntimeError("the width must be even")
        return inputs["zero_filled"]

    model = of_forward(name, even)
    model.reconstruct(case(1))
    words = "^The .* failed in forward: RuntimeError: the width must be even.$"
    with pytest.raises(ValueError, match=words):
        model.reconstruct(case(1, width=21))
    with pytest.raises(ValueError, match=words):
        ProjectedGradientAscent(steps=1).run(model, case(1, width=21), 0.5)


@pytest.mark.parametrize("share", [0, 0.5, 1j], ids=["zero", "half", "turned"])
def test_a_wrong_gradient_is_refused(share, case):
    model = from_function(
        lambda inputs: inputs["zero_filled"], lambda inputs, cotangent: share * cotangent
    )
    with pytest.raises(ValueError, match="must have the gradient of its answer in zero_filled"):
        model.reconstruct(case(1))


@pytest.mark.parametrize("reads", measurement.READS)
@pytest.mark.parametrize("lost", [1, 10])
def test_a_gradient_that_lacks_a_part_at_a_right_angle_is_refused(reads, lost, case):
    def turned(image):
        return lost * (tf.roll(image, 1, -1) - tf.roll(image, -1, -1))

    def of(cut):
        def forward(layer, inputs):
            image = layer(inputs["zero_filled"])
            return image + cut(turned(image))

        return from_keras(keras.layers.Activation("linear"), forward, reads=reads)

    # The lost part is antisymmetric: no gradient has anything of it along itself.
    with pytest.raises(ValueError, match="must have the gradient of its answer in .* random direc"):
        of(tf.stop_gradient).reconstruct(case(1))
    of(tf.identity).reconstruct(case(1))


def test_functions_that_were_made_with_other_numbers_are_others():
    def made(factor):
        return from_function(
            lambda inputs: factor * inputs["zero_filled"],
            lambda inputs, cotangent: factor * cotangent,
        )

    assert made(2.0).digest() == made(2.0).digest() != made(3.0).digest()


def held(value):
    def forward(inputs):
        return value

    return forward


@pytest.mark.parametrize(
    "one, other",
    [
        ([1, 2], [1, 3]),
        ((1, 2), [1, 2]),
        ([1, 2], [12]),
        ({"scale": 2}, {"scale": 3}),
        ({"scale": [np.zeros(2)]}, {"scale": [np.ones(2)]}),
        ({"a", "b"}, {"a", "c"}),
    ],
)
def test_what_lists_hold_that_a_function_was_made_with_counts(one, other):
    assert code_of(held(one)) != code_of(held(other))
    assert code_of(held(one)) == code_of(held(type(one)(one)))


def test_a_list_in_itself_and_a_name_without_a_value_are_no_obstacle():
    value = [1]
    value.append(value)
    assert code_of(held(value)) == code_of(held(value)) != code_of(held([1, [1]]))

    def forward(inputs):
        return later

    before = code_of(forward)
    later = 3
    assert code_of(forward) != before


def test_layers_of_other_settings_are_others():
    def made(activation):
        layers = [keras.Input((None, None, 2)), keras.layers.Conv2D(2, 1, activation=activation)]
        network = keras.Sequential(layers)
        network.set_weights([np.ones_like(weight) for weight in network.get_weights()])
        return from_keras(network, lambda network, inputs: inputs["zero_filled"])

    assert made("relu").digest() == made("relu").digest() != made("tanh").digest()


@pytest.mark.parametrize(
    "other", [{"activation": "relu"}, {"other_way": True}, {"dtype": "float64"}]
)
def test_a_network_of_layers_in_layers_that_is_made_twice_is_one(other):
    def made(activation="tanh", other_way=False, dtype="float32"):
        features = keras.Input((None, None, 2))
        inner_input = keras.Input((None, None, 2))
        inner_layer = keras.layers.Conv2D(2, 1, activation=activation, dtype=dtype)
        inner = keras.Model(inner_input, inner_layer(inner_input))
        once = inner(features)
        twice = keras.Sequential([keras.layers.Conv2D(2, 1)])(once)
        sums = keras.layers.Add()([twice, features if other_way else once])
        network = keras.Model(features, sums)
        network.set_weights([np.ones_like(weight) for weight in network.get_weights()])
        return from_keras(network, lambda network, inputs: inputs["zero_filled"])

    assert made().digest() == made().digest() != made(**other).digest()


def test_a_network_is_the_same_whatever_sizes_it_has_seen():
    layers = [keras.layers.Conv2D(2, 1), keras.Sequential([keras.layers.BatchNormalization()])]
    network = keras.Sequential(layers)
    network(np.zeros((1, 8, 8, 2), "f4"))
    model = from_keras(network, lambda network, inputs: inputs["zero_filled"])
    before = model.digest()
    network(np.zeros((1, 6, 10, 2), "f4"))
    assert model.digest() == before


def test_a_layer_of_other_settings_is_another():
    def made(activation):
        layer = keras.layers.Activation(activation)
        return from_keras(layer, lambda layer, inputs: inputs["zero_filled"])

    assert made("relu").digest() == made("relu").digest() != made("tanh").digest()


class StandIn:
    """What the digest of a `torch.nn.Module` asks of it, where torch is not installed."""

    def __init__(self):
        self.training = True

    def __repr__(self):
        return "Scaled()"

    def eval(self):
        return self

    def named_modules(self):
        return [("", self)]

    def state_dict(self):
        return {}


@pytest.mark.parametrize("is_real", [False, True], ids=["stand-in", "torch"])
def test_modules_of_other_code_and_other_numbers_are_others(is_real, monkeypatch):
    if not is_real:
        module = types.ModuleType("torch")
        module.nn = types.SimpleNamespace(Module=StandIn)
        monkeypatch.setitem(sys.modules, "torch", module)
    torch = pytest.importorskip("torch")

    class Scaled(torch.nn.Module):
        def __init__(self, scale=3.0):
            super().__init__()
            self.scale = scale

        def forward(self, image):
            return self.changed(image)

        def changed(self, image):
            return self.scale * image

    class Turned(Scaled):
        def forward(self, image):
            return 1j * self.changed(image)

    class Divided(Scaled):
        def changed(self, image):
            return image / self.scale

    def made(module):
        return from_torch(module, lambda module, inputs: module(inputs["zero_filled"])).digest()

    # As PyTorch shows modules, they look alike.
    Turned.__name__ = Turned.__qualname__ = Divided.__name__ = Divided.__qualname__ = "Scaled"
    one = made(Scaled())
    assert made(Scaled()) == one
    assert len({one, made(Scaled(2.0)), made(Scaled((3.0,))), made(Turned()), made(Divided())}) == 5


def test_a_model_that_python_computes_is_not_exported(tmp_path):
    with pytest.raises(ValueError, match="with TensorFlow alone to be exported. Received: a Funct"):
        serving.export(of_function("float32"), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_there_is_no_second_derivative_and_it_is_not_zero(case):
    model = of_function()
    inputs = model.measured(case(1, dtype="complex128"))
    x = inputs["zero_filled"]

    def second(x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                image = model.answer({**inputs, "zero_filled": x})
            gradient = inner.gradient(image, x)
        return outer.gradient(tf.abs(gradient), x)

    assert second(x) is None


def test_wrong_arguments_are_told():
    layer = keras.layers.Activation("linear")
    with pytest.raises(ValueError, match="model must be a Keras model or layer.*model='net.keras'"):
        from_keras("net.keras", lambda layer, inputs: None)
    with pytest.raises(ValueError, match="and no Reconstructor, which needs no adapter"):
        from_keras(Native(), lambda layer, inputs: None)
    with pytest.raises(ValueError, match=r"forward must be a function, called as forward\(model"):
        from_keras(layer, None)
    with pytest.raises(ValueError, match=r"vjp must be a function, called as vjp\(inputs, cotang"):
        from_function(lambda inputs: None, 3)
    with pytest.raises(ValueError, match="reads must be one of"):
        from_keras(layer, lambda layer, inputs: None, reads="image")
    with pytest.raises(ValueError, match="is saved by its own library"):
        of_real_keras().save("model.keras")


def test_without_torch_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        ValueError, match="needs PyTorch, which cannot.* Install it: pip install torch"
    ):
        from_torch(None, lambda module, inputs: None)


def test_something_else_than_a_module_is_told():
    pytest.importorskip("torch")
    with pytest.raises(
        ValueError, match="module must be a torch.nn.Module. Received: module='net.pt'"
    ):
        from_torch("net.pt", lambda module, inputs: None)


@each_kind
def test_the_digest_tells_models_apart(name):
    make, _ = MODELS[name]
    assert make().get_config()["digest"] == make().get_config()["digest"]
    assert make().get_config() != make(reads="kspace").get_config()
    model = make()
    before = model.digest()
    if name == "keras":
        model.inner.set_weights([1 + KERNEL])
    elif name == "torch":
        model.module.weight.data += 1
    else:
        model.vjp = abs
    assert model.digest() != before


def test_the_code_of_a_function_is_part_of_the_digest():
    def one(x):
        return [y for y in x if y in {"a", "b"}]

    def other(x):
        return [y for y in x if y in {"a", "c"}]

    assert code_of(one) != code_of(other)
    assert code_of(one) == code_of(one)
    assert digest_of([np.ones(2)]) != digest_of([np.ones(2, np.float32)])
