"""The trade: accuracy against the proved constant, over budgets and depths, in figure 6.

    python -m tfvn.paper.trade [--stages 1 2 4 8] [--budgets 0.5 2.5] [--run-dir runs/trade]

It trains the monotone network of configs/models/monotone.yaml once for each number of stages and
each budget. Beside them stand the zero-filled image, CG-SENSE with the constants of all these
networks, total variation after a few numbers of iterations, the undefended variational network and
a smoothed one. All are attacked, by the suite `small-1` at three radii and by power iteration on
the k-space, and are given data with noise; `--set attacks=ascent,power` takes others. Run again, it
continues where it stopped.

trade.csv has a line for each model. trade.png is the figure; results/ has what `evaluate.py` writes
of all runs.
"""

import math
import os

import numpy as np

from tfvn import checks, cli, files, tables
from tfvn import config as configs
from tfvn.figures.trade import figure6
from tfvn.paper import protocol
from tfvn.results.rows import attack_of, is_clean

__all__ = ["main", "trade"]

_CONFIGS = os.path.join(protocol.CONFIGS, "models")
_STAGES, _BUDGETS = (1, 2, 4, 8), (0.5, 2.5)
# Of the smoothed network: the noise, in training and in use, and the draws of an answer.
_SIGMA, _DRAWS = 0.05, 5
# Of total variation: its constant grows with its iterations. The weight is for so few of them.
_ITERATIONS, _WEIGHT = (10, 30, 100), 0.002
# The image threat bounds L_r from below, and the k-space threat L_k. One random change of the
# k-space is noise of this norm: a deviation of 0.02 of every number of a test slice.
_ATTACKS = (
    "attacks=suite,power,random",
    "attacks.power.threat=kspace",
    "attacks.power.sizes=2.5",
    "attacks.random.threat=kspace",
    "attacks.random.sizes=2.6",
    "attacks.random.steps=1",
    # Noise that they see, of the smoothed network. One table has one attack, so all have it.
    "attacks.suite.draws=2",
    "attacks.power.draws=2",
)
# How the rows of noise are named.
_NOISE = "random-kspace"
_COLUMNS = (
    "model",
    "family",
    "stages",
    "budget",
    "rmse",
    "ssim",
    "lipschitz",
    "image_lipschitz",
    "amplification",
    "image_amplification",
    "noise",
    "rmse_noise",
    "seconds_a_slice",
)
_NAMES = ("trade.csv", "trade.png")


