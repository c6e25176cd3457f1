"""The figures that are curves.

Figure 2 shows effect and error against ||r||, figure 4 the effect of both attacks, and figure 5
smoothed predictions against the number of draws. Numbers are in normalised units, see
docs/mathematics.md.
"""

import math

import numpy as np
from matplotlib.figure import Figure

from tfvn.figures.style import (
    COLORS,
    MARKERS,
    UNITS,
    WIDTH,
    label,
    open_axes,
    room_for,
    shortened,
    styled,
)

__all__ = ["curve", "figure2", "figure4", "figure5"]

_EFFECT = "$\\|f(k + Ar) - f(k)\\|_2$"
_ERROR = "$\\|f(k + Ar) - |y|\\,\\|_2$"
_DASHES = ("-", "--", ":", "-.")
# A bound, and how much higher than what was measured it is still shown.
_CERTIFIED = dict(linestyle=(0, (3, 2)), linewidth=0.9)
_ROOM = 1.5


def curve(rows, key):
    """The points of a curve against the norm of r, one for each radius at which `key` is a number.

    Args:
        rows: dicts of `radius`, `norm` and `key`.
        key: what is drawn.

    Returns:
        An array (radii, 4): mean norm, and mean, 25th and 75th percentile of the key.
    """
    points = []
    for radius in sorted({row["radius"] for row in rows}):
        chosen = [row for row in rows if row["radius"] == radius and np.isfinite(row[key])]
        if chosen:
            values = [row[key] for row in chosen]
            norm = np.mean([row["norm"] for row in chosen])
            points.append([norm, np.mean(values), *np.percentile(values, [25, 75])])
    return np.array(points)


def _models_of(rows):
    """The names of the models, in the order of the rows."""
    return list(dict.fromkeys(row["model"] for row in rows))


