"""Two replicas give what one gives. Functions of this file run on two logical devices, in processes
of their own: TensorFlow cannot change its devices once it has begun.
"""

import argparse
import contextlib
import csv
import json
import os
import shutil
import signal
import socket
import threading
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import numpy as np
import processes
import pytest
import tensorflow as tf
from conftest import draw_pixels

import train as train_script
from tfvn import config as configs
from tfvn import data, replicas
from tfvn.commands.experiment import on_run_directory
from tfvn.defences.smoothing import Smoothed
from tfvn.models.base import Reconstructor
from tfvn.models.variational import VariationalNetwork
from tfvn.physics import measurement
from tfvn.physics.sense import Sense
from tfvn.results import evaluate
from tfvn.runs import locks
from tfvn.runs.attack import attack_run
from tfvn.runs.models import network_of
from tfvn.runs.train import train_run
from tfvn.training.trainer import Trainer
from tfvn.workers import ALONE, Workers, start

ROOT = Path(__file__).resolve().parents[1]
# Three slices a batch: two replicas have different shares.
SETTINGS = [
    "model.num_stages=1",
    "model.filters=2",
    "model.kernel_size=3",
    "model.num_centers=5",
    "data.num_train=3",
    "training.batch_size=3",
    "training.iterations=4",
    "training.checkpoint_every=2",
    "training.recipe=noise",
    "training.recipe.sigma=0.05",
    "defence=smoothed",
    "defence.sigma=0.05",
    "defence.num_samples=3",
    "attacks.ascent.sizes=0.5",
    "attacks.ascent.steps=2",
    "training.log_images_every=0",
]
# Settings of one of the optimizers.
IPALM = ["training.optimizer.initial_lipschitz=10"]
CONFIG = configs.load(ROOT / "configs" / "smoke.yaml", [*SETTINGS, *IPALM])
DRAWS, REPLICAS = 5, 2


# On two devices


def train_on_two(folder):
    """Two trained runs in `folder`, and what the tests below look at in found.json."""
    tf.config.threading.set_inter_op_parallelism_threads(4)
    workers = start("mirrored", REPLICAS)
    strategy, found = workers.strategy(), {}
    found["devices"] = strategy.num_replicas_in_sync
    found["shares"] = {}
    for batch in (1, 3, 4):
        shares = strategy.run(
            lambda batch=batch: replicas.own_slices((tf.range(batch), tf.zeros([1])), batch)
        )
        held, counts = (
            strategy.experimental_local_results(part) for part in (shares[0][0], shares[1])
        )
        found["shares"][batch] = [
            (numbers.numpy().tolist(), int(count)) for numbers, count in zip(held, counts)
        ]

    # Each waits for the other: on one device after the other, nobody would come.
    meeting, seen = threading.Barrier(REPLICAS), []

    def meet(image):
        seen.append(meeting.wait(timeout=60))
        return image

    class Meeting(Reconstructor):
        def __init__(self):
            super().__init__()
            # It has no weights. To make them, it would be called once, alone.
            self.built = True

        def call(self, inputs):
            image = inputs["zero_filled"]
            # TensorFlow would put functions with a state one after the other.
            met = tf.numpy_function(meet, [image], image.dtype, stateful=False)
            return tf.ensure_shape(met, image.shape)

    inputs, _ = next(iter(data.load(CONFIG, "test")))
    inputs["zero_filled"] = Sense().adjoint(
        inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"]
    )
    Smoothed(Meeting(), 0.1, 2, strategy=strategy).reconstruct(inputs)
    found["met"] = len(seen)

    refused = []
    network = VariationalNetwork(num_stages=1, filters=2, kernel_size=3)
    for make in (
        lambda: Trainer(network, strategy=strategy),
        lambda: Smoothed(network, 0.1, 2, strategy=strategy),
    ):
        try:
            make()
        except ValueError as error:
            refused.append(str(error))
    with strategy.scope():
        try:
            Trainer(network)
        except ValueError as error:
            refused.append(str(error))
    found["refused"] = refused

    for optimizer in ("ipalm", "adam"):
        train(Path(folder, optimizer), optimizer, workers)
    Path(folder, "found.json").write_text(json.dumps(found))


