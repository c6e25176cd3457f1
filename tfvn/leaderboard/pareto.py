"""The plot of clean against attacked error, as shapes for the page's template.

The lower left is good. Through the rows that no other is better than in both goes a line of steps.
"""

import math

from matplotlib.ticker import LogLocator, MaxNLocator

from tfvn.leaderboard.labels import placed
from tfvn.leaderboard.ranking import at_radius, front

__all__ = ["Axis", "plot"]

# Width and height of the axes, in the drawing's units: of a few rows, and of more than these.
_SIZE, _LARGE, _FEW = (400, 270), (840, 500), 16
# What is left free around the points, as a share of their range.
_MARGIN = 0.08


def plot(rows, radius):
    """The plot of some rows.

    Args:
        rows: of the board, in the order of its numbers.
        radius: at which they are attacked.

    Returns:
        A dict of `width` and `height` of the axes; `is_large`, whether they are those of many rows;
        `xticks` and `yticks`, pairs of a place and a text; `points`, dicts of `number`, `x`, `y`,
        `text` and `label`, as `tfvn.leaderboard.labels.placed` gives it; and `line`, the corners of
        the front.
    """
    found = []
    for number, row in enumerate(rows):
        x, y = row["clean"]["rmse"], at_radius(row, radius)["rmse"]
        if x is not None and y is not None:
            found.append((number, x, y, row["unreliable"]))
    is_large = len(found) > _FEW
    width, height = _LARGE if is_large else _SIZE
    across = Axis([x for _, x, _, _ in found], 0, width)
    up = Axis([y for _, _, y, _ in found], height, 0)
    points = []
    for number, x, y, unreliable in found:
        text = f"{rows[number]['name']}: clean {x:.4g}, attacked {y:.4g}"
        if unreliable:
            text += ", unreliable"
        points.append({"number": number, "x": across.place(x), "y": up.place(y), "text": text})
    names = [rows[point["number"]]["name"] for point in points]
    places = [(point["x"], point["y"]) for point in points]
    for point, label in zip(points, placed(places, names, (width, height))):
        point["label"] = label
    reliable = [(x, y) for _, x, y, unreliable in found if not unreliable]
    best = sorted(one for one, kept in zip(reliable, front(reliable)) if kept)
    return {
        "width": width,
        "height": height,
        "is_large": is_large,
        "xticks": across.ticks(),
        "yticks": up.ticks(),
        "points": points,
        "line": [(across.place(x), up.place(y)) for x, y in _steps(best)],
    }


def _steps(points):
    """The corners of a line of steps through points of falling heights."""
    found = []
    for x, y in points:
        if found:
            found.append((x, found[-1][1]))
        found.append((x, y))
    return found


class Axis:
    """An axis that has room for some values.

    Args:
        values: a list of numbers.
        start, end: its ends, in the drawing's units.
        logarithmic: whether equal factors are equally far apart. All values are above 0 then.
    """

    def __init__(self, values, start, end, logarithmic=False):
        self._logarithmic = logarithmic
        values = [self._scaled(value) for value in values]
        low, high = min(values, default=0), max(values, default=1)
        margin = _MARGIN * (high - low) or 1.0
        self._low, self._high = low - margin, high + margin
        self._start, self._end = start, end

    def place(self, value):
        """Where a value is."""
        share = (self._scaled(value) - self._low) / (self._high - self._low)
        return round(self._start + share * (self._end - self._start), 2)

    def ticks(self):
        """Pairs of a place and a text."""
        if self._logarithmic:
            ends = math.exp(self._low), math.exp(self._high)
            values = LogLocator(subs=(1, 2, 5)).tick_values(*ends)
        else:
            ends = self._low, self._high
            values = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(*ends)
        return [(self.place(v), f"{v:g}") for v in values if ends[0] <= v <= ends[1]]

    def _scaled(self, value):
        return math.log(value) if self._logarithmic else value
