"""The error that no method can be below, beside the rows. `floor: false` in the file leaves it out.

It is that of `tfvn.results.floor`: of each slice the largest one of its pairs, a lesion, a texture
or the slice before it. Then the root of the mean square over the slices, as the score has it.

    max over y_i and y'_i of the worst || f(k + A r) - |y| ||,  || A r || <= rho,  is >= floor_i

for every method f. So there is a set of images, of each pair one, on which the worst-case rmse of f
is at least the floor. The score of a row is of y_i alone, and of balls || r || <= rho, which are
smaller: || A r || <= || r ||. It may be below the floor, and nothing is wrong then.

A floor needs no model. It is stored slice by slice, under the hash of the data and the radii.
"""

import math
import os

import numpy as np

from tfvn import data, tables
from tfvn.leaderboard import store
from tfvn.leaderboard.named import is_plain
from tfvn.leaderboard.ranking import at_radius
from tfvn.physics.sense import Sense
from tfvn.results import floor
from tfvn.results.candidates import cases
from tfvn.results.images import slice_name

__all__ = ["NOTE", "compute", "exact", "floor_of", "floors_of", "lines_of", "path_of"]

# What the table says, in words.
NOTE = (
    "Floor: of each slice and an image whose data are within twice the radius, no method can keep"
    " its worst error over all changes with || A r || up to the radius below it for both; over the"
    " slices it is the root of the mean square. A score is of the slices alone, and of the smaller"
    " balls || r ||, so that it may be below the floor."
)
# Models whose worst case is known in closed form.
_EXACT = ("zero-filled", "cg-sense")


def path_of(there, config, radii, index):
    """The file of the floors of one slice.

    Args:
        there: the `Store`.
        config: a `tfvn.config.Config`, of which the data and the mask count.
        radii: a list.
        index: of the slice.
    """
    return os.path.join(there.floor(config, radii), f"{slice_name(index)}.json")


def floors_of(there, board):
    """The lines of `floor.csv`, read or computed; none for a board without floors.

    Args:
        there: the `Store`.
        board: the `Board`.

    Returns:
        A list of dicts of `slice`, `name`, `kind`, `radius` and `error`. A slice without a true
        image has none.
    """
    if not board.floor:
        return []
    found, slices = [], (there, board.protocol, board.radii())
    for index in range(len(data.source(board.protocol, "test"))):
        lines = store.read_json(path_of(*slices, index))
        found.extend(compute(*slices, index) if lines is None else lines)
    return found


def compute(there, config, radii, index):
    """Computes, stores and returns the lines of one slice. Arguments as for `path_of`."""
    case, before = _case(config, index), None
    if index:
        before = _case(config, index - 1).reference[0].numpy()
    found = []
    if np.isfinite(case.reference.numpy()).all():
        if before is not None and not np.isfinite(before).all():
            before = None
        sense = Sense(config.dataset.readout_oversampling)
        for one in floor.floors(case, sense, radii, before):
            error = float(f"{one.error:.8g}")
            found.append({"slice": index, "name": case.name, **one._asdict(), "error": error})
    store.write_json(path_of(there, config, radii, index), found)
    return found


def _case(config, index):
    source = data.source(config, "test")
    (case,) = cases(config, source, start=index, step=len(source))
    return case


def floor_of(lines, count):
    """The floor of a board at each radius, as rows have it.

    Args:
        lines: as of `floors_of`.
        count: the number of slices.

    Returns:
        A list of dicts of `radius` and `rmse`; [] unless all slices have a floor.
    """
    largest = {}
    for line in lines:
        own = largest.setdefault(line["radius"], {})
        own[line["slice"]] = max(own.get(line["slice"], 0.0), line["error"])
    found = []
    for radius, errors in largest.items():
        if len(errors) == count:
            rmse = math.sqrt(sum(error**2 for error in errors.values()) / count)
            found.append({"radius": radius, "rmse": float(f"{rmse:.8g}")})
    return found


def exact(rows):
    """The rows whose worst case is known in closed form, in their order."""
    found = []
    for row in rows:
        if is_plain(row) and row["model"]["settings"].get("name") in _EXACT:
            found.append(row)
    return found


def lines_of(rows):
    """The table of floors, beside the attacked rmse of the exact rows.

    Args:
        rows: of a board.

    Returns:
        A list of lines of texts, the heads first; [] for a board without floors.
    """
    if not rows[0]["floor"]:
        return []
    beside = exact(rows)
    found = [["radius", "floor", *(f"{row['name']}, attacked" for row in beside)]]
    for one in rows[0]["floor"]:
        numbers = [one["rmse"], *(at_radius(row, one["radius"])["rmse"] for row in beside)]
        told = ["-" if number is None else tables.digits(number) for number in numbers]
        found.append([f"{one['radius']:g}", *told])
    return found
