"""The benchmarks' plain formulation computes what the product computes: else the comparison would
mean nothing.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

ROOT = Path(__file__).resolve().parents[1]
SMALL = dict(coils=2, height=32, width=28, stages=2, filters=4)


@pytest.fixture
def benchmarks(monkeypatch):
    """The folder is not part of the package."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import problem, workloads

    return problem, workloads


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, arguments",
    [
        ("forward", ()),
        ("attack_gradient", ()),
        ("training_gradient", ()),
        ("training_gradient", (True,)),
    ],
)
def test_the_plain_formulation_equals_the_product(benchmarks, name, arguments):
    problem, workloads = benchmarks
    product, plain, units = getattr(workloads, name)(problem.Size(**SMALL), *arguments)
    ours, theirs = (tf.nest.flatten(function()) for function in (product, plain))
    assert units == 1 and len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())


@pytest.mark.slow
def test_a_measurement_runs_in_a_process_of_its_own():
    task = json.dumps(dict(workload="smoothed", arguments=[3], what="time", size=SMALL, rounds=1))
    command = [sys.executable, "-m", "benchmarks.measure", task]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["units"] == 3 and min(found[key] for key in ("floor", "product", "plain")) > 0


@pytest.mark.parametrize("name", ["U-Net", "E2E-VarNet", "MoDL"])
def test_the_networks_of_pytorch_compute_what_ours_do(benchmarks, name):
    pytest.importorskip("torch")
    pytest.importorskip("fastmri.models")
    from benchmarks import pytorch

    problem, _ = benchmarks
    network = pytorch.networks(small=True)[name]
    inputs = problem.make_inputs(pytorch.SMALL)
    perturbation = 0.01 * problem.make_image(pytorch.SMALL)
    ours = pytorch.ours(network, inputs, perturbation)
    theirs = pytorch.theirs(pytorch.FACTORIES[name](network), inputs, perturbation)
    for what, tolerance in {"image": 1e-5, "gradient": 2e-3}.items():
        expected = theirs[what]()
        change = np.linalg.norm(ours[what]() - expected) / np.linalg.norm(expected)
        assert change < tolerance, what


@pytest.mark.skipif(shutil.which("bart") is None, reason="bart is not installed")
def test_the_network_of_bart_computes_what_ours_does(benchmarks, tmp_path):
    from benchmarks import bart

    command = bart.Bart(tmp_path, 1, small=True)
    command.train(tmp_path)
    times, difference = bart.compared(command, bart.SMALL, 1, tmp_path)
    assert times.shape == (2, 2) and times[0].min() > 0
    assert difference < 1e-5


def test_maps_of_bart_are_read_in_the_order_in_which_k_space_is_written(benchmarks, tmp_path):
    from benchmarks import maps

    kspace = np.arange(2 * 4 * 3).reshape(2, 4, 3).astype(np.complex64)
    maps.write_cfl(tmp_path / "kspace", kspace)
    assert (tmp_path / "kspace.hdr").read_text() == "# Dimensions\n4 3 1 2\n"
    np.testing.assert_array_equal(maps.read_cfl(tmp_path / "kspace", kspace.shape), kspace)
    assert maps.distance(kspace, -2j * kspace) < 1e-3
    orthogonal = np.conj(kspace[::-1]) * np.array([1, -1])[:, None, None]
    assert maps.distance(kspace, orthogonal) == 1
