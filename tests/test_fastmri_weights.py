"""Weights of fastMRI's networks: read from arrays by a stand-in for PyTorch, and, where PyTorch and
fastMRI are installed, compared with their modules.
"""

import sys
import types

import numpy as np
import pytest
import tensorflow as tf

import tfvn
from tfvn.models import E2EVarNet, UNet
from tfvn.models.fastmri_weights import state_of
from tfvn.physics.fourier import fft2c

SMALL_UNET = dict(channels=2, pools=2, image="magnitude", clamp=6.0)
SMALL_VARNET = dict(
    num_cascades=2, channels=2, pools=2, sensitivity_channels=3, sensitivity_pools=1
)


class Tensor:
    """What a state dict holds."""

    def __init__(self, array):
        self.array = array

    def detach(self):
        return self

    def numpy(self):
        return self.array


@pytest.fixture
def file_of(tmp_path, monkeypatch):
    """A function that makes a file of which a stand-in for PyTorch reads the given state dict."""

    def make(state):
        path = tmp_path / "weights.pt"
        path.write_bytes(b"read by the stand-in")
        read = {name: Tensor(array) for name, array in state.items()}
        module = types.SimpleNamespace(load=lambda *_, **__: read, __version__="2.10.0")
        monkeypatch.setitem(sys.modules, "torch", module)
        return path

    return make


def make(settings):
    """A network in which no two cascades weigh the data alike."""
    if "image" in settings:
        return UNet(**settings, seed=3)
    network = E2EVarNet(**settings, seed=3)
    for number, weight in enumerate(network.data_weights):
        weight.assign(0.5 + 0.1 * number)
    return network


@pytest.mark.parametrize("prefix", ["", "unet.", "varnet."])
@pytest.mark.parametrize("settings", [SMALL_UNET, SMALL_VARNET], ids=["unet", "varnet"])
def test_a_network_comes_back_from_its_state_dict(file_of, settings, prefix):
    network = make(settings)
    state = {f"{prefix}{name}": array for name, array in state_of(network).items()}
    read = tfvn.load_model(file_of({**state, "loss.w": np.ones(3)}))
    assert type(read) is type(network)
    for name, value in settings.items():
        assert read.get_config()[name] == value, name
    for one, other in zip(read.get_weights(), network.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_kernels_are_stored_in_the_order_of_pytorch():
    network = make(SMALL_UNET)
    state = state_of(network)
    first = state["down_sample_layers.1.layers.4.weight"]
    up = state["up_transpose_conv.0.layers.0.weight"]
    assert first.shape == (4, 4, 3, 3) and up.shape == (8, 4, 2, 2)
    assert first[1, 2, 0, 1] == network.network.down[1].kernels[1].numpy()[0, 1, 2, 1]
    assert up[5, 1, 0, 1] == network.network.up[0].kernel.numpy()[5, 0, 1, 1]
    assert {"up_conv.1.0.layers.0.weight", "up_conv.1.1.bias"} <= set(state)


FIRST = "down_sample_layers.0.layers.0.weight"
BIAS = "up_conv.1.1.bias"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({BIAS: None}, rf"weights.pt: expected the weights.*Missing: \['{BIAS}'\]"),
        ({"other": np.ones(1)}, r"Received also: \['other'\]"),
        ({FIRST: np.ones((2, 2, 3, 3))}, "a U-Net of one channel.* of 2 channels"),
        ({FIRST: np.ones(2)}, "must be a kernel .output, input, row, column.. Received: shape="),
        ({FIRST: np.ones((3, 1, 3, 3))}, r"must be real of shape \(3, 3, 3, 3\). Received: floa"),
        ({BIAS: np.array([1])}, "up_conv.1.1.bias must be real of shape .1,.. Received: int64"),
        ({BIAS: np.array([np.nan])}, "up_conv.1.1.bias must be finite. Received: NaN"),
    ],
)
def test_state_dicts_that_do_not_fit_are_refused_by_name(file_of, changes, message):
    state = {**state_of(make(SMALL_UNET)), **changes}
    path = file_of({name: array for name, array in state.items() if array is not None})
    with pytest.raises(ValueError, match=message) as error:
        tfvn.load_model(path)
    assert str(error.value).startswith(str(path))


def test_only_networks_that_fastmri_has_have_its_state_dict():
    for network in (UNet(2, 1), E2EVarNet(1, 2, 1)):
        with pytest.raises(ValueError, match="a UNet of magnitudes or an E2EVarNet with sens"):
            state_of(network)


