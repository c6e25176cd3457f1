"""The figure of transferred perturbations: a heat map of sources and targets."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tfvn.figures.style import WIDTH, label, shortened, styled
from tfvn.tables import digits

__all__ = ["transfer"]

# A share of the effect of the own r that rounding does not explain.
_OWN = 1.001
# Names of models, in inches.
_NAMES = 1.6


@styled
def transfer(path, rows, names):
    """Effects of perturbations that were found on one model and given to another.

    The colour is the effect as a share of that of the target's own perturbation. A frame marks each
    cell where the share is above 1.001: the own attack has failed there.

    Args:
        path: file to write.
        rows: dicts of `source`, `target` and `effect`.
        names: of the models, in the order of lines and columns.
    """
    effects = np.full((len(names), len(names)), np.nan)
    for row in rows:
        effects[names.index(row["source"]), names.index(row["target"])] = row["effect"]
    own = np.diag(effects)
    shares = np.divide(effects, own, out=np.ones_like(effects), where=own > 0)
    side = (WIDTH - _NAMES - 0.8) / max(len(names), 4)
    figure = Figure((WIDTH, _NAMES + side * len(names)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="viridis", vmin=0, vmax=max(1.0, np.nanmax(shares)))
    for (source, target), share in np.ndenumerate(shares):
        # Dark text on bright cells.
        color = "black" if share > 0.6 * image.norm.vmax else "white"
        text = digits(effects[source, target])
        size = min(8, 26 * side)
        axes.text(target, source, text, ha="center", va="center", color=color, fontsize=size)
        if share > _OWN:
            corner = (target - 0.5, source - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="red", linewidth=1.5))
    told = [shortened(label(name), _NAMES) for name in names]
    axes.set_xticks(range(len(names)), told, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), told)
    axes.set(xlabel="attacked model", ylabel="r found on")
    axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("share of the effect of its own r")
    figure.savefig(path)
