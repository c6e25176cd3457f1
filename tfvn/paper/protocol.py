"""The paper's protocol: train several networks, attack each, evaluate them together.

The demo and the paper's own run use it. Everything happens in one process, which prints the
commands that would do the same one by one. Run again, it continues where it stopped.
"""

import gc
import os
import pathlib
import shutil
import time

import numpy as np

from tfvn import config as configs
from tfvn import data, files, ranges, tables
from tfvn.cluster import peak_bytes
from tfvn.results import evaluate as results
from tfvn.runs import directory
from tfvn.runs.attack import attack_run
from tfvn.runs.models import network_of
from tfvn.runs.train import train_run

__all__ = [
    "CONFIGS",
    "MODELS",
    "Stopwatch",
    "attack",
    "evaluate",
    "size_and_time",
    "train",
    "write_knees",
]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_INSTALLED = os.path.join(_PACKAGE, "configs")
_CHECKOUT = os.path.join(os.path.dirname(_PACKAGE), "configs")
# setup.py installs them inside the package. In a checkout they are beside it.
CONFIGS = _INSTALLED if os.path.isdir(_INSTALLED) else _CHECKOUT
MODELS = ("original", "sigma_0.01", "sigma_0.02", "sigma_0.05", "sigma_0.1")
_COLUMNS = ("what", "units", "seconds", "seconds_per_unit", "peak_bytes")
_SPLITS = ("train", "test")
# Calls of a model whose median is its time.
_TIMED_CALLS = 5


def write_knees(root, config, size, receiver_noise, version=5, blur=0.0):
    """Writes synthetic slices as the knee folder that `config` asks for, unless it is there.

    Args:
        root: the folder.
        size: (height, width, coils).
        receiver_noise: of `SyntheticKnee`.
        version: of the MATLAB files, as for `data.vlo_folder.write_folder`.
        blur: of `SyntheticKnee`, in pixels.

    Raises:
        ValueError: if the folder holds other slices.
    """
    height, width, coils = size
    settings = f"synthetic: {height} x {width}, {coils} coils, receiver noise {receiver_noise}"
    if blur:
        settings += f", blur {blur}"
    settings += "\n"
    slices = _named_slices(config)
    if os.path.isdir(root):
        _check_knees(root, settings, slices)
        return
    print(f"writing synthetic knees as MATLAB files to {root}", flush=True)
    partial = f"{root}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for seed, split in enumerate(_SPLITS):
        patients = ranges.numbers(config.data.get(f"{split}_patients"))
        numbers = ranges.numbers(config.data.get(f"{split}_slices"))
        count = len(patients) * len(numbers)
        source = data.SyntheticKnee(
            count, height, width, coils, None, receiver_noise, seed, blur=blur
        )
        protocol = config.data.protocol
        data.vlo_folder.write_folder(partial, protocol, patients, numbers, source, version)
    _marker(partial).write_text(settings + slices, encoding="utf-8")
    os.replace(partial, root)


def _named_slices(config):
    """The keys that say which slices there are, with their values, in one line."""
    told = []
    for split in _SPLITS:
        for what in ("patients", "slices"):
            key = f"{split}_{what}"
            told.append(f"{key} {config.data.get(key)}")
    return ", ".join(told)


def _check_knees(root, settings, slices):
    """Checks that a folder holds the slices that `write_knees` would write."""
    marker, found = _marker(root), ""
    if marker.exists():
        found = marker.read_text(encoding="utf-8")
    # The first version of this file did not tell the slices.
    if found not in (settings, settings + slices):
        raise ValueError(
            f"{root} does not hold these data: {settings}{slices}. Remove that folder, or use"
            " another --run-dir."
        )


def _marker(root):
    return pathlib.Path(root, "README")


def train(config_path, run_dir, overrides):
    """Does what `train.py` does, after printing its command, on data that are whole.

    They were written here or checked. Returns the configuration.
    """
    words = ["--config", os.path.relpath(config_path), "--run-dir", directory.as_argument(run_dir)]
    if overrides:
        words += ["--set", *overrides]
    print(f"\n$ {directory.command('python', 'train.py', *words)}", flush=True)
    config = directory.open_run(run_dir, config_path, overrides)
    train_run(run_dir, config, checked=True)
    # Keras models are cycles of references, and this one's data set holds batches.
    gc.collect()
    return config


def attack(run_dir, config):
    """Does what `attack.py` does, after printing its command."""
    words = ["--run-dir", directory.as_argument(run_dir)]
    print(f"$ {directory.command('python', 'attack.py', *words)}", flush=True)
    attack_run(run_dir, config)


def evaluate(run_dirs, output):
    """Does what `evaluate.py` does, after printing its command."""
    words = [directory.as_argument(run_dir) for run_dir in run_dirs]
    words += ["--output", directory.as_argument(output)]
    print(f"\n$ {directory.command('python', 'evaluate.py', *words)}", flush=True)
    return results.evaluate(run_dirs, output)


def size_and_time(run_dir):
    """The number of trained parameters of a run's network, and the seconds of a slice.

    It is the median of some calls of the network in its defence, on the first test batch.
    """
    config = configs.load(os.path.join(run_dir, "config.yaml"))
    network = network_of(run_dir, config)
    model = config.defended(network)
    inputs, _ = next(iter(data.load(config, "test")))
    seconds = []
    for _ in range(_TIMED_CALLS):
        start = time.perf_counter()
        model.reconstruct(inputs).numpy()
        seconds.append(time.perf_counter() - start)
    parameters = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    return parameters, float(np.median(seconds)) / len(inputs["mask"])


class Stopwatch:
    """The seconds that the work of a run takes, and the peak memory of the process.

    They are printed and kept in a CSV file.
    """

    def __init__(self, path):
        self.path = path
        self.rows = []
        files.check_replaceable(os.path.dirname(path) or os.curdir, [os.path.basename(path)])
        if os.path.exists(path):
            self.rows = _read_times(path)

    def measure(self, what, units, work):
        """Calls `work()`, which does `units` units, and returns its result."""
        start = time.monotonic()
        result = work()
        self.record(what, units, time.monotonic() - start, peak_bytes())
        return result

    def record(self, what, units, seconds, peak):
        """Keeps what was measured: the seconds of so many units, and the peak memory in bytes."""
        each = f"{seconds / max(units, 1):.3g}"
        self.rows.append(dict(zip(_COLUMNS, (what, units, f"{seconds:.1f}", each, peak))))
        print(
            f"{what}: {seconds:.0f} s, {each} s each of {units}; peak memory so far"
            f" {peak / 1e9:.2f} GB",
            flush=True,
        )
        self._write()

    def _write(self):
        with files.replacing(self.path) as temporary:
            tables.write_csv(temporary, self.rows, _COLUMNS)


def _read_times(path):
    """The rows of an earlier run, as far as its lines are whole."""
    _, rows = tables.read_csv(path, errors="replace")
    return [row for row in rows if set(row) == set(_COLUMNS) and None not in row.values()]
