"""The files that tell the results of a board.

    rows/NAME-ROW.json    a row, as `row.schema.json` says
    results.csv           a line for each slice, row and attack
    leaderboard.md        the ranked table
    leaderboard.html      one page that loads nothing: the table, to be sorted and searched, curves,
                          the plot of clean against attacked error, and the flags with reasons

A call that computes nothing writes the same bytes. So there is no date in them.
"""

import json
import os
import re

from tfvn import attacks, files, tables
from tfvn.leaderboard import schema, store
from tfvn.leaderboard.pareto import plot
from tfvn.leaderboard.ranking import at_radius, bound_at, raised, ranked
from tfvn.results import report
from tfvn.results.charts import charts_of
from tfvn.results.rows import dataset_of, is_clean, size_of
from tfvn.results.strongest import strongest
from tfvn.runs import directory

__all__ = ["FILES", "check_output", "columns", "html", "lines_of", "markdown", "write"]

# What the command may write; `store` and `times.csv` beside them.
FILES = ("results.csv", "leaderboard.md", "leaderboard.html", "rows")
# A name may be any text. In that of a file these signs alone are kept.
_KEPT, _LONGEST = re.compile(r"[^A-Za-z0-9._-]+"), 60


def check_output(output):
    """Checks before any work that nothing else would be lost.

    Raises:
        ValueError: if a file of the same name is there that is no earlier result.
    """
    directory.check_name(output, "the folder of results")
    files.check_replaceable(output, FILES)


def write(board, rows, measured, output):
    """Writes all files of a board.

    Args:
        board: the `tfvn.leaderboard.board.Board`.
        rows: a dict for each row, as `row.schema.json` says.
        measured: what was measured of each row, in the same order: lists of dicts as in the
            `results.csv` of an evaluation.
        output: the folder.

    Returns:
        The paths of the files; the table is printed.
    """
    for row in rows:
        schema.check(row, row["name"])
    every = []
    for row, own in zip(rows, measured):
        every.extend({**one, "model": row["name"]} for one in own)
    folder = os.path.join(output, "rows")
    paths = [_write_row(folder, row) for row in rows]
    _remove_others(folder, paths)
    text = markdown(board, rows)
    writers = {
        "results.csv": lambda path: tables.write_csv(path, _marked(every, rows)),
        "leaderboard.md": lambda path: tables.write_text(path, text),
        "leaderboard.html": lambda path: tables.write_text(path, html(board, rows, every)),
    }
    for name, writer in writers.items():
        path = os.path.join(output, name)
        with files.replacing(path) as temporary:
            writer(temporary)
        paths.append(path)
        print(f"wrote {path}")
    print(f"\n{text}", end="")
    return paths


def _write_row(folder, row):
    """Writes one row. Returns the path."""
    stem = _KEPT.sub("-", row["name"])[:_LONGEST].strip("-.") or "row"
    path = os.path.join(folder, f"{stem}-{row['hashes']['row'][:8]}.json")
    store.write_json(path, row, indent=1)
    return path


def _remove_others(folder, paths):
    """Removes rows that the board no longer has, and no other file."""
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        there = store.read_json(path) if name.endswith(".json") else None
        if path not in paths and isinstance(there, dict) and there.get("format") == schema.FORMAT:
            os.remove(path)


def _marked(every, rows):
    """The lines of `results.csv`, with the hash of the row and whether it is to be relied on."""
    known = {row["name"]: row for row in rows}
    found = []
    for one in every:
        row = known[one["model"]]
        mark = {"row": row["hashes"]["row"], "unreliable": int(row["unreliable"])}
        found.append({**one, **mark})
    return found


def columns(board):
    """The columns of the table: pairs of a head and what a cell of it is, see `lines_of`."""
    middle = board.middle()
    found = [("rank", "number"), ("row", "text"), ("RMSE, clean", "number")]
    found += [(f"RMSE, radius {radius:g}", "number") for radius in board.radii()]
    found += [(f"{what}, radius {middle:g}", "number") for what in ("95 % interval", "best known")]
    found += [(f"effect, radius {middle:g}", "number"), ("proved bound", "number")]
    found += [("SSIM, clean", "number"), ("flags", "text"), ("track", "text"), ("defence", "text")]
    return [*found, ("parameters", "number"), ("s a slice", "number")]


