"""What a call would compute: `python -m tfvn leaderboard FILE.yaml --dry-run`.

The time that is left is told from what has been measured: seconds of an iteration and of a gradient
of the same model, or of the others where it has not been computed yet.
"""

import os
import statistics
from typing import NamedTuple

from tfvn import data, tables
from tfvn.leaderboard import store, tasks, transfers
from tfvn.leaderboard.board import read
from tfvn.leaderboard.entrant import entrant_of
from tfvn.leaderboard.run import attack_left, learns, times_of, told_of_training
from tfvn.results.drawn import told_time
from tfvn.runs import directory

__all__ = ["Work", "dry_run", "is_complete", "seconds_left", "work_of"]


class Work(NamedTuple):
    """Something to be computed.

    what: as `times.csv` calls it.
    units: how many of it.
    """

    what: str
    units: int


def dry_run(path, output):
    """Tells what a call would compute. It computes nothing.

    Args:
        path: the YAML file of the board.
        output: the folder of its results.

    Returns:
        The text, which is printed too.
    """
    board = read(path)
    there = store.Store(output)
    times = times_of(there)
    lines = [["row", "iterations", "gradients", "about"]]
    every, planned = [], set()
    for entry in board.entries:
        work = work_of(there, entry.config, planned)
        every.extend(work)
        counts = []
        for kind in ("train", "attack"):
            counts.append(sum(one.units for one in work if one.what.startswith(kind)))
        about = _told(seconds_left(work, times)) if work else "done"
        lines.append([entry.name, *map(str, counts), about])
    text = tables.aligned(lines)
    rows = sum(line[-1] != "done" for line in lines[1:])
    missing = [f"{rows} of {len(board.entries)} rows"]
    if floors := tasks.floor_tasks(there, board):
        missing.append(f"floors of {len(floors)} slices")
    if pairs := transfers.missing(there, board):
        missing.append(f"transfers between {len(pairs)} pairs of rows")
    if pictures := tasks.picture_tasks(there, board):
        missing.append(f"pictures of {len(pictures)} rows")
    text += f"\nTo compute: {', '.join(missing)}."
    if every:
        text += f" Time of trainings and attacks: {_told(seconds_left(every, times))}."
    print(text)
    return text


def is_complete(path, output):
    """Whether a call would compute no row of a board. Arguments as for `dry_run`."""
    there = store.Store(output)
    return not any(work_of(there, entry.config) for entry in read(path).entries)


def work_of(there, config, planned=None):
    """What is missing of a row, a list of `Work`; nothing of one that is done.

    Args:
        there: the `Store`.
        config: the row's `tfvn.config.Config`.
        planned: a set of trainings that other rows make already. This row's is put into it.
    """
    planned = set() if planned is None else planned
    folder = there.row(config)
    if there.knows(config):
        return []
    found = []
    training = there.training(config)
    missing = not os.path.exists(os.path.join(training, directory.MODEL))
    if missing and training not in planned and learns(config):
        found.append(Work(told_of_training(config), config.training.iterations))
    planned.add(training)
    entrant = entrant_of(folder, config)
    count = len(data.source(config, "test"))
    for part in config.attacks:
        found.append(Work(*attack_left(entrant, part, range(count))))
    return found


def seconds_left(work, times):
    """The seconds of some work; None where nothing like it was measured.

    Args:
        work: a list of `Work`.
        times: the rows of `times.csv`, dicts of text.
    """
    total = 0.0
    for one in work:
        rate = _rate(one.what, times)
        if one.units and rate is None:
            return None
        total += one.units * (rate or 0)
    return total


def _rate(what, times):
    """The seconds of a unit: measured of the same, or in the middle of what is of its sort."""
    found = {}
    for row in times:
        if int(row["units"]):
            found.setdefault(row["what"], []).append(float(row["seconds"]) / int(row["units"]))
    sort = what.split()[0]
    near = found.get(what)
    if not near:
        near = [rate for name, rates in found.items() if name.split()[0] == sort for rate in rates]
    return statistics.median(near) if near else None


def _told(seconds):
    return "unknown" if seconds is None else told_time(seconds)
