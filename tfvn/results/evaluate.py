"""What `evaluate.py` does: the paper's Table 1 and Figures 1 to 3, from run directories of trained,
attacked models.

    results.csv           a row per image: model, slice, radius
    table1.csv, table1.md model x radius
    figure1.png           the data: k-space and map of one coil, zero-filled image, ground truth
    figure2.png           perturbation effect and error against ||r||
    figure3.png           the middle slice as every model sees it
    figure4.png           effect against ||r|| of the projected attack and that of Antun et al., where there are both
    certificates.csv      of every smoothed model: its Lipschitz constant, and what it says of each attack
    reconstructions.h5    slices/slice_I/{zero_filled, reference}, models/NAME/slice_I/{clean, radius_R}: magnitudes in
                          normalised units; times the slice's attribute `scale` they are in the
                          scanner's units
    report.html           all of it on one page, with curves to read values from and images to compare: a single file

All errors are those of magnitude images, in normalised units (docs/mathematics.md).
"""

import contextlib
import csv
import dataclasses
import functools
import hashlib
import json
import math
import os
import pathlib
import shlex
import warnings
from typing import NamedTuple

import h5py
import numpy as np
import tensorflow as tf

from tfvn import config as configs
from tfvn import data, distribution, metrics, outputs, progress, projections
from tfvn.certificates import total_variation
from tfvn.data import files
from tfvn.data.sample import image_rows
from tfvn.figures import paper
from tfvn.physics.sense import Sense
from tfvn.results import report
from tfvn.runs import directory, trained_on
from tfvn.training import tensorboard

__all__ = [
    "TEST_DATA_KEYS",
    "aggregate",
    "aligned",
    "certificates_of",
    "compare_attacks",
    "evaluate",
    "markdown",
    "printable",
    "sample_sweep",
    "tables",
]

_FIELDS = [field.name for field in dataclasses.fields(configs.Config)]
# What decides which slices are tested and how they are sampled, equal in all runs of one table: all
# keys of the schema's first two sections but those of the training set and the one that changes no
# data.
TEST_DATA_KEYS = tuple(
    name
    for name in _FIELDS[: _FIELDS.index("model")]
    if name not in ("train_patients", "train_slices", "num_train", "cache_dir")
)
# Attacks may differ in these: the rest of their settings must agree in one table.
_OWN_SETTINGS = ("radius", "steps", "sigma", "noise", "num_samples", "seed")

_MEANS = (
    "ssim",
    "nrmse",
    "psnr",
    "norm",
    "kspace_norm",
    "kspace_l1",
    "total_variation",
    "image_norm",
    "relative_radius",
    "effect",
)
# Means in the tables, of which the number of images is kept.
_COUNTED = ("rmse", "ssim", "effect")
# Columns with ||A r|| in the norm of a certificate.
_DISTANCES = {"l2": "kspace_norm", "l1": "kspace_l1"}
_MODEL_KEYS = ("sigma", "noise", "num_samples", "seed")
# What an evaluation may write, and what a sweep over the draws.
_FILES = (
    "results.csv",
    "table1.csv",
    "table1.md",
    "figure1.png",
    "figure2.png",
    "figure3.png",
    "figure4.png",
    "certificates.csv",
    "reconstructions.h5",
    "report.html",
)
_SWEEP_FILES = ("num_samples.csv", "num_samples.md", "num_samples.png")
# Folders in there while it is at it: slices that are done, and the signs of several processes.
_UNFINISHED, _WORKERS = ".unfinished", ".workers"
# A change of the image by this share of its norm is what certificates are asked about in the table.
_SHARE = 0.1


class _Run(NamedTuple):
    name: str
    run_dir: str
    config: configs.Config
    attacks: list


def evaluate(run_dirs, output, overrides=(), workers=distribution.Workers()):
    """Evaluates the models of several runs on their common test slices, clean and under all of
    their attacks.

    A row of `results.csv` is one image f(k + A r). Its columns: `model`, `slice`, `name`, `attack`
    (none, the norm of the ball l2, l1 or linf, or antun), `radius` of the ball (0: clean) or
    `steps` of antun, `norm` = ||r||_2, `kspace_norm` =
    ||A r||_2, `kspace_l1` = ||A r||_1 of real and imaginary parts, `total_variation` in the certificate of a smoothed model,
    `draw_norm`, the largest norm of a single draw, `image_norm` = ||y||_2, `relative_radius` = norm
    / image_norm, `rmse` = || f -
    |y| ||_2 (what a set's RMSE is the root mean square of), `nrmse` = rmse / image_norm (of magnitudes, other than the
    original code's, which is of complex images), `ssim`, `psnr`, `effect` = ||f(k + A r) -
    f(k)||_2, and the `sigma`, `noise`, `num_samples` and `seed` of the model. Without a reference
    the columns that need one are empty.

    Args:
        run_dirs: run directories of trained networks, in the order of the table. One without
            attacks has clean rows only.
        output: directory for the results, made if need be. Files of an earlier evaluation are
            replaced, others never.
        overrides: smoothing settings other than those of the runs, such as `["num_samples=100"]`.
        workers: of several, which need the same directories, all evaluate slices and the first
            writes the results.

    Returns:
        The paths of all files written; they are printed too, and at the end the table. The last is
        `report.html`, which holds tables, curves, images and figures, the settings of the runs, and
        the versions, seeds and commands that made them.

    Raises:
        ValueError: if a run is not trained or its attacks are unfinished or of another model, if
            the runs have different
            test data, or if a file would be replaced that is no earlier result: no file is written
                then. If a reconstruction is not
            finite or a file cannot be written: earlier results stay as they are, and slices that
                are done are kept for the
            next call; if another evaluation writes into that folder.
    """
    trials = _open(run_dirs, overrides)
    source = data.source(trials[0].config, "test")
    for index in range(len(source)):
        directory.check_name(source.name(index), f"slice {index}")
    _check_attacks(trials, len(source))
    _prepare(output, (*_FILES, _UNFINISHED, _WORKERS))
    only = directory.alone(output, "evaluates into it", workers.index or None)
    with only, distribution.Watch(os.path.join(output, _WORKERS), workers, tidy=True) as watch:
        for trial in trials:
            if trial.config.model and not workers.index:
                trained_on.warn_of_data(trial.config.model, trial.config)
        # In one process on one device, slices are evaluated where their results are wanted.
        if workers.kind != "none":
            for trial in trials:
                _evaluate_own(trial, source, workers, output)
        return [] if workers.index else _write_results(trials, source, output, workers, watch)