@styled
def figure2(path, rows):
    """Perturbation effect and error against ||r||.

    The effect is ||f(k + A r) - f(k)||, and the error || f(k + A r) - |y| ||. Bands reach from the
    25th to the 75th percentile of the slices. A dashed line without marks is the certified effect,
    as far as the axes reach, which are made for what was measured.

    Args:
        path: file to write.
        rows: a dict for each image, as in `results.csv`. It has `model`, `radius`, which is 0 for a
            clean image, `norm` = ||r||, `effect`, `rmse`, which is NaN without a reference,
            `image_norm` = ||y||, and, where effects are certified, `bound`.
    """
    models = _models_of(rows)
    columns, height = room_for([label(model) for model in models])
    figure = Figure((WIDTH, 3.0 + height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08)
    effect, error = figure.subplots(1, 2)
    effects = {model: _points(rows, model, "effect") for model in models}
    # Of the clean image alone there is no curve of effects.
    effects = {model: points for model, points in effects.items() if len(points) > 1}
    errors = {model: _points(rows, model, "rmse") for model in models}
    errors = {model: points for model, points in errors.items() if len(points)}
    norms = [row["image_norm"] for row in rows if np.isfinite(row["image_norm"])]
    for axes, points, reason in ((effect, effects, "no attacks"), (error, errors, "no reference")):
        _draw_models(axes, models, points)
        if not points:
            axes.set(xticks=[], yticks=[])
            axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center")
        elif norms:
            _add_percent(axes, np.mean(norms))
    if effects:
        _draw_bounds(effect, models, [row for row in rows if "bound" in row])
    effect.set_ylabel(f"perturbation effect {_EFFECT}")
    error.set_ylabel(f"error {_ERROR}")
    _add_legend(figure, (effect, error), columns)
    figure.savefig(path)


def _points(rows, model, key):
    return curve([row for row in rows if row["model"] == model], key)


def _draw_models(axes, models, points_of):
    """A panel of figure 2: a line and a band for each model that has points."""
    # Of many models the bands lie above each other.
    alpha = min(0.14, 1 / len(models))
    for number, model in enumerate(models):
        if model not in points_of:
            continue
        x, mean, low, high = points_of[model].T
        color, dashes = _look(number)
        axes.fill_between(x, low, high, color=color, alpha=alpha, linewidth=0)
        axes.plot(
            x,
            mean,
            color=color,
            linestyle=dashes,
            marker=MARKERS[number % len(MARKERS)],
            label=label(model),
            clip_on=False,
            markersize=4.5,
            markeredgecolor="white",
            markeredgewidth=0.5,
        )
    axes.set_xlabel(f"$\\|r\\|_2$ ({UNITS})")
    open_axes(axes)
    axes.set(xlim=(0, None), ylim=(0, None))


def _draw_bounds(axes, models, rows):
    """What is certified of each model. Lines above the panel are left out."""
    bounds = {}
    for number, model in enumerate(models):
        points = _points(rows, model, "bound")
        if len(points) > 1:
            bounds[number] = points
    # A bound that is ten times as high would hide what was measured.
    top = axes.get_ylim()[1]
    ends = [points[-1, 1] for points in bounds.values() if points[-1, 1] <= _ROOM * top]
    if not ends:
        return
    axes.set_ylim(0, max(top, 1.05 * max(ends)))
    for number, points in bounds.items():
        if points[-1, 1] <= _ROOM * top:
            axes.plot(points[:, 0], points[:, 1], color=_look(number)[0], **_CERTIFIED)
    # The legend has them once, whatever their colours are.
    axes.plot([], [], color=COLORS[0], label="certified", **_CERTIFIED)


def _look(number):
    """The colour and the dashes of a line; no two of the first 28 models have the same."""
    return COLORS[number % len(COLORS)], _DASHES[number // len(COLORS) % len(_DASHES)]


def _add_percent(axes, image_norm):
    """A second axis above: the norm of r in per cent of that of the image."""
    percent = image_norm / 100

    def to_percent(norm):
        return norm / percent

    def to_norm(value):
        return value * percent

    upper = axes.secondary_xaxis("top", functions=(to_percent, to_norm))
    upper.set_xlabel("% of the mean image norm")


def _add_legend(figure, panels, columns):
    """One legend below all panels, with each model once."""
    handles = {}
    for axes in panels:
        for handle, name in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(name, handle)
    if handles:
        figure.legend(
            handles.values(), handles, loc="outside lower center", ncols=columns, frameon=False
        )


@styled
def figure4(path, rows, others):
    """Effect against ||r|| of the projected attack and of attacks whose sizes are no norms.

    Each model has a panel, and all panels have one scale. Of the projected attack a line shows the
    mean, and a band 25 to 75 %. Of the others, squares show the slices, and a dashed line the mean
    of each size.

    Args:
        path: file to write.
        rows: a dict for each image of the projected attack and each clean one, as in
            `results.csv`. It has `model`, `radius`, `norm` and `effect`.
        others: a dict from the title of an attack to such rows, whose `radius` is the size.
    """
    models = _models_of([row for own in others.values() for row in own])
    columns = min(3, len(models))
    lines = math.ceil(len(models) / columns)
    figure = Figure((WIDTH, 0.5 + 2.0 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes, model in zip(panels.flat, models):
        _draw_projected(axes, [row for row in rows if row["model"] == model])
        for number, (title, found) in enumerate(others.items(), 4):
            own = [row for row in found if row["model"] == model]
            _draw_other(axes, title, own, COLORS[number % len(COLORS)])
        axes.set_title(shortened(label(model), WIDTH / columns))
        open_axes(axes)
    # Limits that are set hold for all panels, and for what is drawn later too.
    panels.flat[0].set(xlim=(0, None), ylim=(0, None))
    for axes in panels.flat[len(models) :]:
        axes.set_visible(False)
    figure.supxlabel(f"$\\|r\\|_2$ ({UNITS})", fontsize=8)
    figure.supylabel(f"effect {_EFFECT}", fontsize=8)
    handles, names = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path)


def _draw_projected(axes, rows):
    color = COLORS[1]
    x, mean, low, high = curve(rows, "effect").T
    axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
    name = "projected on the ball"
    axes.plot(x, mean, color=color, marker="o", markersize=3.5, label=name, clip_on=False)


def _draw_other(axes, title, rows, color):
    norms = [row["norm"] for row in rows]
    effects = [row["effect"] for row in rows]
    squares = dict(color=color, marker="s", linestyle="none", markersize=2.5, alpha=0.5)
    x, mean, _, _ = curve(rows, "effect").T
    dashed = dict(color=color, marker="s", linestyle="--", markersize=3.5)
    axes.plot(norms, effects, label=f"{title}: slices", **squares)
    axes.plot(x, mean, label=f"{title}: mean", **dashed)


@styled
def figure5(path, rows):
    """Error, effect and spread of smoothed predictions against the number of draws K.

    Each model has a line. The numbers of draws and the spread are on logarithmic axes.

    Args:
        path: file to write.
        rows: dicts of `model`, `num_samples`, `rmse_clean`, `rmse_attacked`, `effect` and `spread`
            (NaN where unknown).
    """
    models = _models_of(rows)
    figure = Figure((WIDTH, 2.9), layout="constrained")
    error, effect, spread = figure.subplots(1, 3)
    for number, model in enumerate(models):
        own = [row for row in rows if row["model"] == model]
        own.sort(key=lambda row: row["num_samples"])
        style = dict(
            color=COLORS[number % len(COLORS)], marker=MARKERS[number % len(MARKERS)], markersize=4
        )
        _draw_column(error, own, "rmse_clean", label=label(model), **style)
        _draw_column(error, own, "rmse_attacked", linestyle="--", **style)
        _draw_column(effect, own, "effect", **style)
        _draw_column(spread, own, "spread", **style)
    error.set_title("RMSE (dashed: attacked)")
    effect.set_title("perturbation effect")
    spread.set_title("Monte Carlo spread")
    counts = sorted({row["num_samples"] for row in rows})
    for axes in (error, effect, spread):
        axes.set_xscale("log", base=3)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set_xlabel("draws $K$")
        open_axes(axes)
    effects = [row["effect"] for row in rows if np.isfinite(row["effect"])]
    effect.set_ylim(0, 1.15 * max(effects, default=1))
    spread.set_yscale("log")
    spread.yaxis.set_major_formatter("{x:g}")
    spread.yaxis.set_minor_formatter(_two_and_five)
    handles, names = error.get_legend_handles_labels()
    columns = min(5, len(models))
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)
    figure.savefig(path)


def _draw_column(axes, rows, key, **style):
    """A column of the rows against their numbers of draws."""
    counts = [row["num_samples"] for row in rows]
    axes.plot(counts, [row[key] for row in rows], **style)


def _two_and_five(value, _):
    """The text of a minor tick: those that begin with 2 or 5 have one."""
    first_digit = f"{value:.0e}"[0]
    if first_digit in "25":
        return f"{value:g}"
    return ""
