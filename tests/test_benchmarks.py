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
from boards import TEXT, board_of

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


ROWS = """\
  - {name: a, config: c.yaml, set: [model=unet, training.iterations=10]}
  - {name: b, config: c.yaml, set: [model=unet, seed=1, "training.initial_weights=row:a"]}
"""
TIMES = """\
what,units,seconds,seconds_per_unit,peak_bytes
"train unet, iterations",100,20.0,0.2,1
"attack unet none l2, gradients",30,60.0,2,1
"""


@pytest.fixture
def recorded(benchmarks, tmp_path):
    """The tasks of a board of two rows beside the exact ones, by their names, and its files."""
    from benchmarks import recorded

    board_of(tmp_path)
    (tmp_path / "board.yaml").write_text(TEXT.format(title="t", rows=ROWS), encoding="utf-8")
    files = tmp_path / "board.yaml", tmp_path / "times.csv"
    files[1].write_text(TIMES, encoding="utf-8")
    found = recorded.recorded_tasks(*files, 0.5)
    return {one.name: one for one in found}, files


def test_the_tasks_of_a_board_take_what_was_recorded(recorded):
    from benchmarks.recorded import longest_chain, recorded_tasks

    found, (board, times) = recorded
    # 0.2 s an iteration, and of a slice one gradient at each of 3 radii, of 2 s each.
    assert found["train a"].seconds == pytest.approx(2)
    assert found["attack 1 on a, slice 0"].seconds == pytest.approx(6)
    assert found["train zero-filled"].seconds == 0 and found["tell a"].seconds == 0.5
    assert found["train b"].after == ("train a",)
    assert "floor of slice 2" in found
    # Of the other attack nothing is recorded, but of its sort.
    second = found["attack 2 on b, slice 0"].seconds
    assert second > 0 and second % 2 == 0
    longest = found["train a"].seconds + found["train b"].seconds + max(6, second) + 0.5 + 0.5
    assert longest_chain(list(found.values())) == pytest.approx(longest)
    times.write_text(TIMES.replace("train unet", "other"), encoding="utf-8")
    with pytest.raises(ValueError, match="times.csv has nothing like train unet, iterations"):
        recorded_tasks(board, times, 0.5)


SLEPT = []


def note(seconds):
    """Sleeps for no time."""
    SLEPT.append(seconds)


def test_a_board_is_simulated_in_its_order(recorded, monkeypatch):
    pytest.importorskip("distributed")
    from benchmarks import scheduler

    found = list(recorded[0].values())
    by_seconds = [one._replace(seconds=number + 1.0) for number, one in enumerate(found)]
    monkeypatch.setattr(scheduler.cluster, "code", lambda: ())
    with scheduler.connected(2) as client:
        assert len(client.scheduler_info()["workers"]) == 2
        spent, each = scheduler.simulate(client, by_seconds, 0.5, note)
    assert spent > 0 and each > 0
    names = {2 * one.seconds: one for one in by_seconds}
    order = [names[seconds].name for seconds in SLEPT]
    assert sorted(order) == sorted(one.name for one in found)
    for one in found:
        assert all(order.index(name) < order.index(one.name) for name in one.after)


def test_the_speed_up_is_that_of_the_attacks_without_their_start(benchmarks, monkeypatch, capsys):
    from benchmarks import speedup

    def run(script, *arguments):
        if script == "train.py":
            assert "model.num_stages=2" in arguments
            return 1.0
        # The file of the network says it.
        assert "model.num_stages=2" not in arguments
        workers = 2 if "--workers" in arguments else 1
        (slices,) = (int(text[14:]) for text in arguments if text.startswith("data.num_test="))
        return 10 * workers + 4 * slices / workers

    monkeypatch.setattr(speedup, "_run", run)
    options = ["--slices", "2", "4", "--set", "model.num_stages=2"]
    monkeypatch.setattr("sys.argv", ["speedup", *options])
    speedup.main()
    lines = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()]
    cells = [[cell.strip() for cell in line] for line in lines]
    assert cells[2:] == [["one", "10.0", "4.00", "1.00"], ["2 workers", "20.0", "2.00", "2.00"]]
