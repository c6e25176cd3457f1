"""Networks that BART trained, against what BART reconstructs with them."""

import shutil
import subprocess

import numpy as np
import pytest

import tfvn
from tfvn.models import MoDL, VariationalNetwork
from tfvn.models.bart_weights import from_bart_file
from tfvn.models.cfl_files import read_arrays

needs_bart = pytest.mark.skipif(shutil.which("bart") is None, reason="bart is not installed")
NETWORKS = {
    "varnet": ["--varnet-block", "F=3,X=5,Y=5,W=9"],
    "modl": ["--resnet-block", "F=3,L=5"],
    "modl without normalisation": ["--resnet-block", "F=2,L=4,no-batch-normalization"],
    "modl without biases": ["--resnet-block", "F=2,L=4,no-bias"],
    "modl of kernels alone": ["--resnet-block", "F=2,L=3,no-batch-normalization,no-bias"],
}
ITERATIONS = 2
CG_STEPS = 60


def write(name, array, places):
    """An array as BART reads it, each of its axes at one of BART's 16 places."""
    shape = [1] * 16
    for place, size in zip(places, array.shape):
        shape[place] = size
    header = f"# Dimensions\n{' '.join(map(str, shape))}\n"
    name.with_suffix(".hdr").write_text(header, encoding="utf-8")
    array.astype("c8").ravel("F").tofile(name.with_suffix(".cfl"))


def bart(folder, *words):
    done = subprocess.run(
        ["bart", "reconet", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"OMP_NUM_THREADS": "1", "PATH": "/usr/local/bin:/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def scan(case, tmp_path):
    """Two slices, and their files for BART."""
    inputs = case(2, coils=3, height=16, width=14)
    for name, key in (("kspace", "kspace"), ("maps", "sensitivity_maps")):
        write(tmp_path / name, inputs[key].transpose(2, 3, 1, 0), (0, 1, 3, 15))
    write(tmp_path / "pattern", inputs["mask"][0, 0], (0, 1))
    inputs["mask"] = inputs["mask"][:1]
    inputs["kspace"] = inputs["kspace"] * inputs["mask"]
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((16, 14, 2)) + 1j * rng.standard_normal((16, 14, 2))
    write(tmp_path / "reference", reference / 4, (0, 1, 15))
    return inputs


def trained(folder, network, epochs=4):
    """What BART reconstructs, (batch, rows, width), with weights that it trained."""
    name = network.split()[0]
    options = ["-n", "-N", name, f"-I{ITERATIONS}", *NETWORKS[network], "--pattern=pattern"]
    if name == "modl":
        options += ["--data-consistency", f"max-cg-iter={CG_STEPS},lambda-init=0.3"]
    training = ["-t", "-b1", "-T", f"e={epochs},r=0.02"]
    bart(folder, *training, *options, "kspace", "maps", "weights", "reference")
    bart(folder, "-a", *options, "kspace", "maps", "weights", "found")
    return (
        np.fromfile(folder / "found.cfl", "c8").reshape((16, 14, 2), order="F").transpose(2, 0, 1)
    )


@pytest.mark.slow_cases
@needs_bart
@pytest.mark.parametrize("network", NETWORKS)
def test_it_reconstructs_what_bart_reconstructs(network, scan, tmp_path):
    expected = trained(tmp_path, network)
    model = from_bart_file(tmp_path / "weights", ITERATIONS, CG_STEPS)
    # BART divides by the maximum of the zero-filled image, and multiplies afterwards.
    scale = np.abs(model.zero_filled(scan)).max((1, 2))[:, None, None]
    found = scale * model({**scan, "kspace": scan["kspace"] / scale[:, None]}).numpy()
    distance = np.linalg.norm(found - expected, axis=(1, 2))
    assert (distance <= 1e-5 * np.linalg.norm(expected, axis=(1, 2))).all()
    # Not because it does nothing.
    assert np.linalg.norm(model.zero_filled(scan) - expected) > 0.05 * np.linalg.norm(expected)


def write_weights(name, arrays):
    """As BART writes several arrays."""
    lines = ["# Dimensions", str(sum(array.size for array in arrays)), "# SizesDimensions"]
    lines += [" ".join(str(array.ndim) for array in arrays), "# MultiDimensions"]
    lines += [" ".join(map(str, array.shape)) for array in arrays]
    name.with_suffix(".hdr").write_text("\n".join(lines) + "\n", encoding="utf-8")
    numbers = np.concatenate([array.ravel("F") for array in arrays])
    numbers.astype("c8").tofile(name.with_suffix(".cfl"))


def varnet_arrays():
    rng = np.random.default_rng(0)
    return [
        np.array([0.2, 0.3]),
        rng.standard_normal((3, 1, 5, 5, 1, 2)) + 1j * rng.standard_normal((3, 1, 5, 5, 1, 2)),
        rng.standard_normal((3, 9, 2)),
    ]


def test_the_arrays_are_those_of_the_file(tmp_path):
    arrays = varnet_arrays()
    write_weights(tmp_path / "weights", arrays)
    for ending in ("", ".cfl", ".hdr"):
        for found, expected in zip(read_arrays(f"{tmp_path / 'weights'}{ending}"), arrays):
            np.testing.assert_array_equal(found, expected.astype("c8"))


def test_it_is_read_by_load_model_and_saved_as_other_models_are(tmp_path, case):
    write_weights(tmp_path / "weights", varnet_arrays())
    model = tfvn.load_model(tmp_path / "weights.cfl")
    assert isinstance(model, VariationalNetwork)
    assert model.stages[0].activation.bandwidth == pytest.approx(2 / 9)
    model.save(tmp_path / "model.keras")
    inputs = case(1)
    again = tfvn.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(inputs), model(inputs))


def test_shared_weights_do_not_tell_the_number_of_iterations(tmp_path):
    shapes = [(2, 1, 3, 3, 1, 1), (2, 2, 3, 3, 1, 2, 1), (1, 2, 3, 3, 1, 1)]
    arrays = [np.array([0.1]), *[np.ones(shape) for shape in shapes]]
    write_weights(tmp_path / "weights", arrays)
    model = from_bart_file(tmp_path / "weights", num_iterations=3)
    assert isinstance(model, MoDL)
    assert (model.num_iterations, model.shared, model.denoisers[0].num_layers) == (3, True, 4)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda arrays: arrays[:2], "expected 3, 4, 7, 8 or 11 arrays. Received: 2 arrays"),
        (lambda arrays: [*arrays[:2], arrays[2] * np.nan], "expected finite numbers"),
        (lambda arrays: [arrays[0], arrays[2], arrays[1]], "not enough values"),
    ],
)
def test_other_arrays_are_refused(tmp_path, change, words):
    write_weights(tmp_path / "weights", change(varnet_arrays()))
    with pytest.raises(ValueError, match=f"weights.cfl: not a file of BART's weights: .*{words}"):
        tfvn.load_model(tmp_path / "weights.cfl")


def test_damaged_and_missing_files_are_refused(tmp_path):
    name = tmp_path / "weights"
    write_weights(name, varnet_arrays())
    content = name.with_suffix(".cfl").read_bytes()
    name.with_suffix(".cfl").write_bytes(content[:-8])
    with pytest.raises(ValueError, match="must have .* bytes. Received"):
        tfvn.load_model(tmp_path / "weights.cfl")
    name.with_suffix(".hdr").write_text("# Dimensions\n3 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected the header of several arrays"):
        tfvn.load_model(tmp_path / "weights.hdr")
    with pytest.raises(ValueError, match="missing: not a file of BART's weights"):
        from_bart_file(tmp_path / "missing")
