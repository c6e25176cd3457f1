"""The network with its fused kernels, as its users run it: its precision, and its bytes in another
process.
"""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from test_network import assert_close, check_against_plain, network, parameters_of, plain

from tfvn.models.base import magnitude
from tfvn.models.descent import PARAMETERS
from tfvn.models.variational import VariationalNetwork


@pytest.mark.slow
def test_single_precision_agrees_to_a_hundred_thousandth(case):
    inputs = case(batch=2)
    check_against_plain(network(), inputs, "complex64", 1e-5, graph=True)


def test_ten_stages_in_single_precision_agree_to_a_hundred_thousandth(case):
    model, inputs = network(num_stages=10), case()
    kspace, maps, mask = (inputs[key] for key in ("kspace", "sensitivity_maps", "mask"))
    expected = plain(model, tf.cast(kspace, tf.complex128), maps, mask, parameters_of(model))
    assert_close(model(inputs), expected, 1e-5)


@pytest.mark.slow
def test_every_gradient_of_a_full_size_slice_agrees_with_double_precision_to_a_hundred_thousandth():
    # Images with a mean, so that the sums over all pixels grow: of zero mean they would be easy.
    # Coils add nothing to these sums: there are two.
    rng = np.random.default_rng(1)
    maps, zero_filled = (
        rng.standard_normal((1, 2, 640, 368, 2)),
        0.2 * rng.standard_normal((1, 640, 368, 2)),
    )
    maps, zero_filled = (x.astype("float32").view("complex64")[..., 0] for x in (maps, zero_filled))
    maps /= np.sqrt((np.abs(maps) ** 2).sum(1, keepdims=True))
    zero_filled += 1
    mask = (rng.random((1, 1, 1, 368)) < 0.3).astype("float32")
    reference = np.abs(rng.standard_normal((1, 640, 368))).astype("float32") / 3
    single, double = (
        VariationalNetwork(num_stages=1, dtype=dtype) for dtype in ("float32", "float64")
    )
    single.stages[0].rbf_weights.assign(0.1 * rng.standard_normal((24, 31)))
    double.set_weights(single.get_weights())

    def gradients(model, dtype):
        image = tf.constant(zero_filled, dtype)
        inputs = {
            "zero_filled": image,
            "sensitivity_maps": tf.constant(maps, dtype),
            "mask": tf.constant(mask, model.dtype),
        }
        with tf.GradientTape() as tape:
            tape.watch(image)
            loss = tf.reduce_sum((magnitude(model(inputs)) - reference.astype(model.dtype)) ** 2)
        return tape.gradient(
            loss,
            {**{name: getattr(model.stages[0], name) for name in PARAMETERS}, "zero_filled": image},
        )

    expected, actual = gradients(double, "complex128"), gradients(single, "complex64")
    errors = {
        name: np.abs(actual[name].numpy() - x.numpy()).max() / np.abs(x).max()
        for name, x in expected.items()
    }
    assert max(errors.values()) <= 1e-5, errors


_LOAD = """
import sys, numpy as np
{imports}
from tensorflow import keras
model = keras.models.load_model(sys.argv[1], compile=False)
with np.load(sys.argv[2]) as file:
    np.save(sys.argv[3], model.reconstruct(dict(file)).numpy())
"""


@pytest.mark.slow
@pytest.mark.parametrize("imports", ["import tensorflow, tfvn", "from tfvn import metrics"])
def test_a_saved_model_gives_the_same_bytes_in_a_new_process(case, tmp_path, imports):
    small, inputs = network(), case()
    paths = [tmp_path / name for name in ("model.keras", "inputs.npz", "output.npy")]
    small.save(paths[0])
    np.savez(paths[1], **inputs)
    command = [sys.executable, "-c", _LOAD.replace("{imports}", imports), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(paths[2]), small.reconstruct(inputs))
