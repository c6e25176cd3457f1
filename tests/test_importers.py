"""Networks from files: weights against an independent reconstruction, and files that are something
else or mean harm.
"""

import errno
import io
import json
import os
import pickle
import shutil
import sys
import types
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.signal
import tensorflow as tf
from tensorflow import keras

import tfvn
from tfvn.models import Reconstructor


def write_npz(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "kernels": rng.normal(size=(2, 5, 5, 2, 3)).astype("f4"),
        "rbf_weights": rng.normal(size=(2, 3, 9)).astype("f4"),
        "data_term_weights": np.float32([0.3, 0.7]),
        "vmin": np.float32(-1),
        "vmax": np.float32(1),
        "rbf_sigma": np.float32(0.25),
        "rbf_scale": np.float32(0.4),
    }
    arrays.update(changes)
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return arrays


def random_weights(**changes):
    """Two stages of three filters in the layout of `.npz` files, strong enough for every term to
    count.
    """
    rng = np.random.default_rng(1)
    weights = {
        "kernels": rng.normal(size=(2, 5, 5, 2, 3)).astype("f4") / 5,
        "rbf_weights": rng.normal(size=(2, 3, 9)).astype("f4"),
        "data_term_weights": np.float32([0.3, 0.7]),
    }
    return {**weights, **changes}


def write_checkpoint(prefix, remove=(), **changes):
    """As the original script does: `prefix`-1000.index and .data, `checkpoint` beside them, state
    of its optimizer within.
    """
    weights = random_weights()
    kernels = weights["kernels"]
    variables = {
        "k1": (kernels[:, :, :, :1] + 1j * kernels[:, :, :, 1:]).astype("c8"),
        "w1": weights["rbf_weights"],
        "lambda": weights["data_term_weights"][:, None],
        "k1/Adam": np.full_like(kernels[..., :1, :], 3, dtype="c8"),
        "w1_old": -weights["rbf_weights"],
        "global_step": np.int64(1000),
    }
    variables.update(changes)
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        for name, value in variables.items():
            if name not in remove:
                v1.Variable(value, name=name, use_resource=False)
        session.run(v1.global_variables_initializer())
        return v1.train.Saver().save(session, str(prefix), global_step=1000, write_meta_graph=False)


def torch_arrays(weights):
    """The state dict of the PyTorch port as NumPy arrays."""
    arrays = {}
    for t, kernel in enumerate(weights["kernels"]):
        arrays[f"cell_list.{t}.conv_kernel"] = kernel.transpose(3, 0, 1, 2)[:, None]
        arrays[f"cell_list.{t}.lamb"] = np.asarray(weights["data_term_weights"][t])
        arrays[f"cell_list.{t}.activation.w"] = weights["rbf_weights"][t][None, :, None, None]
    return arrays


class WritesAFile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


class FakeTensor:
    def __init__(self, array):
        self.array = array

    def detach(self):
        return types.SimpleNamespace(numpy=lambda: self.array)


@pytest.fixture
def torch_file(tmp_path, monkeypatch):
    """A function that makes `varnet.pt`, of which a stand-in for PyTorch reads the given arrays."""

    def make(arrays):
        def load(path, map_location, weights_only):
            assert (path, map_location, weights_only) == (str(tmp_path / "varnet.pt"), "cpu", True)
            return tensors(arrays)

        def tensors(x):
            return (
                {key: tensors(value) for key, value in x.items()}
                if isinstance(x, dict)
                else FakeTensor(x)
            )

        (tmp_path / "varnet.pt").write_bytes(b"read by the stand-in")
        monkeypatch.setitem(
            sys.modules, "torch", types.SimpleNamespace(load=load, __version__="2.10.0+cpu")
        )
        return tmp_path / "varnet.pt"

    return make


def independent_reconstruction(inputs, weights, bandwidth, scale, grid_limit=1.0):
    """u <- u - (1/F) K^T phi(K u) - lambda A^H (A u - k), in float64, as it is written."""

    def fourier(x, transform):
        return np.fft.fftshift(transform(np.fft.ifftshift(x, (-2, -1)), norm="ortho"), (-2, -1))

    kspace, maps = (inputs[key][0].astype("c16") for key in ("kspace", "sensitivity_maps"))
    mask = inputs["mask"][0].astype("f8")
    image = zero_filled = (maps.conj() * fourier(mask * kspace, np.fft.ifft2)).sum(0)
    for kernel, rbf_weights, data_weight in zip(
        *(weights[key].astype("f8") for key in random_weights())
    ):
        size, _, _, filters = kernel.shape
        centers = np.linspace(-grid_limit, grid_limit, rbf_weights.shape[1])
        padded = np.pad(image, size, "symmetric")
        regulariser = np.zeros_like(padded)
        for f in range(filters):
            real, imaginary = kernel[..., 0, f], kernel[..., 1, f]
            response = scipy.signal.correlate2d(padded.real, real, "same")
            response += scipy.signal.correlate2d(padded.imag, imaginary, "same")
            gaussians = np.exp(-((response[..., None] - centers) ** 2) / (2 * bandwidth**2))
            activated = scale * gaussians @ rbf_weights[f]
            regulariser += scipy.signal.convolve2d(activated, real, "same")
            regulariser += 1j * scipy.signal.convolve2d(activated, imaginary, "same")
        normal = (
            maps.conj() * fourier(mask * fourier(maps * image, np.fft.fft2), np.fft.ifft2)
        ).sum(0)
        image = (
            image
            - regulariser[size:-size, size:-size] / filters
            - data_weight * (normal - zero_filled)
        )
    return image


