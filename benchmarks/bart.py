"""Our variational network against BART's, with the same weights and the same slices.

    python -m benchmarks.bart [--threads 1] [--rounds 5] [--small]

It needs `bart`. Ten stages of 24 filters 11 x 11 and 31 centres, as both have them by default, see
8 coils and 320 x 184 pixels. BART trains the weights for one step on slices of 32 x 32. What they
are does not change how long an image takes.

BART is a command, which starts, reads files and plans its transforms in every call. So its time of
a slice is that of four slices less that of two, halved. Ours is that of a later call. Both sides
take turns, and a time is the median of the rounds.
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from benchmarks.problem import Size, make_image, make_inputs
from tfvn.models.bart_weights import from_bart_file

FULL = Size(coils=8, height=320, width=184)
SMALL = Size(coils=2, height=32, width=32)
# BART takes no batch of one slice.
_FEW, _MANY = 2, 4
_BLOCKS = {True: ("-I2", "--varnet-block", "F=3,X=5,Y=5,W=9"), False: ()}


def write(path, array, places):
    """Writes an array as BART reads it, each of its axes at one of BART's 16 places."""
    shape = [1] * 16
    for place, size in zip(places, array.shape):
        shape[place] = size
    text = f"# Dimensions\n{' '.join(map(str, shape))}\n"
    path.with_suffix(".hdr").write_text(text, encoding="utf-8")
    array.astype("c8").ravel("F").tofile(path.with_suffix(".cfl"))


def write_slices(folder, inputs):
    """Writes the k-space, the maps and the mask of some slices."""
    for name in ("kspace", "sensitivity_maps"):
        write(folder / name, inputs[name].numpy().transpose(2, 3, 1, 0), (0, 1, 3, 15))
    write(folder / "mask", inputs["mask"].numpy()[0, 0], (0, 1))


class Bart:
    """The command `bart reconet` for one network.

    Args:
        folder: of the weights.
        threads: that it may take.
        small: whether it is a small network, to see that everything runs.
    """

    def __init__(self, folder, threads, small):
        self.weights = folder / "weights"
        self.options = ["-n", "-N", "varnet", *_BLOCKS[small], "--pattern=mask"]
        self.environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}

    def run(self, folder, task, result):
        """Runs a task on the slices of a folder. Returns seconds on the wall, of the processor."""
        words = ["bart", "reconet", *task, *self.options]
        words += ["kspace", "sensitivity_maps", str(self.weights), result]
        start = time.perf_counter()
        process = subprocess.Popen(
            words, cwd=folder, env=self.environment, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}")
        return np.array([time.perf_counter() - start, usage.ru_utime + usage.ru_stime])

    def train(self, folder):
        """Makes weights, by one step on slices of noise."""
        write_slices(folder, make_inputs(SMALL, _FEW))
        write(folder / "reference", make_image(SMALL, _FEW).numpy().transpose(1, 2, 0), (0, 1, 15))
        self.run(folder, ["-t", "-b1", "-T", "e=1"], "reference")

    def image(self, folder):
        """What it makes of the slices of a folder, complex (batch, rows, width)."""
        self.run(folder, ["-a"], "found")
        header = (folder / "found.hdr").read_text(encoding="utf-8").splitlines()
        shape = [int(size) for size in header[1].split()]
        found = np.fromfile(folder / "found.cfl", "c8").reshape(shape, order="F")
        return found.reshape(*shape[:2], -1).transpose(2, 0, 1)


def scaled(network, inputs):
    """Slices whose zero-filled image has the maximum 1, as BART's option -n makes them, and what
    they were divided by.
    """
    image = np.abs(network.zero_filled(inputs))
    scale = image.max((1, 2))[:, None, None]
    return {**inputs, "kspace": inputs["kspace"] / scale[:, None]}, scale


def seconds(function):
    """Seconds on the wall and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    function()
    return np.array([time.perf_counter() - wall, time.process_time() - processor])


def compared(bart, size, rounds, parent):
    """Seconds of a slice, (ours or BART's, wall or processor), and their relative difference."""
    folders = {}
    for count in (_MANY, _FEW):
        folders[count] = parent / f"slices_{count}"
        folders[count].mkdir()
        slices = make_inputs(size, count)
        write_slices(folders[count], slices)
    network = from_bart_file(bart.weights)
    inputs, scale = scaled(network, {name: array[:1] for name, array in slices.items()})
    found, expected = scale * network(inputs), bart.image(folders[_FEW])[:1]
    difference = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    network.reconstruct(inputs)
    times = []
    for _ in range(rounds):
        ours = seconds(lambda: network.reconstruct(inputs).numpy())
        many, few = (bart.run(folders[count], ["-a"], "found") for count in (_MANY, _FEW))
        times.append([ours, (many - few) / (_MANY - _FEW)])
    return np.median(times, 0), difference


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1, help="of either side")
    parser.add_argument("--rounds", type=int, default=5, help="turns of either side")
    parser.add_argument("--small", action="store_true", help="to see that everything runs")
    arguments = parser.parse_args(argv)
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bart = Bart(folder, arguments.threads, arguments.small)
        bart.train(folder)
        size = SMALL if arguments.small else FULL
        times, difference = compared(bart, size, arguments.rounds, folder)
    told = f"TensorFlow {tf.__version__}, {arguments.threads} threads, {arguments.rounds} rounds"
    print(f"{told}; the images differ by {difference:.0e}\n")
    print("| a slice | ours | BART | times as fast |\n| --- | ---: | ---: | ---: |")
    for what, (ours, theirs) in zip(("wall", "processor"), np.transpose(times)):
        print(f"| {what} | {ours:.3f} s | {theirs:.3f} s | {theirs / ours:.1f} |")


if __name__ == "__main__":
    main()
