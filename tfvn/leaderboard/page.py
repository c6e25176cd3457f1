"""The files that tell the results of a board.

    rows/NAME-ROW.json    a row, as `row.schema.json` says
    results.csv           a line for each slice, row and attack
    floor.csv             what no method can be below, where the board asks for it
    leaderboard.md        the ranked table
    leaderboard.html      one page that loads nothing: the table, to be sorted and searched, curves,
                          the plot of clean against attacked error, what is proved, the map of
                          transfers, the flags with reasons, and pictures of each row

A call that computes nothing writes the same bytes. So there is no date in them.
"""

import contextlib
import json
import math
import os
import re

from tfvn import attacks, checks, files, tables
from tfvn.leaderboard import certified, floors, heat, named, schema, store
from tfvn.leaderboard.pareto import plot
from tfvn.leaderboard.ranking import above, at_radius, bound_at, raised, ranked, share_of_bound
from tfvn.results import report
from tfvn.results.charts import charts_of
from tfvn.results.rows import dataset_of, is_clean, size_of
from tfvn.results.rules import GAIN
from tfvn.results.strongest import strongest
from tfvn.runs import directory

__all__ = ["FILES", "check_output", "columns", "files_of", "html", "lines_of", "markdown", "write"]

# What the command may write; `store` and `times.csv` beside them.
FILES = ("results.csv", "floor.csv", "leaderboard.md", "leaderboard.html", "rows")
# A name may be any text. In that of a file these signs alone are kept.
_KEPT, _LONGEST = re.compile(r"[^A-Za-z0-9._-]+"), 60


def check_output(output):
    """Checks before any work that nothing else would be lost.

    Raises:
        ValueError: if a file of the same name is there that is no earlier result.
    """
    directory.check_name(output, "the folder of results")
    if "," in str(output):
        raise ValueError(
            "the folder of results must have no comma in its path, which stands between the"
            f" networks of an ensemble. Received: {checks.shown(str(output))}"
        )
    files.check_replaceable(output, FILES)


def write(board, rows, measured, output, pictures=(), lowest=()):
    """Writes all files of a board.

    Args:
        board: the `tfvn.leaderboard.board.Board`.
        rows: a dict for each row, as `row.schema.json` says.
        measured: what was measured of each row, in the same order: lists of dicts as in the
            `results.csv` of an evaluation.
        output: the folder.
        pictures: of each row, as `tfvn.leaderboard.shown.pictures_of` gives them; () for none.
        lowest: the lines of `floor.csv`; () for none.

    Returns:
        The paths of the files; the table is printed.
    """
    for row in rows:
        schema.check(row, row["name"])
    every = []
    for row, own in zip(rows, measured):
        every.extend({**one, "model": row["name"]} for one in own)
    folder = os.path.join(output, "rows")
    paths = [os.path.join(folder, name) for name in files_of(rows)]
    for path, row in zip(paths, rows):
        store.write_json(path, row, indent=1)
    _remove_others(folder, paths)
    text, shown = markdown(board, rows), html(board, rows, every, pictures)
    writers = {
        "results.csv": lambda path: tables.write_csv(path, _marked(every, rows)),
        "leaderboard.md": lambda path: tables.write_text(path, text),
        "leaderboard.html": lambda path: tables.write_text(path, shown),
    }
    if lowest:
        writers["floor.csv"] = lambda path: tables.write_csv(path, lowest)
    else:
        # Of a call that was asked for floors.
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(output, "floor.csv"))
    for name, writer in writers.items():
        path = os.path.join(output, name)
        with files.replacing(path) as temporary:
            writer(temporary)
        paths.append(path)
        print(f"wrote {path}")
    print(f"\n{text}", end="")
    return paths


def files_of(rows):
    """The names of the files of all rows, no two of which are the same."""
    found = []
    for number, row in enumerate(rows):
        stem = _KEPT.sub("-", row["name"])[:_LONGEST].strip("-.") or "row"
        name = f"{stem}-{row['hashes']['row'][:8]}"
        # One network may be two rows, whose names differ in a sign alone.
        if f"{name}.json" in found:
            name = f"{name}-{number}"
        found.append(f"{name}.json")
    return found


def _remove_others(folder, paths):
    """Removes rows that the board no longer has, and no other file."""
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        there = store.read_json(path) if name.endswith(".json") else None
        if path not in paths and _is_row(there):
            os.remove(path)


def _is_row(content):
    """Whether the content of a file is a row, of an earlier format too."""
    return isinstance(content, dict) and str(content.get("format")).startswith(schema.FORMATS)