def lines_of(board, rows):
    """The lines of the table in the order of the ranks, and the number of the row of each.

    Returns:
        A list of (number, cells), each cell a text and the value that it is sorted by.
    """
    numbers = {row["name"]: number for number, row in enumerate(rows)}
    found = []
    for part in ranked(rows, board.middle()):
        for rank, row in enumerate(part.rows, 1):
            found.append((numbers[row["name"]], _cells(board, row, str(rank), rank)))
        for row in part.apart:
            found.append((numbers[row["name"]], _cells(board, row, "unreliable", None)))
    return found


def _cells(board, row, told, rank):
    """The cells of a row, pairs (text, value)."""
    middle = board.middle()
    worst = at_radius(row, middle)
    low, high = worst["interval"]
    model = row["model"]
    numbers = [row["clean"]["rmse"]]
    numbers += [at_radius(row, radius)["rmse"] for radius in board.radii()]
    found = [(told, rank), (row["name"], row["name"])]
    found += [(_told(value), value) for value in numbers]
    found.append(("-" if low is None else f"{_told(low)} to {_told(high)}", low))
    numbers = [at_radius(row, middle, "best_known")["rmse"], worst["effect"]]
    numbers += [bound_at(row, middle), row["clean"]["ssim"]]
    found += [(_told(value), value) for value in numbers]
    words = [", ".join(raised(row)) or "-", row["track"], _defence(model["defence"])]
    found += [(word, word) for word in words]
    found.append((f"{model['parameters']:,}", model["parameters"]))
    return [*found, (_told(model["seconds_a_slice"]), model["seconds_a_slice"])]


def _defence(tree):
    """A defence in words: its name and its settings."""
    settings = [f"{key}={value}" for key, value in tree.items() if key != "name"]
    return " ".join([tree.get("name", "none"), *settings[:2]])


def _told(value):
    return "-" if value is None else tables.digits(value)


def markdown(board, rows):
    """The ranked table as text."""
    lines = [[head for head, _ in columns(board)]]
    for _, cells in lines_of(board, rows):
        lines.append([text for text, _ in cells])
    title = tables.printable(board.title)
    return f"Leaderboard: {title}\n\n{tables.aligned(lines)}\n{_note(board, rows)}\n"


def _note(board, rows):
    """What the table says, in words."""
    kinds = ", ".join(part.make(seed=0).kind for part in board.protocol.attacks)
    first = rows[0]
    patients = f", {first['patients']} patients" if first["patients"] > 1 else ""
    return (
        f"Protocol {tables.printable(board.version)}: {first['slices']} slices{patients}; data"
        f" {first['hashes']['data'][:12]}; attacks {kinds}. Of every slice the worst result of all"
        f" attacks in l2 balls counts. Rows are ranked by the RMSE at radius {board.middle():g},"
        " the root of the mean square over the slices. An unreliable row has raised a flag: its"
        " numbers are likely to be too good. Best known: the same, with the changes found for other"
        " rows. Proved bound: no change of that radius has a larger effect."
    )


def html(board, rows, every):
    """The page as text.

    Args:
        board, rows: as for `write`.
        every: the measured rows of all, with the names of the board as `model`.
    """
    names = [row["name"] for row in rows]
    return report.rendered(
        "leaderboard.html.j2",
        ("report.css", "leaderboard.css"),
        ("curves.js", "leaderboard.js"),
        board=board,
        middle=board.middle(),
        note=_note(board, rows),
        columns=columns(board),
        lines=lines_of(board, rows),
        rows=rows,
        models=names,
        labels=_labels(every),
        charts=_charts(every, names),
        pareto=plot(rows, board.middle()),
        texts=[json.dumps(row, indent=1, ensure_ascii=False) for row in rows],
        raised=raised,
        version=rows[0]["origin"]["tfvn"],
    )


def _worst(every):
    """The worst case of all attacks, with the names of datasets."""
    return [{**one, "dataset": dataset_of(one)} for one in strongest(every)]


def _labels(every):
    """What each dataset of the worst case is called."""
    found = {"clean": "clean"}
    for one in _worst(every):
        if not is_clean(one):
            found[one["dataset"]] = f"worst case, {attacks.of(one['attack']).head(size_of(one))}"
    return found


def _charts(every, names):
    """The curves of the worst case of all attacks."""
    found = charts_of(_worst(every), names, _labels(every))
    return [{**chart, "title": "The worst case of all attacks in l2 balls"} for chart in found]
