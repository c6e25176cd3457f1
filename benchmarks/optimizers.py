"""iPALM, its stage-wise variant and the first-order optimizers on the same data from the same
start: loss against wall time.

    python -m benchmarks.optimizers [--seconds 60] [--output docs]

Synthetic knees, 96 x 72, 8 coils, 15 % of the lines; 5 stages of 12 filters; batches of 10 of 40
slices. The loss is that of 10 other slices, of which no optimizer sees anything; the clock stands
while it is measured and while the step is compiled. Without tensorflow-addons its two optimizers
are left out. A table for docs/benchmarks.md is printed.
"""

import argparse
import csv
import os
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from tfvn import config as configs
from tfvn import data
from tfvn.models.variational import VariationalNetwork
from tfvn.training.optimizers import (
    AdamSteps,
    FrankWolfeSteps,
    IPALMSteps,
    RadamLookaheadSteps,
)
from tfvn.training.trainer import Trainer

CONFIG = configs.load(
    None,
    [
        "height=96",
        "width=72",
        "num_coils=8",
        "num_train=40",
        "num_test=10",
        "receiver_noise=0.0005",
    ],
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


def curve(make_steps, seconds, validation):
    """(seconds, steps, loss) from the start on."""
    trainer = Trainer(VariationalNetwork(5, 12, seed=0), make_steps())
    step = tf.function(lambda *pair: trainer.train_step(pair), autograph=False)
    loss = tf.function(trainer.batch_loss, autograph=False)
    inputs, reference = validation
    inputs = {**inputs, "zero_filled": trainer.network.zero_filled(inputs)}
    batches = iter(data.load(CONFIG, "train"))
    # A step that compiles, and is undone; of those of tensorflow-addons moments of this first batch
    # stay.
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = tf.train.Checkpoint(trainer=trainer)
        before = checkpoint.write(f"{folder}/before")
        step(*next(iter(data.load(CONFIG, "train"))))
        checkpoint.read(before)
    spent, points = 0.0, [(0.0, 0, float(loss(inputs, reference)))]
    while spent < seconds:
        pair = next(batches)
        start = time.perf_counter()
        step(*pair)
        spent += time.perf_counter() - start
        points.append((spent, int(trainer.steps_done), float(loss(inputs, reference))))
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
        seconds, steps, loss = curves[name][-1]
        print(
            f"{name}: loss {curves[name][0][2]:.2f} -> {loss:.3f} in {seconds:.0f} s, {steps}"
            " steps",
            flush=True,
        )
    first = next(iter(curves.values()))[0][2]
    print(
        f"\n| optimizer | steps in {arguments.seconds:.0f} s | loss, from {first:.1f} |\n| --- |"
        " ---: | ---: |"
    )
    print(
        "".join(
            f"| {name} | {points[-1][1]} | {points[-1][2]:.1f} |\n"
            for name, points in curves.items()
        )
    )
    os.makedirs(arguments.output, exist_ok=True)
    path = os.path.join(arguments.output, "optimizers")
    with open(path + ".csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["optimizer", "seconds", "steps", "loss"])
        writer.writerows(
            [name, f"{s:.3f}", n, f"{v:.6g}"]
            for name, points in curves.items()
            for s, n, v in points
        )
    plot(curves, path + ".png")
    print(f"wrote {path}.csv and {path}.png")


def plot(curves, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.3), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, column, label in zip(panels, (0, 1), ("seconds", "steps")):
        for (name, points), style in zip(curves.items(), _STYLES):
            axes.plot(
                [p[column] for p in points], [p[2] for p in points], linestyle=style, label=name
            )
        axes.set(xlabel=label)
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
