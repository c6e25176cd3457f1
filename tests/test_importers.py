"""Networks from files: real weights against an independent reconstruction, and files that are something else."""
import zipfile

import numpy as np
import pytest
from tensorflow import keras

import tfvn


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


def test_pretrained_weights_give_the_independent_reconstruction(shared_data):
    network = tfvn.importers.from_npz(shared_data("vn_coronal_pd_fs.npz"))
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
    network = tfvn.importers.from_npz(tmp_path / "weights.npz")
    assert len(network.stages) == 2
    np.testing.assert_array_equal(network.stages[1].kernel, arrays["kernels"][1])
    np.testing.assert_array_equal(network.stages[1].rbf_weights, arrays["rbf_weights"][1])
    assert float(network.stages[0].data_weight) == pytest.approx(0.3)
    activation = network.stages[0].activation
    assert (activation.bandwidth, activation.scale) == (0.25, pytest.approx(0.4))


def test_a_loaded_model_equals_the_saved_one(tmp_path):
    write_npz(tmp_path / "weights.npz")
    network = tfvn.load_model(tmp_path / "weights.npz")
    network.save(tmp_path / "model.keras")
    loaded = tfvn.load_model(tmp_path / "model.keras")
    assert tfvn.runs.model_hash(loaded) == tfvn.runs.model_hash(network)
    loaded.stages[0].data_weight.assign(0.4)
    assert tfvn.runs.model_hash(loaded) != tfvn.runs.model_hash(network)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"kernels": None}, r"Missing: \['kernels'\]"),
        ({"rbf_weights": np.zeros((2, 4, 9), "f4")}, "rbf_weights"),
        ({"kernels": np.zeros((2, 5, 5, 3), "f4")}, "kernels"),
        ({"kernels": np.full((2, 5, 5, 2, 3), np.nan, "f4")}, "NaN"),
        ({"vmin": np.float32(0)}, "symmetric grid"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(tmp_path, changes, message):
    write_npz(tmp_path / "weights.npz", **changes)
    with pytest.raises(ValueError, match=message) as error:
        tfvn.load_model(tmp_path / "weights.npz")
    assert "weights.npz" in str(error.value)


def test_pickled_objects_in_an_npz_file_are_refused(tmp_path):
    write_npz(tmp_path / "weights.npz", kernels=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match="not a file of network weights"):
        tfvn.load_model(tmp_path / "weights.npz")


def test_files_of_something_else_are_refused_by_name(tmp_path):
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    other.save(tmp_path / "other.keras")
    (tmp_path / "text.keras").write_text("no model")
    with zipfile.ZipFile(tmp_path / "zip.keras", "w") as file:
        file.writestr("readme", "no model")
    (tmp_path / "text.npz").write_text("no arrays")
    for name, message in {
        "other.keras": "expected a tfvn VariationalNetwork",
        "text.keras": "neither, or is damaged",
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