def attack_on_two(folder, one):
    """What a run on one device becomes, smoothed, attacked and evaluated in `folder`."""
    workers = start("mirrored", REPLICAS)
    strategy = workers.strategy()
    with strategy.scope():
        network = network_of(one, CONFIG)
    np.savez(Path(folder, "smoothed.npz"), *smoothed(network, strategy))
    run_dir = Path(folder, "attacked")
    copy(one, run_dir)
    attack_run(run_dir, CONFIG, strategy)
    with pytest.MonkeyPatch.context() as patch:
        draw_pixels(patch)
        evaluate.evaluate([run_dir], Path(folder, "results"), strategy=strategy)


def train(run_dir, optimizer, workers=ALONE):
    run_dir.mkdir()
    settings = [*SETTINGS, f"training.optimizer={optimizer}"]
    if optimizer == "ipalm":
        settings += IPALM
    config = configs.load(ROOT / "configs" / "smoke.yaml", settings)
    (run_dir / "config.yaml").write_text(config.to_yaml())
    train_run(run_dir, config, workers=workers)


def smoothed(network, strategy=None):
    """Prediction, its gradient, the largest norm of a draw and the deviation of the draws."""
    model = Smoothed(network, 0.1, DRAWS, chunk_size=2, strategy=strategy)
    inputs, _ = next(iter(data.load(CONFIG, "test")))
    measured = {key: inputs[key] for key in ("sensitivity_maps", "mask")}
    zero_filled = measurement.zero_filled(network.sense, inputs)
    keys = model.keys(inputs["sample_index"])
    with tf.GradientTape() as tape:
        tape.watch(zero_filled)
        image = model.reconstruct({**measured, "zero_filled": zero_filled}, keys)
        energy = tf.reduce_sum(image**2)
    gradient = tape.gradient(energy, zero_filled)
    return image, gradient, *model.statistics({**measured, "zero_filled": zero_filled}, keys)


def copy(one, run_dir):
    """A trained run without attacks."""
    run_dir.mkdir()
    for name in ("config.yaml", "model.keras"):
        shutil.copy(Path(one, name), run_dir)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A folder of two runs on one device, `ipalm` and `adam`."""
    folder = tmp_path_factory.mktemp("one")
    for optimizer in ("ipalm", "adam"):
        train(folder / optimizer, optimizer)
    return folder


@pytest.fixture(scope="module")
def attacked(one):
    """That folder with a run that is `attacked`, and its evaluation in `results`."""
    copy(one / "ipalm", one / "attacked")
    attack_run(one / "attacked", CONFIG)
    evaluate.evaluate([one / "attacked"], one / "results")
    return one


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A folder with the same runs, made on two devices, and what `train_on_two` found."""
    folder = tmp_path_factory.mktemp("two")
    run_python(f"import test_distribution as two; two.train_on_two({str(folder)!r})")
    return folder, json.loads((folder / "found.json").read_text())


@pytest.fixture(scope="module")
def attacked_on_two(one, tmp_path_factory):
    """A folder with what `attack_on_two` makes of a run on one device."""
    folder = tmp_path_factory.mktemp("attacked_on_two")
    arguments = f"{str(folder)!r}, {str(one / 'ipalm')!r}"
    run_python(f"import test_distribution as two; two.attack_on_two({arguments})")
    return folder


def run_python(code):
    done = processes.run(code, as_traced=True)
    assert done.returncode == 0, done.stderr[-3000:]


def check_weights(run_dir, other):
    for a, b in zip(*(network_of(path, CONFIG).get_weights() for path in (run_dir, other))):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)


