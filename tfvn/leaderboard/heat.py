"""The map of transfers: what the changes found for one row do to another.

A cell is the mean effect on the row of its column of the changes found for the row of its line, as
a share of the effect of the column's own attacks. Above 100 % the own attacks have failed.
"""

import math

from tfvn.leaderboard.ranking import at_radius

__all__ = ["cells_of"]

# Shades between nothing and all that the own attacks do. What is beyond has another colour.
_SHADES = 10


def cells_of(rows, radius):
    """The cells of the map.

    Args:
        rows: of a board.
        radius: of the ranks.

    Returns:
        A list of lines, one for each row as the source. A line has a pair for each row as the
        target: its text, and the number of its shade: from 0 to 10, or 11 beyond 100 %. None where
        nothing is known.
    """
    shares = {}
    for target in rows:
        own = at_radius(target, radius)["effect"]
        shares[target["name"], target["name"]] = 1.0
        for one in target["transfer"]:
            if one["radius"] == radius and own and one["effect"] is not None:
                shares[one["found_for"], target["name"]] = one["effect"] / own
    found = []
    for source in rows:
        line = [shares.get((source["name"], target["name"])) for target in rows]
        found.append([_cell(share) for share in line])
    return found


def _cell(share):
    if share is None:
        return None
    # What is told as 100 is not beyond it.
    percent = round(100 * share)
    if percent > 100:
        return str(percent), _SHADES + 1
    return str(percent), math.floor(share * _SHADES + 1e-9) if percent < 100 else _SHADES