def _prepare(output, names):
    """A folder for results, in which nothing else is lost."""
    directory.check_name(output, "the folder of results")
    outputs.check_replaceable(output, names)
    directory.make_folder(output)
    files.remove_stale(output)


def _write_results(trials, source, output, workers, watch):
    """Gathers what the slices gave, evaluates what is missing, and writes all files. Returns their
    paths.
    """
    unfinished = os.path.join(output, _UNFINISHED)
    rows, examples, architectures = [], [], []
    total = len(source) * sum(1 + len(trial.attacks) for trial in trials)
    images_path = os.path.join(output, "reconstructions.h5")
    maps = data.maps_origin(trials[0].config)
    with progress.bar(total=total, unit="image") as bar, files.writing_hdf5(images_path) as file:
        file.attrs["coil_maps"] = maps
        shown = _write_slices(file, trials[0].config, source)
        for trial in trials:
            bar.set_description(f"evaluate {trial.name}")
            example, architecture = _evaluate_run(
                trial, source, file, rows, bar, unfinished, workers, watch
            )
            examples.append(example)
            architectures.append(architecture)
    table = aggregate(rows)
    claims = certificates_of(table, rows)
    certified, compared = _certificate_tables(claims), _comparison_text(compare_attacks(rows))
    text = (
        markdown(table, maps)
        + "".join(map(_text, certified))
        + (f"\n{compared}\n" if compared else "")
    )
    balls = [row for row in rows if row["attack"] in ("none", "l2")]
    writers = {
        "results.csv": lambda path: _write_csv(path, rows),
        "table1.csv": lambda path: _write_csv(path, table),
        "table1.md": lambda path: _write_text(path, text),
        "figure1.png": lambda path: paper.figure1(path, *shown),
        "figure2.png": lambda path: _draw(paper.figure2, path, balls),
        "figure3.png": lambda path: _draw(paper.figure3, path, shown[2], examples),
    }
    if {"l2", "antun"} <= {row["attack"] for row in rows}:
        writers["figure4.png"] = lambda path: _draw(paper.figure4, path, rows)
    if claims:
        writers["certificates.csv"] = lambda path: _write_csv(path, claims)
    # Last, as it shows the figures.
    paths_of_figures = [os.path.join(output, name) for name in writers if name.endswith(".png")]
    writers["report.html"] = lambda path: report.write(
        path,
        [{**row, "dataset": _dataset(row["attack"], _size(row))} for row in rows],
        _labels(table),
        [*tables(table, maps), *certified],
        [report.Run(trial.name, trial.run_dir, trial.config, _commands(trial)) for trial in trials],
        images_path,
        paths_of_figures,
        [compared] if compared else [],
    )
    # An earlier evaluation's would belong to another table.
    for name in {"figure4.png", "certificates.csv"} - set(writers):
        pathlib.Path(output, name).unlink(missing_ok=True)
    paths = [images_path, *_write_all(output, writers)]
    _remove_partials(unfinished)
    for path in paths:
        print(f"wrote {path}")
    for trial, architecture in zip(trials, architectures):
        scores = _scores([entry for entry in table if entry["model"] == trial.name])
        tensorboard.write_hparams(trial.run_dir, trial.config, architecture, scores)
    print(
        f"Next: open {shlex.quote(paths[-1])} in a browser, where the images can be"
        f" compared.\n\n{text}",
        end="",
    )
    return paths


def _draw(figure, path, *arguments):
    """Draws a figure with the names of the models as they are: no formulas, and no complaint of
    signs that the font lacks.
    """
    plain = []
    for argument in arguments:
        if isinstance(argument, list):
            argument = [_with_plain_name(entry) for entry in argument]
        plain.append(argument)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        figure(path, *plain)


def _with_plain_name(entry):
    """A row, or an `Example`, whose name Matplotlib shows as it is."""
    if isinstance(entry, dict):
        return {**entry, "model": _plain(entry["model"])}
    return entry._replace(name=_plain(entry.name))


def _plain(name):
    text = printable(name).replace("$", r"\$")
    # A name in a legend that begins with a low line would not be shown.
    return f" {text}" if text.startswith("_") else text


