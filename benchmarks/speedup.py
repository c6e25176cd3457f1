"""What worker processes on one machine are worth: `python -m benchmarks.speedup`.

A network is attacked by one process and by each number of workers, on two numbers of slices. The
seconds between the two are those of the attacks alone. What is left is the start: of processes, of
TensorFlow, of the first gradient.

One process of TensorFlow uses all cores of a machine, where an operation is large enough. So the
speed-up on N cores is below N, and it is larger for small images.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

from tfvn import tables

__all__ = ["main"]

# What is attacked is hardly trained: that costs a gradient nothing.
_TRAINING = ("training.iterations=2", "training.checkpoint_every=2", "data.num_train=8")


def _run(script, *arguments):
    """Seconds of one of the scripts at the top level."""
    start = time.perf_counter()
    subprocess.run([sys.executable, script, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _attack(folder, config, overrides, slices, workers):
    """Seconds of an attack on so many slices; `workers` 0 is one process."""
    run_dir = os.path.join(folder, f"{slices}-{workers}")
    network = os.path.join(folder, "network", "model.keras")
    # The file tells what the model is.
    changes = [text for text in overrides if not text.startswith("model.")]
    changes += [*_TRAINING, f"model.file={network}", f"data.num_test={slices}"]
    given = ["--config", config, "--run-dir", run_dir, "--set", *changes]
    if workers:
        given += ["--workers", str(workers)]
    return _run("attack.py", *given)


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description="What worker processes are worth.")
    parser.add_argument("--config", default="configs/models/variational.yaml")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--workers", nargs="+", type=int, default=[2])
    parser.add_argument("--slices", nargs=2, type=int, default=[8, 24])
    given = parser.parse_args()
    fewer, more = given.slices
    lines, alone = [["processes", "start, s", "s a slice", "speed-up"]], None
    with tempfile.TemporaryDirectory() as folder:
        network = os.path.join(folder, "network")
        options = ["--config", given.config, "--run-dir", network]
        _run("train.py", *options, "--set", *given.set, *_TRAINING, "data.num_test=1")
        for workers in (0, *given.workers):
            first, second = (
                _attack(folder, given.config, given.set, slices, workers)
                for slices in (fewer, more)
            )
            each = (second - first) / (more - fewer)
            alone = alone or each
            start = first - fewer * each
            cells = (f"{start:.1f}", f"{each:.2f}", f"{alone / each:.2f}")
            lines.append([f"{workers} workers" if workers else "one", *cells])
    print(tables.aligned(lines), end="")


if __name__ == "__main__":
    main()
