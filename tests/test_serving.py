"""A SavedModel in a process that knows TensorFlow alone: the same images, for every size, scale,
batch and kind of mask.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from test_models import ROWS

from tfvn.defences.smoothing import Smoothed
from tfvn.models import MODELS
from tfvn.models.base import Reconstructor
from tfvn.models.classical import ZeroFilled
from tfvn.models.variational import VariationalNetwork
from tfvn.tools.serving import export, serve

SETTINGS = dict(num_stages=2, filters=3, kernel_size=5, num_centers=7)

# Every case through every folder, in one process: TensorFlow takes long to start.
_SERVE = """
import json, sys
import numpy as np
import tensorflow as tf
for folder in sys.argv[2:]:
    signature = tf.saved_model.load(folder).signatures["serving_default"]
    specs = signature.structured_input_signature[1]
    specs = {name: [spec.dtype.name, spec.shape.as_list()] for name, spec in specs.items()}
    outputs = {}
    for path in json.loads(sys.argv[1]):
        with np.load(path) as inputs:
            found = signature(**{name: tf.constant(inputs[name]) for name in inputs})
        case = path.split("/")[-1][:-4]
        outputs.update({case + "_" + name: image.numpy() for name, image in found.items()})
    np.savez(folder + ".npz", specs=json.dumps(specs), **outputs)
assert "tfvn" not in sys.modules
"""


@pytest.fixture(scope="module")
def models():
    network = VariationalNetwork(**SETTINGS, seed=1)
    return {"plain": network, "smoothed": Smoothed(network, 0.1, 4, seed=3)}


@pytest.fixture(scope="module")
def cases(case):
    """Inputs by name, k-space at a scanner's scale."""
    found = {
        "lines": case(),
        "points": case(batch=2, mask="points"),
        "larger": case(coils=3, height=32, width=22),
        "shared": {**case(batch=2), "mask": case()["mask"]},
    }
    for inputs in found.values():
        inputs["kspace"] = inputs["kspace"] * np.float32(3e-5)
    # A scan of which a part is to be used.
    found["lines"]["kspace"] = found["lines"]["kspace"] + np.complex64(7) * (
        found["lines"]["mask"] == 0
    )
    lines = found["lines"]
    found["unsampled"] = {
        **lines,
        "kspace": np.where(lines["mask"], lines["kspace"], np.complex64(np.nan)),
    }
    found["tiny"] = {**found["points"], "kspace": found["points"]["kspace"] * np.float32(1e-25)}
    found["padding"] = {
        **found["points"],
        "kspace": found["points"]["kspace"] * np.float32([1, 0])[:, None, None, None],
    }
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory, models, cases):
    """What a process without `tfvn` gets: model, then case and name of the output."""
    folder = tmp_path_factory.mktemp("serving")
    paths = [str(folder / f"{name}.npz") for name in cases]
    for path, inputs in zip(paths, cases.values()):
        np.savez(path, **inputs)
    for name, model in models.items():
        export(model, folder / "models" / name)
    # Outside of the project's folder, from which Python would import it.
    command = [
        sys.executable,
        "-I",
        "-c",
        _SERVE,
        json.dumps(paths),
        *(str(folder / "models" / name) for name in models),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return {name: dict(np.load(folder / "models" / f"{name}.npz")) for name in models}


@pytest.mark.slow
def test_the_signature_takes_any_size_by_name(served):
    image = ["complex64", [None, None, None, None]]
    specs = {"kspace": image, "sensitivity_maps": image, "mask": ["float32", [None, 1, None, None]]}
    assert json.loads(str(served["plain"]["specs"])) == specs


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lines", "points", "larger", "shared"])
def test_it_gives_the_images_of_the_network_in_the_units_of_the_scan(served, models, cases, name):
    inputs = cases[name]
    zero_filled = models["plain"].zero_filled(inputs)
    scale = np.abs(zero_filled).max((1, 2), keepdims=True)
    expected = scale * models["plain"].reconstruct({**inputs, "zero_filled": zero_filled / scale})
    found = served["plain"][f"{name}_magnitude"]
    assert found.dtype == np.float32 and scale.max() < 1e-4
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * scale.max())
    assert f"{name}_standard_deviation" not in served["plain"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lines", "points", "larger"])
def test_a_smoothed_network_gives_its_mean_and_deviation(served, models, cases, name):
    inputs = cases[name]
    zero_filled = models["smoothed"].zero_filled(inputs)
    scale = np.abs(zero_filled).max((1, 2), keepdims=True)
    found = models["smoothed"].statistics({**inputs, "zero_filled": zero_filled / scale})
    images = {"magnitude": found.mean, "standard_deviation": found.deviation}
    for key, image in images.items():
        np.testing.assert_allclose(
            served["smoothed"][f"{name}_{key}"], scale * image, rtol=0, atol=2e-6 * scale.max()
        )
    assert served["smoothed"][f"{name}_standard_deviation"].mean() > 1e-3 * scale.max()


def test_a_network_of_double_precision_and_half_the_rows_takes_the_same_inputs(cases):
    halved = VariationalNetwork(**SETTINGS, readout_oversampling=True, dtype="float64")
    inputs = cases["lines"]
    found = serve(halved, **inputs)["magnitude"]
    assert found.shape == (1, 12, 20) and found.dtype == np.float32
    exact = {
        **{key: x.astype("c16") for key, x in inputs.items()},
        "mask": inputs["mask"].astype("f8"),
    }
    zero_filled = halved.zero_filled(exact)
    scale = np.abs(zero_filled).max()
    expected = scale * halved.reconstruct({**exact, "zero_filled": zero_filled / scale})
    np.testing.assert_allclose(found, expected, rtol=1e-6)


class Squared(Reconstructor):
    """A model that reads k-space, and is not linear in it."""

    reads = "kspace"

    def call(self, inputs):
        image = self.sense.adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])
        return image * tf.cast(tf.abs(image), image.dtype)


