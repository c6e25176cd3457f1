"""The order of the rows of a board.

Rows of one track are ranked by the worst-case rmse at the middle radius, the lowest first. A row
with a raised flag has no rank: its number is likely to be too good. It stands apart.
"""

import math
from typing import NamedTuple

from tfvn.choices import TRACKS
from tfvn.results.flags import RAISED

__all__ = ["Ranked", "at_radius", "bound_at", "front", "raised", "ranked"]


class Ranked(NamedTuple):
    """The rows of one track.

    track: a name of `tfvn.choices.TRACKS`.
    rows: those with a rank, in its order.
    apart: those that are not to be relied on, in the same order.
    """

    track: str
    rows: list
    apart: list


def ranked(rows, radius):
    """The rows of a board as a list of `Ranked`, for each track that has any."""
    found = []
    for track in TRACKS:
        own = sorted(
            (row for row in rows if row["track"] == track), key=lambda row: _order(row, radius)
        )
        reliable = [row for row in own if not row["unreliable"]]
        apart = [row for row in own if row["unreliable"]]
        if own:
            found.append(Ranked(track, reliable, apart))
    return found


def _order(row, radius):
    """By the error, and by the name where errors are equal. A row without an error is the last."""
    error = at_radius(row, radius)["rmse"]
    return (math.inf if error is None else error, row["name"])


def at_radius(row, radius, key="worst"):
    """What a row reaches at a radius in the worst case, a dict; or what is "best_known" of it."""
    return next(one for one in row[key] if one["radius"] == radius)


def bound_at(row, radius):
    """The largest effect that is proved to be possible at a radius; None where nothing is."""
    return next((one["bound"] for one in row["proved"] if one["radius"] == radius), None)


def raised(row):
    """The names of the flags that a row has raised."""
    return [flag["flag"] for flag in row["flags"] if flag["state"] == RAISED]


def front(points):
    """Which points (x, y) no other is below in both, a list of truth values in their order.

    A point that equals another one is not below it.
    """
    found = []
    for x, y in points:
        below = [(a, b) for a, b in points if a <= x and b <= y and (a, b) != (x, y)]
        found.append(not below)
    return found