@cli.command
def main(argv=None):
    """Reads a command line and measures the trade. Returns the exit code."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--stages",
        metavar="T",
        type=int,
        nargs="+",
        default=_STAGES,
        help="numbers of regularisers (default: %(default)s)",
    )
    parser.add_argument(
        "--budgets",
        metavar="H",
        type=float,
        nargs="+",
        default=_BUDGETS,
        help="sums of their gains (default: %(default)s)",
    )
    parser.add_argument(
        "--run-dir",
        metavar="DIR",
        default=os.path.join("runs", "trade"),
        help="where all results go (default: runs/trade)",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        nargs="+",
        default=[],
        help="settings of all configurations, such as data.height=48; attacks=NAME replaces all"
        " attacks",
    )
    arguments = parser.parse_args(argv)
    return cli.guarded(
        lambda: trade(arguments.stages, arguments.budgets, arguments.run_dir, arguments.set)
    )


def trade(stages, budgets, parent, overrides=()):
    """Trains, attacks and evaluates all models, and writes the table and the figure.

    Args:
        stages: numbers of regularisers.
        budgets: sums of the gains of a network's regularisers.
        parent: the folder of all runs.
        overrides: settings of all configurations.

    Raises:
        ValueError: for a setting outside its range, before anything is trained.
    """
    files.check_replaceable(parent, _NAMES)
    networks = []
    for number in dict.fromkeys(stages):
        for budget in dict.fromkeys(budgets):
            checks.whole("stages", number, 1)
            checks.number("budgets", budget, above=0)
            networks.append(_Model("monotone", "monotone", number, budget))
    references = [
        _Model("zero_filled", "zero-filled"),
        _Model("variational", "undefended"),
        _Model("variational", "smoothed", own=_smoothed()),
        *[_total_variation(iterations) for iterations in _ITERATIONS],
    ]
    models = [*networks, *references]
    for model in models:
        model.check(overrides)
    for model in models:
        model.make(parent, overrides)
    # First without the linear models: their constants are those of the networks.
    found = _evaluated(parent, models)
    constants = sorted({row["lipschitz"] for row in found if row["family"] == "monotone"})
    linear = [_linear(constant) for constant in constants]
    for model in linear:
        model.make(parent, overrides)
    _write(_evaluated(parent, [*models, *linear]), parent)


def _smoothed():
    """The settings of the smoothed network."""
    return (
        "training.recipe=noise",
        f"training.recipe.sigma={_SIGMA}",
        "defence=smoothed",
        f"defence.sigma={_SIGMA}",
        f"defence.num_samples={_DRAWS}",
    )


def _linear(constant):
    """CG-SENSE whose L_k is `constant`, 1 / (2 sqrt(mu)) for mu below || A ||^2."""
    mu = float(f"{1 / (4 * constant**2):.4g}")
    return _Model("cg_sense", "CG-SENSE", own=(f"model.mu={mu}",))


def _total_variation(iterations):
    own = (f"model.iterations={iterations}", f"model.weight={_WEIGHT}")
    return _Model("total_variation", "total variation", own=own)


class _Model:
    """A model of the table.

    Args:
        name: of its configuration in configs/models.
        family: what it is called in the table and the figure.
        stages, budget: of the monotone network.
        own: settings that it alone has.
    """

    def __init__(self, name, family, stages=None, budget=None, own=()):
        self.name, self.family = name, family
        self.stages, self.budget = stages, budget
        self.own = list(own)
        if stages is not None:
            self.own += [f"model.num_stages={stages}", f"model.budget={budget}"]

    @property
    def run(self):
        """The name of its run."""
        if self.stages is not None:
            return f"monotone-{self.stages}-{self.budget:g}"
        if self.family in ("CG-SENSE", "total variation"):
            return f"{self.name}-{self.own[0].partition('=')[2]}"
        return self.family.replace("-", "_")

    def settings(self, overrides):
        """Its configuration and all its overrides."""
        path = os.path.join(_CONFIGS, f"{self.name}.yaml")
        if any(setting.startswith("attacks=") for setting in overrides):
            return path, [*self.own, *overrides]
        # `attacks` chooses what the others may change.
        return path, [*_ATTACKS, *self.own, *overrides]

    def check(self, overrides):
        """Raises a ValueError where the settings are wrong."""
        path, settings = self.settings(overrides)
        configs.load(path, settings)

    def make(self, parent, overrides):
        """Trains and attacks it, as far as that is not done."""
        path, settings = self.settings(overrides)
        run_dir = os.path.join(parent, self.run)
        protocol.attack(run_dir, protocol.train(path, run_dir, settings))


def _evaluated(parent, models):
    """A line of the table for each model."""
    output = os.path.join(parent, "results")
    protocol.evaluate([os.path.join(parent, model.run) for model in models], output)
    images, claims = {}, {}
    _, measured = tables.read_csv(os.path.join(output, "results.csv"))
    _, claimed = tables.read_csv(os.path.join(output, "certificates.csv"))
    for row in measured:
        images.setdefault(row["model"], []).append(row)
    for row in claimed:
        # A smoothed model has a constant too, which says nothing at the size of attacks.
        if row["certificate"] == "lipschitz":
            claims[row["model"]] = row
    rows = []
    for model in models:
        row = _row(model, images[model.run], claims.get(model.run))
        _, row["seconds_a_slice"] = protocol.size_and_time(os.path.join(parent, model.run))
        rows.append(row)
    return rows


def _row(model, rows, claim):
    """The line of a model: means over the slices, and the largest amplification by any attack."""
    clean = [row for row in rows if is_clean(row)]
    attacked = [row for row in rows if not is_clean(row)]
    of_images = [row for row in attacked if attack_of(row).changes.is_image]
    noisy = [row for row in attacked if row["attack"] == _NOISE]
    found = {
        "model": model.run,
        "family": model.family,
        "stages": math.nan if model.stages is None else model.stages,
        "budget": math.nan if model.budget is None else model.budget,
        "rmse": _rmse(clean),
        "ssim": float(np.mean([float(row["ssim"]) for row in clean])),
        "lipschitz": float(claim["lipschitz"]) if claim else math.nan,
        "image_lipschitz": float(claim["image_lipschitz"]) if claim else math.nan,
        "amplification": _largest(attacked, "kspace_norm"),
        "image_amplification": _largest(of_images, "norm"),
        "noise": max((float(row["kspace_norm"]) for row in noisy), default=math.nan),
        "rmse_noise": _rmse(noisy) if noisy else math.nan,
    }
    for radius in sorted({float(row["radius"]) for row in of_images}):
        own = [row for row in of_images if float(row["radius"]) == radius]
        found[f"effect_{radius:g}"] = float(np.mean([float(row["effect"]) for row in own]))
        found[f"rmse_{radius:g}"] = _rmse(own)
    return found


def _rmse(rows):
    """The root mean square over the slices, as in table1.csv."""
    return math.sqrt(np.mean([float(row["rmse"]) ** 2 for row in rows]))


def _largest(rows, size):
    """The largest effect of an attack, as a multiple of its size."""
    return max(float(row["effect"]) / float(row[size]) for row in rows)


def _write(rows, parent):
    """Writes trade.csv and trade.png, and prints the table."""
    paths = [os.path.join(parent, name) for name in _NAMES]
    columns = [*_COLUMNS, *(name for name in rows[0] if name not in _COLUMNS)]
    with files.replacing(paths[0]) as temporary:
        tables.write_csv(temporary, rows, columns)
    with files.replacing(paths[1]) as temporary:
        figure6(temporary, rows)
    lines = [columns]
    for row in rows:
        lines.append([_told(row[column]) for column in columns])
    print(f"wrote {paths[0]}\nwrote {paths[1]}\n\n{tables.aligned(lines)}", end="")


def _told(value):
    if isinstance(value, str):
        return value
    return "-" if math.isnan(value) else f"{value:.3g}"


if __name__ == "__main__":
    cli.exit_with(main)
