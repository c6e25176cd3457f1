"""The order of the rows of a board.

Rows of one track are ranked by the worst-case rmse at the middle radius, the lowest first.

    unreliable   a flag is raised that says that an attack has failed: the number is likely to be
                 too good. The row has no rank, and stands apart.
    preliminary  flags are raised that say that an attack was short, and no others: "not
                 converged", as more steps reach more, or "transfer wins" where a change found for
                 another row does a little more. The attack works, and its number is a lower bound
                 that a longer one raises. The row keeps its rank.
"""

import math
from typing import NamedTuple

from tfvn.choices import TRACKS
from tfvn.leaderboard.intervals import excess
from tfvn.results.flags import RAISED
from tfvn.results.rules import GAIN

__all__ = [
    "Ranked",
    "above",
    "at_radius",
    "bound_at",
    "front",
    "is_preliminary",
    "is_unreliable",
    "raised",
    "ranked",
    "share_of_bound",
]

# The flags that say no more than that an attack was short, and up to which number they do. More
# steps may raise a mean by as much without any flag.
_SHORT = {"not converged": math.inf, "transfer wins": GAIN}


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


def above(row, other, radius):
    """By what share the worst-case rmse of a row is above that of another one, and the interval of
    that share: (share, lowest, highest). None where an error of a slice is not known, or is 0.
    """
    own, theirs = (at_radius(one, radius)["errors"] for one in (row, other))
    if None in (*own, *theirs) or not all(theirs):
        return None
    return excess(own, theirs, row["patient_of"])


def bound_at(row, radius):
    """The largest effect that is proved to be possible at a radius; None where nothing is."""
    return next((one["bound"] for one in row["proved"] if one["radius"] == radius), None)


def share_of_bound(row, radius):
    """How near the attacks came to the proved bound: the mean of their largest effects as a share
    of it; None where nothing is proved, or where the bound is 0.
    """
    bound, effect = bound_at(row, radius), at_radius(row, radius)["effect"]
    if not bound or effect is None:
        return None
    return effect / bound


def raised(row):
    """The names of the flags that a row has raised."""
    return [flag["flag"] for flag in _raised(row["flags"])]


def is_unreliable(flags):
    """Whether flags, as rows have them, say that a number is likely to be too good."""
    return not all(_is_short(flag) for flag in _raised(flags))


def is_preliminary(flags):
    """Whether all that flags, as rows have them, say is that an attack was short."""
    found = _raised(flags)
    return bool(found) and all(map(_is_short, found))


def _is_short(flag):
    # A number that JSON does not know is None.
    found = math.inf if flag["found"] is None else flag["found"]
    return found <= _SHORT.get(flag["flag"], -math.inf)


def _raised(flags):
    return [flag for flag in flags if flag["state"] == RAISED]


def front(points):
    """Which points (x, y) no other is below in both, a list of truth values in their order.

    A point that equals another one is not below it.
    """
    found = []
    for x, y in points:
        below = [(a, b) for a, b in points if a <= x and b <= y and (a, b) != (x, y)]
        found.append(not below)
    return found