@pytest.mark.parametrize("model, power", [(ZeroFilled(), 1), (Squared(), 2)])
def test_any_model_is_served_whatever_it_reads(cases, model, power):
    inputs = {**cases["points"], "kspace": cases["points"]["kspace"] * np.float32(1e3)}
    image = np.abs(ZeroFilled().zero_filled(inputs))
    scale = image.max((1, 2), keepdims=True)
    found = serve(model, **inputs)
    assert set(found) == {"magnitude"}
    expected = scale * (image / scale) ** power
    np.testing.assert_allclose(found["magnitude"], expected, rtol=0, atol=2e-6 * scale.max())


# What an export might lose: loops, gradients written by hand, normalisation, maps that a network
# finds, a state, and layers that know one size.
EXPORTED = (
    "total-variation",
    pytest.param("rim", marks=pytest.mark.slow),
    pytest.param("modl", marks=pytest.mark.slow),
    "unet of magnitudes",
    pytest.param("e2e-varnet of found maps", marks=pytest.mark.slow),
    "dagan",
    "automap",
)


@pytest.mark.slow_cases
@pytest.mark.one_stack
@pytest.mark.parametrize("row", EXPORTED)
def test_models_of_every_kind_are_exported(case, tmp_path, row):
    name, settings, own_case = ROWS[row]
    model = MODELS[name](**settings)
    inputs = case(1, **own_case)
    export(model, tmp_path / "model")
    signature = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    given = {key: tf.constant(inputs[key]) for key in ("sensitivity_maps", "mask")}
    found = signature(kspace=tf.constant(inputs["kspace"] * np.float32(3e-5)), **given)
    zero_filled = np.abs(model.zero_filled(inputs)).max()
    normalised = {**inputs, "kspace": inputs["kspace"] / zero_filled}
    expected = 3e-5 * zero_filled * model.answer(model.measured(normalised))
    scale = np.abs(expected).max()
    assert scale > 1e-8
    np.testing.assert_allclose(found["magnitude"], expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.slow
def test_a_batch_that_was_filled_up_with_zeros_stays_finite(served):
    for name in ("plain", "smoothed"):
        found = served[name]["padding_magnitude"]
        np.testing.assert_allclose(
            found[0], served[name]["points_magnitude"][0], rtol=0, atol=1e-10
        )
        assert not found[1].any()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, other, scale", [("unsampled", "lines", 1), ("tiny", "points", 1e-25)]
)
def test_neither_what_is_not_sampled_nor_the_scale_matters(served, name, other, scale):
    for outputs in served.values():
        for kind in ("magnitude", "standard_deviation"):
            if f"{name}_{kind}" in outputs:
                expected = outputs[f"{other}_{kind}"]
                np.testing.assert_allclose(
                    outputs[f"{name}_{kind}"] / scale, expected, rtol=0, atol=2e-6 * expected.max()
                )


