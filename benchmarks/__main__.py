"""Time and memory of what the package computes, beside a plain formulation and the floor of the
arithmetic.

    python -m benchmarks                        the table, about 30 minutes on 2 cores
    python -m benchmarks --sweeps               and plots over K, coils, image size and filters,
                                                10 minutes more
    python -m benchmarks --long                 and the 60-step attack and the demo, 35 more
    python -m benchmarks --only forward ...     some rows
    python -m benchmarks --output docs          also writes docs/benchmarks.md, .json and the plots

Every figure comes from a process of its own. Times are the best of some rounds, in which the
product, the plain formulation (`benchmarks/plain.py`) and the floor (20 plain convolutions 2 -> 24,
11 x 11, of the padded image) take turns.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

SMALL = dict(coils=4, height=64, width=48, stages=2, filters=8)


class Row(NamedTuple):
    """A row of the table.

    title: what stands in it.
    workload: a function of `benchmarks.workloads`.
    arguments: those of it beside the size.
    rounds: how often it is timed.
    plain: whether it has a plain formulation.
    """

    title: str
    workload: str
    arguments: tuple
    rounds: int
    plain: bool = False


ROWS = {
    "forward": Row("forward, `reconstruct`", "forward", (), 8, plain=True),
    "attack_gradient": Row("attack gradient, one step", "attack_gradient", (), 8, plain=True),
    "apgd": Row("APGD, 10 gradients; plain: the paper's ascent", "apgd", (10,), 3, plain=True),
    "training_gradient": Row(
        "training gradient, all parameters, one slice", "training_gradient", (), 6, plain=True
    ),
    "training_automatic": Row(
        "the same; plain: automatic differentiation", "training_gradient", (True,), 2, plain=True
    ),
    "smoothed_9": Row("smoothed prediction, K = 9, per copy", "smoothed", (9,), 4, plain=True),
    "smoothed_64": Row("smoothed prediction, K = 64, per copy", "smoothed", (64,), 2, plain=True),
    "smoothed_attack_9": Row(
        "attack step on a smoothed model, K = 9, per copy", "smoothed_attack_step", (9,), 3
    ),
    "smoothed_attack_27": Row(
        "attack step on a smoothed model, K = 27, per copy", "smoothed_attack_step", (27,), 1
    ),
    "ipalm": Row("one iPALM iteration on 10 slices, per slice", "ipalm_iteration", (10,), 1),
}
LONG = {
    "attack_60": Row("attack of 60 steps with K = 9, per step and copy", "full_attack", (9, 60), 0)
}


class Point(NamedTuple):
    """A point of a sweep: its place on the axis, what differs from the full size, and the
    arguments of the workload.
    """

    x: int
    size: dict
    arguments: tuple = ()


# A quarter of the full size, so that the sweeps take minutes.
QUARTER = {"height": 320, "width": 184}
# A workload and its points, by the name of the axis.
SWEEPS = {
    "K": ("smoothed", [Point(k, QUARTER, (k,)) for k in (1, 4, 16, 64, 256)]),
    "coils": ("attack_gradient", [Point(n, {**QUARTER, "coils": n}) for n in (4, 8, 16, 32)]),
    "image side": (
        "attack_gradient",
        [Point(n, {"height": n, "width": n}) for n in (128, 256, 384, 512)],
    ),
    "filters": ("attack_gradient", [Point(n, {**QUARTER, "filters": n}) for n in (8, 16, 24, 48)]),
}


def run(module, *arguments):
    """The last line that `python -m module arguments` prints, which is JSON."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"python -m {module} {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(workload, what, arguments=(), size=None, rounds=5):
    task = dict(workload=workload, what=what, arguments=arguments, size=size or {}, rounds=rounds)
    return run("benchmarks.measure", json.dumps(task))


def row(name, size):
    """What was measured for a row, a dict."""
    own = {**ROWS, **LONG}[name]
    found = measure(own.workload, "time", own.arguments, size, own.rounds)
    result = dict(title=own.title, **found)
    if name not in LONG:
        found = measure(own.workload, "memory of product", own.arguments, size)
        result["peak"] = found["peak"]
        if own.plain:
            found = measure(own.workload, "memory of plain", own.arguments, size)
            result["plain_peak"] = found["peak"]
    return result


def table(rows):
    heads = (
        "workload",
        "time",
        "x floor",
        "x faster than plain",
        "peak",
        "plain's peak",
        "first call, beyond a later one",
    )
    lines = [_line(heads), "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    lines += [_line(_cells(row)) for row in rows]
    return "\n".join(lines)


def _line(cells):
    return "| " + " | ".join(cells) + " |"


def _cells(row):
    """The cells of a row of the table; "" for what it does not have."""
    faster = ""
    if "plain" in row:
        faster = f"{row['plain'] / row['product']:.2f}"
    peaks = []
    for key in ("peak", "plain_peak"):
        peak = ""
        if key in row:
            peak = f"{row[key] / 1e9:.2f} GB"
        peaks.append(peak)
    return [
        row["title"],
        f"{row['product']:.3f} s",
        f"{row['product'] / row['floor']:.2f}",
        faster,
        *peaks,
        f"{max(row['first'], 0):.1f} s",
    ]


def pipeline(size):
    full = {"height": 640, "width": 368, "coils": 15, **size}
    sizes = [str(full[key]) for key in ("height", "width", "coils")]
    with tempfile.TemporaryDirectory() as folder:
        return run("benchmarks.pipeline", folder, "8", *sizes)


def pipeline_table(seconds, training_seconds):
    heads = (
        "input pipeline, seconds a slice",
        "raw files",
        "prepared cache",
        "training gradients in the time of one raw slice",
    )
    lines = [_line(heads), "| --- | ---: | ---: | ---: |"]
    for name, found in seconds.items():
        share = ""
        if training_seconds:
            share = f"{found['raw'] / training_seconds:.2f}"
        lines.append(_line([name, f"{found['raw']:.3f}", f"{found['prepared']:.3f}", share]))
    return "\n".join(lines)


def demo():
    """Seconds and peak memory, in bytes, of the whole demo, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": os.getcwd()}
        process = subprocess.Popen(
            [sys.executable, "-m", "tfvn.paper.demo"],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit("the demo failed")
        return {"seconds": time.perf_counter() - start, "peak": usage.ru_maxrss * 1024}


def sweep(name, size):
    workload, points = SWEEPS[name]
    results = []
    for point in points:
        own_size = {**size, **point.size}
        rounds = 2
        if point.arguments and point.arguments[0] > 16:
            rounds = 1
        found = measure(workload, "time", point.arguments, own_size, rounds)
        memory = measure(workload, "memory of product", point.arguments, own_size)
        results.append({"x": point.x, **found, **memory})
        print(name, results[-1], flush=True)
    return results


def plot(sweeps, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(sweeps), 5), layout="constrained")
    axes = figure.subplots(2, len(sweeps), squeeze=False)
    for (name, points), column in zip(sweeps.items(), axes.T):
        _plot_sweep(name, points, *column)
    figure.savefig(path, dpi=120)


def _plot_sweep(name, points, time_axes, memory_axes):
    unit = "attack gradient"
    if name == "K":
        unit = "a copy"
    x = [point["x"] for point in points]
    time_axes.plot(x, [point["product"] for point in points], "o-", label="tfvn")
    time_axes.plot(x, [point["plain"] for point in points], "s--", label="plain TensorFlow")
    time_axes.set(ylabel=f"seconds, {unit}")
    memory_axes.plot(x, [point["peak"] / 1e9 for point in points], "o-")
    memory_axes.set(xlabel=name, ylabel="GB, peak of the process")
    for axes in (time_axes, memory_axes):
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        if name == "K":
            axes.set_xscale("log", base=2)
        axes.set_xticks(x, [str(value) for value in x])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    time_axes.legend(fontsize="small")


def machine():
    """One line: date, processor, cores, versions, accelerator."""
    devices = []
    for device in tf.config.list_physical_devices():
        if device.device_type != "CPU":
            devices.append(device.name)
    cores = len(os.sched_getaffinity(0))
    return (
        f"{datetime.date.today()}, {cores} cores of {_processor()}, TensorFlow {tf.__version__},"
        f" Python {platform.python_version()}, {', '.join(devices) or 'no accelerator'}"
    )


def _processor():
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


NOTES = """\
Every row comes from processes of its own. Product, plain formulation and floor take turns, and a
time is the best of some rounds. If the command says nothing else, there are 15 coils, 640 x 368
pixels, and 10 stages of 24 filters 11 x 11 and 31 centres.

* *Floor* is the time of 20 plain `tf.nn.conv2d` 2 -> 24, 11 x 11, of the padded image. These are K
  and K^T of every stage and nothing else.
* *Plain* is `benchmarks/plain.py`, which is what a competent user writes. XLA fuses its activation.
  The derivative is written by hand, except in the row that says automatic differentiation.
* *First call* is tracing and compiling. It is the first call less the best later one.
"""


def text(found):
    """What was found so far, as a page."""
    parts = [f"`{found['command']}`: {found['machine']}.", NOTES.strip(), table(found["rows"])]
    if "pipeline" in found:
        training_seconds = None
        for measured in found["rows"]:
            if measured["name"] == "training_gradient":
                training_seconds = measured["product"]
        parts.append(pipeline_table(found["pipeline"], training_seconds))
        parts.append(
            "The files were in the page cache. So these times are those of decoding and preparing."
        )
    if "demo" in found:
        minutes = found["demo"]["seconds"] / 60
        gigabytes = found["demo"]["peak"] / 1e9
        parts.append(f"The demo: {minutes:.1f} minutes, {gigabytes:.2f} GB.")
    if "sweeps" in found:
        parts.append("![Time and memory against K, coils, image size and filters](benchmarks.png)")
        parts.append("All but the image side at a quarter of the full size, 320 x 184.")
    return "\n\n".join(parts)


def write(found, folder):
    if not folder:
        return
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "benchmarks")
    if found.get("sweeps"):
        plot(found["sweeps"], path + ".png")
    with open(path + ".json", "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)
    with open(path + ".md", "w", encoding="utf-8") as file:
        file.write("# Benchmarks\n\n" + text(found) + "\n")


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", choices=[*ROWS, *LONG, "pipeline", "demo"], help="these rows alone"
    )
    parser.add_argument("--sweeps", action="store_true", help="also the plots")
    parser.add_argument("--long", action="store_true", help="also the 60-step attack and the demo")
    parser.add_argument(
        "--small", action="store_true", help="a small problem, to see that everything runs"
    )
    parser.add_argument("--output", help="folder for benchmarks.md, benchmarks.json and the plots")
    return parser


def main(argv=None):
    if argv is None:
        argv = sys.argv[1:]
    arguments = _parser().parse_args(argv)
    size = {}
    if arguments.small:
        size = SMALL
    names = arguments.only or [*ROWS, "pipeline"]
    if arguments.long and not arguments.only:
        names += [*LONG, "demo"]

    command = "python -m benchmarks " + " ".join(argv)
    found = {"command": command.strip(), "machine": machine(), "rows": []}
    print(found["machine"], flush=True)
    for name in names:
        if name == "pipeline":
            found["pipeline"] = pipeline(size)
        elif name == "demo":
            found["demo"] = demo()
        else:
            found["rows"].append(dict(name=name, **row(name, size)))
            print(table(found["rows"][-1:]).splitlines()[-1], flush=True)
        write(found, arguments.output)
    if arguments.sweeps:
        found["sweeps"] = {}
        for name in SWEEPS:
            found["sweeps"][name] = sweep(name, size)
            write(found, arguments.output)
    print("\n" + text(found))


if __name__ == "__main__":
    main()