def printable(text):
    """A text on one line: what moves a cursor, or breaks a line of a table, becomes a space."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _write_all(output, writers):
    """Writes each file of a dict name: function of a path, whole or not at all. Returns the
    paths.
    """
    paths = [os.path.join(output, name) for name in writers]
    for path, write in zip(paths, writers.values()):
        with outputs.written(path) as temporary:
            write(temporary)
    return paths


def sample_sweep(run_dirs, output, counts, overrides=(), workers=distribution.Workers()):
    """Smoothed predictions against the number of draws K: `num_samples.csv`, `num_samples.md` and
    `num_samples.png`.

    A row is one model and one K: `rmse_clean`, and under the run's attack of the largest l2 radius
    `rmse_attacked` and `effect` = mean || g_K(k + A r) - g_K(k) || (the stored r is not made anew
    for each K); `spread` = sqrt(mean || g_K - g'_K ||^2 / 2) of two clean predictions from
    independent draws: the standard deviation that K draws leave.

    Args:
        run_dirs, output, overrides: as for `evaluate`. Runs without noise are left out.
        counts: the numbers of draws.
        workers: of one process, whose devices share the draws.

    Raises:
        ValueError: as `evaluate`; also for several processes, if no run was trained with noise or a
            count is not >= 1.
    """
    if not counts or any(count < 1 for count in counts):
        raise ValueError(f"the numbers of draws must be >= 1. Received: {list(counts)}")
    if workers.count > 1:
        raise ValueError(
            "the sweep over the numbers of draws runs in one process: use --strategy mirrored."
        )
    trials = [trial for trial in _open(run_dirs, overrides) if trial.config.sigma]
    if not trials:
        raise ValueError(
            "a smoothed prediction needs a run with sigma > 0, and none of these has noise."
        )
    _check_attacks(trials, len(data.source(trials[0].config, "test")))
    _prepare(output, _SWEEP_FILES)
    with directory.alone(output, "evaluates into it"):
        return _sweep(trials, output, sorted(set(counts)), workers)


def _sweep(trials, output, counts, workers):
    rows = []
    for trial in trials:
        rows.extend(_sweep_run(trial, counts, workers.strategy()))
    lines = [["model", "K", "RMSE clean", "RMSE attacked", "effect", "spread"]]
    for row in rows:
        numbers = (_digits(row[key]) for key in ("rmse_clean", "rmse_attacked", "effect", "spread"))
        lines.append([row["model"], str(row["num_samples"]), *numbers])
    radii = {row["radius"] for row in rows if not math.isnan(row["radius"])}
    text = (
        f"{aligned(lines)}\nAttacked: the stored perturbation of ||r||_2 <="
        f" {', '.join(f'{r:g}' for r in sorted(radii)) or '-'}. Spread: sqrt(mean || g_K - g'_K"
        " ||_2^2 / 2) of two clean predictions from independent draws.\n"
    )
    writers = {
        "num_samples.csv": lambda path: _write_csv(path, rows),
        "num_samples.md": lambda path: _write_text(path, text),
        "num_samples.png": lambda path: _draw(paper.figure5, path, rows),
    }
    paths = _write_all(output, writers)
    for path in paths:
        print(f"wrote {path}")
    print(f"\n{text}", end="")
    return paths


def _sweep_run(trial, counts, strategy):
    """The rows of one run."""
    config = trial.config
    with distribution.scope(strategy):
        network = directory.network_of(trial.run_dir, config)
    digest = directory.model_hash(network)
    model = directory.predictor(network, config, strategy=strategy)
    radius = max((size for kind, size in trial.attacks if kind == "l2"), default=math.nan)
    source = data.source(config, "test")
    squares = {count: [] for count in counts}
    with progress.bar(
        total=len(source) * len(counts), desc=f"draws {trial.name}", unit="image"
    ) as bar:
        for index, (inputs, reference) in enumerate(data.iterate(data.load(config, "test"))):
            zero_filled = model.zero_filled(inputs)
            measured = {key: inputs[key] for key in ("sensitivity_maps", "mask", "sample_index")}
            attacked = None
            if not math.isnan(radius):
                path = directory.attack_path(trial.run_dir, radius, index)
                perturbation = _perturbation(
                    path, source.name(index), digest, inputs, zero_filled.shape, ("l2", radius)
                )
                attacked = zero_filled + network.sense.normal(
                    perturbation, inputs["sensitivity_maps"], inputs["mask"]
                )
            for count in counts:
                model.num_samples, model.seed = count, config.seed
                clean = model.reconstruct({**measured, "zero_filled": zero_filled})
                answer = (
                    clean
                    if attacked is None
                    else model.reconstruct({**measured, "zero_filled": attacked})
                )
                model.seed = (config.seed + 1) % 2**31
                other = model.reconstruct({**measured, "zero_filled": zero_filled})
                errors = [metrics.error_norm(image, reference)[0] for image in (clean, answer)]
                squares[count].append([*errors, tf.norm(answer - clean), tf.norm(other - clean)])
                bar.update()
    rows = []
    for count, values in squares.items():
        values = np.array(values, float)
        root = np.sqrt(np.mean(np.square(values), 0))
        unattacked = math.isnan(radius)
        rows.append(
            {
                "model": trial.name,
                "num_samples": count,
                "radius": radius,
                "rmse_clean": float(root[0]),
                "rmse_attacked": math.nan if unattacked else float(root[1]),
                "effect": math.nan if unattacked else float(values[:, 2].mean()),
                "spread": float(root[3] / math.sqrt(2)),
                "num_images": len(values),
                "sigma": config.sigma,
                "noise": config.noise,
            }
        )
    return rows


def aggregate(rows):
    """Table 1 as a list of dicts, one a model and radius, from the rows of `evaluate`.

    `rmse` is sqrt(mean_i rmse_i^2), `effect_25` and `effect_75` are percentiles, the other numbers
    means, over the images that have the number (`num_rmse`, `num_ssim` and `num_effect` of
    `num_images`); NaN where none has.
    """
    groups = {}
    for row in rows:
        groups.setdefault((row["model"], row["attack"], _size(row)), []).append(row)
    table = []
    for (model, attack, _), group in groups.items():
        values = {key: np.array([row[key] for row in group], float) for key in _MEANS + ("rmse",)}
        values = {key: array[~np.isnan(array)] for key, array in values.items()}
        means = {
            key: float(array.mean()) if array.size else math.nan for key, array in values.items()
        }
        effects = (
            np.percentile(values["effect"], [25, 75])
            if values["effect"].size
            else (math.nan, math.nan)
        )
        table.append(
            {
                "model": model,
                "attack": attack,
                "radius": group[0]["radius"],
                "steps": group[0]["steps"],
                "rmse": float(np.sqrt(np.mean(values["rmse"] ** 2)))
                if values["rmse"].size
                else math.nan,
                **{key: means[key] for key in _MEANS},
                "effect_25": float(effects[0]),
                "effect_75": float(effects[1]),
                "num_images": len(group),
                **{f"num_{key}": len(values[key]) for key in _COUNTED},
                **{key: group[0][key] for key in _MODEL_KEYS},
            }
        )
    return table


def _scores(table):
    """What TensorBoard compares of one model, as {name: number}; names are short, for the axes
    there.
    """
    scores = {}
    for entry in table:
        if entry["attack"] == "none":
            name, keys = "clean", ("rmse", "ssim")
        else:
            name, keys = (
                _dataset(entry["attack"], _size(entry)).replace("radius_", "r"),
                ("rmse", "effect"),
            )
        scores.update({f"{name}_{key}": entry[key] for key in keys})
    return scores


def _size(row):
    return row["steps"] if row["attack"] == "antun" else row["radius"]


def markdown(table, maps=""):
    """Table 1 as Markdown: the tables of `tables` one after the other; aligned, to be read as text.

    Args:
        table, maps: as for `tables`.
    """
    parts = tables(table, maps)
    text = "".join(f"{part.title}\n\n{aligned(part.lines)}\n" for part in parts)
    if len(parts) == 1:
        text += "None of these runs has attacks: attack.py makes them.\n\n"
    return f"{text}{parts[0].note}\n"


def tables(table, maps=""):
    """RMSE and SSIM, then mean perturbation effects, model by radius: a list of `report.Table`. The
    norms of the attack's ball, and the attack of Antun et al., have such tables one after the
    other.

    Args:
        table: the list of dicts of `aggregate`.
        maps: where the coil maps come from, for the note; "" says nothing.
    """
    kinds = [
        kind for kind in directory.ATTACKS if any(entry["attack"] == kind for entry in table)
    ] or ["l2"]
    count = table[0]["num_images"]
    note = (
        "RMSE: sqrt(mean || f - |y| ||_2^2); effect: || f(k + A r) - f(k) ||_2 with the norm of r"
        " <= radius (l2 unless it says otherwise; in %: of the mean ||y||_2); sigma: k-space noise"
        f" of training and smoothing; K: draws of the smoothed prediction; {count}"
        f" {'slice' if count == 1 else 'slices'}, normalised to max |A^H k| = 1."
    )
    if any(0 < _count(entry, key) < count for entry in table for key in _COUNTED):
        note += (
            " (n): a mean over n slices alone, as the others have no such number (no reference, or"
            " an empty one)."
        )
    if maps:
        note += f" Coil maps: {maps}."
    parts = []
    for kind in kinds:
        parts += _tables_of(kind, [entry for entry in table if entry["attack"] in ("none", kind)])
    return [parts[0]._replace(note=note), *parts[1:]]


def _tables_of(kind, table):
    cells = {(entry["model"], _size(entry)): entry for entry in table}
    models = list(dict.fromkeys(entry["model"] for entry in table))
    sizes = dict(sorted((_size(entry), _head(entry)) for entry in table))
    heads, attacks = list(sizes.values()), list(sizes)[1:]
    of = {"l2": "", "antun": ", attack of Antun et al."}.get(kind, f", {kind} balls")
    # Of the others the size is no l2 norm, which attacks are compared by.
    norm = "" if kind == "l2" else ", and mean ||r||_2"

    def cell(model, size, key, digits):
        return _mean_cell(cells[model, size], key, digits) if (model, size) in cells else "-"

    errors = [
        ["model", *(text for head in heads for text in (head, ""))],
        ["", *(("RMSE", "SSIM") * len(sizes))],
    ]
    effects = [["model", "sigma", "K", *heads[1:]]]
    for model in models:
        pairs = [
            (cell(model, size, "rmse", _digits), cell(model, size, "ssim", _decimals))
            for size in sizes
        ]
        errors.append([model, *(text for pair in pairs for text in pair)])
        first = cells[model, 0.0]
        samples = str(first["num_samples"]) if first["sigma"] else "-"
        means = [cell(model, size, "effect", _digits) for size in attacks]
        if kind != "l2":
            norms = [cell(model, size, "norm", _digits) for size in attacks]
            means = [text if text == "-" else f"{text}, {norm}" for text, norm in zip(means, norms)]
        effects.append([model, f"{first['sigma']:g}{_noise_name(first)}", samples, *means])
    parts = [
        report.Table(
            f"Error of the reconstructions{of}",
            errors,
            ("", *(("lowest", "highest") * len(sizes))),
            heads=2,
        )
    ]
    if attacks:
        # The attack of Antun et al. has another norm on each model: its effects are not to be
        # compared.
        best = ("", "", "", *(["" if kind == "antun" else "lowest"] * len(attacks)))
        parts.append(report.Table(f"Mean perturbation effect{norm}{of}", effects, best))
    return parts


def _count(entry, key):
    """Of how many images a mean is, in the table of one model and size."""
    return entry.get(f"num_{key}", entry["num_images"])


def _mean_cell(entry, key, digits):
    """A mean; with the number of its images where they are not all that the table is of."""
    text, count = digits(entry[key]), _count(entry, key)
    return text if text == "-" or count == entry["num_images"] else f"{text} ({count})"


def _head(entry):
    """What an entry's attack is called above a column."""
    kind, size = entry["attack"], _size(entry)
    if kind in ("none", "antun"):
        return "clean" if kind == "none" else f"{size:d} steps"
    return f"radius {size:g}{_percent(size / entry['image_norm']) if kind == 'l2' else ''}"


def _labels(table):
    """What the images of `reconstructions.h5` are called in the report: a dict of dataset and text,
    clean first.
    """
    kinds = ("none", *directory.ATTACKS)
    labels = {}
    for entry in sorted(table, key=lambda entry: (kinds.index(entry["attack"]), _size(entry))):
        kind = entry["attack"]
        labels[_dataset(kind, _size(entry))] = (
            _head(entry) if kind in ("none", "l2") else f"{kind}, {_head(entry)}"
        )
    return labels


def _commands(trial):
    """Commands that make a run again elsewhere, from its configuration and what its attacks record:
    lists of arguments.
    """
    run_dir = directory.as_argument(os.path.normpath(trial.run_dir))
    again = f"{run_dir}-again"
    train = [
        "python",
        "train.py",
        "--config",
        os.path.join(run_dir, "config.yaml"),
        "--run-dir",
        again,
    ]
    # What was said of one call alone: it would end too early, or not begin without
    # tensorflow-addons.
    calls = {"time_budget": 0, "progress": "tqdm"}
    given = [f"{key}={value}" for key, value in calls.items() if vars(trial.config)[key] != value]
    commands = [[*train, *(["--set", *given] if given else [])]]
    attacks = {}
    for kind, size in trial.attacks:
        settings = directory.read_attack(directory.attack_path(trial.run_dir, size, 0, kind))[
            "settings"
        ]
        values = {
            key: value for key, value in settings.items() if key.startswith(("attack_", "antun_"))
        }
        values["attack_num_samples"] = settings.get("num_samples", trial.config.attack_num_samples)
        values.update(
            {"attack_method": "antun"}
            if kind == "antun"
            else {"attack_method": "projected", "attack_norm": kind}
        )
        changed = [
            f"{key}={value}"
            for key, value in sorted(values.items())
            if value != vars(trial.config)[key]
        ]
        attacks.setdefault((kind, *changed), []).append(size)
    for (kind, *changed), sizes in attacks.items():
        key = "antun_steps" if kind == "antun" else "attack_radii"
        given = [*changed, *([f"{key}={sizes}"] if sizes != vars(trial.config)[key] else [])]
        commands.append(
            ["python", "attack.py", "--run-dir", again, *(["--set", *given] if given else [])]
        )
    return commands


def _noise_name(entry):
    return "" if entry["noise"] in ("", "gaussian") else f" {entry['noise']}"


def certificates_of(table, rows):
    """What can be claimed of every smoothed model, one dict a model and attack (attack "none": of
    the model alone).

    `diameter` is sqrt(2) times the largest norm of a single draw in `rows`: that of the map f whose
    images are scaled back to that norm, which changes none of the draws that were averaged here.
    `lipschitz` is the Lipschitz constant of the smoothed map, in the `norm` of the noise's
    certificate; `certified_distance` the largest ||A r|| in that norm that certifies a change below
    a tenth of the mean image norm. Of an attack: `distance`, its mean ||A r|| in that norm,
    `total_variation` and `bound` = diameter * total_variation at it, and the measured `effect`. The
    bound is for infinitely many draws: the mean of K has its own spread.
    """
    claims = []
    for model in dict.fromkeys(entry["model"] for entry in table if entry["sigma"]):
        largest = max(row["draw_norm"] for row in rows if row["model"] == model)
        diameter = float(total_variation.range_diameter(largest, non_negative=True))
        for entry in (entry for entry in table if entry["model"] == model):
            sigma, noise = entry["sigma"], entry["noise"]
            norm = total_variation.NORMS[noise]
            distance = entry[_DISTANCES[norm]]
            tolerance = _SHARE * entry["image_norm"]
            certified = math.nan
            if not math.isnan(tolerance):
                certified = float(
                    total_variation.certified_distance(tolerance, sigma, diameter, noise)
                )
            claims.append(
                {
                    "model": model,
                    "attack": entry["attack"],
                    "size": _size(entry),
                    "sigma": sigma,
                    "noise": noise,
                    "norm": norm,
                    "diameter": diameter,
                    "lipschitz": float(total_variation.lipschitz_constant(sigma, diameter, noise)),
                    "certified_distance": certified,
                    "distance": distance,
                    "total_variation": float(
                        total_variation.total_variation(distance, sigma, noise)
                    ),
                    "bound": float(total_variation.global_bound(distance, sigma, diameter, noise)),
                    "effect": entry["effect"],
                }
            )
    return claims


def _certificate_tables(claims):
    """The weakest attack on each smoothed model and what its certificate says of it: a list of one
    `report.Table` or none.
    """
    if not claims:
        return []
    heads = (
        "model",
        "norm",
        "D",
        "Lipschitz constant",
        "certified to",
        "attack",
        "its A r",
        "bound",
        "effect",
        "says something",
    )
    lines = [list(heads)]
    for model in dict.fromkeys(claim["model"] for claim in claims):
        own = [claim for claim in claims if claim["model"] == model]
        # The weakest attack: where even that is beyond the certificate, the others are.
        attacks = [claim for claim in own if claim["attack"] != "none"]
        claim = min(attacks, key=lambda c: c["total_variation"], default=own[0])
        numbers = [_digits(claim[key]) for key in ("diameter", "lipschitz", "certified_distance")]
        if attacks:
            says = "yes" if claim["total_variation"] < 0.5 else "no"
            kind = f"{claim['attack']} {claim['size']:g}"
            rest = [kind, *(_digits(claim[key]) for key in ("distance", "bound", "effect")), says]
        lines.append([model, claim["norm"], *numbers, *(rest if attacks else ["-"] * 5)])
    note = (
        "D: diameter of the range, sqrt(2) times the largest norm of a single draw here; certified"
        " to: the largest ||A r|| that cannot change the reconstruction by more than"
        f" {100 * _SHARE:g} % of the mean ||y||_2; attack: the weakest one, with its mean norm of A"
        " r, the bound at it and what it did; the bound says something where it is below half of"
        " D. Norms of A r as the noise demands, of real and imaginary parts."
    )
    return [
        report.Table(
            "Certificates of the smoothed models (docs/theorem.md)", lines, ("",) * len(heads), note
        )
    ]


def _text(table):
    return f"\n{table.title}\n\n{aligned(table.lines)}\n{table.note}\n"


def compare_attacks(rows):
    """Of every image that both attacks were made on: (model, slice, norm, effect of Antun et al.,
    projected effect), the last interpolated linearly between the radii at the ||r||_2 that the
    attack of Antun et al. came to; NaN outside the radii.
    """
    found = []
    for row in rows:
        if row["attack"] != "antun":
            continue
        same = [
            r
            for r in rows
            if (r["model"], r["slice"]) == (row["model"], row["slice"])
            and r["attack"] in ("none", "l2")
        ]
        same.sort(key=lambda r: r["norm"])
        if len(same) > 1:
            norms, effects = ([r[key] for r in same] for key in ("norm", "effect"))
            projected = (
                float(np.interp(row["norm"], norms, effects, right=math.nan))
                if row["norm"] >= norms[1]
                else math.nan
            )
            found.append((row["model"], row["slice"], row["norm"], row["effect"], projected))
    return found


def _comparison_text(pairs):
    if not pairs:
        return ""
    inside = [(antun, projected) for *_, antun, projected in pairs if not math.isnan(projected)]
    text = (
        "Projected attack against that of Antun et al., at equal ||r||_2 (linear interpolation"
        " between the radii): "
    )
    if inside:
        wins = sum(projected > antun for antun, projected in inside)
        ratio = float(np.exp(np.mean([np.log(max(p, 1e-12) / max(a, 1e-12)) for a, p in inside])))
        text += f"the projected one is stronger in {wins} of {len(inside)} cases, "
        text += f"its effect {ratio:.2f} times as large (geometric mean)."
    outside = len(pairs) - len(inside)
    if outside:
        norms = [norm for _, _, norm, _, projected in pairs if math.isnan(projected)]
        span = f"||r||_2 from {min(norms):.3g} to {max(norms):.3g}"
        text += (
            f" {outside} of {len(pairs)} cases are outside the radii: {span}; attack with such"
            " radii to compare."
        )
    return text


def aligned(lines):
    """Rows of texts, the first of them the heads, as a Markdown table that can be read as text."""
    lines = [[printable(cell).replace("|", r"\|") for cell in line] for line in lines]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(lines[0]))]
    rule = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
    rows = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in [rows[0], rule, *rows[1:]])


