"""iPALM, its stage-wise variant and projected Adam on the same data from the same start: loss against wall time.

    python -m benchmarks.optimizers [--seconds 120] [--output docs]

Synthetic knees, 96 x 72, 8 coils, 15 % of the lines; 5 stages of 12 filters; batches of 10 of 40 slices. The loss is that of 10 other
slices, of which no optimizer sees anything; the clock stands while it is measured and while the step is compiled.
"""
import argparse
import csv
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from tfvn import config as configs
from tfvn import data
from tfvn.network import VariationalNetwork
from tfvn.training import Trainer

CONFIG = configs.load(None, ["height=96", "width=72", "num_coils=8", "num_train=40", "num_test=10", "receiver_noise=0.0005"])
OPTIMIZERS = {
    "iPALM": dict(optimizer="ipalm"),
    "iPALM, stage by stage": dict(optimizer="ipalm", stagewise=True),
    "Adam, rate 1e-3": dict(optimizer="adam", learning_rate=1e-3),
    "Adam, rate 1e-2": dict(optimizer="adam", learning_rate=1e-2),
}


def curve(options, seconds, validation):
    """(seconds, steps, loss) from the start on."""
    trainer = Trainer(VariationalNetwork(5, 12, seed=0), **options)
    step = tf.function(lambda *pair: trainer.train_step(pair), autograph=False)
    loss = tf.function(trainer.batch_loss, autograph=False)
    inputs, reference = validation
    inputs = {**inputs, "zero_filled": trainer.network.zero_filled(inputs)}
    batches = iter(data.load(CONFIG, "train"))
    # A step that compiles, and is undone.
    before = [variable.numpy() for variable in trainer.variables]
    step(*next(iter(data.load(CONFIG, "train"))))
    for variable, value in zip(trainer.variables, before):
        variable.assign(value)
    spent, points = 0.0, [(0.0, 0, float(loss(inputs, reference)))]
    while spent < seconds:
        pair = next(batches)
        start = time.perf_counter()
        step(*pair)
        spent += time.perf_counter() - start
        points.append((spent, int(trainer.steps_done), float(loss(inputs, reference))))
    return points


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="of training, each (default: 120)")
    parser.add_argument("--output", default=".", help="folder for optimizers.csv and optimizers.png (default: here)")
    arguments = parser.parse_args(argv)
    test = list(data.load(CONFIG, "test"))
    validation = tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *test)
    curves = {}
    for name, options in OPTIMIZERS.items():
        curves[name] = curve(options, arguments.seconds, validation)
        seconds, steps, loss = curves[name][-1]
        print(f"{name}: loss {curves[name][0][2]:.2f} -> {loss:.3f} in {seconds:.0f} s, {steps} steps", flush=True)
    os.makedirs(arguments.output, exist_ok=True)
    path = os.path.join(arguments.output, "optimizers")
    with open(path + ".csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["optimizer", "seconds", "steps", "loss"])
        writer.writerows([name, f"{s:.3f}", n, f"{v:.6g}"] for name, points in curves.items() for s, n, v in points)
    plot(curves, path + ".png")
    print(f"wrote {path}.csv and {path}.png")


def plot(curves, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, column, label in zip(panels, (0, 1), ("seconds", "steps")):
        for (name, points), style in zip(curves.items(), ("-", "--", "-.", ":")):
            axes.plot([p[column] for p in points], [p[2] for p in points], style, label=name)
        axes.set(xlabel=label)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("loss on other slices")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
