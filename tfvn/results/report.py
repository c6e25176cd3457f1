"""The results of an evaluation as one HTML file that loads nothing: tables, curves, images to
compare, settings, origin.

Images are kept as multiples of a slice's window / 1024 (window: the grey value shown white, the
99.9th percentile of the truth), and all differences are computed from these in the page: one image
each is stored, and a difference is exact to a thousandth of the window, where that of two 8-bit
images would show their steps. Layout and program are in `tfvn/results/page`.
"""

import base64
import contextlib
import datetime
import hashlib
import importlib.metadata
import itertools
import os
import platform
import shlex
import subprocess
import sys
import zlib
from typing import NamedTuple

import h5py
import jinja2
import matplotlib
import numpy as np
import tensorflow as tf
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from tfvn import config as configs
from tfvn.figures import paper

__all__ = ["Run", "Table", "origin", "pack", "write"]

# Grey levels up to the window: a level more or less is not seen, in differences neither, at any
# gain below 64.
_LEVELS = 1024
# Of the images, as text in the file: a browser opens such a page within seconds.
_MOST_BYTES = 60e6
_PACKAGES = ("tensorflow", "keras", "tensorflow-addons", "numpy", "scipy", "h5py", "matplotlib")
_SCORES = ("rmse", "ssim", "nrmse", "psnr", "effect", "norm")
_CAPTIONS = {
    "figure1": (
        "The data of the middle slice: k-space and sensitivity map of its strongest coil,"
        " zero-filled, truth."
    ),
    "figure2": (
        "Perturbation effect and error against the norm of r, every model: mean and 25 to 75 % band"
        " over the slices."
    ),
    "figure3": (
        "The middle slice as every model sees it, clean and under its attack of the largest l2"
        " radius, with the error."
    ),
    "figure4": (
        "Perturbation effect against the norm of r: the projected attack and that of Antun et al."
    ),
}


class Table(NamedTuple):
    """A table as it is shown, here and in `table1.md`.

    title, note: above and below it.
    lines: cells as text, a list a line, the heads first; in the upper of two lines of heads, ""
    continues the cell before.
    best: a word a column: "lowest", "highest", or "" where no value is better than another.
    heads: number of lines of heads.
    """

    title: str
    lines: list
    best: tuple
    note: str = ""
    heads: int = 1


class Run(NamedTuple):
    """What made a model.

    config: `tfvn.config.Config`.
    commands: what repeats the run, as lists of arguments.
    """

    name: str
    run_dir: str
    config: configs.Config
    commands: list


def write(path, rows, labels, tables, runs, images_path, figure_paths, notes=()):
    """Writes the report of an evaluation.

    Args:
        path: file to write.
        rows: one dict an image, as in `results.csv`, and `dataset`, the image's name in
            `reconstructions.h5`.
        labels: what each `dataset` is called, clean first, in the order of the tables: a dict.
        tables: a list of `Table`.
        runs: a list of `Run`, in the order of the tables.
        images_path: `reconstructions.h5`.
        figure_paths: the figures, `.png`.
        notes: paragraphs of text below the tables.
    """
    models = [run.name for run in runs]
    viewer = _viewer(images_path, rows, models, labels)
    parts = {name: _part(name) for name in ("report.css", "report.js")}
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_part),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A NaN would be no JSON, and end the page's program.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    text = environment.get_template("report.html.j2").render(
        style=Markup(parts["report.css"]),
        script=Markup(parts["report.js"]),
        # Whatever a name or a setting may hold, only the two parts above are obeyed, and nothing is
        # loaded.
        policy=(
            f"default-src 'none'; img-src data:; style-src {_hash(parts['report.css'])}; "
            f"script-src {_hash(parts['report.js'])}; base-uri 'none'; form-action 'none'"
        ),
        models=models,
        slices=len({row["slice"] for row in rows}),
        dataset=runs[0].config.dataset,
        tables=[_marked(table) for table in tables],
        notes=notes,
        charts=_charts(rows, models, labels),
        labels=labels,
        viewer=viewer,
        figures=[_figure(figure) for figure in figure_paths],
        runs=[
            (run, run.config.to_yaml(), [shlex.join(command) for command in run.commands])
            for run in runs
        ],
        hashes=viewer.pop("hashes"),
        differences=_differences(runs),
        origin=origin(),
        command=shlex.join(getattr(sys, "orig_argv", [sys.executable, *sys.argv])),
        folder=os.getcwd(),
        date=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z"),
    )
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _part(name):
    """The text of a file of `tfvn/results/page`."""
    with open(os.path.join(os.path.dirname(__file__), "page", name), encoding="utf-8") as file:
        return file.read()


