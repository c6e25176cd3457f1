"""The files of an evaluation: tables, figures and the report, each written whole or not at all."""

import functools
import os
import pathlib
from typing import NamedTuple

from tfvn import files, tables
from tfvn.attacks import IMAGE
from tfvn.figures import curves, paper, targets, trade
from tfvn.results import again, certified, flagged, report, volume_protocol, wording
from tfvn.results.aggregate import aggregate, compare_attacks
from tfvn.results.candidates import Candidate
from tfvn.results.images import Shown
from tfvn.results.rows import attack_of, dataset_of, is_clean, size_of
from tfvn.results.strongest import strongest, winners
from tfvn.runs import attack_files, directory

__all__ = [
    "FILES",
    "SHOWN",
    "Evaluated",
    "Results",
    "check_shown",
    "prepare_folder",
    "write_all",
    "write_results",
    "write_table",
]

# What an evaluation may write.
FILES = (
    "results.csv",
    "table1.csv",
    "table1.md",
    "figure1.png",
    "figure2.png",
    "figure3.png",
    "figure4.png",
    "figure6.png",
    "targets.png",
    "certificates.csv",
    "flags.csv",
    "volumes.csv",
    "reconstructions.h5",
    "report.html",
)
# Those of them that not every evaluation writes.
_SOMETIMES = {"figure4.png", "figure6.png", "targets.png", "certificates.csv", "volumes.csv"}
# So many models figure 3 shows where nobody chose: a page has no room for more.
SHOWN = 6
# And so many attacks on parts of the image.
AIMED = 8


def check_shown(names, known):
    """Checks the names of the models that figure 3 is to show.

    Raises:
        ValueError: for one that is not known, or that is there twice.
    """
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) < len(names):
        raise ValueError(
            f"show must name models of the table, each once: {', '.join(known)}. Received: "
            f"show={list(names)}"
        )


def _shown(examples, names):
    """Those of the examples that figure 3 shows."""
    if not names:
        return examples[:SHOWN]
    by_name = {example.name: example for example in examples}
    return [by_name[name] for name in names]


def prepare_folder(output, names):
    """Makes a folder for results, in which nothing else is lost.

    Raises:
        ValueError: if one of the names is there and no earlier result, if the folder holds the
            attacks of a run, or if it cannot be made.
    """
    directory.check_name(output, "the folder of results")
    if attack_files.holds_attacks(output):
        raise ValueError(
            f"results must not lie among the attacks of a run. Received: output={str(output)!r}."
            " Name another folder (--output)."
        )
    files.check_replaceable(output, names)
    directory.make_folder(output)
    files.remove_stale(output)


class Evaluated(NamedTuple):
    """What was measured of one run.

    candidate: the `Candidate`.
    rows: of `results.csv`.
    example: the middle slice as its model sees it.
    aimed: the middle slice under attacks that wanted something of it, a list of
        `tfvn.figures.targets.Aimed`.
    architecture: the settings of its network.
    certificates: what is claimed of its model, a list of `Certificate`.
    flags: what may be wrong with its numbers, a list of `tfvn.results.flags.Flag`.
    """

    candidate: Candidate
    rows: list
    example: paper.Example
    aimed: list
    architecture: dict
    certificates: list
    flags: list


class Results(NamedTuple):
    """What was measured of all runs.

    runs: a list of `Evaluated`.
    images_path: `reconstructions.h5`, which is written.
    maps: where the coil maps come from, in words.
    shown: the middle slice's data, a `Shown`.
    volumes: what `tfvn.results.volume_protocol.measured` found, where the data are volumes.
    """

    runs: list
    images_path: str
    maps: str
    shown: Shown
    volumes: list = []

    @property
    def rows(self):
        """Those of all runs."""
        return [row for run in self.runs for row in run.rows]


def write_results(results, table, output, show=()):
    """Writes all files but the images.

    Args:
        results: the `Results`.
        table: the list of dicts of `aggregate`.
        output: the folder.
        show: the names of the models in figure 3, as for `tfvn.results.evaluate.evaluate`.

    Returns:
        The paths of all files, the images first and the report last, and the tables as text.
    """
    summary = _summary_of(results, table)
    text = _as_text(table, results.maps, summary)
    writers = {
        "results.csv": lambda path: tables.write_csv(path, results.rows),
        "table1.csv": lambda path: tables.write_csv(path, table),
        "table1.md": lambda path: tables.write_text(path, text),
        "flags.csv": lambda path: tables.write_csv(path, flagged.flag_rows(summary.flags)),
        **_figures(results, table, summary, show),
        **_tables_of_some(results, summary.claims),
    }
    # Last, as it shows the figures.
    figures = [os.path.join(output, name) for name in writers if name.endswith(".png")]
    writers["report.html"] = functools.partial(_write_report, results, table, summary, figures)
    # An earlier evaluation's would belong to another table.
    for name in _SOMETIMES - set(writers):
        pathlib.Path(output, name).unlink(missing_ok=True)
    return [results.images_path, *write_all(output, writers)], text


