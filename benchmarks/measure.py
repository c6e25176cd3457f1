"""One measurement in a process of its own: `python -m benchmarks.measure '{"workload": "forward",
...}'` prints one JSON line.

Keys: `workload`, a function of `benchmarks.workloads`; `arguments` of it beside the size; `size`,
what differs from `problem.Size`; `what`: "time" (product, plain formulation and floor in turn,
`rounds` times; 0: the product's first call), "memory of product" or "memory of plain" (the peak of
the process).
"""

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from benchmarks import workloads
from benchmarks.problem import Size
from tfvn import device


def make_floor(size):
    """The arithmetic that no formulation avoids: K and K^T of every stage as plain convolutions of
    the padded image.
    """
    rng = np.random.default_rng(0)
    image = tf.constant(rng.standard_normal((1, size.height + 22, size.width + 22, 2), np.float32))
    kernel = tf.constant(rng.standard_normal((11, 11, 2, size.filters), np.float32))
    convolution = tf.function(
        lambda image, kernel: tf.nn.conv2d(image, kernel, 1, "SAME"), autograph=False
    )

    def floor():
        for _ in range(2 * size.stages):
            result = convolution(image, kernel)
        return result

    return floor


def seconds(function):
    start = time.perf_counter()
    tf.nest.map_structure(lambda x: x.numpy(), function())
    return time.perf_counter() - start


def peak_memory():
    """Of this process, in bytes."""
    # Not getrusage: its maximum includes the process that this one was forked from.
    with open("/proc/self/status", encoding="utf-8") as file:
        sizes = [int(line.split()[1]) for line in file if line.startswith("VmHWM")]
    return 1024 * sizes[0]


def measure(workload, what, arguments=(), size=None, rounds=5):
    """What the module's docstring says, as a dict."""
    size = Size(**(size or {}))
    product, plain, units = getattr(workloads, workload)(size, *arguments)
    if what == "memory of product":
        return {"peak": _peak_of(product, units)}
    if what == "memory of plain":
        return {"peak": _peak_of(plain, units)}
    functions = {"floor": make_floor(size), "product": product}
    if plain:
        functions["plain"] = plain
    first = {name: seconds(function) for name, function in functions.items()}
    if not rounds:
        # Too long for a second call, and so long that compiling does not count.
        return {
            "first": 0.0,
            "units": units,
            "product": first["product"] / units,
            "floor": min(seconds(functions["floor"]) for _ in range(5)),
        }
    times = {name: [] for name in functions}
    # In turn, so that what else the machine does meets all of them.
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(seconds(function))
    best = {name: min(values) for name, values in times.items()}
    best["product"] /= units
    return {"first": first["product"] - min(times["product"]), "units": units, **best}


def _peak_of(function, units):
    seconds(function)
    if units < 9:
        # The second call may hold what the first one left. Where there are many units, the first
        # has seen it all.
        seconds(function)
    return peak_memory()


if __name__ == "__main__":
    device.grow_memory()
    print(json.dumps(measure(**json.loads(sys.argv[1]))), flush=True)