def check_attacks(run_dir, other):
    paths = sorted(Path(other, "attacks").rglob("*.h5"))
    assert len(paths) == 2
    for path in paths:
        with h5py.File(path) as a, h5py.File(Path(run_dir, path.relative_to(other))) as b:
            np.testing.assert_allclose(
                a["perturbation"][()], b["perturbation"][()], rtol=0, atol=1e-6
            )


def check_results(folder, other):
    tables = []
    for path in (folder, other):
        with open(path / "results.csv", newline="", encoding="utf-8") as file:
            tables.append(list(csv.DictReader(file)))
    assert len(tables[0]) == len(tables[1]) == 4
    for a, b in zip(*tables):
        assert (a["name"], a["attack"]) == (b["name"], b["attack"])
        for key in ("rmse", "ssim", "effect", "draw_norm", "norm"):
            assert float(a[key]) == pytest.approx(float(b[key]), rel=1e-4, abs=1e-6)
    names = [
        sorted(path.name for path in files.iterdir() if path.is_file()) for files in (folder, other)
    ]
    assert names[0] == names[1]
    assert not (folder / ".unfinished").exists()


@pytest.mark.slow
def test_two_replicas_share_a_batch_and_none_is_left_without_data(two):
    assert two[1]["devices"] == 2
    shares = two[1]["shares"]
    # The second replica has nothing of a batch of one, and holds something that does not count.
    assert shares["1"] == [[[0], 1], [[0], 0]]
    assert shares["3"] == [[[0, 2], 2], [[1], 1]] and shares["4"] == [[[0, 2], 2], [[1, 3], 2]]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["ipalm", "adam"])
def test_training_on_two_replicas_is_training_on_one(one, two, optimizer):
    check_weights(one / optimizer, two[0] / optimizer)
    before, after = (
        (folder / optimizer / "history.csv").read_text().splitlines() for folder in (one, two[0])
    )
    assert len(before) == len(after) == 3 and before[0] == after[0]
    for a, b in zip(before[1:], after[1:]):
        np.testing.assert_allclose(
            [float(x) for x in a.split(",")], [float(x) for x in b.split(",")], rtol=1e-4
        )


@pytest.mark.slow
def test_a_prediction_split_over_two_replicas_is_that_of_one(one, attacked_on_two):
    expected = smoothed(network_of(one / "ipalm", CONFIG))
    with np.load(attacked_on_two / "smoothed.npz") as found:
        for a, b in zip(expected, found.values()):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_replicas_work_at_the_same_time(two):
    assert two[1]["met"] == 2


@pytest.mark.slow
def test_attacks_and_results_of_two_devices_are_those_of_one(attacked, attacked_on_two):
    check_attacks(attacked / "attacked", attacked_on_two / "attacked")
    check_results(attacked / "results", attacked_on_two / "results")


@pytest.mark.slow
def test_a_network_of_another_strategy_is_refused(two):
    trainer, smoothing, inside = two[1]["refused"]
    assert (
        "inside `with strategy.scope():`" in trainer
        and "inside `with strategy.scope():`" in smoothing
    )
    assert "Trainer(..., strategy=strategy)" in inside


# In two processes

_WORKER = """
import os, signal
from tfvn.training import loop
original = loop.ProgressBar.on_train_batch_end
def step(self, batch, logs=None):
    original(self, batch, logs)
    if int(self.model.steps_done) == {last}:
        os.kill(os.getpid(), signal.{word})
loop.ProgressBar.on_train_batch_end = step
import train
raise SystemExit(train.main({arguments!r}))
"""


@contextlib.contextmanager
def pair(run_dir, last=(0, 0), word="SIGKILL"):
    """Two processes that train together; process i gives itself a signal after `last[i]` steps."""
    config = str(ROOT / "configs" / "smoke.yaml")
    arguments = [
        "--config",
        config,
        "--run-dir",
        str(run_dir),
        "--strategy",
        "multiworker",
        "--set",
        *SETTINGS,
        # Its step is traced in less time, in each of the processes.
        "training.optimizer=adam",
    ]
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports()]}
    started = []
    try:
        for index in range(2):
            task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            code = _WORKER.format(last=last[index], word=word, arguments=arguments)
            process = processes.Process(code, as_traced=True, TF_CONFIG=json.dumps(task))
            started.append(process)
        yield started
    finally:
        for process in started:
            process.kill()