def assert_reconstructs(network, inputs, expected):
    assert np.linalg.norm(network(inputs)[0] - expected) <= 1e-5 * np.linalg.norm(expected)


def test_pretrained_weights_give_the_independent_reconstruction(shared_data):
    network = tfvn.models.imported.from_npz(shared_data("vn_coronal_pd_fs.npz"))
    case = np.load(shared_data("vn_case.npz"))
    inputs = {
        "kspace": case["kspace"][None],
        "sensitivity_maps": case["sensitivity_maps"][None],
        "mask": case["mask"][None, None, None],
    }
    expected = case["reconstruction"]
    assert np.linalg.norm(network(inputs)[0] - expected) <= 1e-4 * np.linalg.norm(expected)
    np.testing.assert_allclose(network.reconstruct(inputs)[0], np.abs(expected), atol=1e-5)


def test_an_npz_file_sets_weights_and_convention(tmp_path):
    arrays = write_npz(tmp_path / "weights.npz")
    network = tfvn.models.imported.from_npz(tmp_path / "weights.npz")
    assert len(network.stages) == 2
    np.testing.assert_array_equal(network.stages[1].kernel, arrays["kernels"][1])
    np.testing.assert_array_equal(network.stages[1].rbf_weights, arrays["rbf_weights"][1])
    assert float(network.stages[0].data_weight) == pytest.approx(0.3)
    activation = network.stages[0].activation
    assert (activation.bandwidth, activation.scale) == (0.25, pytest.approx(0.4))


@pytest.mark.parametrize(
    "convention, bandwidth, scale", [("icg", 2 * 1.5 / 9, 1.0), ("optox", 2 * 1.5 / 8, 0.4)]
)
def test_a_tensorflow_1_checkpoint_gives_the_independent_reconstruction(
    tmp_path, case, convention, bandwidth, scale
):
    inputs = case(coils=2, height=13, width=11)
    expected = independent_reconstruction(
        inputs, random_weights(), bandwidth, scale, grid_limit=1.5
    )
    prefix = write_checkpoint(tmp_path / "checkpoint")
    network = tfvn.models.imported.from_tf1_checkpoint(prefix, convention, grid_limit=1.5)
    assert_reconstructs(network, inputs, expected)
    one_stage = {key: value[:1] for key, value in random_weights().items()}
    assert (
        np.linalg.norm(
            independent_reconstruction(inputs, one_stage, bandwidth, scale, 1.5) - expected
        )
        > 0.1
    )


@pytest.mark.slow
def test_the_conventions_of_checkpoints_differ_and_another_is_refused(tmp_path, case):
    inputs = case(coils=2, height=13, width=11)
    prefix = write_checkpoint(tmp_path / "checkpoint")
    icg, optox = (
        tfvn.models.imported.from_tf1_checkpoint(prefix, name)(inputs) for name in ("icg", "optox")
    )
    assert np.linalg.norm(icg - optox) > 0.1 * np.linalg.norm(icg)
    assert np.array_equal(tfvn.models.imported.from_tf1_checkpoint(prefix)(inputs), icg)
    with pytest.raises(ValueError, match="'icg' or 'optox'. Received: convention='tf'") as error:
        tfvn.models.imported.from_tf1_checkpoint(prefix, "tf")
    assert str(error.value).startswith(prefix)


def test_a_checkpoint_is_found_by_prefix_index_file_and_folder(tmp_path):
    prefix = write_checkpoint(tmp_path / "logs" / "checkpoint")
    expected = tfvn.models.imported.from_tf1_checkpoint(prefix).get_weights()
    for path in (f"{prefix}.index", tmp_path / "logs"):
        for weights, array in zip(
            expected, tfvn.models.imported.from_tf1_checkpoint(path).get_weights()
        ):
            np.testing.assert_array_equal(weights, array)


