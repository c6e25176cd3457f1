"""The search for the demo's problem: several small problems, and which of them shows what.

    python -m tfvn.paper.demo_search [NAME ...] [--screen] [--seeds 2] [--run-dir DIR]

The problems stand in configs/demo_search/problems.csv, one a line; all else is that of base.yaml
beside it. In each of them one network is trained first. The original and the smoothed networks
continue from it, equally long. They and two models without weights are attacked and evaluated.
--screen is a first look at many problems: four slices and few steps of the attack, which those two
models are spared. Run again, it continues where it stopped.

What is looked for, on the test slices:

* good: the original network has an SSIM of at least 0.85.
* vulnerable: the attack of the largest radius at least doubles its RMSE.
* defended: a smoothed network removes at least half of the RMSE that this attack adds. What the
  smoothing itself costs counts against it: 1 - (attacked - c) / (original, attacked - c), where c
  is the clean RMSE of the original network.

demo_search.csv has a line for each model and radius, demo_search.md one for each smoothed network
at the largest radius. The clean RMSE of CG-SENSE stands there too: so far, networks that were no
better were hard to attack.
"""

import os
from typing import NamedTuple

import numpy as np

from tfvn import checks, cli, data, files, tables
from tfvn import config as configs
from tfvn.paper import protocol

__all__ = ["Problem", "main", "problems", "search"]

_FOLDER = os.path.join(protocol.CONFIGS, "demo_search")
_BASE = os.path.join(_FOLDER, "base.yaml")
_PROBLEMS = os.path.join(_FOLDER, "problems.csv")
_CG_SENSE = os.path.join(protocol.CONFIGS, "demo", "cg_sense.yaml")
_LEAST_SSIM, _LEAST_FACTOR, _LEAST_SHARE = 0.85, 2, 0.5
# A first look: too few slices and steps to judge by.
_SCREEN = ("data.num_test=4", "attacks.ascent.steps=15")
_CLASSICAL = ("zero_filled", "cg_sense")
_NAMES = ("demo_search.csv", "demo_search.md")
_COLUMNS = (
    "problem",
    "seed",
    "model",
    "percent",
    "radius",
    "rmse",
    "ssim",
    "effect",
)
_HEADS = (
    "problem",
    "seed",
    "CG-SENSE",
    "original",
    "SSIM",
    "attacked",
    "percent",
    "sigma",
    "smoothed",
    "attacked",
    "removed",
    "good",
    "vulnerable",
    "defended",
)


class Problem(NamedTuple):
    """A line of problems.csv.

    name: of the problem.
    percents: radii of the attack, in percent of the mean norm of the test images; a list.
    sigmas: of the smoothed networks; a list.
    continued: iterations of the networks that continue from the first one.
    settings: those in which the problem differs from base.yaml, a list of section.key=value.
    """

    name: str
    percents: list
    sigmas: list
    continued: int
    settings: list


