"""The device only arranges what is computed.

An accelerator, pretended on a CPU, gives the same numbers.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.client import device_lib

from tfvn import device
from tfvn.defences.smoothing import Smoothed
from tfvn.models import MODELS
from tfvn.models.activations import RBFActivation
from tfvn.models.classical import ZeroFilled
from tfvn.models.variational import VariationalNetwork
from tfvn.physics import noise
from tfvn.physics.noise import image_noise
from tfvn.physics.sense import Sense

BYTES = 10**9


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine that lists two GPUs of 8 and 4 GB, with 1 GB in use on the first."""
    gpus = [SimpleNamespace(name=f"GPU:{i}") for i in range(2)]
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: gpus if kind == "GPU" else []
    )
    listed = [("CPU", 2), ("GPU", 8), ("GPU", 4)]
    devices = [
        SimpleNamespace(device_type=kind, memory_limit=size * BYTES) for kind, size in listed
    ]
    monkeypatch.setattr(device_lib, "list_local_devices", lambda: devices)
    in_use = {"GPU:0": {"current": BYTES, "peak": 3 * BYTES}}
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", in_use.__getitem__)
    return gpus


@pytest.fixture
def pretend(monkeypatch):
    """A function that makes a module believe that there is an accelerator."""

    def set_accelerator(module):
        noise._drawing.cache_clear()
        monkeypatch.setattr(f"tfvn.{module}.on_accelerator", lambda: True)

    yield set_accelerator
    noise._drawing.cache_clear()


# What there is


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="this machine has a GPU")
def test_a_cpu_is_no_accelerator():
    assert device.accelerators() == [] and device.on_accelerator() is False
    assert device.free_memory() is None
    device.grow_memory()


def test_gpus_are_accelerators(two_gpus):
    assert device.accelerators() == two_gpus and device.on_accelerator() is True


def test_a_tpu_is_an_accelerator_without_known_memory(monkeypatch):
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: ["TPU:0"] if kind == "TPU" else []
    )
    assert device.accelerators() == ["TPU:0"] and device.on_accelerator() is True
    assert device.free_memory() is None


def test_memory_grows_on_every_gpu(two_gpus, monkeypatch):
    calls = []
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, grows: calls.append((gpu, grows))
    )
    device.grow_memory()
    assert calls == [(gpu, True) for gpu in two_gpus]


def test_free_memory_is_what_is_not_in_use_of_the_first_gpu(two_gpus):
    assert device.free_memory() == 7 * BYTES


# The same numbers


OPERATORS = pytest.mark.parametrize("readout_oversampling", [False, True])
MASKS = pytest.mark.parametrize("mask", ["columns", "points", "weights"])