def test_a_folder_without_its_checkpoint_names_what_is_there(tmp_path):
    write_checkpoint(tmp_path / "old" / "checkpoint")
    shutil.copytree(tmp_path / "old", tmp_path / "moved")
    # The file `checkpoint` holds the absolute path of the computer that trained.
    shutil.rmtree(tmp_path / "old")
    with pytest.raises(
        ValueError, match=r"name one itself. Received: \['checkpoint-1000.index'\]"
    ) as error:
        tfvn.models.imported.from_tf1_checkpoint(tmp_path / "moved")
    assert str(error.value).startswith(str(tmp_path / "moved"))
    with pytest.raises(ValueError, match=r"Received: \[\]"):
        tfvn.models.imported.from_tf1_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"remove": ["lambda"]}, r"Missing: \['lambda'\]. Received: .*'global_step'"),
        ({"k1": np.ones((2, 5, 5, 1, 3), "f4")}, r"Received: k1 float32 \(2, 5, 5, 1, 3\)"),
        ({"k1": np.ones((2, 5, 5, 2, 3), "c8")}, r"k1 complex \(stage, k, k, 1, filter\)"),
        ({"k1": np.ones((2, 5, 4, 1, 3), "c8")}, r"Received: kernels float32 \(2, 5, 4, 2, 3\)"),
        ({"k1": np.full((2, 5, 5, 1, 3), np.nan * 1j, "c8")}, "NaN"),
        ({"w1": np.ones((2, 4, 9), "f4")}, r"rbf_weights float32 \(2, 4, 9\)"),
        ({"w1": np.ones((2, 3), "f4")}, r"w1 \(2, 3\)"),
        ({"w1": np.ones((2, 3, 0), "f4")}, r"w1 \(2, 3, 0\)"),
        ({"w1": np.ones((2, 3, 1), "f4")}, "num_centers"),
        ({"w1": np.full((2, 3, 9), np.inf, "f4")}, "infinite"),
        ({"lambda": np.ones((3, 1), "f4")}, r"lambda \(3, 1\)"),
        ({"lambda": np.ones(2, "f4")}, r"lambda \(2,\)"),
    ],
)
def test_checkpoints_of_other_variables_are_refused_by_name(tmp_path, changes, message):
    prefix = write_checkpoint(tmp_path / "checkpoint", **changes)
    for convention in ("icg", "optox"):
        with pytest.raises(ValueError, match=message) as error:
            tfvn.models.imported.from_tf1_checkpoint(prefix, convention)
        assert str(error.value).startswith(prefix)


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_damaged_checkpoints_are_refused_by_name(tmp_path, suffix):
    # The file ends with w1 then: what is lost of other variables is no loss.
    prefix = write_checkpoint(tmp_path / "checkpoint", remove=["w1_old"])
    file = tmp_path / f"checkpoint-1000{suffix}"
    content = file.read_bytes()
    altered = bytes([*content[:40], content[40] ^ 255, *content[41:]])
    for damaged in (content[: len(content) // 2], content[:-1], b"", altered, None):
        if damaged is None:
            file.unlink()
        else:
            file.write_bytes(damaged)
        with pytest.raises(ValueError, match="cannot be read as a checkpoint") as error:
            tfvn.models.imported.from_tf1_checkpoint(prefix)
        assert str(error.value).startswith(prefix)


@pytest.mark.parametrize("nested", [False, True])
def test_a_torch_state_dict_gives_the_independent_reconstruction(torch_file, case, nested):
    inputs = case(coils=2, height=13, width=11)
    arrays = {**torch_arrays(random_weights()), "loss.weight": np.ones(3)}
    path = torch_file({"epoch": np.int64(4), "state_dict": arrays} if nested else arrays)
    expected = independent_reconstruction(inputs, random_weights(), bandwidth=2 / 8, scale=1)
    for network in (tfvn.models.imported.from_torch_file(path), tfvn.load_model(path)):
        assert_reconstructs(network, inputs, expected)


def test_stages_of_a_torch_state_dict_are_ordered_by_number(torch_file):
    weights = {key: np.concatenate([value] * 6) for key, value in random_weights().items()}
    weights["data_term_weights"] = np.arange(12, dtype="f4")
    network = tfvn.models.imported.from_torch_file(torch_file(torch_arrays(weights)))
    assert [float(stage.data_weight) for stage in network.stages] == list(range(12))


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"cell_list.1.lamb": None},
            r"Missing: \['cell_list.1.lamb'\]. Received: \['cell_list.0.activation.w'",
        ),
        (dict.fromkeys(torch_arrays(random_weights())), r"Missing: \[\]. Received: \['other'\]"),
        (
            {"cell_list.3.lamb": np.float32(1)},
            r"Missing: \['cell_list.2.activation.w', 'cell_list.2.conv",
        ),
        ({"cell_list.1.bias": np.ones(3)}, "'cell_list.1.bias'"),
        (
            {"cell_list.1.conv_kernel": np.ones((4, 1, 5, 5, 2))},
            r"Received: \[\(3, 1, 5, 5, 2\), \(4, 1, 5, 5, 2\)\]",
        ),
        (
            {f"cell_list.{t}.conv_kernel": np.ones((3, 1, 5, 4, 2)) for t in range(2)},
            r"kernels float64 \(2, 5, 4, 2, 3\)",
        ),
        (
            {f"cell_list.{t}.conv_kernel": np.ones((3, 2, 5, 5, 2)) for t in range(2)},
            r"Received: \[\(3, 2, 5, 5, 2\)\]",
        ),
        (
            {f"cell_list.{t}.conv_kernel": np.ones((4, 1, 5, 5, 2)) for t in range(2)},
            r"kernels float64 \(2, 5, 5, 2, 4\)",
        ),
        ({f"cell_list.{t}.activation.w": np.ones((3, 9)) for t in range(2)}, r"\[\(3, 9\)\]"),
        (
            {f"cell_list.{t}.activation.w": np.ones((1, 3, 1, 1, 1)) for t in range(2)},
            "num_centers",
        ),
        (
            {f"cell_list.{t}.lamb": np.ones(1) for t in range(2)},
            r"data_term_weights float64 \(2, 1\)",
        ),
        ({"cell_list.1.lamb": np.float32(np.nan)}, "NaN"),
        ({"cell_list.1.lamb": np.float64(1e39)}, "too large"),
    ],
)
def test_torch_state_dicts_that_do_not_fit_are_refused_by_name(torch_file, changes, message):
    arrays = {**torch_arrays(random_weights()), "other": np.ones(1), **changes}
    path = torch_file({key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(ValueError, match=message) as error:
        tfvn.models.imported.from_torch_file(path)
    assert str(error.value).startswith(str(path))


def test_a_torch_file_without_torch_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "varnet.pth").write_bytes(b"weights")
    with pytest.raises(ValueError, match=r"pip install torch. Or .* \.npz") as error:
        tfvn.load_model(tmp_path / "varnet.pth")
    assert str(error.value).startswith(str(tmp_path / "varnet.pth"))
    with pytest.raises(ValueError, match="no such file"):
        tfvn.models.imported.from_torch_file(tmp_path / "missing.pt")


def test_something_else_in_a_torch_file_is_refused_by_name(torch_file):
    for content in (np.ones(3), {"state_dict": np.ones(3)}, {1: np.ones(3)}):
        path = torch_file(content)
        with pytest.raises(ValueError, match="cannot be loaded as a PyTorch state dict") as error:
            tfvn.models.imported.from_torch_file(path)
        assert str(error.value).startswith(str(path))


def test_a_torch_that_hostile_files_can_attack_is_not_used(torch_file, monkeypatch):
    path = torch_file(torch_arrays(random_weights()))
    monkeypatch.setattr(sys.modules["torch"], "__version__", "2.9.1")
    with pytest.raises(
        ValueError, match=r"before 2\.10 may run code.*Received: PyTorch 2\.9\.1.*\.npz"
    ) as error:
        tfvn.load_model(path)
    assert str(error.value).startswith(str(path))


def test_a_file_of_torch_itself(tmp_path, case):
    torch = pytest.importorskip("torch")
    inputs = case(coils=2, height=13, width=11)
    parameters = {
        key: torch.nn.Parameter(torch.tensor(x))
        for key, x in torch_arrays(random_weights()).items()
    }
    torch.save({"state_dict": parameters, "epoch": 3}, tmp_path / "varnet.pt")
    expected = independent_reconstruction(inputs, random_weights(), bandwidth=2 / 8, scale=1)
    assert_reconstructs(tfvn.load_model(tmp_path / "varnet.pt"), inputs, expected)

    content = (tmp_path / "varnet.pt").read_bytes()
    (tmp_path / "short.pt").write_bytes(content[: len(content) // 2])
    torch.save(WritesAFile(str(tmp_path / "executed")), tmp_path / "code.pt")
    for name in ("short.pt", "code.pt"):
        with pytest.raises(ValueError, match="cannot be loaded as a PyTorch state dict"):
            tfvn.models.imported.from_torch_file(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_an_exported_network_comes_back_bit_for_bit(tmp_path, case):
    # None of these settings is a float32.
    network = tfvn.models.variational.VariationalNetwork(
        2, 3, 5, 9, grid_limit=1.3, bandwidth=0.1, scale=0.7, seed=4
    )
    network.stages[1].data_weight.assign(0.3)
    network.stages[0].rbf_weights.assign(np.random.default_rng(0).normal(size=(3, 9)))
    tfvn.models.imported.to_npz(network, tmp_path / "weights.npz")
    loaded = tfvn.load_model(tmp_path / "weights.npz")
    for name, block in network.parameter_blocks.items():
        np.testing.assert_array_equal(np.stack(block), np.stack(loaded.parameter_blocks[name]))
    ours, theirs = network.get_config(), loaded.get_config()
    names = (
        "num_stages",
        "filters",
        "kernel_size",
        "num_centers",
        "grid_limit",
        "bandwidth",
        "scale",
    )
    assert {name: ours[name] for name in names} == {name: theirs[name] for name in names}
    inputs = case(height=13, width=11)
    np.testing.assert_array_equal(network(inputs), loaded(inputs))


def test_a_failed_export_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    network = tfvn.models.variational.VariationalNetwork(1, 3, 5, 9)
    tfvn.models.imported.to_npz(network, tmp_path / "weights.npz")
    content = (tmp_path / "weights.npz").read_bytes()

    def full_disk(file, **arrays):
        file.write(b"half")
        raise OSError("no space left")

    with pytest.raises(
        ValueError, match="^cannot write .*missing/weights.npz: No such file or directory"
    ):
        tfvn.models.imported.to_npz(network, tmp_path / "missing" / "weights.npz")
    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(ValueError, match="no space left"):
        tfvn.models.imported.to_npz(network, tmp_path / "weights.npz")
    assert (tmp_path / "weights.npz").read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["weights.npz"]


def test_a_loaded_model_equals_the_saved_one(tmp_path):
    write_npz(tmp_path / "weights.npz")
    network = tfvn.load_model(tmp_path / "weights.npz")
    network.save(tmp_path / "model.keras")
    loaded = tfvn.load_model(tmp_path / "model.keras")
    assert tfvn.runs.models.model_hash(loaded) == tfvn.runs.models.model_hash(network)
    loaded.stages[0].data_weight.assign(0.4)
    assert tfvn.runs.models.model_hash(loaded) != tfvn.runs.models.model_hash(network)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"kernels": None}, r"Missing: \['kernels'\]"),
        ({"rbf_weights": np.zeros((2, 4, 9), "f4")}, "rbf_weights"),
        ({"kernels": np.zeros((2, 5, 5, 3), "f4")}, "kernels"),
        ({"kernels": np.full((2, 5, 5, 2, 3), np.nan, "f4")}, "NaN"),
        ({"kernels": np.full((2, 5, 5, 2, 3), "a")}, "kernels <U1"),
        ({"kernels": np.ones((2, 5, 5, 2, 3), "c8")}, "kernels complex64"),
        ({"vmin": np.float32(0)}, "symmetric grid"),
        ({"vmin": -np.ones(2), "vmax": np.ones(2)}, "not a file of network weights"),
        ({"vmin": np.float32(1), "vmax": np.float32(-1)}, "grid_limit"),
        ({"rbf_sigma": np.float32(0)}, "bandwidth"),
        ({"rbf_scale": np.float32(np.inf)}, "infinite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(tmp_path, changes, message):
    write_npz(tmp_path / "weights.npz", **changes)
    with pytest.raises(ValueError, match=message) as error:
        tfvn.load_model(tmp_path / "weights.npz")
    assert str(error.value).startswith(str(tmp_path / "weights.npz"))


def test_files_of_something_else_are_refused_by_name(tmp_path):
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    other.save(tmp_path / "other.keras")
    (tmp_path / "text.keras").write_text("no model")
    with zipfile.ZipFile(tmp_path / "zip.keras", "w") as file:
        file.writestr("readme", "no model")
    (tmp_path / "text.npz").write_text("no arrays")
    for name, message in {
        "other.keras": "expected a model of the classes .*Network.* Received: .*Sequential",
        "text.keras": "damaged or cut off, or none of the formats",
        "zip.keras": "cannot be loaded",
        "text.npz": "not a file of network weights",
        "missing.keras": "no such model file",
    }.items():
        with pytest.raises(ValueError, match=message) as error:
            tfvn.load_model(tmp_path / name)
        assert name in str(error.value)


def test_a_truncated_model_file_is_refused_by_name(tmp_path):
    write_npz(tmp_path / "weights.npz")
    tfvn.load_model(tmp_path / "weights.npz").save(tmp_path / "model.keras")
    for name in ("weights.npz", "model.keras"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=name):
            tfvn.load_model(tmp_path / name)


def write_h5(path):
    with h5py.File(path, "w") as file:
        file["kernel"] = np.ones(3)


NO_MODELS = {
    "weights.h5": (write_h5, "It is an HDF5 file, .* network.save"),
    "weights.keras": (write_h5, "It is an HDF5 file, .* network.save"),
    "config.json": (lambda path: path.write_text('{"a": 1}'), "looks like JSON"),
    "model.pkl": (lambda path: path.write_bytes(pickle.dumps([1])), "It is a pickle"),
    "scan.npy": (lambda path: np.save(path, np.ones(3)), "It is a file of arrays"),
    "page.keras": (lambda path: path.write_text("<html>login</html>"), "It is a web page"),
    "pointer.keras": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"),
        "Git LFS",
    ),
    "empty.keras": (lambda path: path.touch(), "cannot be read as a network: it is empty"),
    "gone.keras": (
        lambda path: path.symlink_to("nowhere"),
        "a link to nowhere, which is not there",
    ),
    "empty": (lambda path: path.mkdir(), "Received: a folder of nothing. Train it first"),
    "run": (
        lambda path: (path.mkdir(), (path / "config.yaml").touch()),
        r"a folder of \['config.yaml'\]. Train it first",
    ),
    "saved": (
        lambda path: (path.mkdir(), (path / "saved_model.pb").touch()),
        "a SavedModel, an export that is not read back",
    ),
    "original": (lambda path: write_checkpoint(path / "checkpoint"), "from_tf1_checkpoint"),
    "models": (lambda path: (path.mkdir(), (path / "a.keras").touch()), "Name the file in it"),
    "pipe.keras": (os.mkfifo, "no file but a device or a pipe"),
}


@pytest.mark.parametrize("name", NO_MODELS)
def test_what_is_no_model_is_told(tmp_path, name):
    write, message = NO_MODELS[name]
    write(tmp_path / name)
    with pytest.raises(ValueError, match=message) as error:
        tfvn.load_model(tmp_path / name)
    assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("path", [None, 3, 2.5, ["model.keras"], {}])
def test_what_is_no_path_is_told(path):
    with pytest.raises(
        ValueError, match="expected the path of a model file or of a run directory. Received: path="
    ):
        tfvn.load_model(path)


@pytest.mark.parametrize("written", ["model.keras", "model.npz"])
@pytest.mark.parametrize(
    "name", ["model", "model.old", "model.KERAS", "model.pt", "model.npz", "model.keras", "a [1].b"]
)
def test_the_content_decides_what_a_model_is(tmp_path, written, name):
    network = tfvn.models.variational.VariationalNetwork(1, 3, 5, 9)
    if written.endswith("npz"):
        tfvn.models.imported.to_npz(network, tmp_path / written)
    else:
        network.save(tmp_path / written)
    os.rename(tmp_path / written, tmp_path / name)
    for path in (tmp_path / name, str(tmp_path / name), os.fsencode(tmp_path / name)):
        assert tfvn.runs.models.model_hash(tfvn.load_model(path)) == tfvn.runs.models.model_hash(
            network
        )


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_model_that_cannot_be_read_is_no_damage(tmp_path, monkeypatch, number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    paths = [tmp_path / "model.keras", tmp_path / "model.npz", tmp_path / "model.pt"]
    for path in paths:
        path.write_bytes(b"whole")
    monkeypatch.setattr("builtins.open", fail)
    for path in paths:
        with pytest.raises(
            ValueError, match=f"^{path} cannot be read: {os.strerror(number)}"
        ) as error:
            tfvn.load_model(path)
        assert "damaged" not in str(error.value)


def test_checkpoints_in_folders_with_brackets_are_found(tmp_path):
    prefix = write_checkpoint(tmp_path / "acc=[4,8]*" / "checkpoint")
    for path in (prefix, f"{prefix}.index", tmp_path / "acc=[4,8]*"):
        assert len(tfvn.models.imported.from_tf1_checkpoint(path).stages) == 2


def test_members_that_are_no_arrays_are_refused(tmp_path):
    write_npz(tmp_path / "weights.npz")
    with zipfile.ZipFile(tmp_path / "weights.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for content in (
        b"no array",
        b"",
        members["kernels.npy"][:60],
        b"\x93NUMPY\x09\x09" + bytes(60),
    ):
        with zipfile.ZipFile(tmp_path / "weights.npz", "w") as archive:
            for name, member in members.items():
                archive.writestr(name, content if name == "kernels.npy" else member)
        with pytest.raises(ValueError, match="weights.npz: not a file of network weights"):
            tfvn.load_model(tmp_path / "weights.npz")


# Files of both Kerases

# What this network's `save` wrote with Keras 2 (TensorFlow 2.15.1) and with Keras 3 (TensorFlow
# 2.21), and what it makes of `case()` there: the same under both, bit for bit.
FILES = Path(__file__).parent / "files"


@pytest.mark.parametrize("written", ["keras2", "keras3"])
def test_a_file_of_either_keras_gives_the_same_output_under_both(case, written):
    network = tfvn.load_model(FILES / f"{written}.keras")
    expected = np.load(FILES / "reconstruction.npy")
    np.testing.assert_allclose(network.reconstruct(case()), expected, rtol=0, atol=1e-5)
    # The initial network, whose weights other seeds draw, is another.
    assert (
        np.abs(
            tfvn.models.variational.VariationalNetwork(**network.get_config()).reconstruct(case())
            - expected
        ).max()
        > 1e-2
    )


def test_the_files_of_this_keras_have_the_layout_of_the_stored_one(tmp_path):
    written = "keras3" if tfvn.compat.KERAS_3 else "keras2"
    tfvn.load_model(FILES / f"{written}.keras").save(tmp_path / "model.keras")
    (config, weights), (expected, stored) = (
        read_keras(path) for path in (tmp_path / "model.keras", FILES / f"{written}.keras")
    )
    assert config["config"] == expected["config"] and names(weights) == names(stored)


class TwoLayers(Reconstructor):
    """A network that reads k-space. Its layers have no weights before the first call."""

    reads = "kspace"

    def __init__(self, channels=3, sizes=(3, 1), **kwargs):
        super().__init__(**kwargs)
        self.channels, self.sizes = channels, list(sizes)
        self.first = keras.layers.Conv2D(channels, self.sizes[0], padding="same")
        self.rest = [keras.layers.Conv2D(2, size, padding="same") for size in self.sizes[1:]]
        self.step = self.add_weight(name="step", shape=(), initializer="ones")

    def call(self, inputs):
        image = self.sense.adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])
        x = self.first(tf.stack([tf.math.real(image), tf.math.imag(image)], -1))
        for layer in self.rest:
            x = layer(tf.nn.relu(x))
        return image - tf.complex(self.step * x[..., 0], x[..., 1])

    def get_config(self):
        return {**super().get_config(), "channels": self.channels, "sizes": self.sizes}


@pytest.fixture
def two_layers(monkeypatch):
    """A network of another class than the package's own, which `MODELS` knows."""
    monkeypatch.setitem(tfvn.models.MODELS, "two-layers", TwoLayers)
    return TwoLayers(channels=4)


def test_a_model_of_any_class_comes_back_bit_for_bit(tmp_path, case, two_layers):
    expected = two_layers.reconstruct(case())
    two_layers.step.assign(0.5)
    assert np.abs(two_layers.reconstruct(case()) - expected).max() > 1e-3
    expected = two_layers.reconstruct(case())
    two_layers.save(tmp_path / "model.keras")
    loaded = tfvn.load_model(tmp_path / "model.keras")
    assert type(loaded) is TwoLayers and loaded.get_config() == two_layers.get_config()
    np.testing.assert_array_equal(loaded.reconstruct(case()), expected)


def test_a_file_of_weights_of_any_class_is_read_by_keras_too(tmp_path, case, two_layers):
    two_layers.make_weights()
    two_layers.save_weights(tmp_path / "model.weights.h5")
    other = TwoLayers(channels=4)
    other.make_weights()
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.reconstruct(case()), two_layers.reconstruct(case()))


