"""Of several attacks on one image, the worst result: the score of a model at a radius.

The score is the mean over slices of the worst result over all attacks, and never the worst of the
means (Carlini et al., 2019). At a radius only those attacks count that all models have there:
others would make the models worse that they were made on.
"""

import collections

from tfvn.results.rows import is_clean, is_in_ball, size_of

__all__ = ["strongest", "winners"]

# Of these a large number is bad, and of those a small one.
_LARGEST, _SMALLEST = ("effect", "rmse", "nrmse"), ("ssim", "psnr")


def strongest(rows):
    """The worst result of the attacks in l2 balls, for each model, image and radius.

    Args:
        rows: as of `results.csv`.

    Returns:
        Such rows: the clean ones, and one for each radius. Each number of quality is the worst of
        all attacks, and need not be of the same attack as another. All else is of the attack with
        the largest effect; `attack` is the same in all rows. Where models have no attack in
        common, each has its own.
    """
    found = [row for row in rows if is_clean(row)]
    name = ""
    for group in _groups(rows).values():
        worst = max(group, key=_effect)
        name = name or worst["attack"]
        numbers = {key: _extreme(group, key, max) for key in _LARGEST}
        numbers.update({key: _extreme(group, key, min) for key in _SMALLEST})
        found.append({**worst, **numbers, "attack": name, "radius": size_of(worst)})
    return found


def winners(rows):
    """How many times each attack in l2 balls has the largest effect on an image at a radius.

    Cases of a single attack do not count.

    Returns:
        A dict from the kinds of attacks to whole numbers; {} where no image has several, and where
        models have no attack in common.
    """
    if not all(_common(rows).values()):
        return {}
    counts = collections.Counter()
    for group in _groups(rows).values():
        if len(group) > 1:
            counts.update({row["attack"]: 0 for row in group})
            counts[max(group, key=_effect)["attack"]] += 1
    return dict(counts)


def _common(rows):
    """The attacks that all models have which were attacked at a radius, by the radius."""
    kinds = {}
    for row in _attacked(rows):
        kinds.setdefault(size_of(row), {}).setdefault(row["model"], set()).add(row["attack"])
    return {size: set.intersection(*own.values()) for size, own in kinds.items()}


def _groups(rows):
    """The attacked rows by model, image and radius, of attacks that the models have in common."""
    common = _common(rows)
    groups = {}
    for row in _attacked(rows):
        size = size_of(row)
        if row["attack"] in common[size] or not common[size]:
            groups.setdefault((row["model"], row["slice"], size), []).append(row)
    return groups


def _attacked(rows):
    return [row for row in rows if is_in_ball(row) and not is_clean(row)]


def _effect(row):
    return row["effect"]


def _extreme(rows, key, choose):
    # A NaN, of an image without reference, is one in all rows.
    return choose(row[key] for row in rows)