@pytest.fixture
def fastmri():
    """The modules of fastMRI, and PyTorch on one thread."""
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("fastmri.models")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield types.SimpleNamespace(torch=torch, models=models)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("size", [(46, 39), (32, 48)])
def test_the_unet_equals_that_of_fastmri(fastmri, case, tmp_path, size):
    torch = fastmri.torch
    module = fastmri.models.Unet(1, 1, 6, 3)
    torch.save(module.state_dict(), tmp_path / "unet.pt")
    network = tfvn.load_model(tmp_path / "unet.pt")
    inputs = case(2, 3, *size)
    image = torch.tensor(np.abs(network.zero_filled(inputs)))
    mean, deviation = image.mean((1, 2), keepdim=True), image.std((1, 2), keepdim=True)
    seen = ((image - mean) / (deviation + 1e-11)).clamp(-6, 6)
    with torch.no_grad():
        expected = module(seen[:, None])[:, 0] * deviation + mean
    result = tf.math.real(network(inputs))
    np.testing.assert_allclose(result, expected.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(46, 38), (32, 64)])
def test_the_end_to_end_network_equals_that_of_fastmri(fastmri, case, tmp_path, size):
    torch = fastmri.torch
    module = fastmri.models.VarNet(3, 4, 2, 6, 2)
    with torch.no_grad():
        for number, cascade in enumerate(module.cascades):
            cascade.dc_weight.fill_(0.5 + 0.2 * number)
    torch.save({"state_dict": module.state_dict()}, tmp_path / "varnet.pt")
    network = tfvn.load_model(tmp_path / "varnet.pt")
    inputs = case(2, 3, *size)
    inputs["mask"][..., size[1] // 2 - 4 : size[1] // 2 + 4] = 1
    inputs["kspace"] = inputs["mask"] * fft2c(inputs["sensitivity_maps"]).numpy()
    kspace = torch.view_as_real(torch.tensor(inputs["kspace"]))
    mask = torch.tensor(inputs["mask"])[..., None].bool()
    with torch.no_grad():
        expected = module(kspace, mask).numpy()
        maps = torch.view_as_complex(module.sens_net(kspace, mask)).numpy()
    np.testing.assert_allclose(tf.math.real(network(inputs)), expected, rtol=0, atol=1e-5)
    found = network.found_maps(tf.constant(inputs["kspace"]), tf.constant(inputs["mask"]))
    np.testing.assert_allclose(found, maps, rtol=0, atol=1e-5)


def test_in_double_precision_the_unet_of_published_size_is_equal(fastmri, case, tmp_path):
    torch = fastmri.torch
    module = fastmri.models.Unet(1, 1, 32, 4)
    torch.save(module.state_dict(), tmp_path / "unet.pt")
    network = in_double_precision(tfvn.load_model(tmp_path / "unet.pt"))
    inputs = case(1, 3, 63, 46, dtype="complex128")
    image = torch.tensor(np.abs(network.zero_filled(inputs)))
    mean, deviation = image.mean((1, 2), keepdim=True), image.std((1, 2), keepdim=True)
    seen = ((image - mean) / (deviation + 1e-11)).clamp(-6, 6)
    with torch.no_grad():
        expected = module.double()(seen[:, None])[:, 0] * deviation + mean
    result = tf.math.real(network(inputs))
    np.testing.assert_allclose(result, expected.numpy(), rtol=0, atol=1e-9)


def in_double_precision(read):
    """The same network, which computes with double precision."""
    network = type(read).from_config({**read.get_config(), "dtype": "float64"})
    network.set_weights([weight.astype("float64") for weight in read.get_weights()])
    return network


@pytest.mark.slow
def test_in_double_precision_the_networks_of_published_size_are_equal(fastmri, case, tmp_path):
    torch = fastmri.torch
    module = fastmri.models.VarNet(12, 8, 4, 18, 4)
    torch.save(module.state_dict(), tmp_path / "varnet.pt")
    network = in_double_precision(tfvn.load_model(tmp_path / "varnet.pt"))
    inputs = case(1, 3, 63, 46, dtype="complex128")
    inputs["mask"][..., 19:27] = 1
    inputs["kspace"] = inputs["mask"] * fft2c(inputs["sensitivity_maps"]).numpy()
    with torch.no_grad():
        kspace = torch.view_as_real(torch.tensor(inputs["kspace"]))
        expected = module.double()(kspace, torch.tensor(inputs["mask"])[..., None].bool()).numpy()
    result = tf.math.real(network(inputs)).numpy()
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-9)