def _digits(value):
    """Three significant digits, no exponent for large values."""
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def _decimals(value):
    return "-" if math.isnan(value) else f"{value:.3f}"


def _percent(share):
    return (
        ""
        if math.isnan(share)
        else f" ({100 * share:.2g} %)"
        if share < 0.1
        else f" ({100 * share:.0f} %)"
    )


def _open(run_dirs, overrides):
    """The runs, named and checked to have the same test data."""
    fixed = [
        text for text in overrides if text.partition("=")[0].strip() not in directory.FREE_KEYS
    ]
    if fixed:
        raise ValueError(
            f"an evaluation can override {', '.join(directory.FREE_KEYS)} only; all else belongs to the"
            f" run. Received: {' '.join(fixed)}"
        )
    for run_dir in run_dirs:
        directory.check_name(run_dir, "a run directory")
    trials = []
    for name, run_dir in zip(_names(run_dirs), run_dirs):
        # With overrides, opening would make a new run of a mistyped directory.
        if not os.path.exists(os.path.join(run_dir, "config.yaml")):
            raise ValueError(
                f"{run_dir} holds no run: there is no config.yaml. Train or attack a network there"
                " first."
            )
        config = directory.open_run(run_dir, None, overrides)
        first = trials[0].config if trials else config
        different = [key for key in TEST_DATA_KEYS if getattr(config, key) != getattr(first, key)]
        if different:
            pairs = ", ".join(
                f"{key}={getattr(config, key)!r} (there: {getattr(first, key)!r})"
                for key in different
            )
            raise ValueError(
                f"{run_dir} and {trials[0].run_dir} have different test data: {pairs}. "
                "One table compares models on the same slices: evaluate these runs one by one."
            )
        trials.append(
            _Run(
                name,
                run_dir,
                config,
                [attack for attack in directory.attacks_of(run_dir) if attack[1] > 0],
            )
        )
    return trials


