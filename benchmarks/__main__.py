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

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

SMALL = dict(coils=4, height=64, width=48, stages=2, filters=8)

# name: (row of the table, workload, arguments, rounds, has a plain formulation)
ROWS = {
    "forward": ("forward, `reconstruct`", "forward", (), 8, True),
    "attack_gradient": ("attack gradient, one step", "attack_gradient", (), 8, True),
    "training_gradient": (
        "training gradient, all parameters, one slice",
        "training_gradient",
        (),
        6,
        True,
    ),
    "training_automatic": (
        "the same; plain: automatic differentiation",
        "training_gradient",
        (True,),
        2,
        True,
    ),
    "smoothed_9": ("smoothed prediction, K = 9, per copy", "smoothed", (9,), 4, True),
    "smoothed_64": ("smoothed prediction, K = 64, per copy", "smoothed", (64,), 2, True),
    "smoothed_attack_9": (
        "attack step on a smoothed model, K = 9, per copy",
        "smoothed_attack_step",
        (9,),
        3,
        False,
    ),
    "smoothed_attack_27": (
        "attack step on a smoothed model, K = 27, per copy",
        "smoothed_attack_step",
        (27,),
        1,
        False,
    ),
    "ipalm": ("one iPALM iteration on 10 slices, per slice", "ipalm_iteration", (10,), 1, False),
}
LONG = {
    "attack_60": (
        "attack of 60 steps with K = 9, per step and copy",
        "full_attack",
        (9, 60),
        0,
        False,
    )
}
QUARTER = {"height": 320, "width": 184}  # of the full size, so that the sweeps take minutes
SWEEPS = {
    "K": ("smoothed", [(QUARTER, (k,)) for k in (1, 4, 16, 64, 256)]),
    "coils": ("attack_gradient", [({**QUARTER, "coils": c}, ()) for c in (4, 8, 16, 32)]),
    "image side": (
        "attack_gradient",
        [({"height": n, "width": n}, ()) for n in (128, 256, 384, 512)],
    ),
    "filters": ("attack_gradient", [({**QUARTER, "filters": n}, ()) for n in (8, 16, 24, 48)]),
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
    title, workload, arguments, rounds, has_plain = {**ROWS, **LONG}[name]
    result = dict(title=title, **measure(workload, "time", arguments, size, rounds))
    if name not in LONG:
        result["peak"] = measure(workload, "memory of product", arguments, size)["peak"]
        if has_plain:
            result["plain_peak"] = measure(workload, "memory of plain", arguments, size)["peak"]
    return result


def table(rows):
    lines = [
        (
            "| workload | time | x floor | x faster than plain | peak | plain's peak | first call,"
            " beyond a later one |"
        ),
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        cells = [
            r["title"],
            f"{r['product']:.3f} s",
            f"{r['product'] / r['floor']:.2f}",
            f"{r['plain'] / r['product']:.2f}" if "plain" in r else "",
            *(f"{r[key] / 1e9:.2f} GB" if key in r else "" for key in ("peak", "plain_peak")),
            f"{max(r['first'], 0):.1f} s",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def pipeline(size):
    height, width, coils = (
        size.get(key, default) for key, default in (("height", 640), ("width", 368), ("coils", 15))
    )
    with tempfile.TemporaryDirectory() as folder:
        return run("benchmarks.pipeline", folder, *map(str, (8, height, width, coils)))


def pipeline_table(seconds, training_seconds):
    lines = [
        (
            "| input pipeline, seconds a slice | raw files | prepared cache | training gradients in"
            " the time of one raw slice |"
        ),
        "| --- | ---: | ---: | ---: |",
    ]
    for name, found in seconds.items():
        share = f"{found['raw'] / training_seconds:.2f}" if training_seconds else ""
        lines.append(f"| {name} | {found['raw']:.3f} | {found['prepared']:.3f} | {share} |")
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
    for change, arguments in points:
        rounds = 1 if arguments and arguments[0] > 16 else 2
        point = measure(workload, "time", arguments, {**size, **change}, rounds)
        point["peak"] = measure(workload, "memory of product", arguments, {**size, **change})[
            "peak"
        ]
        results.append(dict(x=arguments[0] if arguments else list(change.values())[-1], **point))
        print(name, results[-1], flush=True)
    return results


def plot(sweeps, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(sweeps), 5), layout="constrained")
    axes = figure.subplots(2, len(sweeps), squeeze=False)
    for (name, points), column in zip(sweeps.items(), axes.T):
        unit = "a copy" if name == "K" else "attack gradient"
        x = [p["x"] for p in points]
        for key, label, style in (("product", "tfvn", "o-"), ("plain", "plain TensorFlow", "s--")):
            column[0].plot(x, [p[key] for p in points], style, label=label)
        column[0].set(ylabel=f"seconds, {unit}")
        column[1].plot(x, [p["peak"] / 1e9 for p in points], "o-")
        column[1].set(xlabel=name, ylabel="GB, peak of the process")
        for axis in column:
            axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
            if name == "K":
                axis.set_xscale("log", base=2)
            axis.set_xticks(x, [str(value) for value in x])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
        column[0].legend(fontsize="small")
    figure.savefig(path, dpi=120)


def machine():
    """One line: date, processor, cores, versions, accelerator."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next(
                (line.split(":")[1].strip() for line in file if line.startswith("model name")), name
            )
    devices = [
        device.name for device in tf.config.list_physical_devices() if device.device_type != "CPU"
    ]
    return (
        f"{datetime.date.today()}, {len(os.sched_getaffinity(0))} cores of {name}, TensorFlow"
        f" {tf.__version__}, Python {platform.python_version()},"
        f" {', '.join(devices) or 'no accelerator'}"
    )


NOTES = """\
Every row comes from processes of its own; times are the best of some rounds in which product, plain
formulation and floor take turns. 15 coils, 640 x 368, 10 stages of 24 filters 11 x 11 and 31
centres, if the command says nothing else.

* *Floor*: 20 plain `tf.nn.conv2d` 2 -> 24, 11 x 11, of the padded image: K and K^T of every stage
  and nothing else.
* *Plain*: `benchmarks/plain.py`, what a competent user writes. Its activation is fused by XLA, with
  a derivative written by hand, except in the row that says automatic differentiation.
* *First call*: tracing and compiling, the first call less the best later one.
"""


def text(found):
    """What was found so far, as a page."""
    parts = [f"`{found['command']}`: {found['machine']}.", NOTES.strip(), table(found["rows"])]
    if "pipeline" in found:
        training = [r["product"] for r in found["rows"] if r["name"] == "training_gradient"]
        parts.append(pipeline_table(found["pipeline"], training[0] if training else None))
        parts.append("The files were in the page cache: this is decoding and preparing.")
    if "demo" in found:
        parts.append(
            f"The demo: {found['demo']['seconds'] / 60:.1f} minutes,"
            f" {found['demo']['peak'] / 1e9:.2f} GB."
        )
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


def main(argv=None):
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
    arguments = parser.parse_args(argv)
    size = SMALL if arguments.small else {}
    names = arguments.only or [*ROWS, "pipeline", *([*LONG, "demo"] if arguments.long else [])]

    command = "python -m benchmarks " + " ".join(sys.argv[1:] if argv is None else argv)
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
