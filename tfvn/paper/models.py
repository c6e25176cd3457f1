"""Several reconstruction models beside each other: on one data set, under one attack, in one table.

    python -m tfvn.paper.models [NAME ...] [--seeds 3] [--run-dir runs/models]

Each NAME is a configuration in configs/models; without names it is each of those that stand in
`COMPARED`. Every model is trained with each seed, attacked and evaluated. Those without weights
know no seed and have one run. Run again, it continues where it stopped.

The table has the mean over the seeds and, behind +-, half of the range that they span. It is in
models.csv and models.md of the run directory; results/ has what `evaluate.py` writes of all runs.
"""

import os

import numpy as np

from tfvn import cli, files, tables
from tfvn import config as configs
from tfvn.paper import protocol
from tfvn.results.rows import is_clean
from tfvn.runs.models import network_of

__all__ = ["COMPARED", "compare", "main"]

# In the order of the table. DAGAN and AUTOMAP have a table of their own.
COMPARED = (
    "zero_filled",
    "cg_sense",
    "total_variation",
    "wavelet",
    "monotone",
    "unet",
    "modl",
    "cascade",
    "e2e_varnet",
    "e2e_varnet_maps",
    "rim",
    "variational",
)
_CONFIGS = os.path.join(protocol.CONFIGS, "models")


@cli.command
def main(argv=None):
    """Reads a command line and compares the models. Returns the exit code."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help="configurations in configs/models")
    parser.add_argument(
        "--seeds", metavar="N", type=int, default=3, help="trainings of a model (default: 3)"
    )
    parser.add_argument(
        "--run-dir",
        metavar="DIR",
        default=os.path.join("runs", "models"),
        help="where all results go (default: runs/models)",
    )
    arguments = parser.parse_args(argv)
    known = sorted(name[:-5] for name in os.listdir(_CONFIGS) if name.endswith(".yaml"))
    unknown = sorted(set(arguments.names) - set(known))
    if unknown:
        parser.error(f"NAME must be one of {', '.join(known)}. Received: {', '.join(unknown)}")
    if arguments.seeds < 1:
        parser.error(f"--seeds must be at least 1. Received: {arguments.seeds}")
    names = arguments.names or COMPARED
    return cli.guarded(lambda: compare(names, arguments.seeds, arguments.run_dir))


def compare(names, seeds, parent, overrides=()):
    """Trains, attacks and evaluates models, and writes their table below the folder `parent`.

    Args:
        names: of configurations in configs/models, in the order of the table.
        seeds: trainings of a model that has weights.
        parent: the folder of all runs.
        overrides: settings of all configurations, such as `["attacks.ascent.steps=1"]`.
    """
    watch = protocol.Stopwatch(os.path.join(parent, "times.csv"))
    runs = {}
    for name in names:
        runs[name] = _runs(name, seeds, parent, overrides, watch)
    every_run = [run_dir for run_dirs in runs.values() for run_dir in run_dirs]
    output = os.path.join(parent, "results")
    protocol.evaluate(every_run, output)
    measured = _by_model(os.path.join(output, "table1.csv"))
    rows = []
    for name, run_dirs in runs.items():
        rows.append(_row(name, run_dirs, measured, watch))
    _write(rows, parent)


def _runs(name, seeds, parent, overrides, watch):
    """The run directories of a model, one for each seed, trained and attacked."""
    run_dirs = []
    for seed in range(seeds):
        run_dir = os.path.join(parent, f"{name}-{seed}")
        config = _trained(name, run_dir, [f"seed={seed}", *overrides], watch)
        protocol.attack(run_dir, config)
        run_dirs.append(run_dir)
        if not network_of(run_dir, config).trainable_weights:
            break
    return run_dirs


def _trained(name, run_dir, overrides, watch):
    """Trains a model, unless that is done. Returns its configuration."""
    path = os.path.join(_CONFIGS, f"{name}.yaml")

    def train():
        return protocol.train(path, run_dir, overrides)

    if os.path.exists(os.path.join(run_dir, "model.keras")):
        return train()
    iterations = configs.load(path, overrides).training.iterations
    return watch.measure(_training_of(run_dir), iterations, train)


def _training_of(run_dir):
    return f"training of {os.path.basename(run_dir)}, iterations"


def _by_model(path):
    """The lines of a table of models and attacks, by the name of the model."""
    found = {}
    _, lines = tables.read_csv(path)
    for line in lines:
        found.setdefault(line["model"], []).append(line)
    return found


def _row(name, run_dirs, measured, watch):
    """A line of the table: every column with the values of all seeds."""
    row = {"model": name, "parameters": [], "seconds_a_slice": [], "training_minutes": []}
    for run_dir in run_dirs:
        parameters, seconds = protocol.size_and_time(run_dir)
        row["parameters"].append(parameters)
        row["seconds_a_slice"].append(seconds)
        if parameters:
            # A training that was interrupted has several stretches.
            stretches = [x for x in watch.rows if x["what"] == _training_of(run_dir)]
            row["training_minutes"].append(sum(float(x["seconds"]) for x in stretches) / 60)
        for line in measured[os.path.basename(run_dir)]:
            for column, value in _columns(line):
                row.setdefault(column, []).append(float(value))
    return row


def _columns(line):
    """The columns that a line of table1.csv gives, with their values."""
    if is_clean(line):
        return [("rmse", line["rmse"]), ("ssim", line["ssim"])]
    return [(f"effect_{line['radius']}", line["effect"])]


def _write(rows, parent):
    """Writes models.csv and models.md, and prints the table."""
    columns = list(rows[0])
    numbers = [_means(row) for row in rows]
    lines = [[_HEADS.get(column, _head_of_effect(column)) for column in columns]]
    for row in rows:
        lines.append([_told(column, row.get(column, [])) for column in columns])
    text = tables.aligned(lines)
    paths = [os.path.join(parent, name) for name in ("models.csv", "models.md")]
    with files.replacing(paths[0]) as temporary:
        tables.write_csv(temporary, numbers, columns)
    with files.replacing(paths[1]) as temporary:
        tables.write_text(temporary, text)
    print(f"wrote {paths[0]}\nwrote {paths[1]}\n\n{text}", end="")


_HEADS = {
    "model": "model",
    "parameters": "parameters",
    "seconds_a_slice": "s a slice",
    "training_minutes": "min of training",
    "rmse": "RMSE",
    "ssim": "SSIM",
}


def _head_of_effect(column):
    return f"effect, {column.rpartition('_')[2]}"


def _means(row):
    """A line of the table with the mean over the seeds in each column that has values."""
    found = {"model": row["model"]}
    for column, values in row.items():
        if column != "model" and values:
            found[column] = float(np.mean(values))
    return found


def _told(column, values):
    """The mean over the seeds, with half of their range where there are several."""
    if isinstance(values, str):
        return values
    if column == "parameters":
        return f"{values[0]:,}"
    if not values:
        return "-"
    text = f"{np.mean(values):.3g}"
    if len(values) == 1 or column not in _OF_QUALITY and not column.startswith("effect"):
        return text
    return f"{text} +- {(max(values) - min(values)) / 2:.1g}"


_OF_QUALITY = ("rmse", "ssim")


if __name__ == "__main__":
    cli.exit_with(main)
