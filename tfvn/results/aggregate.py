"""From rows, one for each image, to tables, with an entry for each model and attack."""

import math
from typing import NamedTuple

import numpy as np

from tfvn.attacks import IMAGE
from tfvn.results.rows import attack_of, is_clean, size_columns, size_of

__all__ = ["COUNTED", "MODEL_KEYS", "PAPERS", "Pair", "aggregate", "compare_attacks"]

# The kind of the paper's attack.
PAPERS = "l2"
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
    "missed",
)
# Of these numbers the count of images is kept, where some images have none.
COUNTED = ("rmse", "ssim", "effect")
# What a row says of its model.
MODEL_KEYS = ("sigma", "noise", "num_samples", "seed", "track", "gradients")


def aggregate(rows):
    """Table 1 as a list of dicts, one for each model and size, from the rows of `evaluate`.

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
    entry = {key: first[key] for key in ("model", "attack")}
    entry.update(size_columns(first["attack"], size_of(first)))
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
    if not values.size:
        return math.nan
    return float(values.mean())


def _percentile(values, percentile):
    if not values.size:
        return math.nan
    return float(np.percentile(values, percentile))


class Pair(NamedTuple):
    """Two attacks on one image, at the ||r||_2 that the first one came to.

    attack: the kind of the attack that is compared.
    model, slice: the image.
    norm: ||r||_2.
    effect: that of the attack.
    projected: that of the projected attack, interpolated linearly between its radii; NaN outside of
        them.
    """

    attack: str
    model: str
    slice: int
    norm: float
    effect: float
    projected: float


def compare_attacks(rows):
    """Compares attacks whose sizes mean another power on each model with the paper's on l2 balls.

    Returns:
        A list with a `Pair` for each image of such an attack, where there are attacks of the same
        image on l2 balls.
    """
    found = []
    for row in rows:
        # Another change than an image has another norm.
        if is_clean(row) or attack_of(row).comparable or attack_of(row).changes != IMAGE:
            continue
        same = []
        for other in rows:
            same_image = (other["model"], other["slice"]) == (row["model"], row["slice"])
            if same_image and (is_clean(other) or other["attack"] == PAPERS):
                same.append(other)
        if len(same) > 1:
            named = [row[key] for key in ("attack", "model", "slice", "norm", "effect")]
            found.append(Pair(*named, _effect_at(row["norm"], same)))
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