def free_ports():
    """Two ports that are free now."""
    with socket.socket() as a, socket.socket() as b:
        for one in (a, b):
            one.bind(("127.0.0.1", 0))
        return a.getsockname()[1], b.getsockname()[1]


@pytest.mark.slow
def test_a_killed_worker_leaves_a_run_that_resumes(one, tmp_path):
    run_dir = tmp_path / "run"
    with pair(run_dir, last=(0, 3)) as (first, second):
        killed, left = second.wait(timeout=200), first.wait(timeout=200)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    assert left.returncode == 2 and "another worker has stopped" in left.stderr, left.stderr[-3000:]
    assert not (run_dir / "model.keras").exists() and (run_dir / "checkpoints").exists()
    with pair(run_dir) as both:
        ended = [process.wait(timeout=200) for process in both]
    assert [done.returncode for done in ended] == [0, 0], ended
    assert all("at iteration 2" in done.stdout for done in ended)
    check_weights(one / "adam", run_dir)
    assert len((run_dir / "history.csv").read_text().splitlines()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("still", [1, 0])
def test_a_worker_that_stands_still_is_not_waited_for(tmp_path, still):
    # The first one looks after the others.
    last = [0, 0]
    last[still] = 3
    with pair(tmp_path / "run", last=last, word="SIGSTOP") as both:
        left = both[1 - still].wait(timeout=200)
    assert left.returncode == 2 and "another worker has stopped" in left.stderr, left.stderr[-3000:]


# At the beginning


def test_a_worker_that_fails_leaves_the_run_directory_to_the_others(tmp_path, monkeypatch):
    def work(run_dir, config, workers):
        raise ValueError("no data here")

    for count in (1, 2):
        workers = Workers("multiworker", 0, count)
        monkeypatch.setattr("tfvn.workers.start", lambda *_, found=workers: found)
        run_dir = tmp_path / str(count)
        arguments = argparse.Namespace(
            config=str(ROOT / "configs" / "smoke.yaml"),
            run_dir=str(run_dir),
            set=[],
            check_data=False,
            strategy="multiworker",
            replicas=None,
        )
        assert on_run_directory(arguments, None, work) == 2
        assert run_dir.exists() == (count == 2)


@pytest.mark.parametrize("index, lock", [(0, None), (1, 1)])
def test_a_training_that_is_started_twice_is_refused(tmp_path, index, lock):
    own = Workers("multiworker", index, 2)
    with (
        locks.alone(tmp_path, "works on it", lock),
        pytest.raises(ValueError, match="is in use: process .* works on it"),
    ):
        train_run(tmp_path, CONFIG, workers=own)
    assert not os.listdir(tmp_path)


def test_an_address_that_cannot_be_found_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(
        "TF_CONFIG",
        '{"cluster": {"worker": ["no.such.invalid:1"]}, "task": {"type": "worker", "index": 0}}',
    )
    smoke, run_dir = ROOT / "configs" / "smoke.yaml", tmp_path / "run"
    assert (
        train_script.main(
            ["--config", str(smoke), "--run-dir", str(run_dir), "--strategy", "multiworker"]
        )
        == 2
    )
    assert "Received: 'no.such.invalid:1' for worker 0" in capsys.readouterr().err
    assert not run_dir.exists()


def test_what_trains_on_one_device_alone_says_so(tmp_path, capsys):
    with pytest.raises(ValueError, match="conditional-gradient trains on one device"):
        Trainer(
            VariationalNetwork(num_stages=1, filters=2),
            "conditional-gradient",
            strategy=tf.distribute.get_strategy(),
        )
    with pytest.raises(SystemExit):
        train_script.main(["--run-dir", str(tmp_path), "--tune", "--strategy", "mirrored"])
    assert "--tune trains on one device" in capsys.readouterr().err