@pytest.mark.slow
def test_a_folder_is_replaced_only_if_asked_and_only_a_savedmodel(tmp_path, models, monkeypatch):
    path = tmp_path / "model"
    path.mkdir()
    (path / "precious").write_text("kept")
    with pytest.raises(ValueError, match="is there already.*--force"):
        export(models["plain"], path)
    with pytest.raises(ValueError, match="is no SavedModel, so it is not replaced"):
        export(models["plain"], path, overwrite=True)
    (path / "saved_model.pb").write_text("an older one")
    with monkeypatch.context() as patch:
        # Ctrl-C while it is written.
        def interrupted(module, folder, *_):
            os.mkdir(folder)
            Path(folder, "saved_model.pb").write_text("half of it")
            raise KeyboardInterrupt

        patch.setattr("tensorflow.saved_model.save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export(models["plain"], path, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["model"] and (path / "precious").exists()
    with monkeypatch.context() as patch:
        # The new one cannot take its place.
        def refused(*_):
            raise OSError("read-only")

        patch.setattr("tfvn.tools.serving._exchange", lambda *_: False)
        patch.setattr("tfvn.files.os.replace", refused)
        with pytest.raises(ValueError, match="cannot write .*model: read-only"):
            export(models["plain"], path, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["model"] and (path / "precious").exists()
    # A shell completes the names of folders with a slash.
    export(models["plain"], f"{path}{os.sep}", overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    assert (path / "variables").is_dir() and not (path / "precious").exists()


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_killed_export_leaves_a_model_that_the_next_one_finds(
    tmp_path, models, monkeypatch, exchanges
):
    path = tmp_path / "model [1]"
    path.mkdir()
    (path / "saved_model.pb").write_text("an older one")

    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(
            "tensorflow.saved_model.save", lambda module, folder, *_: shutil.copytree(path, folder)
        )
        # As a kill: nothing is tidied up.
        for name in ("tools.serving._put_back", "files.shutil.rmtree"):
            patch.setattr(f"tfvn.{name}", lambda *_, **__: None)
        if not exchanges:
            patch.setattr("tfvn.tools.serving._exchange", lambda *_: False)
            patch.setattr("tfvn.files.os.replace", die)
        with contextlib.suppress(Killed):
            export(models["plain"], path, overwrite=True)
    assert path.exists() == exchanges
    with pytest.raises(ValueError, match="is there already"):
        export(models["plain"], path)
    assert (path / "saved_model.pb").read_text() == "an older one"


def test_a_link_is_no_folder_for_a_model(tmp_path, models):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "saved_model.pb").write_text("an older one")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    for name in ("link", "dangling"):
        with pytest.raises(ValueError, match=f"{name} is a link"):
            export(models["plain"], tmp_path / name, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["dangling", "link", "real"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="cannot write .*Name another folder"):
        export(models["plain"], tmp_path / "file" / "model")


def test_what_cannot_be_served_is_refused(tmp_path, models):
    with pytest.raises(
        ValueError, match="model must be a tfvn.models.Reconstructor. Received: model='model.keras'"
    ):
        export("model.keras", tmp_path / "model")
    with pytest.raises(ValueError, match="num_samples >= 2. Received: num_samples=1"):
        export(Smoothed(models["plain"], 0.1, 1), tmp_path / "model")
    assert not list(tmp_path.iterdir())