def _marked(every, rows):
    """The lines of `results.csv`, with the hash of the row and whether it is to be relied on."""
    known = {row["name"]: row for row in rows}
    found = []
    for one in every:
        row = known[one["model"]]
        marks = {key: int(row[key]) for key in ("unreliable", "preliminary")}
        found.append({**one, "row": row["hashes"]["row"], **marks})
    return found


def columns(board):
    """The columns of the table: pairs of a head and what a cell of it is, see `lines_of`."""
    middle = f"radius {board.middle():g}"
    return [
        ("rank", "number"),
        ("row", "text"),
        ("RMSE, clean", "number"),
        *[(f"RMSE, radius {radius:g}", "number") for radius in board.radii()],
        (f"95 % interval, {middle}", "number"),
        ("% above the rank before", "number"),
        (f"best known, {middle}", "number"),
        *[(f"effect, radius {radius:g}", "number") for radius in board.radii()],
        ("proved bound", "number"),
        ("% of the bound", "number"),
        ("SSIM, clean", "number"),
        ("flags", "text"),
        ("track", "text"),
        ("defence", "text"),
        ("parameters", "number"),
        ("gradients", "number"),
        ("s a slice", "number"),
    ]


def lines_of(board, rows):
    """The lines of the table in the order of the ranks, and the number of the row of each.

    Returns:
        A list of (number, cells), each cell a text and the value that it is sorted by.
    """
    numbers = {row["name"]: number for number, row in enumerate(rows)}
    names = named.names_of(rows)
    found = []
    for part in ranked(rows, board.middle()):
        before = None
        for rank, row in enumerate(part.rows, 1):
            shown = (f"{rank}, preliminary" if row["preliminary"] else str(rank), rank)
            if at_radius(row, board.middle())["rmse"] is None:
                # Nothing says how good it is.
                shown = ("-", None)
            cells = _cells(board, row, names, shown, before)
            found.append((numbers[row["name"]], cells))
            before = row
        for row in part.apart:
            cells = _cells(board, row, names, ("unreliable", None), None)
            found.append((numbers[row["name"]], cells))
    return found


def _cells(board, row, names, rank, before):
    """The cells of a row, pairs (text, value).

    Args:
        board, row, names: the `Board`, the row, and the names of the networks of the board.
        rank: the first cell.
        before: the row of the rank before; None without one.
    """
    middle = board.middle()
    worst, model = at_radius(row, middle), row["model"]
    return [
        rank,
        _word(row["name"]),
        _number(row["clean"]["rmse"]),
        *[_number(at_radius(row, radius)["rmse"]) for radius in board.radii()],
        _interval(*worst["interval"]),
        _above(row, before, middle),
        _number(at_radius(row, middle, "best_known")["rmse"]),
        *[_number(at_radius(row, radius)["effect"]) for radius in board.radii()],
        _number(bound_at(row, middle)),
        _percent(share_of_bound(row, middle)),
        _number(row["clean"]["ssim"]),
        _word(", ".join(raised(row)) or "-"),
        _word(row["track"]),
        _word(_defence(model["defence"], names)),
        _count(model["parameters"]),
        _count((model["trained_on"] or {}).get("gradients")),
        _number(model["seconds_a_slice"]),
    ]


def _word(word):
    return word, word


def _number(value):
    return _told(value), value


def _count(value):
    return "-" if value is None else f"{value:,}", value


def _percent(share):
    return "-" if share is None else f"{100 * share:.1f}", share


def _interval(low, high):
    return "-" if low is None else f"{_told(low)} to {_told(high)}", low


def _above(row, before, radius):
    """By how many percent a row is above that of the rank before, with the interval of that."""
    found = before and above(row, before, radius)
    if not found:
        return "-", None
    share, low, high = (100 * number for number in found)
    if math.isnan(low):
        return f"{share:.1f}", share
    return f"{share:.1f} ({low:.1f} to {high:.1f})", share


def _defence(tree, names):
    """A defence in words: its name and its settings."""
    settings = []
    for key, value in tree.items():
        if key != "name":
            settings.append(f"{key}={named.told(value, names)}")
    return " ".join([tree.get("name", "none"), *settings[:2]])


def _told(value):
    return "-" if value is None else tables.digits(value)