def _names(run_dirs):
    """Names of the runs: their directories' names, or as many last parts of the paths as tell them
    apart.
    """
    parts = [os.path.realpath(run_dir).split(os.sep) for run_dir in run_dirs]
    for depth in range(1, max(len(p) for p in parts) + 1):
        names = ["-".join(p[-depth:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"the run directories must be different. Received: {list(run_dirs)}")


def _check_attacks(trials, count):
    """Before any work: are the attack files of every slice there, and of one attack?"""
    for trial in trials:
        for kind, size in trial.attacks:
            paths = [
                directory.attack_path(trial.run_dir, size, index, kind) for index in range(count)
            ]
            missing = [path for path in paths if not os.path.exists(path)]
            if missing:
                command = directory.command(
                    "python", "attack.py", "--run-dir", directory.as_argument(trial.run_dir)
                )
                raise ValueError(
                    f"{missing[0]} is missing, and {len(missing) - 1} more of {count} slices:"
                    f" attack.py has not finished. Run it again with what it was given: {command}"
                    " [--set ...]"
                )
    first = {}
    for trial in trials:
        for kind, size in trial.attacks:
            path = directory.attack_path(trial.run_dir, size, 0, kind)
            stored = directory.read_attack(path, attack=(kind, size))["settings"]
            settings = {key: value for key, value in stored.items() if key not in _OWN_SETTINGS}
            earlier = first.setdefault(kind, (path, settings))
            different = sorted(
                key
                for key in {**settings, **earlier[1]}
                if settings.get(key) != earlier[1].get(key)
            )
            if different:
                rows = ", ".join(
                    f"{key}={settings.get(key)!r} (there: {earlier[1].get(key)!r})"
                    for key in different
                )
                raise ValueError(
                    f"{path} and {earlier[0]} were made by different attacks: {rows}. One table"
                    " compares models under the same attack: evaluate these run directories one by"
                    " one, each with an --output of its own."
                )


def _write_slices(file, config, source):
    """Writes the images that are the same for all models. Returns the arguments of figure 1, of the
    middle slice.
    """
    sense = Sense(config.readout_oversampling)
    for index, (inputs, reference) in enumerate(data.iterate(data.load(config, "test"))):
        zero_filled = sense.adjoint(inputs["kspace"], inputs["sensitivity_maps"], inputs["mask"])[
            0
        ].numpy()
        group = file.create_group(f"slices/{_key(index)}")
        group.attrs.update(name=source.name(index), scale=float(inputs["scale"][0]))
        images = {"zero_filled": zero_filled}
        reference = reference[0].numpy()
        if np.isfinite(reference).all():
            images["reference"] = reference
        for name, image in images.items():
            _write_image(group, name, np.abs(image))
        if index == len(source) // 2:
            kspace, maps = inputs["kspace"][0].numpy(), inputs["sensitivity_maps"][0].numpy()
            coil = np.square(np.abs(kspace)).sum((1, 2)).argmax()
            rows = image_rows(maps.shape[1], config.readout_oversampling)
            shown = kspace[coil], maps[coil, rows], images.get("reference"), zero_filled
    return shown


def _evaluate_own(trial, source, workers, output):
    """Evaluates this process's slices of one run, on all of its devices, for `_evaluate_run` to
    find.
    """
    devices, models = directory.models_of(trial.run_dir, trial.config, workers, len(source))
    own, digest = workers.own(len(source)), directory.model_hash(models[0][0])
    work = functools.partial(
        _evaluated, trial, source, models, digest, os.path.join(output, _UNFINISHED), None
    )
    slices = data.iterate(data.load(trial.config, "test", start=workers.index, step=workers.count))
    with progress.bar(total=len(own), desc=f"evaluate {trial.name}", unit="slice") as bar:
        for _ in distribution.each(devices, work, zip(own, slices)):
            bar.update()


def _evaluated(trial, source, models, digest, unfinished, wait, device, item):
    """The images and rows of one slice, (index, (inputs, reference)).

    They are kept in the folder `unfinished`, from which an evaluation that was stopped goes on.
    With `wait`, that of a `Watch`, another process puts them there.
    """
    index, (inputs, reference) = item
    config, name = trial.config, source.name(index)
    paths = [
        directory.attack_path(trial.run_dir, size, index, kind) for kind, size in trial.attacks
    ]
    made_of = [digest, name, *(getattr(config, key) for key in _MODEL_KEYS)]
    settings, states = source.fingerprint(index)
    test_data = [getattr(config, key) for key in TEST_DATA_KEYS]
    key = json.dumps(
        [made_of, trial.attacks, test_data, settings, states, [files.state(path) for path in paths]]
    )
    # Not in the key: of estimated maps they differ by rounding between machines.
    numbers = [float(inputs["scale"][0]), directory.signature_of(inputs).tolist()]
    path = _partial_path(unfinished, trial, index)
    if wait:
        wait(lambda: _read_partial(path, key, numbers) is None)
    done = _read_partial(path, key, numbers)
    if done is None:
        done = _evaluate_slice(trial, name, index, inputs, reference, *models[device], digest)
        _write_partial(path, key, numbers, *done)
    return done


def _evaluate_run(trial, source, file, rows, bar, unfinished, workers, watch):
    """Evaluates one run: adds to `rows` and `file`. Returns the middle slice as a row of figure 3,
    and the network's settings.
    """
    config = trial.config
    network = directory.network_of(trial.run_dir, config)
    models, digest = (
        [(network, directory.predictor(network, config))],
        directory.model_hash(network),
    )
    file.create_group(f"models/{trial.name}").attrs["model_hash"] = digest
    for index, (inputs, reference) in enumerate(data.iterate(data.load(config, "test"))):
        name, scale = source.name(index), float(inputs["scale"][0])
        paths = [
            directory.attack_path(trial.run_dir, size, index, kind) for kind, size in trial.attacks
        ]
        wait = None if index in workers.own(len(source)) else watch.wait
        images, found = _evaluated(
            trial, source, models, digest, unfinished, wait, 0, (index, (inputs, reference))
        )
        group = file.create_group(f"models/{trial.name}/{_key(index)}")
        group.attrs.update(name=name, scale=scale)
        for dataset, image in images.items():
            _write_image(group, dataset, image)
        rows.extend(found)
        bar.update(len(found))
        if index == len(source) // 2:
            scores = [(row["rmse"], row["ssim"]) for row in found]
            balls = [n for n, (kind, _) in enumerate(trial.attacks) if kind == "l2"]
            attack = ()
            if balls:
                # The last radius is the largest.
                kind, size = trial.attacks[balls[-1]]
                perturbation = directory.read_attack(paths[balls[-1]])["perturbation"]
                attack = size, perturbation, images[_dataset(kind, size)], scores[1 + balls[-1]]
            example = paper.Example(trial.name, images["clean"], scores[0], *attack)
    return example, network.get_config()


def _evaluate_slice(trial, name, index, inputs, reference, network, model, digest):
    """The images of one slice by name, and its rows of results.csv."""
    config, images, rows, clean = trial.config, {}, [], None
    maps, mask = inputs["sensitivity_maps"], inputs["mask"]
    zero_filled = model.zero_filled(inputs)
    for kind, size in [("none", 0.0), *trial.attacks]:
        if kind == "none":
            perturbation = tf.zeros_like(zero_filled)
        else:
            path = directory.attack_path(trial.run_dir, size, index, kind)
            perturbation = _perturbation(
                path, name, digest, inputs, zero_filled.shape, (kind, size)
            )
        measured = {
            "sensitivity_maps": maps,
            "mask": mask,
            "sample_index": inputs["sample_index"],
            "zero_filled": zero_filled + network.sense.normal(perturbation, maps, mask),
        }
        if config.sigma:
            image, draw_norm = model.reconstruct_with_norm(measured)
        else:
            image = model.reconstruct(measured)
            draw_norm = tf.norm(image, axis=[1, 2])
        if not np.isfinite(image).all():
            raise ValueError(
                f"{trial.run_dir}: the reconstruction of {name} ({_dataset(kind, size)}) is not"
                " finite. Leave this run out, or train its network again with a lower learning"
                " rate."
            )
        if clean is None:
            clean = image
        change = network.sense.forward(perturbation, maps, mask)
        norm, image_norm = tf.norm(tf.abs(perturbation)), tf.norm(tf.abs(reference))
        distances = {column: projections.norm(change, kind) for kind, column in _DISTANCES.items()}
        variation = math.nan
        if config.sigma:
            distance = float(distances[_DISTANCES[total_variation.NORMS[config.noise]]][0])
            variation = total_variation.total_variation(distance, config.sigma, config.noise)
        numbers = {
            "norm": norm,
            **distances,
            "total_variation": variation,
            "image_norm": image_norm,
            "relative_radius": norm / image_norm,
            "rmse": metrics.error_norm(image, reference),
            "nrmse": metrics.nrmse(image, tf.abs(reference)),
            "ssim": metrics.ssim(image, reference),
            "psnr": metrics.psnr(image, reference),
            "draw_norm": draw_norm,
            "effect": tf.norm(image - clean),
        }
        rows.append(
            {
                "model": trial.name,
                "slice": index,
                "name": name,
                "attack": kind,
                "radius": math.nan if kind == "antun" else size,
                "steps": size if kind == "antun" else math.nan,
                **{key: float(np.squeeze(value)) for key, value in numbers.items()},
                "sigma": config.sigma,
                "noise": config.noise if config.sigma else "",
                "num_samples": config.num_samples if config.sigma else 1,
                "seed": config.seed,
            }
        )
        images[_dataset(kind, size)] = image[0].numpy()
    return images, rows


def _dataset(kind, size):
    if kind == "none":
        return "clean"
    return (
        f"antun_{size:d}"
        if kind == "antun"
        else f"{'' if kind == 'l2' else kind + '_'}radius_{size:g}"
    )


def _partial_path(unfinished, trial, index):
    # Names may be longer than those of folders, together with what they are told apart by.
    folder = hashlib.sha256(trial.name.encode()).hexdigest()[:16]
    return os.path.join(unfinished, folder, f"{_key(index)}.h5")


def _read_partial(path, key, numbers):
    """The images and rows of a slice that was evaluated before, or None.

    Args:
        path: of the file.
        key: a text that says what it must have been made of.
        numbers: the slice's [scale, signature], which must be those that it was made of, up to
            rounding.
    """
    try:
        with h5py.File(path, "r") as file:
            stored = file.attrs["numbers"]
            if file.attrs["key"] == key and _alike(json.loads(stored), numbers):
                images = {name: directory.stored_array(file, name) for name in file}
                if file.attrs["checksum"] == _checksum([key, stored, file.attrs["rows"]], images):
                    return images, json.loads(file.attrs["rows"])
    # Not there, or not readable, in whatever way: done again.
    except Exception:
        pass
    return None


def _alike(stored, numbers):
    (there, signature), (scale, own) = stored, numbers
    return np.isclose(there, scale, rtol=1e-4) and directory.same_slice(signature, own)


def _write_partial(path, key, numbers, images, rows):
    directory.make_folder(os.path.dirname(path))
    numbers, text = json.dumps(numbers), json.dumps(rows)
    with files.writing_hdf5(path, track_order=True) as file:
        for name, image in images.items():
            file[name] = image
        file.attrs.update(key=key, numbers=numbers, rows=text)
        file.attrs["checksum"] = _checksum([key, numbers, text], images)


def _checksum(texts, images):
    """Of all that a file of an unfinished evaluation holds."""
    digest = hashlib.sha256(json.dumps([*texts, list(images)]).encode())
    for image in images.values():
        digest.update(
            repr((image.shape, image.dtype.str)).encode() + np.ascontiguousarray(image).tobytes()
        )
    return digest.hexdigest()


def _remove_partials(unfinished):
    """Removes the slices of an evaluation that is done, and no other file."""
    for path in pathlib.Path(unfinished).glob("*/slice_*.h5"):
        with contextlib.suppress(OSError):
            path.unlink()
    for folder in (*pathlib.Path(unfinished).glob("*"), pathlib.Path(unfinished)):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _perturbation(path, name, digest, inputs, shape, attack):
    """The stored r of one slice, (1, rows, width)."""
    found = directory.read_attack(
        path, None, digest, float(inputs["scale"][0]), directory.signature_of(inputs), attack
    )
    if str(found.get("name", name)) != name or found["perturbation"].shape != tuple(shape[1:]):
        raise ValueError(
            f"{path}: made for the slice {found.get('name')!r} of shape"
            f" {found['perturbation'].shape}, and this is {name!r} of shape {tuple(shape[1:])}. The"
            " test data have changed: put the old ones back, or attack these in another run"
            " directory."
        )
    return tf.convert_to_tensor(found["perturbation"].astype(np.complex64))[None]


def _key(index):
    return f"slice_{index:05d}"


def _write_image(group, name, image):
    group.create_dataset(name, data=image.astype(np.float32), compression="gzip", shuffle=True)


def _write_csv(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows({key: _csv_field(value) for key, value in row.items()} for row in rows)


def _csv_field(value):
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        # Programs that show tables would take a name for a formula; an apostrophe tells them that
        # it is a text.
        return f"'{value}"
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.8g}"


def _write_text(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