def test_a_model_of_another_class_is_read_under_the_keras_that_wrote_it(
    tmp_path, two_layers, monkeypatch
):
    two_layers.make_weights()
    monkeypatch.setattr(tfvn.models.stored, "_ORDER", "another")
    two_layers.save(tmp_path / "model.keras")
    monkeypatch.undo()
    monkeypatch.setitem(tfvn.models.MODELS, "two-layers", TwoLayers)
    with pytest.raises(ValueError, match="_0 is not there. Only variational networks are read"):
        tfvn.load_model(tmp_path / "model.keras")


def test_a_model_without_weights_comes_back(tmp_path, case):
    model = tfvn.models.ZeroFilled(readout_oversampling=True)
    model.save(tmp_path / "model.keras")
    loaded = tfvn.load_model(tmp_path / "model.keras")
    assert type(loaded) is tfvn.models.ZeroFilled and loaded.sense.readout_oversampling


def test_a_file_of_a_class_that_is_not_listed_is_refused(tmp_path):
    model = TwoLayers()
    model.make_weights()
    model.save(tmp_path / "model.keras")
    with pytest.raises(
        ValueError, match="expected a model of the classes .* Received: .*TwoLayers"
    ):
        tfvn.load_model(tmp_path / "model.keras")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"channels": 5}, r"vars/keras._. must be numbers of shape \(3, 3, 2, 5\)"),
        ({"channels": {"class_name": "system"}}, "channels must be a text, True"),
        ({"sizes": [3, [float("inf")]]}, "sizes must be a text, True"),
        ({"custom": 1}, r"Received also: \['custom'\]"),
    ],
)
def test_settings_of_any_class_are_plain_and_fit(tmp_path, two_layers, changes, message):
    two_layers.make_weights()
    two_layers.save(tmp_path / "model.keras")
    config, weights = read_keras(tmp_path / "model.keras")
    config["config"].update(changes)
    write_keras(tmp_path / "model.keras", config, weights)
    with pytest.raises(ValueError, match=message):
        tfvn.load_model(tmp_path / "model.keras")