@cli.command
def main(argv=None):
    """Reads a command line and searches. Returns the exit code."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help="problems (default: all)")
    parser.add_argument("--screen", action="store_true", help="a first look")
    parser.add_argument(
        "--seeds",
        metavar="N",
        type=int,
        help="trainings of a problem (default: 2, or 1 with --screen)",
    )
    parser.add_argument(
        "--run-dir",
        metavar="DIR",
        help="where all results go (default: runs/demo_search, or runs/demo_screen with --screen)",
    )
    cli.add_set(parser, "override configuration keys of all networks")
    arguments = parser.parse_args(argv)
    seeds, parent = 2, "demo_search"
    if arguments.screen:
        seeds, parent = 1, "demo_screen"
    if arguments.seeds is not None:
        seeds = arguments.seeds
    parent = arguments.run_dir or os.path.join("runs", parent)
    return cli.guarded(
        lambda: search(arguments.names, seeds, parent, arguments.set, arguments.screen)
    )


def problems():
    """The problems of problems.csv, by their names.

    Raises:
        ValueError: for a line that is none.
    """
    _, rows = tables.read_csv(_PROBLEMS)
    found = {}
    for row in rows:
        try:
            problem = _problem(**row)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{_PROBLEMS}: a line must have {', '.join(Problem._fields)}. Received:"
                f" {checks.shown(row)} ({error})"
            ) from error
        found[problem.name] = problem
    return found


def _problem(name, percents, sigmas, continued, settings):
    """A problem from the texts of its line."""
    continued = checks.whole("continued", float(continued), 1)
    return Problem(name, _numbers(percents), _numbers(sigmas), continued, settings.split())


def _numbers(text):
    return [checks.number("a number", float(word), above=0) for word in text.split()]


def search(names, seeds, parent, overrides=(), screen=False):
    """Trains, attacks and evaluates the networks of problems, and writes both tables.

    Args:
        names: of the problems; empty: all.
        seeds: how often each network is trained.
        parent: the folder of all runs.
        overrides: settings of all networks, such as `["data.num_coils=4"]`.
        screen: whether it is a first look.

    Raises:
        ValueError: for another name or an invalid setting, before anything is trained.
    """
    known = problems()
    names = list(names) or list(known)
    for name in names:
        checks.choice("NAME", name, tuple(known))
    checks.whole("seeds", seeds, 1)
    files.check_replaceable(parent, _NAMES)
    runs = []
    for name in names:
        for seed in range(seeds):
            runs.append(_Runs(known[name], seed, parent, overrides, screen))
            runs[-1].check()
    rows = []
    for run in runs:
        # Each is written when it is there: a search takes hours.
        rows += run.measured()
        _write(rows, parent)


class _Runs:
    """The runs of a problem with one seed.

    Args:
        problem: a `Problem`.
        seed: of the first network. Those that continue from it have the next one.
        parent: the folder of all runs.
        overrides: settings of all networks.
        screen: whether it is a first look.
    """

    def __init__(self, problem, seed, parent, overrides, screen=False):
        self._problem = problem
        self._seed = seed
        self._folder = os.path.join(parent, f"{problem.name}-{seed}")
        self._screen = screen
        self._settings = [*problem.settings]
        if screen:
            self._settings += _SCREEN
        self._settings += overrides

    def check(self):
        """Raises a ValueError where the settings are wrong."""
        for settings in (self._first(), *self._models().values()):
            configs.load(_BASE, settings)

    def measured(self):
        """A line of demo_search.csv for each model and radius."""
        norm = _mean_norm(protocol.train(_BASE, self._path("base"), self._first()))
        radii = {}
        for percent in self._problem.percents:
            radii[float(f"{percent * norm / 100:.3g}")] = percent
        sizes = f"attacks.ascent.sizes=[{', '.join(map(str, radii))}]"
        run_dirs = []
        for name, settings in self._models().items():
            run_dirs.append(self._path(name))
            config = protocol.train(_BASE, run_dirs[-1], [*settings, sizes])
            # The worst effect on a linear model is known to be about the radius.
            if not (self._screen and name in _CLASSICAL):
                protocol.attack(run_dirs[-1], config)
        output = self._path("results")
        protocol.evaluate(run_dirs, output)
        _, lines = tables.read_csv(os.path.join(output, "table1.csv"))
        return [self._row(line, radii) for line in lines]

    def _path(self, name):
        return os.path.join(self._folder, name)

    def _first(self):
        """The settings of the network that the others continue from."""
        return [*self._settings, f"seed={self._seed}"]

    def _models(self):
        """The settings of the models in the tables, by their names."""
        found = self._classical()
        start = [
            *self._settings,
            f"seed={self._seed + 1}",
            f"training.initial_weights={self._path('base')}",
            f"training.iterations={self._problem.continued}",
        ]
        found["original"] = start
        for sigma in self._problem.sigmas:
            found[f"sigma_{sigma:g}"] = [
                *start,
                "training.recipe=noise",
                f"training.recipe.sigma={sigma}",
                "defence=smoothed",
                f"defence.sigma={sigma}",
                "defence.num_samples=8",
                "attacks.ascent.num_samples=2",
            ]
        return found

    def _classical(self):
        """The settings of the models without weights, by their names."""
        plain = [x for x in self._settings if not x.startswith(("model.", "training."))]
        cg_sense = [*plain, "model=cg-sense"]
        classical = configs.load(_CG_SENSE).model
        for key in ("mu", "tolerance", "iterations"):
            cg_sense.append(f"model.{key}={getattr(classical, key)}")
        return dict(zip(_CLASSICAL, ([*plain, "model=zero-filled"], cg_sense)))

    def _row(self, line, radii):
        radius = float(line["radius"])
        row = {"problem": self._problem.name, "seed": self._seed, "model": line["model"]}
        row.update(percent=radii.get(radius, 0), radius=radius)
        for key in ("rmse", "ssim", "effect"):
            row[key] = float(line[key])
        return row


def _mean_norm(config):
    """The mean of || y ||_2 over the test slices."""
    norms = []
    for _, reference in data.load(config, "test"):
        norms.extend(np.linalg.norm(np.abs(reference), axis=(1, 2)))
    return float(np.mean(norms))


def _write(rows, parent):
    """Writes demo_search.csv and demo_search.md, and prints the second."""
    paths = [os.path.join(parent, name) for name in _NAMES]
    with files.replacing(paths[0]) as temporary:
        tables.write_csv(temporary, rows, _COLUMNS)
    lines = [list(_HEADS)]
    for key in dict.fromkeys((row["problem"], row["seed"]) for row in rows):
        lines += _verdicts([row for row in rows if (row["problem"], row["seed"]) == key])
    text = tables.aligned(lines)
    with files.replacing(paths[1]) as temporary:
        tables.write_text(temporary, text)
    print(f"wrote {paths[0]}\nwrote {paths[1]}\n\n{text}", end="", flush=True)


def _verdicts(rows):
    """A line of demo_search.md for each smoothed network of a problem with one seed."""
    largest = max(row["percent"] for row in rows)
    clean = {row["model"]: row for row in rows if not row["percent"]}
    attacked = {row["model"]: row for row in rows if row["percent"] == largest}
    own, worst = clean["original"], attacked["original"]
    first = [
        own["problem"],
        str(own["seed"]),
        tables.digits(clean["cg_sense"]["rmse"]),
        tables.digits(own["rmse"]),
        tables.decimals(own["ssim"]),
        tables.digits(worst["rmse"]),
        f"{largest:g}",
    ]
    good = own["ssim"] >= _LEAST_SSIM
    vulnerable = worst["rmse"] >= _LEAST_FACTOR * own["rmse"]
    lines = []
    for model in attacked:
        if not model.startswith("sigma_"):
            continue
        error = attacked[model]["rmse"]
        removed = 1 - (error - own["rmse"]) / (worst["rmse"] - own["rmse"])
        line = [
            *first,
            model.partition("_")[2],
            tables.digits(clean[model]["rmse"]),
            tables.digits(error),
            f"{100 * removed:.0f} %",
            _yes_or_no(good),
            _yes_or_no(vulnerable),
            _yes_or_no(removed >= _LEAST_SHARE),
        ]
        lines.append(line)
    return lines


def _yes_or_no(verdict):
    return "yes" if verdict else "no"


if __name__ == "__main__":
    cli.exit_with(main)
