"""From rows, one an image, to tables, one a model and attack."""

import math
from typing import NamedTuple

import numpy as np

from tfvn.results.rows import CLEAN, size_of

__all__ = ["COUNTED", "MODEL_KEYS", "Pair", "aggregate", "compare_attacks"]

# What a table holds the mean of.
_MEANS = (
    "ssim",
    "nrmse",
    "psnr",
    "norm",
    "kspace_norm",
    "kspace_l1",
    "total_variation",
    "image_norm",
    "relative_radius",
    "effect",
)
# Of these numbers the count of images is kept, where some images have none.
COUNTED = ("rmse", "ssim", "effect")
# What a row says of its model.
MODEL_KEYS = ("sigma", "noise", "num_samples", "seed")


def aggregate(rows):
    """Table 1 as a list of dicts, one a model and radius, from the rows of `evaluate`.

    `rmse` is sqrt(mean_i rmse_i^2), `effect_25` and `effect_75` are percentiles, and the other
    numbers are means. Each is over the images that have the number: `num_rmse`, `num_ssim` and
    `num_effect` of `num_images`. Where none has, it is NaN.
    """
    groups = {}
    for row in rows:
        groups.setdefault((row["model"], row["attack"], size_of(row)), []).append(row)
    return [_entry(group) for group in groups.values()]


def _entry(rows):
    """The rows of one model and attack as one dict."""
    values = {key: _numbers(rows, key) for key in (*_MEANS, "rmse")}
    first = rows[0]
    entry = {key: first[key] for key in ("model", "attack", "radius", "steps")}
    entry["rmse"] = math.sqrt(_mean(np.square(values["rmse"])))
    for key in _MEANS:
        entry[key] = _mean(values[key])
    for percentile in (25, 75):
        entry[f"effect_{percentile}"] = _percentile(values["effect"], percentile)
    entry["num_images"] = len(rows)
    for key in COUNTED:
        entry[f"num_{key}"] = len(values[key])
    for key in MODEL_KEYS:
        entry[key] = first[key]
    return entry


def _numbers(rows, key):
    """The numbers of a column, without NaN."""
    column = np.array([row[key] for row in rows], float)
    return column[~np.isnan(column)]


def _mean(values):
    return float(values.mean()) if values.size else math.nan


def _percentile(values, percentile):
    return float(np.percentile(values, percentile)) if values.size else math.nan


class Pair(NamedTuple):
    """Both attacks on one image, at the ||r||_2 that the penalised one came to.

    model, slice: the image.
    norm: ||r||_2.
    penalised: the effect of the attack of Antun et al.
    projected: the effect of the projected attack, interpolated linearly between its radii; NaN
        outside of them.
    """

    model: str
    slice: int
    norm: float
    penalised: float
    projected: float


def compare_attacks(rows):
    """A `Pair` for every image that both attacks were made on, and every size of the penalised."""
    found = []
    for row in rows:
        if row["attack"] != "antun":
            continue
        image = (row["model"], row["slice"])
        same = []
        for other in rows:
            if (other["model"], other["slice"]) == image and other["attack"] in (CLEAN, "l2"):
                same.append(other)
        if len(same) > 1:
            projected = _effect_at(row["norm"], same)
            found.append(Pair(*image, row["norm"], row["effect"], projected))
    return found


def _effect_at(norm, rows):
    """The effect at a norm of r, interpolated between the rows of one image; NaN outside them."""
    rows = sorted(rows, key=lambda row: row["norm"])
    norms = [row["norm"] for row in rows]
    effects = [row["effect"] for row in rows]
    # Below the first attack there is only the clean image, of which effects are no straight line.
    if norm < norms[1]:
        return math.nan
    return float(np.interp(norm, norms, effects, right=math.nan))