def problem(case, mask, readout_oversampling):
    inputs = case(2, 3, 9, 8, mask, "complex128")
    rng, shape = np.random.default_rng(1), (2, 4 if readout_oversampling else 9, 8)
    image = tf.constant(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    fixed = (tf.constant(inputs[key]) for key in ("sensitivity_maps", "mask"))
    return Sense(readout_oversampling, dtype="float64"), image, *fixed


@OPERATORS
@MASKS
def test_the_normal_operator_is_the_same_on_an_accelerator(
    case, pretend, mask, readout_oversampling
):
    sense, *arguments = problem(case, mask, readout_oversampling)
    expected = sense.normal(*arguments)
    pretend("physics.sense")
    np.testing.assert_allclose(sense.normal(*arguments), expected, rtol=0, atol=1e-12)


@pytest.mark.slow_cases
@OPERATORS
@MASKS
def test_the_noise_is_the_same_on_an_accelerator(case, pretend, mask, readout_oversampling):
    sense, _, *fixed = problem(case, mask, readout_oversampling)
    seeds = tf.constant([[3, 1], [4, 1]])
    expected = image_noise(sense, *fixed, seeds)
    pretend("physics.sense")
    np.testing.assert_allclose(image_noise(sense, *fixed, seeds), expected, rtol=0, atol=1e-12)


@MASKS
def test_coils_are_a_loop_on_a_cpu_alone(case, operations, pretend, mask):
    sense, *arguments = problem(case, mask, False)
    loops = {"While", "StatelessWhile"}
    assert operations(sense.normal, *arguments) & loops
    pretend("physics.sense")
    assert not operations(sense.normal, *arguments) & loops


def test_the_weight_gradient_is_the_same_on_an_accelerator(pretend):
    # More pixels than two rows of an accelerator hold.
    activation, rng = RBFActivation(num_centers=7), np.random.default_rng(1)
    x, cotangent = (
        tf.constant(rng.uniform(-1.6, 1.6, (1, 200, 200, 2)), "float32") for _ in range(2)
    )
    expected = activation.weight_gradient(x, cotangent)
    pretend("models.activations")
    actual = activation.weight_gradient(x, cotangent)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


# How many draws at once


@pytest.fixture(scope="module")
def network():
    return VariationalNetwork(num_stages=2, filters=4, kernel_size=3)


def chunk(network, inputs):
    return Smoothed(network, 0.1, 7)._chunk_size(inputs["sensitivity_maps"].shape)


# Half of the free memory, for two slices, in units of what an image takes.
@pytest.mark.parametrize(
    "images, expected", [(0, 1), (1.9, 1), (2, 1), (3.9, 1), (4, 2), (14, 7), (1000, 500)]
)
def test_a_chunk_is_what_half_of_the_free_memory_holds(
    case, network, monkeypatch, images, expected
):
    inputs = case(batch=2)
    free = int(images * 2 * network.memory_per_image(inputs["sensitivity_maps"].shape))
    monkeypatch.setattr("tfvn.defences.drawn.free_memory", lambda: free)
    assert chunk(network, inputs) == expected


def test_a_chunk_of_a_cpu_is_one_draw(case, network, monkeypatch):
    monkeypatch.setattr("tfvn.defences.drawn.free_memory", lambda: None)
    assert chunk(network, case()) == 1


def test_a_chunk_of_a_model_that_does_not_tell_what_it_takes_is_one_draw(
    case, network, monkeypatch
):
    monkeypatch.setattr("tfvn.defences.drawn.free_memory", lambda: 10**12)
    assert chunk(ZeroFilled(), case()) == 1 < chunk(network, case())


def test_a_chunk_of_unknown_sizes_is_one_draw(network, monkeypatch):
    monkeypatch.setattr("tfvn.defences.drawn.free_memory", lambda: 10**12)
    assert chunk(network, {"sensitivity_maps": tf.keras.Input([2, 24, 20], dtype="complex64")}) == 1


def test_an_image_takes_more_memory_the_more_of_anything_it_has(network):
    shape = (1, 2, 24, 20)
    least = network.memory_per_image(shape)
    # At least the features of one stage and the coils, in bytes.
    assert least >= 4 * 24 * 20 * (4 * 4 + 2 * 2)
    for axis in (1, 2, 3):
        assert (
            network.memory_per_image([size + (i == axis) for i, size in enumerate(shape)]) > least
        )
    for settings in (
        dict(num_stages=3),
        dict(filters=5),
        dict(kernel_size=5),
        dict(dtype="float64"),
    ):
        other = VariationalNetwork(**{**dict(num_stages=2, filters=4, kernel_size=3), **settings})
        assert other.memory_per_image(shape) > least


# The peak of a second gradient of three images, model by model. The first is traced and optimised.
_GRADIENTS = """
import ctypes, gc, json
import tensorflow as tf
from tfvn.models import MODELS

def measure(model):
    @tf.function(autograph=False)
    def gradient(data, inputs):
        with tf.GradientTape() as tape:
            tape.watch(data)
            energy = tf.reduce_sum(tf.square(model.answer({**inputs, model.reads: data})))
        return tape.gradient(energy, data)

    parts = tf.random.stateless_normal([2, 3, 6, 128, 96], [0, 0])
    inputs = model.measured({
        "sensitivity_maps": tf.complex(*parts) / 6**0.5,
        "mask": tf.cast(tf.range(96) % 2, "float32")[None, None, None],
        "kspace": tf.complex(*parts),
    })
    del parts
    gradient(inputs[model.reads], inputs)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        # The peak so far is forgotten.
        file.write("5")
    report_peak()
    gradient(inputs[model.reads], inputs)
    report_peak()

for name, settings in json.loads(sys.argv[1]):
    measure(MODELS[name](**settings))
"""
LARGE_MODELS = [
    ("unet", dict(channels=32, pools=3)),
    ("modl", dict(filters=32, num_iterations=4)),
    (
        "e2e-varnet",
        dict(channels=8, num_cascades=4, pools=3, sensitivity_channels=6, sensitivity_pools=2),
    ),
]


@pytest.mark.one_stack
@pytest.mark.slow
def test_what_an_image_takes_is_told_within_a_factor_of_two(peak_memory):
    # The allocator of oneDNN keeps what it once had.
    peaks = peak_memory(_GRADIENTS, json.dumps(LARGE_MODELS), TF_ENABLE_ONEDNN_OPTS="0")
    for (name, settings), before, after in zip(LARGE_MODELS, peaks[::2], peaks[1::2]):
        measured = (after - before) / 3
        told = MODELS[name](**settings).memory_per_image((3, 6, 128, 96))
        assert measured / 2 < told < 2 * measured, name


@pytest.mark.slow
@pytest.mark.one_stack
def test_a_chunk_from_free_memory_gives_the_same_image(case, network, monkeypatch):
    inputs, sizes = case(batch=2), []
    expected = Smoothed(network, 0.1, 7, chunk_size=1).reconstruct(inputs)
    free = 2 * 3 * 2 * network.memory_per_image(inputs["sensitivity_maps"].shape)
    monkeypatch.setattr("tfvn.defences.drawn.free_memory", lambda: free)
    original = Smoothed._chunk_size

    def recorded(model, shape):
        sizes.append(original(model, shape))
        return sizes[-1]

    monkeypatch.setattr(Smoothed, "_chunk_size", recorded)
    found = Smoothed(network, 0.1, 7).reconstruct(inputs)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert set(sizes) == {3}
