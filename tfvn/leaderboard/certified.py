"""Rows by what is proved of them: the certified error, beside what attacks have reached.

    certified rmse  sqrt(mean_i (e_i + b)^2)    e_i = || f_i - |y_i| ||_2 without an attack
                                                b   the largest effect that is proved to be possible

Whatever a change of that radius does to slice i, its error is at most e_i + b: the triangle
inequality. So no attack takes the worst-case rmse of the row above this number. It is in the same
units, and so the score and the certified rmse bound the worst case from below and from above. It is
at most the clean rmse plus b, which is the same where all e_i are equal (Minkowski).

A proof needs no attack to be right. So flags that say an attack has failed do not count here, and a
row that is unreliable elsewhere has a certified rank. Where an effect is larger than its bound, one
of both is wrong, and nothing is ranked. What holds with a probability only is not in here.
"""

import math

import numpy as np

from tfvn import tables
from tfvn.leaderboard.pareto import Axis
from tfvn.leaderboard.ranking import at_radius, bound_at, raised, share_of_bound

__all__ = ["NOTE", "certified_of", "certified_rows", "lines_of", "plot"]

# What the table says, in words.
NOTE = (
    "Certified RMSE: no change of that radius takes the RMSE of these slices above it. Of every"
    " slice it is the error without an attack plus the proved bound, and then the root of the mean"
    " square. So the worst case lies between the attacked and the certified RMSE. A proof needs no"
    " attack: a row that is unreliable in the other table has a rank here."
)

_VIOLATED = "bound violated"
# Of the plot, in its units: the width, and the height of a line.
_WIDTH, _LINE = 400, 26
# Bounds beyond so many times the smallest effect take a logarithmic axis.
_WIDE = 30


def certified_of(clean, proved):
    """The certified rmse of a row at each radius.

    Args:
        clean: the rows of its slices without an attack, as of `results.csv`.
        proved: dicts of `radius` and `bound`.

    Returns:
        A list of dicts of `radius` and `rmse`, for the radii with a finite bound.
    """
    errors = np.array([row["rmse"] for row in clean], float)
    found = []
    for one in proved:
        rmse = float(np.sqrt(np.mean(np.square(errors + one["bound"]))))
        if math.isfinite(rmse):
            found.append({"radius": one["radius"], "rmse": float(f"{rmse:.8g}")})
    return found


def certified_rows(rows, radius):
    """The rows with a certified rmse at a radius, the lowest first.

    Args:
        rows: of a board.
        radius: of the ranks.

    Returns:
        A list of pairs (rmse, row).
    """
    found = []
    for row in rows:
        rmse = _at(row, radius)
        if rmse is not None and _VIOLATED not in raised(row):
            found.append((rmse, row))
    return sorted(found, key=lambda pair: (pair[0], pair[1]["name"]))


def _at(row, radius):
    return next((one["rmse"] for one in row["certified"] if one["radius"] == radius), None)


def lines_of(rows, radii, radius):
    """The table of certified rows.

    Args:
        rows: of a board.
        radii: of the board.
        radius: of the ranks.

    Returns:
        A list of lines of texts, the heads first; [] where nothing is proved of any row.
    """
    others = [each for each in radii if each != radius]
    found = []
    for rank, (_, row) in enumerate(certified_rows(rows, radius), 1):
        share = share_of_bound(row, radius)
        numbers = [_at(row, radius), at_radius(row, radius)["rmse"], row["clean"]["rmse"]]
        numbers += [bound_at(row, radius), at_radius(row, radius)["effect"]]
        told = "-" if share is None else f"{100 * share:.1f}"
        own = [*map(_told, numbers), told, *(_told(_at(row, each)) for each in others)]
        found.append([str(rank), row["name"], *own, row["track"]])
    if not found:
        return []
    heads = ["rank", "row", f"certified RMSE, radius {radius:g}", "attacked RMSE", "clean RMSE"]
    heads += ["proved bound", "effect", "% of the bound"]
    heads += [f"certified RMSE, radius {each:g}" for each in others]
    return [[*heads, "track"], *found]


def _told(value):
    return "-" if value is None else tables.digits(value)


def plot(rows, radius):
    """The plot of attacked and proved effects: a line for each row from the one to the other.

    Args:
        rows: of a board, in the order of its numbers.
        radius: of the ranks.

    Returns:
        A dict of `lines`, dicts of `number`, `y`, `from`, `to`, `reached` and `proved`, the last
        two as texts; `ticks`, pairs of a place and a text; and `height`.
    """
    numbers = {row["name"]: number for number, row in enumerate(rows)}
    found = []
    for _, row in certified_rows(rows, radius):
        effect = at_radius(row, radius)["effect"]
        if effect:
            found.append((numbers[row["name"]], effect, bound_at(row, radius)))
    axis = _axis([value for _, *both in found for value in both])
    lines = []
    for place, (number, effect, bound) in enumerate(found):
        lines.append(
            {
                "number": number,
                "y": _LINE * (place + 0.5),
                "from": axis.place(effect),
                "to": axis.place(bound),
                "reached": f"{rows[number]['name']}: attacks have reached {effect:.4g}",
                "proved": f"{rows[number]['name']}: proved to be at most {bound:.4g}",
            }
        )
    return {"lines": lines, "ticks": axis.ticks(), "height": _LINE * len(lines)}


def _axis(effects):
    """The axis of effects. It begins at 0, or is logarithmic where they are far apart."""
    wide = max(effects, default=1) > _WIDE * min(effects, default=1)
    if wide:
        return Axis(effects, 0, _WIDTH, logarithmic=True)
    return Axis([0, *effects], 0, _WIDTH)