def test_settings_that_are_missing_are_named(tmp_path, two_layers):
    two_layers.make_weights()
    two_layers.save(tmp_path / "model.keras")
    config, weights = read_keras(tmp_path / "model.keras")
    del config["config"]["channels"]
    write_keras(tmp_path / "model.keras", config, weights)
    with pytest.raises(ValueError, match=r"all settings of TwoLayers. Missing: \['channels'\]"):
        tfvn.load_model(tmp_path / "model.keras")


def names(weights):
    """All groups and datasets of a `model.weights.h5`."""
    found = []
    with h5py.File(io.BytesIO(weights), "r") as file:
        file.visit(found.append)
    return found


# Files that mean harm


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    """The bytes of a `.keras` file, its config and its weights."""
    path = tmp_path_factory.mktemp("keras") / "model.keras"
    network = tfvn.models.variational.VariationalNetwork(
        num_stages=2, filters=3, kernel_size=5, num_centers=9, seed=4
    )
    network.save(path)
    return read_keras(path)


def read_keras(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json")), archive.read("model.weights.h5")


def write_keras(path, config, weights, metadata='{"keras_version": "2.15.0"}'):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", metadata)
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        archive.writestr("model.weights.h5", weights)


def edited(weights, edit):
    """The bytes of an HDF5 file after `edit` of the open file."""
    memory = io.BytesIO(weights)
    with h5py.File(memory, "r+") as file:
        edit(file)
    return memory.getvalue()


def root(file):
    return file["stages" if "stages" in file else "layers"]


def hostile_configs(config, marker):
    """Configs that make one version of Keras or another run code, in safe mode too; by what they
    do.
    """

    def with_settings(**changes):
        return {**config, "config": {**config["config"], **changes}}

    call = {
        "module": "os",
        "class_name": "function",
        "config": "system",
        "registered_name": "system",
    }
    layer = {
        "module": "keras.layers",
        "class_name": "Lambda",
        "registered_name": None,
        "config": {
            "name": "x",
            "function": call,
            "arguments": {"command": f"touch {marker}"},
            "dtype": "float32",
        },
    }
    inputs = {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "name": "i",
        "registered_name": None,
        "inbound_nodes": [],
        "config": {
            "batch_input_shape": [None, 2],
            "dtype": "float32",
            "sparse": False,
            "ragged": False,
            "name": "i",
        },
    }
    functional = {
        "module": "keras.src.engine.functional",
        "class_name": "Functional",
        "registered_name": "Functional",
        "config": {
            "name": "model",
            "trainable": True,
            "input_layers": [["i", 0, 0]],
            "output_layers": [["x", 0, 0]],
            "layers": [inputs, {**layer, "name": "x", "inbound_nodes": [[["i", 0, 0, {}]]]}],
        },
    }
    sequential = {
        "module": "keras",
        "class_name": "Sequential",
        "registered_name": None,
        "config": {"name": "model", "layers": [layer]},
        "build_config": {"input_shape": [None, 2]},
    }
    run = {
        "module": "subprocess",
        "class_name": "Popen",
        "config": {"args": ["touch", str(marker)]},
        "registered_name": None,
    }
    return {
        "lambda in a functional model": functional,
        "lambda in a sequential model": sequential,
        "another class by its module": run,
        "another registered class": {
            **config,
            "class_name": "Stage",
            "registered_name": "tfvn>Stage",
        },
        "a function among the settings": with_settings(num_stages=call),
        "a module among the settings": with_settings(dtype=run),
        "one setting more": with_settings(custom=run),
        "a class compiled in": with_settings(
            dtype={"module": "keras.mixed_precision", "class_name": "Policy", "config": {}}
        ),
        "a text as a number": with_settings(filters="3"),
        "a truth as a number": with_settings(filters=True),
        "no finite number": json.dumps(with_settings(scale=float("nan"))),
        "an endless network": with_settings(num_stages=10**9),
        "filters for all memory": with_settings(filters=2**30, kernel_size=2**15),
        "no dictionary": [config],
        "no text": "\xff",
        "deep nesting": "[" * 100_000,
    }


def test_no_config_of_a_keras_file_runs_anything(tmp_path, keras_file):
    config, weights = keras_file
    marker = tmp_path / "executed"
    for name, hostile in hostile_configs(config, marker).items():
        write_keras(tmp_path / "model.keras", hostile, weights)
        with pytest.raises(
            ValueError, match="model.keras: cannot be loaded as a model of tfvn: ."
        ) as error:
            tfvn.load_model(tmp_path / "model.keras")
        assert not marker.exists() and len(str(error.value)) < 1000, name


def test_keras_has_no_part_in_loading(tmp_path, keras_file, monkeypatch):
    # The rest of what Keras would deserialise.
    config, weights = keras_file
    run = {
        "module": "os",
        "class_name": "system",
        "config": f"touch {tmp_path / 'executed'}",
        "registered_name": None,
    }
    config = {
        **config,
        "module": "os",
        "build_config": run,
        "compile_config": {"optimizer": run, "loss": run},
    }
    write_keras(tmp_path / "model.keras", config, weights, metadata="no JSON")

    def fail(*_, **__):
        raise AssertionError

    monkeypatch.setattr(keras.models, "load_model", fail)
    network = tfvn.load_model(tmp_path / "model.keras")
    again = tfvn.models.variational.VariationalNetwork(
        num_stages=2, filters=3, kernel_size=5, num_centers=9, seed=4
    )
    assert tfvn.runs.models.model_hash(network) == tfvn.runs.models.model_hash(again)
    assert not (tmp_path / "executed").exists()


def replaced(place, make):
    def edit(file):
        stage = root(file)["stage_1"]
        del stage[place]
        make(stage, place)

    return edit


@pytest.mark.parametrize(
    "place, make, message",
    [
        (
            "vars/0",
            lambda group, place: group.update({place: h5py.ExternalLink("secret.h5", "kernel")}),
            "0 is a link",
        ),
        (
            "vars",
            lambda group, place: group.update({place: h5py.SoftLink("/elsewhere")}),
            "vars is a link",
        ),
        (
            "vars/0",
            lambda group, place: group.create_dataset(
                place, (5, 5, 2, 3), "f4", external=[("secret.h5", 0, 600)]
            ),
            "0 takes its numbers from other files",
        ),
        (
            "vars/0",
            lambda group, place: group.create_dataset(place, (10**6,) * 2, "f4", chunks=(9, 9)),
            "stage_1/vars/0 must be numbers of shape",
        ),
        (
            "vars/0",
            lambda group, place: group.create_dataset(place, (5, 5, 2, 3), h5py.string_dtype()),
            "stage_1/vars/0 must be numbers of shape",
        ),
        (
            "activation/vars/0",
            lambda group, place: group.create_group(place),
            "stage_1/activation/vars/0 must be numbers of shape",
        ),
        ("vars/1", lambda group, place: None, "1 is not there"),
    ],
)
def test_weights_that_lie_elsewhere_or_are_none_are_refused(
    tmp_path, keras_file, monkeypatch, place, make, message
):
    monkeypatch.chdir(tmp_path)
    config, weights = keras_file
    with h5py.File("secret.h5", "w") as file:
        file["kernel"] = np.ones((5, 5, 2, 3), "f4")
    write_keras("model.keras", config, edited(weights, replaced(place, make)))
    with pytest.raises(ValueError, match=f"model.keras: cannot be loaded .*{message}"):
        tfvn.load_model("model.keras")


def test_members_that_unpack_to_more_than_the_network_needs_are_not_unpacked(
    tmp_path, keras_file, monkeypatch
):
    config, weights = keras_file
    write_keras(tmp_path / "model.keras", config, weights + bytes(2**24))
    assert os.path.getsize(tmp_path / "model.keras") < 2**17
    with pytest.raises(
        ValueError, match="model.weights.h5 must have 1424 to .* Received: 16[0-9]* bytes"
    ):
        tfvn.load_model(tmp_path / "model.keras")
    write_npz(tmp_path / "weights.npz")
    monkeypatch.setattr(tfvn.models.imported, "LARGEST_FILE", 1000)
    with pytest.raises(
        ValueError, match="weights.npz: not a file of network weights: expected at most 1000 bytes"
    ):
        tfvn.load_model(tmp_path / "weights.npz")


def test_pickled_code_in_arrays_is_not_run(tmp_path):
    code = np.array([WritesAFile(str(tmp_path / "executed"))], dtype=object)
    write_npz(tmp_path / "weights.npz", kernels=code)
    np.save(tmp_path / "scan.npy", code)
    with pytest.raises(
        ValueError, match="weights.npz: not a file of network weights: .*allow_pickle=False"
    ):
        tfvn.load_model(tmp_path / "weights.npz")
    with pytest.raises(
        ValueError, match="scan.npy: its array holds Python objects, which are never opened"
    ):
        tfvn.data.array_files.read_array(tmp_path / "scan.npy", ("kspace",))
    with pytest.raises(
        ValueError, match="scan.npy: its array holds Python objects, which are never opened"
    ):
        tfvn.data.Measurement(tmp_path / "scan.npy")[0]
    assert not (tmp_path / "executed").exists()
