"""Figure 6: how accurate a model is against how far its answer can change.

To the right is what is proved and what was measured of a change of the data, as a multiple of its
norm. Numbers are in normalised units, see docs/mathematics.md.
"""

import math

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfvn.figures.style import COLORS, MARKERS, WIDTH, label, open_axes, room_for, styled

__all__ = ["figure6"]

_QUANTITIES = {"rmse": "RMSE without an attack", "ssim": "SSIM without an attack"}
_CONSTANT = "change of the image / change of the data"


@styled
def figure6(path, rows):
    """Error and SSIM of clean images against the Lipschitz constants of models.

    Each model has a line from what was measured, an open mark, to what is proved, a filled one.
    Where nothing is proved there is the open mark alone: the change may be larger. Models of one
    family and one budget are joined by a dotted line.

    Args:
        path: file to write.
        rows: a dict for each model: `family`; `budget`, NaN where there is none; `rmse` and `ssim`;
            `lipschitz`, NaN where none is proved; `amplification`, the largest that was measured.
    """
    looks = _looks(rows)
    columns, height = room_for([*looks, "proved", "measured"])
    figure = Figure((WIDTH, 2.8 + height), layout="constrained")
    for axes, (key, title) in zip(figure.subplots(1, 2), _QUANTITIES.items()):
        for name, (color, marker) in looks.items():
            own = [row for row in rows if _group(row) == name and math.isfinite(row[key])]
            _draw(axes, own, key, color, marker)
        axes.set(xscale="log", xlabel=_CONSTANT, ylabel=title)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(_few)
        open_axes(axes)
    handles = []
    for name, (color, marker) in looks.items():
        handles.append(Line2D([], [], color=color, marker=marker, linestyle="none", label=name))
    for face, text in ((COLORS[0], "proved"), ("white", "measured")):
        mark = dict(color=COLORS[0], markerfacecolor=face, marker="o", linestyle="none")
        handles.append(Line2D([], [], label=text, **mark))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
    figure.savefig(path)


def _few(value, _):
    """The text of a minor tick: those that begin with 2, 3 or 5 have one."""
    return f"{value:g}" if f"{value:.0e}"[0] in "235" else ""


def _group(row):
    """The name under which a model stands in the legend."""
    if math.isfinite(row["budget"]):
        return label(f"{row['family']}, budget {row['budget']:g}")
    return label(row["family"])


def _looks(rows):
    """The colour and the mark of each group."""
    names = dict.fromkeys(_group(row) for row in rows)
    found = {}
    for number, name in enumerate(names):
        found[name] = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
    return found


def _draw(axes, rows, key, color, marker):
    """The models of a group in a panel."""
    mark = dict(color=color, marker=marker, markersize=4.5)
    proved = sorted((row["lipschitz"], row[key]) for row in rows if row["lipschitz"] > 0)
    constants, values = [pair[0] for pair in proved], [pair[1] for pair in proved]
    axes.plot(constants, values, linestyle=":", linewidth=0.9, **mark)
    for row in rows:
        measured, constant = row["amplification"], row["lipschitz"]
        if constant > 0:
            axes.plot([measured, constant], [row[key]] * 2, color=color, linewidth=0.8)
        axes.plot(measured, row[key], markerfacecolor="white", linestyle="none", **mark)
