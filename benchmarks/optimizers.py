"""iPALM, its stage-wise variant and the first-order optimizers on the same data from the same
start: loss against wall time.

    python -m benchmarks.optimizers [--seconds 60] [--output docs]

The data are synthetic knees of 96 x 72 with 8 coils, of which 15 % of the lines are sampled. The
network has 5 stages of 12 filters, and a batch is 10 of 40 slices. The loss is that of 10 other
slices, which no optimizer sees. The clock stands while the loss is measured, and while a step is
compiled. Without tensorflow-addons its two optimizers are left out. A table for docs/benchmarks.md
is printed.
"""

import argparse
import os
import tempfile
import time
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from tfvn import config as configs
from tfvn import data, tables
from tfvn.models.variational import VariationalNetwork
from tfvn.training.first_order import AdamSteps, FrankWolfeSteps, RadamLookaheadSteps
from tfvn.training.ipalm_steps import IPALMSteps
from tfvn.training.trainer import Trainer

CONFIG = configs.load(
    settings={
        "data.height": 96,
        "data.width": 72,
        "data.num_coils": 8,
        "data.num_train": 40,
        "data.num_test": 10,
        "data.receiver_noise": 0.0005,
    }
)
# What makes the steps of each.
OPTIMIZERS = {
    "iPALM": lambda: IPALMSteps(),
    "iPALM, stage by stage": lambda: IPALMSteps(stagewise=True),
    "Adam, rate 1e-3": lambda: AdamSteps(1e-3),
    "Adam, rate 1e-2": lambda: AdamSteps(1e-2),
    "RAdam, Lookahead, rate 1e-2": lambda: RadamLookaheadSteps(1e-2),
    "Frank-Wolfe, rate 1e-3": lambda: FrankWolfeSteps(1e-3),
    "Frank-Wolfe, rate 1e-2": lambda: FrankWolfeSteps(1e-2),
}
_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))


class Point(NamedTuple):
    """How far a training is: seconds and steps so far, and the loss on other slices."""

    seconds: float
    steps: int
    loss: float


def curve(make_steps, seconds, validation):
    """The `Point`s of a training, from its start on."""
    trainer = Trainer(VariationalNetwork(5, 12, seed=0), make_steps())
    step = tf.function(lambda *pair: trainer.train_step(pair), autograph=False)
    loss = tf.function(trainer.batch_loss, autograph=False)
    inputs, reference = validation
    inputs = {**inputs, "zero_filled": trainer.network.zero_filled(inputs)}
    batches = iter(data.load(CONFIG, "train"))
    # A step that compiles, and is undone. With the optimizers of tensorflow-addons, moments of this
    # first batch stay.
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = tf.train.Checkpoint(trainer=trainer)
        before = checkpoint.write(f"{folder}/before")
        step(*next(iter(data.load(CONFIG, "train"))))
        checkpoint.read(before)
    spent = 0.0
    points = [Point(spent, 0, float(loss(inputs, reference)))]
    while spent < seconds:
        pair = next(batches)
        start = time.perf_counter()
        step(*pair)
        spent += time.perf_counter() - start
        steps = int(trainer.steps_done)
        points.append(Point(spent, steps, float(loss(inputs, reference))))
    return points


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="of training, each (default: 60)")
    parser.add_argument(
        "--output", default=".", help="folder for optimizers.csv and optimizers.png (default: here)"
    )
    arguments = parser.parse_args(argv)
    test = list(data.load(CONFIG, "test"))
    validation = tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *test)
    curves = {}
    for name, make_steps in OPTIMIZERS.items():
        try:
            curves[name] = curve(make_steps, arguments.seconds, validation)
        except ValueError as error:
            print(f"{name}: {error}")
            continue
        first, last = curves[name][0], curves[name][-1]
        print(
            f"{name}: loss {first.loss:.2f} -> {last.loss:.3f} in {last.seconds:.0f} s,"
            f" {last.steps} steps",
            flush=True,
        )
    print_table(curves, arguments.seconds)
    os.makedirs(arguments.output, exist_ok=True)
    path = os.path.join(arguments.output, "optimizers")
    write_csv(curves, path + ".csv")
    plot(curves, path + ".png")
    print(f"wrote {path}.csv and {path}.png")


def print_table(curves, seconds):
    # All of them begin with the same loss.
    start = next(iter(curves.values()))[0]
    print(f"\n| optimizer | steps in {seconds:.0f} s | loss, from {start.loss:.1f} |")
    print("| --- | ---: | ---: |")
    for name, points in curves.items():
        print(f"| {name} | {points[-1].steps} | {points[-1].loss:.1f} |")
    print()


def write_csv(curves, path):
    rows = []
    for name, points in curves.items():
        for point in points:
            rows.append({"optimizer": name, **point._asdict()})
    tables.write_csv(path, rows)


def plot(curves, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.3), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, column in zip(panels, ("seconds", "steps")):
        for (name, points), style in zip(curves.items(), _STYLES):
            x = [getattr(point, column) for point in points]
            loss = [point.loss for point in points]
            axes.plot(x, loss, linestyle=style, label=name)
        axes.set(xlabel=column)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("loss on other slices")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        fontsize="small",
    )
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
