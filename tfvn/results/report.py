"""The results of an evaluation as one HTML file that loads nothing.

It has tables, curves, images to compare, settings and what made them. Layout and program are in
`tfvn/results/page`. The images are those of `tfvn.results.viewer`, and the curves those of
`tfvn.results.charts`.
"""

import base64
import datetime
import hashlib
import os
import shlex
from typing import NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup

from tfvn import config as configs
from tfvn import provenance
from tfvn.results.charts import charts_of
from tfvn.results.viewer import viewer
from tfvn.runs import given

__all__ = ["Run", "marked", "page_part", "rendered", "write"]

# Sections whose keys say nothing of the results that are there.
_OF_NO_RESULT = ("attacks", "search")
_CAPTIONS = {
    "figure1": (
        "The data of the middle slice: k-space and sensitivity map of its strongest coil,"
        " zero-filled, truth."
    ),
    "figure2": (
        "Perturbation effect and error against the norm of r, every model: mean and 25 to 75 % band"
        " over the slices. Of several attacks in l2 balls, the worst on each image. Dashed: the"
        " largest effect that is proved, where that is near."
    ),
    "figure3": (
        "The middle slice as every model sees it, or as those do that evaluate.py --show names:"
        " clean and under the attack of the largest l2 radius, with the error."
    ),
    "targets": (
        "The middle slice under attacks that have a target, or attack discs or all slices at once,"
        " each at its largest size. Discs are coloured by what was reached inside; the worst has an"
        " outline. The change of the data is |A^H (k' - k)|."
    ),
    "figure4": (
        "Perturbation effect against the norm of r: the projected attack and that of Antun et al."
    ),
    "figure6": (
        "Accuracy without an attack against how far the answer can move, as a multiple of the"
        " change of the data: what any attack reached, and the constant where one is proved. An"
        " error of a solver is not in it."
    ),
}


class Run(NamedTuple):
    """What made a model.

    name, run_dir: the model, and its run directory.
    config: a `tfvn.config.Config`.
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
        rows: a dict for each image, as in `results.csv`, and `dataset`, the image's name in
            `reconstructions.h5`.
        labels: what each `dataset` is called, clean first, in the order of the tables: a dict.
        tables: a list of `tfvn.tables.Table`.
        runs: a list of `Run`, in the order of the tables.
        images_path: `reconstructions.h5`.
        figure_paths: the figures, `.png`.
        notes: paragraphs of text below the tables.
    """
    models = [run.name for run in runs]
    shown = viewer(images_path, rows, models, labels)
    text = rendered(
        "report.html.j2",
        ("report.css",),
        ("curves.js", "report.js"),
        models=models,
        slices=len({row["slice"] for row in rows}),
        dataset=runs[0].config.data.name,
        tables=[marked(table) for table in tables],
        notes=notes,
        charts=charts_of(rows, models, labels),
        labels=labels,
        hashes=shown.pop("hashes"),
        viewer=shown,
        figures=[_figure(figure) for figure in figure_paths],
        runs=[_told(run) for run in runs],
        differences=_differences(runs),
        origin=provenance.origin(),
        command=provenance.own_command(),
        folder=os.getcwd(),
        date=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z"),
    )
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def rendered(template, styles, scripts, **values):
    """A page of this folder as a text, which loads nothing.

    Args:
        template, styles, scripts: names of files of `tfvn/results/page`.
        values: what the template shows.
    """
    style = "".join(page_part(name) for name in styles)
    script = "".join(page_part(name) for name in scripts)
    policy = _policy(style, script)
    values = {**values, "style": Markup(style), "script": Markup(script), "policy": policy}
    return _template(template).render(**values)


def _template(name):
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(page_part),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A NaN would be no JSON, and end the page's program.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment.get_template(name)


def page_part(name):
    """The text of a file of `tfvn/results/page`."""
    with open(os.path.join(os.path.dirname(__file__), "page", name), encoding="utf-8") as file:
        return file.read()


def _policy(style, script):
    """The page's content security policy.

    Whatever a name or a setting may hold, only our style and script are obeyed, and nothing is
    loaded.
    """
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
        f"script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )


def _hash(text):
    """How a content security policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def marked(table):
    """A `Table` for the page.

    Returns:
        A dict of `title`, `note`, `heads`, lines of (text, columns, rows), and `body`, lines of
        (text, whether it is the best of its column).
    """
    heads = []
    for line in table.lines[: table.heads]:
        starts = [column for column, text in enumerate(line) if text]
        spans = np.diff([*starts, len(line)])
        heads.append([(line[column], int(span), 1) for column, span in zip(starts, spans)])
    if table.heads > 1:
        text, columns, _ = heads[0][0]
        heads[0][0] = (text, columns, table.heads)
    columns = []
    for kind, cells in zip(table.best, zip(*table.lines[table.heads :])):
        columns.append(_marked_column(kind, cells))
    return {"title": table.title, "note": table.note, "heads": heads, "body": list(zip(*columns))}


def _marked_column(kind, cells):
    """Pairs (cell, whether it is the best), by the digits shown: what looks equal is equal."""
    values = {_first_number(cell) for cell in cells if kind and cell != "-"}
    # Where all are equal, none is the best.
    if len(values) < 2:
        return [(cell, False) for cell in cells]
    best = {"lowest": min, "highest": max}[kind](values)
    return [(cell, cell != "-" and _first_number(cell) == best) for cell in cells]


def _first_number(cell):
    """The number of a cell, which may be followed by another: "5.41, 1.5", "0.7 (3)"."""
    return float(cell.replace(",", " ").split()[0])


def _told(run):
    """A run, its configuration as text, its commands as text, and what its model is."""
    commands = [shlex.join(command) for command in run.commands]
    return run, run.config.to_yaml(), commands, given.title_of(run.run_dir)


def _differences(runs):
    """The settings in which the runs differ: (key, the values in the order of the runs).

    A search has no part in results. Attacks that stand in one table were made alike, whatever is
    configured for the next ones.
    """
    configurations = [run.config.flat() for run in runs]
    keys = {}
    for configuration in configurations:
        keys.update(configuration)
    found = []
    for key in keys:
        section, _, _ = key.partition(".")
        # A run without a defence has no key of one.
        values = [own.get(key, "") for own in configurations]
        if section not in _OF_NO_RESULT and any(value != values[0] for value in values):
            found.append((key, values))
    return found


def _figure(path):
    """A figure for the page: its name, its caption, and the picture as a data URL."""
    name = os.path.splitext(os.path.basename(path))[0]
    with open(path, "rb") as file:
        encoded = base64.b64encode(file.read()).decode()
    return name, _CAPTIONS[name], f"data:image/png;base64,{encoded}"