def markdown(board, rows):
    """The ranked table as text."""
    lines = [[head for head, _ in columns(board)]]
    for _, cells in lines_of(board, rows):
        lines.append([text for text, _ in cells])
    title = tables.printable(board.title)
    text = f"Leaderboard: {title}\n\n{tables.aligned(lines)}\n{_note(board, rows)}\n"
    proved = certified.lines_of(rows, board.radii(), board.middle())
    if proved:
        text += f"\nCertified:\n\n{tables.aligned(proved)}\n{certified.NOTE}\n"
    lowest = floors.lines_of(rows)
    if lowest:
        text += f"\nFloor:\n\n{tables.aligned(lowest)}\n{floors.NOTE}\n"
    return text


def _note(board, rows):
    """What the table says, in words."""
    kinds = _kinds(board.protocol.attacks)
    first = rows[0]
    source = f"Data: {tables.printable(board.source)} " if board.source else ""
    return (
        f"{source}Protocol {tables.printable(board.version)}: {_slices(first)}; data"
        f" {first['hashes']['data'][:12]}; attacks {kinds}. Of every slice the worst result of all"
        f" attacks in l2 balls counts. Rows are ranked by the RMSE at radius {board.middle():g},"
        " the root of the mean square over the slices. How far a row is above the one of the rank"
        " before has an interval of its own, from both on the same slices: where it holds 0, these"
        " slices do not tell which is better. An unreliable row has raised a flag: its"
        " numbers are likely to be too good. A preliminary one has raised no other than"
        f' "not converged", or "transfer wins" by at most {100 * GAIN:g} %: its numbers are lower'
        " bounds, which a longer attack raises. Best known: the same, with the changes found for"
        " other rows and with those submitted. Proved bound: no change of that radius has a larger"
        " effect. The attacks have reached that share of it, mean over the slices. Gradients: of a"
        " slice, in the training."
        f"{_own_attacks(board)}"
    )


def _own_attacks(board):
    """Which rows are attacked by more than the protocol has, in words."""
    text = ""
    for entry in board.entries:
        own = entry.config.attacks[len(board.protocol.attacks) :]
        if own:
            name = tables.printable(entry.name)
            text += f" Attacks of the row {name} alone: {_kinds(own)}."
    return text


def _kinds(parts):
    return ", ".join(part.make(seed=0).kind for part in parts)


def _slices(row):
    """How many slices a row was tested on, and of how many patients."""
    slices, patients = row["slices"], row["patients"]
    if patients > 1:
        return f"{slices} slices, {patients} patients"
    if slices > 1:
        return f"{slices} slices of one patient or file, so that intervals are of single slices"
    return "1 slice"


def html(board, rows, every, pictures=()):
    """The page as text.

    Args:
        board, rows, pictures: as for `write`.
        every: the measured rows of all, with the names of the board as `model`.
    """
    models, middle = [row["name"] for row in rows], board.middle()
    names = named.names_of(rows)
    return report.rendered(
        "leaderboard.html.j2",
        ("report.css", "leaderboard.css"),
        ("curves.js", "leaderboard.js", "pictures.js"),
        board=board,
        middle=middle,
        note=_note(board, rows),
        columns=columns(board),
        lines=lines_of(board, rows),
        rows=rows,
        models=models,
        networks=[named.networks_of(row, names) for row in rows],
        labels=_labels(every),
        charts=_charts(every, models),
        pareto=plot(rows, middle),
        certified=certified.lines_of(rows, board.radii(), middle),
        certified_note=certified.NOTE,
        floor=floors.lines_of(rows),
        floor_note=floors.NOTE,
        proved=certified.plot(rows, middle),
        heat=heat.cells_of(rows, middle),
        files=files_of(rows),
        pictures=[_without_reference(one) for one in pictures],
        reference=_reference(pictures),
        texts=[json.dumps(row, indent=1, ensure_ascii=False) for row in rows],
        raised=raised,
        version=rows[0]["origin"]["tfvn"],
    )


def _reference(pictures):
    """The true image, which all rows have in common; None where there is none."""
    return next((one["pictures"].get("reference") for one in pictures), None)


def _without_reference(one):
    own = {name: png for name, png in one["pictures"].items() if name != "reference"}
    return {**one, "pictures": own}


def _worst(every):
    """The worst case of all attacks that a row has, with the names of datasets."""
    found = []
    for model in dict.fromkeys(one["model"] for one in every):
        found.extend(strongest([one for one in every if one["model"] == model]))
    # One curve for all rows, whichever attack was the strongest.
    name = next((one["attack"] for one in found if not is_clean(one)), None)
    found = [one if is_clean(one) else {**one, "attack": name} for one in found]
    return [{**one, "dataset": dataset_of(one)} for one in found]


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
