"""The curves of the report: effect and error of every model against the size of its attacks.

A chart is a dict that the page's template draws: its panels have ticks, bands and marks in the
units of the drawing.
"""

from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

from tfvn import attacks
from tfvn.figures import curves
from tfvn.results.rows import is_clean, size_of

__all__ = ["Line", "charts_of"]

# Width and height of the axes, in the drawing's units.
_WIDTH, _HEIGHT = 400, 270
_NORM = "mean ||r||₂ (normalised image units)"
_QUANTITIES = {
    "effect": "Perturbation effect ||f(k + A r) − f(k)||₂",
    "rmse": "Error ||f(k + A r) − |y| ||₂",
}


class Line(NamedTuple):
    """A line of the table of values below a chart: one model under one attack.

    model: its number.
    label: the name of the attack's dataset.
    points: for each quantity (size, mean, 25th, 75th percentile), or None.
    count: the number of images.
    """

    model: int
    label: str
    points: dict
    count: int


def charts_of(rows, models, labels):
    """Effect and error of every model, a chart for each kind of attack.

    Args:
        rows: a dict for each image, as in `results.csv`, and `dataset`, the image's name in
            `reconstructions.h5`.
        models: their names, in the order of the tables.
        labels: what each `dataset` is called, clean first: a dict.

    Returns:
        A list of dicts of `title`, `axis`, `panels` and `lines`, a list of `Line`.
    """
    charts = []
    there = {row["attack"] for row in rows}
    for kind in [kind for kind in attacks.kinds() if kind in there]:
        attack = attacks.of(kind)
        own = [row for row in rows if is_clean(row) or row["attack"] == kind]
        axis = _NORM
        # Radii of l1 and linf balls say more than the l2 norm of what was found in them.
        if attack.comparable and not attack.bounded_in_l2:
            own = [{**row, "norm": size_of(row)} for row in own]
            axis = f"{attack.size_name}, {attack.title}"
        lines = _lines(own, models, labels)
        panels = []
        for key in _QUANTITIES:
            if any(line.points[key] for line in lines):
                panels.append(_panel(key, lines, models, labels))
        title = attack.title or f"{kind} balls"
        charts.append({"title": title, "axis": axis, "panels": panels, "lines": lines})
    return charts


def _lines(rows, models, labels):
    """A `Line` for each model and attack that has numbers."""
    lines = []
    for number, model in enumerate(models):
        for label in labels:
            group = [row for row in rows if (row["model"], row["dataset"]) == (model, label)]
            points = {key: _point(group, key) for key in _QUANTITIES}
            if any(points.values()):
                lines.append(Line(number, label, points, len(group)))
    return lines


def _point(rows, key):
    """The point of rows of one attack; None where none has a number."""
    # They are of one size, which need not be a radius.
    points = curves.curve([{**row, "radius": 0} for row in rows], key).tolist()
    if not points:
        return None
    return points[0]


def _panel(key, lines, models, labels):
    """One diagram: ticks, and of every model with values its band and its points."""
    lines = [line for line in lines if line.points[key]]
    frame = _Frame([line.points[key] for line in lines])
    drawn = []
    for number, model in enumerate(models):
        upper, lower, marks = [], [], []
        for line in lines:
            if line.model != number:
                continue
            size, mean, low, high = point = line.points[key]
            x = frame.x(size)
            upper.append((x, frame.y(high)))
            lower.append((x, frame.y(low)))
            marks.append((x, frame.y(mean), f"{model}, {labels[line.label]}: {_words(point)}"))
        if marks:
            drawn.append({"number": number, "band": upper + lower[::-1], "marks": marks})
    return {
        "title": _QUANTITIES[key],
        "xticks": [(frame.x(value), f"{value:g}") for value in frame.x_ticks],
        "yticks": [(frame.y(value), f"{value:g}") for value in frame.y_ticks],
        "curves": drawn,
    }


class _Frame:
    """The axes of a diagram, large enough for its points.

    Args:
        points: a list of (size, mean, 25th, 75th percentile).
    """

    def __init__(self, points):
        right = max(max(size for size, *_ in points), 1e-12)
        highest = [max(mean, high) for _, mean, _, high in points]
        top = max(*highest, 1e-12)
        self.x_ticks, self.y_ticks = _ticks(right), _ticks(top)
        self.right = max(1.03 * right, self.x_ticks[-1])
        self.top = max(top, self.y_ticks[-1])

    def x(self, value):
        """Where a size is in the drawing."""
        return round(value / self.right * _WIDTH, 2)

    def y(self, value):
        """Where a value is in the drawing, which counts downwards."""
        return round(_HEIGHT - value / self.top * _HEIGHT, 2)


def _words(point):
    size, mean, low, high = point
    return f"at {size:.3g}: mean {mean:.4g}, 25 to 75 %: {low:.4g} to {high:.4g}"


def _ticks(limit):
    values = MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]).tick_values(0, limit)
    # The last one that is not far above what there is to show.
    return [float(value) for value in values if 0 <= value <= 1.001 * limit] or [0.0]
