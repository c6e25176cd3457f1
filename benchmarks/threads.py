"""What TensorFlow's threads cost on small images: `python -m benchmarks.threads`.

One process, and then several at once, compute gradients of a network, with as many threads each as
TensorFlow chooses and with a single one. Both are measured in turn, `--rounds` times, each time in
new processes: TensorFlow chooses its threads as it starts.

    python -m benchmarks.threads --processes 2 --model modl --shape 6 64 48
"""

import argparse
import os
import statistics
import subprocess
import sys

__all__ = ["main", "measured", "milliseconds"]

# What TensorFlow reads as it starts.
_SINGLE = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
_CALLS = 30


def milliseconds(model, shape):
    """The median time of a gradient in r of the error of an answer, in this process.

    Args:
        model: its name, as in a configuration.
        shape: coils, rows and columns.
    """
    import tensorflow as tf

    from benchmarks.measure import seconds
    from tfvn import config, data
    from tfvn.attacks import IMAGE
    from tfvn.physics import measurement

    size = dict(zip(("num_coils", "height", "width"), shape))
    settings = {"model": model, "data": {"format": "synthetic", "num_test": 1, **size}}
    chosen = config.load(settings=settings)
    network = chosen.model.make(seed=0)
    inputs, reference = next(iter(data.load(chosen, "test")))

    @tf.function
    def gradient(r):
        with tf.GradientTape() as tape:
            tape.watch(r)
            image = network.answer(measurement.perturbed(network.sense, inputs, r))
            error = tf.reduce_sum(tf.square(image - tf.abs(reference)))
        return tape.gradient(error, r)

    r = IMAGE.zero(network.sense, inputs) + 0.01
    gradient(r)
    return 1000 * statistics.median(seconds(lambda: gradient(r)) for _ in range(_CALLS))


def measured(processes, model, shape, threads):
    """The mean of what so many processes at once measure, in milliseconds.

    Args:
        processes: how many.
        model, shape: as for `milliseconds`.
        threads: environment variables that say how many threads each has; {} for as many as
            TensorFlow chooses.
    """
    command = [sys.executable, "-m", "benchmarks.threads", "--alone", "--model", model, "--shape"]
    command.extend(map(str, shape))
    free = {key: value for key, value in os.environ.items() if key not in _SINGLE}
    started = []
    for _ in range(processes):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        started.append(subprocess.Popen(command, env={**free, **threads}, **pipes))
    return statistics.mean(float(one.communicate()[0]) for one in started)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--model", default="modl")
    parser.add_argument("--shape", type=int, nargs=3, default=(6, 64, 48))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="measure in this process")
    arguments = parser.parse_args(argv)
    if arguments.alone:
        print(milliseconds(arguments.model, arguments.shape))
        return 0
    for processes in sorted({1, arguments.processes}):
        for _ in range(arguments.rounds):
            of = processes, arguments.model, arguments.shape
            chosen, single = measured(*of, {}), measured(*of, _SINGLE)
            print(
                f"{processes} at once: {chosen:.1f} ms a gradient, {single:.1f} ms with a single"
                f" thread each, {chosen / single:.2f} times as fast"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