def _hash(text):
    """How a content security policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def origin():
    """Versions and machine, as a dict of text."""
    # Not imported above: the package itself stands above all of its files.
    found = {
        "tfvn": importlib.import_module("tfvn").__version__,
        "git commit": _commit() or "unknown",
    }
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    devices = []
    for device in tf.config.list_physical_devices():
        details = (
            tf.config.experimental.get_device_details(device) if device.device_type == "GPU" else {}
        )
        devices.append(
            f"{device.name.replace('/physical_device:', '')} {details.get('device_name', '')}".strip()
        )
    return {
        **found,
        "Python": platform.python_version(),
        "platform": platform.platform(),
        "devices": ", ".join(devices),
    }


def _commit():
    """The commit of this package's files, with a word if they have changed since; None outside a
    git checkout.
    """
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

    def git(*arguments):
        command = ["git", "-C", folder, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        # Not the commit of a checkout that only has this installation somewhere inside.
        git("ls-files", "--error-unmatch", "report.py")
        return git("rev-parse", "HEAD") + (
            " with uncommitted changes" if git("status", "--porcelain", "--", ".") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return None


def _marked(table):
    """A table for the page: `heads`, lines of (text, columns, rows), and `body`, lines of (text, is
    it the best?).
    """
    heads = []
    for line in table.lines[: table.heads]:
        starts = [column for column, text in enumerate(line) if text]
        spans = np.diff([*starts, len(line)])
        heads.append([(line[column], int(span), 1) for column, span in zip(starts, spans)])
    if table.heads > 1:
        heads[0][0] = (*heads[0][0][:2], table.heads)
    body = table.lines[table.heads :]
    columns = []
    for column, kind in enumerate(table.best):
        cells = [line[column] for line in body]
        values = [_first_number(cell) for cell in cells if cell != "-"] if kind else []
        # Of the digits shown: what looks equal is equal. Where all are, none is the best.
        best = {"lowest": min, "highest": max}[kind](values) if len(set(values)) > 1 else None
        columns.append(
            [
                (cell, best is not None and cell != "-" and _first_number(cell) == best)
                for cell in cells
            ]
        )
    return {"title": table.title, "note": table.note, "heads": heads, "body": list(zip(*columns))}


def _first_number(cell):
    """The number of a cell, which may be followed by another: "5.41, 1.5", "0.7 (3)"."""
    return float(cell.replace(",", " ").split()[0])


def _differences(runs):
    """The settings in which the runs differ: (key, the values in the order of the runs)."""
    values = [vars(run.config) for run in runs]
    return [
        (key, [own[key] for own in values])
        for key in values[0]
        if any(own[key] != values[0][key] for own in values)
    ]


def _figure(path):
    name = os.path.splitext(os.path.basename(path))[0]
    with open(path, "rb") as file:
        return (
            name,
            _CAPTIONS[name],
            f"data:image/png;base64,{base64.b64encode(file.read()).decode()}",
        )


# Curves

_PLOT = (400, 270)  # width and height of the axes, in the drawing's units
_KINDS = {
    "l2": ("Attack on an l2 ball", "mean ||r||₂ (normalised image units)"),
    "l1": ("Attack on an l1 ball", "radius of the l1 ball"),
    "linf": ("Attack on an l-infinity ball", "radius of the l-infinity ball"),
    "antun": ("Attack of Antun et al.", "mean ||r||₂ (normalised image units)"),
}
_QUANTITIES = {
    "effect": "Perturbation effect ||f(k + A r) − f(k)||₂",
    "rmse": "Error ||f(k + A r) − |y| ||₂",
}


def _charts(rows, models, labels):
    """Effect and error of every model against the size of its attacks, a dict for each kind of
    attack.
    """
    charts = []
    for kind, (title, axis) in _KINDS.items():
        if not any(row["attack"] == kind for row in rows):
            continue
        own = [row for row in rows if row["attack"] in ("none", kind)]
        lines = []
        for (number, model), label in itertools.product(enumerate(models), labels):
            group = [row for row in own if (row["model"], row["dataset"]) == (model, label)]
            if kind in ("l1", "linf"):
                group = [{**row, "norm": row["radius"]} for row in group]
            # One size: the rungs of Antun et al. have no radius.
            found = {
                key: paper.curve([{**row, "radius": 0} for row in group], key).tolist()
                for key in _QUANTITIES
            }
            if any(found.values()):
                points = {key: values[0] if values else None for key, values in found.items()}
                lines.append((number, label, points, len(group)))
        panels = [
            _panel(key, lines, models, labels)
            for key in _QUANTITIES
            if any(line[2][key] for line in lines)
        ]
        charts.append({"title": title, "axis": axis, "panels": panels, "lines": lines})
    return charts


def _panel(key, lines, models, labels):
    """One diagram: ticks, and of every model with values its band and points, in the units of the
    drawing.
    """
    points = [(number, label, found[key]) for number, label, found, _ in lines if found[key]]
    right, top = (max(max(point[column] for *_, point in points), 1e-12) for column in (0, 3))
    top = max(top, max(point[1] for *_, point in points))
    ticks = [_ticks(limit) for limit in (right, top)]
    right, top = (max(limit, values[-1]) for limit, values in zip((1.03 * right, top), ticks))

    def x(value):
        return round(value / right * _PLOT[0], 2)

    def y(value):
        return round(_PLOT[1] - value / top * _PLOT[1], 2)

    curves = []
    for number, model in enumerate(models):
        own = [(label, point) for other, label, point in points if other == number]
        if own:
            upper = [(x(point[0]), y(point[3])) for _, point in own]
            lower = [(x(point[0]), y(point[2])) for _, point in reversed(own)]
            marks = [
                (x(point[0]), y(point[1]), f"{model}, {labels[label]}: {_words(point)}")
                for label, point in own
            ]
            curves.append({"number": number, "band": upper + lower, "marks": marks})
    return {
        "title": _QUANTITIES[key],
        "xticks": [(x(value), f"{value:g}") for value in ticks[0]],
        "yticks": [(y(value), f"{value:g}") for value in ticks[1]],
        "curves": curves,
    }


def _words(point):
    size, mean, low, high = point
    return f"at {size:.3g}: mean {mean:.4g}, 25 to 75 %: {low:.4g} to {high:.4g}"


def _ticks(limit):
    values = MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]).tick_values(0, limit)
    # The last one that is not far above what there is to show.
    return [float(value) for value in values if 0 <= value <= 1.001 * limit] or [0.0]


# Images


def _viewer(images_path, rows, models, labels):
    """What the page's viewer of images needs: a dict for JSON."""
    found = {(row["model"], row["slice"], row["dataset"]): row for row in rows}
    slices, spreads, hashes = [], [], {}
    with h5py.File(images_path, "r") as file:
        keys = sorted(file["slices"])
        for name in models:
            hashes[name] = str(file[f"models/{name}"].attrs["model_hash"])
        middle = len(keys) // 2
        count = int(
            min(len(keys), _MOST_BYTES // _size_of(_slice(file, keys[middle], models, labels)[0]))
        )
        # Evenly spread; the one of the figures, if there is room for no more.
        shown = (
            [round(position) for position in np.linspace(0, len(keys) - 1, count)]
            if count > 1
            else [middle]
        )
        for index in shown:
            entry, spread = _slice(file, keys[index], models, labels)
            scores = [[found.get((model, index, label)) for label in labels] for model in models]
            entry["scores"] = [
                [row and {key: _number(row[key]) for key in _SCORES} for row in line]
                for line in scores
            ]
            slices.append(entry)
            spreads.extend(spread)
    # The power of two at which most differences use most of the scale.
    gain = (
        2 ** int(np.clip(np.floor(-np.log2(max(np.median(spreads), 1e-6))), 0, 5)) if spreads else 4
    )
    return {
        "slices": slices,
        "left_out": len(keys) - len(slices),
        "megabytes": f"{_MOST_BYTES / 1e6:g}",
        "models": models,
        "conditions": list(labels.values()),
        "levels": _LEVELS,
        "gain": gain,
        "map": matplotlib.colormaps["RdBu_r"](np.arange(256), bytes=True)[:, :3].tolist(),
        "hashes": hashes,
    }


def _slice(file, key, models, labels):
    """A slice's images, packed, and how large each model's differences are as a share of the
    window.
    """
    group = file[f"slices/{key}"]
    shared = {name: group[name][()] for name in ("reference", "zero_filled") if name in group}
    own = [[_image(file, f"models/{model}/{key}/{label}") for label in labels] for model in models]
    truth = shared.get("reference", own[0][0])
    window = max(float(np.percentile(truth, 99.9)), 1e-12)
    spreads = [
        float(np.percentile(np.abs(image - other), 99.5)) / window
        for line in own
        for image in line[1:] or line
        for other in (shared.get("reference"), line[0])
        if image is not None and other is not None and other is not image
    ]
    entry = {
        "name": str(group.attrs["name"]),
        "height": truth.shape[0],
        "width": truth.shape[1],
        "window": window,
        "shared": {name: pack(image, window / _LEVELS) for name, image in shared.items()},
        "images": [
            [None if image is None else pack(image, window / _LEVELS) for image in line]
            for line in own
        ],
    }
    return entry, spreads


def _image(file, name):
    return file[name][()] if name in file else None


def _size_of(entry):
    return sum(
        len(text)
        for text in [
            *entry["shared"].values(),
            *(text for line in entry["images"] for text in line if text),
        ]
    )


def _number(value):
    return float(value) if np.isfinite(value) else None


def pack(image, step):
    """A real (rows, width) image >= 0 as whole multiples of `step`, below 2**16: base64 of zlib of
    the differences to the left neighbours, signs folded (0, -1, 1, -2, ...), low bytes of all
    pixels before the high ones.
    """
    values = np.clip(np.rint(np.nan_to_num(image) / step), 0, 65535).astype(np.uint16)
    differences = np.diff(values, axis=1, prepend=np.uint16(0)).view(np.int16)
    folded = ((differences << 1) ^ (differences >> 15)).view(np.uint16)
    planes = (folded & 255).astype(np.uint8).tobytes() + (folded >> 8).astype(np.uint8).tobytes()
    return base64.b64encode(zlib.compress(planes, 9)).decode()