class _Summary(NamedTuple):
    """What is told of the rows of all runs.

    worst: those of `strongest`.
    claims: what is proved of them, a list of dicts.
    flags: a dict from the name of a model to its flags.
    tables: those below table 1, a list of `Table`.
    notes: the sentences below all tables.
    """

    worst: list
    claims: list
    flags: dict
    tables: list
    notes: list


def _summary_of(results, table):
    rows = results.rows
    worst = strongest(rows)
    found = wording.worst_tables(aggregate(worst), winners(rows))
    certificates = {run.candidate.name: run.certificates for run in results.runs}
    claims = certified.certificates_of(table, rows, certificates)
    if claims:
        found.append(certified.certificate_table(claims))
    if results.volumes:
        found.append(volume_protocol.table_of(results.volumes))
    flags = {run.candidate.name: run.flags for run in results.runs}
    flagged_table = flagged.flag_table(flags)
    notes = [wording.comparison_text(compare_attacks(rows)), wording.tracks_text(table)]
    if flagged_table:
        found.append(flagged_table)
    else:
        notes.insert(0, flagged.flag_text(flags))
    return _Summary(worst, claims, flags, found, [note for note in notes if note])


def _as_text(table, maps, summary):
    """All tables and notes as text."""
    text = wording.markdown(table, maps)
    for part in summary.tables:
        text += f"\n{part.as_text()}"
        if part.note:
            text += f"\n{part.note}\n"
    for note in summary.notes:
        text += f"\n{note}\n"
    return text


def _tables_of_some(results, claims):
    """The tables that not every evaluation has, by their names: functions that write a path."""
    found = {}
    if claims:
        found["certificates.csv"] = lambda path: tables.write_csv(path, claims)
    if results.volumes:
        volumes = volume_protocol.rows_of(results.volumes)
        found["volumes.csv"] = lambda path: tables.write_csv(path, volumes)
    return found


def _figures(results, table, summary, show):
    """The figures by their names: functions that write a path."""
    rows, shown, worst = results.rows, results.shown, summary.worst
    examples = [run.example for run in results.runs]
    chosen = _shown(examples, show)
    left_out = len(examples) - len(chosen)
    others = _incomparable(rows)
    figures = {
        "figure1.png": lambda path: paper.figure1(path, *shown),
        "figure2.png": lambda path: curves.figure2(path, _bounded(worst, results.runs)),
        "figure3.png": lambda path: paper.figure3(path, shown.reference, chosen, left_out),
    }
    if others and not all(is_clean(row) for row in worst):
        figures["figure4.png"] = lambda path: curves.figure4(path, worst, others)
    proved = certified.trade_of(table, rows, summary.claims)
    if proved:
        figures["figure6.png"] = lambda path: trade.figure6(path, proved)
    aimed = [one for run in results.runs for one in run.aimed][:AIMED]
    if aimed:
        figures["targets.png"] = lambda path: targets.targets(path, aimed)
    return figures


def _bounded(rows, runs):
    """The rows with `bound`, the largest effect that is certified of each; NaN where none is."""
    found = []
    for run in runs:
        for row in rows:
            if row["model"] == run.candidate.name:
                bound = certified.smallest_bound(row, run.rows, run.certificates)
                found.append({**row, "bound": bound})
    return found


def _incomparable(rows):
    """The rows of attacks whose sizes mean another power on each model.

    Returns:
        A dict from the title of an attack to its rows, with their sizes as `radius`.
    """
    found = {}
    for row in rows:
        if is_clean(row) or attack_of(row).changes != IMAGE:
            continue
        if not attack_of(row).comparable:
            sized = {**row, "radius": size_of(row)}
            found.setdefault(attack_of(row).title, []).append(sized)
    return found


def _write_report(results, table, summary, figures, path):
    shown = [*wording.tables(table, results.maps), *summary.tables]
    rows = []
    for row in results.rows:
        rows.append({**row, "dataset": dataset_of(row)})
    runs = []
    for run in results.runs:
        name, run_dir, config, _ = run.candidate
        runs.append(report.Run(name, run_dir, config, again.commands(run.candidate)))
    labels = wording.labels_of(table)
    images = results.images_path
    report.write(path, rows, labels, shown, runs, images, figures, summary.notes)


def write_table(output, name, rows, text):
    """Writes NAME.csv and NAME.md, and prints their paths and the text. Returns the paths.

    Args:
        output: the folder.
        name: of both files.
        rows: a list of dicts, the lines of NAME.csv.
        text: what NAME.md says.
    """
    writers = {
        f"{name}.csv": lambda path: tables.write_csv(path, rows),
        f"{name}.md": lambda path: tables.write_text(path, text),
    }
    paths = write_all(output, writers)
    for path in paths:
        print(f"wrote {path}")
    print(f"\n{text}", end="")
    return paths


def write_all(output, writers):
    """Writes files, each whole or not at all, and returns their paths.

    Args:
        output: the folder.
        writers: a dict from the name of a file to a function that writes it to a path.
    """
    paths = []
    for name, write in writers.items():
        path = os.path.join(output, name)
        with files.written(path) as temporary:
            write(temporary)
        paths.append(path)
    return paths
